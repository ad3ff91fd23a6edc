"""A reservoir as arrays, to be kept, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from onepass.cluster.offers import Kept
from onepass.cluster.reservoir import Reservoir
from onepass.cluster.row_stores import R
from onepass.cluster.state import State, of_rows, refuse_unless


def arrays_of(reservoir: Reservoir[R]) -> dict[str, npt.NDArray[Any]]:
    """Return all that a reservoir holds as arrays: views."""
    kept = reservoir.kept(compact=False)
    return of_rows("sample", kept.rows) | {
        "sample_keys": kept.keys,
        "sample_log2_weights": kept.log2_weights,
        "sample_log2_chances": kept.log2_chances,
        "sample_strata": kept.strata,
    }


def restore_sample(
    reservoir: Reservoir[R], state: State, rows: R, n_strata: int, log2_later: float
) -> None:
    """Have a reservoir hold what another one has held, and nothing else.

    Parameters
    ----------
    reservoir : Reservoir
    state : State
        With what `arrays_of` has returned.
    rows : ndarray of shape (n, n_features), float32; or SparseRows
        Those of the state.
    n_strata : int
        Centers of the summary.
    log2_later : float
        How many half-lives earlier this stream began than that one.
    """
    keys, log2_weights, log2_chances = (
        state.array(f"sample_{name}", np.float64, (len(rows),))
        for name in ("keys", "log2_weights", "log2_chances")
    )
    strata = state.array("sample_strata", np.int32, (len(rows),))
    in_range = not len(strata) or (strata.min() >= 0 and strata.max() < n_strata)
    refuse_unless(in_range, f"its sample_strata are not all among {n_strata} centers")
    kept = Kept(
        rows,
        keys - log2_later,
        log2_weights + log2_later,
        log2_chances + log2_later,
        strata,
        _threshold(state) - log2_later,
    )
    capacity, wanted = _capacities(state)
    reservoir.keep(kept, capacity if wanted == reservoir.capacities[1] else None)


def _threshold(state: State) -> float:
    if state.facts.get("log2_threshold") is None:
        return math.inf
    threshold = float(state.fact("log2_threshold", (int, float)))
    refuse_unless(math.isfinite(threshold), "its log2_threshold is not finite")
    return threshold


def _capacities(state: State) -> tuple[int, int]:
    given = state.fact("n_sampled", list)
    is_pair = len(given) == 2 and all(type(n) is int for n in given)
    refuse_unless(is_pair and 0 < given[0] <= given[1], f"its n_sampled is {given}")
    return given[0], given[1]
