"""How soon a body is answered: at once, by the loop that reads requests, or by a thread.

While the loop answers, other clients of this worker wait. To hand a request to a thread and back,
and to take turns with it in running Python, costs a fifth of what a thousand rows take in all,
however: so the loop answers what takes it a few milliseconds at most. Threads come in two kinds, as
what takes long shall not hold up what does not; more than a processor each would only take turns.
"""

from __future__ import annotations

from enum import Enum

from onepass.formats.media import CODECS
from onepass.serving.invocation import Form

_LEAST_ROW_BYTES = 28
"""Of a sparse one, in any format."""

_LEAST_NUMBER_BYTES = 2

_VERBOSE_WORK = 32
"""So many times as long it takes to write a distance than to find it."""

_QUICK_BYTES, _QUICK_WORK, _QUICK_UNFOLDED_WORK = 2**16, 2**23, 2**26
_PLAIN_BYTES, _PLAIN_WORK, _PLAIN_ROWS = 2**19, 2**29, 2**13
_SHORT_BYTES, _SHORT_WORK, _SHORT_UNFOLDED_WORK = 2**24, 2**34, 2**36
_UNZIPPED = 16
"""Times the bytes of a body that is compressed, as a guess."""


class Pace(Enum):
    """How soon."""

    AT_ONCE = "by the loop, whatever is in it"
    AT_ONCE_IF_PLAIN = "by the loop, unless that finds that it would read it slowly"
    SOON = "by a thread for what does not take long"
    LATER = "by a thread for what does"


def pace_of(n_bytes: int, form: Form, n_clusters: int, n_features: int) -> Pace:
    """Tell how soon a body is answered.

    Parameters
    ----------
    n_bytes : int
        Of the body.
    form : Form
    n_clusters, n_features : int
        Of the model.
    """
    unzipped = n_bytes * _UNZIPPED if form.zipped else n_bytes
    work = unzipped * n_clusters * (_VERBOSE_WORK if form.wanted.verbose else 1)
    unfolded_work = (unzipped // _LEAST_ROW_BYTES + 1) * n_features * n_clusters
    if (
        unzipped > _SHORT_BYTES
        or work > _SHORT_WORK
        or (unfolded_work > _SHORT_UNFOLDED_WORK and unzipped > _QUICK_BYTES)
    ):
        return Pace.LATER
    if form.zipped:
        return Pace.SOON
    if n_bytes <= _QUICK_BYTES and work <= _QUICK_WORK and unfolded_work <= _QUICK_UNFOLDED_WORK:
        return Pace.AT_ONCE
    most_rows = n_bytes // (_LEAST_NUMBER_BYTES * n_features)
    is_short = n_bytes <= _PLAIN_BYTES and work <= _PLAIN_WORK and most_rows <= _PLAIN_ROWS
    if is_short and CODECS[form.media.name].read_plain:
        return Pace.AT_ONCE_IF_PLAIN
    return Pace.SOON
