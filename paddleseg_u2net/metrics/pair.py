"""A saliency map and its mask, made ready once for all measures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from paddleseg_u2net.metrics.saliency import by_level, histograms, stretch

EPSILON = float(np.spacing(1))  # MATLAB's eps, as in PySODMetrics


class Pair:
    """A map and its mask as PySODMetrics reads them, and the counts that several measures share.

    Args:
        saliency: (H, W); uint8, or float in [0, 1].
        mask: (H, W); bool, uint8, or float in [0, 1]. Foreground is what exceeds 128 of 255, a float mask
            being read as if stored in 8 bits; a uint8 mask of 0 and 1 is therefore empty.
        minmax: stretch the map to [0, 1] first; a constant map stays as it is.
        author_minmax: stretch what the author's F is taken of; a constant map becomes 0.

    Raises:
        ValueError: shapes, types or values are others.

    Source: `validate_and_normalize_input`, py_sod_metrics/utils.py of PySODMetrics 1.6.2; `minmax=False` is
    its `normalize=False`. The order of operations is kept: truncation to 256 levels hangs on the last bit.
    """

    def __init__(
        self, saliency: np.ndarray, mask: np.ndarray, minmax: bool = True, author_minmax: bool = False
    ):
        if saliency.shape != mask.shape or saliency.ndim != 2 or not saliency.size:
            raise ValueError(
                f"Expected a map and a mask of one shape (H, W), got {saliency.shape} and {mask.shape}."
                " Fix: resize the map to its mask, and keep one channel of each"
            )
        self.given, self.scale = saliency, _scaling(saliency, minmax)
        self.author = (stretch(saliency) if author_minmax else saliency), mask
        self.saliency = by_level(self.scale, saliency)
        self.mask = _foreground(mask)
        self.foreground = int(np.count_nonzero(self.mask))

    def tally(self, box: tuple[slice, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Which values the map has in a part of the image, and how often.

        An 8-bit map has at most 256: what is made of them instead of all pixels costs nothing.

        Returns:
            (n,) float64 and (2, n): how many pixels of background and of foreground have each value.
        """
        if self.given.dtype == np.uint8:
            return self.scale(np.arange(256)), histograms(self.given[box], self.mask[box])
        mask = self.mask[box].ravel()
        return self.saliency[box].ravel(), np.stack([~mask, mask]).astype(np.float64)

    @cached_property
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """The tally of the whole image."""
        return self.tally()

    @cached_property
    def positives(self) -> np.ndarray:
        """(2, 256): false and true positives where the map's level is at least 255, 254 .. 0."""
        values, counts = self.values
        level = (values * 255).astype(np.uint8)
        return np.stack([np.bincount(level, row, 256)[::-1].cumsum() for row in counts])

    @cached_property
    def adaptive_positives(self) -> np.ndarray:
        """(2, 1): the same at twice the map's mean, at most 1.

        Source: `get_adaptive_threshold`, py_sod_metrics/utils.py of PySODMetrics 1.6.2.
        """
        values, counts = self.values
        return counts @ (values >= min(2 * self.saliency.mean(), 1))[:, None]


def _scaling(saliency: np.ndarray, minmax: bool) -> Callable[[np.ndarray], np.ndarray]:
    """What takes values of a map to float64 in [0, 1]."""
    if saliency.dtype != np.uint8 and saliency.dtype.kind != "f":
        raise ValueError(f"Expected a map of uint8, or of float in [0, 1], got {saliency.dtype}")
    unit = 255 if saliency.dtype == np.uint8 else 1
    low, high = (np.float64(bound) / unit for bound in (saliency.min(), saliency.max()))
    if not (low >= 0 and high <= 1):  # so that NaN fails too
        raise ValueError(f"Expected a map of float in [0, 1], got values from {low} to {high}")
    start, span = (low, high - low) if minmax and low < high else (0, 1)
    # clipped for the levels that a map of 8 bits does not hold
    return lambda values: ((values.astype(np.float64) / unit - start) / span).clip(0, 1)


def _foreground(mask: np.ndarray) -> np.ndarray:
    """The mask as bool."""
    if mask.dtype == np.uint8:
        return mask > 128
    if mask.dtype.kind == "f":
        return mask * 255 > 128.5
    if mask.dtype == bool:
        return mask
    raise ValueError(f"Expected a mask of bool, of uint8, or of float in [0, 1], got {mask.dtype}")
