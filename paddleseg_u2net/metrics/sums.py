"""Sums that do not depend on the order in which images arrive."""

from __future__ import annotations

import numpy as np

FRACTION_BITS = 62  # two fractions below 1 still add up within 64 bits


class ExactSum:
    """Adds arrays in fixed point, so that parts that are merged equal the whole bit for bit.

    A value is kept to 2 ** -62, far below the rounding of the float64 it was; memory is that of one array.
    """

    def __init__(self) -> None:
        self.whole = self.fraction = np.zeros((), np.int64)

    def add(self, values: np.ndarray | float) -> None:
        """Add finite values below 2 ** 62 in magnitude; always of one shape."""
        whole = np.floor(values)
        self._add(whole.astype(np.int64), ((values - whole) * 2.0**FRACTION_BITS).astype(np.int64))

    def merge(self, other: ExactSum) -> None:
        """Add what another sum holds."""
        self._add(other.whole, other.fraction)

    def _add(self, whole: np.ndarray, fraction: np.ndarray) -> None:
        fraction = self.fraction + fraction
        self.whole = self.whole + whole + (fraction >> FRACTION_BITS)
        self.fraction = fraction & ((1 << FRACTION_BITS) - 1)

    def mean(self, count: int) -> np.ndarray:
        """The sum divided by a count; 0 where nothing was added."""
        return (self.whole + self.fraction * 2.0**-FRACTION_BITS) / max(count, 1)
