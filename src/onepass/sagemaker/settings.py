"""Who says what a hyperparameter is: the command line, the job's file, the environment or nobody.

Each goes before those behind it. The file goes before the environment, so that a variable which
happens to be set never changes what a job says it wants. The options, the variables and the names
in the file are one table, that of `onepass.sagemaker.hyperparameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from onepass.sagemaker.hyperparameters import (
    Hyperparameters,
    declarations,
    parse_hyperparameters,
)  # fmt: skip

OPTION = "-s"


class Source(StrEnum):
    """Who has said it."""

    OPTION = OPTION
    FILE = "hyperparameters.json"
    VARIABLE = "environment"
    DEFAULT = "default"


class Said(NamedTuple):
    """The value of one hyperparameter, as it is written, and who has written it."""

    value: object
    source: Source


@dataclass(frozen=True)
class Given:
    """What is said of hyperparameters elsewhere than in the file of the job.

    Attributes
    ----------
    options : mapping of str to str
        From the command line, by name.
    variables : mapping of str to str
        The environment; only the variables of hyperparameters are looked at.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


NOTHING = Given()


def variable_of(name: str) -> str:
    """Return the environment variable of a hyperparameter.

    Examples
    --------
    >>> variable_of("k"), variable_of("_num_gpus")
    ('ONEPASS_K', 'ONEPASS_NUM_GPUS')
    """
    return f"ONEPASS_{name.strip('_').upper()}"


def gather(file: Mapping[str, object], given: Given = NOTHING) -> dict[str, Said]:
    """Put together what is said of hyperparameters, right or wrong, by name.

    Parameters
    ----------
    file : mapping of str to object
        The content of ``hyperparameters.json``.
    given : Given

    Examples
    --------
    >>> given = Given({"k": "9"}, {"ONEPASS_K": "7", "ONEPASS_SEED": "1"})
    >>> {name: f"{one.value} by {one.source}" for name, one in gather({"k": "8"}, given).items()}
    {'k': '9 by -s', 'seed': '1 by environment'}
    """
    names = [declared.name for _, declared in declarations()]
    variables = {name: given.variables.get(variable_of(name), "") for name in names}
    return {
        **{n: Said(text, Source.VARIABLE) for n, text in variables.items() if text.strip()},
        **{name: Said(value, Source.FILE) for name, value in file.items()},
        **{name: Said(text, Source.OPTION) for name, text in given.options.items()},
    }


def typed(said: Mapping[str, Said]) -> Hyperparameters:
    """Check and type what has been said.

    Raises
    ------
    UserError
        As `parse_hyperparameters`; a value from the environment goes by the name of its variable.
    """
    from_environment = [name for name, one in said.items() if one.source == Source.VARIABLE]
    return parse_hyperparameters(
        {name: one.value for name, one in said.items()},
        {name: variable_of(name) for name in from_environment},
    )
