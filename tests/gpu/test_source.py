"""NVIDIA's own compiler and CuPy itself, neither of which needs a GPU for this."""

from __future__ import annotations

import ctypes
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

import onepass

SOURCE = files("onepass.cluster.kernels").joinpath("gpu.cu").read_bytes()


@pytest.fixture(scope="module")
def nvrtc(oracle_python):
    """The compiler that CuPy calls, from a package of its own: it needs no GPU."""
    home = oracle_python("nvidia").parents[1]
    [library] = home.glob("lib/python3*/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.*")
    return ctypes.CDLL(str(library))


def text_of(size_of, read, program):
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    read(program, text)
    return text.value.decode()


@pytest.mark.oracle
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
def test_it_is_compiled_without_a_warning(nvrtc, architecture):
    program = ctypes.c_void_p()
    options = [b"--std=c++17", b"--gpu-architecture=" + architecture.encode()]
    given = (ctypes.c_char_p * len(options))(*options)
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE, b"gpu.cu", 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
    told = text_of(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert (failed, told) == (0, "")


@pytest.mark.oracle
def test_cupy_has_what_is_used_of_it(oracle_python):
    """Without a GPU, and without cuBLAS, which is large: its face is looked at as a file."""
    code = """
import re, sys
from importlib.util import find_spec
from pathlib import Path
import cupy
for module, names in (
    (cupy, "RawModule empty zeros asnumpy get_default_memory_pool"),
    (cupy.cuda, "Device Stream runtime alloc_pinned_memory get_cublas_handle get_current_stream"),
    (cupy.cuda.Stream, "record wait_event synchronize"),
    (cupy.cuda.memory, "OutOfMemoryError"),
    (cupy.cuda.compiler, "CompileException"),
    (cupy.RawModule, "compile get_function"),
    (cupy.cuda.Event, "synchronize"),
    (cupy.cuda.Device, "__enter__ __exit__"),
    (cupy.ndarray, "set view reshape"),
    (cupy.cuda.MemoryPointer, "ptr memset_async copy_from_host_async"),
    (cupy.cuda.runtime, "getDeviceCount getDeviceProperties memGetInfo CUDARuntimeError"),
):
    missing = [name for name in names.split() if not hasattr(module, name)]
    assert not missing, (module, missing)
face = Path(find_spec("cupy_backends.cuda.libs.cublas").origin).read_bytes()
wanted = "handle transa transb m n k alpha A lda B ldb beta C ldc".split()
told = re.search(rb"sgemm\\((intptr_t handle[^)]*)\\)", face)[1].decode()
assert [part.split()[-1] for part in told.split(",")] == wanted, told
assert b"setMathMode(intptr_t handle, int mode)" in face
sys.path.insert(0, str(Path(sys.argv[1]).parent))
from onepass.cluster.kernels import gpu
try:
    print(gpu.Gpu().name)
except gpu.NoGpuError as error:
    print(error)
"""
    package = Path(onepass.__file__).parent
    python = [oracle_python("nvidia"), "-W", "ignore", "-c", code, package]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search("GPU|driver|cublas|NVIDIA", done.stdout, re.IGNORECASE)
