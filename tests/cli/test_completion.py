"""What shells complete, asked as they ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("onepass")

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="onepass is not installed here")


def ask(instruction, **variables):
    done = subprocess.run(
        [PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_ONEPASS_COMPLETE": instruction, **variables},
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell):
    script = ask(f"{shell}_source")
    assert "_onepass_completion" in script
    assert f"_ONEPASS_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("c", ["convert", "check", "config"]),
        ("train -s local_lloyd_m", ["local_lloyd_max_iter="]),
        ("train --set init_method=", ["init_method=random", "init_method=kmeans++"]),
        ("check -s force_dense=t", ["force_dense=true"]),
        ("train -s k=", ["k=auto"]),
        ("train -s kk=", []),
        ("config SAGEMAKER_BATCH_", ["SAGEMAKER_BATCH_STRATEGY"]),
        ("config mini", ["mini_batch_size"]),
        ("train --js", ["--json"]),
    ],
)
def test_zsh_is_offered_names_and_words(line, offered):
    words = f"onepass {line}"
    answer = ask("zsh_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    kinds, values, _ = (answer.split("\n")[i::3] for i in range(3))
    assert [value for value in values if value] == offered
    assert {kind for kind in kinds if kind} <= {"plain"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["d"], ["describe"]),
        (["train", "-s", "num_w"], ["num_workers="]),
        (["train", "-s", "init_method", "="], ["random", "kmeans++"]),
        (["train", "-s", "init_method", "=", "k"], ["kmeans++"]),
        (["train", "-s", "k", "=", "3", "-s", "half"], ["half_life_time_size="]),
        (["train", "-s", "k", "=", "3", "--sch"], ["--scheduler"]),
    ],
)
def test_bash_completes_though_it_parts_words_at_each_sign(words, offered):
    script = """
        eval "$(_ONEPASS_COMPLETE=bash_source onepass)"
        COMP_WORDS=(onepass "$@") COMP_CWORD=$#
        _onepass_completion onepass
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert done.stderr == ""
    assert done.stdout.split() == offered
