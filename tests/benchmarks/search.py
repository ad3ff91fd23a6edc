"""How fast the closest center of each row is found: in float32, by bytes first, and by others.

    python tests/benchmarks/search.py [--shapes 3000x1000x400 ...] [--rounds 7]

A shape is rows x centers x features. Rows and centers are drawn in several ways: from a *mixture*
of as many normal distributions as there are centers; as *noise* without clusters; on a *plane* of
12 dimensions, with a little noise; with *heavy* tails like GDELT's (26 features only); and in two
*blobs* far apart, within which bytes tell nothing apart. All search in turn, round by round, on one
thread; figures are medians of microseconds of the processor for a row. "Left" are rows that bytes
were not enough for; "laid out" are centers prepared once, as a served model has them. faiss and
NumPy answer with the product's distances, Onepass measures the closest anew; all must find centers
as close. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from data_sets import heavy_tailed

from onepass.cluster.kernels import compiled, native, reference, rounded

SHAPES = ["3000x10x26", "3000x100x26", "3000x1000x26", "3000x100x100", "3000x1000x100"]
SHAPES += ["3000x10x400", "3000x100x400", "3000x1000x400", "3000x500x2000"]
HEAVY_FEATURES = 26

Search = Callable[[], np.ndarray]


def mixture(rng: np.random.Generator, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    centers = 3 * rng.standard_normal((k, d))
    return centers[rng.integers(k, size=n)] + rng.standard_normal((n, d)), centers


def noise(rng: np.random.Generator, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((n, d)), rng.standard_normal((k, d))


def plane(rng: np.random.Generator, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    spanned = rng.standard_normal((n + k, 12)) @ rng.standard_normal((12, d))
    spanned += 0.3 * rng.standard_normal((n + k, d))
    return spanned[:n], spanned[n:]


def blobs(rng: np.random.Generator, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rows, centers = noise(rng, n, k, d)
    return (given + 1000 * rng.integers(2, size=(len(given), 1)) for given in (rows, centers))


def heavy(rng: np.random.Generator, n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    del rng, d
    rows = heavy_tailed(n + k)
    return rows[:n], rows[n:]


KINDS = {"mixture": mixture, "noise": noise, "plane": plane, "heavy": heavy, "blobs": blobs}


def searches(rows: np.ndarray, centers: np.ndarray) -> dict[str, Search]:
    """Return all that can be measured here; each finds a center for each row."""
    origin = centers.mean(axis=0)
    found: dict[str, Search] = {}
    if compiled.is_compiled():
        lanes = compiled.fastest_lanes()
        found["float32"] = lambda: native.search(rows, centers, origin, lanes=lanes).labels
        if rounded.rounds(*centers.shape):
            found["bytes first"] = lambda: native.search(rows, centers, origin).labels
            layout = native.layout(centers, origin)
            if layout is not None:
                found["laid out"] = lambda: native.search_among(rows, layout).labels
    found["NumPy"] = lambda: reference.search(rows, centers, origin).labels
    try:
        import faiss
    except ImportError:
        return found
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(centers)
    return found | {"faiss": lambda: index.search(rows, 1)[1][:, 0]}


def share_left(rows: np.ndarray, centers: np.ndarray) -> float:
    if not rounded.rounds(*centers.shape):
        return 1.0
    squares = native.search(rows, centers, centers.mean(axis=0)).squares
    return float((squares > 0).mean())


def medians_us(found: dict[str, Search], n_rows: int, n_rounds: int) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(n_rounds):
        for name, search in found.items():
            before = time.thread_time()
            search()
            took[name].append(time.thread_time() - before)
    return {name: 1e6 * statistics.median(times) / n_rows for name, times in took.items()}


def check(found: dict[str, Search], rows: np.ndarray, centers: np.ndarray) -> None:
    """See that all find centers as close as the first one does."""
    closest, largest = None, float((centers.astype(np.float64) ** 2).sum(axis=1).max())
    for name, search in found.items():
        gaps = rows.astype(np.float64) - centers[search()]
        here = np.einsum("ij,ij->i", gaps, gaps)
        closest = here if closest is None else closest
        # As far from the origin as blobs are, products lose digits of distances.
        bound = 1e-4 * closest + 1e-6 * largest
        assert (np.abs(here - closest) <= bound).all(), name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    names = ("float32", "bytes first", "laid out", "NumPy", "faiss")
    print(
        f"| rows x centers x features | drawn | left | {' | '.join(names)} | float32 / laid out |"
    )
    print(f"| --- | --- | ---: |{' ---: |' * (len(names) + 1)}")
    with threadpool_limits(1):
        for shape in options.shapes:
            n, k, d = map(int, shape.split("x"))
            for kind, draw in KINDS.items():
                if kind == "heavy" and d != HEAVY_FEATURES:
                    continue
                drawn = draw(np.random.default_rng([n, k, d]), n, k, d)
                rows, centers = (np.ascontiguousarray(given, np.float32) for given in drawn)
                found = searches(rows, centers)
                check(found, rows, centers)
                took = medians_us(found, n, options.rounds)
                cells = [f"{took[name]:.3g}" if name in took else "-" for name in names]
                ratio = took.get("float32", np.nan) / took.get("laid out", np.nan)
                cells.append("-" if np.isnan(ratio) else f"{ratio:.2f}")
                left = f"{share_left(rows, centers):.1%}" if "bytes first" in took else "-"
                print(
                    f"| {n:,} x {k:,} x {d} | {kind} | {left} | {' | '.join(cells)} |", flush=True
                )


if __name__ == "__main__":
    main()
