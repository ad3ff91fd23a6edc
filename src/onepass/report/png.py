"""Drawings as PNG, by Pillow, which brings a font along: an image has none."""

from __future__ import annotations

import io
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from onepass.report.colors import LIGHT
from onepass.report.drawing import Box, Dot, Drawing, Line, Point, Shape, Words

_SCALE = 2
_FINER = 2
"""By which shapes are drawn larger than they are shown: Pillow draws their edges hard."""

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
    image.reduce(_FINER).save(target, compress_level=1)  # in half the time of the usual 6
    return target.getvalue()


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
