"""What computes: the processor, or a GPU where there is one."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

from onepass.cluster.kernels.gpu import Gpu, NoGpuError
from onepass.resources import visible_gpus

_log = logging.getLogger(__name__)

Device: TypeAlias = Literal["auto", "cpu", "gpu"]


def may_be_gpu(wanted: Device) -> bool:
    """Whether it is worth looking for a GPU: nothing is loaded to tell."""
    return wanted == "gpu" or (wanted == "auto" and visible_gpus() > 0)


def find_gpu(wanted: Device) -> Gpu | None:
    """Return the GPU to compute on.

    Parameters
    ----------
    wanted : {"auto", "cpu", "gpu"}

    Returns
    -------
    Gpu or None
        None for the processor: where that is wanted, or, of "auto", where no GPU can be used. That
        there is one which cannot be used is told in the log.

    Raises
    ------
    NoGpuError
        When a GPU is wanted and none can be used.
    """
    if not may_be_gpu(wanted):
        return None
    try:
        return Gpu()
    except NoGpuError as error:
        if wanted == "gpu":
            raise NoGpuError(
                f"device=gpu: {error}; device must be auto, cpu, or gpu where there is one"
            ) from error
        _log.warning("computing on the CPU: %s", error)
        return None
