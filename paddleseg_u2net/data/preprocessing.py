"""Preprocessing of an image for the network, and the inverse for predicted maps.

The steps are those of `val_dataset.transforms`, computed without Paddle and paddleseg; a test verifies that
the results are equal bit for bit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.data.arguments import fault_of
from paddleseg_u2net.environment.failures import reason

Size = tuple[int, int]  # (H, W)
INTERPOLATION = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "CUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalize(image: np.ndarray, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> np.ndarray:
    """Compute (x / 255 - mean) / std.

    Args:
        image: (H, W, C), values in [0, 255].
        mean: one value, or one per channel.
        std: one value, or one per channel.

    Returns:
        (H, W, C) float32, rounded as by paddleseg's Normalize.
    """
    image = image.astype(np.float32) / 255.0
    image -= np.asarray(mean)
    image /= np.asarray(std)
    return image


def normalize_by_max(
    image: np.ndarray, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> np.ndarray:
    """Compute (x / max(x) - mean) / std, as the official ToTensorLab; see `normalize` for shapes.

    Source: data_loader.py:205-213 of xuebinqin/U-2-Net@ac7e1c8, which divides by zero for a black image;
    here it is not divided.
    """
    high = np.float32(image.max())
    return normalize(image * (np.float32(255) / high) if high > 0 else image, mean, std)


def _scaled(size: Size, scale: float) -> Size:
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _resize(
    size: Size,
    target_size: Sequence[int] = (512, 512),
    keep_ratio: bool = False,
    size_divisor: int | None = None,
) -> Size:
    target = (target_size[1], target_size[0])  # paddleseg writes (W, H)
    if keep_ratio:
        target = _scaled(size, min(max(target) / max(size), min(target) / min(size)))
    if size_divisor:
        target = tuple(math.ceil(n / size_divisor) * size_divisor for n in target)
    return target[0], target[1]


def _resize_by_long(size: Size, long_size: int) -> Size:
    return _scaled(size, long_size / max(size))


def _resize_by_short(size: Size, short_size: int, max_size: float = 1e10) -> Size:
    if short_size / min(size) * max(size) > max_size:
        short_size = int(max_size / max(size) * min(size))
    return _scaled(size, short_size / min(size))


def _limit_long(size: Size, max_long: int | None = None, min_long: int | None = None) -> Size:
    long = max(size)
    target = max_long if max_long and long > max_long else min_long if min_long and long < min_long else long
    return size if target == long else _scaled(size, target / long)


def _padding(size: Size, target_size: Sequence[int]) -> Size:
    target = (target_size[1], target_size[0])
    if target[0] < size[0] or target[1] < size[1]:
        raise ValueError(
            f"larger than target_size (H, W) {target}. Fix: a larger target_size, or a Resize before it"
        )
    return target


def _padding_by_aspect_ratio(size: Size, aspect_ratio: float = 1) -> Size:
    height, width = size
    ratio = width / height
    if ratio > aspect_ratio:
        return int(width / aspect_ratio), width
    return (height, int(height * aspect_ratio)) if ratio < aspect_ratio else size


NORMALIZATIONS: dict[str, Callable[..., np.ndarray]] = {
    "Normalize": normalize,
    "NormalizeByMax": normalize_by_max,
}
RESIZES: dict[str, Callable[..., Size]] = {
    "Resize": _resize,
    "ResizeSoftMask": _resize,
    "ResizeByLong": _resize_by_long,
    "ResizeByShort": _resize_by_short,
    "LimitLong": _limit_long,
}
PADDINGS: dict[str, Callable[..., Size]] = {
    "Padding": _padding,
    "PaddingByAspectRatio": _padding_by_aspect_ratio,
}
STEPS = NORMALIZATIONS | RESIZES | PADDINGS
# arguments of transforms that the functions above do not take
PIXEL_ARGUMENTS = {"interp", "im_padding_value", "label_padding_value"}


def resize(image: np.ndarray, size: Size, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Resize (H, W) or (H, W, C) to `size` (H, W); the number of dimensions is kept."""
    if image.shape[:2] == tuple(size):
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    return resized if resized.ndim == image.ndim else resized[..., None]


def resize_batch(batch: np.ndarray, size: Size) -> np.ndarray:
    """Resize (N, C, h, w) to `size` (H, W), bilinearly."""
    if batch.shape[2:] == tuple(size):
        return batch
    return np.stack([resize(maps.transpose(1, 2, 0), size).transpose(2, 0, 1) for maps in batch])


def _resize_as_float(image: np.ndarray, size: Size, interpolation: int) -> np.ndarray:
    """`resize` of `image` (H, W, C) converted to float32.

    Where few rows are read, only these are converted: of a photograph of 12 megapixels a fifth. OpenCV
    interpolates along the rows first, so that the result is the same bit for bit; not so where images of
    less than a hundred columns are enlarged to 320.
    """
    (height, width, channels), (rows, columns) = image.shape, size
    few = 4 * rows <= height and columns <= width  # for each row two are read, and two more here
    if interpolation != cv2.INTER_LINEAR or not few:
        return resize(image.astype(np.float32, copy=False), size, interpolation)
    above = ((np.arange(rows) + 0.5) * (height / rows) - 0.5).astype(int)
    read = np.unique((above[:, None] + [-1, 0, 1, 2]).clip(0, height - 1))
    narrow = np.zeros((height, columns, channels), np.float32)
    narrow[read] = resize(image[read].astype(np.float32, copy=False), (len(read), columns))
    return resize(narrow, size)


