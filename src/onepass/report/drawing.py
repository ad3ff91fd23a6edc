"""Drawings of lines, dots and words, which can be had as SVG and as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal, NamedTuple, TypeAlias

Anchor: TypeAlias = Literal["start", "middle", "end"]
Point: TypeAlias = tuple[float, float]


class Line(NamedTuple):
    """A line through points."""

    points: Sequence[Point]
    color: str
    width: float = 1.0
    dashed: bool = False


class Dot(NamedTuple):
    """A disc."""

    center: Point
    radius: float
    color: str
    opacity: float = 1.0
    told: str = ""
    """What is shown when it is pointed at."""


class Box(NamedTuple):
    """A rectangle, filled."""

    corner: Point
    width: float
    height: float
    color: str
    told: str = ""


class Words(NamedTuple):
    """A line of text, with its base at a point."""

    at: Point
    text: str
    color: str = "ink"
    size: float = 12.0
    anchor: Anchor = "start"
    bold: bool = False


Shape: TypeAlias = Line | Dot | Box | Words


class Drawing(NamedTuple):
    """Shapes on a sheet.

    Attributes
    ----------
    width, height : float
        In pixels.
    shapes : sequence of Shape
        The first one lies lowest. Colors are names of `onepass.report.colors`.
    told : str
        What is on it, for who does not see it.
    """

    width: float
    height: float
    shapes: Sequence[Shape]
    told: str

    def svg(self) -> str:
        """Return it as an element of a page, which must define the colors; see `colors.css`."""
        body = "".join(map(_svg_of, self.shapes))
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'style="max-width:{self.width:g}px" aria-label="{escape(self.told)}">{body}</svg>'
        )


def _svg_of(shape: Shape) -> str:
    match shape:
        case Line(points, color, width, dashed):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dashes = ' stroke-dasharray="4 4"' if dashed else ""
            stroke = f'stroke="var(--{color})" stroke-width="{width:g}"{dashes}'
            return f'<polyline points="{path}" fill="none" {stroke} stroke-linejoin="round"/>'
        case Dot((x, y), radius, color, opacity, told):
            faded = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
            disc = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="var(--{color})"{faded}'
            return f"{disc}>{_title(told)}</circle>" if told else f"{disc}/>"
        case Box((x, y), width, height, color, told):
            box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            return f'{box} fill="var(--{color})">{_title(told)}</rect>'
        case Words((x, y), text, color, size, anchor, bold):
            weight = ' font-weight="600"' if bold else ""
            place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"'
            return f'<text {place} fill="var(--{color})"{weight}>{escape(text)}</text>'


def _title(told: str) -> str:
    return f"<title>{escape(told)}</title>" if told else ""
