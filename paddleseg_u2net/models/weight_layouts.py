"""Finds the weights in what a training script saved, and gives them the names of our networks.

The names of the five known implementations of U²-Net are rows of tables; docs/weights.md describes them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.bounds import WEIGHT_NAME, WEIGHT_OBJECTS, WEIGHT_SETS, Budget
from paddleseg_u2net.errors import counted, printable
from paddleseg_u2net.models.architecture import NETWORKS, SIDES
from paddleseg_u2net.models.safe_pickle import from_bfloat16
from paddleseg_u2net.models.unpickler import Unread

log = logging.getLogger(__name__)

State = dict[str, np.ndarray]
KERAS_MEMBER = "model.weights.h5"  # of a .keras archive
DEPTH = 6  # of nested containers that are searched
SHOWN = 3  # names in a message
# where training scripts put weights, the most common first
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights")
AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|average|averaged|shadow|teacher)(?=$|[._])")
OF_OPTIMIZER = re.compile(r"(^|[._])(optim\w*|moments?\d*|exp_avg\w*|accum\w*|velocity|momentum)(?=$|[._])")
# added inside of names by torch.compile, by activation checkpointing and by FSDP
INSERTED = re.compile(r"(?<![^.])(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
PREFIXES = ("module.", "model.", "net.", "network.")
COUNTERS = ("num_batches_tracked", "total_ops", "total_params")  # of PyTorch and of thop, no weights
STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}
MINDSPORE = {"gamma": "weight", "beta": "bias", "moving_mean": "_mean", "moving_variance": "_variance"}
# a name by which each layout of the family is recognised
FIRST = "stage1.rebnconvin.conv_s1.weight"
FIRST_OF_REIMPLEMENTATION = "encode_modules.0.conv_in.conv.weight"
MINDSPORE_NOTE = (
    "its names are those of the MindSpore port, which resizes inside of the network without half-pixel "
    "centres; this network uses them, as the official one does, so maps differ: docs/weights.md"
)
SEGALL_NOTE = (
    "looks like a checkpoint of SegAll, whose newer versions resize inside of the network with "
    "align_corners=True; this network uses False, as the official one does; maps may differ: docs/weights.md"
)
BIAS_NOTE = "its convolutions have no bias; zeros are added, which computes the same"


class WeightSet(NamedTuple):
    """Tensors that belong together in a file.

    Args:
        where: keys that lead to them, and prefix of their names, joined by dots.
        tensors: by name, without the prefix.
        others: names of tensors beside them, without the prefix.
        is_family: whether their names are those of a U²-Net.
    """

    where: str
    tensors: State
    others: list[str]
    is_family: bool

    def rank(self) -> tuple[bool, bool, bool, int, int]:
        """Smaller for what is more likely the network; averages come after what they are averages of."""
        words = [word for word in self.where.split(".") if word]
        known = [WRAPPERS.index(word) for word in words if word in WRAPPERS]
        return (
            not self.is_family,
            bool(OF_OPTIMIZER.search(self.where)),
            bool(AVERAGED.search(self.where)),
            0 if self.is_family else -sum(value.size for value in self.tensors.values()),
            known[0] if known else len(WRAPPERS) if words else -1,
        )


def _nodes_of_reimplementation() -> dict[str, str]:
    """Layer of WZMIAOMIAO's U²-Net -> node of `dataflow`.

    Source: deep-learning-for-image-processing@2ecf2ee pytorch_segmentation/u2net/src/model.py.
    """
    nodes = {"out_conv": "outconv"}
    nodes |= {f"side_modules.{i}": side for i, side in enumerate(reversed(SIDES))}
    counts = {"encode": 0, "decode": 0}
    for stage in NETWORKS["U2Net"]:  # the heights are the same in every network of the family
        kind = "decode" if stage.name.endswith("d") else "encode"
        prefix = f"{kind}_modules.{counts[kind]}"
        counts[kind] += 1
        nodes[f"{prefix}.conv_in"] = f"{stage.name}.rebnconvin"
        for i in range(stage.height):
            nodes[f"{prefix}.encode_modules.{i}"] = f"{stage.name}.rebnconv{i + 1}"
        for i in range(stage.height - 1):
            nodes[f"{prefix}.decode_modules.{i}"] = f"{stage.name}.rebnconv{stage.height - 1 - i}d"
    return nodes


class _Visits:
    """Counts visited objects and what is in them: few objects, each in others many times, are many paths."""

    def __init__(self) -> None:
        self.count = 0

    def visit(self, obj: Any) -> None:
        """Count an object; ValueError if there were too many."""
        self.count += 1 + len(obj)
        WEIGHT_OBJECTS.check(self.count)


def _name(key: Any) -> str:
    WEIGHT_NAME.check(len(text := str(key)))
    return text


def _of_module(obj: Unread, visits: _Visits, depth: int = 0) -> dict[str, Any]:
    """The tensors of a network that was saved as an object, by PyTorch or TorchScript."""
    fields = obj.fields if isinstance(obj.fields, Mapping) else {}
    visits.visit(fields)
    if isinstance(fields.get("_modules"), Mapping):
        groups = [fields.get(name) for name in ("_parameters", "_buffers", "_modules")]
        fields = {
            name: value for group in groups if isinstance(group, Mapping) for name, value in group.items()
        }
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            found[_name(name)] = value
        elif isinstance(value, Unread) and depth < DEPTH:
            found |= {
                f"{_name(name)}.{key}": array for key, array in _of_module(value, visits, depth + 1).items()
            }
    return found


def _mappings(obj: Any, visits: _Visits, where: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Every mapping with arrays in nested containers, and the keys that lead to it."""
    if isinstance(obj, Unread):
        obj = _of_module(obj, visits)
    if isinstance(obj, (list, tuple)):
        visits.visit(obj)
        obj = {i: value for i, value in enumerate(obj) if isinstance(value, (Mapping, Unread, list, tuple))}
    if not isinstance(obj, Mapping) or depth > DEPTH:
        return
    visits.visit(obj)
    # Paddle writes a tensor outside of a state dict as (name, array)
    values = {
        key: value[1] if isinstance(value, tuple) and len(value) == 2 else value for key, value in obj.items()
    }
    if arrays := {
        INSERTED.sub("", _name(key)): value for key, value in values.items() if isinstance(value, np.ndarray)
    }:
        yield where, arrays
    for key, value in values.items():
        yield from _mappings(value, visits, f"{where}.{_name(key)}" if where else _name(key), depth + 1)


