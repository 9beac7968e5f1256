"""Evaluation during training: scores on the validation data, and the best model by them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import paddle

from paddleseg_u2net.config.loader import class_count, is_multilabel, preprocessing_of
from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.engines.base import Engine
from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.optional_imports import has
from paddleseg_u2net.evaluation.model import EvaluationSettings, Scores, evaluate, is_better
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.models.u2net import U2Net
from paddleseg_u2net.models.weight_files import state_of
from paddleseg_u2net.training.distributed import gather
from paddleseg_u2net.training.log import NAMES, TrainingLog
from paddleseg_u2net.training.previews import draw_preview, write_preview
from paddleseg_u2net.training.records import draw_run_curves
from paddleseg_u2net.training.saving import DIVERGED, PREVIEWS
from paddleseg_u2net.training.settings import TrainingSettings


class Validation:
    """Measures networks on the validation data and saves the best ones.

    Args:
        spec: validation data, before inspection.
        config: its validation transforms, metrics and test_config are used.
        settings: metric, batch size, workers and folder of the run.
        amp: arguments of `paddle.amp.auto_cast`.
        augmentation: test-time augmentation.
        rank: of this process; every process measures its share of the images, and the first one saves.

    Raises:
        ValueError: the data cannot be measured as the config says.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        config: Mapping[str, Any],
        settings: TrainingSettings,
        amp: Mapping[str, Any],
        augmentation: TestTimeAugmentation,
        rank: Rank,
    ):
        self.config, self.settings, self.rank = config, settings, rank
        self.amp, self.augmentation = amp, augmentation
        self.evaluation = EvaluationSettings.from_config(config, settings.metric)
        self.map_protocol = MapProtocol.from_options(config.get("test_config", {}))
        self.map_protocol.check_classes(class_count(config))
        preprocessing_of(config)  # raises where validation transforms cannot be undone
        self.evaluation.check(spec)

    def predictor(self, network: paddle.nn.Layer) -> Predictor:
        """Return a predictor of a network, with the settings of the evaluation."""
        return Predictor(
            evaluation_engine(network, self.amp, is_multilabel(self.config)),
            self.config,
            augmentation=self.augmentation,
            map_protocol=self.map_protocol,
        )

    def show(self, predictors: Mapping[str, Predictor], data: Dataset, step: int, log: TrainingLog) -> None:
        """Write the preview of an evaluation, and draw the curves again; the first process does so.

        Args:
            predictors: of `model`, and of `ema_model` if there is one.
            data: validation data.
            step: at which they were evaluated.
            log: gives the preview to the loggers.
        """
        if self.rank.index == 0:
            preview = draw_preview(data, {name: predictor.predict for name, predictor in predictors.items()})
            write_preview(self.settings.save_dir / PREVIEWS / f"iter_{step}.png", preview)
            log.picture(preview, step)
            draw_run_curves(self.settings.save_dir, self.settings.metric)

    def measure(self, predictor: Predictor, data: Dataset) -> Scores:
        """Return the scores of a network over the images of all processes."""
        share = evaluate(
            predictor,
            data,
            self.evaluation,
            batch_size=self.settings.batch_size,
            workers=self.settings.num_workers,
            shard=(self.rank.index, self.rank.count),
        )
        scores, *others = gather(share, self.rank.count)
        for other in others:
            scores.merge(other)
        return scores

    def keep_best(
        self,
        name: str,
        network: paddle.nn.Layer,
        predictor: Predictor,
        data: Dataset,
        progress: Progress,
        log: TrainingLog,
    ) -> bool:
        """Measure a network, and save it if it is the best so far.

        Args:
            name: `model` or `ema_model`.
            network: the network of that name.
            predictor: of that network.
            data: validation data.
            progress: its best score is updated.
            log: of the scores.

        Returns:
            Whether it is the best so far.

        Raises:
            FloatingPointError: its output holds NaN.
        """
        metric = self.settings.metric
        try:
            scores = self.measure(predictor, data)
        except FloatingPointError as error:
            message = f"iter {progress.iter}: the output of the {NAMES[name]} holds NaN. {DIVERGED}"
            raise FloatingPointError(message) from error
        values = scores.compute()
        log.scores(name, scores.report(), values, progress.iter)
        score = values[metric]
        best, _ = progress.best.get(name, (None, 0))
        improved = math.isfinite(score) and is_better(metric, score, best)
        if improved:
            progress.best[name] = (score, progress.iter)
            if self.rank.index == 0:
                checkpoint.save_best(self.settings.save_dir, name, network, self.config, progress)
        if name in progress.best:
            log.best(name, metric, *progress.best[name])
        return improved


def evaluation_engine(network: paddle.nn.Layer, amp: Mapping[str, Any], multilabel: bool = False) -> Engine:
    """The fastest engine for the current weights of a network.

    On a CPU a network of this family runs as an ONNX graph, several times faster than in Paddle.

    Args:
        network: the network.
        amp: arguments of `paddle.amp.auto_cast`.
        multilabel: the classes are labels that overlap.
    """
    if multilabel:
        return PaddleEngine(network, amp, multilabel=True)
    if isinstance(network, U2Net) and paddle.device.get_device() == "cpu" and has("onnxruntime"):
        return OnnxRuntimeEngine(build_onnx(state_of(network)).SerializeToString())
    return PaddleEngine(network, amp)
