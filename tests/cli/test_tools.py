"""convert-weights, demo, benchmark and tools/predict_ray.py at a small size."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from support import GOLDEN, ROOT, environment, make_config

from paddleseg_u2net.cli import benchmark, demo, export, predict
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.cli.demo import contact_sheet, fit
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.export.cache import cached_export
from paddleseg_u2net.inference.batch import Job
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import read_state
from tools import predict_ray


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors", ".npz"])
def test_converted_weights_are_the_same(run, tmp_path, suffix):
    network = U2Netp(2)
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    target = tmp_path / f"b{suffix}"
    code, text, _ = run("convert-weights", tmp_path / "a.pdparams", target)
    assert code == 0
    assert f"{len(network.state_dict())} tensors of type: U2Netp, num_classes: 2, in_channels: 3" in text
    state = read_state(target)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(state[key], value.numpy())


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors", ".npz"])
def test_half_kernels_are_those_of_numpy_and_vectors_stay_exact(run, tmp_path, suffix):
    state = {key: value.numpy() for key, value in U2Netp(1).state_dict().items()}
    np.savez(tmp_path / "a.npz", **state)
    assert run("convert-weights", tmp_path / "a.npz", tmp_path / f"b{suffix}", "--half")[0] == 0
    for key, value in read_state(tmp_path / f"b{suffix}").items():
        expected = state[key].astype(np.float16) if state[key].ndim > 1 else state[key]
        np.testing.assert_array_equal(value, expected)
    assert (tmp_path / f"b{suffix}").stat().st_size < 0.6 * (tmp_path / "a.npz").stat().st_size


def test_kernels_beyond_half_precision_are_refused_and_the_fix_works(run, tmp_path):
    np.savez(tmp_path / "a.npz", kernel=np.full((1, 2), 7e4, np.float32))
    code, _, error = run("convert-weights", tmp_path / "a.npz", tmp_path / "b.npz", "--half")
    assert code == 1
    assert "a.npz: --half: a weight of 70000 exceeds float16. Fix: leave --half out" in error
    assert not (tmp_path / "b.npz").exists()
    assert run("convert-weights", tmp_path / "a.npz", tmp_path / "b.npz")[0] == 0


def test_converted_pdparams_are_read_by_paddle_and_paddleseg(run, tmp_path):
    from paddleseg.models import U2Netp as Stock
    from paddleseg.utils.utils import load_entire_model

    source, stock = U2Netp(1), Stock(1)
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in source.state_dict().items()})
    assert run("convert-weights", tmp_path / "a.npz", tmp_path / "a.pdparams")[0] == 0
    load_entire_model(stock, str(tmp_path / "a.pdparams"))
    np.testing.assert_array_equal(stock.outconv.weight.numpy(), source.outconv.weight.numpy())


def test_impossible_conversion_is_rejected(run, tmp_path):
    source = GOLDEN / "torch_zip.pth"
    (tmp_path / "existing.npz").touch()
    for words, message in (
        ([source, tmp_path / "a.onnx"], "cannot write '.onnx'. Fix: one of .pdparams"),
        ([source, tmp_path / "existing.npz"], "exists already. Fix: remove it"),
        (["absent.pth", tmp_path / "b.npz"], "absent.pth: no such weight file"),
    ):
        code, _, error = run("convert-weights", *words)
        assert code == 1
        assert message in error
    code, text, _ = run("convert-weights", source, tmp_path / "c.npz")
    assert code == 0
    assert "a network of another family" in text


def test_conversion_names_weights_that_are_missing_or_not_finite(run, tmp_path):
    state = {key: value.numpy() for key, value in U2Netp(1).state_dict().items()}
    del state["stage2.rebnconv1.conv_s1.bias"]
    state["outconv.bias"][:] = np.nan
    np.savez(tmp_path / "a.npz", **state)
    code, text, _ = run("convert-weights", tmp_path / "a.npz", tmp_path / "b.npz")
    assert code == 0
    assert "do not fit: 1 difference, first: - stage2.rebnconv1.conv_s1.bias (16,): missing in the" in text
    assert text.endswith("; 1 hold NaN or infinity, first: outconv.bias\n")


def test_picture_of_any_shape_fits_its_cell():
    shapes = {
        fit(np.zeros((*size, channels), np.uint8)).shape
        for size in ((9, 900), (900, 9), (1, 1))
        for channels in (3, 4)
    }
    assert len(shapes) == 1


def test_demo_runs_from_any_folder_and_a_second_run_reuses_the_results(
    run, known_weights, tmp_path, monkeypatch
):
    """Its commands run in this process, on fewer photographs; other tests find them from any folder."""
    inside = SimpleNamespace(run=lambda command, env: SimpleNamespace(returncode=main(command[3:])))
    monkeypatch.setattr(demo, "subprocess", inside)
    monkeypatch.setattr(demo, "SALIENCY_PHOTOS", demo.SALIENCY_PHOTOS[1:2])
    monkeypatch.setattr(demo, "FUNDUS_PHOTO", "coffee.png")  # an eighth of the pixels
    words = ["--iters", 2, "--size", 32, "--images", 10]
    code, text, _ = run("demo", *words)
    assert code == 0
    assert "$ u2net predict" in text
    assert "validation mIoU" in text
    sheet = read_image(tmp_path / "output" / "demo" / "contact_sheet.png")
    assert sheet.shape[0] == 30 + 4 * 158  # a title, a photograph, three fundus pictures
    assert sheet.std() > 30
    code, text, _ = run("demo", *words)
    assert code == 0
    assert text.count("exists already") == 2
    assert "[TRAIN]" not in text


def test_photographs_of_the_demo_are_found(tmp_path):
    found = demo.photographs(tmp_path)
    assert len(found) == 6
    assert all(path.is_file() for path in [*found, tmp_path / demo.FUNDUS_PHOTO])


def test_commands_of_the_demo_are_found_from_any_folder(capfd, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    demo.run("convert-weights", "--help")
    assert "usage: u2net convert-weights" in capfd.readouterr().out


def test_demo_stops_where_a_command_fails(run, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", "home")
    monkeypatch.setenv("U2NET_MIRROR", f"file://{Path.cwd()}/empty")
    code, text, error = run("demo", "--images", 10)
    assert code == 1
    assert "2/4" not in text
    assert error == "error: u2net predict failed with exit code 1\n"


def test_contact_sheet_has_a_row_per_image(tmp_path):
    from paddleseg_u2net.inference.outputs import OUTPUTS
    from paddleseg_u2net.io.images import write_image

    write_image(tmp_path / "a.png", np.zeros((10, 10, 3), np.uint8))
    for output in OUTPUTS.values():
        write_image(tmp_path / "out" / output.folder / "a.png", np.zeros((10, 10, 3), np.uint8))
    contact_sheet(tmp_path / "sheet.png", [(tmp_path / "a.png", tmp_path / "out")] * 2)
    one_row = 158
    assert read_image(tmp_path / "sheet.png").shape == (30 + 2 * one_row, 5 * 208, 3)


@pytest.fixture
def predict_flags(data, tmp_path, random_weight_file, small_drawing, warm_cache) -> list[str]:
    """Flags that predict the six images of `data` with random weights of U²-Net†."""
    shutil.copy(random_weight_file, tmp_path)
    config = make_config(tmp_path / "a.yaml", data, model="U2Netp")
    flags = {"config": config, "model_path": "w.pdparams", "image_path": data / "images"}
    return [word for key, value in flags.items() for word in (f"--{key}", str(value))]


def test_benchmark_measures_engines_and_whole_commands(run, predict_flags, data, monkeypatch):
    kinds = (benchmark.Kind("onnx", "fp32", "onnxruntime"), benchmark.Kind("openvino", "bf16", "openvino"))
    monkeypatch.setattr(benchmark, "KINDS", kinds)
    cached_export(Path("w.pdparams"), {"type": "U2Netp", "num_classes": 1})  # else a child imports Paddle
    monkeypatch.setattr(export, "IMAGES", 1)
    measured, started = benchmark.run_measured, []

    def inside(command, environment):
        """Run commands in this process, which saves imports, except an engine and the first prediction."""
        started.append(command[3])
        if command[3] == "benchmark" or (command[3] == "predict" and started.count("predict") == 1):
            return measured(command, environment)
        if main([*map(str, command[3:])]):
            raise OSError("it failed")
        return SimpleNamespace(seconds=1.0, peak_mib=1.0)

    monkeypatch.setattr(benchmark, "run_measured", inside)
    flags = [*predict_flags, "--mask_path", data / "masks", "--batches", 1, "--repeats", 1]
    code, text, _ = run("benchmark", *flags, "--plot", "plot.png", "--calibration", data / "images")
    assert code == 0
    assert "| onnx | fp32 | onnxruntime | 1 | 4.36 |" in text
    assert "| MAE | maxF |" in text
    assert ("openvino bf16: left out: " in text) != ("| openvino | bf16 |" in text)
    assert "| u2net predict, fp32 | 6 |" in text
    assert "| u2net predict, fp32 | 1 |" in text
    assert read_image("plot.png").shape[1] == 780


def test_impossible_benchmark_is_rejected(run, predict_flags, data):
    Path("hollow").mkdir()
    for flags, message in (
        (["--image_path", "hollow"], "--image_path hollow: no images in this folder"),
        (["--image_path", "absent"], "--image_path absent: no images in this folder"),
        ([*predict_flags, "--mask_path", data], "int8 would be scored on the images it is calibrated on"),
        ([*predict_flags, "--against", "r"], "--against: rembg has no model w.pdparams. Fix: u2netp"),
    ):
        code, _, error = run("benchmark", *flags)
        assert code == 1
        assert message in error


@pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install -e '.[cluster]'")
def test_ray_workers_write_what_predict_writes_and_report_broken_images(run, predict_flags, data):
    assert run("predict", *predict_flags, "--save_dir", "one")[0] == 0
    (data / "images" / "p2a.png").write_text("no image")
    command = [sys.executable, ROOT / "tools" / "predict_ray.py", *predict_flags, "--workers", "2"]
    outcome = subprocess.run(
        [*command, "--save_dir", "two"], capture_output=True, text=True, env=environment(), timeout=200
    )
    assert outcome.returncode == 1, outcome.stderr
    assert "Predicted 6 of 7 images" in outcome.stdout
    assert "p2a.png: holds a text that begins with 'no image'" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    results = [path.relative_to("one") for path in Path("one").rglob("*.png")]
    assert len(results) == len(list(Path("two").rglob("*.png"))) == 24
    for path in results:
        assert Path("one", path).read_bytes() == Path("two", path).read_bytes()


def rows_of(columns) -> list[predict_ray.Row]:
    """The rows that Ray makes of the columns of a block."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_ray_that_does_not_start_is_one_line():
    def init(*_, **__):
        raise Exception("The current node timed out during startup.\nMore.")

    with pytest.raises(OSError, match="^--address local: The current node timed out during startup. Fix: an"):
        predict_ray.connect(SimpleNamespace(init=init), "local")


