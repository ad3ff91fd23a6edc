"""Records of a layout in common, taken to a GPU as they are.

Blocks of them are copied to the device while the batch before is computed there, and told apart
into rows there. What is no such record is found when the batch it would be part of is looked at,
before anything is made of that: whoever has given it goes back to it, and takes it on the host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from onepass.cluster.device_batch import FillingBatch, IrregularRowError
from onepass.cluster.kernels.gpu import Gpu, Mark
from onepass.cluster.kernels.on_device import Array, RecordLayout
from onepass.errors import OnepassError

N_SLOTS = 8
"""Blocks that are on the device, or on their way, at once."""


class Block(Protocol):
    """Records of a layout in common, one behind the other."""

    @property
    def words(self) -> npt.NDArray[np.uint32]:
        """The records, in memory from `RecordIntake.page_locked`."""

    def release(self) -> None:
        """Take the memory back: it has been copied."""


B = TypeVar("B", bound=Block)


class IrregularRecordError(OnepassError, Generic[B]):
    """A record is not of the layout it should have, or not all of its values are finite.

    All records before it have been taken, and none behind it.

    Parameters
    ----------
    block : Block
    record : int
        Of that block, from 0.
    """

    def __init__(self, block: B, record: int) -> None:
        super().__init__(block, record)
        self.block = block
        self.record = record


class Taker(Protocol):
    """What takes batches that are on a GPU."""

    @property
    def gpu(self) -> Gpu:
        """The device."""

    def take_filled(self) -> None:
        """Take the batch that is on the device, and let it be filled anew.

        Raises
        ------
        IrregularRowError
            When not all of its rows are rows; all are there yet.
        """

    def check_filled(self) -> None:
        """Look at the rows that wait on the device for more; raises the same."""


class RecordIntake:
    """Takes blocks of records for something on a GPU.

    Parameters
    ----------
    taker : Taker
    filling : FillingBatch
        Where it has rows put.

    Notes
    -----
    Memory of the device: 8 blocks.
    """

    def __init__(self, taker: Taker, filling: FillingBatch) -> None:
        self._taker, self._filling, self._gpu = taker, filling, taker.gpu
        self._lane = self._gpu.new_lane()
        self._slots = [_Slot(self._gpu.empty(0, np.uint32)) for _ in range(N_SLOTS)]
        self._n_sent = 0

    def page_locked(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return memory for blocks."""
        return self._gpu.page_locked(n_bytes)

    def take(self, blocks: Iterable[B], layout: RecordLayout) -> None:
        """Take blocks, one behind the other.

        Parameters
        ----------
        blocks : iterable of Block
            Each of some records, whole ones.
        layout : RecordLayout
            With arrays on the host.

        Raises
        ------
        IrregularRecordError
            For the first record that is not of this layout, or not finite; and for an earlier one
            where it is not known which of them has values too large or too small for what is held.
        """
        put = self._gpu.put
        there = layout._replace(pattern=put(layout.pattern), mask=put(layout.mask))
        parts: list[_Part[B]] = []
        sent: deque[_Sent[B]] = deque()
        try:
            for block in blocks:
                if len(sent) == N_SLOTS:
                    self._unpack(sent.popleft(), there, parts)
                sent.append(self._send(block))
            while sent:
                self._unpack(sent.popleft(), there, parts)
            self._taker.check_filled()
        except IrregularRowError as error:
            raise self._irregular(error.row, parts) from error
        finally:
            self._lane.wait()

    def _send(self, block: B) -> _Sent[B]:
        """Have a block copied to the device."""
        slot = self._slots[self._n_sent % N_SLOTS]
        self._n_sent += 1
        if len(slot.words) < len(block.words):
            slot.words = self._gpu.empty(len(block.words), np.uint32)
            slot.free = self._gpu.mark()
        return _Sent(block, slot, self._lane.copy(block.words, slot.words, slot.free))

    def _unpack(self, sent: _Sent[B], layout: RecordLayout, parts: list[_Part[B]]) -> None:
        """Put the rows of a block that has been sent into the batch, and take that when full."""
        block, slot, copied = sent
        stride, first, n = layout.stride, 0, len(block.words) // layout.stride
        copied.wait()
        block.release()
        while first < n:
            some = min(n - first, self._filling.n_free)
            parts.append(_Part(self._filling.n_rows, block, first))
            self._filling.unpack(slot.words[first * stride : (first + some) * stride], layout)
            first += some
            if not self._filling.n_free:
                self._taker.take_filled()
                parts.clear()
        slot.free = self._gpu.mark()

    def _irregular(self, row: int, parts: list[_Part[B]]) -> IrregularRecordError[B]:
        """Find the record of a row of the batch, or the first one that is not known to be right."""
        row = max(row, parts[0].row)
        self._filling.cut(row)
        part = [part for part in parts if part.row <= row][-1]
        return IrregularRecordError(part.block, part.first + row - part.row)


class _Slot:
    """Memory on the device for a block, and when what was there before has been used."""

    def __init__(self, words: Array) -> None:
        self.words = words
        self.free: Mark | None = None


class _Sent(NamedTuple, Generic[B]):
    """A block on its way."""

    block: B
    slot: _Slot
    copied: Mark


class _Part(NamedTuple, Generic[B]):
    """Where in a batch records of a block begin, and with which of them."""

    row: int
    block: B
    first: int
