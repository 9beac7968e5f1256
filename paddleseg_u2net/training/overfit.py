"""A few pairs learned by heart: whether files, units, loss and network fit together, before hours are spent.

Source: the author's advice, xuebinqin/U-2-Net#157. A network that cannot learn two masks by heart will not
learn a thousand; one that can proves the chain from file to gradient, though not that the masks are right:
a large network learns wrong ones as well, given time. The picture shows which it is.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from tqdm import tqdm

from paddleseg_u2net.builders import build_dataset_spec, build_losses, build_network, build_optimizer
from paddleseg_u2net.data.dataset import Dataset, collate
from paddleseg_u2net.data.inspection import Inspection
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import NORMALIZATIONS
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.data_check.report import overlay
from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.io.images import write_image
from paddleseg_u2net.metrics.segmentation import SegmentationMeasures
from paddleseg_u2net.training.settings import Settings
from paddleseg_u2net.training.trainer import Trainer

log = logging.getLogger(__name__)

SIDE, PAIRS, STEPS = 96, 2, 60  # a minute or two on two cores with U²-Net†
RATE = 1e-3  # of Adam, as in the paper
LEARNED, ENOUGH = 0.8, 0.95  # intersection over union that passes, and that ends the try
EVERY = 10  # steps between records
PICTURE = "overfit.png"


class Outcome(NamedTuple):
    """How it went: the loss before and after, the mean IoU of the classes in the masks, the steps taken."""

    first: float
    last: float
    iou: float
    steps: int

    @property
    def learned(self) -> bool:
        """Whether the masks can be learned."""
        return math.isfinite(self.last) and self.iou >= LEARNED


def overfit(
    config: Mapping[str, Any],
    inspection: Inspection,
    save_dir: Path,
    device: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    **run: Any,
) -> Outcome:
    """Train the network of a config on a few pairs only, at a small size, and log whether it learns them.

    Args:
        config: model, data and loss; the optimizer is Adam at a constant rate whatever it says.
        inspection: of its train_dataset, without faults; the pairs are taken evenly from those that
            have foreground.
        save_dir: where the picture goes: a row per pair, image, mask and prediction. Others stay.
        device: see `set_device`.
        steps: at most.
        learning_rate: of Adam.
        run: seed, precision and amp_level, see `Settings`.

    Raises:
        ValueError: no object is left at this size, or a precision that the device lacks.
    """
    steps = steps or STEPS
    settings = Settings(save_dir, iters=steps, batch_size=PAIRS, metric="", **run)
    set_device(device)
    config = _recipe(config, learning_rate or RATE)
    spec = replace(build_dataset_spec(config, "train_dataset"), pairs=_choose(inspection))
    data = Dataset(spec, inspection.encoding)
    paddle.seed(settings.seed)
    network = build_network(config["model"])
    optimizer = build_optimizer(config, network)
    trainer = Trainer(network, optimizer, build_losses(config), spec, None, config, settings)
    trainer.prepare(data)
    samples = collate([data[index, 0] for index in range(len(data))])
    labels = samples["label"]
    if not (labels[labels != IGNORE] >= 0.5).any():
        raise ValueError(
            f"--overfit: the objects of these pairs vanish at {SIDE} x {SIDE}. Fix: images cropped to them"
        )
    batch = {key: paddle.to_tensor(array) for key, array in samples.items()}
    losses = []
    with tqdm(total=steps, desc="overfit", disable=None, delay=1, leave=False) as bar:
        while len(losses) < steps and (not losses or math.isfinite(losses[-1])):
            losses.append(float(trainer.step(batch)[0].numpy().mean()))
            bar.update()
            if len(losses) % EVERY == 0 and _iou(_predict(trainer, batch["img"]), labels) >= ENOUGH:
                break
    maps = _predict(trainer, batch["img"])
    outcome = Outcome(losses[0], losses[-1], _iou(maps, labels), len(losses))
    picture = _free(save_dir / PICTURE)
    _draw(picture, data, maps)
    _tell(outcome, data, picture)
    return outcome


def _free(path: Path) -> Path:
    """`a.png`, or `a_2.png` where there is one."""
    later = (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], later) if not name.exists())


def _recipe(config: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """The config with a constant rate, and with nothing random done to the images."""
    section = config["train_dataset"]
    resize = "ResizeSoftMask" if config["model"].get("num_classes", 1) == 1 else "Resize"
    scaling = [item for item in section.get("transforms", []) if item["type"] in NORMALIZATIONS]
    transforms = [{"type": resize, "target_size": [SIDE, SIDE]}, *scaling]
    return {
        **config,
        "train_dataset": {**section, "transforms": transforms},
        "optimizer": {"type": "Adam"},
        "lr_scheduler": {"type": "StepDecay", "learning_rate": rate, "step_size": 1 << 30},
    }


def _choose(inspection: Inspection) -> list:
    """Pairs that show something, evenly from the whole set."""
    pairs = zip(inspection.records, inspection.contents, strict=True)
    showing = [record.pair for record, content in pairs if content and content.share > 0]
    if not showing:
        raise ValueError("no mask shows an object, so there is nothing to learn. Fix: other data")
    return [showing[i] for i in sorted({int(i) for i in np.linspace(0, len(showing) - 1, PAIRS)})]


def _predict(trainer: Trainer, images: paddle.Tensor) -> np.ndarray:
    """(N, h, w): saliency float32, or class ids uint8, by the statistics of this batch."""
    trainer.model.train()
    with paddle.no_grad(), paddle.amp.auto_cast(**trainer.amp):
        logits = trainer.model(images)[0].astype("float32")
    if logits.shape[1] == 1:
        return paddle.nn.functional.sigmoid(logits).numpy()[:, 0]
    return logits.argmax(1).numpy().astype(np.uint8)


def _iou(maps: np.ndarray, labels: np.ndarray) -> float:
    """Mean intersection over union of the foreground classes that the masks hold."""
    masks = labels[:, 0]
    if masks.dtype == np.float32:
        masks = np.where(masks == IGNORE, IGNORE, masks >= 0.5)
        maps = maps >= 0.5
    ids = masks.astype(np.int64)
    present = np.setdiff1d(ids, [0, IGNORE])
    measures = SegmentationMeasures(int(max(ids[ids != IGNORE].max(initial=1), maps.max())) + 1, IGNORE)
    measures.update(maps.astype(np.int64), ids)
    return float(np.asarray(measures.compute()["class_IoU"])[present].mean()) if len(present) else 0.0


def _draw(path: Path, data: Dataset, maps: np.ndarray) -> None:
    palette = make_palette(data.spec.num_classes)
    rows = []
    for index, prediction in enumerate(maps):
        image, mask = data.load(index)
        nothing = np.zeros((1, 1), np.uint8)
        rows.append(np.hstack([overlay(image, found, palette) for found in (nothing, mask, prediction)]))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    write_image(path, np.vstack(rows))


def _tell(outcome: Outcome, data: Dataset, picture: Path) -> None:
    line = (
        f"[OVERFIT] {len(data)} pairs, {outcome.steps} steps: loss {outcome.first:.4f} -> "
        f"{outcome.last:.4f}, IoU {outcome.iou:.4f}: "
    )
    if outcome.learned:
        log.info("%sthe masks can be learned. Image, mask and prediction: %s", line, picture)
        return
    log.error(
        "%sthe masks cannot be learned in so many steps. Look at %s: do the masks lie on the objects? Then "
        "mask_encoding, ignore_index and the loss; tools/check_dataset.py",
        *(line, picture),
    )
