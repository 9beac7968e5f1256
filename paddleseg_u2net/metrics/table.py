"""All measures of saliency maps in two tables, and the accumulator that takes what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.metrics.boundary import boundary_iou, relaxed_boundary_f
from paddleseg_u2net.metrics.pair import Pair
from paddleseg_u2net.metrics.saliency import curves_of_levels, f_measure, precision_recall
from paddleseg_u2net.metrics.segmentation import area_scores
from paddleseg_u2net.metrics.structure import s_measure
from paddleseg_u2net.metrics.sums import ExactSum
from paddleseg_u2net.metrics.thresholds import adaptive_e, adaptive_f, e_curve, precision_recall_f
from paddleseg_u2net.metrics.weighted import weighted_f


def mean_error(pair: Pair) -> float:
    """Mean absolute error of one map.

    Source: Perazzi et al. 2012; `MAE.cal_mae`, py_sod_metrics/sod_metrics.py of PySODMetrics 1.6.2.
    """
    values, (background, foreground) = pair.values
    return float(background @ values + foreground @ (1 - values)) / pair.mask.size


def author_curves(pair: Pair) -> np.ndarray:
    """Precision and recall as the U²-Net author takes them; see `precision_recall`."""
    saliency, mask = pair.author
    if saliency.dtype == mask.dtype == np.uint8 and mask.max() == 255:  # his foreground is that of the others
        return curves_of_levels(pair.values[1], saliency.max())
    return precision_recall(saliency, mask)


def max_author_f(curves: np.ndarray) -> float:
    """Largest F of the author's mean precision and mean recall."""
    return float(f_measure(*curves).max())


def mean_author_f(curves: np.ndarray) -> float:
    """Mean over thresholds of F of the author's mean precision and mean recall."""
    return float(f_measure(*curves).mean())


def areas(pair: Pair, threshold: float = 0.5) -> np.ndarray:
    """(3, 2): pixels of background and of object in both, in the map, in the mask; see `area_scores`."""
    found = pair.saliency >= threshold
    size, both = found.size, np.count_nonzero(found & pair.mask)
    objects = np.array([both, np.count_nonzero(found), pair.foreground])
    background = size - objects
    background[0] = size - objects[1] - objects[2] + both
    return np.stack([background, objects], axis=1)


def area_score(name: str, mean_areas: np.ndarray) -> float:
    """One of `area_scores`, which a mean of areas leaves as it is."""
    return float(area_scores(mean_areas)[name])


def highest(curves: np.ndarray) -> float:
    """Maximum over thresholds of a curve, or of the last one."""
    return float(np.atleast_2d(curves)[-1].max())


def middle(curves: np.ndarray) -> float:
    """Mean over thresholds of a curve, or of the last one."""
    return float(np.atleast_2d(curves)[-1].mean())


class Measure(NamedTuple):
    """A row of the table.

    Attributes:
        of: makes of one image what is averaged over the images; rows with one `of` share its work.
        score: makes the measure of that average.
        cost: milliseconds of `of` for a megapixel on one core, besides the 8 that the `Pair` and its counts
            cost once for all; of 8-bit maps, by `tools/benchmarks/measures.py`.
        larger_is_better: or smaller.
        spatial: hangs on where pixels are, so none can be left out.
        also: its name in logs and, where people like, in configs.
    """

    of: Callable[[Pair], np.ndarray | float]
    score: Callable[[np.ndarray], float]
    cost: float
    larger_is_better: bool = True
    spatial: bool = False
    also: str = ""


MEASURES = {
    "mae": Measure(mean_error, float, 0, larger_is_better=False, also="MAE"),
    "max_f": Measure(author_curves, max_author_f, 0.2, also="maxF"),
    "mean_f": Measure(author_curves, mean_author_f, 0.2),
    "max_f_per_image": Measure(precision_recall_f, highest, 0),
    "mean_f_per_image": Measure(precision_recall_f, middle, 0),
    "adaptive_f": Measure(adaptive_f, float, 0),
    "weighted_f": Measure(weighted_f, float, 35, spatial=True),
    "s_measure": Measure(s_measure, float, 9, spatial=True),
    "max_e": Measure(e_curve, highest, 0.1),
    "mean_e": Measure(e_curve, middle, 0.1),
    "adaptive_e": Measure(adaptive_e, float, 0.1),
    "relax_boundary_f": Measure(relaxed_boundary_f, float, 5, spatial=True),
    "boundary_iou": Measure(boundary_iou, float, 5, spatial=True),
}
AREA_MEASURES = {  # of maps split at a half, over the whole set
    name: Measure(areas, partial(area_score, name), 1) for name in ("mIoU", "Acc", "Kappa", "Dice")
}


