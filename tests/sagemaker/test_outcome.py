"""How errors become exit codes and failure files."""

from __future__ import annotations

import pytest

from onepass.errors import AlgorithmError, DecodeError, PlatformError, TooLargeError, UserError
from onepass.sagemaker.outcome import (
    StoppedError,
    describe_failure,
    forget_failure,
    write_failure,
)
from onepass.sagemaker.paths import Paths


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (UserError("k is wrong"), 2, "ClientError: k is wrong"),
        (
            DecodeError("no magic", where="record 3 at byte 208", source="a.pbr"),
            2,
            "ClientError: a.pbr, record 3 at byte 208: no magic",
        ),
        (TooLargeError("too long"), 2, "ClientError: too long"),
        (PlatformError("the disk is full"), 3, "AlgorithmError: the disk is full"),
        (
            PermissionError(13, "Permission denied", "/x"),
            3,
            "AlgorithmError: [Errno 13] Permission denied: '/x'",
        ),
        (MemoryError(), 3, "AlgorithmError: out of memory; use a larger instance"),
        (StoppedError("stopped by SIGTERM"), 143, "AlgorithmError: stopped by SIGTERM"),
        (AlgorithmError("bug"), 1, "AlgorithmError: bug (caused by AlgorithmError)"),
        (KeyError("name"), 1, "AlgorithmError: 'name' (caused by KeyError)"),
        (ValueError(), 1, "AlgorithmError: no message (caused by ValueError)"),
    ],
)
def test_an_error_has_its_exit_code_and_reason(error, exit_code, reason):
    assert describe_failure(error) == (exit_code, reason)


def test_an_interrupted_job_has_been_stopped():
    exit_code, reason = describe_failure(KeyboardInterrupt())
    assert exit_code == 130
    assert reason.startswith("AlgorithmError: interrupted")


def test_the_failure_file_is_where_the_platform_looks(tmp_path):
    write_failure(Paths(tmp_path), "ClientError: k")
    assert (tmp_path / "output/failure").read_text() == "ClientError: k"


def test_the_first_reason_is_not_overwritten(tmp_path):
    write_failure(Paths(tmp_path), "first")
    write_failure(Paths(tmp_path), "second")
    assert (tmp_path / "output/failure").read_text() == "first"


def test_a_reason_with_a_name_that_is_no_text_can_be_written(tmp_path):
    write_failure(Paths(tmp_path), "ClientError: cannot open \udcff.pbr")
    assert (tmp_path / "output/failure").read_text() == "ClientError: cannot open \\udcff.pbr"


def test_an_earlier_failure_is_forgotten(tmp_path):
    write_failure(Paths(tmp_path), "first")
    forget_failure(Paths(tmp_path))
    assert not (tmp_path / "output/failure").exists()


def test_forgetting_where_nothing_was_is_no_error(tmp_path):
    forget_failure(Paths(tmp_path))
