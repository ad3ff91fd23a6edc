"""A batch of rows on a GPU, as it is filled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onepass.cluster.arrays import Rows, WeightedRows
from onepass.cluster.kernels.gpu import Gpu
from onepass.cluster.kernels.on_device import Array, DeviceBatch, RecordLayout, Room
from onepass.errors import OnepassError


class IrregularRowError(OnepassError):
    """A row of a batch is none: nothing has been done with the batch.

    Parameters
    ----------
    row : int
        The first such row.
    told : numpy.void
        The report, which has been read.
    """

    def __init__(self, row: int, told: np.void) -> None:
        super().__init__(row, told)
        self.row = row
        self.told = told


def check_report(told: np.void, n_rows: int, fits: Callable[[float], bool]) -> None:
    """Refuse a batch not all of whose rows are rows, or fit float32.

    Parameters
    ----------
    told : numpy.void
        The report.
    n_rows : int
        Of the batch.
    fits : callable
        Whether rows of this peak are small enough, and large enough.

    Raises
    ------
    IrregularRowError
        From the first row on, where it is not known which of them do not fit.
    """
    if not fits(float(told["peak"].view(np.float32))):  # first: rows before an irregular one stay
        raise IrregularRowError(0, told)
    irregular = int(min(told["first_other"], told["first_bad"]))
    if irregular < n_rows:
        raise IrregularRowError(irregular, told)


class FillingBatch:
    """Rows from the host, or from records that are on the device, one behind the other.

    Parameters
    ----------
    gpu : Gpu
    most_rows : int
    origin : ndarray of shape (n_features,), float32
        What rows are relative to.

    Attributes
    ----------
    n_rows : int
    report : array
        Is told of rows that are none, and of their peak; of other things by who computes.

    Notes
    -----
    Memory of the device: ``4 most_rows n_features`` bytes, and as much again while rows come from
    the host; of the host, ``8 most_rows``.
    """

    def __init__(self, gpu: Gpu, most_rows: int, origin: Rows) -> None:
        d = len(origin)
        self._gpu = gpu
        self._rows = gpu.empty((most_rows, d), np.float32)
        self._origin = gpu.put(origin)
        nothing = gpu.zeros(d, np.uint32)
        self._plain = RecordLayout(d, nothing, nothing, 0, 0)
        self._weights = np.ones(most_rows)
        self._weigh_one = True  # all rows, and then what is written down of weights means nothing
        self.n_rows = 0
        self.report = gpu.new_report()

    @property
    def n_free(self) -> int:
        """How many more rows there is room for."""
        return len(self._rows) - self.n_rows

    def add(self, data: WeightedRows) -> None:
        """Copy rows from the host: as many as there is room for at most."""
        words = np.ascontiguousarray(data.rows).view(np.uint32).reshape(-1)
        first = self.n_rows
        if self._weigh_one and not (data.weights == 1).all():
            self._weigh_one, self._weights[:first] = False, 1
        self.unpack(self._gpu.put(words), self._plain)
        if not self._weigh_one:
            self._weights[first : self.n_rows] = data.weights

    def fill(self, data: WeightedRows, take: Callable[[], None]) -> None:
        """Copy rows from the host, and have each batch taken that is complete.

        Parameters
        ----------
        data : WeightedRows
        take : callable
            Takes the batch, and lets it be filled anew.
        """
        rows, weights = data
        while len(rows):
            n = min(len(rows), self.n_free)
            self.add(WeightedRows(rows[:n], weights[:n]))
            rows, weights = rows[n:], weights[n:]
            if not self.n_free:
                take()

    def unpack(self, records: Array, layout: RecordLayout) -> None:
        """Take rows out of records: of as many as there is room for at most."""
        room, first = Room(self._rows, self._origin, self.n_rows), self.n_rows
        self._gpu.unpack(records, layout, room, self.report)
        self.n_rows += len(records) // layout.stride
        if not self._weigh_one:
            self._weights[first : self.n_rows] = 1

    def cut(self, n_rows: int) -> None:
        """Keep the first rows alone."""
        self.n_rows = n_rows
        self._weigh_one |= n_rows == 0

    def weight(self) -> float:
        """Return what all rows weigh."""
        return float(self.n_rows if self._weigh_one else self._weights[: self.n_rows].sum())

    def batch(self) -> DeviceBatch:
        """Return the rows that are there."""
        rows = self._rows[: self.n_rows]
        weights = None if self._weigh_one else self._gpu.put(self._weights[: self.n_rows])
        return DeviceBatch(rows, weights)
