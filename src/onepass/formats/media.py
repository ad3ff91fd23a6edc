"""Media types, and which of them is read and written by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from onepass.errors import DecodeError
from onepass.formats import csv, json, record_writer, records
from onepass.formats.arrays import Array, Rows, Vector

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO_PROTOBUF = "application/x-recordio-protobuf"


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
        ``(body, media_type, n_features) -> rows``; the number of features is a promise the rows
        are checked against later, and bounds what a sparse body may unfold to.
    write : callable
        ``(labels, distances) -> body``.
    """

    read: Callable[[bytes, MediaType, int], Rows]
    write: Callable[[Array, Vector], bytes]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        JSON: Codec(
            lambda body, _, n_features: json.read_rows(body, n_features), json.write_predictions
        ),
        JSON_LINES: Codec(
            lambda body, _, n_features: json.read_lines(body, n_features),
            json.write_prediction_lines,
        ),
        CSV: Codec(
            lambda body, media, _: csv.read_rows(body, label_size=media.label_size()),
            csv.write_predictions,
        ),
        RECORDIO_PROTOBUF: Codec(
            lambda body, _, n_features: records.read_rows(body, n_features),
            record_writer.write_predictions,
        ),
    }
)
"""Every media type that requests and answers may have; JSON, the first, is the default answer."""
