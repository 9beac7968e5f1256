"""A saliency map and its mask, prepared once for all measures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.saliency import by_level, histograms, stretch

EPSILON = float(np.spacing(1))  # MATLAB's eps, as in PySODMetrics


class MapAndMask:
    """A map and its mask as PySODMetrics reads them, and the counts that several measures share.

    Args:
        saliency: (H, W); uint8, or float in [0, 1].
        mask: (H, W); bool, uint8, or float in [0, 1]. A pixel is foreground if it exceeds 128 of 255; a float
            mask is read as if it were stored in 8 bits. A uint8 mask of 0 and 1 therefore has no foreground.
        measure_stretch: which measures stretch the map to [0, 1] first. A constant map stays as it is, but
            becomes 0 for `max_f` and `mean_f`.

    Attributes:
        saliency: (H, W) float64 in [0, 1]; stretched where `measure_stretch` says so.
        mask: (H, W) bool.
        foreground: number of foreground pixels.
        for_author: the map and the mask that `max_f` and `mean_f` are computed from, not scaled.

    Raises:
        ValueError: shapes, types or values are not those above.

    Source: `validate_and_normalize_input`, py_sod_metrics/utils.py of PySODMetrics 1.6.2; `NONE` and `AUTHOR`
    are its `normalize=False`. The order of operations is kept, since the truncation to 256 levels depends on
    the last bit.
    """

    def __init__(
        self,
        saliency: np.ndarray,
        mask: np.ndarray,
        measure_stretch: MeasureStretch = MeasureStretch.REFERENCE,
    ):
        if saliency.shape != mask.shape or saliency.ndim != 2 or not saliency.size:
            raise ValueError(
                f"Expected a map and a mask of one shape (H, W), got {saliency.shape} and {mask.shape}."
                " Fix: resize the map to its mask, and keep one channel of each"
            )
        self._stored, self._scale = saliency, _scaling(saliency, measure_stretch.minmax)
        self.for_author = (stretch(saliency) if measure_stretch.author_minmax else saliency), mask
        self.saliency = by_level(self._scale, saliency)
        self.mask = _foreground(mask)
        self.foreground = int(np.count_nonzero(self.mask))

    def value_counts(self, box: tuple[slice, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
        """The values of the map in a part of the image, and how many pixels have each.

        An 8-bit map has at most 256 values, so computing with them is much cheaper than with all pixels.

        Args:
            box: rows and columns; the whole image without it.

        Returns:
            (n,) float64 and (2, n): the values; pixels of background and of foreground that have each value.
        """
        if self._stored.dtype == np.uint8:
            return self._scale(np.arange(256)), histograms(self._stored[box], self.mask[box])
        mask = self.mask[box].ravel()
        return self.saliency[box].ravel(), np.stack([~mask, mask]).astype(np.float64)

    @cached_property
    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """`value_counts` of the whole image."""
        return self.value_counts()

    @cached_property
    def positives(self) -> np.ndarray:
        """(2, 256): false and true positives where the level of the map is at least 255, 254 .. 0."""
        values, counts = self.values
        level = (values * 255).astype(np.uint8)
        return np.stack([np.bincount(level, row, 256)[::-1].cumsum() for row in counts])

    @cached_property
    def adaptive_positives(self) -> np.ndarray:
        """(2, 1): false and true positives at twice the mean of the map, at most 1.

        Source: `get_adaptive_threshold`, py_sod_metrics/utils.py of PySODMetrics 1.6.2.
        """
        values, counts = self.values
        return counts @ (values >= min(2 * self.saliency.mean(), 1))[:, None]


def _scaling(saliency: np.ndarray, minmax: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The function that converts values of a map to float64 in [0, 1]."""
    if saliency.dtype != np.uint8 and saliency.dtype.kind != "f":
        raise ValueError(f"Expected a map of uint8, or of float in [0, 1], got {saliency.dtype}")
    unit = 255 if saliency.dtype == np.uint8 else 1
    low, high = (np.float64(bound) / unit for bound in (saliency.min(), saliency.max()))
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"Expected a map of float in [0, 1], got values from {low} to {high}")
    start, span = (low, high - low) if minmax and low < high else (0, 1)
    # clipped for the levels that do not occur in an 8-bit map
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
