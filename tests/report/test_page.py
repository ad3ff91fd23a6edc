"""The page says what is so, needs nothing else, and stands whatever the model."""

from __future__ import annotations

import re
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import sparse

from onepass import KMeans
from onepass.report.facts import some_rows
from onepass.report.page import page_of, render

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects the words of a page, and sees that elements end in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.addresses, self.tags = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for name, v in attrs if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        del attrs
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(page):
    reader = Reader(page)
    assert reader.open == []
    return reader


def test_it_says_what_is_so(facts):
    text = read(render(facts(name="flights-7", scores={"msd": 4.25}))).text
    assert "4 clusters of 6,000 rows with 4 features" in text
    assert "flights-7" in text
    assert "4.25 test msd" in text
    assert "text/csv, File mode" in text
    assert "read and summarise, 0.50 s" in text
    for number in range(4):
        assert f"Cluster {number} " in text


def test_it_needs_nothing_else(facts, drift):
    page = render(facts(sweep=range(2, 8), drift=drift))
    reader = read(page)
    assert reader.addresses == []
    assert "script" not in reader.tags
    assert not re.search(r"https?:|url\(|@import|//[a-z]", page)
    assert len(page) < 400_000


def test_what_is_explained_is_the_share_of_the_variance(facts, rows):
    made = facts()
    total = rows.astype(float).var(axis=0).sum()
    assert f"{1 - made.msd / total:.1%} of the variance explained" in read(render(made)).text


def test_the_elbow_is_shown_where_there_is_one(facts):
    assert "How many clusters?" not in render(facts())
    text = read(render(facts(sweep=range(2, 10)))).text
    assert "How many clusters?" in text
    assert "knee at k = 4" in text
    normal = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)
    text = read(render(facts(normal, 4, sweep=range(2, 12)))).text
    assert "No knee: the msd falls as evenly as that of rows that are not clustered" in text


def test_drift_is_told_where_there_is_some(facts, drift):
    assert "Drift" not in render(facts())
    text = read(render(facts(drift=drift))).text
    assert "1,000 rows are new; 12 of them (1.2%) were far" in text
    assert "4 at most (cluster 1)" in text


def test_names_are_those_that_are_given_whatever_they_are(facts):
    page = render(facts(names=["a<b>", "income & tax", '"quoted"', "d"], name="<script>x"))
    assert "<script>" not in page
    text = read(page).text
    assert "income & tax" in text
    assert "a<b>" in text


def test_what_sets_a_cluster_apart_comes_first(facts):
    """Of two places that differ in one feature of three, that one."""
    rng = np.random.default_rng(0)
    given = rng.normal(size=(2000, 3)).astype(np.float32)
    given[:500, 1] += 50
    page = render(facts(given, 2, names=["first", "second", "third"]))
    profile = page[page.index("What sets clusters apart") :]
    assert profile.index("second") < min(profile.index("first"), profile.index("third"))
    assert "+1.7 sd" in profile
    assert "-0.6 sd" in profile


@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (2, 1, 2), (3, 2, 3), (50, 1, 5), (300, 700, 20), (4000, 3, 100)],
)
def test_any_shape(facts, n, d, k):
    given = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
    text = read(render(facts(given, k))).text
    assert f"{k:,} clusters of {n:,} rows with {d:,} features" in text


def test_rows_that_are_all_alike(facts):
    text = read(render(facts(np.full((50, 3), 7, np.float32), 1))).text
    assert "100% of the variance explained" in text


def test_values_of_any_size(facts, rows):
    for factor in (1e-20, 1e15):
        page = render(facts((rows * factor).astype(np.float32)))
        read(page)
        assert "nan" not in page.replace("nance", "")
        assert "inf" not in page


def test_sparse_rows(facts):
    thin = sparse.random_array((3000, 400), density=0.02, rng=np.random.default_rng(1))
    made = facts(sparse.csr_array(thin.astype(np.float32)), 5)
    read(render(made))
    assert some_rows(made).rows.shape == (1500, 400)


def test_moments_are_those_of_all_rows_and_take_little_memory(facts):
    rng = np.random.default_rng(3)
    given = (rng.normal(size=(20_000, 300)) * np.linspace(1, 9, 300) + 5).astype(np.float32)
    made = facts(given, 3)
    tracemalloc.start()
    shown = some_rows(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20 + 8 * 2**20, "the rows themselves take 23 MiB, and as float64 46"
    np.testing.assert_allclose(shown.mean, given.mean(axis=0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(shown.deviation, given.std(axis=0, dtype=np.float64), rtol=1e-4)


def test_wide_rows_are_fewer(facts):
    thin = sparse.random_array((800, 60_000), density=1e-4, rng=np.random.default_rng(1))
    made = facts(sparse.csr_array(thin.astype(np.float32)), 3)
    assert some_rows(made).rows.shape == (2**22 // 60_000, 60_000)
    read(render(made))


def test_the_same_model_makes_the_same_page(facts):
    made = facts()
    pages = [re.sub(r"\d+:\d\d UTC", "", render(made)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_tsne_on_demand(facts, rows):
    pytest.importorskip("sklearn")
    text = read(render(facts(rows[:200]), "tsne")).text
    assert "200 rows on t-SNE: rows that are close stay close" in text


def test_a_notebook_shows_it_in_a_frame(rows, tmp_path):
    kmeans = KMeans(3).fit(rows)
    page = page_of(kmeans, ["a", "b", "c", "d"], elbow=kmeans.sweep(range(2, 7)))
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert frame.count("<") == 2, "nothing of it leaks into the notebook"
    text = read(page.html).text
    assert "3 clusters of 6,000 rows with 4 features" in text
    assert "Settings" not in text
    page.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page.html


def test_names_are_those_of_the_frame(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows, columns=["north", "east", "up", "time"])
    assert "north" in page_of(KMeans(3).fit(frame)).html
