"""Keras files of the TensorFlow port in all its layouts, and files that point elsewhere.

The real file in `golden/` (see test_other_implementations.py) is rewritten here into the other layouts, whose
paths and order were compared with files of tf_keras 2.21 and Keras 3.15.
"""

from __future__ import annotations

import lzma
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from support import GOLDEN

from paddleseg_u2net.errors import MissingPackage
from paddleseg_u2net.models import keras_files
from paddleseg_u2net.models.architecture import NETWORKS, U2NET
from paddleseg_u2net.models.weight_files import read_state

h5py = pytest.importorskip("h5py")
CLASSES = {"stage1": "rsu7", "stage2": "rsu6", "stage3": "rsu5", "stage4": "rsu4", "stage5": "rsu4f"}
CLASSES |= {f"stage{i}d": f"{CLASSES[f'stage{i}']}_1" for i in range(1, 5)}
CLASSES |= {"stage6": "rsu4f_1", "stage5d": "rsu4f_2"}
VARIABLES = ("weight", "bias", "_mean", "_variance")
NAMES = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """The real file; its network is narrow."""
    tiny = tuple(replace(stage, mid_channels=2, out_channels=3) for stage in U2NET)
    monkeypatch.setitem(NETWORKS, "Tiny", tiny)
    path = tmp_path / "keras.h5"
    path.write_bytes(lzma.decompress((GOLDEN / "keras.h5.xz").read_bytes()))
    return path


READ = {}


@pytest.fixture
def state(golden):
    """What the real file holds, read once for all tests."""
    if not READ:
        READ.update(read_state(golden))
    return dict(READ)


def variables(state):
    """(node, kind, values as Keras has them), a layer at a time."""
    for key in (key for key in state if key.endswith(".weight") and ".bn_s1" not in key):
        node = key.removesuffix(".weight").removesuffix(".conv_s1")
        conv = key.removesuffix("weight")
        yield node, "conv", [state[key].transpose(2, 3, 1, 0), state[f"{conv}bias"]]
        if "." in node:
            norm = [state[f"{node}.bn_s1.{name}"] for name in VARIABLES]
            yield node, "bn", [*norm[:3], norm[3] - np.float32(1e-3 - 1e-5)]


def keras_path(node, kind, stages, heads):
    block, _, conv = node.rpartition(".")
    if not block:
        return heads.get(node, node)
    level = conv.removeprefix("rebnconv").replace("in", "0")
    return f"{stages.get(block, block)}/conv_b{level.replace('d', '_d')}/{kind}"


def write_keras_3(path, state, stages=None, heads=None):
    with h5py.File(path, "w") as file:
        file["optimizer/vars/0"] = np.ones(3)
        for node, kind, values in variables(state):
            for index, value in enumerate(values):
                place = keras_path(node, kind, stages or {}, heads or {})
                file[f"layers/u2net/layers/{place}/vars/{index}"] = value


def write_keras_2(path, state, sequence, root="/"):
    """Weights of Keras 2 in the order of `sequence`, numbered from 3 as in a second network of a process."""
    layers = {(node, kind): values for node, kind, values in variables(state)}
    trained, statistics, numbers = [], [], {"conv": 3, "bn": 3}
    for node in sequence:
        for kind in ("conv", "bn"):
            if values := layers.get((node, kind)):
                label = f"{'conv2d' if kind == 'conv' else 'batch_normalization'}_{numbers[kind]}"
                numbers[kind] += 1
                names = ("kernel:0", "bias:0") if kind == "conv" else NAMES
                rows = [(f"u2net/{label}/{name}", v) for name, v in zip(names, values, strict=True)]
                trained += rows[:2]
                statistics += rows[2:]
    with h5py.File(path, "w") as file:
        group = file.require_group(root)
        group.attrs["layer_names"] = np.array([b"input_1", b"u2net"])
        group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        layer = group.create_group("u2net")
        names = np.array([name.encode() for name, _ in trained + statistics])
        layer.attrs["weight_names0"], layer.attrs["weight_names1"] = names[:300], names[300:]
        for name, value in trained + statistics:
            layer[name] = value


def assert_close(found, expected):
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-6, err_msg=key)


