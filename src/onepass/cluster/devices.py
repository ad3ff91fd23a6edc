"""What computes: the processor, or a GPU where there is one."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
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

    Those of several that cannot be used are told in the log.
    """
    if not may_be_gpu(wanted):
        return []
    found: list[Gpu] = []
    problems: list[NoGpuError] = []
    try:
        for index in [int(wanted.partition(":")[2])] if ":" in wanted else range(count_gpus()):
            if len(found) < most:
                try:
                    found.append(Gpu(index))
                except NoGpuError as error:
                    problems.append(error)
    except NoGpuError as error:
        problems.append(error)
    if found or wanted == "auto":
        tell(problems, any_left=bool(found))
    elif problems:
        raise demanded(wanted, str(problems[0])) from problems[0]
    return found


def tell(problems: Sequence[Exception], *, any_left: bool) -> None:
    """Tell in the log why GPUs are not used."""
    for problem in problems:
        _log.warning("%s: %s", "not used" if any_left else "computing on the CPU", problem)


def demanded(wanted: Device, problem: str) -> NoGpuError:
    """Return the error of a GPU that must be there and cannot be used."""
    return NoGpuError(
        f"device={wanted}: {problem}; device must be auto, cpu, or gpu where there is one"
    )
