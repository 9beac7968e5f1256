"""Weights of the other implementations of U²-Net, and the wrappers that training scripts save.

The files in `golden/` hold a network of two to three channels a convolution, of weights that are multiples
of 1/128. They were written by torch 2.13 (WZMIAOMIAO's layer names), TensorFlow 2.21 with tf_keras (the
TensorFlow port, two stages frozen) and MindSpore 2.10 (the MindSpore port). `other_implementations.npz` is
what those libraries computed for the image below: every fourth pixel of the fused map.
"""

from __future__ import annotations

import argparse
import lzma
import pickle
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import paddle
import pytest
import torch_writer
from support import GOLDEN, main

from paddleseg_u2net import bounds
from paddleseg_u2net.bounds import WEIGHT_OBJECTS, Bound
from paddleseg_u2net.models import architecture, weight_files, weight_layouts
from paddleseg_u2net.models.architecture import NETWORKS, U2NET, Identity, state_shapes
from paddleseg_u2net.models.pretrained import load_strict
from paddleseg_u2net.models.u2net import U2Net
from paddleseg_u2net.models.weight_files import read_state

TINY = tuple(replace(stage, mid_channels=2, out_channels=3) for stage in U2NET)
FILES = {"reimplementation": ".pth", "keras": ".h5", "mindspore": ".ckpt"}
PREDICTIONS = np.load(GOLDEN / "other_implementations.npz")


class Tiny(U2Net):
    stages = TINY


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "Tiny", TINY)


def unpacked(name: str, folder):
    if name == "keras":
        pytest.importorskip("h5py")
    path = folder / f"{name}{FILES[name]}"
    path.write_bytes(lzma.decompress((GOLDEN / f"{path.name}.xz").read_bytes()))
    return path


def predict(path) -> np.ndarray:
    network = Tiny(1)
    load_strict(network, path)
    network.eval()
    image = np.random.default_rng(7).integers(-8, 9, (1, 3, 64, 64)).astype(np.float32) / 8
    with paddle.no_grad():
        return paddle.nn.functional.sigmoid(network(paddle.to_tensor(image))[0]).numpy()[0, 0, ::4, ::4]


@pytest.mark.parametrize("name", FILES)
def test_prediction_equals_that_of_the_library_that_wrote_the_file(tmp_path, name):
    """MindSpore computed with half-pixel centres here, unlike its port of U²-Net; see the next test."""
    np.testing.assert_allclose(predict(unpacked(name, tmp_path)), PREDICTIONS[name], rtol=0, atol=1e-5)


def test_the_other_resize_of_the_mindspore_port_is_said(tmp_path, caplog):
    found = predict(unpacked("mindspore", tmp_path))
    assert "the MindSpore port, which resizes inside of the network without half-pixel centres" in caplog.text
    assert np.abs(found - PREDICTIONS["mindspore_port"]).mean() > 0.01


@pytest.fixture
def state(tmp_path):
    """The weights of the file of the re-implementation by our names, random."""
    rng = np.random.default_rng(0)
    shapes = state_shapes(Identity("Tiny", 3, 1))
    return {key: rng.integers(-9, 9, shape).astype(np.float32) / 8 for key, shape in shapes.items()}


def official(state, prefix=""):
    """By the names of the official code, with the counters of PyTorch and thop."""
    names = {"_mean": "running_mean", "_variance": "running_var"}
    found = OrderedDict()
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        found[f"{prefix}{layer}.{names.get(part, part)}"] = value
        if part == "_mean":
            found[f"{prefix}{layer}.num_batches_tracked"] = np.array(5)
            found[f"{prefix}{layer}.total_ops"] = np.zeros(1)
    return found | {f"{prefix}total_params": np.zeros(1)}


def assert_equal(found, state):
    assert set(found) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
        assert found[key].dtype == np.float32


class Module:
    """As torch.nn.Module is pickled: a class, and its `__dict__`."""

    def __init__(self, tensors):
        self.training, self._parameters, self._modules, self._buffers = False, {}, {}, {}
        for key, value in tensors.items():
            name, _, rest = key.partition(".")
            if not rest:
                self._parameters[name] = value
            elif name not in self._modules:
                inside = {
                    k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")
                }
                self._modules[name] = Module(inside)


