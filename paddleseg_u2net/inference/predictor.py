"""Image -> saliency or classes at the size of the image; `val` measures exactly what is predicted here."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.config.loader import class_count, is_multilabel, load_config, preprocessing_of
from paddleseg_u2net.data.preprocessing import Preprocessing, Size, resize_batch
from paddleseg_u2net.data.section import WHITE
from paddleseg_u2net.engines.adapters import PhotographEngine
from paddleseg_u2net.engines.base import Engine
from paddleseg_u2net.errors import counted
from paddleseg_u2net.inference.model_source import config_of, load_engine
from paddleseg_u2net.io.appearance import note_lines
from paddleseg_u2net.io.bands import open_picture
from paddleseg_u2net.io.images import Photograph, pillow
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.metrics.saliency import stretch

log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Prediction:
    """The probabilities of one image, and what follows from them.

    Args:
        probabilities: (C, H, W) float32 in [0, 1]; one channel for saliency; of classes they sum to 1.
        multilabel: the channels are labels that overlap.
    """

    probabilities: np.ndarray
    multilabel: bool = False

    @property
    def labels(self) -> np.ndarray:
        """(C, H, W) bool: whether a pixel has a label, which is where its probability exceeds 0.5."""
        return self.probabilities > 0.5

    @property
    def saliency(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: the probability that a pixel is not background (class 0).

        Of labels the largest of their probabilities.
        """
        if self.multilabel:
            return self.probabilities.max(axis=0)
        single = len(self.probabilities) == 1
        return self.probabilities[0] if single else 1 - self.probabilities[0]

    @property
    def classes(self) -> np.ndarray:
        """(H, W) uint8 class ids; for saliency 1 where it is at least 0.5.

        Of labels the number of the most probable one, from 1; 0 where a pixel has none.
        """
        if self.multilabel:
            numbers = self.probabilities.argmax(axis=0) + 1
            return (numbers * self.labels.any(axis=0)).astype(np.uint8)
        if len(self.probabilities) == 1:
            return (self.probabilities[0] >= 0.5).astype(np.uint8)
        return self.probabilities.argmax(axis=0).astype(np.uint8)


