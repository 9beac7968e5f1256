"""A data set -> predictions -> scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.config.loader import class_count
from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.inference.predictor import MAPS, Prediction, Predictor
from paddleseg_u2net.metrics.segmentation import RocMeasure, SegmentationMeasures
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES, MapMeasures, author_curves

# as logs call the measures of maps
LOGGED: dict[str, str] = {name: row.also or name for name, row in MEASURES.items()}
LOWER_IS_BETTER = {LOGGED[name] for name, row in MEASURES.items() if not row.larger_is_better}
NOT_STRETCHED = [name for name, row in MEASURES.items() if row.of is author_curves]


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how.

    Args:
        names: measures of saliency maps, by their names in `MEASURES`; those of class maps are always taken.
        as_is: measure maps as they are; otherwise each is stretched to [0, 1] for all but `max_f` and
            `mean_f`, as PySODMetrics does.
        auc_roc: measure the area under the ROC curve too.
    """

    names: tuple[str, ...] = ("mae", "max_f")
    as_is: bool = False
    auc_roc: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], metric: str | None = None, auc_roc: bool = False) -> Protocol:
        """That of a config: its `metrics`, and what its best model is chosen by.

        Raises:
            ConfigError: measures of maps, and the model predicts classes.
        """
        test, wanted = config.get("test_config", {}), config.get("metrics", [])
        wanted = {*(MEASURES if wanted == "all" else wanted), metric or ""}
        names = tuple(name for name, logged in LOGGED.items() if {name, logged} & wanted)
        if class_count(config) > 1 and names:
            raise ConfigError(
                f"metric, metrics: {', '.join(names)}: of saliency maps (num_classes: 1). "
                f"Fix: {', '.join(AREA_MEASURES)}"
            )
        names = tuple(name for name in MEASURES if name in (*cls.names, *names))
        return cls(names, test.get("as_is", False), auc_roc or test.get("auc_roc", False))

    def check(self, dataset: DatasetSpec) -> None:
        """Raise ConfigError where a data set cannot be measured so."""
        spatial = [name for name in self.names if MEASURES[name].spatial]
        if dataset.num_classes == 1 and dataset.ignore_index is not None and spatial:
            raise ConfigError(
                f"metrics: {', '.join(spatial)}: of whole masks only, and {dataset.name} leaves pixels out "
                f"(ignore_index: {dataset.ignore_index}). Fix: other metrics, or ignore_index: null"
            )


