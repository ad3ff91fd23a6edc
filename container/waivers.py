#!/usr/bin/env python3
"""Vulnerabilities of the image that are let pass for a while, as Grype is told of them.

    container/waivers.py [--file WAIVERS.toml] [--today YYYY-MM-DD] >grype.json

Writes a configuration of Grype. A waiver that is malformed or whose last day has passed ends this
with exit code 1 and a line for each: nothing is let pass for good.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WAIVERS = Path(__file__).with_name("waivers.toml")
IDENTIFIER = re.compile(r"[A-Z]+(-[0-9A-Za-z]+)+")


class Waiver(NamedTuple):
    """A vulnerability's identifier, why it may stay, and the last day on which it may."""

    id: str
    reason: str
    until: dt.date


def read(path: Path) -> list[dict[str, object]]:
    """Read the tables of a file; their values are not checked.

    Raises
    ------
    ValueError
        The file is not TOML, or holds something else than a list of waivers.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    tables = content.pop("waiver", [])
    if content or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ValueError("only [[waiver]] tables are accepted")
    return tables


def faults(table: dict[str, object], today: dt.date) -> Iterator[str]:
    """Say what is wrong with a waiver on a day, if anything."""
    if set(table) != set(Waiver._fields):
        yield f"has {', '.join(sorted(table)) or 'nothing'}; {', '.join(Waiver._fields)} are needed"
        return
    if not IDENTIFIER.fullmatch(str(table["id"])):
        yield "its id is none like CVE-2026-12345"
    if not str(table["reason"]).strip():
        yield "gives no reason"
    until = table["until"]
    if type(until) is not dt.date:
        yield f"until is {until!r}; a date like 2026-12-31, without quotes, is needed"
    elif until < today:
        yield f"ended on {until}: update what it is about, or renew it with a reason that holds"


def configuration(waivers: list[Waiver]) -> dict[str, object]:
    """Make what Grype reads, in which a CVE stands for its other names, too."""
    return {
        "ignore": [
            {"vulnerability": waiver.id, "include-aliases": True, "reason": waiver.reason}
            for waiver in waivers
        ]
    }


def main() -> int:
    """Check the waivers, and print Grype's configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=WAIVERS)
    today = dt.datetime.now(tz=dt.UTC).date()
    parser.add_argument("--today", type=dt.date.fromisoformat, default=today)
    given = parser.parse_args()
    try:
        tables = read(given.file)
    except (OSError, ValueError) as error:
        print(f"waivers: {given.file}: {error}", file=sys.stderr)
        return 1
    found = [f"{t.get('id', '?')} {fault}" for t in tables for fault in faults(t, given.today)]
    times = Counter(str(table.get("id")) for table in tables)
    found += [f"{name} stands there {n} times" for name, n in times.items() if n > 1]
    for fault in found:
        print(f"waivers: {given.file}: {fault}", file=sys.stderr)
    if not found:
        waivers = [Waiver(**table) for table in tables]  # type: ignore[arg-type]
        print(json.dumps(configuration(waivers), indent=2))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
