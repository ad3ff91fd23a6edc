"""Values so large or small that their squares leave the range of float32, and the way back."""

from __future__ import annotations

import math

import numpy as np

from onepass.cluster.arrays import Flags, Floats, Rows

_LARGEST = 2.0**40
_SMALLEST = 2.0**-40


def in_range(largest: float) -> bool:
    """Whether squared distances of rows with this peak can be held in float32."""
    return _SMALLEST <= largest <= _LARGEST or largest == 0


def are_in_range(peaks: Floats) -> Flags:
    """Tell the same of each of many peaks."""
    return np.asarray(((peaks >= _SMALLEST) & (peaks <= _LARGEST)) | (peaks == 0))


def rescale(rows: Rows, exponent: int) -> Rows:
    """Return ``rows * 2**exponent``, exact unless it leaves the range of float32."""
    return np.ldexp(rows, exponent) if exponent else rows


class Scale:
    """The power of two by which rows are divided so that their squares stay in range.

    Attributes
    ----------
    exponent : int
        0 for all but the most extreme data.
    peak : float
        The largest absolute value seen.
    """

    def __init__(self) -> None:
        self.exponent = 0
        self.peak = 0.0

    def fits(self, largest: float) -> bool:
        """Whether rows of this size may be among those seen already: then they are seen, too.

        Parameters
        ----------
        largest : float
            Of rows that have been divided.
        """
        peak = math.ldexp(largest, self.exponent)
        if peak <= self.peak:
            return True
        if in_range(largest):
            self.peak = peak
        return in_range(largest)

    def wanted(self, largest: float) -> int:
        """See values of this size; returns the exponent that suits all seen so far."""
        self.peak = max(self.peak, largest)
        if in_range(math.ldexp(self.peak, -self.exponent)):
            return self.exponent
        return math.frexp(self.peak)[1]
