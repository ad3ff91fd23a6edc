"""A stand-in for CuPy, whose kernels run on a processor: what `gpu.py` uses of it, and no more.

Arrays are those of NumPy; the source in CUDA is compiled by a C++ compiler behind `emulation.h`.
What a GPU does at the same time is done one after the other here, so that races are not found; but
every index, every sum and every exchange between threads is that of the kernels themselves.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock, local
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from onepass.cluster.kernels.gpu import Cuda

HEADER = Path(__file__).with_name("emulation.h")
COMPILER = shutil.which("g++") or shutil.which("c++")
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^)]*)\)')
_PARAMETER = re.compile(r"(?:const )?(\w+) (\*?)\w+")
_ONE_AT_A_TIME = Lock()
_TYPES = {
    "i64": np.int64,
    "u64": np.uint64,
    "int": np.int32,
    "unsigned": np.uint32,
    "float": np.float32,
    "double": np.float64,
    "report": np.uint8,
}


@cache
def _compiled(code: str) -> ctypes.CDLL:
    """Compile a source with an entry for each kernel."""
    assert COMPILER
    names = [name for name, _ in _KERNEL.findall(code)]
    entries = "".join(
        f'extern "C" void emulate_{name}(const unsigned *sizes, void **given) '
        f"{{ emulation::launch({name}, sizes, given); }}\n"
        for name in names
    )
    folder = Path(tempfile.mkdtemp())
    source, library = folder / "kernels.cpp", folder / "kernels.so"
    source.write_text(f'#include "{HEADER}"\n{code}\n{entries}')
    options = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-w"]
    subprocess.run([COMPILER, *options, "-o", library, source], check=True)
    return ctypes.CDLL(str(library))


def _of_three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes, 1, 1)[:3]


class RawKernel:
    """A kernel that is called as CuPy's."""

    def __init__(self, function: Any, parameters: str) -> None:
        self._function = function
        self._parameters = [
            (_TYPES[kind], pointer == "*") for kind, pointer in _PARAMETER.findall(parameters)
        ]

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]
    ) -> None:
        sizes = (ctypes.c_uint * 6)(*_of_three(grid), *_of_three(block))
        if not all(sizes):
            raise ValueError(f"a kernel of no threads: {grid}, {block}")
        pairs = zip(arguments, self._parameters, strict=True)
        kept = [self._value(argument, *parameter) for argument, parameter in pairs]
        given = (ctypes.c_void_p * len(kept))(*(value.ctypes.data for value in kept))
        with _ONE_AT_A_TIME:
            self._function(sizes, given)

    @staticmethod
    def _value(argument: Any, dtype: type[np.generic], is_array: bool) -> np.ndarray:
        """Return what C reads: the address of an array, or the number itself."""
        if is_array and isinstance(argument, np.ndarray):
            assert argument.own == THREAD.used, "an array of another device"
            assert argument.dtype == dtype, f"{argument.dtype} where {dtype} is read"
            assert argument.flags.c_contiguous
            return np.array(argument.ctypes.data, np.uint64)
        wanted = np.uint64 if is_array else dtype
        assert type(argument) is wanted, f"{type(argument)} where {wanted} is read"
        assert not is_array or not argument, "an address that is not that of an array"
        return np.array(argument)


class RawModule:
    """A source that is compiled when a kernel is asked for."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        del options
        self._library = _compiled(code)
        self._parameters = dict(_KERNEL.findall(code))

    def compile(self) -> None:
        """They are compiled already."""

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(getattr(self._library, f"emulate_{name}"), self._parameters[name])


class _Thread(local):
    used = 0


class _Device:
    """A device, which a thread uses within a ``with`` block."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._before = local()

    def __enter__(self) -> None:
        self._before.__dict__.setdefault("stack", []).append(THREAD.used)
        THREAD.used = self.index

    def __exit__(self, *_: object) -> None:
        THREAD.used = self._before.stack.pop()


THREAD = _Thread()


class Event(NamedTuple):
    """A place in what a stream has to do."""

    stream: Stream
    n_before: int

    def synchronize(self) -> None:
        self.stream.run(self.n_before)


class Stream:
    """Does nothing before it is waited for: what relies on it without a wait finds it undone."""

    def __init__(self, *, non_blocking: bool) -> None:
        assert non_blocking
        self.queue: list[Callable[[], Any]] = []
        self._n_done = 0

    def record(self) -> Event:
        return Event(self, self._n_done + len(self.queue))

    def wait_event(self, event: Event) -> None:
        self.queue.append(event.synchronize)

    def synchronize(self) -> None:
        self.run(self._n_done + len(self.queue))

    def run(self, n_before: int) -> None:
        while self._n_done < n_before:
            self.queue.pop(0)()
            self._n_done += 1


