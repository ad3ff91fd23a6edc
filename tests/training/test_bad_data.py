"""What is wrong with the data of a job is said by file, place and remedy: every message, whole."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from onepass.data.batches import BatchReader
from onepass.data.sources import Span
from onepass.data.table_format import format_of
from onepass.errors import PlatformError
from onepass.formats.record_pb2 import Record
from onepass.formats.record_writer import write_rows
from onepass.formats.recordio import MAGIC_BYTES, frame
from onepass.sagemaker.outcome import describe_failure
from onepass.sagemaker.paths import Paths
from onepass.training.configuration import read_configuration
from onepass.training.job import train
from onepass.training.progress import LogProgress

RECORDS, CSV = "application/x-recordio-protobuf", "text/csv"
NPY, PARQUET = "application/x-npy", "application/x-parquet"
ROWS = np.arange(300, dtype=np.float32).reshape(100, 3)
GOOD = write_rows(ROWS)  # records of 36 bytes
LINES = b"".join(b"%d,%d,%d\n" % tuple(row) for row in ROWS.astype(int))
MEND = "; mend or remove it, or set max_bad_records to pass over some"
WIDTH = "; set feature_dim to what the data have, or mend the data"
NOT_FINITE = "feature 1 is NaN or infinite as float32; every value must be a finite number"


def ended(opt_ml, channel=None, progress=None, **hyperparameters):
    """Run a job that fails; return its exit code and what it leaves as the reason."""
    opt_ml.configure(**{"k": "3", "feature_dim": "3", "mini_batch_size": "10"} | hyperparameters)
    opt_ml.write_config("inputdataconfig", {"train": channel or {}})
    paths = Paths(opt_ml.base)
    with pytest.raises(Exception, match=r".") as raised:
        train(read_configuration(paths), paths, progress or LogProgress("algo-1", 1))
    assert not opt_ml.model_file.exists()
    return describe_failure(raised.value)


def record(**tensors):
    made = Record()
    for name, values in tensors.items():
        made.label[name].float32_tensor.values.extend(values)
    return frame(made.SerializeToString())


def sparse(keys, values, shape):
    made = Record()
    tensor = made.features["values"].float32_tensor
    tensor.keys.extend(keys)
    tensor.values.extend(values)
    tensor.shape.extend(shape)
    return frame(made.SerializeToString())


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def table(**columns):
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def with_nan(rows, row):
    return np.where(np.arange(rows.size).reshape(rows.shape) == 3 * row + 1, np.nan, rows).astype(
        np.float32
    )


TOO_LONG = MAGIC_BYTES + struct.pack("<I", 2**29 - 1)
RECORDIO = [
    (
        "cut short",
        GOOD[:-7],
        (
            "record 99 at byte 3564: the data ends inside this record; 29 bytes of it are there: "
            "write it whole"
        ),
    ),
    (
        "cut inside a header",
        GOOD + GOOD[:5],
        (
            "record 100 at byte 3600: the data ends inside this record; 5 bytes of it are there: "
            "write it whole"
        ),
    ),
    (
        "wrong magic",
        GOOD[:720] + b"oops" + GOOD[724:],
        (
            "record 20 at byte 720: no RecordIO record starts here: found bytes 6f6f7073, a record "
            "starts with 0a23d7ce; check the content type, or write the data anew"
        ),
    ),
    (
        "a length beyond all",
        GOOD + TOO_LONG,
        (
            "record 100 at byte 3600: the record says it is 536870911 bytes long; at most 1048672 "
            "are accepted: write the data anew"
        ),
    ),
    (
        "a length beyond the end",
        GOOD[:724] + struct.pack("<I", 1_000_000) + GOOD[728:],
        (
            "record 20 at byte 720: the data ends inside this record; 2880 bytes of it are there: "
            "write it whole"
        ),
    ),
    (
        "a length that is too small",
        GOOD[:724] + struct.pack("<I", 20) + GOOD[728:],
        "record 20 at byte 720: the record is no protobuf message of the expected schema" + MEND,
    ),
    (
        "a kind of frame that does not exist",
        GOOD + MAGIC_BYTES + struct.pack("<I", 5 << 29),
        (
            "record 100 at byte 3600: frame kind 5 does not exist; kinds are 0 to 3: write the "
            "data anew"
        ),
    ),
    (
        "a frame in the wrong place",
        GOOD + MAGIC_BYTES + struct.pack("<I", 3 << 29),
        (
            "record 100 at byte 3600: a frame of kind 3 (LAST) where a record must start; write "
            "the data anew"
        ),
    ),
    (
        "a split record without its end",
        GOOD + MAGIC_BYTES + struct.pack("<I", 1 << 29) + GOOD,
        (
            "record 100 at byte 3600: a frame of kind 0 inside a split record, where a MIDDLE or "
            "LAST must follow: write the data anew"
        ),
    ),
    ("not a number", write_rows(with_nan(ROWS, 20)), f"record 20 at byte 720: {NOT_FINITE}{MEND}"),
    (
        "no protobuf",
        GOOD + frame(b"\xff\xff"),
        "record 100 at byte 3600: the record is no protobuf message of the expected schema" + MEND,
    ),
    (
        "a label alone",
        GOOD + record(values=[1.0]),
        "record 100 at byte 3600: the record has no feature named 'values'; found: none" + MEND,
    ),
    (
        "a key out of range",
        GOOD + sparse([3], [1.0], [3]),
        "record 100 at byte 3600: key 3 lies outside shape [3]" + MEND,
    ),
    (
        "a key twice",
        GOOD + sparse([1, 1], [1.0, 2.0], [3]),
        "record 100 at byte 3600: a key occurs twice in the record" + MEND,
    ),
    (
        "sparse without a shape",
        GOOD + sparse([1], [1.0], []),
        "record 100 at byte 3600: the record is sparse (it has keys) but gives no shape" + MEND,
    ),
    (
        "values without some of their keys",
        GOOD + sparse([1], [1.0, 2.0], [3]),
        "record 100 at byte 3600: the record has 1 keys for 2 values" + MEND,
    ),
    (
        "compressed and cut short",
        gzip.compress(GOOD, mtime=0)[:-9],
        (
            "compressed byte {size}: the data ends inside a gzip member: it was cut short; "
            "compress the file anew"
        ),
    ),
    (
        "not a number, compressed",
        gzip.compress(write_rows(with_nan(ROWS, 20))),
        f"record 20 at byte 720: {NOT_FINITE}{MEND}",
    ),
]
VALUES = [
    ("text", LINES + b"4,x,6\n", "row 101 at byte 1090, column 2: 'x' is no number" + MEND),
    ("nothing", LINES + b"4,,6\n", "row 101 at byte 1090, column 2: '' is no number" + MEND),
    (
        "a header in the middle",
        LINES + b"a,b,c\n" + LINES,
        "row 101 at byte 1090, column 1: 'a' is no number" + MEND,
    ),
    (
        "not a number",
        LINES + b"nan,5,6\n",
        "row 101 at byte 1090, column 1: a value that is NaN or infinite as float32" + MEND,
    ),
    (
        "infinite",
        LINES + b"\n\r\n4,5,1e39",
        "row 101 at byte 1093, column 3: a value that is NaN or infinite as float32" + MEND,
    ),
    (
        "a quote without its end",
        LINES + b'"4,5,6\n7,8,9\n',
        "row 101 at byte 1090: a quote that does not end on its line; write each row on one line",
    ),
    (
        "a line without an end",
        LINES + b"1" * 3_000_000,
        (
            "row 101 at byte 1090: a line is longer than 65728 bytes; check its line breaks, and "
            "whether this is text/csv at all"
        ),
    ),
    (
        "records",
        GOOD,
        (
            "row 1 at byte 0: RecordIO records; ContentType must be "
            "application/x-recordio-protobuf for these"
        ),
    ),
]
MATRICES = [
    (
        "cut short",
        npy(ROWS)[:-5],
        "byte 1323: the data end inside row 100 of 100; write the file anew",
    ),
    (
        "not a number",
        npy(with_nan(ROWS, 20)),
        "row 21 at byte 368, column 2: a value that is NaN or infinite as float32" + MEND,
    ),
    ("more", npy(ROWS) + b"x", "data follow the last row; save each matrix to a file of its own"),
    (
        "no matrix",
        GOOD,
        (
            "no matrix as numpy.save writes it: it begins with 0a23d7ce1c000000; check "
            "ContentType, or save it so"
        ),
    ),
    (
        "text",
        npy(np.array([["a"] * 3])),
        "values of type <U1; numbers of at most 64 bits are read; convert them",
    ),
    (
        "by columns",
        npy(np.asfortranarray(ROWS)),
        (
            "an array of shape (100, 3) by columns (Fortran order); save a matrix, row behind row "
            "(order='C')"
        ),
    ),
]
TABLES = [
    (
        "null",
        table(x=[1.0, 2.0], y=[1, None], z=[1, 2]),
        "row 2, column 'y': a value that is null" + MEND,
    ),
    (
        "not a number",
        table(x=[1.0, float("nan")], y=[1, 2], z=[1, 2]),
        "row 2, column 'x': a value that is NaN or infinite as float32" + MEND,
    ),
    (
        "text",
        table(x=["a"], y=[1], z=[1]),
        "column 'x' is of type string, not of numbers; convert it, or drop it",
    ),
]
CASES = [
    *((RECORDS, *case) for case in RECORDIO),
    *((CSV, *case) for case in VALUES),
    *((NPY, *case) for case in MATRICES),
    *((PARQUET, *case) for case in TABLES),
]


@pytest.mark.parametrize(
    ("content_type", "content", "reason"),
    [(content_type, content, reason) for content_type, _, content, reason in CASES],
    ids=[f"{content_type.rpartition('-')[2]}: {name}" for content_type, name, *_ in CASES],
)
def test_a_bad_record_or_row_is_said_by_file_place_and_remedy(
    opt_ml, content_type, content, reason
):
    opt_ml.put(ROWS if content_type == RECORDS else b"", name="a")
    path = opt_ml.put(content, name="b")
    failure = ended(opt_ml, {"ContentType": content_type}, k="1")
    separator = ", " if reason.startswith(("record ", "row ", "byte ", "compressed ")) else ": "
    assert failure.reason == f"ClientError: {path}{separator}{reason.format(size=len(content))}"
    assert failure.exit_code == 2


@pytest.mark.parametrize(
    ("content_type", "content", "reason"),
    [
        (
            RECORDS,
            GOOD + write_rows(ROWS[:, :2]),
            ", record 100 at byte 3600: the record has 2 features, expected 3",
        ),
        (
            RECORDS,
            GOOD + sparse([1], [1.0], [4]),
            ", record 100 at byte 3600: the record has 4 features, expected 3",
        ),
        (CSV, LINES + b"4,5\n", ", row 101 at byte 1090: 2 columns, where the lines before have 3"),
        (
            CSV,
            LINES + b"4,5,6,7\n" + LINES,
            ", row 101 at byte 1090: 4 columns, where the lines before have 3",
        ),
        (
            CSV,
            b"1,2,3,4,5\n",
            (
                ", row 1 at byte 0: a line of 5 columns; expected are 3 features, or one label "
                "before them; more labels are told by label_size in ContentType"
            ),
        ),
        (NPY, npy(ROWS[:, :2]), ": 2 columns; expected are 3 features"),
        (
            PARQUET,
            table(x=[1.0], y=[1.0]),
            (
                ": 2 columns; expected are 3 features, or one label before them; more labels are "
                "told by label_size in ContentType"
            ),
        ),
    ],
)
def test_another_width_is_said_with_both_numbers_and_the_hyperparameter(
    opt_ml, content_type, content, reason
):
    path = opt_ml.put(content)
    failure = ended(opt_ml, {"ContentType": content_type})
    assert failure.reason == (
        f"ClientError: feature_dim=3 does not fit the data: {path}{reason}{WIDTH}"
    )
    assert failure.exit_code == 2


def test_dense_and_sparse_records_may_be_mixed(opt_ml, blobs):
    """A sparse record is the row it unfolds to, wherever it stands."""
    dense, mixed = [], []
    for i, row in enumerate(blobs):
        holed = np.where(np.arange(3) == i % 3, np.float32(0), row)[None]
        dense.append(write_rows(holed))
        mixed.append(write_rows(holed, sparse=i % 2 == 0))
    models = []
    for records in (dense, mixed):
        opt_ml.configure(k="3", feature_dim="3")
        opt_ml.put(b"".join(records))
        paths = Paths(opt_ml.base)
        train(read_configuration(paths), paths, LogProgress("algo-1", 1))
        models.append(opt_ml.model_file.read_bytes())
    assert models[0] == models[1]


def hidden_alone(directory):
    directory.mkdir(parents=True)
    (directory / "_SUCCESS").touch()
    return "there is no file in it"


def empty_files(directory):
    directory.mkdir(parents=True)
    (directory / "a").touch()
    (directory / "b").touch()
    return "its 2 files are empty"


def directories_alone(directory):
    (directory / "a/b").mkdir(parents=True)
    return "there is no file in it"


@pytest.mark.parametrize("make", [hidden_alone, empty_files, directories_alone])
def test_a_channel_without_an_object_that_can_be_read_is_refused(opt_ml, make):
    directory = opt_ml.base / "input/data/train"
    what = make(directory)
    assert ended(opt_ml) == (
        2,
        (
            f"ClientError: channel 'train' has no data: {what} ({directory}; names starting with "
            "'.' or '_' do not count); put objects there"
        ),
    )


def test_a_file_in_the_place_of_a_channel_is_refused(opt_ml):
    path = opt_ml.base / "input/data/train"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)
    reason = f"ClientError: channel 'train': there is no directory {path}; give the job one"
    assert ended(opt_ml) == (2, reason)


def test_fewer_rows_than_clusters_are_refused(opt_ml):
    opt_ml.put(ROWS)
    assert ended(opt_ml, k="101") == (
        2,
        (
            "ClientError: channel 'train' has 100 rows, fewer than k=101 clusters; lower k, or add "
            "data"
        ),
    )


WITHOUT_PRIVILEGES = (
    ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0
    else []
)


def forbidden(path, opt_ml):
    """Run the command without the power of root to read what is forbidden."""
    if WITHOUT_PRIVILEGES:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv, by which root reads as others do, is not there")
        able = subprocess.run([*WITHOUT_PRIVILEGES, "true"], capture_output=True, check=False)
        if able.returncode:
            pytest.skip(f"setpriv cannot give powers away here: {able.stderr.decode().strip()}")
    opt_ml.configure(k="3", feature_dim="3")
    path.chmod(0)
    try:
        return subprocess.run(
            [*WITHOUT_PRIVILEGES, *opt_ml.command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        path.chmod(0o700)


def test_a_file_that_may_not_be_read_is_the_platforms_error(opt_ml):
    path = opt_ml.put(ROWS)
    assert forbidden(path, opt_ml).returncode == 3
    assert opt_ml.failure == (
        f"AlgorithmError: cannot open {path}: Permission denied; let user {os.geteuid()} read it"
    )


def test_a_folder_that_may_not_be_read_is_refused(opt_ml):
    opt_ml.put(ROWS)
    folder = opt_ml.put(ROWS, name="sub/b").parent
    assert forbidden(folder, opt_ml).returncode == 2
    assert opt_ml.failure == (
        f"ClientError: cannot read {folder}: Permission denied; let user {os.geteuid()} read it"
    )


BROKEN = "start the job again; where this stays, the disk or the way to it is broken"


def test_a_disk_that_fails_is_the_platforms_error(opt_ml):
    (opt_ml.base / "input/data").mkdir()
    path = opt_ml.base / "input/data/train_0"
    path.symlink_to("/proc/self/mem")  # Linux answers a read of its beginning with EIO
    assert ended(opt_ml, {"TrainingInputMode": "Pipe"}) == (
        3,
        f"AlgorithmError: cannot read {path} at byte 0: Input/output error; {BROKEN}",
    )


@pytest.mark.parametrize("content_type", [RECORDS, CSV, NPY, PARQUET])
def test_a_disk_that_fails_is_no_fault_of_what_is_on_it(content_type):
    reader = BatchReader(
        [Span(Path("/proc/self/mem"), 0, 100)], 3, 10, format_of(content_type, "train")
    )
    with pytest.raises(PlatformError, match=r"^cannot \w+ /proc/self/mem.*: Input/output error; "):
        list(reader)


class Meanwhile(LogProgress):
    """Does something to the data once a job has begun to read them."""

    def __init__(self, do):
        super().__init__("algo-1", 1)
        self._do = do

    def advance(self, n_bytes, n_rows, msd=0.0):
        super().advance(n_bytes, n_rows, msd)
        self._do()


@pytest.mark.parametrize(("content_type", "content"), [(RECORDS, GOOD * 1000), (CSV, LINES * 3000)])
def test_a_file_that_is_cut_while_it_is_read_is_the_platforms_error(opt_ml, content_type, content):
    path = opt_ml.put(content)
    progress = Meanwhile(lambda: os.truncate(path, 3 * 2**19))
    failure = ended(opt_ml, {"ContentType": content_type}, progress, num_workers="1")
    n_missing = len(content) - 3 * 2**19
    assert failure == (
        3,
        (
            f"AlgorithmError: {path} is {n_missing} bytes shorter than it was; no file may change "
            "while a job reads it"
        ),
    )


def test_a_file_that_is_removed_before_its_turn_is_the_platforms_error(opt_ml):
    opt_ml.put(GOOD * 10, name="a")
    path = opt_ml.put(GOOD, name="b")
    progress = Meanwhile(lambda: path.unlink(missing_ok=True))
    assert ended(opt_ml, None, progress) == (
        3,
        (
            f"AlgorithmError: cannot open {path}: No such file or directory; no file may be moved "
            "or removed while a job reads it"
        ),
    )
