"""The array types that formats read and write, and how large a body may become."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Rows: TypeAlias = npt.NDArray[np.float32]
"""Samples, shape (n_samples, n_features)."""
Vector: TypeAlias = npt.NDArray[np.float32]

BLOCK_VALUES = 2**20
"""About how many numbers of a body are decoded at once: 4 MiB of float32."""

MAX_MATRIX_VALUES = 2**28
"""How many numbers a body may unfold to: 1 GiB of float32."""
