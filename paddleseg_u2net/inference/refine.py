"""Two-pass prediction: the whole image first, then a crop around what was found, at a higher resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.data.crops import square_around
from paddleseg_u2net.data.preprocessing import Size
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.images import Photograph
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.metrics.saliency import stretch

FLAGS = {"model_path": "refine", "margin": "refine_margin", "min_size": "refine_size"}  # field -> flag


@dataclass(frozen=True)
class Refinement:
    """How the second pass is done.

    Args:
        model_path: model of the second pass, which may be that of the first: see `load_engine`.
        margin: width of the margin around the foreground's box, as a share of its longer side.
        min_size: smallest side of the crop in pixels.
    """

    model_path: str
    margin: float = 0.5
    min_size: int = 64

    @classmethod
    def from_options(
        cls, test_config: Mapping[str, Any], flags: Mapping[str, Any] | None = None
    ) -> Refinement | None:
        """The second pass that a config and flags ask for; None if they ask for none.

        Args:
            test_config: its `refine` is a mapping of the arguments above, or None, or missing.
            flags: `refine`, `refine_margin` and `refine_size`, each None if it is not given.

        Raises:
            ConfigError: a margin or a size without a model.
        """
        given = {name: (flags or {}).get(flag) for name, flag in FLAGS.items()}
        given = {name: value for name, value in given.items() if value is not None}
        options = {**(test_config.get("refine") or {}), **given}
        if given and "model_path" not in options:
            idle = ", ".join(f"--{FLAGS[name]}" for name in given)
            raise ConfigError(f"{idle}: no effect alone. Fix: add --refine with the model of the second pass")
        return cls(**options) if options else None


class TwoPassPredictor(SourcePredictor):
    """Predict an image, then a square crop around the foreground again, and paste that result.

    The crop is around all objects together. Where the first pass finds
    nothing, its result is kept.

    Args:
        first: predicts whole images.
        second: predicts the crops; may be `first` itself.
        margin: see `Refinement`.
        min_size: see `Refinement`.
        map_protocol: how the pasted saliency map is post-processed; those of both predictors are `PLAIN`.

    Raises:
        ValueError: the predictors differ in their number of classes, or the protocol is not possible.
    """

    def __init__(
        self,
        first: Predictor,
        second: Predictor,
        margin: float = Refinement.margin,
        min_size: int = Refinement.min_size,
        map_protocol: MapProtocol | str = MapProtocol.PLAIN,
    ):
        self.first, self.second, self.margin, self.min_size = first, second, margin, min_size
        self.num_classes, self.parallel = first.num_classes, first.parallel
        self.multilabel, self.colors = False, first.colors
        self.map_protocol = MapProtocol(map_protocol)
        self.map_protocol.check_classes(self.num_classes)
        if self.map_protocol is MapProtocol.OFFICIAL:
            raise ValueError(
                "official maps come from a single pass of the authors' script, and refine makes a second "
                "one. Fix: leave out one of the two, as by --map_protocol plain"
            )
        if first.multilabel or second.multilabel:
            raise ValueError("refine: not for labels that overlap. Fix: leave --refine out")
        if second.num_classes != self.num_classes:
            raise ValueError(
                f"refine: the model of the second pass has num_classes: {second.num_classes}, and the first "
                f"{self.num_classes}. Fix: a model of the same classes"
            )
        for predictor in (first, second):
            if predictor.map_protocol is not MapProtocol.PLAIN:
                raise ValueError(
                    f"refine: a pass with map_protocol {predictor.map_protocol.value} cannot be pasted. "
                    "Fix: Predictor(…, map_protocol='plain') twice, and the protocol here"
                )

    @property
    def channels(self) -> int:
        """Channels of the images that both models take."""
        return self.first.channels

    def open(self, path: str | Path, max_pixels: int = MAX_PIXELS, data: bytes | None = None) -> Photograph:
        """Read an image for both passes; see `Predictor.open`."""
        return self.first.open(path, max_pixels, data)

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict several images; see `Predictor.predict`."""
        firsts = self.first.predict(images)
        maps, grids = [own.probabilities for own in firsts], [own.grid for own in firsts]
        found = [square_around(Prediction(own).classes > 0, self.margin, self.min_size) for own in maps]
        crops = {index: crop for index, crop in enumerate(found) if crop is not None}
        again = self.second.predict([images[index][crop] for index, crop in crops.items()])
        for (index, crop), refined in zip(crops.items(), again, strict=True):
            maps[index][(slice(None), *crop)] = refined.probabilities
            grids[index] = _as_fine(refined, maps[index].shape[1:])
        if self.map_protocol is MapProtocol.MINMAX:
            maps = [stretch(own) for own in maps]
        return [Prediction(own, grid=grid) for own, grid in zip(maps, grids, strict=True)]


def _as_fine(crop: Prediction, whole: Size) -> Size | None:
    """The grid of a whole image (H, W) that is as fine as that of the prediction of a crop of it."""
    extents = crop.probabilities.shape[1:]
    if crop.grid is None:
        return None
    height, width = (
        round(cells * own / part) for cells, own, part in zip(crop.grid, whole, extents, strict=True)
    )
    return height, width
