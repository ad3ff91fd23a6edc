"""What ``--help`` says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from onepass.cli.main import main


def help_of(*words):
    done = CliRunner().invoke(main, [*words, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return done.stdout


def test_commands_stand_in_the_order_in_which_one_needs_them():
    listed = re.findall(r"^  (\w+) ", help_of().partition("Commands:\n")[2], re.MULTILINE)
    assert set(listed) == set(main.commands)
    story = ["convert", "check", "config", "train", "describe", "predict", "serve"]
    assert [name for name in listed if name in story] == story


@pytest.mark.parametrize("name", main.commands)
def test_every_command_gives_examples_and_exit_codes(name):
    said = help_of(name)
    example = said.partition("Examples:\n")[2].partition("\n\n")[0]
    assert f"onepass {name}" in example
    assert re.search(r"Exit\s+codes: 0 ", said)
    assert "..." not in help_of().partition(f"\n  {name} ")[2].partition("\n")[0]


@pytest.mark.parametrize("name", main.commands)
def test_every_option_that_an_example_has_is_there(name):
    options = {word for parameter in main.commands[name].params for word in parameter.opts}
    said = help_of(name).partition("Examples:\n")[2].partition("\n\n")[0]
    for line in said.splitlines():
        [call] = re.findall(rf"onepass {name}\b([^|#]*)", line) or [""]
        assert set(re.findall(r"(?<= )--?\w[\w-]*", call)) <= options


def test_what_the_help_shows_works_as_it_stands(tmp_path):
    rows = [",".join(str((i * j) % 7) for j in range(26)) for i in range(100)]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    shown = re.findall(r"^    onepass (.*)$", help_of(), re.MULTILINE)
    assert [line.split()[0] for line in shown] == ["convert", "train", "predict"]
    for line in shown:
        command = [sys.executable, "-m", "onepass.cli.main", *line.split()]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("closest_cluster") == 100
