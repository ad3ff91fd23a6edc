"""Write the first inputs of the corpus, with our own writers and those the formats come from."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from targets import CORPUS

from onepass.formats.ndarray import write_centers
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import HEADER_BYTES, MAGIC_BYTES, frame

ROWS = np.float32([[1.5, -2], [0, 3e8], [1e-45, 7], [4, 5]])
LABELS = np.arange(len(ROWS), dtype=np.float32)


def split_records() -> bytes:
    """Records in which the magic number stands, split there."""
    message = Record(uid="\x0a\x23")
    message.features["values"].float32_tensor.values[:] = np.frombuffer(MAGIC_BYTES * 2, "f4")
    return frame(message.SerializeToString(), split=True)


def as_npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    """Return what `numpy.save` writes."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def as_parquet(columns: dict[str, object], **options: object) -> bytes:
    """Return a Parquet file without what only Arrow reads in it."""
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, store_schema=False, **options)
    return file.getvalue()


def as_tar(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a ``.tar.gz``."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(file.getvalue().rstrip(b"\0") + bytes(1024), mtime=0)


def zstd(content: bytes) -> bytes:
    """Return one frame."""
    return pa.Codec("zstd").compress(content, asbytes=True)


RECORDS = {
    "dense": write_rows(ROWS),
    "sparse": write_rows(ROWS, sparse=True),
    "float64": write_rows(ROWS.astype("f8")),
    "integers": write_rows(np.int32([[1, 2], [3, -4]])),
    "labelled": write_rows(ROWS, LABELS),
    "split": split_records() * 2,
    "mixed": write_rows(ROWS) + write_rows(ROWS, sparse=True) + write_rows(ROWS, LABELS),
    "unpadded": write_rows(ROWS[:, :1])[:-1],
}
NAN = write_rows(np.float32([[1, 2]] * 5 + [[3, np.nan]]))
CENTERS = write_centers(ROWS)
COLUMNS = {"x": ROWS[:, 0], "y": ROWS[:, 1]}
CSV = {
    "plain": b"1.5,-2\n0,3e8\n4,5\n",
    "header": b"x,y\r\n1,2\r\n3,4\r\n",
    "quoted": b'"a,b",1,2\n"c",3,"4"\n',
    "marked": b"\xef\xbb\xbf1,2\n\n3,4",
}
INSTANCES = {
    "features": [{"features": [1.5, -2]}, {"features": [0, 3e8]}],
    "data": [{"data": {"features": {"values": [1, 2]}}}, {"data": {"features": [1, 2]}}],
    "sparse": [{"data": {"features": {"keys": [1], "shape": [2], "values": [7]}}}],
    "bare": [[1, 2], [3, 4]],
}
PARAMETERS = {"k": "8", "feature_dim": 2, "eval_metrics": '["msd"]', "init_method": "kmeans++"}
CHANNELS = {"train": {"TrainingInputMode": "Pipe", "RecordWrapperType": "RecordIO"}, "test": {}}
HOSTS = {"current_host": "algo-1", "hosts": ["algo-1"]}

SEEDS: dict[str, dict[str, tuple[int, bytes]]] = {
    "records": {name: (0, data) for name, data in RECORDS.items()}
    | {"nan": (2, NAN)}
    | {"width": (2, RECORDS["mixed"])},
    "record_row": {
        name: (2, data[HEADER_BYTES : HEADER_BYTES + data[4]]) for name, data in RECORDS.items()
    },
    "frames": {
        "whole": (0, frame(b"abcde") + frame(b"") + frame(b"12345678")),
        "split": (1, frame(b"abcd" + MAGIC_BYTES * 2 + b"x", split=True)),
    },
    "record_stream": {name: (1, data) for name, data in RECORDS.items()},
    "csv_channel": {name: (1, data) for name, data in CSV.items()}
    | {"label": (1 + 3 * 2, b"a,1,2\nb,3,4\n"), "labels": (1 + 3 * 3, b"a,,1,2\n")},
    "npy_channel": {
        **{kind[1:]: (1, as_npy(ROWS[2:].astype(kind))) for kind in ("<f4", "<f8", "<f2")},
        "big-endian": (1, as_npy(np.int16([[1, 2], [3, 4]]).astype(">i2"), (2, 0))),
        "truth": (1, as_npy(ROWS > 0, (3, 0))),
    },
    "parquet_channel": {
        **{
            name: (1, as_parquet(COLUMNS, compression=name))
            for name in ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
        },
        "groups": (1, as_parquet(COLUMNS, row_group_size=2, write_statistics=False)),
        "plain": (1, as_parquet(COLUMNS, use_dictionary=False, write_statistics=False)),
        "second": (1, as_parquet(COLUMNS, data_page_version="2.0", use_dictionary=False)),
        "delta": (
            0,
            as_parquet(
                {"x": np.arange(9)},
                use_dictionary=False,
                column_encoding={"x": "DELTA_BINARY_PACKED"},
            ),
        ),
        "split-bytes": (
            0,
            as_parquet(
                {"x": ROWS[:, 0]},
                use_dictionary=False,
                column_encoding={"x": "BYTE_STREAM_SPLIT"},
            ),
        ),
        "half": (0, as_parquet({"x": ROWS[2:, 0].astype("f2")})),
        "labels": (1, as_parquet({"l": ["a", "b", None, "d"], **COLUMNS})),
        "nested": (1, as_parquet({"l": [[1], [], None, [2, 3]], **COLUMNS})),
        "null": (0, as_parquet({"x": pa.array([1.0, None])})),
    },
    "gzip": {
        "member": (1, gzip.compress(b"abcabcabcabc", mtime=0)),
        "members": (1, gzip.compress(b"a" * 99, mtime=0) + bytes(3) + gzip.compress(b"", mtime=0)),
        "stored": (1, gzip.compress(b"abcdef", 0, mtime=0)),
    },
    "zstd": {
        "frame": (1, zstd(b"abcabcabcabc" * 9)),
        "frames": (1, zstd(b"abcdef") + zstd(b"") + zstd(bytes(999))),
    },
    "wrapped": {
        "plain": (1, frame(RECORDS["dense"]) + frame(RECORDS["sparse"])),
        "gzip": (1, frame(gzip.compress(RECORDS["dense"], mtime=0)) + frame(b"")),
        "zstd": (1, frame(zstd(RECORDS["dense"]))),
        "split": (1, frame(RECORDS["dense"], split=True)),
    },
    "ndarray": {
        "second": (9, CENTERS),
        "first": (9, CENTERS[:24] + b"\xc8\xfa\x93\xf9" + CENTERS[32:]),
        "third": (9, CENTERS[:24] + b"\xca\xfa\x93\xf9" + CENTERS[28:]),
        "oldest": (
            9,
            CENTERS[:24] + b"\2\0\0\0\4\0\0\0\2\0\0\0" + CENTERS[52:],
        ),
        "named": (9, CENTERS[:-8] + b"\1" + bytes(7) + b"\1" + bytes(7) + b"c"),
    },
    "csv_body": {name: (0, data) for name, data in CSV.items()} | {"label": (1, b"9,1,2\n8,3,4")},
    "json_body": {
        name: (0, json.dumps({"instances": value}).encode()) for name, value in INSTANCES.items()
    },
    "json_lines": {
        name: (2, "\n".join(map(json.dumps, value)).encode()) for name, value in INSTANCES.items()
    },
    "media_type": {
        "csv": (0, b"Text/CSV; label_size=1"),
        "accept": (0, b"text/*;q=0.5, application/jsonlines;q=.9, */*;q=0"),
    },
    "archive": {
        "gnu": (0, as_tar({"model_algo-1": CENTERS, "state": b"x"})),
        "pax": (0, as_tar({"./model_algo-1": CENTERS, "\u00e4" * 60: b""}, tarfile.PAX_FORMAT)),
        "long": (0, as_tar({"a" * 120: b"b", "model_algo-1": CENTERS})),
    },
    "hyperparameters": {
        f"value-{i}": (i, str(value).encode())
        for i, value in enumerate(["8", '"2"', "auto", "['msd', \"ssd\"]", "0.5", "True", "1e-4"])
    },
    "job_input": {
        "all": (0, b"\0".join(json.dumps(one).encode() for one in (PARAMETERS, CHANNELS, HOSTS))),
        "one": (0, json.dumps(PARAMETERS).encode()),
    },
}

_NAMES_OF_BYTES = b"\x0a\x0d\x0a\1\xff\x12\x08\x12\6\x0a\4\0\0\0\0\x0a\5\x0a\1a\x12\0"
_SHORT_FIRST = (MAGIC_BYTES + b"\2\0\0\x20ab\0\0") + (MAGIC_BYTES + b"\2\0\0\x60cd\0\0")
_FLAGGED = b"\x1f\x8b\x08\x06" + bytes(5) + b"\xff\5\0extra"

ONCE: dict[str, dict[str, tuple[int, bytes]]] = {
    "records": {"names-of-bytes": (2, frame(_NAMES_OF_BYTES))},
    "record_stream": {"names-of-bytes": (1, frame(_NAMES_OF_BYTES))},
    "record_row": {"names-of-bytes": (2, _NAMES_OF_BYTES)},
    "frames": {"a-short-first-frame": (1, _SHORT_FIRST)},
    "csv_channel": {
        "a-header-fills-a-block": (1, b"a long name of its own,b\n1,2\n3,4\n"),
        "empty-lines-fill-a-block": (1, b"\n" * 60 + b"1,2\n3,4\n"),
        "a-mark-behind-empty-lines": (1, b"\n" * 32 + b"\xef\xbb\xbf" + b"\n" * 20),
        "a-mark-in-the-middle": (1, b"\xef\xbb\xbf0,2\r\n\r\n\xef\xbb\xbf03,4"),
    },
    "npy_channel": {
        "unbalanced": (1, b"\x93NUMPY\1\0\x12\0{'descr': '<f4', \0"),
        "fewer-than-no-rows": (1, as_npy(ROWS).replace(b"(4, 2), } ", b"(-4, 2), }")),
        "of-lists": (1, as_npy(ROWS).replace(b"'shape'", b"[     ]")),
    },
    "parquet_channel": {
        "a-name-of-bytes": (
            1,
            as_parquet(COLUMNS, compression="none").replace(b"\x18\1x", b"\x18\1\xff"),
        ),
    },
    "gzip": {
        "a-header-in-two-pieces": (
            3,
            _FLAGGED
            + struct.pack("<H", zlib.crc32(_FLAGGED) & 0xFFFF)
            + gzip.compress(b"abcdef", mtime=0)[10:],
        )
    },
}
"""What a decoder once did not read as it must."""


def main() -> None:
    """Write them all."""
    for kind, inputs in (("seed", SEEDS), ("once", ONCE)):
        for decoder, named in inputs.items():
            folder = CORPUS / decoder
            folder.mkdir(parents=True, exist_ok=True)
            for name, (how, data) in named.items():
                (folder / f"{kind}-{name}").write_bytes(bytes([how]) + data)


if __name__ == "__main__":
    main()