def _required(step: Callable[..., Any]) -> list[str]:
    """The arguments of a step that have no default, besides the image or its size."""
    return [p.name for p in list(inspect.signature(step).parameters.values())[1:] if p.default is p.empty]


def _apply(name: str, arguments: Mapping[str, Any], image: np.ndarray) -> np.ndarray:
    """Apply one step to an image (H, W, C) uint8 or float32; the result is float32."""
    size: Size = (image.shape[0], image.shape[1])
    options = {key: value for key, value in arguments.items() if key not in PIXEL_ARGUMENTS}
    if name in RESIZES:
        interpolation = INTERPOLATION[arguments.get("interp", "LINEAR")]
        return _resize_as_float(image, RESIZES[name](size, **options), interpolation)
    image = image.astype(np.float32, copy=False)
    if name in NORMALIZATIONS:
        return NORMALIZATIONS[name](image, **options)
    height, width = PADDINGS[name](size, **options)
    pad = ((0, height - size[0]), (0, width - size[1]), (0, 0))
    return np.pad(image, pad, constant_values=arguments.get("im_padding_value", 127.5))


@dataclass(frozen=True)
class Preprocessing:
    """Converts an image to the network's input, and maps back to the size of the image.

    Args:
        steps: (name of a transform, its arguments), in the order of application.
        channels: 3, 1 to convert images to grey first, or the channels of multi-band images.
        white: stored value of white in the 16-bit images of the training data; None takes that of each image.
    """

    steps: tuple[tuple[str, dict[str, Any]], ...]
    channels: int = 3
    white: int | None = None

    @classmethod
    def from_transforms(
        cls, transforms: Sequence[dict], channels: int = 3, white: int | None = None
    ) -> Preprocessing:
        """Create the preprocessing from the `val_dataset.transforms` of a config.

        Args:
            transforms: `type` and arguments of each.
            channels: see `Preprocessing`.
            white: see `Preprocessing`.

        Raises:
            ValueError: a transform is random or cannot be undone, or an argument is unknown.
        """
        steps = []
        for transform in transforms:
            arguments = {key: value for key, value in transform.items() if key != "type"}
            name = transform["type"]
            random = arguments.get("interp") == "RANDOM" or isinstance(arguments.get("short_size"), list)
            if name not in STEPS or random:
                raise ValueError(
                    f"val_dataset.transforms: {name} is random or cannot be undone for the original size. "
                    f"Fix: use {', '.join(STEPS)}"
                )
            allowed = set(inspect.signature(STEPS[name]).parameters) | PIXEL_ARGUMENTS
            if unknown := set(arguments) - allowed:
                raise ValueError(f"val_dataset.transforms: {name} has no argument {', '.join(unknown)}")
            if absent := [key for key in _required(STEPS[name]) if key not in arguments]:
                raise ValueError(f"val_dataset.transforms: {name}: {absent[0]} is missing. Fix: add it")
            if fault := fault_of(name, arguments, channels):
                raise ValueError(f"val_dataset.transforms: {fault}")
            steps.append((name, arguments))
        return cls(tuple(steps), channels, white)

    @property
    def image_channels(self) -> int:
        """Number of channels of the images that it takes."""
        return 3 if self.channels == 1 else self.channels

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, list[tuple[str, Size]]]:
        """Preprocess one image.

        Args:
            image: (H, W, image_channels) uint8, RGB first.

        Returns:
            The input (channels, h, w) float32, and the changes of size for `restore`: kind of change and
            (H, W) before it.

        Raises:
            ValueError: a step cannot be done for an image of this size; the message names the step.
        """
        if self.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        changes: list[tuple[str, Size]] = []
        for name, arguments in self.steps:
            if name not in NORMALIZATIONS:
                kind = "resize" if name in RESIZES else "padding"
                changes.append((kind, (image.shape[0], image.shape[1])))
            try:
                image = _apply(name, arguments, image)
            except (cv2.error, MemoryError, ArithmeticError, ValueError) as error:
                shape = f"an image of (H, W) {image.shape[:2]}"
                raise ValueError(f"val_dataset.transforms: {name} of {shape}: {reason(error)}") from error
        return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32), changes

    @staticmethod
    def restore(
        maps: np.ndarray,
        changes: Sequence[tuple[str, Size]],
        resize: Callable[[np.ndarray, Size], np.ndarray] = resize,
    ) -> np.ndarray:
        """Resize maps back to the size of the image they were predicted from, and remove padding.

        Args:
            maps: (C, h, w) float32, or another array type that `resize` takes.
            changes: second result of `__call__`.
            resize: function that resizes (h, w, C) to a size (H, W).

        Returns:
            (C, H, W), of the type of `maps`.
        """
        maps = maps.transpose(1, 2, 0)
        for kind, size in reversed(changes):
            maps = resize(maps, size) if kind == "resize" else maps[: size[0], : size[1]]
        return maps.transpose(2, 0, 1)
