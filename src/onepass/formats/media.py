"""Media types, and which of them is read and written by what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

from onepass.errors import DecodeError
from onepass.formats import answers, csv_blocks, json_blocks, npy, record_writer, records
from onepass.formats.answers import Answers
from onepass.formats.arrays import Rows

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO_PROTOBUF = "application/x-recordio-protobuf"
NPY = "application/x-npy"


@dataclass(frozen=True)
class MediaType:
    """A media type such as ``text/csv; label_size=0``.

    Attributes
    ----------
    name : str
        Type and subtype in lower case.
    parameters : mapping of str to str
        Names in lower case.
    """

    name: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Read a media type; letter case and space do not matter.

        Examples
        --------
        >>> MediaType.parse("Text/CSV; label_size=0").name
        'text/csv'
        """
        name, *pairs = text.split(";")
        split = [pair.partition("=") for pair in pairs]
        parameters = {key.strip().lower(): value.strip(' \t"') for key, _, value in split if value}
        return cls(name.strip().lower(), MappingProxyType(parameters))

    def label_size(self) -> int:
        """Return the parameter ``label_size``: how many leading columns are labels."""
        text = self.parameters.get("label_size", "0")
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise DecodeError(f"label_size={text!r} must be a whole number from 0")
        return int(text)


Reader: TypeAlias = Callable[[Iterable[bytes], MediaType, int], Iterator[Rows]]


@dataclass(frozen=True)
class Codec:
    """How bodies of one media type are read and answers written.

    Attributes
    ----------
    read : callable
        ``(pieces, media_type, n_features) -> blocks``: a body, cut anywhere, to blocks of rows in
        their order, each float32 and finite, of at most about a million values or a MiB of text.
    read_plain : callable, optional
        The same for what it takes little time to read; the other bodies are a `NotPlainError`.
    write : callable
        ``(answers) -> bytes``: the answers for a block.
    head : callable
        ``(n_rows, n_columns) -> bytes``: what stands before the first block.
    between, tail : bytes
        What stands between two blocks, and behind the last.
    """

    read: Reader
    write: Callable[[Answers], bytes]
    read_plain: Reader | None = None
    head: Callable[[int, int], bytes] = lambda *_: b""
    between: bytes = b""
    tail: bytes = b""


def _read_csv(
    pieces: Iterable[bytes], media: MediaType, n_features: int, *, only_plain: bool = False
) -> Iterator[Rows]:
    return csv_blocks.read_blocks(
        pieces, n_features, label_size=media.label_size(), only_plain=only_plain
    )


def _read_json(
    pieces: Iterable[bytes], _: MediaType, n_features: int, *, only_plain: bool = False
) -> Iterator[Rows]:
    return json_blocks.read_blocks(pieces, n_features, only_plain=only_plain)


def _read_json_lines(
    pieces: Iterable[bytes], _: MediaType, n_features: int, *, only_plain: bool = False
) -> Iterator[Rows]:
    return json_blocks.read_line_blocks(pieces, n_features, only_plain=only_plain)


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        JSON: Codec(
            _read_json,
            answers.write_json,
            partial(_read_json, only_plain=True),
            head=lambda *_: b'{"predictions": [',
            between=b", ",
            tail=b"]}",
        ),
        JSON_LINES: Codec(
            _read_json_lines,
            answers.write_json_lines,
            partial(_read_json_lines, only_plain=True),
            between=b"\n",
        ),
        CSV: Codec(
            _read_csv, answers.write_csv, partial(_read_csv, only_plain=True), between=b"\n"
        ),
        RECORDIO_PROTOBUF: Codec(
            lambda pieces, _, n_features: records.read_blocks(pieces, n_features),
            record_writer.write_answers,
        ),
        NPY: Codec(
            lambda pieces, _, n_features: npy.read_blocks(pieces, n_features),
            npy.write_answers,
            head=npy.write_head,
        ),
    }
)
"""Every media type that requests and answers may have; JSON, the first, is the default answer."""