class MapMeasures:
    """Measures of saliency maps over a data set, in memory that does not grow with it.

    The order of images and their division into parts change no bit of a score.

    Args:
        names: rows of the tables to measure.
        minmax: stretch each map to [0, 1] first (not for `max_f` and `mean_f`), as PySODMetrics does.
        author_minmax: stretch it for `max_f` and `mean_f`: u2net_test.py:25@ac7e1c8 does so when it saves a
            map, the author's evaluator itself only divides by the maximum.
        measures: the table; give another to change a choice, such as
            `MEASURES | {"s_measure": Measure(partial(s_measure, alpha=0.7), float, 9)}`.

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
        minmax: bool = True,
        author_minmax: bool = False,
        measures: Mapping[str, Measure] = MEASURES | AREA_MEASURES,
    ):
        names = list(names)
        if unknown := [name for name in names if name not in measures]:
            raise ValueError(
                f"No such measures: {', '.join(unknown)}. Fix: choose from {', '.join(measures)}"
            )
        self.minmax, self.author_minmax = minmax, author_minmax
        self.measures = {name: measures[name] for name in names}
        self.sums = {row.of: ExactSum() for row in self.measures.values()}
        self.images = self.empty_masks = 0
        self.rows: dict[str, dict[str, float]] = {}  # by the images' names, where they are given

    def update(self, saliency: np.ndarray, mask: np.ndarray, name: str | None = None) -> None:
        """Add one image.

        Args:
            saliency: (H, W); uint8, or float in [0, 1].
            mask: (H, W); bool, uint8, or float in [0, 1]; see `Pair`.
            name: keep this image's own scores as `rows[name]`.
        """
        pair = Pair(saliency, mask, self.minmax, self.author_minmax)
        made = {of: of(pair) for of in self.sums}
        if name is not None:
            self._keep(name, {own: row.score(np.asarray(made[row.of])) for own, row in self.measures.items()})
        for of, value in made.items():
            self.sums[of].add(value)
        self.images += 1
        self.empty_masks += not pair.foreground

    def merge(self, other: MapMeasures) -> None:
        """Add what another accumulator of the same measures has seen."""
        for of, total in self.sums.items():
            total.merge(other.sums[of])
        for name, row in other.rows.items():
            self._keep(name, row)
        self.images += other.images
        self.empty_masks += other.empty_masks

    def _keep(self, name: str, row: dict[str, float]) -> None:
        if name in self.rows:
            raise ValueError(f"{name}: measured already. Fix: give each image a name of its own")
        self.rows[name] = row

    def compute(self) -> dict[str, float]:
        """`images`, and each measure by its name; NaN where there was no image."""
        scores = {
            name: row.score(self.sums[row.of].mean(self.images)) if self.images else float("nan")
            for name, row in self.measures.items()
        }
        return {"images": self.images, **scores}

    def curves(self) -> dict[str, np.ndarray]:
        """Means over the images at thresholds from high to low, as far as they were measured.

        Returns:
            `author_precision`, `author_recall`, `author_f`: (255,), the last made of the other two;
            `precision`, `recall`, `f`, `e`: (256,), each a mean of the images' own curves.
        """
        means = {of: total.mean(self.images) for of, total in self.sums.items() if self.images}
        if author_curves in means:
            means[author_curves] = np.stack([*means[author_curves], f_measure(*means[author_curves])])
        names = {
            author_curves: ("author_precision", "author_recall", "author_f"),
            precision_recall_f: ("precision", "recall", "f"),
            e_curve: ("e",),
        }
        return {
            name: curve
            for of, own in names.items()
            if of in means
            for name, curve in zip(own, np.atleast_2d(means[of]), strict=True)
        }
