"""Files that show an evaluation of a model in detail: scores of each image, confusion matrix, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.evaluation.csv_files import write_csv, write_curves
from paddleseg_u2net.evaluation.examples import draw_examples
from paddleseg_u2net.evaluation.model import LOG_NAMES, Scores
from paddleseg_u2net.evaluation.plots import draw_confusion
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import TwoPassPredictor
from paddleseg_u2net.io.files import write_text

EXAMPLES = 5  # pictures of the best and of the worst images
RULES = {
    "scores": "as u2net val prints them; class measures count the pixels of the whole data set",
    "mean_over_images": "means of the columns of per_image.csv; a class's over the images in whose mask or "
    "prediction it occurs. mIoU and mDice of an image are over the classes that occur in it; the maxF of "
    "images is at the best threshold of each, that of the data set at one",
    "size": "predictions and masks are compared at the size of the image file",
    "IoU and Dice of saliency": "of maps and masks split at 0.5",
}


class ImageScores(NamedTuple):
    """The scores of one image.

    Args:
        index: position in the data set.
        rank_by: score that images are ranked by, larger is better; NaN if every pixel is ignored.
        values: scores by column; a class that does not occur in the image has none.
    """

    index: int
    rank_by: float
    values: dict[str, float]


class Details:
    """Collects the scores of single images during an evaluation, and writes the files.

    Args:
        dataset: images and masks.
        class_names: one name per class, background included.
    """

    def __init__(self, dataset: Dataset, class_names: Sequence[str]):
        self.dataset, self.class_names = dataset, class_names
        self.images: list[ImageScores] = []

    def add(self, index: int, scores: Scores) -> None:
        """Add an image; the argument `on_image` of `evaluate`."""
        computed, areas = scores.compute(), scores.segmentation.means_over_images()
        names = scores.saliency.measures if scores.saliency and scores.saliency.images else ()
        values = {name: computed[name] for name in (LOG_NAMES[measure] for measure in names)}
        for name, row in (("IoU", areas["class_IoU"]), ("Dice", areas["class_Dice"])):
            present = ~np.isnan(row)
            values[f"m{name}"] = float(row[present].mean()) if present.any() else math.nan
            values |= {f"{name} {self.class_names[i]}": float(row[i]) for i in np.flatnonzero(present)}
        self.images.append(ImageScores(index, -values.get("MAE", -values["mIoU"]), values))

    def ranked(self) -> list[ImageScores]:
        """The images, worst first; those in which every pixel is ignored are left out."""
        counted = [image for image in self.images if not math.isnan(image.rank_by)]
        return sorted(counted, key=lambda image: (image.rank_by, image.index))

    def columns(self) -> list[str]:
        """All columns, those of each measure together."""
        found = dict.fromkeys(name for image in self.images for name in image.values)
        classes = [f"{measure} {name}" for measure in ("IoU", "Dice") for name in self.class_names]
        return [*(name for name in found if name not in classes), *(n for n in classes if n in found)]

    def write(
        self,
        folder: Path,
        scores: Scores,
        predictor: Predictor | TwoPassPredictor,
        record: Mapping[str, Any],
    ) -> None:
        """Write `metrics.json`, `per_image.csv`, `curves.csv`, `confusion.csv`, and the pictures.

        Args:
            folder: created if it does not exist; earlier files of the same names are replaced.
            scores: of the whole data set.
            predictor: the model; it predicts the images of the pictures again.
            record: what the scores depend on, as plain data: the model, the config, versions.
        """
        content = {**self._summary(scores), **record}
        write_text(folder / "metrics.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        ranked = self.ranked()
        rows = [{"image": self._name(image), **image.values} for image in ranked]
        write_csv(folder / "per_image.csv", ["image", *self.columns()], rows)
        if scores.saliency:
            write_curves(folder, scores.saliency)
        if not scores.multilabel:  # overlapping labels are not confused with each other
            self._write_confusion(folder, scores.segmentation.confusion)
        by = "MAE" if scores.saliency else "mIoU"
        for file, chosen in (("worst.jpg", ranked[:EXAMPLES]), ("best.jpg", ranked[::-1][:EXAMPLES])):
            titles = {image.index: f"{self._name(image)}   {by} {abs(image.rank_by):.4f}" for image in chosen}
            draw_examples(folder / file, self.dataset, predictor, titles, self.class_names)

    def _write_confusion(self, folder: Path, confusion: np.ndarray) -> None:
        """Write `confusion.csv` and its picture."""
        corner = "true class, by predicted class"
        lines = [
            {corner: name, **dict(zip(self.class_names, line.tolist(), strict=True))}
            for name, line in zip(self.class_names, confusion, strict=True)
        ]
        write_csv(folder / "confusion.csv", [corner, *self.class_names], lines)
        draw_confusion(folder / "confusion.png", confusion, self.class_names)

    def _name(self, image: ImageScores) -> str:
        return str(self.dataset.spec.pairs[image.index].image)

    def _summary(self, scores: Scores) -> dict[str, Any]:
        """The scores of the whole data set as plain data; NaN, which JSON lacks, becomes null."""
        means = {
            name: finite_mean([image.values.get(name, math.nan) for image in self.images])
            for name in self.columns()
        }
        pooled = {
            name: dict(zip(self.class_names, np.asarray(value).tolist(), strict=True))
            if np.ndim(value)
            else or_none(float(value))
            for name, value in scores.compute().items()
        }
        occurrences = dict(zip(self.class_names, scores.segmentation.occurrences.tolist(), strict=True))
        return {
            "images": scores.segmentation.images,
            "scores": pooled,
            "mean_over_images": means,
            "images_with_class": occurrences,
            "classes_in_truth": scores.in_truth,
            "classes_that_never_occur": [name for name, count in occurrences.items() if not count],
            "mIoU_of_occurring_classes": or_none(scores.mean_iou_of_occurring()),
            "rules": {**RULES, "classes_that_never_occur": scores.settings.absent_classes.description},
            "map_protocol": scores.map_protocol.value if scores.saliency else None,
            "measure_stretch": scores.settings.measure_stretch.value if scores.saliency else None,
        }


def or_none(value: float) -> float | None:
    """None for NaN, which JSON cannot hold."""
    return None if math.isnan(value) else value


def finite_mean(values: Sequence[float]) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    finite = [value for value in values if not math.isnan(value)]
    return math.fsum(finite) / len(finite) if finite else None