def test_images_that_a_ray_worker_died_on_are_tried_alone_and_then_reported():
    jobs, calls = [Job(Path(name), {}, f"list:{name}") for name in "abc"], []

    def started(left, block):
        calls.append(([job.image.name for job in left], block))
        done = ["a"] if block > 1 else ["c"]
        return [{"image": name, "faults": "[]", "error": ""} for name in done]

    *others, (fault,) = predict_ray.results(jobs, started)
    assert others == [[], []]
    assert calls == [(["a", "b", "c"], predict_ray.BLOCK), (["b", "c"], 1)]
    assert str(fault).startswith(
        "list:b: b: the process that predicted it died, also with this image alone. Fix"
    )


def test_ray_worker_returns_its_error_once_per_job(predict_flags, monkeypatch):
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "1")  # the worker changes it
    parser = predict.build_parser()
    flags = predict.parse(parser, [*predict_flags, "--backend", "paddle", "--precision", "bf16"])
    worker = predict_ray.Actor(flags, load_config(flags.config), cpus=1)
    assert processors() == 1
    jobs = [Job(Path("a.png"), {}), Job(Path("b.png"), {})]
    rows = rows_of(worker({"item": jobs}))
    assert len(rows) == 2
    with pytest.raises(ValueError, match="--backend paddle: does not run"):
        list(predict_ray.results(jobs, lambda jobs, block: rows))


