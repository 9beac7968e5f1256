"""Floating-point precision of training."""

from __future__ import annotations

from typing import Any

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Operations that use half precision (white) or fp32 (black) against Paddle's own lists; as paddleseg 2.8.0
# core/train.py
WHITE_LIST, BLACK_LIST = {"elementwise_add", "batch_norm", "sync_batch_norm"}, {"bilinear_interp_v2"}


def amp_options(precision: str, level: str, device: str) -> dict[str, Any]:
    """Return the arguments of `paddle.amp.auto_cast`.

    On a CPU they leave it off, whatever the precision: Paddle computes in fp32 there. `cpu_engine` decides
    which half precision the CPU computes in otherwise.

    Args:
        precision: a key of `PRECISIONS`.
        level: O1 (selected operations in half precision) or O2 (nearly all of them).
        device: cpu, gpu, …
    """
    return {
        "enable": precision != "fp32" and device != "cpu",
        "dtype": PRECISIONS["fp16" if precision == "fp32" else precision],
        "level": level,
        "custom_white_list": WHITE_LIST,
        "custom_black_list": BLACK_LIST,
    }
