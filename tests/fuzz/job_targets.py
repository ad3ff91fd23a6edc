"""What a job and a server are told: hyperparameters, the platform's files, archives of models."""

from __future__ import annotations

import json

from checks import BrokenPromiseError, outcome
from places import FOLDER, put

from onepass.artifact.archive import read_member
from onepass.errors import UserError
from onepass.sagemaker.hyperparameters import Hyperparameters, parse_hyperparameters
from onepass.sagemaker.inputs import JobInput, read_job_input
from onepass.sagemaker.paths import Paths

_LARGEST_MEMBER = 2**16


def hyperparameters(how: int, content: bytes) -> None:
    """One value in the place of any hyperparameter, and any object of JSON."""
    text = content.decode("utf-8", "replace")
    names = list(parse_hyperparameters({"k": 1, "feature_dim": 1}).as_given())
    name = names[how % len(names)]
    one = _with(name, text)
    quoted = text.strip().startswith('"')  # one pair of marks is taken off, no second one
    if one and not quoted and one != _with(name, json.dumps(text)):
        raise BrokenPromiseError(f"{name}={text!r} is another when it is quoted once more")


def job_input(how: int, content: bytes) -> None:
    """The three files of a job, parted by zeros: what it is given, or why not."""
    names = ("hyperparameters", "inputdataconfig", "resourceconfig")
    parts = content.split(b"\0", 2)
    for name, part in zip(names, [*parts, b"{}", b"{}"], strict=False):
        put(part, f"input/config/{name}.json")
    (FOLDER / "input/data/train").mkdir(parents=True, exist_ok=True)
    try:
        found = read_job_input(Paths(FOLDER))
    except UserError as error:
        str(error)
        return
    if not isinstance(found, JobInput) or found.train.name != "train":
        raise BrokenPromiseError(repr(found))
    del how


def archive(how: int, content: bytes) -> None:
    """A file out of a ``.tar.gz``: no more of it than is accepted."""
    found = outcome(lambda: read_member(put(content), "model_algo-1", limit_bytes=_LARGEST_MEMBER))
    if not found.refusal and len(found.value) > _LARGEST_MEMBER:
        raise BrokenPromiseError(f"a file of {len(found.value)} bytes")
    del how


def _with(name: str, value: str) -> Hyperparameters | None:
    try:
        return parse_hyperparameters({"k": "1", "feature_dim": "1", name: value})
    except UserError as error:
        str(error)
        return None
