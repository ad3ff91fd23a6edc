"""Read the corpus over and over, without atheris, and print how much memory the process takes.

::

    python tests/fuzz/soak.py --runs 20000          # of every decoder, each in a process of its own

What grows here grows in a decoder; atheris's own instrumentation grows by some 70 bytes an input.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
from pathlib import Path

from targets import CORPUS, TARGETS, ready, run_one


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=20_000, help="inputs decoded (20000)")
    options = parser.parse_args()
    if len(options.names) == 1:
        soak(options.names[0], options.runs)
        return
    print("| decoder | inputs decoded | RSS KiB, after a tenth | at the end |")
    print("| --- " * 4 + "|", flush=True)
    for name in options.names or TARGETS:
        subprocess.run([sys.executable, __file__, "--runs", str(options.runs), name], check=True)


def soak(name: str, runs: int) -> None:
    """Decode the inputs of one decoder in turn."""
    contents = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    first = 0
    with ready(name) as target:
        for i, content in enumerate(itertools.islice(itertools.cycle(contents), runs)):
            run_one(target, content)
            if i == runs // 10:
                first = rss_kib()
    print(f"| {name} | {runs:,} | {first:,} | {rss_kib():,} |", flush=True)


def rss_kib() -> int:
    """Return how much of this process is in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 1024


if __name__ == "__main__":
    main()
