"""What computes: the processor, or a GPU where there is one."""

from __future__ import annotations

import logging
import re
from typing import TypeAlias

from onepass.cluster.kernels.gpu import Gpu, NoGpuError, count_gpus
from onepass.resources import visible_gpus

_log = logging.getLogger(__name__)

Device: TypeAlias = str
"""One of "auto", "cpu", "gpu", or "gpu:0", "gpu:1" and so on."""

DEVICES = re.compile(r"auto|cpu|gpu(:[0-9]{1,3})?")


def may_be_gpu(wanted: Device) -> bool:
    """Whether it is worth looking for a GPU: nothing is loaded to tell."""
    return wanted.startswith("gpu") or (wanted == "auto" and visible_gpus() > 0)


def find_gpu(wanted: Device) -> Gpu | None:
    """Return the GPU to compute on.

    Parameters
    ----------
    wanted : str
        "auto" and "gpu" are the first one.

    Returns
    -------
    Gpu or None
        None for the processor: where that is wanted, or, of "auto", where no GPU can be used. That
        there is one which cannot be used is told in the log.

    Raises
    ------
    NoGpuError
        When a GPU is wanted and that one cannot be used.
    """
    found = find_gpus(wanted, 1)
    return found[0] if found else None


def find_gpus(wanted: Device, most: int) -> list[Gpu]:
    """Return the GPUs to compute on, so many at most: none for the processor; see `find_gpu`.

    The first of them is the one that this thread uses from here on.
    """
    if not may_be_gpu(wanted):
        return []
    first = int(wanted.partition(":")[2] or 0)
    try:
        n = 1 if ":" in wanted else min(most, count_gpus())
        return [Gpu(first + i) for i in reversed(range(n))][::-1]
    except NoGpuError as error:
        if wanted != "auto":
            raise NoGpuError(
                f"device={wanted}: {error}; device must be auto, cpu, or gpu where there is one"
            ) from error
        _log.warning("computing on the CPU: %s", error)
        return []
