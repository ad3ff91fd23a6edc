"""What has been learnt of a stream, as plain facts and arrays: to be kept, and gone on with later.

What stands in a state may come from anyone: all of it is looked at before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Rows
from onepass.errors import DecodeError
from onepass.sparse import SparseRows

_ALL_ARE_KEPT = 64.0
"""A threshold of keys above those of all rows, unless their chances are one in 2**64."""

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


class State(NamedTuple):
    """Facts and arrays.

    Attributes
    ----------
    facts : dict
        What JSON can hold.
    arrays : dict of str to ndarray
        Views of what a stream holds, which are to be used before it goes on.
    """

    facts: dict[str, Any]
    arrays: Arrays

    def fact(self, name: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        """Return a fact.

        Raises
        ------
        DecodeError
            When there is none, or it is of another kind.
        """
        value = self.facts.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DecodeError(f"its {name} is {value!r}")
        return value

    def number(self, name: str) -> float:
        """Return a fact that is a finite number, not below 0."""
        value = float(self.fact(name, (int, float)))
        if not 0 <= value < math.inf:
            raise DecodeError(f"its {name} is {value!r}")
        return value

    def count(self, name: str) -> int:
        """Return a fact that is a whole number, not below 0."""
        value: int = self.fact(name, int)
        if value < 0:
            raise DecodeError(f"its {name} is {value}")
        return value

    def generator(self, name: str) -> np.random.Generator:
        """Return a generator of random numbers that goes on where another has left off."""
        generator, told = np.random.default_rng(0), self.fact(name, dict)
        try:
            generator.bit_generator.state = told
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            raise DecodeError(f"its {name} cannot be gone on with: {error!r}") from error
        return generator

    def array(
        self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        """Return an array of finite numbers.

        Parameters
        ----------
        name : str
        dtype : type
        shape : tuple of int or None
            None where any length will do.

        Raises
        ------
        DecodeError
            When there is none, or it is another.
        """
        array = self.arrays.get(name)
        if array is None:
            raise DecodeError(f"it has no {name}")
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, n) for wanted, n in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            raise DecodeError(f"its {name} is of shape {array.shape} and type {array.dtype}")
        if not np.isfinite(array).all():
            raise DecodeError(f"its {name} is not finite throughout")
        return array

    def centers(self, name: str, shape: tuple[int, int]) -> Rows:
        """Return an array of centers."""
        return self.array(name, np.float32, shape)

    def rows(self, name: str, n_features: int, *, sparse: bool) -> Rows | SparseRows:
        """Return rows that `of_rows` has taken apart."""
        if not sparse:
            return self.array(f"{name}_rows", np.float32, (None, n_features))
        starts = self.array(f"{name}_starts", np.int64, (None,))
        values = self.array(f"{name}_values", np.float32, (None,))
        columns = self.array(f"{name}_columns", np.int32, values.shape)
        ends = [0, len(values)]
        if not len(starts) or [starts[0], starts[-1]] != ends or (np.diff(starts) < 0).any():
            raise DecodeError(f"its {name}_starts do not tell where rows begin and end")
        if len(columns) and not (columns.min() >= 0 and columns.max() < n_features):
            raise DecodeError(f"its {name}_columns are not all among {n_features} features")
        return SparseRows(starts, columns, values, n_features)


def trimmed(state: State, most_bytes: int) -> State:
    """Return a state that takes less room: centers, counters, and as much of the sample as may be.

    What goes on from it samples as it would have with room for so many rows; the sums of all rows
    of a center are made of the center and its weight, rounded.

    Parameters
    ----------
    state : State
        Of a stream that holds no rows back; see `KMeans.flush`.
    most_bytes : int
        Of the sample.
    """
    arrays = {n: a for n, a in state.arrays.items() if n not in ("summary_sums", "summary_squares")}
    if "summary_centers" not in arrays:
        centers = state.arrays["summary_sums"] / state.arrays["summary_weights"]
        arrays["summary_centers"] = np.ascontiguousarray(centers.T, np.float32)
    keys = arrays["sample_keys"]
    order = np.argsort(keys, kind="stable")
    n = int(np.searchsorted(np.cumsum(_row_bytes(arrays)[order]), most_bytes, side="right"))
    if n == len(keys):
        return State(state.facts, arrays)
    chosen = np.sort(order[:n])
    n_features = arrays["summary_centers"].shape[1]
    rows = state.rows("sample", n_features, sparse="sample_rows" not in arrays)
    arrays |= of_rows("sample", rows[chosen])
    for name in ("keys", "log2_weights", "log2_chances", "strata"):
        arrays[f"sample_{name}"] = arrays[f"sample_{name}"][chosen]
    return State(state.facts | {"log2_threshold": float(keys[order[n]])}, arrays)


def _row_bytes(arrays: Arrays) -> npt.NDArray[np.int64]:
    """Return how many bytes each row of a sample takes."""
    columns = 28
    if "sample_rows" in arrays:
        rows = arrays["sample_rows"]
        return np.full(len(rows), columns + 4 * rows.shape[1], np.int64)
    counts: npt.NDArray[np.int64] = 8 * np.diff(arrays["sample_starts"]) + columns + 8
    return counts


def of_rows(name: str, rows: Rows | SparseRows) -> dict[str, npt.NDArray[Any]]:
    """Return rows as arrays that have a name in common."""
    if not isinstance(rows, SparseRows):
        return {f"{name}_rows": rows}
    return {
        f"{name}_starts": rows.starts,
        f"{name}_columns": rows.columns,
        f"{name}_values": rows.values,
    }


def refuse_unless(condition: object, what: str) -> None:
    """Refuse a state of which something does not hold."""
    if not condition:
        raise DecodeError(what)


def state_of_centers(centers: Rows, n_rows: int) -> State:
    """Return the state of a stream of which nothing but final centers is known.

    Each of them stands for as many of its rows as the others, none of which is at hand, and how far
    they were is not known: it counts as 0. Rows that follow are all kept, as far as there is room.
    """
    n = len(centers)
    nothing = np.empty(0)
    facts = {
        "n_taken": n_rows,
        "total_weight": float(n_rows),
        "short_term_msd": 0.0,
        "service_cost": 0.0,
        "n_opened": 0,
        "log2_threshold": _ALL_ARE_KEPT,
        "n_sampled": [1, 1],
        "half_life": 0.0,
        "random": np.random.default_rng(0).bit_generator.state,
    }
    arrays = {
        "summary_centers": centers,
        "summary_weights": np.full(n, n_rows / n),
        "summary_scatter": np.zeros(n),
        "sample_keys": nothing,
        "sample_log2_weights": nothing,
        "sample_log2_chances": nothing,
        "sample_strata": np.empty(0, np.int32),
        "held_weights": nothing,
    }
    return State(facts, arrays)
