"""Deep supervision over all outputs, and the losses that paddleseg lacks or that fail on Paddle 3.

Labels: soft masks (N, 1, H, W) float32 in [0, 1] where num_classes is 1, class ids (N, 1, H, W) int64
otherwise; pixels equal to `ignore_index` do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5


def bce(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N, 1, H, W) against a soft mask, mean over the valid pixels.

    Source: Qin et al. 2020, equation 2; u2net_train.py:29@ac7e1c8, there on sigmoid outputs.
    """
    loss = F.binary_cross_entropy_with_logits(logits, mask, reduction="none") * valid
    return loss.sum() / valid.sum().clip(min=1)


def iou(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """One minus the soft intersection over union, mean over the images.

    Source: Qin et al. 2019 (BASNet), equation 9. A pair of empty maps has loss 0.
    """
    saliency = F.sigmoid(logits) * valid
    mask = mask * valid
    axes = [1, 2, 3]
    intersection = (saliency * mask).sum(axes)
    union = saliency.sum(axes) + mask.sum(axes) - intersection
    return (1 - (intersection + 1e-6) / (union + 1e-6)).mean()


def ssim(logits: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
    """One minus the mean structural similarity, over windows that lie inside the image.

    Source: Qin et al. 2019 (BASNet), equation 7; Wang et al. 2004 with an 11x11 Gaussian of sigma 1.5,
    C1 = 0.01², C2 = 0.03². BASNet pads by zeros instead; here the border is left out.
    """
    if min(logits.shape[2:]) < SSIM_WINDOW:
        raise ValueError(f"ssim needs maps of at least {SSIM_WINDOW} pixels, got {logits.shape[2:]}")
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


class SaliencyLoss(nn.Layer):
    """Weighted sum of binary cross-entropy, SSIM and IoU losses of one saliency output.

    Args:
        bce: weight of `bce`; alone it is the official U²-Net recipe.
        ssim: weight of `ssim`; 1 with bce and iou is BASNet's hybrid loss (sharper, more solid objects).
        iou: weight of `iou`.
        ignore_index: mask value of pixels that do not count, put there by padding transforms.
    """

    def __init__(self, bce: float = 1.0, ssim: float = 0.0, iou: float = 0.0, ignore_index: int = 255):
        super().__init__()
        self.weights = {"bce": bce, "ssim": ssim, "iou": iou}
        if not all(type(w) in (int, float) and w >= 0 for w in self.weights.values()) or not any(
            (bce, ssim, iou)
        ):
            raise ValueError(f"{self.weights}: expected weights of at least 0, one of them above")
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """(N, 1, H, W) logits and soft mask -> scalar."""
        valid = (label != self.ignore_index).astype("float32")
        mask = label * valid
        terms = {"bce": bce, "ssim": ssim, "iou": iou}
        parts = [weight * terms[name](logits, mask, valid) for name, weight in self.weights.items() if weight]
        return paddle.add_n(parts)


class CrossEntropyLoss(nn.Layer):
    """Cross-entropy of class logits, mean over the pixels that count.

    Replaces paddleseg's class of that name, whose product of float32 and int64 tensors raises on Paddle 3.

    Args:
        weight: one weight per class; the mean is weighted too.
        ignore_index: class id of pixels that do not count.
    """

    def __init__(self, weight: Sequence[float] | None = None, ignore_index: int = 255):
        super().__init__()
        self.weight = None if weight is None else paddle.to_tensor(weight, dtype="float32")
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """(N, C, H, W) logits, (N, 1, H, W) or (N, H, W) int64 -> scalar."""
        if label.ndim == 3:
            label = label.unsqueeze(1)
        return F.cross_entropy(
            logits, label, weight=self.weight, ignore_index=self.ignore_index, axis=1, reduction="mean"
        )


def deep_supervision(outputs: Sequence[Tensor], label: Tensor, losses: dict) -> tuple[Tensor, list[Tensor]]:
    """Weighted sum of one loss per output.

    Args:
        outputs: logits (N, C, H, W), fused first.
        label: (N, 1, H, W).
        losses: `types` and `coef`, one of each per output, as paddleseg's SegBuilder makes them.

    Returns:
        The sum and its parts, all scalar tensors.

    Raises:
        ValueError: as many losses as outputs are needed.

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
