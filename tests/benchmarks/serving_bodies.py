"""What servers are sent: rows in every format; and what they must answer.

Numbers in texts have as few digits as tell one float32 from all others: about nine characters each.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson

from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import next_record

MAX_RECORD_BYTES = 2**31
BLOCK_VALUES = 2**22


class Answer(NamedTuple):
    """Clusters of rows, and the distances to them, which not every server tells."""

    labels: np.ndarray
    distances: np.ndarray | None = None


def csv(rows: np.ndarray) -> bytes:
    r"""Write a row a line.

    >>> csv(np.float32([[1, 2.5], [3, 0.1]]))
    b'1.0,2.5\n3.0,0.1'
    """
    return _numbers(rows).replace(b"],[", b"\n")


def json(rows: np.ndarray) -> bytes:
    """Write instances as the documentation of SageMaker has them.

    >>> json(np.float32([[1, 2.5], [3, 0.1]]))
    b'{"instances":[{"features":[1.0,2.5]},{"features":[3.0,0.1]}]}'
    """
    between = b']},{"features":['
    return b'{"instances":[{"features":[%b]}]}' % _numbers(rows).replace(b"],[", between)


def json_deep(rows: np.ndarray) -> bytes:
    """Write instances in their long form."""
    between = b']}}},{"data":{"features":{"values":['
    text = _numbers(rows).replace(b"],[", between)
    return b'{"instances":[{"data":{"features":{"values":[%b]}}}]}' % text


def json_lines(rows: np.ndarray) -> bytes:
    """Write an object a line."""
    return b'{"features":[%b]}' % _numbers(rows).replace(b"],[", b']}\n{"features":[')


def npy(rows: np.ndarray) -> bytes:
    """Write a .npy file."""
    out = io.BytesIO()
    np.save(out, rows)
    return out.getvalue()


def tensor(rows: np.ndarray) -> bytes:
    """Write a request of the open inference protocol, version 2."""
    head = b'{"inputs":[{"name":"rows","datatype":"FP32","shape":[%d,%d],"data":[' % rows.shape
    return b"".join((head, _numbers(rows.reshape(1, -1)), b"]}]}"))


def _numbers(rows: np.ndarray) -> bytes:
    return orjson.dumps(np.ascontiguousarray(rows), option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]


def read_csv(body: bytes) -> Answer:
    return _of_pairs(orjson.loads(b"[[%b]]" % body.replace(b"\n", b"],[")))


def read_json(body: bytes) -> Answer:
    return _of_objects(orjson.loads(body)["predictions"])


def read_json_lines(body: bytes) -> Answer:
    return _of_objects(map(orjson.loads, body.split(b"\n")))


def read_npy(body: bytes) -> Answer:
    return _of_pairs(np.load(io.BytesIO(body), allow_pickle=False))


def read_records(body: bytes) -> Answer:
    pairs, start, data = [], 0, memoryview(body)
    while found := next_record(data, start, limit_bytes=MAX_RECORD_BYTES):
        label = Record.FromString(bytes(found.payload)).label
        names = ("closest_cluster", "distance_to_cluster")
        pairs.append([label[name].float32_tensor.values[0] for name in names])
        start = found.end
    return _of_pairs(pairs)


def _of_objects(objects) -> Answer:
    return _of_pairs([(o["closest_cluster"], o["distance_to_cluster"]) for o in objects])


def _of_pairs(pairs) -> Answer:
    labels, distances = np.asarray(pairs, np.float64).T
    return Answer(labels.astype(np.int64), distances)


class Format(NamedTuple):
    """A format of bodies, and how answers in it are read."""

    title: str
    content_type: str
    write: Callable[[np.ndarray], bytes]
    read: Callable[[bytes], Answer]


FORMATS = {
    "csv": Format("CSV", "text/csv", csv, read_csv),
    "json": Format("JSON", "application/json", json, read_json),
    "jsonlines": Format("JSON Lines", "application/jsonlines", json_lines, read_json_lines),
    "recordio": Format(
        "RecordIO-protobuf", "application/x-recordio-protobuf", write_rows, read_records
    ),
    "npy": Format("NumPy", "application/x-npy", npy, read_npy),
}


@dataclass(frozen=True)
class Truth:
    """Distances from rows to centers by NumPy in float64, block by block."""

    rows: np.ndarray
    centers: np.ndarray

    def complaint(self, answer: Answer, tolerance: float = 1e-5) -> str:
        """Say what is wrong with an answer; nothing where it is right.

        A label is right when no other center is closer by more than a share of the squares that a
        distance is the difference of; a distance, when it is that to the center of the label.
        """
        if len(answer.labels) != len(self.rows):
            return f"{len(answer.labels)} answers for {len(self.rows)} rows"
        if not ((answer.labels >= 0) & (answer.labels < len(self.centers))).all():
            return "there is no such cluster"
        step = max(1, BLOCK_VALUES // max(self.centers.shape))
        for start in range(0, len(self.rows), step):
            part = slice(start, start + step)
            told = None if answer.distances is None else answer.distances[part]
            found = self._complaint(self.rows[part], Answer(answer.labels[part], told), tolerance)
            if found:
                return f"after row {start}: {found}"
        return ""

    def _complaint(self, rows: np.ndarray, answer: Answer, tolerance: float) -> str:
        x, c = rows.astype(np.float64), self.centers.astype(np.float64)
        squares = np.einsum("ij,ij->i", x, x)
        least = squares + ((c**2).sum(axis=1) - 2 * x @ c.T).min(axis=1)
        own = ((x - c[answer.labels]) ** 2).sum(axis=1)
        if (own > least + tolerance * (squares + own)).any():
            return "another center is closer"
        if answer.distances is None:
            return ""
        close = np.isclose(answer.distances, np.sqrt(own), rtol=tolerance, atol=0)
        return "" if close.all() else "the distance is not that to the center"
