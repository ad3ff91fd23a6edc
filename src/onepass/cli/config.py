"""``onepass config``: every setting of a job or a server, and who has said it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from onepass.cli.logs import set_up_logging
from onepass.errors import UserError
from onepass.sagemaker.outcome import SUCCESS, describe_failure
from onepass.sagemaker.paths import Paths

if TYPE_CHECKING:
    from onepass.sagemaker.hyperparameters import Declaration
    from onepass.sagemaker.settings import Given, Said
    from onepass.serving.variables import Variable

_REQUIRED = "required"
_WIDEST = 100


class Asked(NamedTuple):
    """What the command was given.

    Attributes
    ----------
    base : Path
    given : Given
        Hyperparameters that are not in the file.
    name : str or None
        Of the one setting that is wanted.
    of_server : bool
        Whether those of `serve` are wanted.
    as_json : bool
    """

    base: Path
    given: Given
    name: str | None
    of_server: bool
    as_json: bool


class Shown(NamedTuple):
    """What is told of one setting.

    Attributes
    ----------
    name : str
    value : object
        None where there is none; as it is written where it is not accepted.
    source : str
        Who has said it.
    accepted, default, meaning : str
    tunable : str
        The range for automatic tuning, or nothing.
    option, variable : str
        How else it can be said.
    problem : str
        Why the value is not accepted, or nothing.
    """

    name: str
    value: object
    source: str
    accepted: str
    default: str | None
    meaning: str
    tunable: str
    option: str
    variable: str
    problem: str

    def as_json(self) -> dict[str, Any]:
        """Return it with the words of the command line."""
        told = self._asdict()
        return {
            "name": told.pop("name"),
            "value": told.pop("value"),
            "from": told.pop("source"),
        } | {key: value or None for key, value in told.items()}


def run_config(asked: Asked) -> int:
    """Tell the settings; returns the exit code."""
    set_up_logging("warning")
    try:
        shown, problem = _one(asked, asked.name) if asked.name else _all(asked)
    except (UserError, OSError) as error:
        shown, problem = [], error
    if asked.as_json:
        told = {
            "settings": [one.as_json() for one in shown],
            "problem": str(problem) if problem else None,
        }
        click.echo(json.dumps(told, indent=2))
    else:
        for one in shown:
            click.echo(_in_full(one) if asked.name else _in_short(one))
    if problem is None:
        return SUCCESS
    failure = describe_failure(problem)
    click.echo(failure.reason, err=True)
    return failure.exit_code


def _all(asked: Asked) -> tuple[list[Shown], Exception | None]:
    """Return all settings of a job or of a server, and what is wrong with them."""
    if asked.of_server:
        shown = list(_of_server())
        wrong = [one.problem for one in shown if one.problem]
        return shown, UserError("; ".join(wrong)) if wrong else None
    from onepass.sagemaker.inputs import read_settings
    from onepass.sagemaker.settings import typed

    shown = list(_of_job(asked))
    try:
        typed(read_settings(Paths(asked.base), asked.given))
    except UserError as error:
        return shown, error
    return shown, None


def _one(asked: Asked, name: str) -> tuple[list[Shown], Exception | None]:
    """Return one setting, by its name or its variable, and what is wrong with it."""
    known = [*_of_job(asked), *_of_server()]
    for one in known:
        if name in (one.name, one.variable):
            return [one], UserError(one.problem) if one.problem else None
    raise UserError(f"there is no setting {name!r}{_hint(name, known)}")


def _hint(name: str, known: Sequence[Shown]) -> str:
    import difflib

    owners = {text.lower(): one.name for one in known for text in (one.variable, one.name)}
    near = difflib.get_close_matches(name.lower(), owners, 3)
    if not near:
        return "; `onepass config` and `onepass config --serve` list all"
    names = dict.fromkeys(owners[text] for text in near)
    return f"; did you mean {' or '.join(map(repr, names))}?"


def _of_job(asked: Asked) -> Iterator[Shown]:
    from onepass.sagemaker.hyperparameters import declarations
    from onepass.sagemaker.inputs import read_settings

    said = read_settings(Paths(asked.base), asked.given, required=False)
    for _, declared in declarations():
        yield _hyperparameter(declared, said.get(declared.name))


def _hyperparameter(declared: Declaration, said: Said | None) -> Shown:
    from onepass.sagemaker.settings import OPTION, Source, variable_of
    from onepass.sagemaker.values import plain_text

    written, variable = said.value if said else declared.default, variable_of(declared.name)
    source = said.source if said else Source.DEFAULT
    value, problem = written, ""
    if written is not None:
        try:
            value = declared.kind.parse(plain_text(written))
        except (ValueError, TypeError, RecursionError):
            called = variable if source == Source.VARIABLE else declared.name
            problem = (
                f"{called}={written!r} is not accepted: {declared.name} must be "
                f"{declared.kind.accepted}"
            )
    return Shown(
        declared.name,
        value,
        _REQUIRED if written is None else str(source),
        declared.kind.accepted,
        declared.default,
        declared.meaning,
        declared.tunable,
        f"{OPTION} {declared.name}=",
        variable,
        problem,
    )


def _of_server() -> Iterator[Shown]:
    from onepass.serving.variables import VARIABLES

    for variable in VARIABLES:
        yield _variable(variable)


def _variable(variable: Variable) -> Shown:
    from onepass.sagemaker.settings import Source

    is_set = bool(os.environ.get(variable.name, "").strip())
    problem = ""
    try:
        variable.read(os.environ)
    except UserError as error:
        problem = str(error)
    return Shown(
        variable.name,
        variable.written(os.environ),
        str(Source.VARIABLE if is_set else Source.DEFAULT),
        variable.kind.accepted,
        variable.default,
        variable.meaning,
        "",
        variable.option,
        variable.name,
        problem,
    )


def _in_short(one: Shown) -> str:
    """Return a setting in two or three lines: value and source, meaning and what is accepted."""
    first = f"{one.name} = {_text(one.value)}"
    said = f"{one.meaning} Accepted: {one.accepted}."
    return f"{first:<50}  {one.source}\n{_wrapped(said)}"


def _in_full(one: Shown) -> str:
    facts = {
        "value": _text(one.value),
        "from": one.source,
        "accepted": one.accepted,
        "default": _REQUIRED if one.default is None else _text(one.default),
        "tuning": one.tunable,
        "option": one.option,
        "variable": one.variable,
    }
    lines = [f"  {name:<10}{text}" for name, text in facts.items() if text]
    return "\n".join([one.name, _wrapped(one.meaning), "", *lines])


def _wrapped(text: str) -> str:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    return click.wrap_text(text, width, "  ", "  ")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if value and isinstance(value, str) else json.dumps(value)
