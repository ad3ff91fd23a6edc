"""Options that are several numbers."""

from __future__ import annotations

import click

from onepass.sagemaker.values import numbers

_KIND = numbers(1, 10_000, 1000)


def parse_numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Return numbers and ranges, as the hyperparameter k_sweep takes them."""
    try:
        parsed: tuple[int, ...] = _KIND.parse(value.strip())
    except ValueError:
        parsed = ()
    if not parsed:
        text = f"{value!r} is not accepted: it must be {_KIND.accepted}"
        raise click.BadParameter(text, ctx, param)
    return parsed
