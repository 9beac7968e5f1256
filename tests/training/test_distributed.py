"""Training and prediction in two processes on a CPU; the layers that replace BatchNorm on several GPUs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from shared_fixtures import draw_data, draw_photos
from support import ROOT, TinyNet, draw_pair, environment, make_config, tree
from training_runs import assert_equal_runs, saved_state
from two_processes import engine_run, frozen_run, scores_of

from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.training import distributed


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Path:
    """The folder in which `tools/launch/train_cpu.sh` has run `two_processes.py` in place of `train.py`."""
    root = tmp_path_factory.mktemp("two processes")
    shutil.copytree(ROOT / "tools" / "launch", root / "tools" / "launch")
    (root / "train.py").write_text(
        "import sys, pathlib, two_processes\nsys.exit(two_processes.run_all(pathlib.Path.cwd()))\n"
    )
    lines = [f"images/p{index}.png\tmasks/p{index}.png\n" for index in range(10)]
    for index in range(10):
        draw_pair(root / "ten", f"p{index}")
    (root / "ten" / "train_list.txt").write_text("".join(lines[:5]))
    (root / "ten" / "val_list.txt").write_text("".join(lines[5:]))  # an odd number: the shares differ
    make_config(root / "tiny.yaml", root / "ten", optimizer={"type": "sgd", "momentum": 0.9})
    make_config(root / "my config.yaml", draw_data(root / "my data"), model="U2Netp")
    paddle.save(U2Netp(1).state_dict(), str(root / "w.pdparams"))
    (draw_photos(root / "some photos") / "a.m.png").write_text("no image")  # the second in order, of rank 1
    flags = ["--iters", "2", "--do_eval", "--log_iters", "1", "--seed", "1", "--cpu_engine", "paddle"]
    paths = {"PYTHON": sys.executable, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "U2NET_HOME": "cold"}
    outcome = subprocess.run(
        [root / "tools" / "launch" / "train_cpu.sh", "2", "--config", "my config.yaml", *flags],
        capture_output=True,
        cwd=root,
        env=environment(**paths),
        timeout=200,
    )
    logs = [path.read_text() for path in [*root.glob("log/workerlog.*"), *root.glob("*.log")]]
    assert (root / "predict.1.log").is_file(), logs
    assert outcome.returncode != 0  # of the broken image
    return root


def test_launched_training_shares_the_data_and_one_process_writes(launched):
    """U²-Net† in Paddle; the next test trains it by oneDNN."""
    logs = [(launched / f"train.{rank}.log").read_text() for rank in range(2)]
    assert "epoch: 1, iter: 1/2" in logs[0]
    assert "epoch: 2, iter: 2/2" in logs[0]  # 2 processes x 2 images of 4
    assert "#Images: 2" in logs[0]
    assert "[TRAIN]" not in logs[1]
    assert "[EVAL]" not in logs[1]
    assert json.loads((launched / "output/iter_2/state.json").read_text())["samples"] == 8
    assert sorted(p.name for p in (launched / "output").glob("*")) == [
        *("best_model", "config.yaml", "curves.png", "history.csv", "iter_2", "previews"),
        *("run.json", "settings.json"),
    ]


def test_two_processes_equal_one_with_twice_the_batch_resume_exactly_and_one_writes(launched, tmp_path):
    config, first = launched / "tiny.yaml", launched / "rank_0"
    frozen_run(config, tmp_path / "frozen", batch_size=4)
    engine_run(config, tmp_path / "engine", batch_size=4)
    for name, last in (("frozen", "iter_4"), ("engine", "iter_1")):
        one, two = (saved_state(folder / name / last) for folder in (tmp_path, first))
        assert set(one) == set(two)
        for key, value in one.items():
            np.testing.assert_allclose(two[key], value, atol=1e-5, err_msg=key)
    before, after = (saved_state(tmp_path / "frozen" / last)["first.weight"] for last in ("iter_2", "iter_4"))
    assert np.abs(after - before).max() > 1e-3

    scores = json.loads((launched / "scores.json").read_text())
    assert scores_of(config, first / "frozen") == pytest.approx(scores, rel=1e-9)
    assert_equal_runs(*(first / name / "iter_4" for name in ("whole", "resumed")))
    assert tree(launched / "rank_1") == []
    assert sorted(path.name for path in first.iterdir()) == ["engine", "frozen", "resumed", "whole"]


def test_launched_ranks_predict_each_image_once_from_an_empty_cache(run, launched, small_drawing):
    """Names and pixels equal those of one process; a broken image makes it fail after the others are done."""
    logs = [(launched / f"predict.{rank}.log").read_text() for rank in range(2)]
    assert "Rank 0 of 2 has 2 of 4 images" in logs[0]
    assert "Predicted 2 of 2 images into two" in logs[0]
    assert "Rank 1 of 2 has 2 of 4 images" in logs[1]
    assert "a.m.png: holds a text that begins with 'no image'" in logs[1]
    good = shutil.copytree(launched / "some photos", "some photos", ignore=lambda *_: ["a.m.png"])
    words = ["--config", launched / "my config.yaml", "--model_path", launched / "w.pdparams"]
    assert run("predict", *words, "--image_path", good, "--save_dir", "one")[0] == 0
    assert tree("one") == tree(launched / "two")
    for name in tree("one"):
        assert Path("one", name).read_bytes() == (launched / "two" / name).read_bytes()


@pytest.mark.parametrize("network", [TinyNet, U2Netp])
def test_synchronized_batch_norm_keeps_names_and_values(monkeypatch, network):
    """On a CPU, where it cannot run; the parameters are those that the optimizer has."""
    plain = network(1)
    before = plain.state_dict()
    norms = [name for name, layer in plain.named_sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "DataParallel", lambda layer: layer)
    assert distributed.distribute(plain, 1) is plain
    assert not any(isinstance(layer, paddle.nn.SyncBatchNorm) for layer in plain.sublayers())
    assert distributed.distribute(plain, 2) is plain
    layers = dict(plain.named_sublayers())
    assert norms
    assert all(isinstance(layers[name], paddle.nn.SyncBatchNorm) for name in norms)
    after = plain.state_dict()
    assert list(after) == list(before)
    assert all(after[key] is value for key, value in before.items())


def test_frozen_batch_norm_is_not_synchronized(monkeypatch):
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "DataParallel", lambda layer: layer)
    network = TinyNet(1)
    network.norm._use_global_stats = True
    assert type(distributed.distribute(network, 2).norm) is paddle.nn.BatchNorm2D
