"""VisualDL, MLflow and Weights & Biases: what they receive; the last two only where they are installed."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from training_runs import trainer

from paddleseg_u2net.environment.optional_imports import INSTALL
from paddleseg_u2net.errors import MissingPackage
from paddleseg_u2net.training.history import History
from paddleseg_u2net.training.log import TrainingLog
from paddleseg_u2net.training.loggers import LOGGERS
from paddleseg_u2net.training.settings import TrainingSettings


def test_each_logger_has_a_setting_and_a_pip_command(tmp_path):
    settings = TrainingSettings(tmp_path, 1, 1, "MAE")
    for name, row in LOGGERS.items():
        assert getattr(settings, f"use_{name}") is False
        assert row.module in INSTALL


@pytest.mark.parametrize("name", LOGGERS)
def test_missing_package_is_named_before_training(config, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, LOGGERS[name].module, None)
    with pytest.raises(MissingPackage, match=rf"{LOGGERS[name].module} is not installed. Fix: pip install"):
        trainer(config, tmp_path / "run", **{f"use_{name}": True})


def test_visualdl_receives_values_and_previews(config, tmp_path):
    trainer(config, tmp_path, iters=2, do_eval=True, use_ema=True, use_vdl=True).run()
    from visualdl import LogReader

    (record,) = tmp_path.glob("vdlrecords.*.log")
    reader = LogReader(file_path=str(record))
    assert [point.id for point in reader.get_data("scalar", "Train/loss")] == [1, 2]
    tags = set(reader.get_tags()["scalar"])
    assert {"Train/lr", "Train/ips", "Train/loss_0", "Evaluate/maxF", "Evaluate/Ema_maxF"} <= tags
    assert len(reader.get_data("image", "Evaluate/preview")) == 1


def test_mlflow_receives_values_previews_and_the_config(config, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trainer(config, tmp_path / "my run", iters=2, do_eval=True, use_mlflow=True).run()
    client = mlflow.MlflowClient((tmp_path / "my run" / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("u2net").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "my run")
    steps = [point.step for point in client.get_metric_history(found.info.run_id, "Train/loss")]
    assert steps == [1, 2]
    assert 0 <= found.data.metrics["Evaluate/maxF"] <= 1
    files = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert files == {"config.yaml", "previews"}


def test_wandb_keeps_an_offline_record_in_the_run(config, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    trainer(config, tmp_path / "run", iters=2, do_eval=True, use_wandb=True).run()
    (record,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert b"Train/loss" in content
    assert b"Evaluate/maxF" in content


class Recorder:
    """Keeps what it receives; fails from a given step on."""

    def __init__(self, fails_at: int = 99):
        self.fails_at, self.steps, self.failed = fails_at, [], None

    def record(self, source, values, step):
        if step >= self.fails_at:
            raise ConnectionError("no answer")
        self.steps.append(step)

    def picture(self, image, step): ...

    def close(self, failed):
        self.failed = failed


def test_logger_that_fails_is_left_out_and_the_others_go_on(caplog):
    good, bad = Recorder(), Recorder(fails_at=2)
    with TrainingLog(3, [lambda: bad, lambda: good]) as log:
        for step in (1, 2, 3):
            log.scores("model", [], {"MAE": 0.1, "class_IoU": np.ones(2)}, step)
    assert (good.steps, bad.steps) == ([1, 2, 3], [1])
    assert (good.failed, bad.failed) == (False, None)
    assert caplog.messages == ["Recorder failed and gets no more values: no answer"]


def test_logger_that_cannot_start_is_left_out(caplog, tmp_path):
    def unreachable():
        raise ConnectionError("no answer")

    good = Recorder()
    with TrainingLog(1, [unreachable, lambda: good]) as log:
        log.scores("model", [], {"MAE": 0.1}, 1)
    assert good.steps == [1]
    assert caplog.messages == ["unreachable failed and gets no more values: no answer"]
    (tmp_path / "file").touch()
    broken = partial(History, tmp_path / "file" / "history.csv", 0, True)
    with pytest.raises(OSError, match="file"), TrainingLog(1, [broken]):
        pass


def test_run_that_fails_is_recorded_as_failed():
    recorder = Recorder()
    with pytest.raises(ValueError, match="reason"), TrainingLog(1, [lambda: recorder]):
        raise ValueError("reason")
    assert recorder.failed is True
