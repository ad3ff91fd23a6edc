"""What servers are asked, and what was measured of it."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # pytest's --doctest-modules imports it from afar
from serving_bodies import FORMATS
from serving_peers import Body

MAX_BYTES = 100_000_000


class Shape(NamedTuple):
    """What is asked: so many rows, of a model of so many clusters."""

    format: str
    n_rows: int
    n_features: int
    n_clusters: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        name, _, numbers = text.partition(":")
        return cls(name, *map(int, numbers.split("x")))

    @property
    def model(self) -> tuple[int, int]:
        return self.n_clusters, self.n_features

    def title(self) -> str:
        name, rows = FORMATS[self.format].title, f"{self.n_rows:,} x {self.n_features}"
        return f"{name}, {rows}, k = {self.n_clusters:,}"


@dataclass
class Case:
    """A shape, and what was measured of it: figures by server and number of connections."""

    shape: Shape
    body: Body
    figures: dict[tuple[str, int], list[dict[str, float]]] = field(default_factory=dict)
    titles: dict[tuple[str, int], str] = field(default_factory=dict)
    floor_ms: float = 0.0

    def median(self, peer: str, n_connections: int, name: str) -> float:
        rounds = self.figures.get((peer, n_connections), [])
        return statistics.median(found[name] for found in rounds) if rounds else np.nan


def centers_of(model: tuple[int, int]) -> np.ndarray:
    return 3 * np.random.default_rng(0).standard_normal(model, np.float32)


def draw(shape: Shape, centers: np.ndarray) -> Case:
    """Draw rows around centers, as many as the body may have."""
    rng, write = np.random.default_rng(1), FORMATS[shape.format].write
    rows = centers[rng.integers(0, len(centers), shape.n_rows)]
    rows += rng.standard_normal(rows.shape, np.float32)
    data = write(rows)
    if len(data) > MAX_BYTES:
        rows = rows[: len(rows) * MAX_BYTES // len(data) * 99 // 100]
        data = write(rows)
    wanted = FORMATS["recordio"].content_type if shape.format == "recordio" else ""
    return Case(shape._replace(n_rows=len(rows)), Body(shape.format, rows, data, wanted))


def number(value: float) -> str:
    """Write three digits, or all where there are more before the point."""
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
