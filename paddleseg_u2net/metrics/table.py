"""The two tables of measures of saliency maps, and the accumulator that computes a choice of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.metrics.boundary import boundary_iou, relaxed_boundary_f
from paddleseg_u2net.metrics.map_and_mask import MapAndMask
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.saliency import curves_of_levels, f_measure, precision_recall
from paddleseg_u2net.metrics.segmentation import area_scores
from paddleseg_u2net.metrics.structure import s_measure
from paddleseg_u2net.metrics.sums import ExactSum
from paddleseg_u2net.metrics.thresholds import adaptive_e, adaptive_f, e_curve, precision_recall_f
from paddleseg_u2net.metrics.weighted import weighted_f


def mean_error(item: MapAndMask) -> float:
    """Mean absolute error of one map.

    Source: Perazzi et al. 2012; `MAE.cal_mae`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    values, (background, foreground) = item.values
    return float(background @ values + foreground @ (1 - values)) / item.mask.size


def author_curves(item: MapAndMask) -> np.ndarray:
    """(2, 255): precision and recall as the author of U²-Net computes them; see `precision_recall`."""
    saliency, mask = item.for_author
    if saliency.dtype == mask.dtype == np.uint8 and mask.max() == 255:  # same foreground as `item.mask`
        return curves_of_levels(item.values[1], saliency.max())
    return precision_recall(saliency, mask)


def max_author_f(curves: np.ndarray) -> float:
    """Largest F-measure of the mean curves of `author_curves`."""
    return float(f_measure(*curves).max())


def mean_author_f(curves: np.ndarray) -> float:
    """Mean F-measure over the thresholds of the mean curves of `author_curves`."""
    return float(f_measure(*curves).mean())


def areas(item: MapAndMask, threshold: float = 0.5) -> np.ndarray:
    """(3, 2): background and object pixels of intersection, map and mask; see `area_scores`."""
    found = item.saliency >= threshold
    size, both = found.size, np.count_nonzero(found & item.mask)
    objects = np.array([both, np.count_nonzero(found), item.foreground])
    background = size - objects
    background[0] = size - objects[1] - objects[2] + both
    return np.stack([background, objects], axis=1)


def area_score(name: str, mean_areas: np.ndarray) -> float:
    """One of `area_scores`; the mean areas over images give the same scores as their sums."""
    return float(area_scores(mean_areas)[name])


def max_over_thresholds(curves: np.ndarray) -> float:
    """Maximum over thresholds of one curve, or of the last of several."""
    return float(np.atleast_2d(curves)[-1].max())


def mean_over_thresholds(curves: np.ndarray) -> float:
    """Mean over thresholds of one curve, or of the last of several."""
    return float(np.atleast_2d(curves)[-1].mean())


class Measure(NamedTuple):
    """A row of the tables.

    Attributes:
        per_image: computes from one image what is averaged over the images; rows with the same function
            share its result.
        score: computes the score from that average.
        cost: milliseconds of `per_image` for an 8-bit map of 1024 x 1024 on one core, beyond the 8 for the
            `MapAndMask` and its counts, which all measures share; measured by `tools/benchmarks/measures.py`.
        larger_is_better: whether a larger score is a better one.
        spatial: whether the score depends on pixel positions, so that no pixel can be ignored.
        alias: second name in configs; also the name in logs.
    """

    per_image: Callable[[MapAndMask], np.ndarray | float]
    score: Callable[[np.ndarray], float]
    cost: float
    larger_is_better: bool = True
    spatial: bool = False
    alias: str = ""


MEASURES = {
    "mae": Measure(mean_error, float, 0, larger_is_better=False, alias="MAE"),
    "max_f": Measure(author_curves, max_author_f, 0.2, alias="maxF"),
    "mean_f": Measure(author_curves, mean_author_f, 0.2),
    "max_f_per_image": Measure(precision_recall_f, max_over_thresholds, 0),
    "mean_f_per_image": Measure(precision_recall_f, mean_over_thresholds, 0),
    "adaptive_f": Measure(adaptive_f, float, 0),
    "weighted_f": Measure(weighted_f, float, 35, spatial=True),
    "s_measure": Measure(s_measure, float, 9, spatial=True),
    "max_e": Measure(e_curve, max_over_thresholds, 0.1),
    "mean_e": Measure(e_curve, mean_over_thresholds, 0.1),
    "adaptive_e": Measure(adaptive_e, float, 0.1),
    "relax_boundary_f": Measure(relaxed_boundary_f, float, 5, spatial=True),
    "boundary_iou": Measure(boundary_iou, float, 5, spatial=True),
}
AREA_MEASURES = {  # of maps thresholded at 0.5, over the whole data set
    name: Measure(areas, partial(area_score, name), 1) for name in ("mIoU", "Acc", "Kappa", "Dice")
}


