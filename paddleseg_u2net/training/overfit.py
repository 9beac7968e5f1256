"""Overfit two samples: a sanity check of files, mask encoding, loss and network before a long training run.

A network that cannot overfit two samples will not learn a data set. Success shows that the path from file to
gradient works. It does not show that the masks are correct, since a large network can overfit wrong masks as
well; the picture shows that.

Source: advice of the author of U²-Net, xuebinqin/U-2-Net#157.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import paddle
from tqdm import tqdm

from paddleseg_u2net.builders import build_dataset_spec, build_losses, build_network, build_optimizer
from paddleseg_u2net.config.loader import is_multilabel
from paddleseg_u2net.data.dataset import Dataset, collate
from paddleseg_u2net.data.inspection import Inspection
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.preprocessing import NORMALIZATIONS
from paddleseg_u2net.data.visualize import make_palette, overlay
from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.errors import ConfigError, counted
from paddleseg_u2net.io.bands import as_rgb
from paddleseg_u2net.io.images import write_image
from paddleseg_u2net.metrics.segmentation import SegmentationMeasures
from paddleseg_u2net.training.settings import TrainingSettings
from paddleseg_u2net.training.trainer import Trainer

log = logging.getLogger(__name__)

SIZE, SAMPLES, STEPS = 96, 2, 60  # a minute or two on two cores with U²-Net†
LEARNING_RATE = 1e-3  # of Adam, as in the paper
SUCCESS, STOP = 0.8, 0.95  # intersection over union (IoU) that counts as success, and that ends the check
STEPS_PER_EVALUATION = 10
PICTURE, PANEL_HEIGHT, GAP = "overfit.png", 180, 6  # pixels


class OverfitResult(NamedTuple):
    """Result of the check.

    Args:
        first_loss: loss of the first step.
        last_loss: loss of the last step.
        iou: mean IoU of the foreground classes in the masks, in [0, 1].
        steps: number of steps done.
    """

    first_loss: float
    last_loss: float
    iou: float
    steps: int

    @property
    def learned(self) -> bool:
        """Whether the network can learn these masks."""
        return math.isfinite(self.last_loss) and self.iou >= SUCCESS


def overfit(
    config: Mapping[str, Any],
    inspection: Inspection,
    save_dir: Path,
    device: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    **options: Any,
) -> OverfitResult:
    """Train the network of a config on two samples at a small size, and log whether it learns their masks.

    The optimizer is Adam with a constant learning rate, whatever the config says, and images are not
    augmented. A picture is written that shows image, mask and prediction of each sample in a row.

    Args:
        config: its model, training data and loss are used.
        inspection: of its train_dataset, without faults; two pairs with foreground are chosen from it.
        save_dir: folder of the picture; existing files are kept.
        device: see `set_device`.
        steps: maximum number of steps; None for `STEPS`.
        learning_rate: of Adam; None for `LEARNING_RATE`.
        options: seed, precision, amp_level and cpu_engine, see `TrainingSettings`.

    Raises:
        ValueError: no mask has foreground at this size, or the device does not support the precision.
    """
    if is_multilabel(config):
        raise ConfigError("overfit: not for labels that overlap. Fix: leave --overfit out")
    steps = steps or STEPS
    settings = TrainingSettings(save_dir, iters=steps, batch_size=SAMPLES, metric="", **options)
    set_device(device)
    config = _config_of_check(config, learning_rate or LEARNING_RATE)
    spec = replace(build_dataset_spec(config, "train_dataset"), pairs=_choose(inspection))
    data = Dataset(spec, inspection.encoding, inspection.agreement.white)
    paddle.seed(settings.seed)
    network = build_network(config["model"])
    optimizer = build_optimizer(config, network)
    trainer = Trainer(network, optimizer, build_losses(config), config, settings)
    trainer.prepare(data)
    samples = collate([data[index, 0] for index in range(len(data))])
    _require_foreground(samples["label"])
    losses, predictions = _train(trainer, samples)
    result = OverfitResult(losses[0], losses[-1], _iou(predictions, samples["label"]), len(losses))
    picture = _unused(save_dir / PICTURE)
    write_image(picture, _draw(data, predictions))
    _report(result, len(data), picture)
    return result


def _train(trainer: Trainer, samples: dict[str, np.ndarray]) -> tuple[list[float], np.ndarray]:
    """Train until the masks are learned, the loss is not finite, or all steps are done.

    Returns:
        The loss of each step, and the predictions after the last one.
    """
    batch = {key: paddle.to_tensor(array) for key, array in samples.items()}
    steps, losses = trainer.settings.iters, []
    with tqdm(total=steps, desc="overfit", disable=None, delay=1, leave=False) as bar:
        while len(losses) < steps and (not losses or math.isfinite(losses[-1])):
            losses.append(float(trainer.step(batch).loss))
            bar.update()
            if len(losses) % STEPS_PER_EVALUATION == 0:
                predictions = _predict(trainer, batch["img"])
                if _iou(predictions, samples["label"]) >= STOP:
                    return losses, predictions
    return losses, _predict(trainer, batch["img"])


def _unused(path: Path) -> Path:
    """Return `a.png`, or `a_2.png`, `a_3.png`, … if it exists."""
    numbered = (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not name.exists())


def _config_of_check(config: Mapping[str, Any], learning_rate: float) -> dict[str, Any]:
    """Replace transforms, optimizer and schedule of a config; nothing is frozen."""
    section = config["train_dataset"]
    resize = "ResizeSoftMask" if config["model"].get("num_classes", 1) == 1 else "Resize"
    normalization = [item for item in section.get("transforms", []) if item["type"] in NORMALIZATIONS]
    transforms = [{"type": resize, "target_size": [SIZE, SIZE]}, *normalization]
    return {
        **config,
        "train_dataset": {**section, "transforms": transforms},
        "optimizer": {"type": "Adam"},
        "finetune": {},
        "lr_scheduler": {"type": "StepDecay", "learning_rate": learning_rate, "step_size": 1 << 30},
    }


def _choose(inspection: Inspection) -> list[Pair]:
    """Choose pairs with foreground, evenly from the whole data set."""
    rows = zip(inspection.records, inspection.contents, strict=True)
    pairs = [record.pair for record, content in rows if content and content.share > 0]
    if not pairs:
        raise ValueError(
            "no mask has any foreground, so there is nothing to learn. "
            "Fix: check the masks, mask_encoding and ignore_index"
        )
    return [pairs[i] for i in sorted({int(i) for i in np.linspace(0, len(pairs) - 1, SAMPLES)})]


def _require_foreground(labels: np.ndarray) -> None:
    if not (labels[labels != IGNORE] >= 0.5).any():
        raise ValueError(
            f"--overfit: the objects of these images vanish at {SIZE} x {SIZE} pixels. "
            "Fix: crop the images to their objects"
        )


def _predict(trainer: Trainer, images: paddle.Tensor) -> np.ndarray:
    """Predict (N, h, w) saliency float32 or class ids uint8, with the BatchNorm statistics of this batch."""
    trainer.model.train()
    with paddle.no_grad(), paddle.amp.auto_cast(**trainer.amp):
        logits = trainer.model(images)[0].astype("float32")
    if logits.shape[1] == 1:
        return paddle.nn.functional.sigmoid(logits).numpy()[:, 0]
    return logits.argmax(1).numpy().astype(np.uint8)


def _iou(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean IoU of the foreground classes in the labels (N, 1, h, w); predictions as of `_predict`."""
    masks = labels[:, 0]
    if masks.dtype == np.float32:
        masks = np.where(masks == IGNORE, IGNORE, masks >= 0.5)
        predictions = predictions >= 0.5
    ids = masks.astype(np.int64)
    foreground = np.setdiff1d(ids, [0, IGNORE])
    num_classes = int(max(ids[ids != IGNORE].max(initial=1), predictions.max())) + 1
    measures = SegmentationMeasures(num_classes, IGNORE)
    measures.update(predictions.astype(np.int64), ids)
    scores = np.asarray(measures.compute()["class_IoU"])[foreground]
    return float(scores.mean()) if len(foreground) else 0.0