def _sets(obj: Any) -> Iterator[WeightSet]:
    """All sets of weights in nested containers; names with several prefixes are several sets."""
    for where, arrays in _mappings(obj, _Visits()):
        prefixes = {
            key.removesuffix(first)
            for key in arrays
            for first in (FIRST, FIRST_OF_REIMPLEMENTATION)
            if key == first or key.endswith(f".{first}")
        }
        WEIGHT_SETS.check(len(prefixes))
        if not prefixes:
            yield WeightSet(where, _without_prefix(arrays), [], False)
        for prefix in sorted(prefixes, key=len):
            longer = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))
            own = {
                key: value
                for key, value in arrays.items()
                if key.startswith(prefix) and not (longer and key.startswith(longer))
                if not _is_of_optimizer(key.removeprefix(prefix), value)
            }
            label = ".".join(part for part in (where, prefix.rstrip(".")) if part)
            tensors = {key.removeprefix(prefix): value for key, value in own.items()}
            yield WeightSet(label, tensors, [key for key in arrays if key not in own], True)


def _is_of_optimizer(name: str, value: np.ndarray) -> bool:
    """Whether a tensor is a moment, or a single number beside the layers such as a learning rate."""
    return bool(OF_OPTIMIZER.search(name)) or (value.size == 1 and "." not in name)


def _without_prefix(arrays: State) -> State:
    """Remove what wrappers put before all names of a network of another family."""
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in arrays)), None):
        arrays = {key.removeprefix(prefix): value for key, value in arrays.items()}
    return arrays


