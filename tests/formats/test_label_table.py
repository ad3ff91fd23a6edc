"""Tables of clusters and distances."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pyarrow import parquet

from onepass.formats import label_table as module
from onepass.formats.label_table import label_table


class Full(io.BytesIO):
    """A disk that is full."""

    def write(self, _):
        raise OSError(28, "No space left on device")


def write(file, kind):
    with label_table(file, kind) as table:
        table.write(np.int32([2, 0]), np.float32([0.1, 1e-30]), {1: 2, 2: 1})
        table.write(np.int32([]), np.float32([]), {0: 1})
        table.write(np.int32([7]), np.float32([np.inf]), {})


@pytest.mark.parametrize("group_rows", [1, 5, 100])
def test_rows_and_gaps_stand_in_their_order(monkeypatch, group_rows):
    monkeypatch.setattr(module, "_GROUP_ROWS", group_rows)
    file = io.BytesIO()
    write(file, "csv")
    assert file.getvalue() == b"cluster,distance\n2,0.1\n,\n,\n0,1e-30\n,\n,\n7,inf\n"
    file = io.BytesIO()
    write(file, "parquet")
    table = parquet.read_table(file)
    assert [str(kind) for kind in table.schema.types] == ["int32", "float"]
    assert table["cluster"].to_pylist() == [2, None, None, 0, None, None, 7]
    distances = [
        None if value is None else np.float32(value) for value in table["distance"].to_pylist()
    ]
    assert distances == [np.float32(0.1), None, None, np.float32(1e-30), None, None, np.inf]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_rows(kind):
    file = io.BytesIO()
    with label_table(file, kind):
        pass
    if kind == "csv":
        assert file.getvalue() == b"cluster,distance\n"
    else:
        assert parquet.read_table(file).num_rows == 0


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_full_disk_is_an_error_and_the_first_error_is_told(kind):
    with pytest.raises(OSError, match="No space"):
        write(Full(), kind)
    with pytest.raises(ValueError, match="of the caller"), label_table(Full(), kind):
        raise ValueError("of the caller")
