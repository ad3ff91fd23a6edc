"""Files or pipes to batches of rows, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal, TypeAlias

from onepass.data.ahead import Stop, StoppedReadingError, ahead
from onepass.data.bad_records import BadRecords
from onepass.data.batch import Batch, Choice, DenseBatch, SparseBatch, UndecidedBatch
from onepass.data.batch_ring import BatchRing, FilledBatch
from onepass.data.position import Position
from onepass.data.record_file import RecordFile
from onepass.data.sources import Source, Span, is_compressed
from onepass.data.streams import Opened, OpenSource
from onepass.data.table_format import RECORDS, RowFile, TableFormat, most_rows
from onepass.errors import DecodeError, PlatformError
from onepass.formats.arrays import Rows
from onepass.sparse import SparseRows

Auto: TypeAlias = Literal["auto"]

_MOST_VALUES = 2**24
_N_BATCHES = 2


class BatchReader:
    """Reads sources one behind the other and cuts their rows into batches.

    Parameters
    ----------
    sources : sequence of Span or Pipe
        Files, parts of them, or pipes.
    n_features : int
        The width every record must have.
    batch_rows : int
        Rows of a batch, as far as 64 MiB hold them; the last one may be shorter. Batches run on
        from file to file.
    table_format : TableFormat
        Of the objects; RecordIO-protobuf by default.
    keep_sparse : bool or "auto"
        Leave records sparse, which only those of RecordIO-protobuf can be. "auto": if the first few
        hundred give one value in 16 or less, whose products take less time than those of all.
    max_bad_records : int
        How many records or rows may be wrong in themselves: they are passed over and counted.

    Attributes
    ----------
    n_rows : int
        Decoded so far.
    n_bytes : int
        Read so far, compressed as they are.
    bad : BadRecords
        What has been passed over, up to what is read ahead.
    position : Position
        Behind the batch that was yielded last; see `resume`.
    is_cut_short : bool
        Whether the latest reading ended while data was waited for.
    gaps : mapping of int to int
        How many bad records have been passed over before a row of the batch that was yielded last;
        once all have been read, before the end.

    Notes
    -----
    Memory: two batches, of sparse rows 64 MiB at most each, and a block of 1 MiB or the longest
    record. One batch is made, by a thread of the process that iterates, while the caller computes
    with the other. Files are opened once and read forward only.

    Of the CPU seconds of a pass over a million rows of 26 features (k = 10), 0.26 are those of the
    caller; reading takes 0.07 from plain records or a matrix, 0.14 from records in gzip, 0.21 from
    Parquet and 0.72 from CSV. Whichever is less is hidden behind the other where there is a core
    to spare, as is the wait for a slow pipe or disk; where there is none, a thread costs 3 to 5 %
    of the CPU seconds, for a pipe up to 10 %. So it always reads ahead.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        n_features: int,
        batch_rows: int,
        table_format: TableFormat = RECORDS,
        *,
        keep_sparse: bool | Auto = False,
        max_bad_records: int = 0,
    ) -> None:
        self.sources = sources
        self.n_features = n_features
        self.batch_rows = batch_rows
        self._format = table_format
        self._keep_sparse = keep_sparse
        self.max_bad_records = max_bad_records
        self.n_rows = 0
        self.n_bytes = 0
        self.bad = BadRecords(max_bad_records)
        self.position = self._first = Position()
        self.is_cut_short = False
        self.gaps: Mapping[int, int] = {}

    def resume(self, position: Position) -> None:
        """Have the rows begin behind a position of an earlier reader of the same sources.

        Where it lies in a plain file of records, that is gone on with there; anything else is read
        from its beginning once more, and the rows before the position are passed over.
        """
        self._first = position

    @property
    def first(self) -> Position:
        """The position that is gone on from."""
        return self._first

    @property
    def n_before(self) -> int:
        """Rows before the position that was gone on from."""
        return self._first.n_rows

    def __iter__(self) -> Iterator[Rows | SparseRows]:
        """Yield all batches: see `read`."""
        return self.read()

    def read(
        self, is_enough: Callable[[], bool] | None = None
    ) -> Generator[Rows | SparseRows, None, None]:
        """Yield batches of batch_rows rows.

        A batch is valid until the next one is asked for: its memory is used again.

        Parameters
        ----------
        is_enough : callable, optional
            Asked while data is waited for. When it says so, the rows that have come are the last
            batch, complete or not.

        Raises
        ------
        DecodeError
            With the file, the record and its byte offset.
        PlatformError
            When a file cannot be read.
        """
        self.is_cut_short = False

        def is_cut_short() -> bool:
            self.is_cut_short = is_enough is not None and is_enough()
            return self.is_cut_short

        with closing(ahead(self._read, _N_BATCHES, is_enough and is_cut_short)) as read:
            for batch, position, gaps in read:
                self.position, self.gaps = position, gaps
                self.n_rows, self.n_bytes = position.n_rows, position.n_bytes
                if len(batch):
                    yield batch
                    self.gaps = {}

    def _read(self, stop: Stop) -> Generator[FilledBatch, None, None]:
        """Read all sources, into each of a ring of batches in turn."""
        n_most = min(self.batch_rows, most_rows(self.sources, self._format, enough=self.batch_rows))
        choice = Choice()
        ring = [self._new_batch(n_most, choice) for _ in range(_N_BATCHES)]
        filled = BatchRing(ring, self._first)
        try:
            yield from self._read_sources(stop, filled)
        except StoppedReadingError:
            if not stop.is_enough:
                raise
        yield filled.take()

    def _read_sources(self, stop: Stop, filled: BatchRing) -> Generator[FilledBatch, None, None]:
        """Read all sources, but for what does not fill a batch at their end."""
        place = self._first
        self.bad = BadRecords(self.max_bad_records, place.n_bad, place.first_bad)
        before: RowFile | None = None
        for source in self.sources[place.source :]:
            n_passed = 0 if self._goes_by_bytes(source, place) else place.n_rows_here
            if n_passed:
                place = place.beginning_of_source()
                self.bad = BadRecords(self.max_bad_records, place.n_bad, place.first_bad)
            with OpenSource(_behind(source, place), stop) as open_source:
                n_before = place.n_bytes_before + place.n_bytes_here
                for opened in open_source.objects():
                    file = self._format.open(_from_start(opened, source), self.n_features)
                    file.follow(before)
                    before = file
                    if place.n_bytes_here and isinstance(file, RecordFile):
                        file.resume(place.n_records_here, place.n_bytes_here)
                    n = self._pass_over(file, opened.name, n_passed)
                    n_passed -= n
                    place = self._moved(place, n, file, n_before + open_source.n_read)
                    while (n := self._fill_next(filled, file, opened.name)) or filled.batch.full:
                        place = self._moved(place, n, file, n_before + open_source.n_read)
                        filled.place = place
                        if filled.batch.full:
                            yield filled.take()
                place = self._moved(place, 0, before, n_before + open_source.n_read).next_source()
                filled.place = place
            if n_passed:
                raise PlatformError(
                    f"{source.path} has {n_passed} rows fewer than it had when it was read before; "
                    "no file may change until a job is done"
                )

    def _goes_by_bytes(self, source: Source, place: Position) -> bool:
        """Whether a source can be gone on with where the next record begins."""
        is_records = isinstance(source, Span) and self._format is RECORDS
        return bool(is_records and place.n_bytes_here) and not is_compressed(source.path)

    def _moved(self, place: Position, n: int, file: RowFile | None, n_bytes: int) -> Position:
        """Return the place behind more rows of a file."""
        n_bytes_here, n_records = file.n_passed if isinstance(file, RecordFile) else (0, 0)
        return place._replace(
            n_rows=place.n_rows + n,
            n_rows_here=place.n_rows_here + n,
            n_bytes=n_bytes,
            n_bytes_here=n_bytes_here,
            n_records_here=n_records,
            n_bad=self.bad.n,
            first_bad=tuple(self.bad.first),
        )

    def _pass_over(self, file: RowFile, name: str, n_rows: int) -> int:
        """Pass over the first rows of a file that has been read before; returns how many."""
        if not n_rows:
            return 0
        room = DenseBatch(min(n_rows, max(1, _MOST_VALUES // self.n_features)), self.n_features)
        n_passed = 0
        while n_passed < n_rows:
            room.take()
            room.limit = n_rows - n_passed
            n = self._fill(room, file, name)
            if not n:
                break
            n_passed += n
        return n_passed

    def _new_batch(self, n_most: int, choice: Choice) -> Batch:
        room = max(1, _MOST_VALUES // self.n_features)
        if self._keep_sparse == "auto":
            return UndecidedBatch(choice, n_most, min(n_most, room), self.n_features)
        if self._keep_sparse:
            return SparseBatch(n_most, self.n_features)
        return DenseBatch(min(n_most, room), self.n_features)

    def _fill_next(self, filled: BatchRing, file: RowFile, name: str) -> int:
        """Decode rows into the batch that is being filled, and note where bad ones were."""
        return self._fill(filled.batch, file, name, filled.gaps)

    def _fill(
        self, batch: Batch, file: RowFile, name: str, gaps: Counter[int] | None = None
    ) -> int:
        """Decode rows; an error of the bytes below them has no name of a file yet."""
        while True:
            try:
                return batch.fill(file)
            except DecodeError as error:
                self.bad.pass_over(error if error.source else error.within(name))
                if gaps is not None:
                    gaps[batch.n_rows] += 1

    def peek(self) -> None:
        """Check the width of the first record, in memory that does not depend on it.

        Raises
        ------
        DecodeError
            As reading the record would; `WidthError` when it has another width. Not where it may
            be passed over.
        """
        with closing(Stop()) as stop:
            for source in self.sources:
                with OpenSource(source, stop) as open_source:
                    objects = open_source.objects()
                    try:
                        if any(self._format.open(o, self.n_features).peek() for o in objects):
                            return
                    except DecodeError as error:
                        self.bad.pass_over(error)
                        return


def _behind(source: Source, place: Position) -> Source:
    """Return what of a source lies behind a place."""
    if isinstance(source, Span) and place.n_bytes_here:
        return source._replace(start=source.start + place.n_bytes_here)
    return source


def _from_start(opened: Opened, source: Source) -> Opened:
    """Return an object whose positions count from where its source begins."""
    return opened._replace(start=source.start) if isinstance(source, Span) else opened
