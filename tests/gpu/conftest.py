"""A GPU: the real one where there is one, and one that is emulated wherever C++ compiles."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onepass.cluster.kernels import gpu

sys.path.insert(0, str(Path(__file__).parent))
import emulation


def real_gpu():
    """Return why there is no real GPU; empty where there is one."""
    try:
        return "" if gpu.count_gpus() else "no GPU"
    except gpu.NoGpuError as error:
        return str(error)


@pytest.fixture
def emulated(monkeypatch):
    """Let a module that stands in for CuPy be found; takes what it tells of itself."""
    if emulation.COMPILER is None:
        pytest.skip("the emulation of a GPU needs a C++ compiler")

    def emulated(**told):
        stand_in = emulation.stand_in(**told)
        monkeypatch.setattr(gpu, "cuda", lambda: stand_in)
        return stand_in.cupy

    return emulated


@pytest.fixture(params=["emulated", "real"])
def device(request):
    """A GPU, real or not."""
    if request.param == "emulated":
        request.getfixturevalue("emulated")()
    elif reason := real_gpu():
        pytest.skip(reason)
    return gpu.Gpu()
