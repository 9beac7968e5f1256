"""Losses of saliency maps, which paddleseg lacks."""

from __future__ import annotations

import math

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddleseg_u2net.losses.arguments import full_precision, with_channel
from paddleseg_u2net.registry import LOSSES

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
BOUNDARY_WINDOW = 31  # pixels; F3Net's


def boundary_weight(mask: Tensor, valid: Tensor, strength: float) -> Tensor:
    """Weight of each pixel, which grows towards the edges of the mask.

    It is 1 + strength * |mean of the mask around the pixel - mask at the pixel|, and 0 at ignored pixels. The
    mean is taken over the valid pixels of a window of `BOUNDARY_WINDOW`.

    Args:
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        valid: (N, 1, H, W) float32; 1 at pixels to measure, 0 at ignored pixels.
        strength: at least 0; 0 gives equal weights.

    Returns:
        (N, 1, H, W) float32 in [1, 1 + strength], or 0.

    Source: Wei et al. 2020 (F3Net, arXiv:1911.11445), pixel position aware loss with strength 5. F3Net pads
    images with zeros; here the border of the image is no edge.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, BOUNDARY_WINDOW, stride=1, padding=BOUNDARY_WINDOW // 2)

    around = mean(mask) / mean(valid).clip(min=0.5 / BOUNDARY_WINDOW**2)
    return (1 + strength * (around - mask).abs()) * valid


def bce(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the pixels of the batch by their weights.

    Args:
        logits: (N, 1, H, W) float32.
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        weight: (N, 1, H, W) float32; 0 at ignored pixels, at least 1 elsewhere.

    Returns:
        Scalar; 0 if all pixels are ignored.

    Source: Qin et al. 2020, equation 2; u2net_train.py:29@ac7e1c8, there on sigmoid outputs.
    """
    loss = F.binary_cross_entropy_with_logits(logits, mask, reduction="none") * weight
    return loss.sum() / weight.sum().clip(min=1)


def iou(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """One minus the soft intersection over union, averaged over the images.

    Args:
        logits: (N, 1, H, W) float32.
        mask: (N, 1, H, W) float32 in [0, 1]; 0 at ignored pixels.
        weight: (N, 1, H, W) float32; 0 at ignored pixels, at least 1 elsewhere.

    Returns:
        Scalar in [0, 1]; 0 if both prediction and mask are empty.

    Source: Qin et al. 2019 (BASNet), equation 9; with weights, Wei et al. 2020 (F3Net).
    """
    saliency = F.sigmoid(logits)
    axes = [1, 2, 3]
    intersection = (saliency * mask * weight).sum(axes)
    union = ((saliency + mask) * weight).sum(axes) - intersection
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
    offset = paddle.arange(SSIM_WINDOW, dtype=logits.dtype) - SSIM_WINDOW // 2
    row = F.softmax(-(offset**2) / (2 * SSIM_SIGMA**2), axis=0)
    window = paddle.outer(row, row)[None, None]  # (1, 1, 11, 11)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window)

    x, y = F.sigmoid(logits) * valid, mask
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
    favours sharp edges and solid objects. `bce: 1, iou: 1, boundary: 5` is the pixel position aware loss of
    F3Net, averaged over the batch.

    Args:
        bce: weight of `bce`, at least 0.
        ssim: weight of `ssim`, at least 0.
        iou: weight of `iou`, at least 0.
        boundary: how much more `bce` and `iou` weigh pixels near an edge of the mask, at least 0; see
            `boundary_weight`.
        ignore_index: mask value of ignored pixels, such as those that padding transforms add.

    Raises:
        ValueError: a weight is negative or no finite number, all weights are 0, or `boundary` has no loss to
            act on.
    """

    def __init__(
        self,
        bce: float = 1.0,
        ssim: float = 0.0,
        iou: float = 0.0,
        boundary: float = 0.0,
        ignore_index: int = 255,
    ):
        super().__init__()
        self.weights, self.boundary = {"bce": bce, "ssim": ssim, "iou": iou}, boundary
        given = {**self.weights, "boundary": boundary}
        valid = all(type(value) in (int, float) and 0 <= value < math.inf for value in given.values())
        if not valid or not any(self.weights.values()):
            raise ValueError(f"{given}: expected finite weights of at least 0, and bce, ssim or iou above 0")
        if boundary and not (bce or iou):
            raise ValueError("boundary: has no effect on ssim. Fix: bce or iou above 0, or boundary: 0")
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, 1, H, W); half precision is converted to float32 first, also within `auto_cast`.
            label: (N, 1, H, W) or (N, H, W), in [0, 1] or `ignore_index`; any dtype.

        Returns:
            Scalar float32, or float64 if the logits are.
        """
        with paddle.amp.auto_cast(enable=False):
            return self._sum(full_precision(logits), label)

    def _sum(self, logits: Tensor, label: Tensor) -> Tensor:
        label = with_channel(label).astype(logits.dtype)
        valid = (label != self.ignore_index).astype(logits.dtype)
        mask = label * valid
        weight = boundary_weight(mask, valid, self.boundary) if self.boundary else valid
        terms = {"bce": (bce, weight), "ssim": (ssim, valid), "iou": (iou, weight)}
        parts = []
        for name, factor in self.weights.items():
            term, pixels = terms[name]
            if factor:
                parts.append(factor * term(logits, mask, pixels))
        return paddle.add_n(parts)
