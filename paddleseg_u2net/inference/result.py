"""What a model says of one photograph, and the pictures that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.io.bands import as_rgb
from paddleseg_u2net.io.encoding import check_format, encode, format_name
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import Photograph
from paddleseg_u2net.matting.alpha import GRID, refine_alpha
from paddleseg_u2net.matting.foreground import foreground_colors
from paddleseg_u2net.matting.ground import Background, Ground, Margin, over
from paddleseg_u2net.matting.shapes import drop_specks, feather, fill_holes, find_threshold, grow
from paddleseg_u2net.matting.tiles import masked


@dataclass(frozen=True)
class CutoutSettings:
    """How masks and cut-outs are made of a saliency map; the steps are taken in this order.

    Args:
        fill_holes: what lies below 0.5 inside of objects becomes 1; also in masks.
        drop_specks: objects of fewer pixels become 0; also in masks.
        refine_edges: add the detail of the photograph to the opacity; see `refine_alpha`. Maps and masks
            stay as they are.
        grow: pixels by which objects grow; negative: shrink.
        feather: standard deviation in pixels of a Gaussian that softens edges.
        background: what the objects are put over; None leaves the rest transparent.
        crop: margin around the objects to which the cut-out is trimmed, or its text, as `5%`; None trims
            nothing.
        foreground: remove the background's colours from soft edges; see `foreground_colors`.

    Raises:
        ValueError: a number of pixels is no whole number.
    """

    fill_holes: bool = False
    drop_specks: int = 0
    refine_edges: bool = True
    grow: int = 0
    feather: float = 0
    background: Background | None = None
    crop: Margin | str | None = None
    foreground: bool = True

    def __post_init__(self):
        for name in ("drop_specks", "grow"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise ValueError(f"{name}: expected a whole number of pixels, got {value!r}. Fix: such as 2")

    @property
    def margin(self) -> Margin | None:
        """`crop`, parsed; raises ValueError as `Margin.parse`."""
        return Margin.parse(self.crop) if isinstance(self.crop, str) else self.crop


@dataclass(frozen=True)
class Result:
    """What a model says of one photograph.

    Args:
        photograph: as it was read.
        prediction: probabilities at its size.
        settings: of masks and cut-outs.
    """

    photograph: Photograph
    prediction: Prediction
    settings: CutoutSettings = field(default_factory=CutoutSettings)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """`Prediction.array`, so that numpy takes a result for its map."""
        return np.array(self.prediction.array, dtype)

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8: the photograph as the network sees it, in sRGB."""
        return as_rgb(self.photograph.image)

    @cached_property
    def saliency(self) -> np.ndarray:
        """(H, W) float32 in [0, 1], without holes and specks where the settings say so."""
        saliency = self.prediction.saliency
        if self.settings.drop_specks:
            saliency = drop_specks(saliency, self.settings.drop_specks)
        return fill_holes(saliency) if self.settings.fill_holes else saliency

    @property
    def classes(self) -> np.ndarray:
        """(H, W) uint8; see `Prediction.classes`."""
        return self.prediction.classes

    def mask(self, threshold: float | str = 0.5) -> np.ndarray:
        """The foreground: (H, W) bool; for `threshold` see `find_threshold`."""
        return self.saliency >= find_threshold(self.saliency, threshold)

    @cached_property
    def alpha(self) -> np.ndarray:
        """(H, W) uint8: the opacity of the objects; at most that of the photograph."""
        alpha = self.saliency
        if self.settings.refine_edges:
            alpha = refine_alpha(self.image, alpha, self.prediction.grid or GRID)
        alpha = feather(grow(alpha, self.settings.grow), self.settings.feather)
        if self.photograph.alpha is not None:
            alpha = alpha * (self.photograph.alpha / np.float32(255))
        return to_8bit(alpha)

    @cached_property
    def colors(self) -> np.ndarray:
        """(H, W, 3) uint8: the colours of the objects, in the colour space of the photograph's file.

        They are 0 where nothing is visible, so that the background cannot be recovered.
        """
        if self.settings.foreground:
            alpha = np.divide(self.alpha, np.float32(255), dtype=np.float32)
            return foreground_colors(self.own_image, alpha)
        return masked(self.own_image, self.alpha)

    @property
    def own_image(self) -> np.ndarray:
        """(H, W, 3) uint8: the photograph in the colour space of its file, transparent pixels as stored."""
        own = self.photograph.colors
        return as_rgb(self.photograph.image if own is None else own)

    def cutout(self) -> np.ndarray:
        """The objects: (h, w, 4) uint8 RGBA, or (h, w, 3) RGB over the background of the settings."""
        background, crop = self.settings.background, self.settings.margin
        if background is None:
            picture = np.asarray(cv2.merge([self.colors, self.alpha]))
        else:
            picture = self.composite(background)
        return picture[crop.box(self.alpha)] if crop else picture

    def save(self, path: str | Path, what: str = "cutout", quality: int | None = None) -> None:
        """Write a picture, in the format that the suffix of its path names.

        Args:
            path: file to write; its folder is created.
            what: `cutout`, `mask`, `saliency` or `classes`.
            quality: see `encode`.

        Raises:
            ValueError: another suffix or kind of picture, or the format does not hold it.
            OSError: it cannot be written.
        """
        draw = PICTURES.get(what)
        if draw is None:
            raise ValueError(f"{what}: unknown. Fix: one of {', '.join(PICTURES)}")
        transparent = what == "cutout" and self.settings.background is None
        wanted = check_format(
            format_name(Path(path)), transparent, what=str(path), background="a background in the settings"
        )
        profile = self.photograph.profile if what == "cutout" else None
        with atomic_write(Path(path)) as partial:
            partial.write_bytes(encode(draw(self), wanted, quality, profile))

    def composite(self, background: Background | Ground) -> np.ndarray:
        """The objects over another background: (H, W, 3) uint8; see `Background.of`."""
        ground = Background.of(background).picture(self.own_image, self.alpha, self.photograph.profile)
        return over(self.colors, self.alpha, ground)


PICTURES: dict[str, Callable[[Result], np.ndarray]] = {
    "cutout": Result.cutout,
    "mask": lambda result: result.mask().astype(np.uint8) * 255,
    "saliency": lambda result: to_8bit(result.saliency),
    "classes": lambda result: result.classes,
}


def to_8bit(saliency: np.ndarray) -> np.ndarray:
    """Convert [0, 1] to uint8 in 0 .. 255, rounded to the nearest."""
    levels = saliency * np.float32(255)
    levels += 0.5  # in place: of a large photograph a copy is 50 MB
    return levels.astype(np.uint8)
