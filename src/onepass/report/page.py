"""A page that shows a model: one file that needs no other, and no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

import onepass
from onepass.cluster.arrays import Doubles
from onepass.cluster.elbow import Elbow
from onepass.cluster.kmeans import KMeans
from onepass.report.axes import percent, short
from onepass.report.colors import css
from onepass.report.drawings import (
    MOST_BARS,
    draw_map,
    draw_profile,
    draw_sizes,
    draw_times,
    most_distinct,
)
from onepass.report.elbow_drawing import draw_elbow
from onepass.report.facts import Facts, Shown, facts_of, some_rows
from onepass.report.projection import Method, project

_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px}
h2{font-size:18px;margin:40px 0 6px;padding-top:14px;border-top:1px solid var(--faint)}
h3{font-size:14px;margin:0 0 6px}
p{margin:6px 0;max-width:75ch}
.soft{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;
margin:20px 0}
.card{background:var(--panel);border-radius:10px;padding:12px 14px}
.card b{display:block;font-size:21px;line-height:1.3}
.card span{color:var(--soft);font-size:13px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:28px;
align-items:start}
.profiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:18px}
figure{margin:12px 0}
.profiles figure{background:var(--panel);border-radius:10px;padding:12px 14px;margin:0;
break-inside:avoid}
svg{width:100%;height:auto;display:block;font-family:inherit}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:3px 14px 3px 0;border-bottom:1px solid var(--faint)}
th:first-child,td:first-child{text-align:left}
th{color:var(--soft);font-weight:500}
tr.knee td{font-weight:700;color:var(--warm)}
tr.model td{font-weight:700}
.scroll{overflow-x:auto}
@media (max-width:480px){.two,.profiles{grid-template-columns:1fr}}
@media print{main{padding:0}h2{break-after:avoid}figure,svg,tr{break-inside:avoid}
.card,.profiles figure{border:1px solid var(--faint)}}
"""


class Page(NamedTuple):
    """A page that shows a model.

    Attributes
    ----------
    html : str
    """

    html: str

    def save(self, path: Path | str) -> None:
        """Write it to a file."""
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return it in a frame, for notebooks, whose styles it would change otherwise."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="report" '
            'style="width:100%;height:900px;border:0"></iframe>'
        )


def page_of(
    kmeans: KMeans,
    names: Sequence[str] | None = None,
    *,
    elbow: Elbow | None = None,
    method: Method = "pca",
) -> Page:
    """Return a page that shows a fitted `KMeans`.

    Parameters
    ----------
    kmeans : KMeans
        After `fit` or `finalize`.
    names : sequence of str, optional
        Of the features; by default those of the data frame that it was fitted to.
    elbow : Elbow, optional
        Of `KMeans.sweep`.
    method : "pca" or "tsne"
        How the map is made; t-SNE needs scikit-learn.

    Examples
    --------
    >>> rows = [[x + y] for x in (0, 100, 200) for y in range(9)]
    >>> kmeans = KMeans(3).fit(rows)
    >>> "3 clusters of 27 rows with 1 features" in page_of(kmeans).html
    True
    """
    facts = facts_of(kmeans, names)._replace(elbow=elbow)
    return Page(render(facts, method))


def render(facts: Facts, method: Method = "pca", seed: int = 0) -> str:
    """Return the page.

    Parameters
    ----------
    facts : Facts
    method : "pca" or "tsne"
        How the map is made.
    seed : int
        Of the rows that are shown.
    """
    shown = some_rows(facts, seed)
    body = "".join(
        part
        for section in (
            _head(facts, shown),
            _pictures(facts, shown, method, seed),
            _elbow(facts),
            _profiles(facts, shown),
            _drift(facts),
            _about(facts),
        )
        for part in section
    )
    title = escape(facts.name or "k-means")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}: {len(facts.centers)} clusters</title>"
        f"<style>{css()}{_STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _head(facts: Facts, shown: Shown) -> Iterator[str]:
    k, d = facts.centers.shape
    total = float((shown.deviation**2).sum())
    explained = max(0.0, 1 - facts.msd / total) if total else 1.0
    error = f" ± {short(facts.msd_error)}" if facts.msd_error else ""
    yield f"<h1>{k:,} clusters of {facts.n_rows:,} rows with {d:,} features</h1>"
    when = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    job = f"{escape(facts.name)}, " if facts.name else ""
    yield f'<p class="soft">{job}{when}, Onepass {onepass.__version__}</p>'
    largest, smallest = (
        _share(size, facts.sizes) for size in (facts.sizes.max(), facts.sizes.min())
    )
    cards = [
        (percent(explained), "of the variance explained"),
        (f"{short(facts.msd)}{error}", "mean squared distance"),
        (largest, "of the rows in the largest cluster"),
        (smallest, "in the smallest"),
    ]
    if facts.seconds:
        spent = f"{sum(facts.seconds.values()):.1f} s"
        cards.append((spent, f"for {facts.n_bytes / 1e6:,.1f} MB"))
    cards += [(short(value), f"test {name}") for name, value in facts.scores.items()]
    yield '<div class="cards">'
    for value, meaning in cards:
        yield f'<div class="card"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'
    yield "</div>"


