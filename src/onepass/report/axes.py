"""Axes: from values to pixels, with ticks that people can read."""

from __future__ import annotations

import math
from typing import NamedTuple

from onepass.report.drawing import Line, Point, Shape, Words


class Axis(NamedTuple):
    """A range of values along a range of pixels."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class Frame(NamedTuple):
    """Two axes."""

    x: Axis
    y: Axis

    def place(self, x: float, y: float) -> Point:
        """Return where a pair of values lies."""
        return self.x.place(x), self.y.place(y)

    def grid(self, x_ticks: list[float], y_ticks: list[float]) -> list[Shape]:
        """Return lines at the ticks of y, and the words of all."""
        shapes: list[Shape] = []
        for tick in y_ticks:
            at = self.y.place(tick)
            shapes.append(Line([(self.x.start, at), (self.x.end, at)], "faint"))
            shapes.append(Words((self.x.start - 8, at + 4), short(tick), "soft", 11, "end"))
        for tick in x_ticks:
            at = self.x.place(tick)
            shapes.append(Words((at, self.y.start + 18), short(tick), "soft", 11, "middle"))
        return shapes


def ticks(low: float, high: float, n_most: int) -> list[float]:
    """Return round numbers within a range, so many at most.

    Examples
    --------
    >>> ticks(0, 47, 6)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    if not high > low:
        return [low]
    unit = 10.0 ** math.floor(math.log10((high - low) / n_most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * unit
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < n_most:
            break
    return [n * step for n in range(first, last + 1)]


def whole_ticks(low: int, high: int, n_most: int) -> list[float]:
    """Return whole numbers within a range, so many at most."""
    if high - low < n_most:
        return [float(n) for n in range(low, high + 1)]
    return [tick for tick in ticks(low, high, n_most) if tick == round(tick)]


def percent(share: float) -> str:
    """Return a share as people write it.

    Examples
    --------
    >>> [percent(share) for share in (0, 0.00001, 0.0123, 1)]
    ['0%', '< 0.1%', '1.2%', '100%']
    """
    if 0 < share < 0.001:
        return "< 0.1%"
    return f"{share:.1%}" if 0 < share < 1 else f"{share:.0%}"


def short(value: float) -> str:
    """Return a number as people write it.

    Examples
    --------
    >>> [short(n) for n in (0, 12, 0.25, 1500, 2_500_000, 1.5e-7, 3.2e12)]
    ['0', '12', '0.25', '1,500', '2.5M', '1.5e-07', '3.2e+12']
    """
    size = abs(value)
    if size >= 1e6 and size < 1e9:
        return f"{value / 1e6:.3g}M"
    if 1000 <= size < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"