MOMENTS = {"state": {0: {"step": np.array(3.0), "exp_avg": np.ones((9, 9), np.float32)}}}
WRAPPED = {
    "a.pth": lambda s: official(s),
    "a.PTH": lambda s: {"state_dict": official(s), "epoch": 3},
    "a.tar": lambda s: {"model_state_dict": official(s, "module."), "optimizer_state_dict": MOMENTS},
    "a.bin": lambda s: official(s, "_orig_mod."),
    "a.pt": lambda s: {"net": official(s, "module._orig_mod."), "loss": np.array(0.1)},
    "a": lambda s: {"epoch": 3, "anything": {"deeper": official(s, "model.")}},
    "pair.pth": lambda s: [{"epoch": 3}, (official(s), MOMENTS["state"], None)],
    "a.ckpt": lambda s: {
        "state_dict": {**official(s, "model."), "criterion.weight": np.ones((3, 3))},
        "hyper_parameters": argparse.Namespace(lr=1),
    },
    "inserted.pth": lambda s: {
        k.replace(".rebn", "._orig_mod._checkpoint_wrapped_module.rebn"): v for k, v in official(s).items()
    },
    "averaged.pth": lambda s: official(s, "module.") | {"n_averaged": np.array(7)},
    "moments.pth": lambda s: official(s) | official(s, "moment1.") | {"learning_rate": np.array(0.1)},
    "network.pth": lambda s: Module(official(s)),
    "parallel.pth": lambda s: {"model": Module(official(s, "module."))},
    "half.pth": lambda s: {k: v.astype(np.float16) for k, v in official(s).items()},
    "bfloat16.pth": lambda s: {
        k: (v.view(np.uint32) >> 16).astype(np.uint16) if v.dtype == np.float32 else v
        for k, v in official(s).items()
    },
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_prefixes_and_half_precision_give_the_same_weights(tmp_path, state, name):
    torch_writer.save(WRAPPED[name](state), tmp_path / name)
    assert_equal(read_state(tmp_path / name), state)


def test_bfloat16_of_paddle_and_numpy_is_not_read_as_integers(tmp_path, state):
    bits = {key: (value.view(np.uint32) >> 16).astype(np.uint16) for key, value in state.items()}
    tensors = {key: paddle.to_tensor(value).astype("bfloat16") for key, value in state.items()}
    paddle.save(tensors, str(tmp_path / "a.pdparams"))
    np.savez(tmp_path / "a.npz", **{key: value.view("V2") for key, value in bits.items()})
    for name in ("a.pdparams", "a.npz"):
        assert_equal(read_state(tmp_path / name), state)


def test_plain_pickle_is_read(tmp_path, state):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"state_dict": official(state)}))
    assert_equal(read_state(tmp_path / "a.pkl"), state)


def test_one_of_several_sets_is_used_and_the_fix_takes_the_other(tmp_path, state, caplog, capsys):
    other = {key: value + 1 for key, value in state.items()}
    torch_writer.save({"model_ema": official(other), "model": official(state)}, tmp_path / "a.pth")
    assert_equal(read_state(tmp_path / "a.pth"), state)
    assert "'model' is used, not 'model_ema'; u2net convert-weights --key NAME takes another" in caplog.text
    words = ["convert-weights", str(tmp_path / "a.pth"), str(tmp_path / "b.npz"), "--key"]
    assert main([*words, "ema"]) == 1
    assert "holds no weights under 'ema'. Fix: one of model, model_ema" in capsys.readouterr().err
    assert main([*words, "model_ema"]) == 0
    assert_equal(read_state(tmp_path / "b.npz"), other)


def test_two_networks_under_prefixes_of_one_mapping_are_told_apart(tmp_path, state, caplog):
    other = {key: value + 1 for key, value in state.items()}
    torch_writer.save(official(other, "ema_model.") | official(state, "model."), tmp_path / "a.ckpt")
    assert_equal(read_state(tmp_path / "a.ckpt"), state)
    assert "'model' is used, not 'ema_model'" in caplog.text
    assert_equal(read_state(tmp_path / "a.ckpt", "ema_model"), other)


def test_left_out_tensors_are_counted_and_named(tmp_path, state, caplog):
    caplog.set_level("INFO")
    torch_writer.save(WRAPPED["a.ckpt"](state), tmp_path / "a.ckpt")
    read_state(tmp_path / "a.ckpt")
    assert "left out 1 tensor beside the weights: criterion.weight" in caplog.text


def test_tensors_of_another_network_are_not_left_out(tmp_path, state):
    """`load_strict` rejects them."""
    torch_writer.save(official(state) | {"refine.weight": np.ones((3, 3))}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) - set(state) == {"refine.weight"}


def test_missing_biases_are_zeros_only_if_all_are_missing(tmp_path, state):
    biases = [key for key in state if key.endswith("conv_s1.bias")]
    without = {key: value for key, value in state.items() if key not in biases}
    np.savez(tmp_path / "a.npz", **without)
    assert_equal(read_state(tmp_path / "a.npz"), state | {key: state[key] * 0 for key in biases})
    np.savez(tmp_path / "b.npz", **without, **{biases[0]: state[biases[0]]})
    assert set(state) - set(read_state(tmp_path / "b.npz")) == set(biases[1:])


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("code of the file runs",))


