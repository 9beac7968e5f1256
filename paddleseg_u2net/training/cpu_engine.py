"""The choice of what computes the training steps on a CPU."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from paddleseg_u2net.onednn.library import Unavailable, has_bf16, library, version

if TYPE_CHECKING:
    from paddle import nn

    from paddleseg_u2net.data.dataset import Dataset

log = logging.getLogger(__name__)

CPU_ENGINES = ("auto", "onednn", "paddle")


def choose_cpu_engine(wanted: str, network: nn.Layer, device: str, precision: str) -> str:
    """Return `onednn` or `paddle`, and log why.

    Args:
        wanted: one of CPU_ENGINES; `auto` takes oneDNN where it works.
        network: the network to train.
        device: cpu, gpu, …
        precision: fp32, fp16 or bf16.

    Raises:
        ValueError: oneDNN was asked for by name, or is needed for the precision, and does not work here.
    """
    if device != "cpu" and wanted == "auto":
        return "paddle"
    obstacle = _obstacle(wanted, network, device, precision)
    if obstacle and device == "cpu" and precision != "fp32":
        raise ValueError(
            f"--precision {precision} on a CPU: {obstacle}. Fix: leave --precision out, or --device gpu"
        )
    if wanted == "onednn" and obstacle:
        raise ValueError(f"--cpu_engine onednn: {obstacle}. Fix: leave --cpu_engine out")
    if obstacle:
        log.info("Training steps are computed by Paddle: %s", obstacle)
        return "paddle"
    log.info("Training steps are computed by oneDNN %s, %s", version(), precision)
    return "onednn"


def training_network(network: nn.Layer, engine: str, precision: str) -> nn.Layer:
    """The network, as a training step calls it.

    Args:
        network: to train.
        engine: what `choose_cpu_engine` returned for it.
        precision: fp32 or bf16.
    """
    if engine != "onednn":
        return network
    from paddleseg_u2net.onednn.network import OneDnnNetwork

    return OneDnnNetwork(network, precision)


def plan_batches(model: nn.Layer, data: Dataset, batch_size: int, wanted: str) -> None:
    """Plan a step of each size of images before any is loaded; only oneDNN's needs are known ahead.

    A size that oneDNN refuses leaves all steps to Paddle, so that no step depends on the sizes before it.

    Args:
        model: result of `training_network`.
        data: training data; `multi_scale` is taken into account.
        batch_size: images per batch.
        wanted: as in `choose_cpu_engine`.

    Raises:
        ValueError: a step needs more memory than there is, and the message says how many images may fit; or
            oneDNN refuses it, and is wanted or needed for the precision.
    """
    from paddleseg_u2net.onednn.network import OneDnnNetwork

    if not isinstance(model, OneDnnNetwork):
        return
    channels, *size = data[0, 0]["img"].shape
    model.train()
    plan = model.plan if wanted == "onednn" else model.prepare  # the latter may leave the steps to Paddle
    for height, width in sorted(set(data.spec.multi_scale or [tuple(size)]), key=math.prod, reverse=True):
        try:
            plan((batch_size, channels, height, width))
        except Unavailable as error:
            fix = "other sizes, or leave --cpu_engine and --precision out"
            raise ValueError(f"oneDNN: {error}. Fix: {fix}") from error


def _obstacle(wanted: str, network: nn.Layer, device: str, precision: str) -> str:
    """Why oneDNN cannot train a network; empty where it can."""
    from paddleseg_u2net.models.u2net import U2Net

    if device != "cpu":
        return f"the device is {device}"
    if precision == "fp16":
        return "training in fp16 needs a GPU"
    if wanted == "paddle":
        return "--cpu_engine paddle was given"
    if not isinstance(network, U2Net):
        return f"the oneDNN engine knows U2Net and U2Netp, not {type(network).__name__}"
    from paddleseg_u2net.onednn.network import OneDnnNetwork

    try:
        library()
        OneDnnNetwork(network).plan((2, network.in_channels, 32, 32))
    except Unavailable as error:
        return f"oneDNN does not work here: {error}"
    if precision == "bf16" and not has_bf16():
        return "this processor has no units for bfloat16 (AVX512-BF16 or AMX)"
    return ""
