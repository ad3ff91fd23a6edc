"""The table of decoders: what is called with any bytes, and in which bounds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import channel_targets as channel
import formats_targets as formats
import job_targets as job
import pyarrow as pa
from memory_limits import limited

CORPUS = Path(__file__).with_name("corpus")


class Target(NamedTuple):
    """A decoder.

    Attributes
    ----------
    check : callable
        ``(how, content)``: returns where every promise is kept, raises where not.
    tokens : tuple of bytes
        What stands in its format; mutations put it in.
    limit_mib : int
        The most memory that one input may make it ask for.
    """

    check: Callable[[int, bytes], None]
    tokens: tuple[bytes, ...] = ()
    limit_mib: int = 64


_MAGIC = b"\x0a\x23\xd7\xce"
_GZIP = (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff", b"\x03\x00")
_ZSTD = (b"\x28\xb5\x2f\xfd",)
_RECORD = (_MAGIC, b"\x0a\x06values\x12", b"\x12\x06values", b"\x00\x00\x80\x3f")
_CSV = (b"\r\n", b'"', b"1e39", b"nan", b"inf", b"\xef\xbb\xbf", b"1,2\n", b"a,b\n")
_JSON = (
    *(b'{"instances":', b'"features"', b'"data"', b'"values"', b'"keys"', b'"shape"'),
    *(b"[1,2]", b"1e39", b"NaN", b"Infinity", b'{"features":[1]}'),
)
_NPY = (
    *(b"\x93NUMPY\x01\x00", b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"),
    *(b"'<f8'", b"'>i2'", b"'|b1'", b"True", b"(1, 2)", b"-1"),
)
_TAR = (*_GZIP, b"model_algo-1", b"ustar\x0000", b"ustar  \x00", b"././@LongLink")
_WORDS = (b'"k"', b'"feature_dim"', b'"8"', b"auto", b'["msd","ssd"]', b"kmeans++", b"true")

TARGETS = MappingProxyType(
    {
        "records": Target(formats.rows_of_records, _RECORD),
        "record_row": Target(formats.one_record, _RECORD[1:]),
        "frames": Target(formats.frames, (_MAGIC,)),
        "record_stream": Target(channel.record_stream, _RECORD),
        "csv_channel": Target(channel.csv_channel, _CSV),
        "npy_channel": Target(channel.npy_channel, _NPY),
        "parquet_channel": Target(channel.parquet_channel, (b"PAR1",)),
        "gzip": Target(channel.gzip_members, _GZIP),
        "zstd": Target(channel.zstd_frames, _ZSTD, 320),
        "wrapped": Target(channel.wrapped_pipe, (*_RECORD, *_GZIP, *_ZSTD), 320),
        "ndarray": Target(formats.centers, (b"\x12\x01", b"\xc8\xfa\x93\xf9", b"\xca\xfa\x93\xf9")),
        "csv_body": Target(formats.csv_body, _CSV),
        "json_body": Target(formats.json_body, _JSON),
        "json_lines": Target(formats.json_lines, _JSON),
        "npy_body": Target(formats.npy_body, _NPY),
        "media_type": Target(formats.media_types, (b"label_size=", b"q=0.5", b"text/csv", b"*/*")),
        "archive": Target(job.archive, _TAR),
        "hyperparameters": Target(job.hyperparameters, _WORDS),
        "job_input": Target(job.job_input, (*_WORDS, b'{"train":{"ContentType":"text/csv"}}')),
    }
)
"""Every decoder by its name, which is that of its folder in the corpus."""


def run_one(target: Target, data: bytes) -> None:
    """Check one input: its first byte says how, the others are what is decoded."""
    target.check(data[0] if data else 0, data[1:])


@contextmanager
def ready(name: str) -> Iterator[Target]:
    """Let nothing be told but what is wrong, and have all in place before memory is limited.

    What is imported late has been imported, and pyarrow's one thread runs. Its memory comes from
    the system: a pool that reserves addresses far ahead would use the limit up by itself.
    """
    told, pool, threads = (
        logging.root.manager.disable,
        pa.default_memory_pool(),
        pa.io_thread_count(),
    )
    logging.disable(logging.CRITICAL)
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_io_thread_count(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for kind in (DeprecationWarning, SyntaxWarning, UserWarning):
                warnings.simplefilter("ignore", kind)  # by NumPy and Python, of a matrix's header
            for path in (CORPUS / name).glob("seed-*"):
                run_one(TARGETS[name], path.read_bytes())
            yield TARGETS[name]
    finally:
        logging.disable(told)
        pa.set_memory_pool(pool)
        pa.set_io_thread_count(threads)


__all__ = ["CORPUS", "TARGETS", "Target", "limited", "ready", "run_one"]
