"""Inspected pairs of image and mask -> samples and batches for training."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from paddleseg_u2net.data.inspection import Inspection, inspect_together, raise_faults
from paddleseg_u2net.data.masks import MaskEncoding
from paddleseg_u2net.data.multilabel import as_classes, split_labels
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import counted
from paddleseg_u2net.io.bands import decode_picture
from paddleseg_u2net.io.contents import read_bytes

log = logging.getLogger(__name__)

Sample = dict[str, np.ndarray]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed `random` and `numpy.random`, which transforms draw from, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@dataclass(frozen=True)
class Dataset:
    """Images and masks of an inspected data set.

    Args:
        spec: pairs, transforms and units.
        encoding: how the masks are read.
        white: stored value of white in 16-bit images; None takes that of each image.
    """

    spec: DatasetSpec
    encoding: MaskEncoding
    white: int | None = None

    @classmethod
    def from_inspection(cls, inspection: Inspection) -> Dataset:
        """The data set of an inspection.

        Raises:
            DataError: the inspection found faults.
        """
        raise_faults([inspection])
        return cls(inspection.spec, inspection.encoding, inspection.agreement.white)

    def __len__(self) -> int:
        return len(self.spec)

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read one pair.

        Args:
            index: position in the data set.

        Returns:
            Image (H, W, 3) uint8 RGB, or (H, W, C) if `channels` is neither 1 nor 3; and mask (H, W): float32
            in [0, 1], or uint8 class ids if `num_classes` is above 1. Ignored pixels of the mask are
            `IGNORE`. Of labels, the mask is (H, W, labels).

        Raises:
            FileNotFoundError: a file does not exist any more.
            ValueError: a file is damaged or needs more memory than is free, or the pair has no mask.
        """
        pair = self.spec.pairs[index]
        if pair.mask is None:
            raise ValueError(f"{pair.image}: has no mask. Fix: add one, or remove the image")
        try:
            data = read_bytes(pair.image)
            image = decode_picture(pair.image, data, self.spec.channels, self.white).image
            mask = self.encoding.decode(self.spec.read_mask(pair.mask))
            return image, split_labels(mask, self.spec.labels) if self.spec.labels else mask
        except MemoryError as error:
            fix = "a smaller image, or fewer --num_workers"
            raise ValueError(f"{pair.image_place}: {reason(error)}. Fix: {fix}") from error

    def load_classes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """As `load`, for pictures: the mask is (H, W), of labels as `as_classes` returns it."""
        image, mask = self.load(index)
        return image, as_classes(mask) if self.spec.labels else mask

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Load one pair and apply the transforms.

        Args:
            key: index of the pair, and seed of the random transforms.

        Returns:
            `img` (C, h, w) float32, and `label` (1, h, w): float32 in [0, 1] for saliency, else int64. Of
            labels it is (labels, h, w).

        Raises:
            ValueError: a file is damaged, a transform fails, or the result is not finite; the message names
                the image.
        """
        index, seed = key
        image, mask = self.load(index)
        if self.spec.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        fields = self._fields(mask)
        sample = {"img": image.astype(np.float32), **fields, "gt_fields": list(fields), "trans_info": []}
        with _seeded(seed):
            for transform in self.spec.transforms:
                sample = self._apply(transform, sample, self.spec.pairs[index])
        image, mask = sample["img"], np.stack([sample[field] for field in fields])
        image = image[..., None] if image.ndim == 2 else image
        if not np.isfinite(image).all():
            raise ValueError(
                f"{self.spec.pairs[index].image_place}: {self.spec.name}: the transforms turn it into NaN or "
                "infinite values. Fix: correct its transforms, or remove the image"
            )
        dtype = np.float32 if self.spec.num_classes == 1 else np.int64
        return {
            "img": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32),
            "label": np.ascontiguousarray(mask, dtype),
        }

    def _fields(self, mask: np.ndarray) -> dict[str, np.ndarray]:
        """The masks of a sample by their keys; PaddleSeg's transforms take one of each label."""
        if not self.spec.labels:
            return {"label": mask}
        names = ["label", *(f"label_{number}" for number in range(1, self.spec.labels))]
        return {name: np.ascontiguousarray(mask[..., number]) for number, name in enumerate(names)}

    def _apply(self, transform: Callable[[dict], dict], sample: dict, pair: Pair) -> dict:
        """Apply one transform; its failure names the transform and the image."""
        try:
            return transform(sample)
        except Exception as error:  # the transforms of paddleseg raise whatever OpenCV does
            name = type(transform).__name__
            raise ValueError(f"{pair.image_place}: {self.spec.name}: {name}: {reason(error)}") from error


def open_datasets(specs: Sequence[DatasetSpec]) -> list[Dataset]:
    """Inspect several data sets and open them.

    Raises:
        DataError: the faults of all of them.
    """
    inspections = inspect_together(specs)
    raise_faults(inspections)
    for inspection in inspections:
        inspection.log_notes(logging.WARNING)
        empty = sum(content.share == 0 for content in inspection.contents if content)
        if empty:
            masks = counted(len(inspection.spec), "mask")
            verb = "is" if empty == 1 else "are"
            log.warning("%s: %d of %s %s empty", inspection.spec.name, empty, masks, verb)
    return [Dataset.from_inspection(inspection) for inspection in inspections]


class ErrorReturningDataset:
    """Wraps a data set so that indexing returns an exception instead of raising it.

    Paddle's data loaders deadlock, or print pages of traceback, when a sample raises; `collate` turns
    exceptions into a message.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Exception:
        try:
            return self.dataset[key]
        except Exception as error:
            return error


def collate(samples: Sequence[Sample | Exception]) -> Sample:
    """Stack samples to a batch.

    Args:
        samples: from `ErrorReturningDataset`.

    Returns:
        `img` (N, C, h, w) and `label` (N, 1, h, w). If a sample is an exception or sizes differ, a message
        instead: `fault`, uint8, the bytes of the text in UTF-8.
    """
    good = [sample for sample in samples if not isinstance(sample, Exception)]
    faults = [
        str(sample) if isinstance(sample, (OSError, ValueError)) else reason(sample)
        for sample in samples
        if isinstance(sample, Exception)
    ]
    shapes = sorted({array.shape[1:] for sample in good for array in sample.values()})
    if len(shapes) > 1:
        faults.append(
            f"train_dataset: a batch holds images of different sizes (H, W): {', '.join(map(str, shapes))}. "
            "Fix: add a Resize or a crop to its transforms, or batch_size: 1"
        )
    if faults:
        return {"fault": np.frombuffer("\n".join(faults).encode(), np.uint8)}
    return {key: np.stack([sample[key] for sample in good]) for key in good[0]}
