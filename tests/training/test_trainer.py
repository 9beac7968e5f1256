"""The training loop on a small network: what it computes, logs, saves and keeps, and when it stops."""

from __future__ import annotations

import json
import re
import signal

import numpy as np
import paddle
import pytest
from training_runs import Scores, assert_equal_states, saved_state, trainer

from paddleseg_u2net import builders
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.models.checkpoint import (
    load_checkpoint,
)
from paddleseg_u2net.models.weight_files import read_state


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(config, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer(config, tmp_path / name, iters=2, seed=seed).run()
    assert_equal_states(saved_state(tmp_path / "a" / "iter_2"), saved_state(tmp_path / "b" / "iter_2"))
    with pytest.raises(AssertionError):
        assert_equal_states(saved_state(tmp_path / "a" / "iter_2"), saved_state(tmp_path / "c" / "iter_2"))


def test_training_fits_a_small_data_set(config, tmp_path):
    run = trainer(
        config,
        tmp_path / "run",
        iters=120,
        save_interval=120,
        do_eval=True,
        opts=["lr_scheduler.learning_rate=0.1"],
    )
    val_data = open_datasets([builders.build_dataset_spec(run.config, "val_dataset")])[0]
    first = run.validation.measure(run.validation.predictor(run.network), val_data).compute()["MAE"]
    run.run()
    last = run.validation.measure(run.validation.predictor(run.network), val_data).compute()
    assert last["MAE"] < first / 2
    assert last["maxF"] > 0.9


def test_run_leaves_complete_checkpoints_and_the_best_model_with_its_config(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run = tmp_path / "run"
    trainer(config, run, iters=5, do_eval=True, keep_checkpoint_max=2).run()
    found = sorted(p.name for p in run.iterdir())
    assert found == ["best_model", "curves.png", "history.csv", "iter_4", "iter_5", "previews"]
    assert sorted(p.name for p in (run / "previews").iterdir()) == ["iter_2.png", "iter_4.png", "iter_5.png"]
    files = sorted(p.name for p in (run / "iter_5").iterdir())
    assert files == ["config.yaml", "model.pdopt", "model.pdparams", "state.json"]
    assert load_config(run / "best_model" / "config.yaml") == load_config(config, iters=5)
    best = json.loads((run / "iter_5" / "state.json").read_text())["best"]["model"]
    assert f"best validation maxF ({best[0]:.4f}) was saved at iter {best[1]}." in caplog.text
    assert "[TRAIN] epoch: 1, iter: 1/5, loss: " in caplog.text
    assert "epoch: 3, iter: 5/5" in caplog.text
    assert "samples/sec | ETA 00:00:00" in caplog.text
    last = caplog.messages[-1]
    assert re.match(
        r"Trained 5 steps in 00:\d\d:\d\d, \d+\.\d\d images/s without evaluations, best maxF", last
    )
    assert last.endswith(f"of the model {best[0]:.4f} at iter {best[1]} in {run / 'best_model'}")


def test_keep_checkpoint_max_zero_keeps_all(config, tmp_path):
    trainer(config, tmp_path, iters=3, save_interval=1, keep_checkpoint_max=0).run()
    assert sorted(p.name for p in tmp_path.glob("iter_*")) == ["iter_1", "iter_2", "iter_3"]


def test_best_model_equals_the_checkpoint_with_the_best_score(config, tmp_path, monkeypatch):
    run = trainer(config, tmp_path, iters=4, save_interval=1, do_eval=True, metric="MAE")
    monkeypatch.setattr(run.validation, "measure", Scores("MAE", [0.5, 0.2, 0.3, 0.4]))
    progress = run.run()
    assert progress.best == {"model": (0.2, 2)}
    assert progress.stale == 2
    assert_equal_states(saved_state(tmp_path / "best_model"), saved_state(tmp_path / "iter_2"))


def test_early_stop_after_the_given_number_of_evaluations(config, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    run = trainer(config, tmp_path, iters=9, save_interval=1, do_eval=True, early_stop_intervals=2)
    monkeypatch.setattr(run.validation, "measure", Scores("maxF", [0.5, 0.6, 0.6, 0.1, 0.9]))
    assert run.run().iter == 4
    assert "Stopped early at iter 4: no better maxF in 2 evaluations" in caplog.text
    assert (tmp_path / "iter_4" / "model.pdopt").is_file()


def test_ema_averages_weights_and_batch_norm_statistics(config, tmp_path):
    run = trainer(config, tmp_path, iters=2, save_interval=1, use_ema=True, do_eval=True)
    start = {k: v.numpy().copy() for k, v in run.network.state_dict().items()}
    run.run()
    one, two = saved_state(tmp_path / "iter_1"), saved_state(tmp_path / "iter_2")
    averaged = read_state(tmp_path / "iter_2" / "ema_model.pdparams")
    for key, value in averaged.items():
        first = start[key] * 2 / 11 + one[key] * 9 / 11  # decay (1 + step) / (10 + step)
        np.testing.assert_allclose(value, first * 3 / 12 + two[key] * 9 / 12, atol=1e-6, err_msg=key)
    assert (tmp_path / "ema_best_model" / "ema_model.pdparams").is_file()


def test_sigterm_finishes_the_step_and_saves(config, tmp_path, caplog):
    run = trainer(config, tmp_path, iters=50, save_interval=50, do_eval=True)
    step = run.step

    def interrupted_step(batch):
        if run.progress.iter == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(batch)

    run.step = interrupted_step
    assert run.run().iter == 3
    assert "finishing this step and saving" in caplog.text
    assert (tmp_path / "iter_3" / "state.json").is_file()
    assert not (tmp_path / "best_model").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_nan_loss_stops_the_run(config, tmp_path):
    run = trainer(config, tmp_path / "run", iters=2)
    run.network.last.bias.set_value(np.full(1, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match=r"iter 1: the loss is nan.* Fix: a lower --learning_rate"):
        run.run()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["history.csv"]


def test_full_disk_keeps_earlier_checkpoints(config, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run = trainer(config, folder, iters=4)
    real = paddle.save

    def full(state, path, *args):
        real(state, path, *args)
        if "iter_4" in path and path.endswith("pdopt"):
            raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(paddle, "save", full)
    with pytest.raises(OSError, match="No space left"):
        run.run()
    assert sorted(p.name for p in folder.iterdir()) == ["history.csv", "iter_2"]
    load_checkpoint(folder / "iter_2", run.network, run.optimizer, None, None, "maxF")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_sample_that_cannot_be_loaded_is_named(config, tmp_path, num_workers):
    opts = ["train_dataset.transforms.0={type: RandomCrop, crop_size: [64, 64]}"]
    run = trainer(config, tmp_path, opts, num_workers=num_workers)
    with pytest.raises(
        ValueError, match=r"train_list.txt:\d: .*p\d.png: .*RandomCrop: .* exceeds the image's"
    ):
        run.run()


def test_weights_that_are_not_finite_are_never_saved(config, tmp_path):
    run = trainer(config, tmp_path / "run", iters=2, save_interval=1, log_iters=9)
    step = run.step

    def diverging(batch):
        outcome = step(batch)
        run.network.last.bias.set_value(np.full(1, np.nan, np.float32))
        return outcome

    run.step = diverging
    with pytest.raises(
        FloatingPointError, match=r"iter 1: last.bias is not finite\. .*Fix: a lower --learning"
    ):
        run.run()
    assert not list((tmp_path / "run").glob("*iter_*"))


def test_output_that_overflows_ends_the_run_and_keeps_the_best_model(config, tmp_path):
    run = trainer(config, tmp_path, iters=2, save_interval=1, do_eval=True, keep_checkpoint_max=1)
    step = run.step

    def diverging(batch):
        outcome = step(batch)
        if run.progress.iter == 2:
            run.network.first.bias.set_value(np.full(4, 3e38, np.float32))  # finite
            run.network.norm.weight.set_value(np.full(4, 3e38, np.float32))
            run.network.last.weight.set_value(np.float32([[1], [-1], [1], [-1]]).reshape(1, 4, 1, 1))
        return outcome

    run.step = diverging
    with pytest.raises(FloatingPointError, match=r"iter 2: the output of the model holds NaN\. .*Fix: a low"):
        run.run()
    assert json.loads((tmp_path / "best_model" / "state.json").read_text())["iter"] == 1
    assert (tmp_path / "iter_1").is_dir()  # the one to resume


def test_reduce_on_plateau_receives_the_loss(config, tmp_path):
    run = trainer(
        config,
        tmp_path,
        iters=4,
        opts=["lr_scheduler={type: ReduceOnPlateau, learning_rate: 0.1, patience: 0}"],
    )
    run.run()
    assert run.optimizer._learning_rate.last_epoch == 4
