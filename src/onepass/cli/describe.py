"""``onepass describe``: what is known of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from onepass.cli.logs import set_up_logging
from onepass.sagemaker.outcome import BUG, SUCCESS, describe_failure

_SHOWN_JOBS = 10
_SHOWN_SIZES = 12


def run_description(path: Path, *, as_json: bool) -> int:
    """Tell what is known of a model; returns the exit code."""
    set_up_logging("warning")
    try:
        from onepass.artifact.description import describe

        told = describe(path)
    except Exception as error:
        failure = describe_failure(error)
        click.echo(failure.reason.partition(": ")[2], err=True)
        if failure.exit_code == BUG:
            raise
        return failure.exit_code
    click.echo(json.dumps(told, indent=2) if as_json else _text(told))
    return SUCCESS


def _text(told: dict[str, Any]) -> str:
    values = f"with values from {told['least']:g} to {told['most']:g}"
    lines = [
        f"model      {told['model']}, {told['n_bytes']:,} bytes",
        f"clusters   {told['k']:,} of {told['n_features']:,} features, {values}",
    ]
    state = told.get("state")
    if state is None:
        return "\n".join([*lines, "state      none: the centers are all that is known"])
    lineage = state["lineage"] or []
    lines.append(f"rows       {state['n_taken']:,} seen{_fading(state)}")
    if lineage:
        last = lineage[-1]
        error = f" +- {last['msd_error']:.2g}" if last.get("msd_error") else ""
        lines.append(f"msd        {last['msd']:.6g}{error}")
    if state["cluster_sizes"]:
        lines.append(f"sizes      {_sizes(state['cluster_sizes'])}")
    kept = f"{state['n_centers']:,} weighted centers, {state['n_sampled']:,} rows of the sample"
    lines.append(f"state      {kept}; format {state['format']}, written {state['written']}")
    if state["feature_names"]:
        lines.append(f"features   {', '.join(map(str, state['feature_names']))}")
    given = state["hyperparameters"] or {}
    if given:
        lines.append("config     " + ", ".join(f"{n}={v}" for n, v in given.items() if v != ""))
    lines += [
        f"job        {_named(one)}{one['written']}: {one['n_new_rows']:,} new rows, {_of_job(one)}"
        for one in lineage[-_SHOWN_JOBS:]
    ]
    if len(lineage) > _SHOWN_JOBS:
        lines.insert(-_SHOWN_JOBS, f"job        ... and {len(lineage) - _SHOWN_JOBS:,} before")
    return "\n".join(lines)


def _fading(state: dict[str, Any]) -> str:
    if not state["half_life"]:
        return ""
    return f", which weigh {state['total_weight']:,.0f} now (half-life {state['half_life']:g} rows)"


def _named(one: dict[str, Any]) -> str:
    return f"{one['job']}, " if one.get("job") else ""


def _of_job(one: dict[str, Any]) -> str:
    return f"k={one['k']}, msd {one['msd']:.6g}, Onepass {one['version']}"


def _sizes(sizes: list[float]) -> str:
    """Return the sizes of the largest clusters, and of the smallest."""
    ordered = sorted(sizes, reverse=True)
    texts = [f"{size:,.0f}" for size in ordered]
    if len(texts) > _SHOWN_SIZES:
        left_out = len(texts) - _SHOWN_SIZES
        half = _SHOWN_SIZES // 2
        texts = [*texts[:half], f"({left_out:,} between)", *texts[-half:]]
    return " ".join(texts)
