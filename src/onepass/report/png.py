"""Drawings as PNG, by Pillow, which brings a font along: an image has none."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from itertools import chain, pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from onepass.report.colors import LIGHT
from onepass.report.drawing import Box, Dot, Drawing, Line, Point, Shape, Words

_SCALE = 2
_FINER = 4
"""By which slanted lines and dots are drawn larger than they are shown: Pillow draws edges hard."""

_STEP, _MOST_INKS = 8, 8
"""Values of a color from one step of an edge to the next; at most 32 steps for each of 8 inks."""

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def to_png(drawing: Drawing) -> bytes:
    """Return a drawing as PNG, on white, at twice its size in pixels."""
    size = round(drawing.width * _SCALE), round(drawing.height * _SCALE)
    image = Image.new("RGB", size, LIGHT["paper"])
    canvas = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        _draw(image, canvas, shape)
    target = io.BytesIO()
    target.name = "drawing.png"  # by which Pillow imports no other format
    if len(inks := sorted({shape.color for shape in drawing.shapes})) <= _MOST_INKS:
        image = image.quantize(palette=_palette(*inks), dither=Image.Dither.NONE)
    image.save(target, compress_level=1)  # in half the time of the usual 6
    return target.getvalue()


@cache
def _palette(*inks: str) -> Image.Image:
    """Return an image of the colors that edges of these inks have on paper.

    With a number a pixel, not three, a picture is written in a quarter of the time, and half as
    large. Pillow looks for the closest color of every fourth value alone: were steps as small as
    that, paper would be taken for a faint ink.
    """
    paper = ImageColor.getrgb(LIGHT["paper"])
    colors: list[tuple[int, ...]] = [paper]
    for ink in inks:
        full = ImageColor.getrgb(LIGHT[ink])
        n = max(1, max(abs(a - b) for a, b in zip(full, paper, strict=True)) // _STEP)
        colors += [_between(paper, full, step / n) for step in range(1, n + 1)]
    image = Image.new("P", (1, 1))
    image.putpalette(bytes(chain.from_iterable(colors)))
    return image


def _between(color: Sequence[int], other: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(color, other, strict=True))


def _draw(image: Image.Image, canvas: ImageDraw.ImageDraw, shape: Shape) -> None:
    match shape:
        case Line(points, color, width, dashed):
            thick = width * _SCALE
            for pair in pairwise(points):
                for part in _dashes(*pair) if dashed else [pair]:
                    (x, y), (to_x, to_y) = ends = [_scaled(end) for end in part]
                    if x == to_x or y == to_y:
                        canvas.line(ends, LIGHT[color], round(thick))
                    else:
                        _smooth(image, color, ends, thick)
        case Dot(center, radius, color):
            _smooth(image, color, [_scaled(center)], 2 * radius * _SCALE)
        case Box((x, y), width, height, color):
            corners = [_scaled((x, y)), _scaled((x + width, y + height))]
            canvas.rectangle(corners, LIGHT[color])
        case Words(place, text, color, size, anchor):
            font = _font(round(size * _SCALE))
            canvas.text(_scaled(place), text, LIGHT[color], font, anchor=_ANCHORS[anchor])


def _scaled(point: Point) -> Point:
    x, y = point
    return x * _SCALE, y * _SCALE


def _smooth(image: Image.Image, color: str, points: Sequence[Point], thick: float) -> None:
    """Draw a line through points, or a dot around one, by how much of each pixel it covers."""
    margin = thick / 2
    left, top = (math.floor(min(values) - margin) for values in zip(*points, strict=True))
    right, bottom = (math.ceil(max(values) + margin) + 1 for values in zip(*points, strict=True))
    mask = Image.new("L", ((right - left) * _FINER, (bottom - top) * _FINER))
    canvas = ImageDraw.Draw(mask)
    there = [((x - left) * _FINER, (y - top) * _FINER) for x, y in points]
    if len(points) == 1:
        canvas.circle(there[0], margin * _FINER, 255)
    else:
        canvas.line(there, 255, round(thick * _FINER))
    image.paste(LIGHT[color], (left, top), mask.reduce(_FINER))


def _dashes(start: Point, end: Point) -> list[tuple[Point, Point]]:
    """Cut a line into dashes of four pixels, four apart."""
    (x, y), (to_x, to_y) = start, end
    length = max(abs(to_x - x), abs(to_y - y), 1e-9)
    steps = [n / length for n in range(0, int(length), 8)]
    return [
        (
            (x + at * (to_x - x), y + at * (to_y - y)),
            (x + (at + 4 / length) * (to_x - x), y + (at + 4 / length) * (to_y - y)),
        )
        for at in steps
    ]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
