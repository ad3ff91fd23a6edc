"""What a stream is made of: parts for dense rows, and parts for sparse ones."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from onepass.cluster.arrays import Doubles, Labels, Rows, Weighted, WeightedRows
from onepass.cluster.parameters import Parameters
from onepass.cluster.reservoir import Reservoir, dense_reservoir, sparse_reservoir
from onepass.cluster.row_buffer import Buffer, RowBuffer, SparseRowBuffer
from onepass.cluster.seeding import Seeding
from onepass.cluster.sparse_summary import SparseSummary
from onepass.cluster.state import State
from onepass.cluster.summary import Absorbed, Summary
from onepass.sparse import SparseRows

R = TypeVar("R", Rows, SparseRows)
_R_contra = TypeVar("_R_contra", Rows, SparseRows, contravariant=True)


class AnySummary(Protocol[_R_contra]):
    """A summary of rows; `onepass.cluster.summary.Summary` says what each method does."""

    weights: Doubles
    scatter: Doubles
    service_cost: float
    n_opened: int

    @property
    def centers(self) -> Rows:
        """The mean of the rows each center has absorbed."""

    def __len__(self) -> int: ...
    def as_rows(self) -> WeightedRows:
        """Return the centers as weighted rows."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that is known of the centers: views."""

    def restore(self, state: State) -> None:
        """Have the centers of another summary instead of one's own."""

    def start(
        self, data: Weighted[_R_contra], seeding: Seeding, rng: np.random.Generator
    ) -> Absorbed:
        """Choose the first centers among the first rows, and absorb those."""

    def absorb(self, data: Weighted[_R_contra], rng: np.random.Generator) -> Absorbed:
        """Take one batch."""

    def decay(self, factor: float) -> None:
        """Let everything absorbed so far weigh less."""

    def rescale(self, exponent: int) -> None:
        """Divide all values by ``2**exponent``."""

    def overfull(self) -> bool:
        """Whether there are more centers than are to be kept."""

    def append(self, other: Any) -> None:
        """Take over the centers of another summary of the same kind."""

    def consolidate(self) -> Labels:
        """Merge centers; returns what each has become part of."""


class Parts(NamedTuple, Generic[R]):
    """The parts of a stream, all of which it changes.

    Attributes
    ----------
    n_features : int
    summary : Summary or SparseSummary
    reservoir : Reservoir
    buffer : Buffer
    """

    n_features: int
    summary: AnySummary[R]
    reservoir: Reservoir[R]
    buffer: Buffer[R]


def dense_parts(parameters: Parameters, n_features: int, share: float = 1.0) -> Parts[Rows]:
    """Return parts for dense rows.

    Parameters
    ----------
    parameters : Parameters
    n_features : int
    share : float
        Of the sample, that one of several streams holds; 1 for one stream of all rows.
    """
    return Parts(
        n_features,
        Summary(parameters.n_centers, n_features),
        dense_reservoir(parameters.n_sampled(n_features, share), n_features),
        RowBuffer(parameters.n_in_first_batch(n_features), n_features),
    )


def sparse_parts(parameters: Parameters, n_features: int, share: float = 1.0) -> Parts[SparseRows]:
    """Return parts for sparse rows; see `dense_parts`."""
    reservoir = sparse_reservoir(
        parameters.n_sampled_sparse(n_features, share),
        n_features,
        most_values=int(parameters.reservoir_bytes * share / 10),
        least=2 * parameters.n_clusters,
    )
    return Parts(
        n_features,
        SparseSummary(parameters.n_centers, n_features),
        reservoir,
        SparseRowBuffer(parameters.n_in_first_batch(n_features), n_features),
    )