class DeviceArray(np.ndarray):
    """An array whose address is where CuPy has it, on the device used when it was made."""

    own: int

    def __array_finalize__(self, made_from: Any) -> None:
        self.own = getattr(made_from, "own", THREAD.used)

    @property
    def data(self) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(
            ptr=self.ctypes.data,
            memset_async=self._memset,
            copy_from_host_async=self._copy_later,
        )

    def _memset(self, value: int, n_bytes: int) -> None:
        assert self.flags.c_contiguous
        ctypes.memset(self.ctypes.data, value, n_bytes)

    def _copy_later(self, address: int, n_bytes: int, stream: Stream) -> None:
        assert self.flags.c_contiguous
        assert n_bytes <= self.nbytes
        stream.queue.append(lambda: ctypes.memmove(self.ctypes.data, address, n_bytes))

    def set(self, array: np.ndarray) -> None:
        assert (array.shape, array.dtype) == (self.shape, self.dtype)
        self[...] = array


class Memory:
    """What arrays take of each device, and have taken at most at a time."""

    def __init__(self, n_bytes: int, n_devices: int) -> None:
        self._sizes = [n_bytes >> i for i in range(n_devices)]
        self._held = [0] * n_devices
        self.peak = [0] * n_devices

    def free(self) -> int:
        """Return what is free of the device in use."""
        return self._sizes[THREAD.used] - self._held[THREAD.used]

    def making(self, make: Any) -> Any:
        """Let what makes arrays make those of a device."""

        def made(*given: Any, **named: Any) -> DeviceArray:
            owner: np.ndarray = make(*given, **named)
            self._count(THREAD.used, owner.nbytes)
            weakref.finalize(owner, self._count, THREAD.used, -owner.nbytes)
            return owner.view(DeviceArray)

        return made

    def _count(self, index: int, n_bytes: int) -> None:
        if n_bytes > 0 and self._held[index] + n_bytes > self._sizes[index]:
            raise MemoryError(f"{n_bytes} bytes more than {self._held[index]}")
        self._held[index] += n_bytes
        self.peak[index] = max(self.peak[index], self._held[index])


def _matrix(address: int, n_rows: int, n_columns: int) -> np.ndarray:
    values = (ctypes.c_float * (n_rows * n_columns)).from_address(address)
    return np.frombuffer(values, np.float32).reshape(n_rows, n_columns)


class Cublas:
    """Products; matrices lie column by column there."""

    def __init__(self) -> None:
        self.tf32 = False

    def setMathMode(self, handle: int, mode: int) -> None:  # noqa: N802 - its name there
        del handle
        self.tf32 = mode == 3

    def sgemm(self, handle: int, *given: int) -> None:
        transposed_a, transposed_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = given
        del handle
        assert (transposed_a, transposed_b, lda, ldb, ldc) == (1, 0, k, k, m)
        assert (_matrix(alpha, 1, 1)[0, 0], _matrix(beta, 1, 1)[0, 0]) == (1, 0)
        left, right = _matrix(a, m, k), _matrix(b, n, k)
        if self.tf32:
            left, right = _in_tf32(left), _in_tf32(right)
        with np.errstate(invalid="ignore", over="ignore"):  # rows may be anything but rows
            np.matmul(right, left.T, out=_matrix(c, n, m))


def _in_tf32(matrix: np.ndarray) -> np.ndarray:
    """Round to 10 bits behind the first."""
    bits = matrix.view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


class _Runtime(SimpleNamespace):
    CUDARuntimeError = RuntimeError


def stand_in(major: int = 9, n_gpus: int = 1, memory: int = 2**34) -> Cuda:
    """Return what takes the place of CuPy."""
    held = Memory(memory, max(n_gpus, 1))
    main = Stream(non_blocking=True)  # all that is asked of it is done at once
    runtime = _Runtime(
        getDeviceCount=lambda: n_gpus,
        getDeviceProperties=lambda _: {
            "name": b"an emulation",
            "totalGlobalMem": memory,
            "major": major,
            "minor": 0,
        },
        memGetInfo=lambda: (held.free(), memory),
    )
    cupy = SimpleNamespace(
        RawModule=RawModule,
        empty=held.making(np.empty),
        zeros=held.making(np.zeros),
        held=held,
        asnumpy=np.array,
        get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0),
        cuda=SimpleNamespace(
            Device=_Device,
            Stream=Stream,
            runtime=runtime,
            alloc_pinned_memory=bytearray,
            memory=SimpleNamespace(OutOfMemoryError=MemoryError),
            compiler=SimpleNamespace(CompileException=ArithmeticError),
            get_cublas_handle=lambda: 0,
            get_current_stream=lambda: main,
        ),
    )
    return Cuda(cupy, Cublas())
