"""How fast texts become rows of float32, by every parser that is known to be fast.

    python tests/benchmarks/text_numbers.py [--rows 1000] [--features 400] [--rounds 7]

Each text is parsed by all in turn, round by round, on one thread; figures are medians of the
processor's time. `floats` has as few digits as tell a float32 from all others, `doubles` as few as
tell a float64 from all others, which is what most clients send, `integers` three digits at most.
All must find the same float32, but for pandas, which may be off by the last digit. Packages that
are not installed are left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
import serving_bodies
from serving_floor import Parse, parsers


def tables(n_rows: int, n_features: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    doubles = rng.normal(size=(n_rows, n_features))
    return {
        "floats": doubles.astype(np.float32),
        "doubles": doubles,
        "integers": rng.integers(0, 1000, size=(n_rows, n_features)),
    }


def check(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    if name == "pandas":
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)


def medians_s(parses: dict[str, Parse], body: bytes, n_rounds: int) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in parses}
    for _ in range(n_rounds):
        for name, parse in parses.items():
            before = time.thread_time()
            parse(body)
            took[name].append(time.thread_time() - before)
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--features", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{options.rows:,} x {options.features:,}; ns a number, and times that of the first\n")
    print("| text | bytes a number | parser | ns | times |")
    print("| --- | ---: | --- | ---: | ---: |")
    for form in ("csv", "json"):
        for kind, table in tables(options.rows, options.features).items():
            body, rows = getattr(serving_bodies, form)(table), table.astype(np.float32)
            parses = parsers(form, body, rows)
            for name, parse in parses.items():
                check(name, parse(body), rows)
            with threadpool_limits(1):
                took = medians_s(parses, body, options.rounds)
            for name, seconds in took.items():
                ns, times = 1e9 * seconds / rows.size, seconds / took[next(iter(took))]
                size = len(body) / rows.size
                print(f"| {form}, {kind} | {size:.1f} | {name} | {ns:.1f} | {times:.1f} |")


if __name__ == "__main__":
    main()
