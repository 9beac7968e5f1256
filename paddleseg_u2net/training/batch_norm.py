"""Statistics for BatchNorm that was folded into the convolutions, so that training can start from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE

if TYPE_CHECKING:
    from paddle import Tensor, nn


def folded_norms(layer: nn.Layer) -> list[nn.Layer]:
    """The BatchNorm layers of a network that are the identity because they were folded away."""
    from paddle import nn

    norms = [sub for sub in layer.sublayers() if isinstance(sub, nn.BatchNorm2D)]
    return [norm for norm in norms if bool((norm._variance == float(FOLDED_VARIANCE)).all())]


class _Moments:
    """Sums over all inputs of one BatchNorm layer: count, values and squares of each channel."""

    def __init__(self, norm: Any):
        self.norm, self.sums = norm, np.zeros((3, norm._num_features))
        self.hook = norm.register_forward_pre_hook(self.add)

    def add(self, norm: Any, inputs: Any) -> None:
        """Add the input (N, C, h, w) of one call."""
        import paddle

        x = inputs[0].astype("float64")
        axes = [0, 2, 3]
        sums = (paddle.ones_like(x).sum(axes), x.sum(axes), (x * x).sum(axes))
        self.sums += np.stack([total.numpy() for total in sums])

    def restore(self) -> None:
        """Give the layer the mean and variance of its input, and the scale and shift that undo them."""
        count, total, squares = self.sums
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0)
        values = {"_mean": mean, "_variance": variance, "bias": mean}
        values["weight"] = np.sqrt(variance + self.norm._epsilon)
        for name, value in values.items():
            getattr(self.norm, name).set_value(value.astype(np.float32))


def restore_batch_norm(layer: nn.Layer, batches: Iterable[Tensor]) -> int:
    """Give folded BatchNorm layers the statistics of their input.

    The output in eval mode stays the same: with mean m and variance v of the input over `batches`, the
    layer becomes sqrt(v + eps) * (x - m) / sqrt(v + eps) + m.

    Args:
        layer: network; its folded BatchNorm layers are changed in place.
        batches: images (N, C, h, w) as in training; not read if nothing was folded.

    Returns:
        Number of layers restored.
    """
    import paddle

    moments = [_Moments(norm) for norm in folded_norms(layer)]
    training = layer.training
    layer.eval()
    with paddle.no_grad():
        for batch in batches if moments else ():
            layer(batch)
    for found in moments:
        found.hook.remove()
        found.restore()
    layer.train() if training else layer.eval()
    return len(moments)
