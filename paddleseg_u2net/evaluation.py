"""A data set -> predictions -> scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.dataset import Dataset
from paddleseg_u2net.masks import IGNORE
from paddleseg_u2net.metrics.saliency import SaliencyMeasures
from paddleseg_u2net.metrics.segmentation import RocMeasure, SegmentationMeasures
from paddleseg_u2net.metrics.table import MEASURES
from paddleseg_u2net.prediction import Prediction, Predictor

LOWER_IS_BETTER = {
    spelling for name, row in MEASURES.items() if not row.larger_is_better for spelling in (name, row.also)
}


class Scores:
    """All accumulators of one evaluation.

    Args:
        num_classes: 1 for saliency, which is measured as two classes too, split at 0.5.
        minmax: stretch saliency maps before MAE and maxF, as the paper's protocol does.
        auc_roc: measure the area under the ROC curve too.
    """

    def __init__(self, num_classes: int, minmax: bool = False, auc_roc: bool = False):
        self.minmax = minmax
        self.segmentation = SegmentationMeasures(max(num_classes, 2), IGNORE)
        self.saliency = SaliencyMeasures(minmax) if num_classes == 1 else None
        self.roc = RocMeasure(num_classes, IGNORE) if auc_roc else None

    def _parts(self) -> list[Any]:
        return [part for part in (self.segmentation, self.saliency, self.roc) if part]

    def update(self, prediction: Prediction, mask: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: of size (H, W).
            mask: (H, W) as `Dataset.load` gives it.
        """
        ids = mask
        if self.saliency:
            counts = mask != IGNORE
            ids = np.where(counts, mask >= 0.5, IGNORE).astype(np.uint8)
            if counts.any():
                self.saliency.update(prediction.saliency[counts], mask[counts])
        self.segmentation.update(prediction.classes, ids)
        if self.roc:
            self.roc.update(prediction.probabilities, ids)

    def merge(self, other: Scores) -> None:
        """Add what another process has measured."""
        for own, theirs in zip(self._parts(), other._parts(), strict=True):
            own.merge(theirs)

    def compute(self) -> dict[str, Any]:
        """All scores by name."""
        return {name: value for part in self._parts() for name, value in part.compute().items()}

    def report(self) -> list[str]:
        """The lines PaddleSeg prints, and one for saliency that names its protocol."""
        scores = self.compute()
        line = "[EVAL] #Images: {} mIoU: {mIoU:.4f} Acc: {Acc:.4f} Kappa: {Kappa:.4f} Dice: {Dice:.4f}"
        lines = [line.format(self.segmentation.images, **scores)]
        if self.roc:
            lines[0] += f" Auc_roc: {scores['Auc_roc']:.4f}"
        if self.saliency:
            stretched = "each map min-max stretched" if self.minmax else "maps as predicted"
            lines.append("[EVAL] MAE: {MAE:.4f} maxF: {maxF:.4f} ({})".format(stretched, **scores))
        for name in ("IoU", "Precision", "Recall"):
            values = np.array2string(scores[f"class_{name}"], precision=4, suppress_small=True)
            lines.append(f"[EVAL] Class {name}: \n{values}")
        return lines


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    *,
    minmax: bool = False,
    auc_roc: bool = False,
    batch_size: int = 1,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Scores:
    """Measure a model on an inspected data set, at the images' own sizes.

    Args:
        predictor: the model.
        dataset: images and masks.
        minmax: see `Scores`.
        auc_roc: see `Scores`.
        batch_size: images predicted at once where their inputs have one size.
        workers: threads that read ahead.
        shard: (rank, number of ranks); each takes every n-th image.
    """
    scores = Scores(predictor.num_classes, minmax, auc_roc)
    indices = range(*shard[:1], len(dataset), shard[1])
    chunks = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]

    def load(chunk: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [dataset.load(index) for index in chunk]

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        loaded = _ahead(pool, load, chunks) if workers else map(load, chunks)
        with tqdm(total=len(indices), desc="evaluate", disable=None, delay=1, leave=False) as bar:
            for pairs in loaded:
                images, masks = zip(*pairs, strict=True)
                for prediction, mask in zip(predictor.predict(images), masks, strict=True):
                    scores.update(prediction, mask)
                bar.update(len(pairs))
    return scores


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: Sequence, depth: int = 4) -> Iterator:
    """`map` in a pool that runs at most `depth` items ahead, so that memory stays flat."""
    futures: deque[Future] = deque()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) > depth:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def better(metric: str, score: float, best: float | None) -> bool:
    """Whether a score beats the best so far."""
    return best is None or (score < best if metric in LOWER_IS_BETTER else score > best)
