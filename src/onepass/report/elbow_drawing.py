"""The elbow: how the msd falls with the number of clusters."""

from __future__ import annotations

from onepass.cluster.elbow import Elbow
from onepass.report.axes import Axis, Frame, ticks, whole_ticks
from onepass.report.drawing import Dot, Drawing, Line, Shape, Words

_WIDTH, _HEIGHT = 640.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 76.0, 24.0, 48.0, 56.0


def draw_elbow(elbow: Elbow, chosen: int | None = None) -> Drawing:
    """Draw an elbow with its knee.

    Parameters
    ----------
    elbow : Elbow
    chosen : int, optional
        The number of clusters that the model has.
    """
    ks = [point.n_clusters for point in elbow]
    most = max(point.msd + point.msd_error for point in elbow)
    low, high = ks[0], max(ks[-1], ks[0] + 1)
    frame = Frame(
        Axis(low, high, _LEFT, _WIDTH - _RIGHT),
        Axis(0.0, 1.05 * most or 1.0, _HEIGHT - _BOTTOM, _TOP),
    )
    shapes = frame.grid(whole_ticks(low, high, 13), ticks(0.0, 1.05 * most, 6))
    shapes += _labels(frame, elbow)
    shapes.append(Line([frame.place(p.n_clusters, p.msd) for p in elbow], "accent", 2.5))
    for point in elbow:
        k, msd, error = point.n_clusters, point.msd, 2 * point.msd_error
        ends = [frame.place(k, max(0.0, msd - error)), frame.place(k, msd + error)]
        shapes.append(Line(ends, "accent", 1.5))
        told = f"k={k}: msd {msd:g}"
        radius = 6.0 if k == chosen else 4.0
        shapes.append(Dot(frame.place(k, msd), radius, "accent", told=told))
    return Drawing(_WIDTH, _HEIGHT, shapes, f"msd for k from {low} to {high}")


def _labels(frame: Frame, elbow: Elbow) -> list[Shape]:
    knee = elbow.knee
    middle = (frame.x.start + frame.x.end) / 2
    shapes: list[Shape] = [
        Words((_LEFT - 56, 22), "mean squared distance of rows to their center", "soft", 12),
        Words((middle, _HEIGHT - 14), "clusters (k)", "soft", 12, "middle"),
    ]
    if knee.n_clusters is None:
        shapes.append(Words((frame.x.end, 22), "no knee", "soft", 12, "end", bold=True))
        return shapes
    at = frame.x.place(knee.n_clusters)
    shapes.append(Line([(at, frame.y.start), (at, frame.y.end)], "warm", 1.5, dashed=True))
    text = f"knee at k = {knee.n_clusters}, {knee.confidence:.0%} sure"
    is_right = at > middle
    place = at - 8 if is_right else at + 8, _TOP - 2  # above the lines of the grid
    shapes.append(Words(place, text, "warm", 13, "end" if is_right else "start", bold=True))
    return shapes
