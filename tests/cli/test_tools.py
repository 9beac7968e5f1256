"""The tools, and the demo as a whole at a small size."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import GOLDEN, ROOT, environment, make_config

from paddleseg_u2net.cli import benchmark
from paddleseg_u2net.cli.app import main as u2net
from paddleseg_u2net.cli.convert_weights import main as convert
from paddleseg_u2net.cli.demo import contact_sheet, fit
from paddleseg_u2net.cli.predict import prediction_flags
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import read_state
from tools import predict_ray


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors", ".npz"])
def test_converted_weights_are_the_same(tmp_path, capsys, suffix):
    network = U2Netp(2)
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    target = tmp_path / f"b{suffix}"
    assert convert([str(tmp_path / "a.pdparams"), str(target)]) == 0
    said = f"{len(network.state_dict())} tensors of type: U2Netp, num_classes: 2, in_channels: 3"
    assert said in capsys.readouterr().out
    state = read_state(target)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(state[key], value.numpy())


def test_converted_pdparams_are_read_by_paddle_and_paddleseg(tmp_path):
    from paddleseg.models import U2Netp as Stock
    from paddleseg.utils.utils import load_entire_model

    source, stock = U2Netp(1), Stock(1)
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in source.state_dict().items()})
    assert convert([str(tmp_path / "a.npz"), str(tmp_path / "a.pdparams")]) == 0
    load_entire_model(stock, str(tmp_path / "a.pdparams"))
    np.testing.assert_array_equal(stock.outconv.weight.numpy(), source.outconv.weight.numpy())


def test_conversions_that_cannot_be_are_refused(tmp_path, capsys):
    source = str(GOLDEN / "torch_zip.pth")
    (tmp_path / "there.npz").touch()
    for words, message in (
        ([source, str(tmp_path / "a.onnx")], "'.onnx' is not written, expected .pdparams"),
        ([source, str(tmp_path / "there.npz")], "exists already. Fix: remove it"),
        (["absent.pth", str(tmp_path / "b.npz")], "absent.pth: no such weight file"),
    ):
        assert convert(words) == 1
        assert message in capsys.readouterr().err
    assert convert([source, str(tmp_path / "c.npz")]) == 0
    assert "a network of another family" in capsys.readouterr().out


def test_pictures_of_any_shape_fit_their_cell():
    shapes = {
        fit(np.zeros((*size, channels), np.uint8)).shape
        for size in ((9, 900), (900, 9), (1, 1))
        for channels in (3, 4)
    }
    assert len(shapes) == 1


def test_the_demo_runs_and_a_second_run_reuses_all(known_weights, tmp_path):
    flags = ["--out", str(tmp_path / "demo"), "--iters", "2", "--size", "32", "--images", "10"]
    command = [sys.executable, "-m", "tools.demo", *flags]
    env = environment(U2NET_HOME=str(known_weights.parent))
    first = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert first.returncode == 0, first.stderr
    assert "validation mIoU" in first.stdout
    sheet = read_image(tmp_path / "demo" / "contact_sheet.png")
    assert sheet.shape[0] > 1000
    assert sheet.std() > 30
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is there already") == 2
    assert "[TRAIN]" not in again.stdout


def test_a_contact_sheet_has_a_row_an_image(tmp_path):
    from paddleseg_u2net.inference.outputs import OUTPUTS
    from paddleseg_u2net.io.images import write_image

    write_image(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
    for output in OUTPUTS.values():
        write_image(tmp_path / "out" / output.folder / "a.png", np.zeros((10, 10, 3), np.uint8))
    contact_sheet(tmp_path / "sheet.png", [(tmp_path / "a.png", tmp_path / "out")] * 2)
    one_row = 158
    assert read_image(tmp_path / "sheet.png").shape == (30 + 2 * one_row, 5 * 208, 3)


@pytest.fixture
def words(data, tmp_path) -> list[str]:
    """Flags that predict the six images of `data` with random weights."""
    paddle.save(U2Netp(1).state_dict(), "w.pdparams")
    config = make_config(tmp_path / "a.yaml", data, model="U2Netp")
    flags = {"config": config, "model_path": "w.pdparams", "image_path": data / "images"}
    return [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def test_the_benchmark_measures_engines_and_whole_commands(words, data, capsys, monkeypatch):
    kinds = (benchmark.Kind("onnx", "fp32", "onnxruntime"), benchmark.Kind("openvino", "bf16", "openvino"))
    monkeypatch.setattr(benchmark, "KINDS", kinds)
    monkeypatch.setattr(benchmark, "CALLS", 2)
    words += ["--mask_path", str(data / "masks"), "--batches", "1", "--repeats", "1", "--plot", "plot.png"]
    assert benchmark.main(words) == 1
    assert "int8 would be scored on the images it is calibrated on" in capsys.readouterr().err
    assert benchmark.main([*words, "--calibration", str(data / "images")]) == 0
    text = capsys.readouterr().out
    assert "| onnx | fp32 | onnxruntime | 1 | 4.36 |" in text
    assert "| MAE | maxF |" in text
    assert ("openvino bf16: left out: " in text) != ("| openvino | bf16 |" in text)
    assert "| predict.py, fp32 | 6 |" in text
    assert "| predict.py, fp32 | 1 |" in text
    assert read_image("plot.png").shape[1] == 780
    assert benchmark.main(["--image_path", "absent"]) == 1
    assert benchmark.main([*words, "--calibration", "absent", "--against", "r"]) == 1
    assert "--against: rembg has no model w.pdparams. Fix: u2netp" in capsys.readouterr().err


@pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install -e '.[cluster]'")
def test_workers_of_ray_write_what_predict_writes_and_say_what_is_broken(words, data):
    assert u2net(["predict", *words, "--save_dir", "one"]) == 0
    (data / "images" / "p2a.png").write_text("no image")
    command = [sys.executable, ROOT / "tools" / "predict_ray.py", *words, "--workers", "2"]
    outcome = subprocess.run(
        [*command, "--save_dir", "two"], capture_output=True, text=True, env=environment(), timeout=200
    )
    assert outcome.returncode == 1, outcome.stderr
    assert "Predicted 6 of 7 images" in outcome.stdout
    assert "p2a.png: truncated, or not an image" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    results = [path.relative_to("one") for path in Path("one").rglob("*.png")]
    assert len(results) == len(list(Path("two").rglob("*.png"))) == 24
    for path in results:
        assert Path("one", path).read_bytes() == Path("two", path).read_bytes()


def test_a_fault_of_a_worker_of_ray_is_told_once(words, monkeypatch):
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "1")  # the worker changes it
    flags = prediction_flags("", "", "").parse_args([*words, "--backend", "paddle", "--precision", "bf16"])
    worker = predict_ray.Actor(flags, load_config(flags.config), cpus=1)
    assert processors() == 1  # of this machine's, as told
    rows = worker({"item": [None, None]})
    pairs = zip(rows["result"], rows["fault"], strict=True)
    with pytest.raises(ValueError, match="--backend paddle: does not run"):
        list(predict_ray.results({"result": result, "fault": fault} for result, fault in pairs))


def test_workers_of_ray_share_the_cluster_out():
    nodes = [{"CPU": 8.0}, {"CPU": 3.0, "GPU": 2.0}, {"memory": 1.0}]
    for workers, device, expected in (
        (None, None, (2, {"num_cpus": 3})),
        (11, None, (11, {"num_cpus": 1})),
        (None, "gpu", (2, {"num_cpus": 1, "num_gpus": 1})),
    ):
        assert predict_ray.share_out(nodes, workers, device) == expected
    with pytest.raises(
        ValueError, match="12 worker.s. need as many CPUs, and the cluster has 11. Fix: fewer"
    ):
        predict_ray.share_out(nodes, 12, "cpu")
    with pytest.raises(ValueError, match="1 worker.s. need as many GPUs, and the cluster has 0"):
        predict_ray.share_out(nodes[:1], None, "gpu")
