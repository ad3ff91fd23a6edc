"""Shapes come out alike as SVG and as PNG."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from onepass.report.axes import ticks, whole_ticks
from onepass.report.colors import DARK, LIGHT, css, of_cluster
from onepass.report.drawing import Box, Dot, Drawing, Line, Words
from onepass.report.drawings import draw_map, draw_sizes, draw_times
from onepass.report.elbow_drawing import draw_elbow

SHAPES = [
    Box((10, 10), 30, 20, "c1", "a < b"),
    Line([(60, 10), (90, 10)], "c2", 4),
    Line([(60, 30), (90, 30)], "warm", 4, dashed=True),
    Dot((120, 20), 8, "c0"),
    Words((150, 25), "R & D", "ink", 14, bold=True),
]


@pytest.fixture
def picture():
    image = pytest.importorskip("PIL.Image")
    from onepass.report.png import to_png

    return lambda drawing: image.open(io.BytesIO(to_png(drawing))).convert("RGB")


def rgb(name):
    return tuple(bytes.fromhex(LIGHT[name][1:]))


def test_svg_is_xml_with_all_shapes():
    root = ET.fromstring(Drawing(200, 40, SHAPES, 'told "so"').svg())  # noqa: S314 - ours
    assert [child.tag for child in root] == ["rect", "polyline", "polyline", "circle", "text"]
    assert root.get("aria-label") == 'told "so"'
    assert root.find("rect/title").text == "a < b"
    assert root.find("text").text == "R & D"


def test_png_has_each_where_it_is(picture):
    image = picture(Drawing(200, 40, SHAPES, ""))
    assert image.size == (400, 80)
    assert image.getpixel((50, 40)) == rgb("c1")
    assert image.getpixel((150, 20)) == rgb("c2")
    assert image.getpixel((240, 40)) == rgb("c0")
    assert image.getpixel((10, 70)) == (255, 255, 255)
    dashes = {image.getpixel((x, 60)) for x in range(124, 176)}
    assert {rgb("warm"), (255, 255, 255)} <= dashes
    letters = np.asarray(image.crop((300, 20, 400, 60)))
    assert (letters.sum(axis=2) < 200).sum() > 50, "there are words"


def test_png_has_slanted_lines_with_smooth_edges(picture):
    """From corner to corner: ink along it, paper aside, and in between what is part of each."""
    image = np.asarray(picture(Drawing(40, 40, [Line([(0, 0), (40, 40)], "ink", 4)], "")), int)
    ink, paper = np.array(rgb("ink")), np.array(rgb("paper"))
    across = image[40 - np.arange(-9, 10), 40 + np.arange(-9, 10)]  # 1.4 pixels a step
    assert np.abs(across[8:11] - ink).max() == 0
    assert np.abs(across[[0, 1, 2, -3, -2, -1]] - paper).max() == 0
    edges = across[2:-2][(across[2:-2] != ink).all(axis=1) & (across[2:-2] != paper).all(axis=1)]
    assert 1 <= len(edges) <= 4


def test_png_has_many_colors_and_few_alike(picture):
    """Where there are few, each pixel is one of those on the way from paper to an ink."""
    inks = [name for name in LIGHT if name != "paper"]
    for some in (inks[:8], inks[-8:], inks):
        boxes = [Box((20 * place, 0), 18, 10, ink) for place, ink in enumerate(some)]
        image = picture(Drawing(400, 20, boxes, ""))
        assert image.getpixel((10, 35)) == rgb("paper")
        for place, ink in enumerate(some):
            written = np.array(image.getpixel((40 * place + 18, 10)))
            assert np.abs(written - rgb(ink)).max() <= (8 if len(some) == 8 else 0), ink


def test_every_color_is_defined_by_light_and_by_dark():
    assert LIGHT.keys() == DARK.keys()
    assert {of_cluster(n) for n in range(30)} <= LIGHT.keys()
    assert css().count("--ink:") == 2


def contrast(one, other):
    """The contrast of two colors, as WCAG has it."""

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_and_shapes_seen(colors):
    for ground in ("paper", "panel"):
        for ink in ("ink", "soft", "warm"):
            assert contrast(colors[ink], colors[ground]) >= 4.5
        for n in range(10):
            assert contrast(colors[f"c{n}"], colors[ground]) >= 2.5


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 157426, 6, [0, 50_000, 100_000, 150_000]),
        (-3, 3, 4, [-2, 0, 2]),
        (5, 5, 4, [5]),
        (0, 1e-9, 3, [0, 5e-10, 1e-9]),
    ],
)
def test_ticks_are_round(low, high, n, expected):
    assert ticks(low, high, n) == pytest.approx(expected)


def test_ticks_of_numbers_of_clusters_are_whole():
    assert whole_ticks(2, 12, 13) == list(range(2, 13))
    assert whole_ticks(2, 100, 13) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


def test_far_rows_are_drawn_at_the_edge():
    rows = np.random.default_rng(0).normal(size=(500, 2))
    rows[0] = 1e6
    centers = np.array([[0.0, 0.0], [-1e6, 0.0]])
    drawing, n_outside = draw_map(rows, np.zeros(500, np.int32), centers)
    assert 2 <= n_outside < 20
    for shape in drawing.shapes:
        if isinstance(shape, Dot):
            assert 0 <= shape.center[0] <= drawing.width
            assert 0 <= shape.center[1] <= drawing.height


def test_the_largest_clusters_come_first():
    svg = draw_sizes(np.array([5.0, 90.0, 5.0, 0.0])).svg()
    assert re.findall(r">(\d+)</text>", svg) == ["1", "0", "2", "3"]
    assert "90  (90.0%)" in svg
    assert draw_sizes(np.arange(100.0)).svg().count("<rect") == 30


def test_times_are_parts_of_one_bar():
    boxes = [s for s in draw_times({"a": 3.0, "b": 1.0}).shapes if isinstance(s, Box)]
    assert boxes[0].width + 1 == pytest.approx(3 * (boxes[2].width + 1))
    draw_times({"a": 0.0})
    draw_times({})


def test_an_elbow_falls_from_left_to_right(facts, picture):
    elbow = facts(sweep=range(2, 9)).elbow
    drawing = draw_elbow(elbow, 4)
    [curve] = [s for s in drawing.shapes if isinstance(s, Line) and len(s.points) == len(elbow)]
    x, y = zip(*curve.points, strict=True)
    assert list(x) == sorted(x)
    assert list(y) == sorted(y), "pixels are counted from above"
    image = picture(drawing)
    assert image.getpixel((round(2 * x[2]), round(2 * y[2]))) == rgb("accent")


def test_an_elbow_of_one_number(facts):
    assert "<svg" in draw_elbow(facts(sweep=[3]).elbow).svg()
