"""Tables in every format, written and read by others than the code under test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from onepass.convert.conversion import convert
from onepass.convert.file_formats import FileFormat
from onepass.convert.request import Request, plan
from onepass.convert.survey import Reading
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import next_record

ENDINGS = {"recordio": ".pbr", "csv": ".csv", "parquet": ".parquet", "npy": ".npy",
           "libsvm": ".libsvm"}  # fmt: skip


class Read(NamedTuple):
    rows: np.ndarray
    labels: np.ndarray


class Tables:
    """Writes and reads files; labels are the leading columns where a format knows no others."""

    ENDINGS = ENDINGS

    def write(self, path, file_format, rows, labels, *, sparse=False):
        table = np.hstack((labels, rows)) if labels is not None else rows
        if file_format == "recordio":
            path.write_bytes(write_rows(rows, None if labels is None else labels[:, 0],
                                        sparse=sparse))  # fmt: skip
        elif file_format == "csv":
            lines = (",".join(map(repr, row)) for row in table.tolist())
            path.write_text("".join(f"{line}\n" for line in lines))
        elif file_format == "parquet":
            names = [f"c{i}" for i in range(table.shape[1])]
            parquet.write_table(pa.table(list(table.T), names), path)
        elif file_format == "npy":
            np.save(path, table)
        else:
            label = np.zeros(len(rows)) if labels is None else labels[:, 0]
            dump_svmlight_file(rows.astype(np.float64), label, str(path), zero_based=False)
        return path

    def read(self, path, file_format, n_labels, n_features):
        if file_format == "recordio":
            return self.records(path.read_bytes())
        if file_format == "libsvm":
            rows, labels = load_svmlight_file(str(path), n_features=n_features, zero_based=False)
            return Read(rows.toarray().astype(np.float32), labels[:, None].astype(np.float32))
        if file_format == "csv":
            table = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
        elif file_format == "parquet":
            found = parquet.read_table(path)
            assert {str(kind) for kind in found.schema.types} == {"float"}
            table = np.stack([column.to_numpy() for column in found.columns], axis=1)
        else:
            table = np.load(path)
            assert table.dtype == np.float32
        return Read(table[:, n_labels:], table[:, :n_labels])

    def records(self, data):
        rows, labels, place = [], [], 0
        while place < len(data):
            raw = next_record(memoryview(data), place, limit_bytes=2**24)
            record = Record.FromString(bytes(raw.payload))
            tensor = record.features["values"].float32_tensor
            row = np.array(tensor.values, np.float32)
            if tensor.shape:
                row = np.zeros(tensor.shape[0], np.float32)
                row[list(tensor.keys)] = tensor.values
            rows.append(row)
            labels.append(record.label["values"].float32_tensor.values)
            place = raw.end
        return Read(np.array(rows), np.array(labels, np.float32).reshape(len(rows), -1))


@pytest.fixture(scope="session")
def tables():
    return Tables()


@pytest.fixture(scope="session")
def run():
    """Convert as the command does, by the same words."""

    def convert_files(inputs, output, *, to=None, tell=lambda *_: None, **options):
        named = {
            name: options.pop(name)
            for name in ("is_sparse", "rows_per_file", "overwrite")
            if name in options
        }
        if "format" in options:
            options["format"] = FileFormat(options["format"])
        request = Request(
            inputs=[str(name) for name in inputs],
            output=str(output),
            to=FileFormat(to) if to else None,
            reading=Reading(**options),
            **{"is_sparse": None, "rows_per_file": None, "overwrite": False} | named,
        )
        planned = plan(request)
        return convert(
            planned.inputs,
            planned.place,
            reading=request.reading,
            wanted=planned.wanted,
            tell=tell,
        )

    return convert_files
