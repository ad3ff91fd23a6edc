"""The pictures of a report but the elbow: the map, the sizes, the profiles, the times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onepass.cluster.arrays import Doubles, Labels
from onepass.report.axes import percent, short
from onepass.report.colors import of_cluster
from onepass.report.drawing import Box, Dot, Drawing, Line, Point, Shape, Words
from onepass.report.facts import Facts, Shown

_SIDE, _MARGIN = 560.0, 18.0
_ROW_HEIGHT = 22.0
_MOST_NUMBERED, MOST_BARS, _MOST_PROFILED, _FEATURES = 60, 30, 30, 5
_IN_VIEW = (1.0, 99.0)


def draw_map(rows: Doubles, labels: Labels, centers: Doubles) -> tuple[Drawing, int]:
    """Draw rows and centers on a plane.

    Parameters
    ----------
    rows : ndarray of shape (n, 2), float64
    labels : ndarray of shape (n,), int32
    centers : ndarray of shape (n_clusters, 2), float64

    Returns
    -------
    drawing : Drawing
    n_outside : int
        Rows and centers far out, that are drawn at the edge: one of them would shrink all others to
        a spot.
    """
    low, high = (np.percentile(rows, share, axis=0) for share in _IN_VIEW)
    room = np.where(high > low, 0.15 * (high - low), 1.0)
    low, high = low - room, high + room
    n_outside = sum(int(((at < low) | (at > high)).any(axis=1).sum()) for at in (rows, centers))

    def places(at: Doubles) -> list[Point]:
        shares = (np.clip(at, low, high) - low) / (high - low)
        inner = _SIDE - 2 * _MARGIN
        return [(_MARGIN + inner * x, _SIDE - _MARGIN - inner * y) for x, y in shares.tolist()]

    shapes: list[Shape] = [
        Dot(at, 2.4, of_cluster(int(label)), 0.55)
        for at, label in zip(places(rows), labels, strict=True)
    ]
    for number, (x, y) in enumerate(places(centers)):
        if len(centers) <= _MOST_NUMBERED:
            shapes.append(Dot((x, y), 10, "paper", 0.9, f"cluster {number}"))
            shapes.append(Words((x, y + 4), str(number), "ink", 11, "middle", bold=True))
        else:
            shapes.append(Dot((x, y), 3.5, "ink", told=f"cluster {number}"))
    told = f"{len(rows)} rows of {len(centers)} clusters on a plane"
    return Drawing(_SIDE, _SIDE, shapes, told), n_outside


def draw_sizes(sizes: Doubles) -> Drawing:
    """Draw what the rows of each cluster weigh, the largest first, 30 at most."""
    order = np.argsort(-sizes, kind="stable")[:MOST_BARS]
    total = float(sizes.sum()) or 1.0
    width, left = 560.0, 44.0
    longest = width - left - 150
    shapes: list[Shape] = []
    for i, number in enumerate(order.tolist()):
        y, size = i * _ROW_HEIGHT, float(sizes[number])
        length = longest * size / (float(sizes.max()) or 1.0)
        told = f"cluster {number}: {size:,.0f} rows, {percent(size / total)}"
        shapes.append(Words((left - 8, y + 15), str(number), "soft", 12, "end"))
        shapes.append(Box((left, y + 4), max(length, 1.0), 14, of_cluster(number), told))
        text = f"{size:,.0f}  ({percent(size / total)})"
        shapes.append(Words((left + length + 8, y + 15), text, "ink", 12))
    return Drawing(width, _ROW_HEIGHT * len(order) + 4, shapes, "rows of each cluster")


def most_distinct(facts: Facts, shown: Shown) -> dict[int, list[tuple[int, float]]]:
    """Return what sets the largest clusters apart, the largest first, 30 at most.

    Returns
    -------
    dict of int to list of tuple
        Of each cluster up to five features, and how many standard deviations its center is above
        their mean.
    """
    usable = np.flatnonzero(shown.deviation > 0)
    order = np.argsort(-facts.sizes, kind="stable")[:_MOST_PROFILED].tolist()
    found = {}
    for number in order:
        apart = (facts.centers[number, usable] - shown.mean[usable]) / shown.deviation[usable]
        first = np.argsort(-np.abs(apart), kind="stable")[:_FEATURES]
        found[number] = [(int(usable[i]), float(apart[i])) for i in first]
    return found


def draw_profile(facts: Facts, shown: Shown, features: Sequence[tuple[int, float]]) -> Drawing:
    """Draw by how many standard deviations a center is off the mean in some features."""
    width, middle, reach = 430.0, 230.0, 80.0
    most = max((abs(apart) for _, apart in features), default=1.0) or 1.0
    height = _ROW_HEIGHT * len(features) + 4
    shapes: list[Shape] = [Line([(middle, 0), (middle, height)], "faint")]
    for i, (number, apart) in enumerate(features):
        y, length = i * _ROW_HEIGHT, reach * abs(apart) / most
        name, value = facts.feature(number), shown.mean[number] + apart * shown.deviation[number]
        start = middle if apart >= 0 else middle - length
        told = f"{name}: {short(value)}, of all {short(shown.mean[number])}"
        color = "c1" if apart >= 0 else "c0"
        shapes.append(Words((0, y + 15), _cut(name, 19), "ink", 12))
        shapes.append(Box((start, y + 4), max(length, 1.0), 14, color, told))
        off = f"{short(value)}  ({apart:+.1f} sd)"
        shapes.append(Words((width, y + 15), off, "soft", 12, "end"))
    return Drawing(width, height, shapes, "features that set the cluster apart")


def draw_times(seconds: Mapping[str, float]) -> Drawing:
    """Draw what each stage took, as parts of one bar."""
    total = sum(seconds.values()) or 1.0
    width, x = 560.0, 0.0
    shapes: list[Shape] = []
    for i, (stage, spent) in enumerate(seconds.items()):
        length = width * spent / total
        told = f"{stage}: {spent:.2f} s"
        shapes.append(Box((x, 0), max(length - 1, 0.5), 18, of_cluster(i), told))
        y = 40 + 20 * i
        shapes.append(Box((0, y - 10), 10, 10, of_cluster(i)))
        shapes.append(Words((18, y), f"{stage}, {spent:.2f} s", "ink", 12))
        x += length
    return Drawing(width, 36 + 20 * len(seconds), shapes, "seconds of each stage")


def _cut(text: str, n_most: int) -> str:
    return text if len(text) <= n_most else f"{text[: n_most - 1]}…"