def test_objects_beside_the_weights_are_named_and_nothing_runs(tmp_path, state, caplog, capsys):
    content = {"model": official(state), "args": argparse.Namespace(lr=1), "x": Exploit()}
    torch_writer.save(content, tmp_path / "a.pth")
    assert_equal(read_state(tmp_path / "a.pth"), state)
    assert (
        "none of their code is run, only tensors are read: argparse.Namespace, __builtin__.print"
        in caplog.text
    )
    assert capsys.readouterr().out == ""


def test_tensors_shared_many_times_are_converted_once(tmp_path):
    """Otherwise 40 levels of a list that holds the one below twice would take 2**40 steps."""
    nested = [np.ones(3, np.float32)]
    for _ in range(40):
        nested = [nested, nested]
    torch_writer.save({"x": nested, "w": np.ones(3, np.float32)}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == {"w"}


def test_archive_that_unpacks_to_too_much_is_rejected(tmp_path, state, monkeypatch):
    torch_writer.save(official(state), tmp_path / "a.pth")
    monkeypatch.setattr(bounds, "SMALL_WEIGHT_BYTES", 1000)
    monkeypatch.setattr(bounds, "WEIGHT_RATIO", 0.1)
    with pytest.raises(ValueError, match="take more than"):
        read_state(tmp_path / "a.pth")


def test_views_of_tensors_are_bounded_together(tmp_path, monkeypatch):
    """Otherwise thousands of views of one storage could be copied, each to full size."""
    base = np.ones((9, 9), np.float32)
    monkeypatch.setattr(bounds, "SMALL_WEIGHT_BYTES", 2 * base.nbytes)
    monkeypatch.setattr(bounds, "WEIGHT_RATIO", 0.1)
    (tmp_path / "a").write_bytes(pickle.dumps({"a": base, "b": base.T}))
    assert set(read_state(tmp_path / "a")) == {"a", "b"}
    (tmp_path / "b").write_bytes(pickle.dumps({"a": base, "b": base.T, "c": base[:]}))
    with pytest.raises(ValueError, match="its tensors take more than"):
        read_state(tmp_path / "b")


def test_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", w=np.ones(9))
    monkeypatch.setattr(weight_files, "WEIGHT_BYTES", Bound(99, "bytes", ""))
    with pytest.raises(ValueError, match="is larger than .* Fix: save the weights alone"):
        read_state(tmp_path / "a.npz")


def shared_mappings(state):
    nested = dict(state)
    for _ in range(6):
        nested = {f"k{i}": nested for i in range(30)}
    return nested


def shared_modules(state):
    nested = Module(state)
    for _ in range(6):
        above = Module({})
        above._modules = {f"k{i}": nested for i in range(30)}
        nested = above
    return nested


@pytest.mark.parametrize("make", [shared_mappings, shared_modules])
def test_endlessly_many_paths_to_one_object_are_not_followed(tmp_path, make, monkeypatch):
    monkeypatch.setattr(weight_layouts, "WEIGHT_OBJECTS", WEIGHT_OBJECTS._replace(most=1000))
    torch_writer.save(make({"w": np.ones(3, np.float32)}), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth: cannot .* nested objects, expected at most 1,000"):
        read_state(tmp_path / "a.pth")


def test_names_with_endless_prefixes_are_read_or_rejected(tmp_path):
    np.savez(tmp_path / "a.npz", **{"module." * 100 + "w": np.ones(3)})
    assert set(read_state(tmp_path / "a.npz")) == {"w"}
    np.savez(tmp_path / "b.npz", **{f"{i}.{weight_layouts.FIRST}": np.ones(1) for i in range(101)})
    with pytest.raises(ValueError, match="holds 101 networks in one mapping, expected at most 100"):
        read_state(tmp_path / "b.npz")


def test_checkpoint_of_segall_is_read_and_its_other_resize_is_said(tmp_path, state, caplog):
    content = {"iters": 9, "best_iou": 0.5, "state_dict": official(state), "optimizer": MOMENTS}
    torch_writer.save(content, tmp_path / "a.pth")
    assert_equal(read_state(tmp_path / "a.pth"), state)
    assert "SegAll, whose newer versions resize inside of the network with align_corners=True" in caplog.text


def test_names_of_the_reimplementation_cover_every_layer_once():
    from paddleseg_u2net.models.weight_layouts import _nodes_of_reimplementation

    nodes = _nodes_of_reimplementation()
    expected = [node.name for node in architecture.dataflow(U2NET) if node.weight]
    assert sorted(nodes.values()) == sorted(expected)
    # by hand, from its model.py
    assert nodes["decode_modules.4.decode_modules.0"] == "stage1d.rebnconv6d"
    assert nodes["encode_modules.5.decode_modules.2"] == "stage6.rebnconv1d"
    assert nodes["side_modules.0"] == "side6"
