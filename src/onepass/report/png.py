"""Drawings as PNG, by Pillow, which brings a font along: an image has none."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from itertools import chain, pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from onepass.report.colors import LIGHT
from onepass.report.drawing import Box, Dot, Drawing, Line, Point, Shape, Words

_SCALE = 2
_FINER = 2
"""By which shapes are drawn larger than they are shown: Pillow draws their edges hard."""

_STEP, _MOST_INKS = 8, 8
"""Values of a color from one step of an edge to the next; at most 32 steps for each of 8 inks."""

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def to_png(drawing: Drawing) -> bytes:
    """Return a drawing as PNG, on white, at twice its size in pixels."""
    scale = _SCALE * _FINER
    size = round(drawing.width * scale), round(drawing.height * scale)
    image = Image.new("RGB", size, LIGHT["paper"])
    canvas = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        _draw(canvas, shape, scale)
    target = io.BytesIO()
    target.name = "drawing.png"  # by which Pillow imports no other format
    shown = image.reduce(_FINER)
    if len(inks := sorted({shape.color for shape in drawing.shapes})) <= _MOST_INKS:
        shown = shown.quantize(palette=_palette(*inks), dither=Image.Dither.NONE)
    shown.save(target, compress_level=1)  # in half the time of the usual 6
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


def _draw(canvas: ImageDraw.ImageDraw, shape: Shape, scale: int) -> None:
    match shape:
        case Line(points, color, width, dashed):
            for start, end in pairwise(points):
                for part in _dashes(start, end) if dashed else [(start, end)]:
                    ends = [(x * scale, y * scale) for x, y in part]
                    canvas.line(ends, LIGHT[color], round(width * scale), joint="curve")
        case Dot((x, y), radius, color):
            corners = [(x - radius) * scale, (y - radius) * scale]
            canvas.ellipse([*corners, (x + radius) * scale, (y + radius) * scale], LIGHT[color])
        case Box((x, y), width, height, color):
            corners = [x * scale, y * scale, (x + width) * scale, (y + height) * scale]
            canvas.rectangle(corners, LIGHT[color])
        case Words((x, y), text, color, size, anchor):
            font = _font(round(size * scale))
            at = (x * scale, y * scale)
            canvas.text(at, text, LIGHT[color], font, anchor=_ANCHORS[anchor])


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
