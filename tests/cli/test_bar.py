"""The bar that people see at a terminal, on a clock of the test's own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest

from onepass.cli.bar import BarProgress

PATIENCE_S = 30


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed, for the test to set."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: 1e9 + now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns; makes a bar there, and tells what has been sent to it."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    monkeypatch.setenv("COLUMNS", "80")
    with os.fdopen(its, "w") as file:

        def start(what, n_bytes):
            monkeypatch.setattr(sys, "stderr", file)
            bar = BarProgress()
            bar.start(what, n_bytes)
            return bar

        def read():
            file.flush()
            sent = b""
            while select.select([ours], [], [], 0.1 if sent else PATIENCE_S)[0]:
                sent += os.read(ours, 1 << 16)
            return sent.decode()

        yield start, read
    os.close(ours)


def frames(shown):
    """What stood in the line of the bar, one after the other."""
    return [part.strip() for part in re.split(r"\r|\n|\x1b\[\?25.", shown) if "[" in part]


def test_it_shows_speed_bytes_time_left_and_the_msd(clock, terminal):
    start, read = terminal
    bar = start("one pass over the data", 8_000_000_000)
    clock[0] = 2.0
    bar.advance(2_000_000_000, 3_000_000, 12.3456)
    shown = read()
    assert "one pass over the data\r\n" in shown
    last = frames(shown)[-1]
    facts = " 25%  00:00:06  1,500,000 rows/s  1.00 GB/s  msd 12.35 so far"
    assert re.fullmatch(rf"\[#+-+\]  {facts}", last), last
    assert len(last) <= 80
    clock[0] = 2.05
    bar.advance(2_100_000_000, 3_100_000, 12.0)
    clock[0] = 4.0
    bar.advance(8_000_000_000, 12_000_000, 11.0)
    bar.finish()
    *later, last = frames(read())
    assert not any("msd 12 so far" in frame for frame in later), "drawn ten times a second at most"
    assert "100%" in last
    assert last.endswith("3,000,000 rows/s  2.00 GB/s  msd 11 so far")


def test_what_was_not_drawn_is_there_at_the_end(clock, terminal):
    start, read = terminal
    bar = start("scoring", 1000)
    clock[0] = 1.0
    bar.advance(10, 1)
    bar.advance(990, 99)  # at once
    bar.finish()
    assert frames(read())[-1].endswith(" 100%  99 rows/s  0.00 GB/s")


def test_where_no_msd_is_known_none_is_shown(clock, terminal):
    start, read = terminal
    bar = start("converting", 100)
    clock[0] = 1.0
    bar.advance(50, 10)
    bar.abandon()
    shown = read()
    assert "msd" not in shown
    assert shown.endswith("\x1b[?25h\r\n")  # the cursor is back, and the line has ended


def test_a_narrow_terminal_has_a_bar_of_one_line(clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    start, read = terminal
    bar = start("one pass over the data", 1000)
    clock[0] = 2.0
    bar.advance(500, 3_000_000, 12.3456)
    last = frames(read())[-1]
    assert "rows/s" in last
    assert "msd" not in last
    assert len(last) <= 60


def test_a_pipe_has_a_bar_without_an_end(clock, terminal):
    start, read = terminal
    bar = start("one pass over the data", 0)
    for second in range(1, 5):
        clock[0] = float(second)
        bar.advance(second * 1000, second * 10, 0.5)
    bar.finish()
    shown = frames(read())
    assert "10 rows/s  0.00 GB/s  msd 0.5 so far" in shown[-2]
    assert "%" not in shown[-2]
