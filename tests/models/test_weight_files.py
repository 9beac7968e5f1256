"""Weight files of every format, and files that try to run code."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import paddle
import pytest
from support import GOLDEN

from paddleseg_u2net.models.architecture import NETWORKS, dataflow
from paddleseg_u2net.models.safe_pickle import read_pickle
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE, MISTAKEN, read_state
from paddleseg_u2net.models.weight_layouts import find_state


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_pytorch_files_are_read_in_both_layouts(name):
    """Written by torch 2.13: DataParallel prefix, Parameter, offset, transposed, float16, float64, int64.

    Half precision is widened.
    """
    state = read_state(GOLDEN / name)
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    prefix = "stage1.rebnconvin."
    expected = {
        f"{prefix}conv_s1.weight": base,
        f"{prefix}conv_s1.bias": np.array([1.5, -2.5], np.float32),
        f"{prefix}bn_s1._mean": np.array([2.0, 3.0]),
        f"{prefix}bn_s1._variance": np.array([1, 4], np.float32),
        "shared": base.transpose(3, 2, 1, 0),
    }
    assert set(state) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key], value)
        assert state[key].dtype == value.dtype


def test_official_keys_are_renamed():
    ours = set(U2Netp(1).state_dict())
    official = {k.replace("._mean", ".running_mean").replace("._variance", ".running_var") for k in ours}
    official |= {k.replace("running_var", "num_batches_tracked") for k in official if "running_var" in k}
    assert set(find_state("a", dict.fromkeys(official, np.zeros(2)), [])) == ours


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


def write_safetensors(path, kind: str, content: bytes, name="w"):
    """A file of one tensor of four numbers, by the published layout: length, JSON, numbers."""
    head = json.dumps({name: {"dtype": kind, "shape": [4], "data_offsets": [0, len(content)]}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + content)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4"])
def test_fractions_of_8_bits_are_named_and_the_fix_works(tmp_path, kind):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, kind, bytes(2 if kind == "F4" else 4))
    with pytest.raises(ValueError, match=rf"holds 'w' of type {kind}, expected .*Fix: .* as float32$"):
        read_state(path)
    write_safetensors(path, "F32", np.arange(4, dtype="<f4").tobytes())
    assert read_state(path)["w"].tolist() == [0, 1, 2, 3]


def test_bfloat16_of_safetensors_is_read(tmp_path):
    write_safetensors(tmp_path / "a", "BF16", bytes.fromhex("803f 00c0 0000 c03f".replace(" ", "")))
    assert read_state(tmp_path / "a")["w"].tolist() == [1, -2, 0, 1.5]


def test_names_in_files_cannot_forge_lines_of_a_log(tmp_path, caplog):
    caplog.set_level("INFO")
    evil = "a\n\x1b[31mERROR: forged"
    tensor = {"conv.weight": np.ones(2, np.float32)}
    networks = {"model": tensor, evil: tensor, "criterion": {evil: np.ones(1, np.float32)}}
    path = tmp_path / "a.pdparams"
    for content in ({**networks, **tensor}, {evil: tensor["conv.weight"]}, networks):
        path.write_bytes(pickle.dumps(content))
        assert all(name.isprintable() for name in read_state(path))
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", f"cevil\nb{evil[2:]}\n.".encode())
    with pytest.raises(ValueError, match="holds no tensors") as error:
        read_state(tmp_path / "a.pth")
    assert str(error.value).isprintable()
    write_safetensors(tmp_path / "b", "F4", bytes(2), evil)
    with pytest.raises(ValueError, match="type F4") as error:
        read_state(tmp_path / "b")
    assert str(error.value).isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)


class Exploit:
    """Runs code when it is unpickled."""

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
def test_code_in_a_weight_file_is_rejected_and_does_not_run(tmp_path, capsys, suffix):
    with pytest.raises(ValueError, match=f"a{suffix}: (cannot be read|holds no tensors)"):
        read_state(hostile(tmp_path / f"a{suffix}"))
    assert capsys.readouterr().out == ""


def test_rejected_object_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="holds no tensors, only objects that are not read: builtins.print. Fix: "
    ):
        read_state(hostile(tmp_path / "a.pdparams"))


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".onnx", ".safetensors", ".npz"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x80\x02}q\x00.", b"PK\x03\x04 broken"]
)
def test_broken_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a{suffix}: (cannot be read as|holds no tensors)"):
        read_state(path)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_torch_file_is_named(tmp_path, name, share):
    whole = (GOLDEN / name).read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="a.pth: cannot be read"):
        read_state(tmp_path / "a.pth")


def test_tensor_that_exceeds_its_storage_is_rejected(tmp_path):
    """Otherwise a crafted stride would read memory outside the file's content."""
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
    """Pickles as a call of `target`, with an optional state."""

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
def test_array_of_anything_but_numbers_is_rejected(tmp_path, value):
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({"w": value}))
    with pytest.raises(ValueError, match="a.pdparams: (cannot be read|holds no tensors)"):
        read_state(tmp_path / "a.pdparams")


def test_optimizer_state_with_objects_is_rejected_with_their_names(tmp_path):
    with pytest.raises(ValueError, match="holds builtins.print, expected only tensors and containers. Fix: "):
        read_pickle(hostile(tmp_path / "a.pdopt"))


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="b.pth: no such weight file"):
        read_state("b.pth")


