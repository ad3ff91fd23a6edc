"""How many threads linear algebra gets, settled before NumPy is loaded."""

from __future__ import annotations

import os

_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def limit_blas_threads(n: int) -> None:
    """Give NumPy's libraries `n` threads, unless the user has said otherwise.

    Left to themselves they count the processors of the host, not those of the container.
    """
    for name in _VARIABLES:
        os.environ.setdefault(name, str(n))
