"""Training in two processes on a CPU, and the layers that replace BatchNorm on several GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import ROOT, TinyNet, draw_pair, environment, make_config, tree
from training_runs import assert_equal_runs, saved_state
from two_processes import engine_run, frozen_run, scores_of

from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.training import distributed


def launch(root: Path) -> Path:
    """Run `two_processes.py` in two processes; returns the config that they used."""
    lines = [f"images/p{index}.png\tmasks/p{index}.png\n" for index in range(10)]
    for index in range(10):
        draw_pair(root, f"p{index}")
    (root / "train_list.txt").write_text("".join(lines[:5]))
    (root / "val_list.txt").write_text("".join(lines[5:]))  # an odd number: the shares differ
    config = make_config(root / "tiny.yaml", root, optimizer={"type": "sgd", "momentum": 0.9})
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    outcome = subprocess.run(
        [*command, ROOT / "tests" / "two_processes.py", config, root],
        capture_output=True,
        cwd=root,
        env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        timeout=200,
    )
    logs = [path.read_text() for path in sorted((root / "log").glob("workerlog.*"))]
    assert outcome.returncode == 0, logs
    return config


def test_two_processes_equal_one_with_twice_the_batch_resume_exactly_and_one_writes(tmp_path):
    """One launch, which takes seconds, for all of it."""
    root, alone = tmp_path / "two processes", tmp_path / "alone"
    config = launch(root)
    first = root / "rank_0"

    frozen_run(config, alone / "frozen", batch_size=4)
    engine_run(config, alone / "engine", batch_size=4)
    for name, last in (("frozen", "iter_4"), ("engine", "iter_1")):
        one, two = (saved_state(folder / name / last) for folder in (alone, first))
        assert set(one) == set(two)
        for key, value in one.items():
            np.testing.assert_allclose(two[key], value, atol=1e-5, err_msg=key)
    before, after = (saved_state(alone / "frozen" / last)["first.weight"] for last in ("iter_2", "iter_4"))
    assert np.abs(after - before).max() > 1e-3

    scores = json.loads((root / "scores.json").read_text())
    assert scores_of(config, first / "frozen") == pytest.approx(scores, rel=1e-9)
    assert_equal_runs(*(first / name / "iter_4" for name in ("whole", "resumed")))
    assert tree(root / "rank_1") == []
    assert sorted(path.name for path in first.iterdir()) == ["engine", "frozen", "resumed", "whole"]


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
