"""NVIDIA's own compiler takes the source: what the emulation cannot tell."""

from __future__ import annotations

import ctypes
from importlib.resources import files

import pytest

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
