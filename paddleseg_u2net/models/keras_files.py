"""Reader of Keras weights of the TensorFlow port, in the layouts of Keras 2 and Keras 3.

Source: patrickisroman/u2net-tensorflow@d70fc14 model/u2net.py; train.py saves with `model.save_weights`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import mmap
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.bounds import HEAP_BYTES, HEAP_NAMES, WEIGHT_OBJECTS, Budget
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import counted
from paddleseg_u2net.models.architecture import BN_EPSILON, HEADS, NETWORKS, SIDES, Identity, dataflow
from paddleseg_u2net.models.safe_pickle import checked_archive
from paddleseg_u2net.models.weight_layouts import KERAS_MEMBER, State

log = logging.getLogger(__name__)

KERAS_EPSILON = 1e-3  # default of BatchNormalization, which the port does not change
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "_mean", "moving_variance": "_variance"}
VARIABLES = {"conv": ("kernel", "bias"), "bn": tuple(NORM)}  # order of Keras 3, which numbers them
HEAP = re.compile(rb"GCOL\x01\0\0\0(.{8})", re.DOTALL)  # a piece of a heap of texts in HDF5, and its length
# paths are made of attributes in tf_keras 2.13 and later, and of numbered classes in Keras 3
BLOCK = re.compile(r"/(stage[1-6]d?|(rsu\df?)(?:_(\d))?)/conv_b(\d)(_d)?/(conv|bn)/vars/(\d)$")
HEAD = re.compile(r"/(side[1-6]|outconv|conv2d(?:_(\d))?)/vars/(\d)$")
STAGES = {  # stages of each class, in the order in which the port makes them
    "rsu7": ("stage1", "stage1d"),
    "rsu6": ("stage2", "stage2d"),
    "rsu5": ("stage3", "stage3d"),
    "rsu4": ("stage4", "stage4d"),
    "rsu4f": ("stage5", "stage6", "stage5d"),
}
EPSILON_NOTE = (
    "Keras weights: {} is added to each variance, because BatchNorm of Keras adds 0.001 where this network "
    "adds 0.00001. The port divides pixels by 255 and uses no mean and std, so Normalize needs mean 0, std 1"
)


def read_keras(path: Path) -> State:
    """Read the weights of the TensorFlow port.

    Args:
        path: .h5 of Keras 2, .weights.h5 of Keras 3, or a .keras archive.

    Returns:
        Arrays by the keys of `U2Net.state_dict()`.

    Raises:
        MissingPackage: h5py is not installed.
        ValueError: the layers are not those of the port, or the file refers to other files.
    """
    h5py = need("h5py")
    source: Any = path
    if zipfile.is_zipfile(path):
        with checked_archive(path) as archive:
            source = io.BytesIO(archive.read(KERAS_MEMBER))
    _check_heaps(source)
    with h5py.File(source, "r") as file:
        reader = _Datasets(h5py, path.stat().st_size)
        root = reader.child(file, "model_weights") if file.id.links.exists(b"model_weights") else file
        if "layer_names" in root.attrs:
            layers = _by_order(reader.legacy(root))
        else:
            layers = _by_path(reader.walk(root))
    log.info("%s: %s", path, EPSILON_NOTE.format(f"{KERAS_EPSILON - BN_EPSILON:g}"))
    return _state(layers)


class _Datasets:
    """Reads arrays of an HDF5 file, and nothing that lies outside of it."""

    def __init__(self, h5py: Any, stored: int):
        self.h5py, self.budget = h5py, Budget(stored)
        self.count = 0

    def child(self, group: Any, path: str) -> Any:
        """A member of a group; links to other places and files are refused, on the way to it too."""
        for name in path.split("/"):
            self.count += 1
            WEIGHT_OBJECTS.check(self.count)
            if not self._is_inside(group, name):
                raise ValueError(
                    f"{group.name}/{name} is missing, or a link. Only data in the file itself are read"
                )
            group = group[name]
        return group

    def _is_inside(self, group: Any, name: str) -> bool:
        """Whether a member is data of the file itself; h5py's own methods would open linked files."""
        try:
            return group.id.links.get_info(name.encode()).type == self.h5py.h5l.TYPE_HARD
        except KeyError:
            return False

    def array(self, dataset: Any) -> np.ndarray:
        """The values of a dataset."""
        if not isinstance(dataset, self.h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise ValueError(f"{dataset.name} is not an array stored in the file itself")
        if dataset.dtype.kind != "f":
            raise ValueError(f"{dataset.name} has type {dataset.dtype}, expected floats")
        self.budget.take(dataset.size * dataset.dtype.itemsize)
        return np.asarray(dataset[()])

    def legacy(self, root: Any) -> Iterator[tuple[str, np.ndarray]]:
        """Names and values in the order of Keras 2."""
        for layer in _names(root.attrs, "layer_names"):
            group = self.child(root, layer)
            folders: dict[str, Any] = {"": group}
            for name in _names(group.attrs, "weight_names"):
                folder, _, last = name.rpartition("/")
                if folder not in folders:
                    folders[folder] = self.child(group, folder)
                yield name, self.array(self.child(folders[folder], last))

    def walk(self, group: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
        """Paths and values of the network, without those of the optimizer."""
        for name in group:
            if not path and name == "optimizer":
                continue
            found, where = self.child(group, name), f"{path}/{name}"
            if isinstance(found, self.h5py.Group):
                yield from self.walk(found, where)
            elif found.dtype.kind == "f":
                yield where, self.array(found)


def _check_heaps(source: Any) -> None:
    """Raise ValueError for a long text, of which each name in a list could be a copy."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, io.BytesIO):
            content: Any = source.getbuffer()
        else:
            file = stack.enter_context(source.open("rb"))
            content = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for found in HEAP.finditer(content):
            HEAP_BYTES.check(int.from_bytes(found[1], "little"))


def _names(attributes: Any, name: str) -> list[str]:
    """A list of names; Keras splits a long one over several attributes."""
    keys = [name] if name in attributes else [f"{name}{i}" for i in range(len(attributes))]
    keys = [key for key in keys if key in attributes]
    HEAP_NAMES.check(max((math.prod(attributes.get_id(key).shape) for key in keys), default=0))
    rows = [row for key in keys for row in attributes[key]]
    return [row.decode() if isinstance(row, bytes) else str(row) for row in rows]


def _by_path(arrays: Iterator[tuple[str, np.ndarray]]) -> dict[str, State]:
    """Kernel, bias and BatchNorm of each node of `dataflow`, by the paths of Keras 3."""
    layers: dict[str, State] = {}
    for path, value in arrays:
        if match := BLOCK.search(path):
            stage, kind_of_stage, number, level, back, kind, index = match.groups()
            if kind_of_stage:
                stage = STAGES[kind_of_stage][int(number or 0)]
            node = f"{stage}.rebnconv{'in' if level == '0' else level}{'d' if back else ''}"
        elif match := HEAD.search(path):
            (name, number, index), kind = match.groups(), "conv"
            node = f"conv2d_{number or 0}" if name.startswith("conv2d") else name
        else:
            raise ValueError(f"{path} is no layer of the TensorFlow port of U²-Net")
        layers.setdefault(node, {})[VARIABLES[kind][int(index)]] = value
    return _named_heads(layers)


def _named_heads(layers: dict[str, State]) -> dict[str, State]:
    """Name numbered heads: U2NET makes the side outputs from fine to coarse, U2NETP from coarse to fine.

    In U2NETP alone all side outputs read the same number of channels.
    """
    numbered = [f"conv2d_{i}" for i in range(len(HEADS))]
    if not all("kernel" in layers.get(name, {}) for name in numbered):
        return layers
    narrow = len({layers[name]["kernel"].shape for name in numbered[:-1]}) == 1
    order = [*(reversed(SIDES) if narrow else SIDES), "outconv"]
    names = dict(zip(numbered, order, strict=True))
    return {names.get(node, node): parts for node, parts in layers.items()}


def _by_order(arrays: Iterator[tuple[str, np.ndarray]]) -> dict[str, State]:
    """Kernel, bias and BatchNorm of each node of `dataflow`, by the order in which Keras 2 made the layers.

    Keras numbers layers as they are made, so the numbers are reliable where the order in the file is not:
    weights of frozen layers come last.
    """
    found: dict[str, list[tuple[str, np.ndarray]]] = {}
    for name, value in arrays:
        found.setdefault(name.rpartition("/")[2].partition(":")[0], []).append((name, value))
    kinds = {kind: _sorted(rows) for kind, rows in found.items()}
    kernels = kinds.get("kernel", [])
    sequence = _match(kernels)
    norms = [node for node in sequence if "." in node]
    layers: dict[str, State] = {node: {} for node in sequence}
    for kind in ("kernel", "bias", *NORM):
        nodes = norms if kind in NORM else sequence
        if len(kinds.get(kind, [])) != len(nodes):
            raise ValueError(f"holds {len(kinds.get(kind, []))} arrays '{kind}', expected {len(nodes)}")
        for node, value in zip(nodes, kinds[kind], strict=True):
            layers[node][kind] = value
    return layers


def _sorted(rows: list[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """Arrays by the numbers of their layers (conv2d, conv2d_1, …), or as they come where these repeat."""
    layers = [name.split("/")[-2] if "/" in name else name for name, _ in rows]
    numbers = [int(match[1]) if (match := re.search(r"_(\d+)$", layer)) else 0 for layer in layers]
    if len(set(numbers)) < len(numbers):
        return [value for _, value in rows]
    return [value for _, (_, value) in sorted(zip(numbers, rows, strict=True), key=lambda pair: pair[0])]


def _match(kernels: Sequence[np.ndarray]) -> list[str]:
    """Node of each kernel: U2NET of the port makes the side outputs last, U2NETP one after each stage."""
    if kernels and all(kernel.ndim == 4 for kernel in kernels):
        shapes = [(k.shape[3], k.shape[2], *k.shape[:2]) for k in kernels]
        for name in NETWORKS:
            identity = Identity(name, shapes[0][1], shapes[-1][0])
            for sequence in _sequences(identity):
                if list(sequence.values()) == shapes:
                    return list(sequence)
    raise ValueError(
        f"holds {counted(len(kernels), 'kernel, which does', 'kernels, which do')} not fit the "
        f"{', '.join(NETWORKS)} of the TensorFlow port"
    )


def _sequences(identity: Identity) -> Iterator[dict[str, tuple[int, ...]]]:
    """Shapes of convolutions by node, in the two orders of the port."""
    flow = dataflow(NETWORKS[identity.network], identity.in_channels, identity.num_classes)
    weights = {node.name: node.weight for node in flow if node.weight}
    yield weights
    after = {"stage6": "side6", **{f"stage{i}d": f"side{i}" for i in range(1, 6)}}
    order: list[str] = []
    for node in flow:
        if node.operation == "conv_relu":
            order.append(node.name)
        elif node.name in after:
            order.append(after[node.name])
    yield {name: weights[name] for name in [*order, "outconv"]}


def _state(layers: Mapping[str, State]) -> State:
    """Kernels as (out, in, h, w), and variances for our epsilon."""
    state: State = {}
    for node, parts in layers.items():
        conv, norm = (f"{node}.conv_s1", f"{node}.bn_s1") if "." in node else (node, "")
        for name, value in parts.items():
            if name == "kernel":
                state[f"{conv}.weight"] = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
            elif name == "bias":
                state[f"{conv}.bias"] = value
            else:
                state[f"{norm}.{NORM[name]}"] = value
        if "moving_variance" in parts:
            shifted = parts["moving_variance"].astype(np.float64) + (KERAS_EPSILON - BN_EPSILON)
            state[f"{norm}._variance"] = shifted.astype(np.float32)
    return state