def _draw(data: Dataset, predictions: np.ndarray) -> np.ndarray:
    """Draw image, mask and prediction of each sample in a row; (H, W, 3) uint8 RGB."""
    palette = make_palette(data.spec.num_classes)
    rows = []
    for index, prediction in enumerate(predictions):
        image, mask = data.load(index)
        width = max(round(image.shape[1] * PANEL_HEIGHT / image.shape[0]), 1)
        image = cv2.resize(as_rgb(image), (width, PANEL_HEIGHT), interpolation=cv2.INTER_AREA)
        colored = [overlay(image, palette[_class_ids(values, width)]) for values in (mask, prediction)]
        rows.append(np.hstack([image, *colored]))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(rows)


def _class_ids(values: np.ndarray, width: int) -> np.ndarray:
    """Resize soft values or class ids to a panel, as class ids (h, w) uint8; `IGNORE` is kept."""
    if values.dtype == np.float32:
        values = np.where(values == IGNORE, IGNORE, values >= 0.5)
    return cv2.resize(values.astype(np.uint8), (width, PANEL_HEIGHT), interpolation=cv2.INTER_NEAREST)


def _report(result: OverfitResult, pairs: int, picture: Path) -> None:
    line = (
        f"[OVERFIT] {counted(pairs, 'pair')}, {counted(result.steps, 'step')}: "
        f"loss {result.first_loss:.4f} -> "
        f"{result.last_loss:.4f}, IoU {result.iou:.4f}: "
    )
    if result.learned:
        log.info("%sthe masks can be learned. Image, mask and prediction: %s", line, picture)
        return
    log.error(
        "%sthe masks cannot be learned in this number of steps. Look at %s: do the masks match the objects? "
        "Then check mask_encoding, ignore_index and the loss, and run u2net check-dataset",
        line,
        picture,
    )