class Predictor:
    """Predict images with one model.

    Args:
        model: known name (`u2netp`), weight file, run folder, exported folder, or an `Engine`.
        config: path or dict; may be left out where the model carries its own.
        device: see `load_engine`.
        augmentation: test-time augmentation and sliding window; None predicts each image once.
        backend: see `load_engine`.
        precision: see `load_engine`.
        parallel: number of threads that will call the predictor at once.
        map_protocol: how saliency maps are post-processed.

    Raises:
        ValueError: `map_protocol` is not `PLAIN`, and the model predicts classes; or see `load_engine`.

    Example:
        >>> saliency = Predictor("u2netp")("photo.jpg")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | Engine,
        config: str | Path | Mapping[str, Any] | None = None,
        device: str | None = None,
        augmentation: TestTimeAugmentation | None = None,
        backend: str = "auto",
        precision: str = "auto",
        parallel: int = 1,
        map_protocol: MapProtocol | str = MapProtocol.PLAIN,
    ):
        if isinstance(config, (str, Path)):
            config = load_config(config)
        if isinstance(model, (str, Path)):
            config = config_of(model) if config is None else config
            model = load_engine(model, config, device, backend, precision, parallel)
        if config is None:
            raise ValueError("Predictor: an engine needs a config. Fix: Predictor(engine, config)")
        self.engine: Engine = model
        prepares = isinstance(model, PhotographEngine)  # then the transforms of the config are in the model
        self.preprocessing = _without_steps(config) if prepares else preprocessing_of(config)
        self.num_classes, self.multilabel = class_count(config), is_multilabel(config)
        self.augmentation = augmentation or TestTimeAugmentation()
        self.parallel = parallel
        self.map_protocol = MapProtocol(map_protocol)
        self.map_protocol.check_classes(self.num_classes)
        if self.map_protocol is MapProtocol.OFFICIAL and prepares:
            raise ValueError(
                "official maps are 8-bit before they are resized, and this export resizes by itself. "
                "Fix: the model it was made from, or an export without --with_preprocessing"
            )

    @property
    def colors(self) -> int:
        """Number of values of `Prediction.classes`; 1 for saliency."""
        return self.num_classes + self.multilabel

    def __call__(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Predict one image.

        Args:
            image: (H, W, C) uint8, RGB first, or a path; C is 3, or the channels of a multi-band model.

        Returns:
            (H, W) float32 saliency in [0, 1], or (H, W) uint8 class ids where num_classes is 2 or more, or
            (labels, H, W) bool.
        """
        image = self.read(image) if isinstance(image, (str, Path)) else image
        prediction = self.predict([image])[0]
        if self.multilabel:
            return prediction.labels
        return prediction.saliency if self.num_classes == 1 else prediction.classes

    def read(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Read an image like `open`, and log what was changed or left out."""
        photograph = self.open(path, max_pixels)
        for level, line in note_lines([(str(path), note) for note in photograph.notes], 1):
            log.log(level, "%s", line)
        return photograph.image

    def open(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> Photograph:
        """Read an image as this model takes it; see `bands.open_picture`.

        Args:
            path: the file.
            max_pixels: larger images are rejected before decoding.
        """
        return open_picture(path, self.preprocessing.image_channels, self.preprocessing.white, max_pixels)

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict several images; network inputs of the same size share a batch.

        Args:
            images: (H, W, C) uint8, RGB first, of any sizes; C as in `__call__`.

        Returns:
            One prediction per image, in the same order.

        Raises:
            TypeError: an image of another type, shape or dtype.
            FloatingPointError: the network's output holds NaN.
        """
        for image in images:
            _check_image(image, self.preprocessing.image_channels)
        prepared = [self.preprocessing(image) for image in images]
        predictions: list[Prediction | None] = [None] * len(images)
        groups: dict[tuple, list[int]] = {}
        for index, (tensor, _) in enumerate(prepared):
            groups.setdefault(tensor.shape, []).append(index)
        for members in groups.values():
            maps = self._average(np.stack([prepared[index][0] for index in members]))
            if np.isnan(maps).any():
                raise FloatingPointError(
                    "the network's output holds NaN. Fix: weights of a run that did not diverge"
                )
            for index, probabilities in zip(members, maps, strict=True):
                maps_of_image = self._restore(probabilities, prepared[index][1])
                predictions[index] = Prediction(maps_of_image, self.multilabel)
        return [prediction for prediction in predictions if prediction is not None]

    def _restore(self, maps: np.ndarray, changes: Sequence[tuple[str, Size]]) -> np.ndarray:
        """Resize probabilities (C, h, w) of the network's input to the image: (C, H, W)."""
        if self.map_protocol is MapProtocol.OFFICIAL:
            levels = (stretch(maps) * 255).astype(np.uint8)
            return self.preprocessing.restore(levels, changes, _resize_by_pillow).astype(np.float32) / 255
        # cubic and Lanczos interpolation overshoot
        restored = np.clip(self.preprocessing.restore(maps, changes), 0, 1)
        return stretch(restored) if self.map_protocol is MapProtocol.MINMAX else restored

    def _average(self, batch: np.ndarray) -> np.ndarray:
        """Mean probabilities over all scales and flips: (N, channels, h, w) -> (N, num_classes, h, w)."""
        height, width = batch.shape[2:]
        variants = list(product(self.augmentation.scales, self.augmentation.flips()))
        total: np.ndarray | None = None
        for scale, axes in variants:
            size = (max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1))
            if scale != 1 and size[0] * size[1] > MAX_PIXELS:
                raise ValueError(
                    f"scales: {scale}: an input of {size} (h, w) is too large. Fix: smaller ones"
                )
            maps = np.flip(self._slide(np.flip(resize_batch(batch, size), axes)), axes)
            maps = resize_batch(maps, (height, width))
            total = maps if total is None else total + maps
        assert total is not None
        return total / np.float32(len(variants))

    def _slide(self, batch: np.ndarray) -> np.ndarray:
        """Mean probabilities over all windows: (N, channels, h, w) -> (N, num_classes, h, w)."""
        count = np.zeros(batch.shape[2:], np.float32)
        total = np.zeros((len(batch), self.num_classes, *count.shape), np.float32)
        for rows, columns in self.augmentation.windows(*count.shape):
            maps = self.engine(np.ascontiguousarray(batch[:, :, rows, columns]))
            if maps.shape[1] != self.num_classes:
                raise ValueError(
                    f"the model gives {counted(maps.shape[1], 'class', 'classes')}, and its config has "
                    "num_classes: "
                    f"{self.num_classes}. Fix: the config that it was trained with"
                )
            total[:, :, rows, columns] += maps
            count[rows, columns] += 1
        return total / count


def _resize_by_pillow(image: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear; (h, w, 1) uint8 -> (H, W, 1)."""
    resized = pillow().fromarray(image[..., 0]).resize(size[::-1], pillow().Resampling.BILINEAR)
    return np.asarray(resized)[..., None]


def _without_steps(config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of a model that applies the transforms itself."""
    return Preprocessing((), white=config.get("val_dataset", {}).get(WHITE))


def _check_image(image: Any, channels: int) -> None:
    array = isinstance(image, np.ndarray)
    if not array or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
        found = f"{image.dtype} {image.shape}" if array else type(image).__name__
        kind = ", RGB" if channels == 3 else ""
        raise TypeError(f"expected an image (H, W, {channels}) uint8{kind}, or its path, got {found}")
    if not image.size:
        raise TypeError(f"expected an image with pixels, got {image.shape}")