def test_epsilon_of_keras_is_moved_into_the_variances(golden, caplog):
    caplog.set_level("INFO")
    state = read_state(golden)
    with h5py.File(golden) as file:
        names = list(map(str, file["u2net"].attrs["weight_names"]))
        first = min((name for name in names if name.endswith("moving_variance:0")), key=len)
        stored = file["u2net"][first][()]
    expected = 1 / np.sqrt(np.float64(stored) + 1e-3)
    found = 1 / np.sqrt(np.float64(state["stage1.rebnconvin.bn_s1._variance"]) + 1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert "0.00099 is added to each variance" in caplog.text
    assert "Normalize needs mean 0, std 1" in caplog.text


def test_paths_of_attributes_and_of_numbered_classes_are_read(state, tmp_path):
    write_keras_3(tmp_path / "attributes.weights.h5", state)
    # all side outputs have the same shape, as in U2NETP of the port, which makes them from coarse to fine
    heads = {f"side{i}": f"conv2d_{6 - i}" if i < 6 else "conv2d" for i in range(1, 7)}
    write_keras_3(tmp_path / "classes.weights.h5", state, CLASSES, heads | {"outconv": "conv2d_6"})
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.write(tmp_path / "classes.weights.h5", "model.weights.h5")
    for name in ("attributes.weights.h5", "a.keras"):
        assert_close(read_state(tmp_path / name), state)


def test_numbered_heads_of_the_wide_network_come_from_fine_to_coarse():
    channels = (64, 64, 128, 256, 512, 512, 6)
    layers = {f"conv2d_{i}": {"kernel": np.zeros((3, 3, c, 1))} for i, c in enumerate(channels)}
    assert list(keras_files._named_heads(layers)) == [*(f"side{i}" for i in range(1, 7)), "outconv"]


@pytest.mark.parametrize(("late", "root"), [(True, "/"), (False, "model_weights")])
def test_both_orders_of_keras_2_are_read(state, tmp_path, late, root):
    """U2NET of the port makes the side outputs last, U2NETP after each stage."""
    nodes = [node for node, kind, _ in variables(state) if kind == "conv"]
    blocks = [node for node in nodes if "." in node]
    sequence = [*blocks, *(f"side{i}" for i in range(1, 7)), "outconv"]
    if not late:
        sequence = []
        for stage in (stage.name for stage in U2NET):
            sequence += [node for node in blocks if node.startswith(f"{stage}.")]
            if stage == "stage6" or stage.endswith("d"):
                sequence.append(f"side{stage.removeprefix('stage').removesuffix('d')}")
        sequence.append("outconv")
    write_keras_2(tmp_path / "a.h5", state, sequence, root)
    assert_close(read_state(tmp_path / "a.h5"), state)


def test_layers_of_another_network_are_rejected(state, tmp_path):
    write_keras_2(tmp_path / "a.h5", state, ["stage1.rebnconvin", "outconv"])
    with pytest.raises(ValueError, match="holds 2 kernels, which do not fit the U2Net, U2Netp"):
        read_state(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 3))
    with pytest.raises(ValueError, match="/layers/dense/vars/0 is no layer of the TensorFlow port"):
        read_state(tmp_path / "b.h5")


def link(file, path):
    file["layers/side1/vars/0"] = h5py.ExternalLink(str(path), "secret")


def soft_link(file, path):
    file["layers/side1/vars/0"] = h5py.SoftLink("/secret")


def virtual(file, path):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(path), "secret", (3,))
    file.create_virtual_dataset("layers/side1/vars/0", layout)


def external(file, path):
    file.create_dataset("layers/side1/vars/0", (3,), "f4", external=[(str(path), 0, 12)])


def link_on_the_way(file, path):
    file["folder"] = h5py.ExternalLink(str(path), "/")
    file.attrs["layer_names"] = np.array([b"folder/layer"])


@pytest.mark.parametrize("make", [link, soft_link, virtual, external, link_on_the_way])
def test_data_of_other_files_are_not_read(tmp_path, make):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = file["layer/secret"] = np.ones(3, np.float32)
        file["layer"].attrs["weight_names"] = np.array([b"secret"])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file, tmp_path / "secret.h5")
    with pytest.raises(ValueError, match="a.h5: cannot be read as weights of Keras: .* the file itself"):
        read_state(tmp_path / "a.h5")


def test_arrays_that_claim_too_much_memory_are_rejected_before_they_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("layers/side1/vars/0", (1 << 32,), "f4", chunks=(1 << 20,))
    with pytest.raises(ValueError, match="take more than 256 MiB"):
        read_state(tmp_path / "a.h5")


def test_group_that_holds_itself_is_rejected(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("layers")
        group["layers"] = group
    with pytest.raises(ValueError, match="a.h5: cannot be read as weights of Keras: Recursion"):
        read_state(tmp_path / "a.h5")


def test_missing_h5py_ends_in_the_command_that_installs_it(golden, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        MissingPackage, match=r"h5py is not installed. Fix: pip install 'paddleseg_u2net\[keras\]'"
    ):
        read_state(golden)


def test_damaged_file_is_named(golden):
    whole = golden.read_bytes()
    golden.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="keras.h5: cannot be read as weights of Keras: "):
        read_state(golden)
