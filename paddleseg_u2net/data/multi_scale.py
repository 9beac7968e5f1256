"""Multi-scale training: all samples of a batch are resized to a size drawn for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.bounds import LONGEST
from paddleseg_u2net.data.dataset import Dataset, Sample
from paddleseg_u2net.data.preprocessing import resize
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.data.transforms import height_width, resize_soft_mask
from paddleseg_u2net.errors import ConfigError

DRAW = 1  # keeps the draw of sizes apart from that of the data order, which has the same seed
Size = tuple[int, int]


def read_sizes(key: str, value: Any) -> tuple[Size, ...]:
    """Convert the value of `multi_scale` to sizes (H, W).

    Args:
        key: name of the dataset section, for messages.
        value: list of sides of squares or of [W, H], in pixels; None for no resizing.

    Raises:
        ConfigError: it is something else, or the section is not that of training data.
    """
    if value is None:
        return ()
    if key != "train_dataset":
        raise ConfigError(f"{key}: multi_scale: for train_dataset only. Fix: leave it out")
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{key}: multi_scale: expected a list of sizes in pixels, got {value!r}")
    try:
        sizes = tuple(height_width("a size", [n, n] if isinstance(n, int) else n) for n in value)
        if (largest := max(map(max, sizes))) > LONGEST:
            raise ValueError(f"{largest} pixels, expected at most {LONGEST}")
        return sizes
    except ValueError as error:
        raise ConfigError(f"{key}: multi_scale: {error}. Fix: sizes such as 320 or [320, 256]") from error


@dataclass(frozen=True)
class SizedBatches:
    """Batches of a stream with a size for each; it depends on the seed and on the samples drawn before.

    Yields lists of keys of `ResizedDataset`: (index, augmentation seed, size (H, W)). All ranks draw the same
    size in a step.

    Args:
        stream: the batches.
        sizes: (H, W) to draw from.
    """

    stream: BatchStream
    sizes: Sequence[Size]

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[list[tuple[int, int, Size]]]:
        stream = self.stream
        for number, keys in enumerate(stream):
            position = stream.start + number * stream.ranks * stream.batch_size
            random = np.random.default_rng([stream.seed, position, DRAW])
            size = self.sizes[int(random.integers(len(self.sizes)))]
            yield [(index, seed, size) for index, seed in keys]


@dataclass(frozen=True)
class ResizedDataset:
    """Samples of a data set, resized after their transforms.

    Images and soft masks are interpolated bilinearly; class ids are not mixed; ignored pixels stay ignored.

    Args:
        dataset: the samples.
    """

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int, Size]) -> Sample:
        """The sample of an index and an augmentation seed, at a size (H, W)."""
        index, seed, size = key
        sample = self.dataset[index, seed]
        image = resize(sample["img"].transpose(1, 2, 0), size)
        masks = [_resize_mask(mask, size) for mask in sample["label"]]
        return {
            "img": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "label": np.ascontiguousarray(np.stack(masks), sample["label"].dtype),
        }


def _resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Resize a soft mask (H, W) float32 or class ids (H, W) int64, both with `IGNORE`."""
    if mask.dtype == np.float32:
        return resize_soft_mask(mask, size)
    # OpenCV resizes no int64; ids and IGNORE fit into a byte
    return resize(mask.astype(np.uint8), size, cv2.INTER_NEAREST_EXACT)