class MapMeasures:
    """Accumulates measures of saliency maps over a data set; memory does not grow with the number of images.

    Scores do not depend, to the last bit, on the order of images or on how they are divided among
    accumulators that are merged.

    Args:
        names: rows of the tables to compute.
        measure_stretch: which measures stretch each map to [0, 1] first.
        measures: the table; pass a changed one to change a parameter of a measure, such as
            `MEASURES | {"s_measure": Measure(partial(s_measure, alpha=0.7), float, 9)}`.

    Attributes:
        images: number of images so far.
        empty_masks: number of masks without foreground.
        rows: scores of single images by image name, for images that were given a name.

    Raises:
        ValueError: a name is not in the table.

    Example:
        >>> measures = MapMeasures(["mae", "max_f"])
        >>> measures.update(np.array([[0.0, 0.5, 1.0]]), np.array([[0.0, 1.0, 1.0]]))
        >>> {name: round(score, 4) for name, score in measures.compute().items()}
        {'images': 1, 'mae': 0.1667, 'max_f': 1.0}
    """

    def __init__(
        self,
        names: Iterable[str] = tuple(MEASURES),
        *,
        measure_stretch: MeasureStretch = MeasureStretch.REFERENCE,
        measures: Mapping[str, Measure] = MEASURES | AREA_MEASURES,
    ):
        names = list(names)
        if unknown := [name for name in names if name not in measures]:
            raise ValueError(
                f"No such measures: {', '.join(unknown)}. Fix: choose from {', '.join(measures)}"
            )
        self.measure_stretch = measure_stretch
        self.measures = {name: measures[name] for name in names}
        self.sums = {row.per_image: ExactSum() for row in self.measures.values()}
        self.images = self.empty_masks = 0
        self.rows: dict[str, dict[str, float]] = {}

    def update(self, saliency: np.ndarray, mask: np.ndarray, name: str | None = None) -> None:
        """Add one image.

        Args:
            saliency: (H, W); uint8, or float in [0, 1].
            mask: (H, W); bool, uint8, or float in [0, 1]; see `MapAndMask`.
            name: name of the image; its own scores are then kept as `rows[name]`.

        Raises:
            ValueError: shapes, types or values that cannot be measured, or a name that was used before.
        """
        item = MapAndMask(saliency, mask, self.measure_stretch)
        results = {function: function(item) for function in self.sums}
        if name is not None:
            scores = {
                measure: row.score(np.asarray(results[row.per_image]))
                for measure, row in self.measures.items()
            }
            self._add_row(name, scores)
        for function, value in results.items():
            self.sums[function].add(value)
        self.images += 1
        self.empty_masks += not item.foreground

    def merge(self, other: MapMeasures) -> None:
        """Add the images of another accumulator of the same measures."""
        for function, total in self.sums.items():
            total.merge(other.sums[function])
        for name, row in other.rows.items():
            self._add_row(name, row)
        self.images += other.images
        self.empty_masks += other.empty_masks

    def _add_row(self, name: str, row: dict[str, float]) -> None:
        if name in self.rows:
            raise ValueError(f"{name}: measured twice. Fix: give each image a different name")
        self.rows[name] = row

    def compute(self) -> dict[str, float]:
        """`images`, and the score of each measure by name; NaN if there was no image."""
        scores = {
            name: row.score(self.sums[row.per_image].mean(self.images)) if self.images else float("nan")
            for name, row in self.measures.items()
        }
        return {"images": self.images, **scores}

    def curves(self) -> dict[str, np.ndarray]:
        """Mean curves over the images, at thresholds from high to low; those that the chosen measures need.

        Returns:
            `author_precision`, `author_recall`, `author_f`: (255,); the last is computed from the other two;
            `precision`, `recall`, `f`, `e`: (256,); each is the mean of the curves of the images.
        """
        means = {function: total.mean(self.images) for function, total in self.sums.items() if self.images}
        if author_curves in means:
            means[author_curves] = np.stack([*means[author_curves], f_measure(*means[author_curves])])
        names = {
            author_curves: ("author_precision", "author_recall", "author_f"),
            precision_recall_f: ("precision", "recall", "f"),
            e_curve: ("e",),
        }
        return {
            name: curve
            for function, own in names.items()
            if function in means
            for name, curve in zip(own, np.atleast_2d(means[function]), strict=True)
        }
