"""The `finetune` section of a config: frozen layers, BatchNorm statistics, pull to the first weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn.layer.norm import _BatchNormBase  # BatchNorm1D to 3D and SyncBatchNorm; Paddle exports no base

from paddleseg_u2net.errors import ConfigError, suggest
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.models.checkpoint import START
from paddleseg_u2net.models.weight_files import State, read_state, state_of
from paddleseg_u2net.training.ema import interpolate

log = logging.getLogger(__name__)

NORMS = (_BatchNormBase, nn.BatchNorm)


def prepare_finetuning(network: nn.Layer, section: Mapping[str, Any], resumed: Path | None = None) -> None:
    """Freeze parts of a network and set how its BatchNorm statistics move; they stay so in train mode.

    Args:
        network: changed in place.
        section: `finetune` of a config; the keys are those of `schema.FINETUNE_KEYS`.
        resumed: `iter_N` folder that the run resumes from.

    Raises:
        ConfigError: `freeze` names no part of the network, or nothing is left to train.
        FileNotFoundError: the resumed run has kept no first weights, which `l2_sp` needs.
    """
    if not section:
        return
    if resumed and section.get("l2_sp"):
        _first_weights(resumed)  # fails before the files of an earlier run are moved
    frozen, count = section.get("freeze", []), len(_trained(network))
    _require_known(network, frozen)
    for name, parameter in network.named_parameters():
        if _inside(name, frozen):
            parameter.stop_gradient = True
    which = section.get("freeze_batch_norm")
    for name, layer in network.named_sublayers(include_self=True):
        if not isinstance(layer, NORMS):
            continue
        layer._momentum = section.get("batch_norm_momentum", layer._momentum)
        if which or _inside(name, frozen):
            _freeze_statistics(layer)
        for parameter in layer.parameters() if which == "all" else ():
            parameter.stop_gradient = True
    if not _trained(network):
        raise ConfigError("finetune: freeze: nothing is left to train. Fix: freeze fewer layers")
    log.info("Fine-tuning %d of %d weight tensors", len(_trained(network)), count)


def _trained(network: nn.Layer) -> list[tuple[str, Tensor]]:
    """Names and values of the parameters to train; Paddle counts BatchNorm statistics as others."""
    return [(name, value) for name, value in network.named_parameters() if not value.stop_gradient]


def _inside(name: str, layers: list[str]) -> bool:
    """Whether a parameter or layer is part of one of some layers; stage1 holds stage1.x, not stage1d.x."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)


def _require_known(network: nn.Layer, prefixes: list[str]) -> None:
    # layers only: Paddle computes no gradient of a BatchNorm's shift where its scale has none
    layers = [name for name, _ in network.named_sublayers()]
    for prefix in prefixes:
        if prefix not in layers:
            top = [name for name in layers if "." not in name]
            raise ConfigError(f"finetune: freeze: {prefix}: no such layer.{suggest(prefix, top)}")


def _freeze_statistics(norm: Any) -> None:
    """Make a BatchNorm use its stored statistics, and keep them, in train mode too."""
    norm._use_global_stats = True
    norm.register_forward_pre_hook(_in_eval_mode)  # SyncBatchNorm does not read `_use_global_stats`


def _in_eval_mode(norm: nn.Layer, inputs: Any) -> None:
    norm.eval()


class StartingWeights:
    """Pulls the trained weights towards those that the run started from (L2-SP).

    The penalty strength / 2 * |w - w0|² is decoupled from the gradient, as weight decay is in AdamW: each
    step moves w by learning rate * strength * (w0 - w) before the optimizer does.

    Args:
        network: its parameters that are not frozen are pulled.
        state: first weights by state-dict key, numpy arrays.
        strength: weight of the penalty, above 0.

    Raises:
        ConfigError: the weights are in half precision.

    Source: Li et al. 2018 (arXiv:1802.01483), equation 2, here for all weights, heads with random initial
    weights included; decoupled as in Loshchilov & Hutter 2019 (arXiv:1711.05101).
    """

    def __init__(self, network: nn.Layer, state: Mapping[str, np.ndarray], strength: float):
        self.strength = strength
        self.parameters: list[Any] = [parameter for _, parameter in _trained(network)]
        if any(parameter.dtype != paddle.float32 for parameter in self.parameters):
            raise ConfigError("finetune: l2_sp: needs weights in float32. Fix: --amp_level O1")
        self.first = [paddle.to_tensor(state[name]) for name, _ in _trained(network)]
        self.scratch = [paddle.zeros_like(parameter) for parameter in self.parameters]

    def pull(self, learning_rate: float) -> None:
        """Move the weights towards the first ones, as one step at this learning rate does."""
        factors = [parameter.optimize_attr["learning_rate"] for parameter in self.parameters]
        shares = [learning_rate * self.strength * factor for factor in factors]
        interpolate(self.parameters, self.first, self.scratch, shares)


def starting_weights(
    network: nn.Layer, section: Mapping[str, Any], save_dir: Path, resumed: Path | None, first_rank: bool
) -> StartingWeights | None:
    """What `finetune: l2_sp` asks for; None without it.

    Args:
        network: in the precision it is trained in, with the weights that the run starts from unless resumed.
        section: `finetune` of a config.
        save_dir: folder of the run, into which the first weights are written.
        resumed: `iter_N` folder that the run resumes from; the first weights are read from its run.
        first_rank: whether this process writes.

    Raises:
        FileNotFoundError: the resumed run has kept no first weights.
    """
    strength = section.get("l2_sp", 0)
    if not strength:
        return None
    state: Any = _first_weights(resumed) if resumed else state_of(network)
    start = StartingWeights(network, state, strength)  # raises before anything is written
    if first_rank:
        with atomic_write(save_dir / START) as partial:
            paddle.save(state, str(partial))
    return start


def _first_weights(resumed: Path) -> State:
    path = resumed.parent / START
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing, finetune: l2_sp needs it. Fix: resume a run with l2_sp")
    return read_state(path)
