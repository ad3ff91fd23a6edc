"""Media types, and which of them is read and written by what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


@dataclass(frozen=True)
class Codec:
    """How bodies of one media type are read and answers written.

    Attributes
    ----------
    read : callable
        ``(pieces, media_type, n_features) -> blocks``: a body, cut anywhere, to blocks of rows in
        their order, each float32 and finite, of at most about a million values or a MiB of text.
    write : callable
        ``(answers) -> bytes``: the answers for a block.
    head : callable
        ``(n_rows, n_columns) -> bytes``: what stands before the first block.
    between, tail : bytes
        What stands between two blocks, and behind the last.
    """

    read: Callable[[Iterable[bytes], MediaType, int], Iterator[Rows]]
    write: Callable[[Answers], bytes]
    head: Callable[[int, int], bytes] = lambda *_: b""
    between: bytes = b""
    tail: bytes = b""


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        JSON: Codec(
            lambda pieces, _, n_features: json_blocks.read_blocks(pieces, n_features),
            answers.write_json,
            lambda *_: b'{"predictions": [',
            b", ",
            b"]}",
        ),
        JSON_LINES: Codec(
            lambda pieces, _, n_features: json_blocks.read_line_blocks(pieces, n_features),
            answers.write_json_lines,
            between=b"\n",
        ),
        CSV: Codec(
            lambda pieces, media, n_features: csv_blocks.read_blocks(
                pieces, n_features, label_size=media.label_size()
            ),
            answers.write_csv,
            between=b"\n",
        ),
        RECORDIO_PROTOBUF: Codec(
            lambda pieces, _, n_features: records.read_blocks(pieces, n_features),
            record_writer.write_answers,
        ),
        NPY: Codec(
            lambda pieces, _, n_features: npy.read_blocks(pieces, n_features),
            npy.write_answers,
            npy.write_head,
        ),
    }
)
"""Every media type that requests and answers may have; JSON, the first, is the default answer."""