class Scores:
    """All accumulators of one evaluation.

    Args:
        num_classes: 1 for saliency, which is measured as two classes too, split at 0.5.
        protocol: what is measured.
        maps: how the predictor gives its maps, a key of `MAPS`; named beside the scores.
    """

    def __init__(self, num_classes: int, protocol: Protocol = Protocol(), maps: str = "plain"):
        self.num_classes, self.protocol, self.maps = num_classes, protocol, maps
        self.segmentation = SegmentationMeasures(max(num_classes, 2), IGNORE)
        single = num_classes == 1
        self.saliency = MapMeasures(protocol.names, minmax=not protocol.as_is) if single else None
        self.roc = RocMeasure(num_classes, IGNORE) if protocol.auc_roc else None

    def _parts(self) -> list[Any]:
        return [part for part in (self.segmentation, self.saliency, self.roc) if part]

    def of(self, prediction: Prediction, mask: np.ndarray) -> Scores:
        """Scores of the same kind, of one image alone.

        Args:
            prediction: of size (H, W).
            mask: (H, W) as `Dataset.load` gives it.
        """
        own, ids = Scores(self.num_classes, self.protocol, self.maps), mask
        if own.saliency:
            saliency, counts = prediction.saliency, mask != IGNORE
            if self.maps == "official":  # exactly the 8 bits they have
                saliency = np.rint(saliency * 255).astype(np.uint8)
            ids = np.where(counts, mask >= 0.5, IGNORE).astype(np.uint8)
            if counts.all():
                own.saliency.update(saliency, mask)
            elif counts.any():  # measures that hang on places are none of these: `Protocol.check`
                own.saliency.update(saliency[counts][None], mask[counts][None])
        own.segmentation.update(prediction.classes, ids)
        if own.roc:
            own.roc.update(prediction.probabilities, ids)
        return own

    def merge(self, other: Scores) -> None:
        """Add what another thread or process has measured."""
        for own, theirs in zip(self._parts(), other._parts(), strict=True):
            own.merge(theirs)

    def compute(self) -> dict[str, Any]:
        """All scores, by their names in logs."""
        found = {name: value for part in self._parts() for name, value in part.compute().items()}
        return {str(LOGGED.get(name, name)): value for name, value in found.items() if name != "images"}

    def report(self) -> list[str]:
        """The lines PaddleSeg prints, and one for saliency that names its protocol."""
        scores = self.compute()
        line = "[EVAL] #Images: {} mIoU: {mIoU:.4f} Acc: {Acc:.4f} Kappa: {Kappa:.4f} Dice: {Dice:.4f}"
        lines = [line.format(self.segmentation.images, **scores)]
        if self.roc:
            lines[0] += f" Auc_roc: {scores['Auc_roc']:.4f}"
        if self.saliency:
            values = " ".join(f"{LOGGED[name]}: {scores[LOGGED[name]]:.4f}" for name in self.protocol.names)
            lines.append(f"[EVAL] {values} ({self._how()})")
        for name in ("IoU", "Precision", "Recall"):
            values = np.array2string(scores[f"class_{name}"], precision=4, suppress_small=True)
            lines.append(f"[EVAL] Class {name}: \n{values}")
        return lines

    def _how(self) -> str:
        """What the numbers of maps hang on."""
        assert self.saliency is not None
        kept = ", ".join(LOGGED[name] for name in self.protocol.names if name in NOT_STRETCHED)
        stretched = f"each stretched{f' for all but {kept}' if kept else ''}"
        how = f"{MAPS[self.maps]}, {'measured as they are' if self.protocol.as_is else stretched}"
        without = self.segmentation.images - self.saliency.images
        return how + (f"; without {without} images that have no pixel to count" if without else "")


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    protocol: Protocol = Protocol(),
    *,
    batch_size: int = 1,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
) -> Scores:
    """Measure a model on an inspected data set, at the images' own sizes.

    Args:
        predictor: the model.
        dataset: images and masks.
        protocol: what is measured.
        batch_size: images predicted at once where their inputs have one size.
        workers: threads that read, measure and, where the predictor says so, predict; 0 for one a core.
        shard: (rank, number of ranks); each takes every n-th image.

    Raises:
        ConfigError: the data cannot be measured so.
    """
    protocol.check(dataset.spec)
    scores = Scores(predictor.num_classes, protocol, predictor.maps)
    indices = range(*shard[:1], len(dataset), shard[1])
    chunks = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]

    def load(chunk: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [dataset.load(index) for index in chunk]

    def predict(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[Prediction, np.ndarray]]:
        images, masks = zip(*pairs, strict=True)
        return list(zip(predictor.predict(images), masks, strict=True))

    def measure(pairs: list[tuple[Prediction, np.ndarray]]) -> list[Scores]:
        return [scores.of(*pair) for pair in pairs]

    with (
        ThreadPoolExecutor(max(workers or processors(), predictor.parallel)) as pool,
        tqdm(total=len(indices), desc="evaluate", disable=None, delay=1, leave=False) as bar,
    ):
        loaded = _ahead(pool, load, chunks)
        # a network in training is Paddle's, of the thread that trains it
        predicted = _ahead(pool, predict, loaded) if predictor.parallel > 1 else map(predict, loaded)
        for parts in _ahead(pool, measure, predicted):
            for part in parts:
                scores.merge(part)
            bar.update(len(parts))
    return scores


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable, depth: int = 4) -> Iterator:
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
