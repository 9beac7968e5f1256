"""Exported models of any kind as engines that give probabilities of prepared images."""

from __future__ import annotations

import logging

import numpy as np

from paddleseg_u2net.data.preprocessing import resize_batch
from paddleseg_u2net.engines.base import Engine
from paddleseg_u2net.engines.deploy_config import PHOTOGRAPH, Deployment

log = logging.getLogger(__name__)


def adapt(engine: Engine, deployment: Deployment) -> Engine:
    """Wrap the engine of an exported model so that it gives probabilities of images of any size."""
    if deployment.output_op in ("argmax", "none"):
        engine = ProbabilityEngine(engine, deployment.output_op, deployment.num_classes)
    if deployment.output_op == "argmax":
        log.info("The model was exported with --output_op argmax: classes only, saliency maps are 0 or 1")
    if deployment.image == PHOTOGRAPH:
        return PhotographEngine(engine)
    height, width = deployment.input_shape[2:]
    return engine if -1 in (height, width) else FixedSizeEngine(engine, (height, width))


def to_probabilities(output: np.ndarray, output_op: str, num_classes: int) -> np.ndarray:
    """Turn what an exported model gives into probabilities.

    Args:
        output: logits (N, num_classes, h, w) for `none`, class ids (N, h, w) for `argmax`, else
            probabilities (N, num_classes, h, w).
        output_op: of the export; see `Deployment`.
        num_classes: 1 for saliency.

    Returns:
        (N, num_classes, h, w) float32 in [0, 1]; of class ids only 0 and 1.
    """
    if output_op == "argmax":
        ids = np.arange(num_classes) if num_classes > 1 else np.ones(1)
        return (output[:, None] == ids[:, None, None]).astype(np.float32)
    if output_op != "none":
        return output
    if num_classes == 1:
        return 1 / (1 + np.exp(-np.clip(output, -80, 80)))  # exp overflows beyond 88
    powers = np.exp(output - output.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class ProbabilityEngine:
    """A model that gives logits or class ids, as an engine that gives probabilities.

    Args:
        model: the engine of the exported model.
        output_op: see `to_probabilities`.
        num_classes: 1 for saliency.
    """

    def __init__(self, model: Engine, output_op: str, num_classes: int):
        self.model, self.output_op, self.num_classes = model, output_op, num_classes

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`."""
        return to_probabilities(self.model(batch), self.output_op, self.num_classes)


class PhotographEngine:
    """A model that applies the val transforms itself, for callers that hand over prepared images.

    Args:
        model: (N, H, W, 3) uint8 RGB -> (N, num_classes, H, W) float32.
    """

    def __init__(self, model: Engine):
        self.model = model

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 in 0 .. 255 -> probabilities (N, num_classes, H, W) float32."""
        return self.model(np.ascontiguousarray(np.rint(batch).astype(np.uint8).transpose(0, 2, 3, 1)))


class FixedSizeEngine:
    """A model exported for one height and width, for callers whose inputs have another.

    Args:
        model: takes inputs of that size.
        size: (h, w).
    """

    def __init__(self, model: Engine, size: tuple[int, int]):
        self.model, self.size = model, size

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """See `Engine`; inputs are resized to the model's size, its maps back."""
        maps = self.model(np.ascontiguousarray(resize_batch(batch, self.size)))
        return resize_batch(maps, (batch.shape[2], batch.shape[3]))
