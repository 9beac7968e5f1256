"""How a training step computes its loss and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import Tensor

from paddleseg_u2net.losses.supervision import deep_supervision


class PaddleGradients:
    """Computes the loss of a batch and its gradients with Paddle.

    Each call adds to the gradients of the parameters; `Trainer.step` uses and clears them.

    Args:
        model: network in train mode, as wrapped for half precision or several processes.
        losses: `types` and `coef`, one of each per output.
        amp: arguments of `paddle.amp.auto_cast`.
        scaler: scales the loss, so that small gradients do not vanish in float16; None otherwise.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        losses: dict[str, list],
        amp: Mapping[str, Any],
        scaler: paddle.amp.GradScaler | None = None,
    ):
        self.model, self.losses, self.amp, self.scaler = model, losses, amp, scaler

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Add the gradients of one batch.

        Args:
            batch: `img` (N, C, h, w) float32, and `label` (N, 1, h, w) float32 or int64.

        Returns:
            The loss and its weighted parts per output, scalars without gradient.
        """
        with paddle.amp.auto_cast(**self.amp):
            outputs = self.model(batch["img"])
        # Losses subtract and sum many values, for which half precision is too coarse
        outputs = [logits.astype("float32") for logits in outputs]
        loss, parts = deep_supervision(outputs, batch["label"], self.losses)
        (self.scaler.scale(loss) if self.scaler else loss).backward()
        return loss.detach(), [part.detach() for part in parts]