@pytest.mark.parametrize(("beginning", "told"), MISTAKEN.items())
def test_files_that_are_taken_for_weights_are_told_apart(tmp_path, beginning, told):
    (tmp_path / "a.pth").write_bytes(beginning + b" and more" if beginning else b"")
    with pytest.raises(ValueError, match="cannot be read as weights") as caught:
        read_state(tmp_path / "a.pth")
    assert "{}. Fix: {}".format(*told) in str(caught.value)


def test_content_of_an_unknown_format_and_a_tar_archive_are_named(tmp_path):
    (tmp_path / "a.pth").write_bytes(bytes(range(200, 230)))
    with pytest.raises(ValueError, match=r"no known format does. Fix: a file of PyTorch \(.pth, .pt"):
        read_state(tmp_path / "a.pth")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(GOLDEN / "torch_zip.pth", "a.pth")
    with pytest.raises(ValueError, match="is a tar archive. Fix: unpack it"):
        read_state(tmp_path / "b.tar")


@pytest.mark.parametrize("kind", ["gztar", "tar", "zip"])
def test_unpacking_an_archive_as_the_fix_says_gives_readable_weights(tmp_path, kind):
    (tmp_path / "in").mkdir()
    shutil.copy(GOLDEN / "torch_zip.pth", tmp_path / "in")
    archive = shutil.make_archive(str(tmp_path / "a"), kind, tmp_path / "in")
    with pytest.raises(ValueError, match="archive.* Fix: .*unpack it"):
        read_state(archive)
    shutil.unpack_archive(archive, tmp_path / "out")
    assert len(read_state(tmp_path / "out" / "torch_zip.pth")) == 5


@pytest.mark.parametrize("suffix", [".pdparams", ".bin", ".WEIGHTS", ""])
@pytest.mark.parametrize("kind", [".onnx", ".safetensors", ".npz"])
def test_content_decides_the_format_and_not_the_suffix(tmp_path, official_weights, kind, suffix):
    from safetensors.numpy import save_file

    state = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    path = tmp_path / f"a{suffix}"
    if kind == ".npz":
        with path.open("wb") as file:
            np.savez(file, **state)
    elif kind == ".safetensors":
        save_file(state, path)
    else:
        path.write_bytes(official_weights.read_bytes())
        state = read_state(official_weights)
    for key, value in read_state(path).items():
        np.testing.assert_array_equal(value, state[key])


def test_side_outputs_of_an_onnx_file_are_told_apart_by_their_fusion(official_weights, tmp_path):
    """The PyTorch re-implementation computes them from coarse to fine, so its file has them so."""
    import onnx

    model = onnx.load(official_weights)
    nodes, weights = list(model.graph.node), read_state(official_weights)
    sides = [i for i, n in enumerate(nodes) if n.op_type == "Conv" and n.input[1].startswith("side")]
    assert len(sides) == 6
    moved = [nodes[i] for i in reversed(sides)]
    rest = [node for i, node in enumerate(nodes) if i not in sides]
    first_use = min(i for i, node in enumerate(rest) if set(node.input) & {m.output[0] for m in moved})
    del model.graph.node[:]
    model.graph.node.extend([*rest[:first_use], *moved, *rest[first_use:]])
    onnx.save(model, tmp_path / "a.onnx")
    found = read_state(tmp_path / "a.onnx")
    for i in range(1, 7):
        np.testing.assert_array_equal(found[f"side{i}.weight"], weights[f"side{i}.weight"])


def test_onnx_graph_with_a_cycle_is_rejected(official_weights, tmp_path):
    import onnx

    model = onnx.load(official_weights)
    resize = next(node for node in reversed(model.graph.node) if node.op_type == "Resize")
    resize.input[0] = resize.output[0]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="a.onnx: .* does not fuse six side outputs"):
        read_state(tmp_path / "a.onnx")


def test_weights_beside_an_onnx_file_are_read_after_the_fix_only(official_weights, tmp_path, monkeypatch):
    """The file names any other file, which the library would open in the working folder."""
    import onnx

    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.load(official_weights), "a.onnx", save_as_external_data=True, location="secret")
    with pytest.raises(ValueError, match="keeps its weights in another file. Fix: in Python, ") as caught:
        read_state("a.onnx")
    exec(str(caught.value).split("Fix: in Python, ")[1], {"onnx": onnx})
    np.testing.assert_array_equal(
        read_state("one.onnx")["outconv.bias"], read_state(official_weights)["outconv.bias"]
    )


def test_onnx_of_another_network_is_rejected(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Conv", ["x", "w"], ["y"])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 2.0, 3.0])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="holds 1 convolution, expected the 119 of U²-Net"):
        read_state(tmp_path / "a.onnx")


def test_published_onnx_gives_every_key_with_folded_norms(official_weights):
    state = read_state(official_weights)
    network = U2Netp(1)
    assert {k: v.shape for k, v in state.items()} == {
        k: tuple(v.shape) for k, v in network.state_dict().items()
    }
    assert (state["stage1.rebnconvin.bn_s1._variance"] == FOLDED_VARIANCE).all()
    assert dataflow(NETWORKS["U2Netp"])[-1].name == "outconv"
