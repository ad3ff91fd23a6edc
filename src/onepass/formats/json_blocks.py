"""JSON and JSON Lines bodies, block by block: fast where they are plain, and always strict.

Plain is a body whose instances are all of one of four shapes, with the same white space, and have
nothing but numbers in them. What stands between the numbers of two instances is then the same
everywhere, and is replaced by what stands between two arrays; the arrays are read all at once.
Whatever is not plain goes to the slow reader, `onepass.formats.json`, which takes every shape, or
says what is wrong and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from onepass.errors import TooLargeError
from onepass.formats import json
from onepass.formats.arrays import Rows
from onepass.formats.numbers import read_rows as read_arrays
from onepass.formats.text_lines import BLANK, BLOCK_BYTES, blocks_of_lines

MAX_STRICT_BYTES = 2**23
"""Of a JSON document that is not plain: read as a whole, it takes up to thirty times its memory."""

_BYTES_A_LINE, _BYTES_A_VALUE = 2**16, 64

_ANY_SPACE, _SPACE_OF_A_LINE = rb"[ \t\r\n]*+", rb"[ \t\r]*+"  # without a way back: linear in time
_SHAPES = (  # what stands before and behind the numbers of an instance, up to their brackets
    ('{ "features" :', "}"),
    ('{ "data" : { "features" : { "values" :', "} } }"),
    ('{ "data" : { "features" :', "} }"),
    ("", ""),
)


def _spaced(tokens: str, space: bytes) -> bytes:
    """Return a pattern of tokens with space before each and behind the last."""
    return b"".join(space + re.escape(token.encode()) for token in tokens.split()) + space


_HEAD = re.compile(_spaced('{ "instances" : [', _ANY_SPACE))
_TAIL = re.compile(_spaced("] }", _ANY_SPACE))


class _Plain(NamedTuple):
    """How instances that are all alike stand in a text.

    Attributes
    ----------
    before, behind : bytes
        What stands before the bracket of the first array, and behind that of the last.
    glue : bytes
        From the bracket that ends an array to that which begins the next; empty where there is one.
    """

    before: bytes
    behind: bytes
    glue: bytes

    def arrays(self, text: bytes) -> bytes:
        """Return the arrays of a text that begins and ends with a bracket."""
        return text.replace(self.glue, b"],[") if self.glue else text

    def whole(self, text: bytes) -> bytes:
        """Return the instances of a text that begins and ends with a bracket."""
        return self.before + text + self.behind


def read_blocks(
    pieces: Iterable[bytes], n_features: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[Rows]:
    """Decode ``{"instances": [instance, ...]}``.

    Parameters
    ----------
    pieces : iterable of bytes
        The body, cut anywhere; it is read to its end first.
    n_features : int
    block_bytes : int
        About how much is decoded at once.

    Yields
    ------
    ndarray of shape (n_samples, n_features), float32
        Finite, at least one row.

    Raises
    ------
    DecodeError
        As `onepass.formats.json.read_rows`.
    TooLargeError
        When it is longer than `MAX_STRICT_BYTES` and not plain.

    Examples
    --------
    >>> list(read_blocks([b'{"instances": [{"features": [1.5, 16.0]}]}'], 2))
    [array([[ 1.5, 16. ]], dtype=float32)]
    """
    data = _joined(pieces)
    text = _instances(data)
    plain = _look(text, _PATTERNS)
    n_rows = 0
    if plain:
        for part in _parts(_between_brackets(text, plain), plain.glue, block_bytes):
            rows = _read_plain(part, plain, n_features)
            if rows is None and len(data) > MAX_STRICT_BYTES:
                document = b'{"instances":[%b]}' % plain.whole(part)
                rows = json.read_rows(document, n_features, n_before=n_rows)
            if rows is None:
                break
            n_rows += len(rows)
            yield rows
        else:
            return
    yield _read_strictly(data, n_features)[n_rows:]


def read_line_blocks(
    pieces: Iterable[bytes], n_features: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[Rows]:
    """Decode JSON Lines: one instance a line; as `read_blocks`, in memory for a block.

    Examples
    --------
    >>> list(read_line_blocks([b'{"features": [1]}', bytes([10]), b'{"features": [2]}'], 1))
    [array([[1.],
           [2.]], dtype=float32)]
    """
    n_rows = 0
    limit_bytes = _BYTES_A_LINE + _BYTES_A_VALUE * n_features
    for text in blocks_of_lines(pieces, limit_bytes, block_bytes=block_bytes):
        lines = text.rstrip(BLANK)
        if not lines and n_rows:
            return
        plain = _look(lines, _LINE_PATTERNS)
        rows = None
        if plain:
            rows = _read_plain(_between_brackets(lines, plain), plain, n_features)
        if rows is None or len(rows) != 1 + _count(lines, b"\n"):
            rows = json.read_lines(lines, n_features, n_before=n_rows)
        n_rows += len(rows)
        yield rows


def _joined(pieces: Iterable[bytes]) -> bytes:
    whole = list(pieces)
    return whole[0] if len(whole) == 1 else b"".join(whole)


def _instances(data: bytes) -> bytes:
    """Return what stands between the brackets of a document's instances; nothing where in doubt."""
    head = _HEAD.match(data)
    tail = _TAIL.fullmatch(data, data.rfind(b"]"))
    return data[head.end() : tail.start()].strip(BLANK) if head and tail else b""


