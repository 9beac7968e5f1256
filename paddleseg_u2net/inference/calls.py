"""Calling a predictor: any source of an image, one or many."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.result import CutoutSettings, Result
from paddleseg_u2net.inference.sources import Source, is_pillow, name_of, open_source
from paddleseg_u2net.io.appearance import note_lines
from paddleseg_u2net.io.images import Photograph
from paddleseg_u2net.metrics.protocol import MapProtocol

log = logging.getLogger(__name__)


class SourcePredictor(ABC):
    """A predictor that is called with any source of an image, or with many of them."""

    map_protocol = MapProtocol.PLAIN

    @abstractmethod
    def open(self, path: str | Path, max_pixels: int = MAX_PIXELS, data: bytes | None = None) -> Photograph:
        """Read an image file as the model takes it."""

    def adapt(self, photograph: Photograph) -> Photograph:
        """Change a photograph that was read elsewhere as `open` does."""
        return photograph

    @abstractmethod
    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict several images as the model takes them."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the images that the model takes."""

    @overload
    def __call__(self, source: list, settings: CutoutSettings = ...) -> list[Result]: ...

    @overload
    def __call__(self, source: Iterator, settings: CutoutSettings = ...) -> Iterator[Result]: ...

    @overload
    def __call__(self, source: Any, settings: CutoutSettings = ...) -> Result: ...

    def __call__(self, source: Any, settings: CutoutSettings = CutoutSettings()) -> Any:  # noqa: B008 - frozen
        """Predict an image, or several.

        Args:
            source: path, https address, bytes, binary file, image of Pillow, or array: see `open_source`; or
                a list or an iterator of these.
            settings: of masks and cut-outs.

        Returns:
            A `Result`, of which `numpy.asarray` makes its map; for a list a list of them, for an iterator an
            iterator that predicts each image when it is asked for.

        Raises:
            TypeError: a source of another type; of several the message names the item.
            OSError: it cannot be read.
            ValueError: it is no image; or of several any of these, and the message names the item.

        Example:
            >>> from paddleseg_u2net import Predictor
            >>> predictor = Predictor("u2netp_msra")
            >>> grey = np.full((30, 40, 3), 128, np.uint8)
            >>> result = predictor(grey)
            >>> result.cutout().shape, result.saliency.dtype, int(result.mask().sum())
            ((30, 40, 4), dtype('float32'), 0)
            >>> [np.asarray(found).shape for found in predictor([grey, grey[:10]])]
            [(30, 40), (10, 40)]
        """
        if isinstance(source, list):
            return list(self._each(source, settings))
        if isinstance(source, Iterator) and not hasattr(source, "read"):
            return self._each(source, settings)
        return self._one(source, settings)

    def read(self, source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """The image of a source as the model takes it; logs what was changed or left out."""
        return self._opened(source, max_pixels).image

    def _opened(self, source: Source, max_pixels: int = MAX_PIXELS) -> Photograph:
        def open_file(path: str | Path, data: bytes | None) -> Photograph:
            return self.open(path, max_pixels, data)

        photograph = open_source(source, open_file, self.channels)
        if isinstance(source, np.ndarray) or is_pillow(source):
            photograph = self.adapt(photograph)
        for level, line in note_lines([(name_of(source), note) for note in photograph.notes], 1):
            log.log(level, "%s", line)
        return photograph

    def _one(self, source: Source, settings: CutoutSettings) -> Result:
        photograph = self._opened(source)
        return Result(photograph, self.predict([photograph.image])[0], settings)

    def _each(self, sources: Iterable[Source], settings: CutoutSettings) -> Iterator[Result]:
        items, number = iter(sources), 0
        while True:
            try:
                source = next(items)
            except StopIteration:
                return
            except Exception as error:  # whatever the caller's iterator raises
                raise ValueError(f"item {number}: its iterator raised {error!r}") from error
            try:
                result = self._one(source, settings)
            except (OSError, ValueError, TypeError) as error:
                raise ValueError(f"item {number}: {error}") from error
            yield result
            number += 1
