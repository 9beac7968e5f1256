"""Batch normalization that was folded into the convolutions of published weights, restored for training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE


def folded_norms(network: nn.Layer) -> list[nn.BatchNorm2D]:
    """List the BatchNorm layers of a network that are the identity because they were folded away."""
    norms = [layer for layer in network.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    return [norm for norm in norms if bool((norm._variance == float(FOLDED_VARIANCE)).all())]


def restore_batch_norm(network: nn.Layer, batches: Iterable[Tensor]) -> int:
    """Give folded BatchNorm the statistics of its input, so that training can start from folded weights.

    The output in eval mode stays the same: with mean m and variance v of the input over `batches`, a layer
    becomes sqrt(v + eps) * (x - m) / sqrt(v + eps) + m.

    Args:
        network: its folded BatchNorm layers are changed in place.
        batches: images (N, C, h, w) float32, augmented as in training.

    Returns:
        Number of restored layers.
    """
    norms = folded_norms(network)
    if norms:
        for norm, (count, total, squares) in _moments(network, norms, batches).items():
            mean = total / count
            variance = np.maximum(squares / count - mean**2, 0)
            deviation = np.sqrt(variance + norm._epsilon)
            values = {"_mean": mean, "_variance": variance, "weight": deviation, "bias": mean}
            for name, value in values.items():
                getattr(norm, name).set_value(value.astype(np.float32))
    return len(norms)


def _moments(
    network: nn.Layer, norms: list[nn.BatchNorm2D], batches: Iterable[Tensor]
) -> dict[nn.BatchNorm2D, np.ndarray]:
    """Number, sum and sum of squares (3, channels) float64 of what each layer reads in eval mode."""
    moments = {norm: np.zeros((3, norm._num_features)) for norm in norms}

    def measure(norm: Any, inputs: Any) -> Any:
        x, axes = inputs[0].astype("float64"), [0, 2, 3]
        sums = [paddle.ones_like(x).sum(axes), x.sum(axes), (x * x).sum(axes)]
        moments[norm] += np.stack([each.numpy() for each in sums])

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = network.training
    network.eval()
    with paddle.no_grad():
        for batch in batches:
            network(batch)
    for hook in hooks:
        hook.remove()
    network.train() if training else network.eval()
    return moments
