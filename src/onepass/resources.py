"""What of this machine is really ours: processors and memory, as the kernel limits them."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_DEVICES = Path("/dev")
_PROCESS = Path("/proc/self")
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX, _LARGEST_KEPT = -1, -3, -8, 2**25  # of <malloc.h>


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Count the processors this process may use at once.

    The smaller of the scheduler's affinity and the control group's quota rounded up; a container
    limited to 1.5 CPUs on a host of 64 has 2.

    Parameters
    ----------
    cgroup : Path
        Where the control groups are mounted (version 1 or 2).

    Returns
    -------
    int
        At least 1.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _cpu_quota(cgroup)
    return max(1, min(allowed, math.ceil(quota)) if quota else allowed)


def visible_gpus(devices: Path = _DEVICES) -> int:
    """Count the GPUs of NVIDIA that this machine or container has, without a word to their driver.

    Parameters
    ----------
    devices : Path
        Where devices have their files.
    """
    return sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*"))


def memory_limit_bytes(cgroup: Path = _CGROUP) -> int:
    """Return how much memory this process may use, in bytes.

    The smaller of the machine's memory and the control group's limit.
    """
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(cgroup / name)
        if text.isdigit():
            return min(_physical_bytes(), int(text))
    return _physical_bytes()


def memory_used_bytes(cgroup: Path = _CGROUP, process: Path = _PROCESS) -> int:
    """Return how much of the memory that `memory_limit_bytes` speaks of is in use, in bytes.

    That of the control group, where one limits it, without the files that the kernel keeps as long
    as there is room; else that of this process.
    """
    for limit, used, told, unneeded in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        most, amount = _read(cgroup / limit), _read(cgroup / used)
        if most.isdigit() and int(most) < _physical_bytes() and amount.isdigit():
            stat = dict(line.split() for line in _read(cgroup / told).splitlines())
            return max(0, int(amount) - int(stat.get(unneeded, "0")))
    fields = _read(process / "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def keep_freed_memory(n_bytes: int) -> None:
    """Let this process keep up to so many bytes that were freed, for its next use of them.

    Otherwise each array of more than 128 KiB is asked of the kernel anew, page by page: that takes
    longer than filling it. Only where the C library is glibc, and before there are threads: these
    have what is kept in common, as else each would keep as much, and never give it back.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_TRIM_THRESHOLD, n_bytes)
        library.mallopt(_MMAP_THRESHOLD, min(n_bytes, _LARGEST_KEPT))


def give_back_memory() -> None:
    """Return to the system what has been freed here: by glibc, which keeps much of it for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_quota(cgroup: Path) -> float | None:
    """Return the quota in CPUs, or None where there is no limit."""
    fields = _read(cgroup / "cpu.max").split()
    if len(fields) != 2:
        fields = [
            _read(cgroup / "cpu/cpu.cfs_quota_us"),
            _read(cgroup / "cpu/cpu.cfs_period_us"),
        ]
    quota, period = fields
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
