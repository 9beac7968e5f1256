"""Cross-entropy of classes; paddleseg's own fails on Paddle 3."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddleseg_u2net.environment.devices import training_threads
from paddleseg_u2net.environment.tensors import view
from paddleseg_u2net.losses.arguments import full_precision, with_channel
from paddleseg_u2net.registry import LOSSES

BLOCK = 16384  # pixels; the logits of some ten classes fit into a processor's cache


@LOSSES.register
class CrossEntropyLoss(nn.Layer):
    """Cross-entropy of class logits, averaged over all pixels that are not ignored.

    It replaces paddleseg's class of the same name, which multiplies float32 by int64 tensors and therefore
    fails on Paddle 3.

    Args:
        weight: one weight per class; the average is weighted by them.
        ignore_index: class id of ignored pixels.
    """

    def __init__(self, weight: Sequence[float] | None = None, ignore_index: int = 255):
        super().__init__()
        self.weight = None if weight is None else paddle.to_tensor(weight, dtype="float32")
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, C, H, W); half precision is converted to float32 first, also within `auto_cast`.
            label: (N, 1, H, W) or (N, H, W) int64; class ids or `ignore_index`.

        Returns:
            Scalar; 0 if all pixels are ignored.

        Raises:
            ValueError: a class id is none of the classes.
        """
        with paddle.amp.auto_cast(enable=False):
            logits, label = full_precision(logits), with_channel(label)
            if logits.place.is_cpu_place() and logits.dtype == paddle.float32:
                weights = None if self.weight is None else self.weight.numpy()
                return _CrossEntropyOnCpu.apply(logits, label, weights, self.ignore_index)
            weight = None if self.weight is None else self.weight.astype(logits.dtype)
            return F.cross_entropy(
                logits, label, weight=weight, ignore_index=self.ignore_index, axis=1, reduction="mean"
            )


class _CrossEntropyOnCpu(paddle.autograd.PyLayer):
    """Cross-entropy in float32 on a CPU, where Paddle's uses one thread.

    The gradient is computed along with the loss, so that the logits are read once.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, label: Tensor, weight: np.ndarray | None, ignore_index: int
    ) -> Tensor:
        n, classes = logits.shape[:2]
        logits, gradient = logits.contiguous(), paddle.empty_like(logits)
        x, g = (view(tensor).reshape(n, classes, -1) for tensor in (logits, gradient))
        ids, shares = _shares(label.numpy().reshape(n, -1), classes, weight, ignore_index)

        def block(place: tuple[int, int]) -> float:
            image, start = place
            pixels = slice(start, start + BLOCK)
            return _block(x[image, :, pixels], ids[image, pixels], shares[image, pixels], g[image, :, pixels])

        places = [(image, start) for image in range(n) for start in range(0, x.shape[2], BLOCK)]
        with ThreadPoolExecutor(training_threads()) as pool:  # numpy lets other threads run
            loss = sum(pool.map(block, places))
        ctx.gradient = gradient
        return paddle.to_tensor(loss, dtype="float32")

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> Any:
        return ctx.gradient.scale(float(factor)), None


def _shares(
    label: np.ndarray, classes: int, weight: np.ndarray | None, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Class ids (N, pixels), 0 at ignored pixels, and the shares of the pixels in the loss, which sum to 1.

    Raises:
        ValueError: see `CrossEntropyLoss.forward`.
    """
    valid = label != ignore_index
    ids = np.where(valid, label, 0)
    if ids.size and not 0 <= ids.min() <= ids.max() < classes:
        wrong = ids[(ids < 0) | (ids >= classes)][0]
        raise ValueError(f"label {wrong}: expected 0 to {classes - 1}, or {ignore_index} for ignored pixels")
    shares = valid.astype(np.float32) if weight is None else weight[ids] * valid
    return ids, shares / np.float32(shares.sum(dtype=np.float64) or 1)


def _block(x: np.ndarray, ids: np.ndarray, shares: np.ndarray, gradient: np.ndarray) -> float:
    """Loss of some pixels: logits (classes, pixels), class ids and shares (pixels,); writes the gradient."""
    np.subtract(x, x.max(0), out=gradient)
    own = ids, np.arange(ids.size)  # the class of each pixel
    shifted = gradient[own]
    np.exp(gradient, out=gradient)
    total = gradient.sum(0)
    loss = np.dot(np.log(total) - shifted, shares.astype(np.float64))
    gradient *= shares / total
    gradient[own] -= shares
    return float(loss)
