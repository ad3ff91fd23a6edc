"""Bodies of lines, cut into blocks of whole ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onepass.errors import TooLargeError

BLOCK_BYTES = 2**20
"""Of text that is decoded at once."""

BLANK = b" \t\r\n"


def blocks_of_lines(
    pieces: Iterable[bytes], limit_bytes: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[memoryview]:
    r"""Cut text behind line ends.

    Parameters
    ----------
    pieces : iterable of bytes
        The text, cut anywhere.
    limit_bytes : int
        Of a line.
    block_bytes : int
        Of a block, about.

    Yields
    ------
    memoryview
        Text that ends with a line end, but for the last; no block but the last is blank at its end,
        beside that line end. One at least.

    Raises
    ------
    TooLargeError
        When a line is longer than it may be and than a block.

    Examples
    --------
    >>> list(map(bytes, blocks_of_lines([b"1\n2", b"2\n3\n"], 100, block_bytes=3)))
    [b'1\n', b'22\n3\n']

    Notes
    -----
    What lies within a piece is not copied.
    """
    left = b""
    for piece in pieces:
        text = left + piece if left else piece
        start, stop = 0, block_bytes
        while stop <= len(text):
            cut = _last_cut(text, start, stop)
            if cut:
                yield memoryview(text)[start:cut]
                start, stop = cut, cut + block_bytes
            elif stop - start > block_bytes + limit_bytes:
                raise TooLargeError(
                    f"a line is longer than {limit_bytes} bytes; write each row on a line"
                )
            else:
                stop += block_bytes
        left = text[start:]
    yield memoryview(left)


def _last_cut(text: bytes, start: int, stop: int) -> int:
    """Return where the last line but one that is not blank has ended; 0 where there is none."""
    last = text.rfind(b"\n", start, _without_blanks(text, start, stop)) + 1
    before = _without_blanks(text, start, last) if last else start
    return text.find(b"\n", before, stop) + 1 if before > start else 0


def _without_blanks(text: bytes, start: int, stop: int) -> int:
    """Return where a part of a text ends if what is blank at its end is left out."""
    near = max(start, stop - 16)
    end = near + len(text[near:stop].rstrip(BLANK))
    return end if end > near else start + len(text[start:near].rstrip(BLANK))
