"""Hyperparameters on the command line: ``-s NAME=VALUE``, and what shells complete of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from onepass.sagemaker.settings import Given


class Setting(NamedTuple):
    """One hyperparameter, as it was written."""

    name: str
    value: str


class _SettingType(click.ParamType):  # type: ignore[type-arg] # generic in new versions only
    """``NAME=VALUE``; whether there is such a name is said where those of the file are checked."""

    name = "name=value"

    def convert(
        self, value: str | Setting, param: click.Parameter | None, ctx: click.Context | None
    ) -> Setting:
        if isinstance(value, Setting):
            return value
        name, sign, text = value.partition("=")
        if not (sign and name.strip()):
            self.fail(f"{value!r} must be NAME=VALUE, such as k=10", param, ctx)
        return Setting(name.strip(), text)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return names, each with its ``=``, or behind that the words that are accepted."""
        from click.shell_completion import CompletionItem

        from onepass.sagemaker.hyperparameters import declarations

        del ctx, param
        known = {declared.name: declared for _, declared in declarations()}
        name, sign, _ = incomplete.partition("=")
        if sign:
            words = known[name].kind.words if name in known else ()
            offered = [CompletionItem(f"{name}={word}") for word in words]
        else:
            offered = [CompletionItem(f"{d.name}=", help=d.meaning) for d in known.values()]
        return [item for item in offered if item.value.startswith(incomplete)]


SETTINGS = click.option(
    "-s",
    "--set",
    "settings",
    type=_SettingType(),
    metavar="NAME=VALUE",
    multiple=True,
    help="A hyperparameter; may be repeated. Goes before the file; `onepass config` lists all.",
)


def given_by(settings: Sequence[Setting]) -> Given:
    """Return what is said of hyperparameters by options, the last of a name, and by variables."""
    from onepass.sagemaker.settings import Given

    return Given(dict(settings), os.environ)


def complete_names(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of settings that begin so: hyperparameters, and variables of the server."""
    from click.shell_completion import CompletionItem

    from onepass.sagemaker.hyperparameters import declarations
    from onepass.serving.variables import VARIABLES

    del ctx, param
    known = {declared.name: declared.meaning for _, declared in declarations()}
    known |= {variable.name: variable.meaning for variable in VARIABLES}
    offered = [CompletionItem(name, help=meaning) for name, meaning in known.items()]
    return [item for item in offered if item.value.startswith(incomplete)]
