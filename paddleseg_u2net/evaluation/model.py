"""Evaluation of a model on a data set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.config.loader import class_count
from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import ConfigError, counted
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import TwoPassPredictor
from paddleseg_u2net.metrics.multilabel import LabelMeasures, LabelRoc
from paddleseg_u2net.metrics.protocol import AbsentClasses, MapProtocol, MeasureStretch
from paddleseg_u2net.metrics.segmentation import RocMeasure, SegmentationMeasures
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES, MapMeasures

Loaded = tuple[str, list[tuple[np.ndarray, np.ndarray]]]  # place of the first image; images and masks

# names of the measures of saliency maps in logs
LOG_NAMES: dict[str, str] = {name: row.alias or name for name, row in MEASURES.items()}
LOWER_IS_BETTER = {LOG_NAMES[name] for name, row in MEASURES.items() if not row.larger_is_better}


@dataclass(frozen=True)
class EvaluationSettings:
    """Which measures an evaluation computes, and how.

    Args:
        names: measures of saliency maps, by their names in `MEASURES`; class measures are always computed.
        measure_stretch: which measures stretch each map to [0, 1] first.
        auc_roc: also compute the area under the ROC curve.
        absent_classes: whether classes in no mask and no prediction count in mIoU and Dice.
    """

    names: tuple[str, ...] = ("mae", "max_f")
    measure_stretch: MeasureStretch = MeasureStretch.REFERENCE
    auc_roc: bool = False
    absent_classes: AbsentClasses = AbsentClasses.SKIP

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        metric: str | None = None,
        auc_roc: bool = False,
        absent_classes: str | None = None,
    ) -> EvaluationSettings:
        """The settings of a config: the default measures, its `metrics`, and `metric`.

        Args:
            config: with `metrics` and `test_config`, both optional.
            metric: the measure that chooses the best model.
            auc_roc: also compute the area under the ROC curve, even if `test_config` does not ask for it.
            absent_classes: value of AbsentClasses that takes precedence over that of `test_config`.

        Raises:
            ConfigError: the measures are for saliency maps, and the model predicts classes.
        """
        test, wanted = config.get("test_config", {}), config.get("metrics", [])
        wanted = {*(MEASURES if wanted == "all" else wanted), metric or ""}
        names = tuple(name for name, alias in LOG_NAMES.items() if {name, alias} & wanted)
        if (classes := class_count(config)) > 1 and names:
            raise ConfigError(
                f"metric, metrics: {', '.join(names)}: for saliency maps (num_classes: 1) only, and this "
                f"model predicts {counted(classes, 'class', 'classes')}. Fix: {', '.join(AREA_MEASURES)}"
            )
        names = tuple(name for name in MEASURES if name in (*cls.names, *names))
        absent = AbsentClasses(absent_classes or test.get("absent_classes", AbsentClasses.SKIP.value))
        stretch = MeasureStretch.from_options(test)
        return cls(names, stretch, auc_roc or test.get("auc_roc", False), absent)

    def check(self, dataset: DatasetSpec) -> None:
        """Raise ConfigError if a measure depends on pixel positions and the data set has ignored pixels."""
        spatial = [name for name in self.names if MEASURES[name].spatial]
        if dataset.num_classes == 1 and dataset.ignore_index is not None and spatial:
            raise ConfigError(
                f"metrics: {', '.join(spatial)}: for whole masks only, and {dataset.name} has ignored pixels "
                f"(ignore_index: {dataset.ignore_index}). Fix: other metrics, or ignore_index: null"
            )


class Scores:
    """All accumulators of one evaluation.

    Args:
        num_classes: 1 for saliency; its maps are also measured as two classes, thresholded at 0.5.
        settings: which measures are computed, and how.
        map_protocol: how the predictor post-processes its maps; named beside the scores.
        multilabel: the classes are labels that overlap; see `metrics.multilabel`.
    """

    def __init__(
        self,
        num_classes: int,
        settings: EvaluationSettings = EvaluationSettings(),
        map_protocol: MapProtocol = MapProtocol.PLAIN,
        multilabel: bool = False,
    ):
        self.num_classes, self.settings, self.map_protocol = num_classes, settings, map_protocol
        self.multilabel = multilabel
        count = max(num_classes, 2)
        measures, roc = (LabelMeasures, LabelRoc) if multilabel else (SegmentationMeasures, RocMeasure)
        self.segmentation: SegmentationMeasures = measures(count, IGNORE, settings.absent_classes)
        stretch = settings.measure_stretch
        self.saliency = MapMeasures(settings.names, measure_stretch=stretch) if num_classes == 1 else None
        self.roc = roc(num_classes, IGNORE) if settings.auc_roc else None

    def _parts(self) -> list[Any]:
        return [part for part in (self.segmentation, self.saliency, self.roc) if part]

    def score_image(self, prediction: Prediction, mask: np.ndarray) -> Scores:
        """The scores of one image alone, with the settings of this object, which does not change.

        Args:
            prediction: at the size of the image, (H, W).
            mask: (H, W) as returned by `Dataset.load`.
        """
        own, ids = Scores(self.num_classes, self.settings, self.map_protocol, self.multilabel), mask
        if own.saliency:
            saliency, valid = prediction.saliency, mask != IGNORE
            if self.map_protocol is MapProtocol.OFFICIAL:  # back to exactly the 8 bits that they have
                saliency = np.rint(saliency * 255).astype(np.uint8)
            ids = np.where(valid, mask >= 0.5, IGNORE).astype(np.uint8)
            if valid.all():
                own.saliency.update(saliency, mask)
            elif valid.any():  # no measure depends on pixel positions here: see `EvaluationSettings.check`
                own.saliency.update(saliency[valid][None], mask[valid][None])
        own.segmentation.update(prediction.labels if self.multilabel else prediction.classes, ids)
        if own.roc:
            own.roc.update(prediction.probabilities, ids)
        return own

    def merge(self, other: Scores) -> None:
        """Add the images of another thread or process."""
        for own, theirs in zip(self._parts(), other._parts(), strict=True):
            own.merge(theirs)

    def compute(self) -> dict[str, Any]:
        """All scores, by their names in logs."""
        found = {name: value for part in self._parts() for name, value in part.compute().items()}
        return {str(LOG_NAMES.get(name, name)): value for name, value in found.items() if name != "images"}

    def report(self) -> list[str]:
        """The lines that PaddleSeg prints, and for saliency one with its measures and their protocol."""
        scores = self.compute()
        line = "[EVAL] #Images: {} mIoU: {mIoU:.4f} Acc: {Acc:.4f} Kappa: {Kappa:.4f} Dice: {Dice:.4f}"
        lines = [line.format(self.segmentation.images, **scores)]
        if self.roc:
            lines[0] += f" Auc_roc: {scores['Auc_roc']:.4f}"
        if self.saliency:
            names = [LOG_NAMES[name] for name in self.settings.names]
            values = " ".join(f"{name}: {scores[name]:.4f}" for name in names)
            lines.append(f"[EVAL] {values} ({self._conditions(self.saliency)})")
        if self.num_classes > 1 or self.absent:
            lines.append(f"[EVAL] {self._counted_classes()}")
        for name in ("IoU", "Precision", "Recall"):
            values = np.array2string(self._or_nan(scores[f"class_{name}"]), precision=4, suppress_small=True)
            lines.append(f"[EVAL] Class {name}: \n{values}")
        return lines

    @property
    def absent(self) -> list[int]:
        """The classes in no mask and no prediction; empty if there is no image."""
        if not self.segmentation.images:
            return []
        return np.flatnonzero(self.segmentation.occurrences == 0).tolist()

    @property
    def in_truth(self) -> int:
        """The number of classes that occur in the masks."""
        return int((self.segmentation.areas[2] > 0).sum())

    def _or_nan(self, values: np.ndarray) -> np.ndarray:
        """The scores of classes, NaN for those that do not count."""
        left_out = self.absent if self.settings.absent_classes is AbsentClasses.SKIP else []
        return np.where(np.isin(np.arange(len(values)), left_out), np.nan, values)

    def _counted_classes(self) -> str:
        """How many classes occur, and whether the others count."""
        number, absent = self.segmentation.num_classes, self.absent
        predicted = number - len(absent) - self.in_truth
        text = (
            f"{self.in_truth} of {number} classes {'occurs' if self.in_truth == 1 else 'occur'} in the truth"
        )
        if predicted > 0:
            text += f", {predicted} in predictions only, with an IoU of 0"
        if absent:
            rule = self.settings.absent_classes.description
            text += f"; in neither, and {rule}: {', '.join(map(str, absent))}"
        return text

    def report_over_images(self) -> list[str]:
        """Lines for Dice, and the means over images of each class."""
        means = self.segmentation.means_over_images()
        rows = {
            "Dice": self._or_nan(np.asarray(self.segmentation.compute()["class_Dice"])),
            "IoU (mean over images)": means["class_IoU"],
            "Dice (mean over images)": means["class_Dice"],
        }
        shown = {name: np.array2string(row, precision=4, suppress_small=True) for name, row in rows.items()}
        return [f"[EVAL] Class {name}: \n{text}" for name, text in shown.items()]

    def mean_iou_of_occurring(self) -> float:
        """`mIoU` without the classes that are in no mask and no prediction; NaN if there are no others."""
        found = np.asarray(self.segmentation.compute()["class_IoU"])[self.segmentation.occurrences > 0]
        return float(found.mean()) if found.size else float("nan")

    def _conditions(self, saliency: MapMeasures) -> str:
        """How saliency maps were processed and stretched, and how many images were left out."""
        text = f"{self.map_protocol.description}, {self.settings.measure_stretch.description}"
        left_out = self.segmentation.images - saliency.images
        return text + (
            f"; without {counted(left_out, 'image')} in which every pixel is ignored" if left_out else ""
        )


def evaluate(
    predictor: Predictor | TwoPassPredictor,
    dataset: Dataset,
    settings: EvaluationSettings = EvaluationSettings(),
    *,
    batch_size: int = 1,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    on_image: Callable[[int, Scores], None] | None = None,
) -> Scores:
    """Measure a model on an inspected data set, at the original sizes of the images.

    Args:
        predictor: the model.
        dataset: images and masks.
        settings: which measures are computed, and how.
        batch_size: number of images predicted at once if their network inputs have the same size.
        workers: threads that read, measure and, if `predictor.parallel` is above 1, predict; 0 means one per
            core.
        shard: (rank, number of ranks); of n ranks each measures every n-th image.
        on_image: called with the index and the scores of each image, in the order of the data set.

    Returns:
        The scores of the images of this rank.

    Raises:
        ConfigError: a measure depends on pixel positions, and the data set has ignored pixels.
    """
    settings.check(dataset.spec)
    scores = Scores(predictor.num_classes, settings, predictor.map_protocol, predictor.multilabel)
    rank, ranks = shard
    indices = range(rank, len(dataset), ranks)
    chunks = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]

    def load(chunk: Sequence[int]) -> Loaded:
        return dataset.spec.pairs[chunk[0]].image_place, [dataset.load(index) for index in chunk]

    def measure(pairs: list[tuple[Prediction, np.ndarray]]) -> list[Scores]:
        return [scores.score_image(prediction, mask) for prediction, mask in pairs]

    with (
        ThreadPoolExecutor(max(workers or processors(), predictor.parallel)) as pool,
        tqdm(total=len(indices), desc="evaluate", disable=None, delay=1, leave=False) as bar,
    ):
        loaded = _ahead(pool, load, chunks)
        # a network in training may only be called by the thread that trains it
        predict = partial(_predict, predictor)
        predicted = _ahead(pool, predict, loaded) if predictor.parallel > 1 else map(predict, loaded)
        for chunk, parts in zip(chunks, _ahead(pool, measure, predicted), strict=True):
            for index, part in zip(chunk, parts, strict=True):
                scores.merge(part)
                if on_image:
                    on_image(index, part)
            bar.update(len(parts))
    return scores


def _predict(predictor: Predictor | TwoPassPredictor, loaded: Loaded) -> list[tuple[Prediction, np.ndarray]]:
    """Predict some images; returns the predictions and their masks."""
    first, pairs = loaded
    images, masks = zip(*pairs, strict=True)
    try:
        return list(zip(predictor.predict(images), masks, strict=True))
    except (ValueError, MemoryError) as error:
        place = first if len(pairs) == 1 else f"a batch of {len(pairs)} images, first {first}"
        raise ValueError(f"{place}: {reason(error)}") from error


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable, depth: int = 4) -> Iterator:
    """`map` in a thread pool that works at most `depth` items ahead, which bounds memory."""
    futures: deque[Future] = deque()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def is_better(metric: str, score: float, best: float | None) -> bool:
    """Whether a score is better than the best so far."""
    return best is None or (score < best if metric in LOWER_IS_BETTER else score > best)
