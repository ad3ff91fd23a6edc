"""Memory does not grow with the data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from onepass.formats.libsvm import write_lines
from onepass.sparse import SparseRows

N_FEATURES = 100_000
MIB = 2**20


def peak_of(*words):
    """Convert in a process of its own; return how much memory it took at most.

    The kernel's own account of the process: `getrusage` also counts the process it came from.
    """
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from onepass.cli.main import main\n"
        "try:\n    main(['convert', *sys.argv[1:]])\n"
        "except SystemExit as end:\n    code = end.code\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])\n"
        "raise SystemExit(code)\n"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return 1024 * int(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """2,000 and 50 rows of 100,000 features: unfolded, the first would take 800 MB."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("wide")
    for name, n_rows in [("many", 2_000), ("few", 50)]:
        counts = np.full(n_rows, 200)
        keys = [np.sort(rng.choice(N_FEATURES, n, replace=False)) for n in counts]
        keys = np.concatenate(keys).astype(np.int32)
        values = rng.normal(size=len(keys)).astype(np.float32)
        rows = SparseRows.of_counts(counts, columns=keys, values=values, n_features=N_FEATURES)
        labels = rng.integers(0, 9, (n_rows, 1)).astype(np.float32)
        (folder / f"{name}.libsvm").write_bytes(write_lines(rows, labels, first_index=1))
    return folder


def test_a_wide_sparse_file_is_not_unfolded(wide):
    width = ["--feature-dim", N_FEATURES]
    few = peak_of(wide / "few.libsvm", wide / "few.pbr", *width)
    assert peak_of(wide / "many.libsvm", wide / "many.pbr", *width) < few + 64 * MIB
    assert peak_of(wide / "many.pbr", wide / "back.libsvm") < few + 64 * MIB
    assert (wide / "back.libsvm").read_bytes() == (wide / "many.libsvm").read_bytes()


def test_a_wide_sparse_file_is_unfolded_block_by_block(wide):
    width = ["--feature-dim", N_FEATURES]
    few = peak_of(wide / "few.libsvm", wide / "few.npy", *width)
    many = peak_of(wide / "many.libsvm", wide / "many.npy", *width)
    assert (wide / "many.npy").stat().st_size > 760 * MIB
    (wide / "many.npy").unlink()
    assert many < few + 64 * MIB


@pytest.mark.parametrize(
    ("name", "n_short", "n_long"),
    [
        ("out.pbr", 100_000, 800_000),
        ("out.csv", 60_000, 400_000),
        ("out.libsvm", 60_000, 400_000),
        ("out.parquet", 450_000, 1_200_000),  # it holds a row group of 32 MiB
    ],
)
def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path, name, n_short, n_long):
    rng = np.random.default_rng(0)
    peaks = []
    for n_rows in (n_short, n_long):
        np.save(tmp_path / "in.npy", rng.normal(size=(n_rows, 20)).astype(np.float32))
        peaks.append(peak_of(tmp_path / "in.npy", tmp_path / f"{n_rows}-{name}"))
    assert peaks[1] < peaks[0] + 16 * MIB
    assert 80 * (n_long - n_short) > 24 * MIB  # what holding all would take
