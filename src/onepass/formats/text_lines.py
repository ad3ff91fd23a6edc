"""Bodies of lines, cut into blocks of whole ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onepass.errors import TooLargeError

BLOCK_BYTES = 2**20
"""Of text that is decoded at once."""

BLANK = b" \t\r\n"


def blocks_of_lines(
    pieces: Iterable[bytes], limit_bytes: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
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
    bytes
        Text that ends with a line end, but for the last; no block but the last is blank at its end,
        beside that line end. One at least.

    Raises
    ------
    TooLargeError
        When a line is longer than it may be and than a block.

    Examples
    --------
    >>> list(blocks_of_lines([b"1\n2", b"2\n3\n"], 100, block_bytes=3))
    [b'1\n', b'22\n', b'3\n']
    """
    left = b""
    for piece in pieces:
        for start in range(0, len(piece), block_bytes):
            part = piece[start : start + block_bytes]
            left = left + part if left else part
            if len(left) < block_bytes:
                continue
            # Behind the last line but one that is not blank.
            last = left.rfind(b"\n", 0, len(left.rstrip(BLANK))) + 1
            before = len(left[:last].rstrip(BLANK))
            cut = left.find(b"\n", before) + 1 if before else 0
            if cut:
                yield left[:cut]
                left = left[cut:]
            elif len(left) > block_bytes + limit_bytes:
                raise TooLargeError(
                    f"a line is longer than {limit_bytes} bytes; write each row on a line"
                )
    yield left
