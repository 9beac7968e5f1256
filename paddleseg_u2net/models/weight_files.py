"""Readers of weight files of all kinds, which never run code from a file.

Every reader returns {key: array}. Keys are those of `U2Net.state_dict()` for this family, and the stored ones
for any other network.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.bounds import HEADER_BYTES, WEIGHT_BYTES
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import MissingPackage, counted, printable
from paddleseg_u2net.io.archives import DAMAGE, open_zip
from paddleseg_u2net.io.onnx_files import external_files
from paddleseg_u2net.models.architecture import BN_EPSILON, NETWORKS, SIDES, dataflow
from paddleseg_u2net.models.run_folders import verify_unchanged
from paddleseg_u2net.models.safe_pickle import (
    TORCH_MAGIC,
    Pickled,
    checked_archive,
    from_bfloat16,
    read_legacy,
    read_single,
    read_zip,
)
from paddleseg_u2net.models.weight_layouts import KERAS_MEMBER, State, find_state

FOLDED_VARIANCE = np.float32(1 - BN_EPSILON)  # with it, BatchNorm of weight 1 and bias 0 is the identity
HEAD_BYTES = 512
SAVE = "Fix: fetch or save it again"


SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?", "U8": "u1", "I8": "i1"}
SAFETENSORS |= {f"{sign}{bits}": f"<{sign.lower()}{bits // 8}" for sign in "IU" for bits in (16, 32, 64)}


def _read_safetensors(path: Path) -> State:
    from safetensors import deserialize

    with path.open("rb") as file:
        HEADER_BYTES.check(int.from_bytes(file.read(8), "little"))
    arrays: State = {}
    for name, stored in deserialize(path.read_bytes()):
        if (kind := stored["dtype"]) not in SAFETENSORS:
            raise ValueError(
                f"holds {printable(name)!r} of type {kind}, expected whole numbers, or fractions of 16 bits "
                "or more. Fix: save it from the library that wrote it as float32"
            )
        array = np.frombuffer(stored["data"], SAFETENSORS[kind]).reshape(stored["shape"])
        arrays[name] = from_bfloat16(array) if kind == "BF16" else array
    return arrays


def _read_npz(path: Path) -> State:
    with checked_archive(path):
        pass
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _read_onnx(path: Path) -> State:
    """Read a published ONNX file of this family, whose convolutions contain their BatchNorm."""
    import onnx
    from onnx import numpy_helper

    if external_files(path):
        fix = f"onnx.save(onnx.load({str(path)!r}), 'one.onnx')"
        raise ValueError(f"keeps its weights in another file. Fix: in Python, {fix}")
    graph = onnx.load(path, load_external_data=False).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:  # PyTorch writes equal tensors once
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    found = [
        node
        for node in graph.node
        if node.op_type == "Conv" and all(name in arrays for name in node.input[1:])
    ]
    # names and order are the same in every network of the family
    convolutions = [node for node in dataflow(NETWORKS["U2Net"]) if node.weight]
    if any(node.op_type == "BatchNormalization" for node in graph.node) or len(found) != len(convolutions):
        raise ValueError(
            f"holds {counted(len(found), 'convolution')}, expected the {len(convolutions)} of U²-Net "
            "with BatchNorm folded in"
        )
    state: State = {}
    for node, conv_node in zip(convolutions, _heads_last(graph, found), strict=True):
        weight, *bias = [arrays[name] for name in conv_node.input[1:]]
        if not weight.size:  # its number of channels may be anything
            raise ValueError(f"holds a convolution of shape {weight.shape}, which has no weights")
        name, channels, has_norm = node.name, len(weight), node.operation == "conv_relu"
        conv = f"{name}.conv_s1" if has_norm else name
        state[f"{conv}.weight"] = weight
        state[f"{conv}.bias"] = bias[0] if bias else np.zeros(channels, np.float32)
        if has_norm:
            identity = {"weight": 1, "bias": 0, "_mean": 0, "_variance": FOLDED_VARIANCE}
            for key, value in identity.items():
                state[f"{name}.bn_s1.{key}"] = np.full(channels, value, np.float32)
    return state


def _heads_last(graph: Any, convolutions: list[Any]) -> list[Any]:
    """Sort the convolutions of a graph as `dataflow` does: side outputs as they are fused, then the fusion.

    The order in the file is not enough, because implementations compute the side outputs in other orders.
    """
    maker = {output: node for node in graph.node for output in node.output}
    fused = convolutions[-1]  # it needs all others
    joined = maker.get(fused.input[0])
    sides = []
    for name in joined.input if joined is not None and joined.op_type == "Concat" else ():
        node = maker.get(name)
        for _ in graph.node:  # no more, as a file can have cycles
            if node is not None and node.op_type != "Conv":
                node = maker.get(node.input[0]) if node.input else None
        sides.append(node)
    if len(sides) != len(SIDES) or any(side is None or side.op_type != "Conv" for side in sides):
        raise ValueError("its last convolution does not fuse six side outputs, as that of U²-Net does")
    rest = [node for node in convolutions if node is not fused and not any(node is side for side in sides)]
    return [*rest, *sides, fused]


def state_of(layer: Any) -> State:
    """Return the weights of a network as numpy arrays, by state-dict key."""
    return {key: value.numpy() for key, value in layer.state_dict().items()}


def _read_keras(path: Path) -> State:
    from paddleseg_u2net.models.keras_files import read_keras

    return read_keras(path)


def _read_mindspore(path: Path) -> State:
    from paddleseg_u2net.models.mindspore_files import read_mindspore

    return read_mindspore(path)


class Format(NamedTuple):
    """A format of weight files.

    Args:
        name: for messages.
        suffixes: usual ones, for messages; the content decides.
        matches: whether a file is of this format, from its path and first bytes.
        read: reads arrays in containers.
    """

    name: str
    suffixes: str
    matches: Callable[[Path, bytes], bool]
    read: Callable[[Path], Any]


def _zip_with(suffix: str) -> Callable[[Path, bytes], bool]:
    """Whether a file is a ZIP archive with a member whose name ends so."""

    def matches(path: Path, head: bytes) -> bool:
        if not head.startswith(b"PK") or not zipfile.is_zipfile(path):
            return False
        with path.open("rb") as file, contextlib.suppress(*DAMAGE), open_zip(file) as archive:
            return any(name.endswith(suffix) for name in archive.namelist())
        return False

    return matches


def _starts(*beginnings: bytes) -> Callable[[Path, bytes], bool]:
    return lambda _, head: head.startswith(beginnings)


def _is_safetensors(path: Path, head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


MAGIC_BYTES = TORCH_MAGIC.to_bytes(10, "little")
FORMATS = (
    Format("PyTorch", ".pth, .pt, .ckpt, .tar, .bin", _zip_with("data.pkl"), read_zip),
    Format("Keras", ".keras", _zip_with(KERAS_MEMBER), _read_keras),
    Format("numpy", ".npz", _zip_with(".npy"), _read_npz),
    Format("Keras", ".h5", _starts(b"\x89HDF\r\n\x1a\n"), _read_keras),
    Format("safetensors", ".safetensors", _is_safetensors, _read_safetensors),
    Format("PyTorch before 1.6", ".pth", lambda _, head: MAGIC_BYTES in head[:32], read_legacy),
    Format("Paddle", ".pdparams", _starts(b"\x80"), read_single),
    Format("MindSpore", ".ckpt", _starts(b"\x0a"), _read_mindspore),
    Format("ONNX with BatchNorm folded in", ".onnx", _starts(b"\x08"), _read_onnx),
)
SUFFIXES = ", ".join(dict.fromkeys(suffix for row in FORMATS for suffix in row.suffixes.split(", ")))
# beginnings of files that are often taken for weights: what they are, and what to do
MISTAKEN = {
    b"": ("is empty", "fetch or save it again"),
    b"<": ("is a web page", "fetch the file itself"),
    b"version https://git-lfs": ("is a pointer of Git LFS", "git lfs pull"),
    b"\x1f\x8b": ("is a gzip archive", "unpack it"),
    b"\xd8^:\x7f": ("is an encrypted checkpoint of MindSpore", "save it without enc_key"),
    b"model_checkpoint_path": ("is an index of TensorFlow", "save with model.save_weights('u2net.h5')"),
    b"PK": ("is a ZIP archive that is damaged, or without weights", "fetch it again, or unpack it"),
}


def _unknown(head: bytes) -> ValueError:
    """The error for a file of no known format."""
    if head[257:262] == b"ustar":
        return ValueError("is a tar archive. Fix: unpack it, and give the weight file inside")
    for beginning, (what, fix) in MISTAKEN.items():
        if head.startswith(beginning) and (beginning or not head):
            return ValueError(f"{what}. Fix: {fix}")
    known = ", ".join(f"{row.name} ({row.suffixes})" for row in FORMATS)
    return ValueError(
        f"begins with {head[:8]!r}, which no known format does. Fix: a file of {known}; of TensorFlow "
        "checkpoints, save with model.save_weights('u2net.h5')"
    )


def read_state(path: str | Path, key: str | None = None) -> State:
    """Read a weight file; its content decides the format, not its suffix.

    Args:
        path: file of Paddle, PyTorch, Keras, MindSpore, ONNX (BatchNorm folded), safetensors or numpy.
        key: which set of weights to take from a file with several; None for the most likely one.

    Returns:
        Arrays by state-dict key, see `weight_layouts.find_state`.

    Raises:
        FileNotFoundError: there is no such file.
        MissingPackage: the format needs a package that is not installed.
        ValueError: its format is unknown, it is broken or not as its run has written it, or it holds no
            tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    verify_unchanged(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    row: Format | None = None
    unread: list[str] = []
    try:
        row = next((row for row in FORMATS if row.matches(path, head)), None)
        if row is None:
            raise _unknown(head)
        if path.stat().st_size > WEIGHT_BYTES.most:
            raise ValueError(f"is larger than {WEIGHT_BYTES.most >> 30} GiB. Fix: save the weights alone")
        content = row.read(path)
        if isinstance(content, Pickled):
            content, unread = content
        state = find_state(str(path), content, unread, key)
    except MissingPackage:
        raise
    except Exception as error:  # each library raises errors of its own
        fix = "" if "Fix: " in str(error) else f". {SAVE}"
        what, kind = reason(error), f"weights of {row.name}" if row else "weights"
        raise ValueError(f"{path}: cannot be read as {kind}: {what}{fix}") from error
    if not state:
        besides = f", only objects that are not read: {printable(', '.join(unread[:9]))}" if unread else ""
        raise ValueError(f"{path}: holds no tensors{besides}. Fix: save the state_dict() of the network")
    return state
