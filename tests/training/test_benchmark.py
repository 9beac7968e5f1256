"""The benchmark of training steps, tools/benchmarks/training.py."""

from __future__ import annotations

import argparse
import json

import numpy as np
import paddle
import pytest
from paddle.version import full_version

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.models.architecture import NETWORKS, dataflow
from paddleseg_u2net.models.u2net import U2Netp
from tools.benchmarks import training, training_cost
from tools.benchmarks.training_worker import SIDE, paddle_step, random_batch

FLAGS = ["--batch_size", "1", "--size", "32", "--threads", "1", "--steps", "1"]


def test_paddle_is_measured_in_a_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "PAUSE", 0)
    monkeypatch.setattr(training, "WARM_UP", 0)
    output = tmp_path / "steps.json"
    assert training.main(["--engines", "paddle", *FLAGS, "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert f"Paddle {full_version}" in text
    assert "| speed vs paddle |" in text
    content = json.loads(output.read_text())
    (row,) = content["results"]
    assert row["engine"] == "paddle"
    assert row["speed vs paddle"] == 1
    assert 3 < row["loss"] < 15  # seven losses near log(2)
    assert row["peak MiB"] > 100
    assert content["flags"]["size"] == 32
    assert [len(steps) for steps in content["steps"].values()] == [1, 1]


def replies(*times: float) -> list[dict[str, float]]:
    """What a worker measured; its first steps, which are not counted, took long."""
    return [{"ms": ms, "cpu_ms": 2 * ms, "loss": 1.0, "peak_mib": 5} for ms in (9e9, 9e9, *times)]


def test_results_follow_from_the_measured_steps():
    args = argparse.Namespace(
        engines=["paddle", "torch_channels_last"], network="U2Netp", batch_size=2, size=32, num_classes=1
    )
    steps = {
        "paddle": replies(200, 400, 800),
        "torch_channels_last": replies(100, 100, 100),
        "product": replies(9, 2, 9),
    }
    slow, fast = training.results_of(steps, args)
    assert (slow["median ms"], slow["min ms"], slow["max ms"], slow["CPU ms"]) == (400, 200, 800, 800)
    assert slow["images/s"] == 5
    assert (slow["speed vs paddle"], slow["speed vs torch_channels_last"]) == (1, 0.25)
    assert fast["speed vs paddle"] == 4
    per_image = training.forward_operations(dataflow(NETWORKS["U2Netp"]), 32, 32)
    assert slow["GFLOP/s"] == pytest.approx(3 * 2 * per_image / 0.4 / 1e9)
    assert slow["share of peak"] == pytest.approx(slow["GFLOP/s"] * 0.002 * 1e9 / (2 * SIDE**3))


def test_operations_are_those_of_the_convolutions_that_run():
    network, counts = U2Netp(2), []

    def count(layer, inputs, output):
        counts.append(2 * np.prod(layer.weight.shape) * output.shape[2] * output.shape[3])
        return output

    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            layer.register_forward_post_hook(count)
    with paddle.no_grad():
        network(paddle.zeros((1, 3, 35, 22)))
    assert len(counts) == 119
    flow = dataflow(NETWORKS["U2Netp"], num_classes=2)
    assert training.forward_operations(flow, 35, 22) == sum(counts)


@pytest.mark.parametrize(("classes", "onednn"), [(1, None), (3, None), (1, "fp32")])
def test_a_step_trains_on_one_batch(classes, onednn):
    args = argparse.Namespace(network="U2Netp", batch_size=2, size=16, num_classes=classes, threads=1)
    step, version = paddle_step(args, onednn)
    first, _, last = step(), step(), step()
    assert last < first
    assert version.startswith(f"Paddle {full_version} (oneDNN ")


def test_each_process_draws_the_same_labels_of_all_classes():
    masks, classes = random_batch(2, 16, 1)[1], random_batch(2, 16, 3)[1]
    assert (set(masks.ravel()), masks.dtype) == ({0, 1}, np.float32)
    assert (set(classes.ravel()), classes.dtype) == ({0, 1, 2}, np.int64)
    assert (random_batch(2, 16, 1)[1] == masks).all()


def test_torch_without_its_python_is_rejected(capsys):
    with pytest.raises(SystemExit):
        training.main(["--engines", "torch"])
    assert "Fix: the Python of an environment" in capsys.readouterr().err


def test_output_of_a_failed_engine_is_shown(tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named torch >&2\nexit 3\n")
    python.chmod(0o755)
    assert training.main(["--engines", "torch", *FLAGS, "--torch_python", str(python)]) == 1
    assert "torch: exit code 3: No module named torch" in capsys.readouterr().err


@pytest.mark.parametrize(("config", "size"), [("u2netp", 512), ("u2netp_duts", 288), ("u2netp_camvid", 352)])
def test_input_size_of_a_config_is_that_of_its_last_transform_with_one(config, size):
    assert training_cost.input_size(load_config(training_cost.FOLDER / f"{config}.yaml")) == size


def test_cost_of_a_config_is_that_of_its_steps(monkeypatch):
    transforms = [{"type": "Resize", "target_size": [32, 32]}, {"type": "Normalize"}]
    config = {"model": {"type": "U2Netp", "num_classes": 2}, "batch_size": 1, "iters": 7200}
    config["train_dataset"] = {"transforms": transforms}
    monkeypatch.setattr(training_cost, "load_config", lambda path: config)
    row = training_cost.measure("any", threads=1, steps=1)
    assert (row["batch"], row["steps"]) == ("1 x 32", "7,200")
    assert float(row["hours"]) == pytest.approx(2 * float(row["s a step"]), abs=0.06)


def test_interrupted_costs_are_a_table_of_what_was_measured(monkeypatch, capsys):
    def measure(name, threads, steps):
        if name == "u2net":
            raise KeyboardInterrupt
        return {"config": name, "hours": "2.0"}

    monkeypatch.setattr(training_cost, "measure", measure)
    assert training_cost.main(["--configs", "u2netp", "u2net"]) == 0
    assert "| u2netp | 2.0 |" in capsys.readouterr().out
    assert training_cost.main(["--configs", "u2net"]) == 130
