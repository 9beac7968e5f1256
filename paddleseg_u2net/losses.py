"""Losses that paddleseg lacks or whose paddleseg version fails on Paddle 3, and deep supervision.

Labels are soft masks (N, 1, H, W) float32 in [0, 1] for saliency (num_classes 1) and class ids
(N, 1, H, W) int64 for segmentation. Pixels equal to `ignore_index` are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddleseg_u2net.registry import LOSSES

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5


def bce(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the valid pixels of the batch.

    Args:
        logits: (N, 1, H, W) float32.
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        valid: (N, 1, H, W) float32; 1 at pixels to measure, 0 at ignored pixels.

    Returns:
        Scalar; 0 if no pixel is valid.

    Source: Qin et al. 2020, equation 2; u2net_train.py:29@ac7e1c8, there on sigmoid outputs.
    """
    loss = F.binary_cross_entropy_with_logits(logits, mask, reduction="none") * valid
    return loss.sum() / valid.sum().clip(min=1)


def iou(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """One minus the soft intersection over union, averaged over the images.

    Args:
        logits: (N, 1, H, W) float32.
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        valid: (N, 1, H, W) float32; 1 at pixels to measure, 0 at ignored pixels.

    Returns:
        Scalar in [0, 1]; 0 if both prediction and mask are empty.

    Source: Qin et al. 2019 (BASNet), equation 9.
    """
    saliency = F.sigmoid(logits) * valid
    mask = mask * valid
    axes = [1, 2, 3]
    intersection = (saliency * mask).sum(axes)
    union = saliency.sum(axes) + mask.sum(axes) - intersection
    return (1 - (intersection + 1e-6) / (union + 1e-6)).mean()


def ssim(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """One minus the mean structural similarity (SSIM) over all windows that lie inside the image.

    Args:
        logits: (N, 1, H, W) float32; H and W at least `SSIM_WINDOW`.
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        valid: (N, 1, H, W) float32; 1 at pixels to measure, 0 at ignored pixels.

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: the maps are smaller than a window.

    Source: Qin et al. 2019 (BASNet), equation 7; Wang et al. 2004 with an 11x11 Gaussian of sigma 1.5,
    C1 = 0.01², C2 = 0.03². BASNet pads the border with zeros; here windows that cross it are left out.
    """
    if min(logits.shape[2:]) < SSIM_WINDOW:
        raise ValueError(
            f"ssim needs maps of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {logits.shape[2:]}. "
            "Fix: a larger input, or SaliencyLoss without ssim"
        )
    offset = paddle.arange(SSIM_WINDOW, dtype="float32") - SSIM_WINDOW // 2
    row = F.softmax(-(offset**2) / (2 * SSIM_SIGMA**2), axis=0)
    window = paddle.outer(row, row)[None, None]  # (1, 1, 11, 11)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window)

    x, y = F.sigmoid(logits) * valid, mask * valid
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    similarity /= (mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2)
    return 1 - similarity.mean()


@LOSSES.register
class SaliencyLoss(nn.Layer):
    """Weighted sum of the binary cross-entropy, SSIM and IoU losses of one saliency output.

    `bce` alone is the official U²-Net recipe; all three weights equal to 1 give BASNet's hybrid loss, which
    favours sharp edges and solid objects.

    Args:
        bce: weight of `bce`, at least 0.
        ssim: weight of `ssim`, at least 0.
        iou: weight of `iou`, at least 0.
        ignore_index: mask value of ignored pixels, such as those that padding transforms add.

    Raises:
        ValueError: a weight is negative or no number, or all weights are 0.
    """

    def __init__(self, bce: float = 1.0, ssim: float = 0.0, iou: float = 0.0, ignore_index: int = 255):
        super().__init__()
        self.weights = {"bce": bce, "ssim": ssim, "iou": iou}
        valid = all(type(weight) in (int, float) and weight >= 0 for weight in self.weights.values())
        if not valid or not any(self.weights.values()):
            raise ValueError(f"{self.weights}: expected weights of at least 0, and one above 0")
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, 1, H, W).
            label: (N, 1, H, W) or (N, H, W), in [0, 1] or `ignore_index`; any dtype.

        Returns:
            Scalar.
        """
        label = _with_channel(label).astype("float32")
        valid = (label != self.ignore_index).astype("float32")
        mask = label * valid
        terms = {"bce": bce, "ssim": ssim, "iou": iou}
        parts = [weight * terms[name](logits, mask, valid) for name, weight in self.weights.items() if weight]
        return paddle.add_n(parts)


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
            logits: (N, C, H, W).
            label: (N, 1, H, W) or (N, H, W) int64; class ids or `ignore_index`.

        Returns:
            Scalar.
        """
        label = _with_channel(label)
        return F.cross_entropy(
            logits, label, weight=self.weight, ignore_index=self.ignore_index, axis=1, reduction="mean"
        )


def _with_channel(label: Tensor) -> Tensor:
    """Labels as (N, 1, H, W); paddleseg's training passes (N, H, W)."""
    return label.unsqueeze(1) if label.ndim == 3 else label


def deep_supervision(outputs: Sequence[Tensor], label: Tensor, losses: dict) -> tuple[Tensor, list[Tensor]]:
    """Compute one loss per output and their weighted sum.

    Args:
        outputs: logits (N, C, H, W) of each output, fused output first.
        label: (N, 1, H, W).
        losses: `types` and `coef`, one of each per output, as paddleseg's SegBuilder returns them.

    Returns:
        The sum and the list of weighted losses, all scalar tensors.

    Raises:
        ValueError: the number of losses differs from the number of outputs.

    Source: Qin et al. 2020, equation 1.
    """
    if len(outputs) != len(losses["types"]):
        raise ValueError(
            f"loss: {len(losses['types'])} coef given, but the model has {len(outputs)} outputs. "
            f"Fix: coef: [{', '.join(['1'] * len(outputs))}]"
        )
    parts = []
    for logits, loss, coef in zip(outputs, losses["types"], losses["coef"], strict=True):
        # paddleseg's losses take class ids as (N, H, W); its MixedLoss returns a list
        squeeze = label.ndim == 4 and logits.shape[1] > 1
        value = loss(logits, label.squeeze(1) if squeeze else label)
        parts.append(coef * (sum(value) if isinstance(value, list) else value))
    return paddle.add_n(parts), parts
