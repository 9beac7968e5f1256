"""Weight files of every kind, and those that try to run code."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import paddle
import pytest
from support import GOLDEN

from paddleseg_u2net.models.architecture import NETWORKS, dataflow
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE, _from_torch, read_pickle, read_state


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_files_of_pytorch_are_read_in_both_layouts(name):
    """Written by torch 2.13: DataParallel prefix, Parameter, offset, transposed, float16, float64, int64."""
    state = read_state(GOLDEN / name)
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    prefix = "stage1.rebnconvin."
    expected = {
        f"{prefix}conv_s1.weight": base,
        f"{prefix}conv_s1.bias": np.array([1.5, -2.5], np.float32),
        f"{prefix}bn_s1._mean": np.array([2.0, 3.0]),
        f"{prefix}bn_s1._variance": np.array([1, 4], np.float16),
        "shared": base.transpose(3, 2, 1, 0),
    }
    assert set(state) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key], value)
        assert state[key].dtype == value.dtype


def test_official_key_names_become_ours():
    ours = set(U2Netp(1).state_dict())
    official = {k.replace("._mean", ".running_mean").replace("._variance", ".running_var") for k in ours}
    official |= {k.replace("running_var", "num_batches_tracked") for k in official if "running_var" in k}
    assert set(_from_torch(dict.fromkeys(official, np.zeros(1)))) == ours


def test_pdparams_of_paddle_and_paddleseg_are_read_without_paddle(tmp_path):
    from paddleseg.models import U2Netp as Stock

    network = Stock(2)
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    state = read_state(tmp_path / "a.pdparams")
    assert set(state) == set(network.state_dict())
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(state[key], value.numpy())


@pytest.mark.parametrize("protocol", [2, 4])
def test_optimizer_states_are_read(tmp_path, protocol):
    network = paddle.nn.Linear(2, 3)
    rate = paddle.optimizer.lr.PolynomialDecay(0.1, 10)
    optimizer = paddle.optimizer.Adam(rate, parameters=network.parameters())
    network(paddle.ones([1, 2])).sum().backward()
    optimizer.step()
    paddle.save(optimizer.state_dict(), str(tmp_path / "a.pdopt"), protocol=protocol)
    found, expected = read_pickle(tmp_path / "a.pdopt"), paddle.load(str(tmp_path / "a.pdopt"))
    assert found["LR_Scheduler"] == expected["LR_Scheduler"]
    for key, value in expected.items():
        if isinstance(value, paddle.Tensor):
            np.testing.assert_array_equal(found[key], value.numpy())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_exchange_formats_are_read(tmp_path, suffix):
    from safetensors.numpy import save_file

    state = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    path = tmp_path / f"a{suffix}"
    save_file(state, path) if suffix == ".safetensors" else np.savez(path, **state)
    np.testing.assert_array_equal(read_state(path)["a.weight"], state["a.weight"])


class Exploit:
    """What a hostile pickle does when it is loaded."""

    def __reduce__(self):
        return (print, ("code of the file runs",))


def hostile(path):
    content = {"a": Exploit()}
    if path.suffix == ".pth":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(content))
    elif path.suffix == ".npz":
        np.savez(path, a=np.array([Exploit()], dtype=object))
    else:
        path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pdparams", ".npz"])
def test_code_in_a_weight_file_is_refused_and_does_not_run(tmp_path, capsys, suffix):
    with pytest.raises(ValueError, match=f"a{suffix}: cannot be read"):
        read_state(hostile(tmp_path / f"a{suffix}"))
    assert capsys.readouterr().out == ""


def test_the_refused_object_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds builtins.print, which is neither a tensor nor a container"):
        read_state(hostile(tmp_path / "a.pdparams"))


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".onnx", ".safetensors", ".npz"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x80\x02}q\x00.", b"PK\x03\x04 broken"]
)
def test_foreign_and_broken_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a{suffix}: (cannot be read as|holds no tensors)"):
        read_state(path)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_torch_files_are_named(tmp_path, name, share):
    whole = (GOLDEN / name).read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="a.pth: cannot be read"):
        read_state(tmp_path / "a.pth")


def test_tensors_that_leave_their_storage_are_refused(tmp_path):
    """A crafted stride would otherwise read foreign memory."""
    data = (GOLDEN / "torch_zip.pth").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(tmp_path / "a.pth", "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("data.pkl"):  # BININT1 of the sizes 2, 3, 2, 2
                content = content.replace(b"(K\x02K\x03K\x02K\x02t", b"(K\xffK\xffK\x02K\x02t")
            target.writestr(info.filename, content)
    with pytest.raises(ValueError, match="exceeds its storage"):
        read_state(tmp_path / "a.pth")


class Made:
    """Pickles as a call of `target`, with a state where there is one."""

    def __init__(self, target, *arguments, state=None):
        self.parts = (target, arguments, state)

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(
    "value",
    [
        np.array([print], dtype=object),
        np.array(["text"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
        Made(np.dtype, "O8", False, True),
    ],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, value):
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({"w": value}))
    with pytest.raises(ValueError, match="a.pdparams: (cannot be read|holds no tensors)"):
        read_state(tmp_path / "a.pdparams")


def test_unknown_suffixes_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.h5").touch()
    with pytest.raises(ValueError, match=r"unknown weight format '.h5', expected .pdparams, .pth"):
        read_state(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match="b.pth: no such weight file"):
        read_state(tmp_path / "b.pth")


def test_onnx_of_another_network_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 2.0, 3.0])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="holds 1 convolutions, expected the 119 of U²-Net"):
        read_state(tmp_path / "a.onnx")


def test_official_onnx_gives_every_key_with_folded_norms(official_weights):
    state = read_state(official_weights)
    network = U2Netp(1)
    assert {k: v.shape for k, v in state.items()} == {
        k: tuple(v.shape) for k, v in network.state_dict().items()
    }
    assert (state["stage1.rebnconvin.bn_s1._variance"] == FOLDED_VARIANCE).all()
    assert dataflow(NETWORKS["U2Netp"])[-1].name == "outconv"
