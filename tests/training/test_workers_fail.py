"""What goes wrong in a process of its own is told as if it had gone wrong here."""

import numpy as np
import pytest

from onepass.cluster.kmeans import KMeans
from onepass.data.batches import BatchReader
from onepass.data.shards import cut
from onepass.distributed.passes import run_pass
from onepass.errors import AlgorithmError, PlatformError, UserError
from onepass.formats.record_writer import write_rows
from onepass.sagemaker.outcome import describe_failure
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress


def start(opt_ml, **hyperparameters):
    opt_ml.configure(**hyperparameters)
    paths = Paths(opt_ml.base)
    return train(read_configuration(paths), paths, LogProgress("algo-1", 1))


@pytest.mark.parametrize("n_workers", ["1", "3"])
def test_a_bad_record_of_the_test_data_is_the_users(opt_ml, blobs, n_workers):
    opt_ml.put(blobs)
    path = opt_ml.put(blobs, "test")
    data = bytearray(path.read_bytes())
    size = len(data) // len(blobs)
    data[550 * size : 550 * size + 4] = b"oops"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"record 550 at byte {550 * size}: no RecordIO record"):
        start(opt_ml, k="3", feature_dim="3", num_workers=n_workers)


@pytest.mark.parametrize("n_workers", ["1", "3"])
@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (UserError("mend it"), 2),
        (PlatformError("no disk"), 3),
        (OSError(5, "Input/output error"), 3),
        (MemoryError(), 3),
        (AlgorithmError("a bug"), 1),
        (RuntimeError("a bug"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_keep_their_meaning(opt_ml, blobs, monkeypatch, n_workers, error, exit_code):
    def fail(*_, **__):
        raise error

    opt_ml.put(blobs)
    monkeypatch.setattr(KMeans, "partial_fit", fail)
    with pytest.raises(type(error)) as raised:
        start(opt_ml, k="3", feature_dim="3", num_workers=n_workers)
    assert describe_failure(raised.value).exit_code == exit_code


def rows_of(reader, tell):
    del tell
    return [row for batch in reader for row in batch[:, 0].tolist()]


def test_results_come_in_the_order_of_the_shards(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(write_rows(np.arange(300, dtype=np.float32)[:, None]))
    readers = [BatchReader(spans, 1, 10) for spans in cut([path], 7)]
    told = []
    parts = run_pass(rows_of, readers, told.append)
    assert [row for part in parts for row in part] == list(range(300))
