"""From the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from onepass.cluster.model import KMeansModel
from onepass.errors import UserError
from onepass.finite import first_non_finite
from onepass.formats.answers import Answers
from onepass.formats.arrays import Rows
from onepass.formats.media import CODECS, NPY, MediaType
from onepass.serving.body import unzipped
from onepass.serving.messages import Durations
from onepass.serving.negotiation import Wanted, answer_type, content_type
from onepass.serving.problems import HttpError

_ANSWER_VALUES = 2**18
"""Of labels and distances that are answered at once: these may be many more than those of rows."""


@dataclass(frozen=True)
class Form:
    """What a body is, and what its answer shall be.

    Attributes
    ----------
    media : MediaType
        Of the body.
    zipped : bool
        Whether it is compressed by gzip.
    wanted : Wanted
    """

    media: MediaType
    zipped: bool
    wanted: Wanted


class Scored(NamedTuple):
    """An answer, and what it took.

    Attributes
    ----------
    body : bytes or bytearray
    content_type : str
    n_rows : int
    durations : Durations
    """

    body: bytes | bytearray
    content_type: str
    n_rows: int
    durations: Durations


def form_of(headers: Mapping[str, str], default_accept: str) -> Form:
    """Read what the headers of a request say about its body and its answer.

    Raises
    ------
    HttpError
        415 for a body that is not read here, 406 for an answer that is not written.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise HttpError(
            415,
            "unsupported_encoding",
            f"Content-Encoding {encoding!r} is not supported; send the body as it is, or by gzip",
        )
    return Form(
        content_type(headers.get("content-type")),
        encoding.endswith("gzip"),
        answer_type(headers.get("accept"), default_accept),
    )


def score(
    model: KMeansModel,
    body: bytes | bytearray,
    form: Form,
    *,
    limit_bytes: int,
    answer_limit_bytes: int,
    only_plain: bool = False,
) -> Scored:
    """Answer a request.

    Parameters
    ----------
    model : KMeansModel
    body : bytes or bytearray
    form : Form
    limit_bytes : int
        Of the body, if it is unzipped.
    answer_limit_bytes : int
    only_plain : bool
        Whether to give up where it would be read slowly; of a format that tells.

    Raises
    ------
    NotPlainError
        Where it is given up.
    UserError
        When the body cannot be read, or a distance is too large; nothing is answered then.
    HttpError
        When the answer is too long.

    Notes
    -----
    Memory: the body and the answer, and a block of rows with its answers.
    """
    if not body:
        raise HttpError(400, "bad_payload", "the body is empty; at least one row is needed")
    clock = _Clock()
    codec = CODECS[form.wanted.name]
    n_columns = 2 + (model.n_clusters if form.wanted.verbose else 0)
    head = codec.head(0, n_columns)
    answer, n_rows = bytearray(head), 0
    for rows in _blocks(model, body, form, limit_bytes, only_plain=only_plain):
        clock.lap("decode")
        for part in parts(rows, n_columns):
            answers = answers_for(model, part, verbose=form.wanted.verbose, n_before=n_rows)
            clock.lap("predict")
            answer += codec.between if n_rows else b""
            answer += codec.write(answers)
            n_rows += len(part)
            _check_answer(len(answer), answer_limit_bytes)
            clock.lap("encode")
    clock.lap("decode")
    answer[: len(head)] = codec.head(n_rows, n_columns)
    answer += codec.tail
    clock.lap("encode")
    return Scored(answer, form.wanted.name, n_rows, Durations(**clock.spent))


def parts(rows: Rows, n_columns: int) -> Iterator[Rows]:
    """Cut a block of rows, so that the answers for each part take little memory.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    n_columns : int
        Of the answers.
    """
    step = max(1, _ANSWER_VALUES // n_columns)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _blocks(
    model: KMeansModel,
    body: bytes | bytearray,
    form: Form,
    limit_bytes: int,
    *,
    only_plain: bool,
) -> Iterator[Rows]:
    pieces: Iterable[bytes] = (cast("bytes", body),)  # readers use what both can do
    if form.zipped:
        pieces = unzipped(body, limit_bytes)
        if form.media.name == NPY:  # it may be stored column by column
            pieces = (b"".join(pieces),)
    codec = CODECS[form.media.name]
    read = codec.read_plain if only_plain and codec.read_plain else codec.read
    return read(pieces, form.media, model.n_features)


class _Clock:
    """Adds up what phases take."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(Durations._fields, 0.0)
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Count the time since the last lap to a phase."""
        now = time.perf_counter()
        self.spent[phase] += now - self._last
        self._last = now


def answers_for(model: KMeansModel, rows: Rows, *, verbose: bool, n_before: int) -> Answers:
    """Find the cluster of each row of a block.

    Parameters
    ----------
    model : KMeansModel
    rows : ndarray of shape (n_samples, n_features), float32
    verbose : bool
        Whether the distances to all clusters are wanted, too.
    n_before : int
        Rows in the blocks before, for messages.

    Raises
    ------
    UserError
        When a distance is too large for float32.
    """
    labels, distances = model.assign(rows)
    _check_distances(distances[:, None], "every", n_before)
    if not verbose:
        return Answers(labels, distances)
    table = model.distances(rows)
    table[np.arange(len(rows)), labels] = distances  # to the last digit
    _check_distances(table, "some", n_before)
    return Answers(labels, distances, table)


def _check_distances(distances: Rows, which: str, n_before: int) -> None:
    """Refuse to answer with an infinite distance, which JSON has no number for."""
    bad = first_non_finite(distances)
    if bad:
        row = n_before + bad[0] + 1
        raise UserError(f"row {row} is too far from {which} center for float32")


def _check_answer(n_bytes: int, limit_bytes: int) -> None:
    if n_bytes > limit_bytes:
        raise HttpError(
            413,
            "answer_too_large",
            f"the answer is larger than {limit_bytes} bytes; send fewer rows at once, or ask for "
            "application/x-npy",
        )