def _choose(source: str, sets: list[WeightSet], key: str | None) -> WeightSet:
    """The set to use; the log names the others."""
    ranked = sorted(sets, key=WeightSet.rank)
    if key is not None:
        named = [row for row in ranked if row.where == key]
        if not named:
            names = ", ".join(sorted({row.where for row in ranked if row.where}))
            raise ValueError(f"holds no weights under '{key}'. Fix: one of {names or 'none'}")
        return named[0]
    chosen = ranked[0]
    others = [
        row.where
        for row in ranked[1:]
        if chosen.is_family and row.is_family and not OF_OPTIMIZER.search(row.where)
    ]
    if others:
        log.warning(
            "%s: holds several sets of weights: '%s' is used, not %s; u2net convert-weights --key NAME takes "
            "another one",
            source,
            chosen.where,
            _shown([f"'{name}'" for name in others]),
        )
    return chosen


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return printable(", ".join(names[:SHOWN])) + more


def _widened(value: np.ndarray) -> np.ndarray:
    """Half precision as float32, which is exact."""
    if value.dtype.itemsize == 2 and value.dtype.kind in "Vu":  # as Paddle and numpy store bfloat16
        return from_bfloat16(np.ascontiguousarray(value))
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _official_name(name: str, nodes: Mapping[str, str]) -> str:
    """The name in the official code of a tensor of the PyTorch re-implementation; others keep theirs."""
    layer, _, part = name.rpartition(".")
    if layer in nodes:
        return f"{nodes[layer]}.{part}"
    node, _, kind = layer.rpartition(".")
    return f"{nodes[node]}.{kind}_s1.{part}" if node in nodes and kind in ("conv", "bn") else name


def _renamed(chosen: WeightSet) -> State:
    """Arrays by the keys of `U2Net.state_dict()`, or by Paddle's names of statistics for other networks."""
    nodes = _nodes_of_reimplementation() if chosen.is_family else {}
    parts = {**STATISTICS, **MINDSPORE} if chosen.is_family else STATISTICS
    state, wider = {}, Budget(sum({id(value): value.nbytes for value in chosen.tensors.values()}.values()))
    for key, value in chosen.tensors.items():
        wider.take(2 * value.nbytes if value.dtype.itemsize == 2 else 0)  # widened for each of its names
        layer, _, part = _official_name(key, nodes).rpartition(".")
        if part not in COUNTERS:
            state[printable(".".join(filter(None, (layer, parts.get(part, part)))))] = _widened(value)
    return state


def _add_biases(state: State) -> bool:
    """Add zeros where no convolution before a BatchNorm has a bias; returns whether it did."""
    convolutions = [key for key in state if key.endswith(".conv_s1.weight")]
    missing = {f"{key.removesuffix('weight')}bias": len(state[key]) for key in convolutions}
    if any(key in state for key in missing) or not all(state[key].size for key in convolutions):
        return False
    state |= {key: np.zeros(count, np.float32) for key, count in missing.items()}
    return True


def find_state(source: str, content: Any, unread: list[str], key: str | None = None) -> State:
    """Find the weights in the content of a file and give them the names of our networks.

    What is left out, and what the implementation that wrote them computes differently, is logged.

    Args:
        source: name of the file, for messages.
        content: arrays in nested containers, or an object of a network.
        unread: full names of the classes of the file that are not read.
        key: which set of weights to take, as the log names it; None for the most likely one.

    Returns:
        Arrays by state-dict key; half precision is widened to float32. Empty if there are none.

    Raises:
        ValueError: there is no such set.
    """
    sets = [row._replace(where=printable(row.where)) for row in _sets(content)]
    if unread:
        log.warning(
            "%s: holds objects; none of their code is run, only tensors are read: %s", source, _shown(unread)
        )
    if not sets:
        return {}
    chosen = _choose(source, sets, key)
    others = [name for name in chosen.others if name.rpartition(".")[2] not in COUNTERS]
    if others:
        count = counted(len(others), "tensor")
        log.info("%s: left out %s beside the weights: %s", source, count, _shown(others))
    state = _renamed(chosen)
    if chosen.is_family:
        if any(name.endswith(".bn_s1.gamma") for name in chosen.tensors):
            log.warning("%s: %s", source, MINDSPORE_NOTE)
        elif isinstance(content, Mapping) and {"iters", "state_dict"} <= set(content):
            log.warning("%s: %s", source, SEGALL_NOTE)
        if _add_biases(state):
            log.info("%s: %s", source, BIAS_NOTE)
    return state