def _look(text: bytes, patterns: tuple[_Patterns, ...]) -> _Plain | None:
    """Learn how instances stand in a text, from the first two and the last."""
    begin, end, last = text.find(b"["), text.find(b"]"), text.rfind(b"]")
    before, behind = text[: max(0, begin)], text[last + 1 :]
    glue = text[end : text.find(b"[", end) + 1] if end < last else b""
    for pattern in patterns:
        if pattern.before.fullmatch(before) and pattern.behind.fullmatch(behind):
            right = begin >= 0 and (not glue or pattern.glue.fullmatch(glue))
            return _Plain(before, behind, glue) if right else None
    return None


def _between_brackets(text: bytes, plain: _Plain) -> bytes:
    return text[len(plain.before) : len(text) - len(plain.behind)]


def _read_plain(text: bytes, plain: _Plain, n_features: int) -> Rows | None:
    """Read instances from the first bracket to the last; None where they are not plain."""
    arrays = plain.arrays(text)
    rows = read_arrays(arrays, n_features)
    return rows if rows is not None and _count(arrays, b"[") == len(rows) else None


def _parts(text: bytes, glue: bytes, block_bytes: int) -> Iterator[bytes]:
    """Cut arrays where one ends; what is between two parts is left out."""
    position = 0
    while glue and (cut := text.find(glue, position + block_bytes)) >= 0:
        yield text[position : cut + 1]
        position = cut + len(glue) - 1
    yield text[position:]


def _read_strictly(data: bytes, n_features: int) -> Rows:
    if len(data) > MAX_STRICT_BYTES:
        raise TooLargeError(
            "JSON with sparse instances, with more in an instance than its features, or with "
            f"instances of several shapes may have at most {MAX_STRICT_BYTES} bytes, this has "
            f"{len(data)}; send JSON Lines, CSV or RecordIO-protobuf"
        )
    return json.read_rows(data, n_features)


class _Patterns(NamedTuple):
    """What stands before, behind and between the arrays of instances of one shape."""

    before: re.Pattern[bytes]
    behind: re.Pattern[bytes]
    glue: re.Pattern[bytes]


def _patterns(space: bytes, between: bytes) -> tuple[_Patterns, ...]:
    """Return the patterns of all shapes, with something between instances."""
    spaced = ((_spaced(before, space), _spaced(behind, space)) for before, behind in _SHAPES)
    return tuple(
        _Patterns(
            re.compile(before),
            re.compile(behind),
            re.compile(rb"\]" + behind + between + before + rb"\["),
        )
        for before, behind in spaced
    )


_PATTERNS = _patterns(_ANY_SPACE, b",")
_LINE_PATTERNS = _patterns(_SPACE_OF_A_LINE, rb"\n")


def _count(text: bytes, mark: bytes) -> int:
    """Count a byte, twice as fast as `bytes.count` where it is frequent."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord(mark)))
