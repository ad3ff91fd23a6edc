"""Whether clusterings made on a GPU are as good as those made on the processor.

    python tests/benchmarks/devices.py [--seeds 5] [--sets heavy mixture-10 mixture-100]

Prints, for each data set and k, msd on the GPU by that on the processor, for each seed and the
geometric mean: it must be within half a percent of 1. Batches are small here, so that many are
taken on the GPU. `--emulated` takes the tests' emulation of one, whose results are the same to
rounding, at half a minute a fit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from onepass import KMeans
from onepass.cluster import device_plan
from onepass.cluster.kernels import gpu as kernels

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
from data_sets import Mixture, heavy_tailed

BATCH_ROWS, SAMPLE_BYTES = 8000, 2**22
SETS: dict[str, Callable[[], np.ndarray]] = {
    "heavy": lambda: heavy_tailed(100_000),
    "mixture-10": Mixture(100_000, 10, 100).draw,
    "mixture-100": Mixture(60_000, 100, 100).draw,
    "tiny": Mixture(2000, 3, 4).draw,
}


def msd(rows: np.ndarray, k: int, seed: int, device: str) -> float:
    """Return the exact msd of a fit."""
    at_once = min(BATCH_ROWS, len(rows) // 10)
    kmeans = KMeans(
        k, device=device, random_state=seed, batch_size=at_once, reservoir_bytes=SAMPLE_BYTES
    )
    kmeans.partial_fit(rows).finalize()
    return kmeans.to_model().inertia(rows) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="*", choices=[*SETS], default=[*SETS][:3])
    parser.add_argument("--clusters", type=int, nargs="*", default=[10, 100])
    parser.add_argument("--emulated", action="store_true")
    options = parser.parse_args()
    if options.emulated:
        import emulation

        stand_in = emulation.stand_in()
        kernels.cuda = lambda: stand_in
        kernels._ONE_BLOCK = 256
    try:
        print(kernels.Gpu().name)
    except kernels.NoGpuError as error:
        sys.exit(f"{error}: nothing is measured")
    device_plan._LEAST_ROWS, device_plan._ROW_VALUES = 1, 1
    print("\n| rows | k | each seed | mean |\n| --- | ---: | --- | ---: |")
    for name in options.sets:
        rows = SETS[name]()
        for k in options.clusters:
            ratios = [
                msd(rows, k, seed, "gpu") / msd(rows, k, seed, "cpu")
                for seed in range(options.seeds)
            ]
            each = " ".join(f"{ratio:.4f}" for ratio in ratios)
            mean = np.exp(np.mean(np.log(ratios)))
            print(f"| {name}, {len(rows):,} x {rows.shape[1]} | {k} | {each} | {mean:.4f} |")


if __name__ == "__main__":
    main()
