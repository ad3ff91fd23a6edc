"""Every input of the corpus keeps every promise, and so does what a short run of fuzzing finds."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from checks import BrokenPromiseError
from memory_limits import limited
from run import LONGEST_BYTES, main
from targets import CORPUS, TARGETS, Target, ready, run_one

from onepass.data.csv_file import CsvFile
from onepass.data.gzip_stream import GzipStream
from onepass.formats import record_row
from onepass.formats.record_decoder import RecordDecoder

MOST_BYTES = 2**20
SHORT_RUNS = 500


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


def check_corpus(name: str) -> None:
    with ready(name) as target:
        for path in inputs(name):
            try:
                with limited(target.limit_mib):
                    run_one(target, path.read_bytes())
            except BaseException as error:
                error.add_note(f"with {path}")
                raise


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_keeps_every_promise(name):
    check_corpus(name)


def test_every_decoder_has_a_corpus_and_all_of_it_is_small():
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(TARGETS)
    sizes = [path.stat().st_size for name in TARGETS for path in inputs(name)]
    assert max(sizes) <= LONGEST_BYTES
    assert sum(sizes) < MOST_BYTES
    assert min(len(inputs(name)) for name in TARGETS) >= 2


@pytest.mark.parametrize(
    ("name", "owner", "attribute", "instead"),
    [
        ("records", record_row, "first_non_finite", lambda _rows: None),
        ("record_stream", RecordDecoder, "peek", lambda _decoder, _data: False),
        ("csv_channel", CsvFile, "_no_rows", lambda _file: None),
        ("gzip", GzipStream, "_gather_header", lambda _stream: None),
    ],
)
def test_a_decoder_that_is_broken_is_found_by_its_corpus(
    monkeypatch, name, owner, attribute, instead
):
    monkeypatch.setattr(owner, attribute, instead)
    with pytest.raises(BrokenPromiseError):
        check_corpus(name)


def test_what_asks_for_more_memory_than_is_allowed_is_found():
    greedy = Target(lambda _how, _content: bytearray(2**28))
    with limited(greedy.limit_mib), pytest.raises(MemoryError):
        run_one(greedy, b"")
    run_one(greedy, b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_of_fuzzing_finds_nothing(name, monkeypatch, capsys):
    if not importlib.util.find_spec("atheris"):
        pytest.skip("atheris is not installed: pip install '.[fuzz]', where it has a wheel")
    monkeypatch.setattr(sys, "argv", ["run.py", "--seed", "1", "--runs", str(SHORT_RUNS), name])
    code, shown = main(), capsys.readouterr()
    assert code == 0, shown.out + shown.err
    n_runs = re.search(rf"\| {name} \| \d+ \| ([\d,]+) \|", shown.out)
    # Where a machine is slow, one or two more may be made than were asked for.
    assert n_runs, shown.out
    assert SHORT_RUNS <= int(n_runs[1].replace(",", "")) < SHORT_RUNS + 9, shown.out
