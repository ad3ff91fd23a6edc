"""What a request must be like: as the model of the service says, which botocore brings along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from control_plane.errors import invalid


@cache
def service(name: str = "sagemaker") -> ServiceModel:
    """Return the model of a service."""
    return botocore.session.get_session().get_service_model(name)


def check(operation: str, given: dict[str, Any]) -> None:
    """Refuse a request that the service would refuse.

    Raises
    ------
    ApiError
        Saying all that is wrong at once.
    """
    shape = service().operation_model(operation).input_shape
    if shape is None:
        return
    report = ParamValidator().validate(given, shape)
    problems = [report.generate_report()] if report.has_errors() else []
    problems = problems or list(_unmet(shape, given, ""))
    if problems:
        n = len(problems)
        raise invalid(f"{n} validation error{'s' * (n > 1)} detected: {'; '.join(problems)}")


def _unmet(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Yield what botocore lets pass: enumerations, patterns, and what is too much."""
    for member, inner, where in _within(shape, value, path):
        yield from _unmet(member, inner, where)
    if not isinstance(shape, StructureShape):
        told = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must"
        for constraint in _broken(shape.metadata, value):
            yield f"{told} {constraint}"


def _within(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    """Yield what a value is made of."""
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield shape.members[name], member, f"{path}.{_as_told(name)}".strip(".")
    elif isinstance(shape, ListShape):
        for i, item in enumerate(value, start=1):
            yield shape.member, item, f"{path}.{i}.member"
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield shape.key, key, f"{path}.{key}.key"
            yield shape.value, item, f"{path}.{key}.value"


def _broken(constraints: dict[str, Any], value: Any) -> Iterator[str]:
    size = len(value) if isinstance(value, (str, list, dict)) else value
    if "max" in constraints and size > constraints["max"]:
        yield f"have length or value less than or equal to {constraints['max']}"
    if "enum" in constraints and value not in constraints["enum"]:
        yield f"satisfy enum value set: [{', '.join(constraints['enum'])}]"
    pattern = constraints.get("pattern")
    if pattern and isinstance(value, str) and not _matches(pattern, value):
        yield f"satisfy regular expression pattern: {pattern}"


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:  # of another kind than Python's
        return True


def _as_told(name: str) -> str:
    """Return a member's name as errors of the service spell it."""
    return name[:1].lower() + name[1:]
