"""Pairs of image and mask -> checked samples. The only place where masks get their unit."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.inspection import PairRecord, read_pair
from paddleseg_u2net.data.masks import (
    ENCODINGS,
    IGNORE,
    MaskContent,
    MaskEncoding,
    decide_encoding,
    read_raw,
)
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.io.images import read_image

log = logging.getLogger(__name__)

MAX_SHOWN = 100


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make `random` and `numpy.random`, which the transforms draw from, a function of `seed`."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


class Inspection(NamedTuple):
    """What reading all files of a data set once has shown.

    Args:
        list_faults: of the list or the folders.
        records: one per pair.
        encoding: how masks are read.
        contradictions: place -> fault of a mask that does not fit it.
        masks: what each mask holds, read so; None where it cannot be.
        lacking: that there is nothing to learn.
    """

    list_faults: list[str]
    records: list[PairRecord]
    encoding: MaskEncoding
    contradictions: dict[str, str]
    masks: list[MaskContent | None]
    lacking: list[str]

    @property
    def faults(self) -> list[str]:
        """All errors, in the order of the files."""
        of_files = [fault for record in self.records for fault in record.faults]
        return [*self.list_faults, *of_files, *self.contradictions.values(), *self.lacking]


def read_pairs(
    pairs: Sequence[Any], name: str, record: Callable[[Any], PairRecord] = read_pair
) -> list[PairRecord]:
    """Read every pair once, on all processors; `name` is what the progress bar says."""
    with ThreadPoolExecutor(processors()) as pool:  # decoding releases the interpreter
        results = pool.map(record, pairs)
        return list(tqdm(results, name, len(pairs), disable=None, delay=1, leave=False, unit=" pairs"))


class Dataset:
    """Images and masks, checked by `inspect` before anything is read from them.

    Args:
        pairs: what it consists of.
        num_classes: 1 for soft masks (saliency), else class ids.
        transforms: callables on paddleseg's sample, applied by indexing.
        ignore_index: mask value of pixels that do not count; None where all do.
        mask_encoding: `index`, `grey`, or None to decide over all masks.
        img_channels: 3, or 1 to turn images grey.
        mode: `train` data need foreground.
        name: what messages call it.
        faults: what `list_pairs` found wrong; told together with what `inspect` finds.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        num_classes: int,
        transforms: Sequence[Callable[[dict], dict]] = (),
        ignore_index: int | None = None,
        mask_encoding: str | None = None,
        img_channels: int = 3,
        mode: str = "train",
        name: str = "dataset",
        faults: Sequence[str] = (),
    ):
        if mask_encoding not in (None, *ENCODINGS):
            raise ValueError(f"{name}: mask_encoding: '{mask_encoding}', expected {' or '.join(ENCODINGS)}")
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"{name}: num_classes: {num_classes}, expected 1 .. {IGNORE}")
        if mask_encoding == "grey" and num_classes > 2:
            raise ValueError(
                f"{name}: mask_encoding: grey means at most two classes, got {num_classes}. Fix: index"
            )
        if ignore_index is not None and (type(ignore_index) is not int or not 0 <= ignore_index <= 65535):
            raise ValueError(
                f"{name}: ignore_index: {ignore_index!r}, expected a value of the mask files, or null"
            )
        if img_channels not in (1, 3):
            raise ValueError(f"{name}: img_channels: {img_channels}, expected 1 or 3")
        self.pairs, self.transforms = list(pairs), list(transforms)
        self.mode, self.name, self.list_faults = mode, name, list(faults)
        self.num_classes, self.ignore_index, self.channels = num_classes, ignore_index, img_channels
        self.requested_encoding = mask_encoding
        self.encoding: MaskEncoding | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def inspect(self) -> list[str]:
        """Read every file once, decide the mask encoding, and log it.

        Returns:
            All faults: missing, broken or differing files, contradictory masks, ids out of range, and
            for data to train on a complete lack of foreground.
        """
        found = self.examine()
        empty = sum(mask.share == 0 for mask in found.masks if mask)
        if empty and not found.lacking:
            log.warning("%s: %d of %d masks are empty", self.name, empty, len(self))
        return found.faults

    def examine(self, records: Sequence[PairRecord] | None = None) -> Inspection:
        """Decide the mask encoding; logs it where nothing is wrong.

        Args:
            records: one per pair, where every file has been read before; else each is read once here.
        """
        records = read_pairs(self.pairs, self.name) if records is None else list(records)
        surveys = [record.mask_levels for record in records if record.mask_levels]
        self.encoding, contradictions = decide_encoding(
            surveys, self.num_classes, self.ignore_index, self.requested_encoding
        )
        doubtful = {fault.partition(": holds ")[0]: fault for fault in contradictions}
        masks = [
            self.encoding.measure(record.mask_levels, record.counts)
            if record.mask_levels and record.mask_levels.where not in doubtful
            else None
            for record in records
        ]
        lacking, shares = [], [mask.share for mask in masks if mask]
        if self.mode == "train" and shares and not any(shares):
            lacking.append(
                f"{self.name}: none of the {len(shares)} masks has any foreground, as they are read "
                f"({self.encoding}). Fix: check the masks, mask_encoding and ignore_index"
            )
        found = Inspection(self.list_faults, records, self.encoding, doubtful, masks, lacking)
        if not found.faults:
            log.info("%s: %d images, %s", self.name, len(self), self.encoding)
        return found

    def load(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB, and mask (H, W): float32 in [0, 1] or class ids as uint8."""
        if self.encoding is None:
            raise RuntimeError("Dataset.inspect decides how masks are read; call it first")
        pair = self.pairs[index]
        if pair.mask is None:
            raise ValueError(f"{pair.image}: has no mask")
        return read_image(pair.image), self.encoding.decode(read_raw(pair.mask))

    def _apply(self, transform: Callable[[dict], dict], sample: dict, pair: Pair) -> dict:
        """One transform; its failure names the transform and the image."""
        try:
            return transform(sample)
        except Exception as error:  # those of paddleseg raise whatever OpenCV does
            name = type(transform).__name__
            raise ValueError(f"{pair.where}{pair.image}: {self.name}: {name}: {error}") from error

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        """The sample of (index, seed): `img` (C, h, w) float32, `label` (1, h, w) float32 or int64."""
        index, seed = key
        image, mask = self.load(index)
        if self.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        sample = {"img": image.astype(np.float32), "label": mask, "gt_fields": ["label"], "trans_info": []}
        with _seeded(seed):
            for transform in self.transforms:
                sample = self._apply(transform, sample, self.pairs[index])
        image, mask = sample["img"], sample["label"]
        image = image[..., None] if image.ndim == 2 else image
        return {
            "img": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32),
            "label": np.ascontiguousarray(mask[None], np.float32 if self.num_classes == 1 else np.int64),
        }


Sample = dict[str, np.ndarray]


def collate(samples: Sequence[Sample | Exception]) -> Sample:
    """Stack samples to a batch, or say why not: `fault`, a message as bytes, in place of a batch.

    Paddle's loaders end in a deadlock or in pages of traceback where a sample raises, so none does.
    """
    whole = [sample for sample in samples if not isinstance(sample, Exception)]
    faults = [
        str(sample) if isinstance(sample, (OSError, ValueError)) else repr(sample)
        for sample in samples
        if isinstance(sample, Exception)
    ]
    shapes = sorted({array.shape[1:] for sample in whole for array in sample.values()})
    if len(shapes) > 1:
        faults.append(
            f"train_dataset: a batch holds images of different sizes (H, W): {', '.join(map(str, shapes))}. "
            "Fix: add a Resize or a crop to its transforms, or batch_size: 1"
        )
    if faults:
        return {"fault": np.frombuffer("\n".join(faults).encode(), np.uint8)}
    return {key: np.stack([sample[key] for sample in whole]) for key in whole[0]}


class Unraising:
    """A data set whose samples may be exceptions; for `collate`."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample | Exception:
        try:
            return self.dataset[key]
        except Exception as error:
            return error


def inspect_all(datasets: Sequence[Dataset]) -> None:
    """Inspect several data sets; raise one DataError with the faults of all."""
    faults = [fault for dataset in datasets for fault in dataset.inspect()]
    if faults:
        raise DataError(faults)
