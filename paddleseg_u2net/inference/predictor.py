"""Image -> saliency or classes at the size of the image; `val` measures exactly what is predicted here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.config.loader import (
    class_count,
    class_names,
    is_multilabel,
    load_config,
    preprocessing_of,
)
from paddleseg_u2net.data.preprocessing import Preprocessing, Size, resize_batch
from paddleseg_u2net.data.section import WHITE
from paddleseg_u2net.engines.adapters import PhotographEngine
from paddleseg_u2net.engines.base import Engine
from paddleseg_u2net.errors import counted
from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.model_source import config_of, load_engine
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.io.bands import open_picture
from paddleseg_u2net.io.images import Photograph, pillow
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.metrics.saliency import stretch


class Predictor(SourcePredictor):
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
        >>> result = Predictor("u2netp")("photo.jpg")  # doctest: +SKIP
        >>> result.save("cutout.png")  # doctest: +SKIP
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
        self.class_names = class_names(config)
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
    def channels(self) -> int:
        """Channels of the images that the model takes; 3 is RGB."""
        return self.preprocessing.image_channels

    @property
    def colors(self) -> int:
        """Number of values of `Prediction.classes`; 1 for saliency."""
        return self.num_classes + self.multilabel

    def open(self, path: str | Path, max_pixels: int = MAX_PIXELS, data: bytes | None = None) -> Photograph:
        """Read an image as this model takes it; see `bands.open_picture`.

        Args:
            path: the file.
            max_pixels: larger images are rejected before decoding.
            data: its content, if that is known.
        """
        preprocessing = self.preprocessing
        return open_picture(path, preprocessing.image_channels, preprocessing.white, max_pixels, data)

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
                grid = self._grid(*prepared[index])
                predictions[index] = Prediction(maps_of_image, self.multilabel, grid)
        return [prediction for prediction in predictions if prediction is not None]

    def _grid(self, tensor: np.ndarray, changes: Sequence[tuple[str, Size]]) -> Size | None:
        """Height and width of the image in the network's input (C, h, w), without the padding at its end."""
        if isinstance(self.engine, PhotographEngine):
            return None  # which resizes by itself
        if changes and changes[-1][0] == "padding":
            return changes[-1][1]
        return tensor.shape[1], tensor.shape[2]

    def _restore(self, maps: np.ndarray, changes: Sequence[tuple[str, Size]]) -> np.ndarray:
        """Resize probabilities (C, h, w) of the network's input to the image: (C, H, W)."""
        if self.map_protocol is MapProtocol.OFFICIAL:
            levels = (stretch(maps) * 255).astype(np.uint8)
            return self.preprocessing.restore(levels, changes, _resize_by_pillow).astype(np.float32) / 255
        # cubic and Lanczos interpolation overshoot
        restored = self.preprocessing.restore(maps, changes)
        restored = restored.clip(0, 1, out=restored)
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
