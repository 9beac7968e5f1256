"""The flags of a training run, and what they ask of Paddle. Light: no Paddle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# as paddleseg 2.8.0 core/train.py: these gain from or need the other precision than Paddle's lists say
WHITE_LIST, BLACK_LIST = {"elementwise_add", "batch_norm", "sync_batch_norm"}, {"bilinear_interp_v2"}


@dataclass
class Settings:
    """The flags of a run; see `train.py --help`."""

    save_dir: Path
    iters: int
    batch_size: int
    metric: str
    save_interval: int = 1000
    log_iters: int = 10
    num_workers: int = 0
    keep_checkpoint_max: int = 5
    early_stop_intervals: int | None = None
    do_eval: bool = False
    use_ema: bool = False
    use_vdl: bool = False
    precision: str = "fp32"
    amp_level: str = "O1"
    resume_model: Path | None = None
    seed: int = 0


def amp_options(precision: str, level: str, device: str) -> dict[str, Any]:
    """Arguments of `paddle.amp.auto_cast`.

    Raises:
        ValueError: half precision on a device where Paddle would silently compute in fp32.
    """
    if precision != "fp32" and device == "cpu":
        raise ValueError(
            f"--precision {precision}: Paddle computes in fp32 on a CPU whatever is asked for. "
            "Fix: leave --precision out, or use --device gpu"
        )
    return {
        "enable": precision != "fp32",
        "dtype": PRECISIONS["fp16" if precision == "fp32" else precision],
        "level": level,
        "custom_white_list": WHITE_LIST,
        "custom_black_list": BLACK_LIST,
    }
