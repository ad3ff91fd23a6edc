"""Waivers of vulnerabilities: what Grype is told, and that none outlives its last day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "container/waivers.py"

WAIVER = """
[[waiver]]
id = "CVE-2026-12345"
reason = "the faulty parser is never called"
until = 2026-12-31
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def check(tmp_path):
    """Runs the script on a text, on a day."""

    def check(text, today="2026-12-31"):
        path = tmp_path / "waivers.toml"
        path.write_text(text, encoding="utf-8")
        return run("--file", path, "--today", today)

    return check


def test_grype_is_told_of_one_until_its_last_day(check):
    done = check(WAIVER)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "ignore": [
            {
                "vulnerability": "CVE-2026-12345",
                "include-aliases": True,
                "reason": "the faulty parser is never called",
            }
        ]
    }


def test_none_are_none(check):
    assert json.loads(check("# nothing\n").stdout) == {"ignore": []}


def test_one_that_has_ended_fails(check):
    done = check(WAIVER, today="2027-01-01")
    assert (done.returncode, done.stdout) == (1, "")
    assert "CVE-2026-12345 ended on 2026-12-31" in done.stderr


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (WAIVER.replace('id = "CVE-2026-12345"', ""), "? has reason, until; id, reason, until"),
        (WAIVER + "by = 1\n", "has by, id, reason, until; id, reason, until are needed"),
        (WAIVER.replace("CVE-2026-12345", "that one"), "its id is none like CVE-2026-12345"),
        (WAIVER.replace("the faulty parser is never called", " "), "gives no reason"),
        (WAIVER.replace("2026-12-31", '"2026-12-31"'), "until is '2026-12-31'; a date like"),
        (WAIVER.replace("2026-12-31", "2026-12-31T00:00:00"), "without quotes, is needed"),
        (WAIVER * 2, "CVE-2026-12345 stands there 2 times"),
        (WAIVER.replace("waiver", "waivers"), "only [[waiver]] tables are accepted"),
        ("waiver = 3\n", "only [[waiver]] tables are accepted"),
        ("waiver = [3]\n", "only [[waiver]] tables are accepted"),
        ("[[waiver\n", "waivers.toml: Expected"),
    ],
)
def test_one_that_is_malformed_fails(check, text, fault):
    done = check(text)
    assert (done.returncode, done.stdout) == (1, "")
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_missing_fails(tmp_path):
    done = run("--file", tmp_path / "none.toml")
    assert done.returncode == 1
    assert "No such file" in done.stderr


def test_ours_are_well_formed():
    """On which day they end is told by the scan, as tests do not fail by the calendar."""
    assert run("--today", "2000-01-01").returncode == 0
