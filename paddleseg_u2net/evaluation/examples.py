"""Contact sheets: photograph, mask and prediction of some images of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.visualize import IGNORED_COLOR, make_palette, overlay
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.evaluation.plots import literal_text
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import TwoPassPredictor
from paddleseg_u2net.inference.result import to_8bit
from paddleseg_u2net.io.bands import as_rgb
from paddleseg_u2net.io.files import atomic_bytes

LONGEST = 640  # pixels of the longer side of a picture on the sheet
NAMED_CLASSES = 30  # a legend of more would not fit
COLUMNS = ("photograph", "mask", "prediction")


@literal_text()
def draw_examples(
    path: Path,
    dataset: Dataset,
    predictor: Predictor | TwoPassPredictor,
    titles: Mapping[int, str],
    class_names: Sequence[str],
) -> None:
    """Write a JPEG with one row per image: photograph, mask and prediction.

    Args:
        path: file to write.
        dataset: images and masks.
        predictor: predicts the images again.
        titles: index in the data set -> text above the row; nothing is written without any.
        class_names: names for the legend of class colours; saliency has none.
    """
    if not titles:
        return
    need("matplotlib").use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    shown = [_pictures(*dataset.load_classes(index), predictor) for index in titles]
    width = 10 / len(COLUMNS)
    ratios = [pictures[0].shape[0] / pictures[0].shape[1] for pictures in shown]
    heights = [width * min(max(ratio, 0.2), 2) + 0.6 for ratio in ratios]
    figure = pyplot.figure(figsize=(10, sum(heights) + 0.6), layout="constrained")
    rows = np.atleast_1d(figure.subfigures(len(titles), 1, height_ratios=heights))
    for row, title, pictures in zip(rows, titles.values(), shown, strict=True):
        row.suptitle(title, fontsize=9)
        for axes, picture, name in zip(row.subplots(1, len(COLUMNS)), pictures, COLUMNS, strict=True):
            axes.imshow(picture)
            axes.set_title(name, fontsize=8)
            axes.set_axis_off()
    if 1 < predictor.num_classes <= NAMED_CLASSES:
        colors = [*make_palette(predictor.colors)[: predictor.colors], np.array(IGNORED_COLOR)]
        names = [*(["no label"] if predictor.multilabel else []), *class_names, "ignored"]
        patches = [Patch(color=color / 255, label=name) for color, name in zip(colors, names, strict=True)]
        figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=8)
    with atomic_bytes(path) as buffer:
        figure.savefig(buffer, format="jpg", dpi=110)
    pyplot.close(figure)


def _pictures(
    image: np.ndarray, mask: np.ndarray, predictor: Predictor | TwoPassPredictor
) -> list[np.ndarray]:
    """Photograph, mask and prediction, each (h, w, 3) uint8 RGB and at most LONGEST pixels long."""
    prediction, ignored = predictor.predict([image])[0], mask == IGNORE
    image = as_rgb(image)
    if len(prediction.probabilities) == 1:
        true = np.repeat(to_8bit(np.where(ignored, 0, mask))[..., None], 3, axis=2)
        found = np.repeat(to_8bit(prediction.saliency)[..., None], 3, axis=2)
    else:
        palette = make_palette(predictor.colors)
        true, found = (overlay(image, palette[classes]) for classes in (mask, prediction.classes))
    true[ignored] = IGNORED_COLOR
    scale = LONGEST / max(image.shape[:2])
    pictures = [image, true, found]
    if scale >= 1:
        return pictures
    return [cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for p in pictures]
