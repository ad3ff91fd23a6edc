"""Media types as clients send them, and the registry that reads and writes each."""

import numpy as np
import pytest

from onepass.errors import DecodeError
from onepass.formats.answers import Answers
from onepass.formats.media import CODECS, CSV, JSON, JSON_LINES, NPY, RECORDIO_PROTOBUF, MediaType
from onepass.formats.record_writer import write_rows


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("text/csv", "text/csv", {}),
        ("Text/CSV", "text/csv", {}),
        (" text/csv ", "text/csv", {}),
        ("text/csv;label_size=1", "text/csv", {"label_size": "1"}),
        ("text/CSV; Label_Size = 1", "text/csv", {"label_size": "1"}),
        ('text/csv; label_size="1"', "text/csv", {"label_size": "1"}),
        (
            "text/csv; charset=UTF-8; label_size=2",
            "text/csv",
            {"charset": "UTF-8", "label_size": "2"},
        ),
        ("application/JSON", "application/json", {}),
        ("application/json;", "application/json", {}),
        ("application/json; q", "application/json", {}),
        ("", "", {}),
        (";label_size=1", "", {"label_size": "1"}),
        ("text/csv; a*=b; a*0=c", "text/csv", {"a*": "b", "a*0": "c"}),
    ],
)
def test_a_media_type_is_its_name_and_parameters(text, name, parameters):
    media = MediaType.parse(text)
    assert (media.name, dict(media.parameters)) == (name, parameters)


@pytest.mark.parametrize(
    ("text", "size"),
    [("text/csv", 0), ("text/csv;label_size=0", 0), ("text/csv;label_size=12", 12)],
)
def test_the_label_size_is_none_by_default(text, size):
    assert MediaType.parse(text).label_size() == size


@pytest.mark.parametrize(
    "value", ["-1", "1.0", "one", "\N{ARABIC-INDIC DIGIT ONE}", "²", "1 2", "9999999999", "1_0"]
)
def test_a_label_size_must_be_a_whole_number(value):
    with pytest.raises(DecodeError, match=f"^label_size='{value}' must be a whole number from 0"):
        MediaType.parse(f"text/csv; label_size={value}").label_size()


def test_the_first_codec_is_the_default():
    assert list(CODECS) == [JSON, JSON_LINES, CSV, RECORDIO_PROTOBUF, NPY]


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("application/json", b'{"instances": [{"features": [1.5, 16]}]}'),
        ("application/jsonlines", b'{"features": [1.5, 16]}'),
        ("text/csv", b"1.5,16"),
        ("text/csv; label_size=1", b"9,1.5,16"),
        ("application/x-recordio-protobuf", write_rows([[1.5, 16]])),
    ],
)
def test_every_codec_reads_its_format(media_type, data):
    media = MediaType.parse(media_type)
    [rows] = CODECS[media.name].read([data], media, 2)
    np.testing.assert_array_equal(rows, np.float32([[1.5, 16]]), strict=True)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (JSON, b'{"predictions": [{"closest_cluster": 1.0, "distance_to_cluster": 3.0}]}'),
        (JSON_LINES, b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0}'),
        (CSV, b"1.0,3.0"),
        (
            RECORDIO_PROTOBUF,
            bytes.fromhex("0a23d7ce 3e000000 121b 0a0f")
            + b"closest_cluster"
            + bytes.fromhex("1208 1206 0a04 0000803f 121f 0a13")
            + b"distance_to_cluster"
            + bytes.fromhex("1208 1206 0a04 00004040 0000"),
        ),
    ],
)
def test_every_codec_writes_its_format(name, answer):
    codec = CODECS[name]
    written = codec.write(Answers(np.array([1]), np.float32([3])))
    assert codec.head(1, 2) + written + codec.tail == answer


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (JSON, b'{"instances": [{"features": {"keys": [], "shape": [99], "values": []}}]}'),
        (JSON_LINES, b'{"features": {"keys": [], "shape": [99], "values": []}}'),
        (RECORDIO_PROTOBUF, write_rows(np.zeros((1, 99)), sparse=True)),
    ],
)
def test_a_sparse_body_cannot_unfold_beyond_the_promised_width(name, data):
    with pytest.raises(DecodeError, match=r"has 99 features, expected 2"):
        list(CODECS[name].read([data], MediaType.parse(name), 2))
