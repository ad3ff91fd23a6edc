"""Processors and memory, as fake control groups of both versions limit them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onepass.resources import (
    available_cpus,
    give_back_memory,
    memory_limit_bytes,
    memory_used_bytes,
)

ALLOWED = len(os.sched_getaffinity(0))
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def version_1(root, quota, period):
    (root / "cpu").mkdir()
    (root / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (root / "cpu/cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_control_groups_the_affinity_counts(tmp_path):
    assert available_cpus(tmp_path) == ALLOWED


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000", ALLOWED),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", min(2, ALLOWED)),
        ("6400000 100000", min(64, ALLOWED)),
        ("1000 100000", 1),
        ("100000 0", ALLOWED),
        ("", ALLOWED),
        ("garbage", ALLOWED),
    ],
)
def test_a_quota_of_version_2_is_rounded_up(tmp_path, text, cpus):
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert available_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        (-1, 100000, ALLOWED),
        (50000, 100000, 1),
        (150000, 100000, min(2, ALLOWED)),
        (0, 0, ALLOWED),
    ],
)
def test_a_quota_of_version_1_is_rounded_up(tmp_path, quota, period, cpus):
    version_1(tmp_path, quota, period)
    assert available_cpus(tmp_path) == cpus


def test_a_process_bound_to_one_processor_has_one(tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_without_a_limit_the_memory_is_the_machines(tmp_path):
    assert memory_limit_bytes(tmp_path) == PHYSICAL


def test_version_2_says_max_for_no_limit(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit_bytes(tmp_path) == PHYSICAL


def test_a_limit_of_version_2_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_limit_bytes(tmp_path) == 2**20


def test_a_limit_of_version_1_counts(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("2097152\n")
    assert memory_limit_bytes(tmp_path) == 2**21


def test_version_1_writes_no_limit_as_a_number_beyond_the_machine(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit_bytes(tmp_path) == PHYSICAL


def test_the_real_machine_gives_sensible_numbers():
    assert 1 <= available_cpus() <= ALLOWED
    assert 0 < memory_limit_bytes() <= PHYSICAL


def test_memory_in_use_of_version_2_leaves_out_files_that_can_go(tmp_path):
    (tmp_path / "memory.max").write_text("1048576\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\nfile 300000\ninactive_file 250000\n")
    assert memory_used_bytes(tmp_path) == 450_000


def test_memory_in_use_of_version_1_is_that_of_all_groups_below(tmp_path):
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "memory.limit_in_bytes").write_text("1048576\n")
    (memory / "memory.usage_in_bytes").write_text("700000\n")
    (memory / "memory.stat").write_text("inactive_file 7\ntotal_inactive_file 250000\n")
    assert memory_used_bytes(tmp_path) == 450_000


@pytest.mark.parametrize("version", [1, 2])
def test_without_a_limit_the_memory_in_use_is_that_of_the_process(tmp_path, version):
    if version == 1:
        (tmp_path / "memory").mkdir()
        (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
        (tmp_path / "memory/memory.usage_in_bytes").write_text("700000\n")
    else:
        (tmp_path / "memory.max").write_text("max\n")
        (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "statm").write_text("5000 1200 300 1 0 900 0\n")
    page = os.sysconf("SC_PAGE_SIZE")
    assert memory_used_bytes(tmp_path, tmp_path) == 1200 * page
    assert memory_used_bytes(tmp_path, tmp_path / "none") == 0
    assert 2**20 < memory_used_bytes() < PHYSICAL


def test_what_has_been_freed_goes_back():
    """Pieces too small to be mapped one by one, the last of which keeps the others in place."""
    give_back_memory()
    pieces = [bytearray(b"x" * 50_000) for _ in range(2000)]
    held = resident_bytes()
    last = pieces.pop()
    pieces.clear()
    give_back_memory()
    assert resident_bytes() < held - 80_000_000
    assert last


def test_what_threads_have_freed_goes_back_though_it_may_be_kept():
    code = (
        "import threading\n"
        "from onepass.resources import give_back_memory, keep_freed_memory, memory_used_bytes\n"
        "from pathlib import Path\n"
        "none = Path('/none')\n"
        "keep_freed_memory(2**26)\n"
        "before, barrier = memory_used_bytes(none), threading.Barrier(4)\n"
        "def fill():\n"
        "    pieces = [bytearray(b'x' * 5_000_000) for _ in range(3)]\n"
        "    barrier.wait()\n"
        "    pieces.clear()\n"
        "    barrier.wait()\n"  # a thread that has ended leaves its memory to others
        "    barrier.wait()\n"
        "threads = [threading.Thread(target=fill) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "barrier.wait()\n"
        "barrier.wait()\n"
        "kept = memory_used_bytes(none) - before\n"
        "give_back_memory()\n"
        "print(kept, memory_used_bytes(none) - before)\n"
        "barrier.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    kept, left = map(int, done.stdout.split())
    assert kept > 30_000_000
    assert left < 5_000_000


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
