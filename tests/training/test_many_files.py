"""Rows in thousands of small files make the model that they make in one."""

from __future__ import annotations

import numpy as np
import pytest

from onepass.formats.record_writer import write_rows


@pytest.mark.parametrize("content_type", ["application/x-recordio-protobuf", "text/csv"])
def test_as_many_files_as_rows(opt_ml, tmp_path, content_type, blobs):
    rows = np.concatenate([blobs, blobs + np.float32(0.25), blobs - np.float32(0.25)])
    opt_ml.configure(k=3, feature_dim=3, num_workers=1)
    opt_ml.write_config("inputdataconfig", {"train": {"ContentType": content_type}})
    found = []
    for parts in ([rows], np.split(rows, len(rows))):
        for i, part in enumerate(parts):
            opt_ml.put(written(part, content_type), name=f"{len(parts)}/{i:05}")
        done = opt_ml.run()
        assert done.returncode == 0, done.stderr
        assert "processed a total of 1800 examples" in done.stdout + done.stderr
        found.append(opt_ml.model_file.read_bytes())
        opt_ml.base.joinpath(f"input/data/train/{len(parts)}").rename(tmp_path / f"{len(parts)}")
    assert found[0] == found[1]


def written(rows, content_type):
    if content_type == "text/csv":
        return "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()).encode()
    return write_rows(rows)
