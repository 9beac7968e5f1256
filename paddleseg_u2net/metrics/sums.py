"""Sums that do not depend on the order of the summands."""

from __future__ import annotations

import numpy as np

FRACTION_BITS = 62  # the sum of two fractions below 1 still fits into 64 bits


class ExactSum:
    """Adds arrays in fixed point, so that merged partial sums equal the whole sum bit for bit.

    The resolution is 2 ** -62, far below the rounding error of a float64; memory is that of one array.
    """

    def __init__(self) -> None:
        self.whole = self.fraction = np.zeros((), np.int64)

    def add(self, values: np.ndarray | float) -> None:
        """Add finite values below 2 ** 62 in magnitude; every call with the same shape."""
        whole = np.floor(values)
        self._add(whole.astype(np.int64), ((values - whole) * 2.0**FRACTION_BITS).astype(np.int64))

    def merge(self, other: ExactSum) -> None:
        """Add another sum."""
        self._add(other.whole, other.fraction)

    def _add(self, whole: np.ndarray, fraction: np.ndarray) -> None:
        fraction = self.fraction + fraction
        self.whole = self.whole + whole + (fraction >> FRACTION_BITS)
        self.fraction = fraction & ((1 << FRACTION_BITS) - 1)

    def mean(self, count: int) -> np.ndarray:
        """The sum divided by a count; 0 if nothing was added."""
        return (self.whole + self.fraction * 2.0**-FRACTION_BITS) / max(count, 1)
