"""What losses are called with.

Logits are (N, C, H, W). Labels are soft masks (N, 1, H, W) float32 in [0, 1] for saliency (num_classes 1) and
class ids (N, 1, H, W) int64 for segmentation. Pixels equal to `ignore_index` are ignored.
"""

from __future__ import annotations

import paddle
from paddle import Tensor


def with_channel(label: Tensor) -> Tensor:
    """Labels as (N, 1, H, W); paddleseg's training passes (N, H, W)."""
    return label.unsqueeze(1) if label.ndim == 3 else label


def full_precision(logits: Tensor) -> Tensor:
    """Logits as float32: losses sum many values and subtract similar ones. float64 is kept."""
    return logits if logits.dtype == paddle.float64 else logits.astype("float32")
