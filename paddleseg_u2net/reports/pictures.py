"""Pictures of the worst and the best images of a result: photograph, mask, prediction, errors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.pairs import by_stem
from paddleseg_u2net.data.visualize import IGNORED_COLOR, make_palette, outlined
from paddleseg_u2net.evaluation.matching import match_files
from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.inference.model_source import model_file
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import Refinement, TwoPassPredictor
from paddleseg_u2net.io.bands import as_rgb
from paddleseg_u2net.io.files import digest
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.io.web_page import as_data_uri
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.reports.sources import Result, mapping

HEIGHT = 240  # pixels of a picture
EMBEDDED = 1000  # most pixels of the width of a picture that is embedded as a whole
# RGB in error maps, the same as in the legend of the page
HIT, MISSED, EXTRA = (11, 143, 90), (43, 108, 255), (255, 122, 0)
DIMMED = 0.35  # contrast of the photograph below an error map


class Item(NamedTuple):
    """An image with its mask and what a model or method found.

    Args:
        image: (H, W, 3) uint8 RGB; None if there is no photograph.
        mask: (H, W) float32 in [0, 1] or uint8 class ids; `IGNORE` where it is ignored.
        found: (H, W) as `mask`.
    """

    image: np.ndarray | None
    mask: np.ndarray
    found: np.ndarray


Load = Callable[[str], Item]


class Picture(NamedTuple):
    """A picture of an example: its caption, and a JPEG as a data URI."""

    caption: str
    uri: str


def open_items(result: Result, image_dir: Path | None) -> tuple[Load, np.ndarray]:
    """A function that loads an image of a result by its name, and the palette of the classes, (256, 3) uint8.

    Raises:
        OSError: the model, the data set or the maps are not there any more.
        ValueError: they are not the ones that were measured, or cannot be used.
    """
    return _items_of_maps(result, image_dir) if result.of_maps else _items_of_model(result)


def _items_of_model(result: Result) -> tuple[Load, np.ndarray]:
    """Images of the data set in the config, predicted again as they were measured."""
    from paddleseg_u2net.builders import build_dataset_spec  # imports Paddle

    config, predictor = _predictor(result.record)
    (dataset,) = open_datasets([build_dataset_spec(config, "val_dataset")])
    indices = {str(pair.image): index for index, pair in enumerate(dataset.spec.pairs)}

    def load(name: str) -> Item:
        if name not in indices:
            raise ValueError(f"{name}: is not in the data set of {result.folder}")
        image, mask = dataset.load_classes(indices[name])
        (prediction,) = predictor.predict([image])
        single = len(prediction.probabilities) == 1
        return Item(as_rgb(image), mask, prediction.saliency if single else prediction.classes)

    return load, make_palette(predictor.colors)


def _predictor(record: Mapping[str, Any]) -> tuple[dict[str, Any], Predictor | TwoPassPredictor]:
    """The checked config of a result and the predictor that was measured."""
    with tempfile.TemporaryDirectory() as folder:  # what the record holds is checked as any config is
        path = Path(folder) / "config.yaml"
        path.write_text(dump_config(mapping(record.get("config"))), encoding="utf-8")
        config = load_config(path)
    first = _measured(mapping(record.get("model")))
    augmentation = TestTimeAugmentation(**mapping(record.get("augmentation")))
    protocol = MapProtocol(record.get("map_protocol") or MapProtocol.PLAIN)
    refine = mapping(record.get("refine"))
    if not refine:
        return config, Predictor(first, config, augmentation=augmentation, map_protocol=protocol)
    second = _measured(refine)
    margin, size = (refine.get(key, getattr(Refinement, key)) for key in ("margin", "min_size"))
    passes = Predictor(first, config, augmentation=augmentation), Predictor(second)
    return config, TwoPassPredictor(*passes, margin, size, protocol)


def _measured(model: Mapping[str, Any]) -> str:
    """The path or known name of a model that is still the one that was measured."""
    path = str(model.get("model_path"))
    if digest(file := model_file(path), "sha256") != model.get("sha256"):
        raise ValueError(f"{file}: has changed since it was measured. Fix: measure it again")
    return path


def _items_of_maps(result: Result, image_dir: Path | None) -> tuple[Load, np.ndarray]:
    """Maps and masks of the folders that were measured, and photographs of the same names."""
    from paddleseg_u2net.evaluation.folders import read_pair  # needs the packages of the extra `evaluate`

    files = mapping(result.record.get("files"))
    if not files:
        raise ValueError(f"{result.folder}: names no folders of maps and masks. Fix: u2net evaluate again")
    matched = match_files(Path(str(files.get("maps"))), Path(str(files.get("masks"))), common_only=True)
    paths = {name: (map_path, mask_path) for name, map_path, mask_path in matched.pairs}
    photographs = by_stem(image_dir) if image_dir else {}

    def load(name: str) -> Item:
        if name not in paths:
            raise ValueError(f"{name}: there is no such map and mask any more")
        found, mask = (_as_shares(values) for values in read_pair(*paths[name]))
        image = read_image(photographs[name][0]) if name in photographs else None
        return Item(image, mask, found)

    return load, make_palette(1)


def _as_shares(values: np.ndarray) -> np.ndarray:
    """Float32 in [0, 1] of uint8 or floats."""
    return values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)


def draw(item: Item, palette: np.ndarray) -> list[Picture]:
    """The pictures of an image: the photograph if there is one, mask, prediction, errors.

    Args:
        item: the image; its photograph, mask and prediction may differ in size.
        palette: (256, 3) uint8, RGB: the colours of the classes.
    """
    image = (
        np.repeat(np.full_like(item.mask, 235, np.uint8)[..., None], 3, 2)
        if item.image is None
        else item.image
    )
    width = int(np.clip(image.shape[1] * HEIGHT / image.shape[0], HEIGHT / 3, HEIGHT * 3))
    photograph = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    pictures = {} if item.image is None else {"photograph": photograph}
    pictures["mask"] = outlined(image, item.mask, palette, HEIGHT)
    pictures["prediction"] = outlined(image, item.found, palette, HEIGHT)
    pictures["errors"] = error_map(photograph, item.mask, item.found)
    return [Picture(caption, as_data_uri(picture)) for caption, picture in pictures.items()]


def error_map(photograph: np.ndarray, mask: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Draw over a dimmed photograph where a prediction differs from the mask.

    Objects of saliency maps: found in green, missed in blue, found where there is none in orange; the
    stronger, the larger the share or the difference. Of classes the wrong pixels in orange. Ignored pixels
    are magenta.

    Args:
        photograph: (h, w, 3) uint8, RGB.
        mask: (H, W) float32 in [0, 1] or uint8 class ids; `IGNORE` where it is ignored; any size.
        found: as `mask`; any size.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    size = photograph.shape[1], photograph.shape[0]  # (w, h)
    grey = cv2.cvtColor(cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    drawn = grey * DIMMED + 255 * (0.5 - DIMMED / 2)
    true, own = (cv2.resize(values, size, interpolation=cv2.INTER_NEAREST) for values in (mask, found))
    ignored = true == IGNORE
    if mask.dtype == np.uint8:
        layers = [(EXTRA, 0.8 * (true != own))]
    else:
        true, own = np.where(ignored, 0, true), np.where(ignored, 0, own)
        layers = [
            (HIT, 0.6 * np.minimum(true, own)),
            (MISSED, 0.8 * (true - own)),
            (EXTRA, 0.8 * (own - true)),
        ]
    for color, strength in layers:
        strength = np.clip(strength, 0, 1)[..., None]
        drawn += strength * (np.array(color, np.float32) - drawn)
    drawn[ignored] = IGNORED_COLOR
    return drawn.round().astype(np.uint8)


def embedded(path: Path) -> str:
    """A picture file as a data URI, at most EMBEDDED pixels wide.

    Raises:
        OSError: there is no such file.
        ValueError: it is no image.
    """
    picture = read_image(path)
    if picture.shape[1] > EMBEDDED:
        height = max(round(picture.shape[0] * EMBEDDED / picture.shape[1]), 1)
        picture = cv2.resize(picture, (EMBEDDED, height), interpolation=cv2.INTER_AREA)
    return as_data_uri(picture)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Paths of images without the folder that all of them are in."""
    folders = {os.path.dirname(name) for name in names}
    try:
        root = os.path.commonpath(folders)
    except ValueError:  # none, or absolute paths beside relative ones
        root = ""
    return {name: os.path.relpath(name, root) if root else name for name in names}
