"""Files of any size, answered block by block by what answers requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onepass.cluster.model import KMeansModel
from onepass.data.channels import find_files
from onepass.data.pieces import OpenedStream, pieces_of
from onepass.data.sources import Span
from onepass.data.streams import FileStream, unfolded
from onepass.errors import DecodeError, TooLargeError, UserError
from onepass.formats.arrays import Rows
from onepass.formats.media import (
    CODECS,
    CSV,
    JSON,
    JSON_LINES,
    NPY,
    RECORDIO_PROTOBUF,
    Codec,
    MediaType,
)
from onepass.serving.invocation import answers_for, parts
from onepass.serving.negotiation import Wanted

MAX_JSON_BYTES = 2**30
"""Of a JSON document, which is read as a whole."""

_ENDINGS = {
    ".csv": CSV,
    ".json": JSON,
    ".jsonl": JSON_LINES,
    ".jsonlines": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".npy": NPY,
    ".pbr": RECORDIO_PROTOBUF,
    ".rec": RECORDIO_PROTOBUF,
    ".recordio": RECORDIO_PROTOBUF,
    ".protobuf": RECORDIO_PROTOBUF,
}
_COMPRESSED = (".gz", ".zst", ".zstd")
_TEXT = (CSV, JSON, JSON_LINES)

Tell = Callable[[int, int], object]
"""Takes how many bytes have been read, and how many rows answered."""


class Input(NamedTuple):
    """A file to be scored.

    Attributes
    ----------
    path : Path or None
        None for what `file` holds.
    media : MediaType
    file : binary file, optional
    """

    path: Path | None
    media: MediaType
    file: BinaryIO | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.path) if self.path else "standard input"

    @property
    def n_bytes(self) -> int:
        """How long it is, as it lies there; 0 where nobody knows."""
        return self.path.stat().st_size if self.path else 0


class ScoredFiles(NamedTuple):
    """What has been answered.

    Attributes
    ----------
    n_rows, n_bytes : int
        Of the answers.
    """

    n_rows: int
    n_bytes: int


def inputs_at(path: Path, told: MediaType | None) -> list[Input]:
    """Return a file, or those under a directory in the order of their paths.

    Parameters
    ----------
    path : Path
    told : MediaType, optional
        Of all of them; by default as each name tells.

    Raises
    ------
    UserError
        When there is none, or a name tells nothing.
    """
    files = find_files(path) if path.is_dir() else [path]
    if not files or not path.exists():
        what = "there is no file in it" if path.is_dir() else "there is no such file"
        raise UserError(f"{path}: {what}")
    return [Input(file, told or _media_of(file)) for file in files]


def score_files(
    model: KMeansModel,
    inputs: Sequence[Input],
    out: BinaryIO,
    *,
    wanted: Wanted,
    n_threads: int,
    tell: Tell,
) -> ScoredFiles:
    """Answer all rows of files, one behind another, as one answer.

    Parameters
    ----------
    model : KMeansModel
    inputs : sequence of Input
    out : binary file
        One that can `seek`, where the answer is ``application/x-npy``.
    wanted : Wanted
        The form of the answer; text ends with the end of a line.
    n_threads : int
    tell : callable
        Called after each block.

    Raises
    ------
    UserError
        Naming the file and the row. What was written of the answer is of no use then.

    Notes
    -----
    Memory: two blocks of rows and their answers for each thread, whatever the size of the files.
    """
    codec = CODECS[wanted.name]
    n_columns = 2 + (model.n_clusters if wanted.verbose else 0)
    n_rows, n_bytes = 0, out.write(codec.head(0, n_columns))
    with ThreadPoolExecutor(n_threads) as threads:
        writing = _in_order(threads, _tasks(model, inputs, codec, wanted, tell), 2 * n_threads)
        for n_there, written in writing:
            n_bytes += out.write(codec.between * (n_rows > 0) + written)
            n_rows += n_there
    n_bytes += out.write(codec.tail + b"\n" * (wanted.name in _TEXT))
    if wanted.name == NPY:
        out.seek(0)
        out.write(codec.head(n_rows, n_columns))
    return ScoredFiles(n_rows, n_bytes)


_Task = Callable[[], tuple[int, bytes]]


def _tasks(
    model: KMeansModel, inputs: Sequence[Input], codec: Codec, wanted: Wanted, tell: Tell
) -> Iterator[_Task]:
    """Yield for each block of rows what answers it."""
    n_rows = n_bytes_before = 0
    for one in inputs:
        n_before = 0
        for rows, n_bytes in _blocks(one, model.n_features, 2 + model.n_clusters * wanted.verbose):
            yield _Block(model, rows, codec, wanted.verbose, n_before, one.name)
            n_before += len(rows)
            tell(n_bytes_before + n_bytes, n_rows + n_before)
        n_rows += n_before
        n_bytes_before += one.n_bytes


@dataclass(frozen=True)
class _Block:
    """A block of rows, and what answers it when called."""

    model: KMeansModel
    rows: Rows
    codec: Codec
    verbose: bool
    n_before: int
    name: str

    def __call__(self) -> tuple[int, bytes]:
        try:
            answers = answers_for(
                self.model, self.rows, verbose=self.verbose, n_before=self.n_before
            )
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from error
        return len(self.rows), self.codec.write(answers)


def _in_order(
    threads: ThreadPoolExecutor, tasks: Iterable[_Task], n_ahead: int
) -> Iterator[tuple[int, bytes]]:
    """Do tasks in threads, and yield what they come to in their order."""
    waiting: deque[Future[tuple[int, bytes]]] = deque()
    try:
        for task in tasks:
            waiting.append(threads.submit(task))
            if len(waiting) >= n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _blocks(one: Input, n_features: int, n_columns: int) -> Iterator[tuple[Rows, int]]:
    """Yield blocks of rows, and how many bytes of the file have been read."""
    stream = (
        FileStream(Span(one.path, 0, one.n_bytes)) if one.path else OpenedStream(one.file)  # type: ignore[arg-type]  # one of both is there
    )
    pieces = pieces_of(unfolded(stream))
    if one.media.name == JSON:
        pieces = _not_too_many(pieces)
    try:
        for rows in CODECS[one.media.name].read(pieces, one.media, n_features):
            for part in parts(rows, n_columns):
                yield part, stream.n_read
    except DecodeError as error:
        raise error.within(one.name) from error
    finally:
        stream.close()


def _not_too_many(pieces: Iterable[bytes]) -> Iterator[bytes]:
    n_bytes = 0
    for piece in pieces:
        n_bytes += len(piece)
        if n_bytes > MAX_JSON_BYTES:
            raise TooLargeError(
                f"a JSON document of more than {MAX_JSON_BYTES} bytes; send JSON Lines, which are "
                "read line by line"
            )
        yield piece


def _media_of(path: Path) -> MediaType:
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    found = next((media for ending, media in _ENDINGS.items() if name.endswith(ending)), None)
    if found is None:
        raise UserError(
            f"{path}: its name does not tell what it is; --content-type does: {', '.join(CODECS)}"
        )
    return MediaType(found, {})
