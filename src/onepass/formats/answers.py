"""What is answered for rows, and how text says it.

Numbers are float32 widened to float64, as Amazon's image prints them. They are written by orjson,
all at once; what stands between them is put there afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from onepass.formats.arrays import Array, Rows, Vector

CLOSEST_CLUSTER = "closest_cluster"
DISTANCE_TO_CLUSTER = "distance_to_cluster"
DISTANCES = "distances"


class Answers(NamedTuple):
    """The clusters of rows.

    Attributes
    ----------
    labels : ndarray of shape (n_samples,), int32
        The closest cluster of each row, from 0.
    distances : ndarray of shape (n_samples,), float32
        The Euclidean distance to it.
    table : ndarray of shape (n_samples, n_clusters), float32, or None
        The distance to every cluster, where that was asked for.
    """

    labels: Array
    distances: Vector
    table: Rows | None = None

    def matrix(self, dtype: npt.DTypeLike) -> Array:
        """Return labels, distances and what of the table there is side by side."""
        n_clusters = 0 if self.table is None else self.table.shape[1]
        matrix = np.empty((len(self.labels), 2 + n_clusters), dtype)
        matrix[:, 0] = self.labels
        matrix[:, 1] = self.distances
        if self.table is not None:
            matrix[:, 2:] = self.table
        return matrix


def write_csv(answers: Answers) -> bytes:
    r"""Encode answers, one ``closest_cluster,distance_to_cluster`` a line; no end of line last.

    Examples
    --------
    >>> write_csv(Answers(np.array([1, 2]), np.float32([3, 5])))
    b'1.0,3.0\n2.0,5.0'
    """
    return _numbers(answers.matrix(np.float64)).replace(b"],[", b"\n")


def write_json(answers: Answers) -> bytes:
    """Encode answers as objects between commas.

    Examples
    --------
    >>> write_json(Answers(np.array([1]), np.float32([3])))
    b'{"closest_cluster": 1.0, "distance_to_cluster": 3.0}'
    """
    return _objects(answers, b", ")


def write_json_lines(answers: Answers) -> bytes:
    """Encode answers as an object a line; no end of line last."""
    return _objects(answers, b"\n")


def _objects(answers: Answers, between: bytes) -> bytes:
    begin = b'{"%b": ' % CLOSEST_CLUSTER.encode()
    middle = b', "%b": ' % DISTANCE_TO_CLUSTER.encode()
    if answers.table is not None:
        return _verbose_objects(answers, between)
    text = _numbers(answers.matrix(np.float64)).replace(b"],[", b"\n")
    text = text.replace(b",", middle).replace(b"\n", b"}" + between + begin)
    return b"".join((begin, text, b"}"))


def _verbose_objects(answers: Answers, between: bytes) -> bytes:
    """Encode answers with a table: row by row, as most of the bytes are in the rows."""
    template = b'{"%b": %%b, "%b": %%b, "%b": [%%b]}' % tuple(
        name.encode() for name in (CLOSEST_CLUSTER, DISTANCE_TO_CLUSTER, DISTANCES)
    )
    rows = _numbers(answers.matrix(np.float64)).split(b"],[")
    return between.join(template % tuple(row.split(b",", 2)) for row in rows)


def _numbers(matrix: npt.NDArray[np.float64]) -> bytes:
    """Write a matrix as ``a,b],[c,d``."""
    return orjson.dumps(matrix, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2]
