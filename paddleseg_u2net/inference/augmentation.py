"""Test-time augmentation and sliding windows: variants of an input whose predictions are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Test-time augmentation and sliding window: variants of the input whose predictions are averaged.

    Args:
        scales: factors that the network's input is resized by, above 0; one variant for each.
        flip_horizontal: predict the input flipped left to right too.
        flip_vertical: predict the input flipped upside down too.
        crop_size: (W, H) of a sliding window in pixels; None predicts the whole input at once.
        stride: (W, H) between windows in pixels, at most crop_size.

    Raises:
        ValueError: a scale is not above 0, or the windows are incomplete or leave gaps.
    """

    __test__ = False  # pytest would collect it by its name

    scales: Sequence[float] = (1.0,)
    flip_horizontal: bool = False
    flip_vertical: bool = False
    crop_size: Sequence[int] | None = None
    stride: Sequence[int] | None = None

    def __post_init__(self):
        if (self.crop_size is None) != (self.stride is None):
            raise ValueError("a sliding window needs both crop_size and stride")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales {list(self.scales)}: expected numbers above 0")
        steps = zip(self.stride or (), self.crop_size or (), strict=True)
        if any(step > size for step, size in steps):
            raise ValueError(
                f"stride {self.stride} exceeds crop_size {self.crop_size}, so pixels between windows would "
                "be left out. Fix: a smaller stride"
            )

    def flips(self) -> list[tuple[int, ...]]:
        """The axes of (N, C, h, w) to flip, one tuple per variant."""
        horizontal = [(), (3,)] if self.flip_horizontal else [()]
        vertical = [(), (2,)] if self.flip_vertical else [()]
        return [v + h for v, h in product(vertical, horizontal)]

    def windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each window; windows beyond the border are moved back inside."""
        if not self.crop_size or not self.stride:
            yield slice(None), slice(None)
            return
        sizes, steps = self.crop_size[::-1], self.stride[::-1]  # -> (H, W)
        axes = []
        for extent, size, step in zip((height, width), sizes, steps, strict=True):
            count = math.ceil(max(extent - size, 0) / step) + 1
            ends = [min(i * step + size, extent) for i in range(count)]
            axes.append([slice(max(end - size, 0), end) for end in ends])
        yield from product(*axes)
