"""JSON and JSON Lines bodies, block by block: fast where they are plain, and always strict.

Plain is a body whose instances are all of one of four shapes, with the same white space, and have
nothing but numbers in them. What stands between the numbers of two instances is then the same
everywhere. Whatever is not plain goes to the slow reader, `onepass.formats.json`, which takes every
shape, or says what is wrong and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from onepass.errors import TooLargeError
from onepass.formats import json
from onepass.formats.arrays import Rows
from onepass.formats.compiled import Form
from onepass.formats.numbers import NotPlainError
from onepass.formats.numbers import read_rows as read_plain
from onepass.formats.text_lines import BLANK, BLOCK_BYTES, blocks_of_lines

MAX_STRICT_BYTES = 2**23
"""Of a JSON document that is not plain: read as a whole, it takes up to thirty times its memory."""

_BYTES_AN_INSTANCE, _BYTES_A_VALUE = 2**16, 64

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


_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?" + _spaced('{ "instances" : [', _ANY_SPACE))
_TAIL = re.compile(_spaced("] }", _ANY_SPACE))

Text: TypeAlias = bytes | bytearray


class _Plain(NamedTuple):
    """How instances that are all alike stand in a text.

    Attributes
    ----------
    before, behind : bytes
        What stands before the bracket of the first array, and behind that of the last.
    glue : bytes
        From the bracket that ends an array to that which begins the next; empty where there is one.
    start, end : int
        Where the first array begins, and the last has ended.
    """

    before: Text
    behind: Text
    glue: Text
    start: int
    end: int

    def document(self, text: memoryview) -> bytes:
        """Return a document of the instances whose arrays these are."""
        return b"".join((b'{"instances":[', self.before, text, self.behind, b"]}"))


def read_blocks(
    pieces: Iterable[bytes],
    n_features: int,
    *,
    block_bytes: int = BLOCK_BYTES,
    only_plain: bool = False,
) -> Iterator[Rows]:
    """Decode ``{"instances": [instance, ...]}``.

    Parameters
    ----------
    pieces : iterable of bytes
        The body, cut anywhere; it is read to its end first.
    n_features : int
    block_bytes : int
        About how much is decoded at once.
    only_plain : bool
        Whether to give up where the slow reader would be needed.

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
    NotPlainError
        In the place of reading slowly.

    Examples
    --------
    >>> list(read_blocks([b'{"instances": [{"features": [1.5, 16.0]}]}'], 2))
    [array([[ 1.5, 16. ]], dtype=float32)]
    """
    data = _joined(pieces)
    plain = _look(data, _instances(data), _PATTERNS)
    n_rows = 0
    for rows in (
        _read_parts(data, plain, n_features, block_bytes, only_plain=only_plain)
        if plain
        else (None,)
    ):
        if rows is None:
            break
        n_rows += len(rows)
        yield rows
    else:
        return
    if only_plain:
        raise NotPlainError
    if len(data) > MAX_STRICT_BYTES:
        raise _too_long(len(data))
    yield from json.unfold(json.instances_of(data)[n_rows:], n_features, n_before=n_rows)


def read_line_blocks(
    pieces: Iterable[bytes],
    n_features: int,
    *,
    block_bytes: int = BLOCK_BYTES,
    only_plain: bool = False,
) -> Iterator[Rows]:
    """Decode JSON Lines: one instance a line; as `read_blocks`, in memory for a block.

    Examples
    --------
    >>> list(read_line_blocks([b'{"features": [1]}', bytes([10]), b'{"features": [2]}'], 1))
    [array([[1.],
           [2.]], dtype=float32)]
    """
    n_rows = 0
    limit_bytes = _longest(n_features)
    for text in blocks_of_lines(pieces, limit_bytes, block_bytes=block_bytes):
        lines = bytes(text).rstrip(BLANK)
        if not lines and n_rows:
            return
        rows = _read_plain_lines(lines, n_features)
        if rows is None and only_plain:
            raise NotPlainError
        if rows is None:
            instances = json.instances_of_lines(lines, n_before=n_rows)
            blocks: Iterable[Rows] = json.unfold(instances, n_features, n_before=n_rows)
        else:
            blocks = (rows,)
        for block in blocks:
            n_rows += len(block)
            yield block


def _joined(pieces: Iterable[bytes]) -> Text:
    """Return the one piece there is, or all in one, which grow into it one by one."""
    whole: Text = b""
    for piece in pieces:
        if isinstance(whole, bytearray):
            whole += piece
        else:
            whole = bytearray(whole + piece) if whole else piece
    return whole


def _longest(n_features: int) -> int:
    """Return how many bytes an instance may have in a body that is not read as a whole."""
    return _BYTES_AN_INSTANCE + _BYTES_A_VALUE * n_features


def _instances(data: Text) -> tuple[int, int]:
    """Return where a document's instances begin and end; nowhere where that is in doubt."""
    head = _HEAD.match(data)
    tail = _TAIL.fullmatch(data, data.rfind(b"]"))
    return (head.end(), tail.start()) if head and tail else (0, 0)


