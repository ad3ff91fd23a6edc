"""Bodies of requests, models, and their headers: every decoder of `onepass.formats`.

In each target `how` chooses the width and the sizes of pieces, and `content` is decoded.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from checks import BrokenPromiseError, Outcome, check_rows, everything, outcome, same, smaller
from pieces import Pieces

import onepass.formats.csv as onepass_csv
import onepass.formats.json as onepass_json
from onepass.data.wrapped import unwrap
from onepass.errors import DecodeError
from onepass.formats import csv_blocks, json_blocks, ndarray, npy, records
from onepass.formats.media import MediaType
from onepass.formats.record_row import read_row, row_width
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAX_FRAME_BYTES, frame, next_record
from onepass.serving.negotiation import answer_type, content_type
from onepass.serving.problems import HttpError

_FEW = 2**16


def rows_of_records(how: int, content: bytes) -> None:
    """A body: blocks give what records one by one give, and written anew the same."""
    width = how % 5 or None
    with smaller(records, MAX_MATRIX_VALUES=_FEW):
        found = outcome(lambda: check_rows(records.read_rows(content, width)))
    if "unfold to more than" in found.refusal or "features a row; at most" in found.refusal:
        return
    same(found, outcome(_one_by_one, content, width), "in blocks, and one by one")
    if not found.refusal:
        for sparse in (False, True):
            _decodes_to(records.read_rows(write_rows(found.value, sparse=sparse)), found.value)


def one_record(how: int, content: bytes) -> None:
    """A message without its frame: as it stands, and many of it, of which a layout is learnt."""
    width = how % 5 or 3
    found = outcome(lambda: check_rows(read_row(content, width)[None]))
    n_features = outcome(row_width, content)
    if not found.refusal and n_features.value != width:
        raise BrokenPromiseError(f"a row of {n_features.value} features is read as one of {width}")
    same(found, outcome(lambda: records.read_rows(frame(content), width)), "with a frame, without")
    repeated = outcome(lambda: records.read_rows(frame(content) * 9, width))
    same(Outcome(np.repeat(found.value, 9, axis=0)) if not found.refusal else found, repeated, "9x")


def frames(how: int, content: bytes) -> None:
    """Frames cut out of a buffer and out of a stream; the payloads framed anew are the same."""
    found = outcome(_payloads, content)
    same(found, outcome(_objects, Pieces(content, how), how % 2), "in a buffer, and in a stream")
    for split in (False, True):
        again = b"".join(frame(payload, split=split) for payload in found.value or ())
        both = outcome(_payloads, again), outcome(_objects, Pieces(again), 1)
        if found.value and both != (found, found):
            raise BrokenPromiseError(f"payloads framed anew (split={split}) are others")


def centers(how: int, content: bytes) -> None:
    """A model file; written anew it is the same, and no shorter one is read."""
    found = outcome(ndarray.read_centers, content)
    outcome(ndarray.read_arrays, content)
    if found.refusal:
        return
    if found.value.size:
        check_rows(found.value)
    _decodes_to(ndarray.read_centers(ndarray.write_centers(found.value)), found.value)
    if not outcome(ndarray.read_centers, content[: how % len(content)]).refusal:
        raise BrokenPromiseError("part of a model is a model")


def csv_body(how: int, content: bytes) -> None:
    """Comma-separated values; numbers written anew are the same."""
    found = outcome(lambda: check_rows(onepass_csv.read_rows(content, label_size=how % 3)))
    _in_blocks(partial(csv_blocks.read_blocks, label_size=how % 3), how, content, found)
    if not found.refusal:
        text = "\n".join(",".join(map(repr, row)) for row in found.value.tolist())
        _decodes_to(onepass_csv.read_rows(text.encode()), found.value)


def json_body(how: int, content: bytes) -> None:
    """A JSON body; numbers written anew are the same."""
    with smaller(onepass_json, MAX_MATRIX_VALUES=_FEW):
        found = outcome(lambda: check_rows(onepass_json.read_rows(content, how % 5 or None)))
        _in_blocks(json_blocks.read_blocks, how, content, found)
    if not found.refusal:
        text = json.dumps({"instances": found.value.tolist()})
        _decodes_to(onepass_json.read_rows(text.encode()), found.value)


def json_lines(how: int, content: bytes) -> None:
    """JSON Lines; numbers written anew are the same."""
    with smaller(onepass_json, MAX_MATRIX_VALUES=_FEW):
        found = outcome(lambda: check_rows(onepass_json.read_lines(content, how % 5 or None)))
        _in_blocks(json_blocks.read_line_blocks, how, content, found)
    if not found.refusal:
        text = "\n".join(map(json.dumps, found.value.tolist()))
        _decodes_to(onepass_json.read_lines(text.encode()), found.value)


def npy_body(how: int, content: bytes) -> None:
    """A matrix as NumPy saves it; in pieces as at once, and written anew the same."""
    found = outcome(_all_rows, npy.read_blocks, [content], how % 5 or 2)
    if "Fortran order" not in found.refusal:
        whole = outcome(_all_rows, npy.read_blocks, _cut(content, how), how % 5 or 2)
        if "Fortran order" not in whole.refusal:
            same(found, whole, "at once, and in pieces")
    if not found.refusal:
        file = io.BytesIO()
        np.save(file, check_rows(found.value))
        _decodes_to(_all_rows(npy.read_blocks, [file.getvalue()], how % 5 or 2), found.value)


def _in_blocks(
    read: Callable[..., Iterator[np.ndarray]], how: int, content: bytes, found: Outcome
) -> None:
    """Blocks of a body in pieces, mostly by a fast way, give what the slow reader gives."""
    width = how % 5 or 2 if found.refusal else found.value.shape[1]
    small = partial(read, block_bytes=1 + how)
    same(found, outcome(_all_rows, small, _cut(content, how), width), "at once, and in blocks")


def _all_rows(
    read: Callable[..., Iterator[np.ndarray]], pieces: Iterable[bytes], width: int
) -> np.ndarray:
    return np.concatenate([check_rows(rows) for rows in read(pieces, width)])


def _cut(content: bytes, how: int) -> list[bytes]:
    n = 1 + how % 50
    return [content[i : i + n] for i in range(0, len(content), n)] or [b""]


def media_types(how: int, content: bytes) -> None:
    """Content-Type and Accept: a media type, or the refusal that the status says."""
    text = content.decode("latin-1")
    label_size = outcome(MediaType.parse(text).label_size).value
    if label_size is not None and label_size < 0:
        raise BrokenPromiseError(f"label_size={label_size}")
    for parse, statuses in ((content_type, (415,)), (lambda t: answer_type(t, "text/csv"), (406,))):
        try:
            parse(text)
        except HttpError as error:
            if error.status not in statuses:
                raise
    del how


def _one_by_one(data: bytes, width: int | None) -> np.ndarray:
    """Decode as the schema says and no faster."""
    rows, start = [], 0
    while start < len(data):
        raw = next_record(memoryview(data), start, limit_bytes=MAX_FRAME_BYTES)
        if raw is None:
            raise DecodeError("cut short")
        payload = bytes(raw.payload)
        width = width or row_width(payload)
        rows.append(read_row(payload, width))
        start = raw.end
    if not rows:
        raise DecodeError("empty")
    return np.array(rows)


def _payloads(data: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(data):
        raw = next_record(memoryview(data), start, limit_bytes=MAX_FRAME_BYTES)
        if raw is None:
            raise DecodeError("cut short")
        found.append(bytes(raw.payload))
        start = raw.end
    return found


def _objects(stream: Pieces, look: int) -> list[bytes]:
    found = []
    for wrapped in unwrap(stream, "pieces"):
        head = wrapped.head() if look else b""
        found.append(everything(wrapped, _FEW, 7))
        if not found[-1].startswith(head) or len(head) < look * min(4, len(found[-1])):
            raise BrokenPromiseError(
                f"it begins with {found[-1][:4]!r}, and was said to with {head!r}"
            )
    return found


def _decodes_to(rows: np.ndarray, expected: np.ndarray) -> None:
    if not np.array_equal(rows, expected):
        raise BrokenPromiseError(f"written and read again: {rows!r} instead of {expected!r}")