def test_ray_worker_returns_the_faults_of_each_image(predict_flags, data, monkeypatch):
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "1")
    flags = predict.parse(predict.build_parser(), predict_flags)
    worker = predict_ray.Actor(flags, load_config(flags.config), cpus=1)
    jobs = [
        Job(data / "images" / name, {"saliency": Path("out.png")}, "list:3") for name in ("p0.png", "gone")
    ]
    rows = rows_of(worker({"item": jobs}))
    assert list(predict_ray.results(jobs, lambda jobs, block: rows)) == [
        [],
        [Fault("list:3", f"{data / 'images' / 'gone'}: no such image file")],
    ]


def test_ray_needs_no_cluster_where_all_images_are_done(run, predict_flags, monkeypatch, capsys):
    assert run("predict", *predict_flags, "--outputs", "saliency")[0] == 0
    monkeypatch.setitem(sys.modules, "ray", None)
    flags = [*predict_flags, "--outputs", "saliency"]
    assert predict_ray.main([*flags, "--resume"]) == 0
    assert predict_ray.main([*flags, "gone.png", "--resume"]) == 1
    assert capsys.readouterr().err == f"error: {Path('gone.png').absolute()}: no such file or folder\n"
    assert predict_ray.main([*flags, "--device_id", "1"]) == 1
    assert "--device_id: Ray assigns the GPUs" in capsys.readouterr().err


def test_ray_workers_divide_the_cluster():
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
