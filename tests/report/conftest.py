"""Facts of a few models, for reports."""

from __future__ import annotations

import numpy as np
import pytest

from onepass import KMeans
from onepass.report.facts import Drift, facts_of


@pytest.fixture(scope="session")
def rows():
    """6,000 rows of five places, one of them rare."""
    rng = np.random.default_rng(8)
    places = rng.normal(0, 6, (5, 4))
    which = rng.choice(5, 6000, p=[0.4, 0.3, 0.2, 0.0999, 0.0001])
    return (places[which] + rng.normal(size=(6000, 4))).astype(np.float32)


@pytest.fixture(scope="session")
def facts(rows):
    """Make the facts of a model; what is given stands for what is found."""

    def make(given=rows, k=4, *, sweep=None, **told):
        kmeans = KMeans(k, random_state=2).partial_fit(given)
        elbow = kmeans.sweep(sweep) if sweep else None
        kmeans.finalize()
        made = facts_of(kmeans)._replace(
            n_bytes=16 * given.shape[0],
            seconds={"read and summarise": 0.5, "final centers": 0.25},
            data={"train": "text/csv, File mode"},
            settings={"k": str(k)},
            elbow=elbow,
        )
        return made._replace(**told)

    return make


@pytest.fixture(scope="session")
def drift():
    """What has changed since yesterday, made up."""
    return Drift(1000, 12, np.array([0.5, 4.0, 0.25, 0.0]))
