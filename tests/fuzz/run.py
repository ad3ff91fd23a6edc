"""Fuzz decoders one behind the other and print a table of what was done.

::

    python tests/fuzz/run.py --seconds 600 records csv_channel   # these two
    python tests/fuzz/run.py --seconds 60                        # all
    python tests/fuzz/run.py --keep                              # what was found, in the corpus

Each decoder runs in a process of its own, with atheris (``pip install .[fuzz]``). What a run finds
lies in ``.cache/fuzz`` until ``--keep`` takes of it, and of the corpus, what reaches all that both
reach, in as few and as short inputs as there are. Inputs with names of their own stay as they are:
those of `seeds`, and those that once broke a decoder. Exit code 1 when a decoder broke a promise.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from targets import CORPUS, TARGETS

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".cache" / "fuzz"
LONGEST_BYTES = 4096
RSS_LIMIT_MIB = 2048
ONE_INPUT_S = 20

_STATUS = re.compile(
    r"^#\d+\s+(?P<event>\w+)\s+cov: (?P<edges>\d+) ft: (?P<features>\d+) corp: (?P<inputs>\d+)/"
    r".* rss: (?P<rss>\d+)Mb",
    re.MULTILINE,
)
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_HASH = re.compile(r"[0-9a-f]{40}")


class Report(NamedTuple):
    """What libFuzzer says of a run; sizes of memory are peaks so far, in MiB."""

    executions: int
    per_second: int
    inputs: int
    edges: int
    features: int
    first_rss: int
    last_rss: int


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder (60)")
    parser.add_argument("--runs", type=int, default=-1, help="inputs at most (-1: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0: any)")
    parser.add_argument("--keep", action="store_true", help="take what was found into the corpus")
    options = parser.parse_args()
    unknown = set(options.names) - set(TARGETS)
    if unknown:
        parser.error(
            f"no decoder is named {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}"
        )
    names = options.names or list(TARGETS)
    if options.keep:
        for name in names:
            keep(name)
        return 0
    limits = f"-max_total_time={options.seconds}", f"-runs={options.runs}"
    return fuzz_all(names, (*limits, f"-seed={options.seed}"))


def fuzz_all(names: list[str], limits: tuple[str, ...]) -> int:
    """Fuzz, and print a line of the table for each."""
    print(
        "| decoder | s | executions | per s | inputs | edges | features | RSS MiB, first | last |"
    )
    print("| --- " * 9 + "|")
    broken = []
    for name in names:
        started = time.monotonic()
        done = fuzz(name, limits)
        seconds = time.monotonic() - started
        report = understand(done.stdout)
        print(
            f"| {name} | {seconds:.0f} | " + " | ".join(f"{figure:,}" for figure in report) + " |",
            flush=True,
        )
        if done.returncode:
            broken.append(f"{name}:\n{tail_of(done.stdout)}")
    print(*broken, sep="\n\n", file=sys.stderr)
    return 1 if broken else 0


def fuzz(name: str, limits: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Fuzz one decoder; what is new lies in its folder of `FOUND`, what breaks it beside that."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    return _atheris(
        name,
        *limits,
        "-print_final_stats=1",
        f"-artifact_prefix={FOUND}/{name}-",
        found,
        CORPUS / name,
    )


def keep(name: str) -> None:
    """Merge what was found with the corpus, and drop what adds nothing."""
    corpus, found = CORPUS / name, FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    named = [path for path in corpus.iterdir() if not _HASH.fullmatch(path.name)]
    with tempfile.TemporaryDirectory() as folder:
        for path in named:
            shutil.copy(path, folder)
        done = _atheris(name, "-merge=1", folder, corpus, found)
        if done.returncode:
            sys.exit(f"{name} cannot be merged:\n{tail_of(done.stdout)}")
        for path in set(corpus.iterdir()) - set(named):
            path.unlink()
        for path in Path(folder).iterdir():
            shutil.copy(path, corpus)
    print(f"{name}: {len(list(corpus.iterdir()))} inputs")


def understand(text: str) -> Report:
    """Read libFuzzer's log."""
    lines = [found.groupdict() for found in _STATUS.finditer(text)]
    if not lines:
        return Report(*[0] * len(Report._fields))
    first = next((line for line in lines if line["event"] == "INITED"), lines[0])
    last, statistics = lines[-1], dict(_STATISTIC.findall(text))
    return Report(
        int(statistics.get("number_of_executed_units", 0)),
        int(statistics.get("average_exec_per_sec", 0)),
        *(int(last[what]) for what in ("inputs", "edges", "features")),
        int(first["rss"]),
        int(statistics.get("peak_rss_mb", last["rss"])),
    )


def tail_of(text: str) -> str:
    """Return what tells most of a log: from the first traceback on, or its end."""
    start = text.find("Traceback (most recent call last)")
    return text[start : start + 6000] if start >= 0 else text[-3000:]


def _atheris(name: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        for token in TARGETS[name].tokens:
            print('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"', file=words)
        words.flush()
        return subprocess.run(
            [
                *(sys.executable, HERE / "fuzz_one.py", name),
                f"-dict={words.name}",
                f"-max_len={LONGEST_BYTES}",
                f"-rss_limit_mb={RSS_LIMIT_MIB}",
                f"-timeout={ONE_INPUT_S}",
                *options,
            ],
            check=False,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    sys.exit(main())