def _share(size: float, sizes: Doubles) -> str:
    return percent(size / (float(sizes.sum()) or 1.0))


def _pictures(facts: Facts, shown: Shown, method: Method, seed: int) -> Iterator[str]:
    placed, centers, words = project(shown.rows, facts.centers, method, seed)
    drawing, n_outside = draw_map(placed, shown.labels, centers)
    far = f" {n_outside} far ones are drawn at the edge." if n_outside else ""
    yield '<div class="two"><section><h2>Map</h2>'
    yield f'<p class="soft">{len(shown.rows):,} rows on {words}.{far}</p>'
    yield f"<figure>{drawing.svg()}</figure></section><section><h2>Sizes</h2>"
    n, n_shown = len(facts.sizes), min(len(facts.sizes), MOST_BARS)
    which = f"the {n_shown} largest of {n:,} clusters" if n_shown < n else "the clusters"
    yield f'<p class="soft">Rows of {which}.</p><figure>{draw_sizes(facts.sizes).svg()}</figure>'
    yield "</section></div>"


def _elbow(facts: Facts) -> Iterator[str]:
    elbow = facts.elbow
    if elbow is None:
        return
    yield "<h2>How many clusters?</h2>"
    knee = elbow.knee
    told = f"No knee: {knee.reason}." if knee.n_clusters is None else f"A knee: {knee.reason}."
    yield f"<p>{escape(told)}</p>"
    yield f'<div class="two"><figure>{draw_elbow(elbow, len(facts.centers)).svg()}</figure>'
    yield '<div class="scroll"><table><tr><th>k</th><th>msd</th><th>silhouette</th>'
    yield "<th>spread of trials</th><th>smallest cluster</th></tr>"
    for point in elbow:
        silhouette = "" if point.silhouette is None else f"{point.silhouette:.3f}"
        is_knee, is_model = (point.n_clusters == k for k in (knee.n_clusters, len(facts.centers)))
        marked = ' class="knee"' if is_knee else ' class="model"' if is_model else ""
        yield f"<tr{marked}><td>{point.n_clusters}</td><td>{point.msd:,.6g}</td>"
        yield f"<td>{silhouette}</td><td>{point.spread:.1%}</td>"
        yield f"<td>{point.sizes.min():,.0f}</td></tr>"
    yield "</table></div></div>"


def _profiles(facts: Facts, shown: Shown) -> Iterator[str]:
    found = most_distinct(facts, shown)
    yield "<h2>What sets clusters apart</h2>"
    more = f", of the {len(found)} largest" if len(found) < len(facts.centers) else ""
    yield '<p class="soft">The five features in which each center is farthest from the mean of all '
    yield f"rows, in standard deviations{more}; on the right its value.</p>"
    yield '<div class="profiles">'
    total = float(facts.sizes.sum()) or 1.0
    for number, features in found.items():
        size = float(facts.sizes[number])
        yield f"<figure><h3>Cluster {number}"
        yield f' <span class="soft">{size:,.0f} rows, {percent(size / total)}</span></h3>'
        yield f"{draw_profile(facts, shown, features).svg()}</figure>"
    yield "</div>"


def _drift(facts: Facts) -> Iterator[str]:
    if facts.drift is None:
        return
    n_new, n_far, moved = facts.drift
    yield "<h2>Drift</h2>"
    share = percent(n_far / n_new if n_new else 0.0)
    yield f"<p>{n_new:,} rows are new; {n_far:,} of them ({share}) were far from all that was "
    mean, most = short(float(moved.mean())), short(float(moved.max()))
    yield f"known. A center is {mean} from the closest one before on average, {most} at most "
    yield f"(cluster {int(moved.argmax())}); the root of the msd is {short(facts.msd**0.5)}.</p>"


def _about(facts: Facts) -> Iterator[str]:
    yield '<div class="two">'
    if facts.seconds:
        yield "<section><h2>Time</h2>"
        yield f"<figure>{draw_times(facts.seconds).svg()}</figure></section>"
    for title, told in (("Data", facts.data), ("Settings", facts.settings)):
        if not told:
            continue
        yield f'<section><h2>{title}</h2><div class="scroll"><table>'
        for name, value in told.items():
            yield f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        yield "</table></div></section>"
    yield "</div>"
