"""Learning rate schedules: those of Paddle, with the length of the run and a warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from paddleseg_u2net.config.loader import section
from paddleseg_u2net.config.schema import check_arguments
from paddleseg_u2net.errors import ConfigError, suggest

SCHEDULE_LENGTH = {
    "PolynomialDecay": "decay_steps",
    "OneCycleLR": "total_steps",
    "CosineAnnealingDecay": "T_max",
}
SCHEDULES = {
    name: found
    for name, found in vars(paddle.optimizer.lr).items()
    if isinstance(found, type)
    and issubclass(found, paddle.optimizer.lr.LRScheduler)
    and name != "LRScheduler"
}
WARMUP_KEYS = ("warmup_iters", "warmup_start_lr")


def build_schedule(config: Mapping[str, Any]) -> paddle.optimizer.lr.LRScheduler:
    """Build the `lr_scheduler` section; schedules that need a length get the run's, without the warm-up.

    Args:
        config: with `lr_scheduler` and `iters`.

    Raises:
        ConfigError: unknown type, keys or values.
    """
    cfg = dict(section(config, "lr_scheduler"))
    kind = cfg.pop("type")
    if kind not in SCHEDULES:
        raise ConfigError(f"lr_scheduler: type: {kind}: no such schedule.{suggest(kind, SCHEDULES)}")
    warmup = {key: cfg.pop(key) for key in WARMUP_KEYS if key in cfg}
    steps = warmup.get("warmup_iters", 0)
    if len(warmup) == 1 or type(steps) is not int or steps < 0:
        raise ConfigError("lr_scheduler: warmup_iters, warmup_start_lr: expected steps and rate, or neither")
    if length := SCHEDULE_LENGTH.get(kind):
        cfg.setdefault(length, max(config["iters"] - steps, 1))
    check_arguments(f"lr_scheduler: {kind}", SCHEDULES[kind], cfg)
    try:
        schedule = SCHEDULES[kind](**cfg)
        if not steps:
            return schedule
        return paddle.optimizer.lr.LinearWarmup(
            learning_rate=schedule,
            warmup_steps=steps,
            start_lr=warmup["warmup_start_lr"],
            end_lr=cfg["learning_rate"],
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"lr_scheduler: {kind}: {error}") from error
