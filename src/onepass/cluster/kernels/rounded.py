"""Where centers are looked at in eight bits first, and what that takes; the work is done in C."""

from __future__ import annotations

from onepass.cluster.kernels.compiled import is_compiled, library
from onepass.cluster.kernels.results import Found

_FEWEST_CENTERS, _FEWEST_FEATURES, _FEWEST_VALUES = 48, 24, 2**12
"""From which on it pays."""

_MOST_CENTERS = _MOST_FEATURES = 2**16
"""Six lines of scores take up memory, and sums of products of bytes have 31 bits."""

_EFFORT, _EFFORT_BY_FEATURES = 0.25, 11.0
"""Of rounding rows and looking at rounded centers, and of what goes with it; as in C."""


def has_bytes() -> bool:
    """Whether this processor adds up products of bytes, and there is C to make use of it."""
    return is_compiled() and bool(library().onepass_adds_bytes())


def rounds(n_centers: int, n_features: int) -> bool:
    """Whether so many centers are rounded to find those that may be closest, where that is enough.

    Looking at all of them then takes a third to two thirds of the time.
    """
    return (
        _FEWEST_CENTERS <= n_centers <= _MOST_CENTERS
        and _FEWEST_FEATURES <= n_features <= _MOST_FEATURES
        and n_centers * n_features >= _FEWEST_VALUES
        and has_bytes()
    )


def effort_of(found: Found, n_centers: int, n_features: int) -> float:
    """Return what a search among all centers took, as a share of one in float32."""
    if not (len(found.labels) and rounds(n_centers, n_features)):
        return 1.0
    left = float((found.squares > 0).mean())  # rows for which bytes were not enough
    return min(1.0, _EFFORT + _EFFORT_BY_FEATURES / n_features + left)