def _look(text: Text, place: tuple[int, int], patterns: tuple[_Patterns, ...]) -> _Plain | None:
    """Learn how the instances in a part of a text stand there, from the first two and the last."""
    start, end = place
    first, first_end = text.find(b"[", start, end), text.find(b"]", start, end)
    last_end = text.rfind(b"]", start, end)
    before, behind = text[start : max(start, first)], text[last_end + 1 : end]
    is_one = first_end >= last_end
    glue = b"" if is_one else text[first_end : text.find(b"[", first_end, end) + 1]
    for pattern in patterns:
        if pattern.before.fullmatch(before) and pattern.behind.fullmatch(behind):
            right = first >= 0 and (is_one or pattern.glue.fullmatch(glue))
            return _Plain(before, behind, glue, first, last_end + 1) if right else None
    return None


def _read_parts(
    data: Text, plain: _Plain, n_features: int, block_bytes: int, *, only_plain: bool
) -> Iterator[Rows | None]:
    """Read instances part by part; None, at the end, where the document must be read as a whole."""
    limit_bytes = block_bytes + _longest(n_features)
    n_rows = 0
    for start, end in _parts(data, plain, block_bytes):
        part = memoryview(data)[start : end if end - start <= limit_bytes else start]
        rows = _read_plain(part, plain, n_features) if part else None
        if rows is None and (only_plain or not part or len(data) <= MAX_STRICT_BYTES):
            yield None
            return
        blocks: Iterable[Rows] = (rows,) if rows is not None else ()
        if rows is None:
            instances = json.instances_of(plain.document(part))
            blocks = json.unfold(instances, n_features, n_before=n_rows)
        for block in blocks:
            n_rows += len(block)
            yield block


def _read_plain_lines(lines: bytes, n_features: int) -> Rows | None:
    """Read lines of an instance each; None where they are not plain."""
    plain = _look(lines, (0, len(lines)), _LINE_PATTERNS)
    if plain is None:
        return None
    instances = memoryview(lines)[plain.start : plain.end]
    return _read_plain(instances, plain, n_features, is_lines=True)


def _read_plain(
    text: memoryview, plain: _Plain, n_features: int, *, is_lines: bool = False
) -> Rows | None:
    """Read instances from the first bracket to the last; None where they are not plain."""
    return read_plain(text[1:-1], Form(bytes(plain.glue), n_features, is_lines=is_lines))


def _parts(text: Text, plain: _Plain, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut instances where an array ends; what is between two parts is left out."""
    position, glue = plain.start, plain.glue
    while glue and (cut := text.find(glue, position + block_bytes, plain.end)) >= 0:
        yield position, cut + 1
        position = cut + len(glue) - 1
    yield position, plain.end


def _too_long(n_bytes: int) -> TooLargeError:
    return TooLargeError(
        "JSON with sparse instances, with more in an instance than its features, or with "
        f"instances of several shapes may have at most {MAX_STRICT_BYTES} bytes, this has "
        f"{n_bytes}; send JSON Lines, CSV or RecordIO-protobuf"
    )


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
