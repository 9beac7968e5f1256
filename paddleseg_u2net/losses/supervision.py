"""Deep supervision: one loss per output of the network."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor


def deep_supervision(outputs: Sequence[Tensor], label: Tensor, losses: dict) -> tuple[Tensor, list[Tensor]]:
    """Compute one loss per output and their weighted sum.

    Args:
        outputs: logits (N, C, H, W) of each output, fused output first.
        label: (N, 1, H, W); or (N, C, H, W) of C labels that overlap, each of which is measured alone.
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
        if squeeze and label.shape[1] > 1:  # labels that overlap: each is a map of its own
            value = loss(*(x.reshape([-1, 1, *x.shape[2:]]) for x in (logits, label)))
        else:
            value = loss(logits, label.squeeze(1) if squeeze else label)
        parts.append(coef * (sum(value) if isinstance(value, list) else value))
    return paddle.add_n(parts), parts
