"""The engine on a small network: what is saved, resumed, kept, stopped."""

from __future__ import annotations

import json
import signal

import numpy as np
import paddle
import pytest

from paddleseg_u2net import registry
from paddleseg_u2net.checkpoint import keep_earlier_run, load_checkpoint, write_run_record
from paddleseg_u2net.config import load_config
from paddleseg_u2net.dataset import inspect_all
from paddleseg_u2net.formats import read_pickle, read_state
from paddleseg_u2net.settings import Settings, amp_options
from paddleseg_u2net.training import Trainer


def trainer(config, save_dir, opts=(), **changes) -> Trainer:
    """A trainer as `train.py` makes it; keyword arguments are settings."""
    paddle.seed(changes.get("seed", 0))
    found = load_config(config, opts=opts, iters=changes.get("iters"))
    sets = [registry.build_dataset(found, key) for key in ("train_dataset", "val_dataset")]
    inspect_all(sets)
    network = registry.build_network(found["model"])
    settings = {
        "iters": found["iters"],
        "batch_size": 2,
        "metric": "maxF",
        "save_interval": 2,
        "log_iters": 1,
    }
    settings = Settings(**{**settings, "save_dir": save_dir, **changes})
    save_dir.mkdir(parents=True, exist_ok=True)
    optimizer = registry.build_optimizer(found, network)
    return Trainer(network, optimizer, registry.build_losses(found), *sets, found, settings)


class Scripted:
    """Evaluations whose scores are told in advance."""

    def __init__(self, metric: str, values: list[float]):
        self.metric, self.values = metric, iter(values)

    def __call__(self, network) -> Scripted:
        return self

    def compute(self) -> dict[str, float]:
        return {self.metric: next(self.values)}

    def report(self) -> list[str]:
        return []


def saved_state(folder) -> dict[str, np.ndarray]:
    return read_state(folder / "model.pdparams")


def assert_equal_states(first, second) -> None:
    assert set(first) == set(second)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


@pytest.mark.parametrize("options", [{}, {"use_ema": True}, {"num_workers": 2}])
def test_resume_equals_uninterrupted_training(config, tmp_path, options):
    whole = tmp_path / "whole"
    trainer(config, whole, iters=4, do_eval=True, **options).run()
    resumed = tmp_path / "resumed"
    # another start: everything that matters must come from the checkpoint
    trainer(config, resumed, iters=4, do_eval=True, seed=9, resume_model=whole / "iter_2", **options).run()
    assert_equal_states(saved_state(whole / "iter_4"), saved_state(resumed / "iter_4"))
    states = [read_pickle(run / "iter_4" / "model.pdopt") for run in (whole, resumed)]
    assert states[0]["LR_Scheduler"] == states[1]["LR_Scheduler"]
    for key, value in states[0].items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, states[1][key], err_msg=key)
    progress = [json.loads((run / "iter_4" / "state.json").read_text()) for run in (whole, resumed)]
    assert progress[0] == progress[1]
    if options.get("use_ema"):
        averaged = [read_state(run / "iter_4" / "ema_model.pdparams") for run in (whole, resumed)]
        assert_equal_states(*averaged)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(config, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer(config, tmp_path / name, iters=2, seed=seed).run()
    assert_equal_states(saved_state(tmp_path / "a" / "iter_2"), saved_state(tmp_path / "b" / "iter_2"))
    with pytest.raises(AssertionError):
        assert_equal_states(saved_state(tmp_path / "a" / "iter_2"), saved_state(tmp_path / "c" / "iter_2"))


def test_a_small_set_is_learnt(config, tmp_path):
    """Overfit: the loss falls, and the object is found."""
    run = trainer(
        config, tmp_path / "run", iters=120, save_interval=120, opts=["lr_scheduler.learning_rate=0.1"]
    )
    first = run.evaluate(run.network).compute()["MAE"]
    run.run()
    last = run.evaluate(run.network).compute()
    assert last["MAE"] < first / 2
    assert last["maxF"] > 0.9


def test_a_run_leaves_whole_checkpoints_and_the_best_model_with_its_config(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run = tmp_path / "run"
    trainer(config, run, iters=5, do_eval=True, keep_checkpoint_max=2).run()
    assert sorted(p.name for p in run.iterdir()) == ["best_model", "iter_4", "iter_5"]
    files = sorted(p.name for p in (run / "iter_5").iterdir())
    assert files == ["config.yaml", "model.pdopt", "model.pdparams", "state.json"]
    assert load_config(run / "best_model" / "config.yaml") == load_config(config, iters=5)
    best = json.loads((run / "iter_5" / "state.json").read_text())["best"]["model"]
    assert f"best validation maxF ({best[0]:.4f}) was saved at iter {best[1]}." in caplog.text
    assert "[TRAIN] epoch: 1, iter: 1/5, loss: " in caplog.text
    assert "epoch: 3, iter: 5/5" in caplog.text
    assert "samples/sec | ETA 00:00:00" in caplog.text


def test_zero_keeps_all_checkpoints(config, tmp_path):
    trainer(config, tmp_path, iters=3, save_interval=1, keep_checkpoint_max=0).run()
    assert sorted(p.name for p in tmp_path.glob("iter_*")) == ["iter_1", "iter_2", "iter_3"]


def test_the_best_model_is_that_of_its_iteration(config, tmp_path, monkeypatch):
    run = trainer(config, tmp_path, iters=4, save_interval=1, do_eval=True, metric="MAE")
    monkeypatch.setattr(run, "evaluate", Scripted("MAE", [0.5, 0.2, 0.3, 0.4]))
    progress = run.run()
    assert progress.best == {"model": (0.2, 2)}
    assert progress.stale == 2
    assert_equal_states(saved_state(tmp_path / "best_model"), saved_state(tmp_path / "iter_2"))


def test_early_stop_waits_for_its_patience(config, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    run = trainer(config, tmp_path, iters=9, save_interval=1, do_eval=True, early_stop_intervals=2)
    monkeypatch.setattr(run, "evaluate", Scripted("maxF", [0.5, 0.6, 0.6, 0.1, 0.9]))
    assert run.run().iter == 4
    assert "Stopped early at iter 4: no better maxF in 2 evaluations" in caplog.text
    assert (tmp_path / "iter_4" / "model.pdopt").is_file()


def test_the_average_is_of_weights_and_statistics(config, tmp_path):
    run = trainer(config, tmp_path, iters=2, save_interval=1, use_ema=True, do_eval=True)
    start = {k: v.numpy().copy() for k, v in run.network.state_dict().items()}
    run.run()
    one, two = saved_state(tmp_path / "iter_1"), saved_state(tmp_path / "iter_2")
    averaged = read_state(tmp_path / "iter_2" / "ema_model.pdparams")
    for key, value in averaged.items():
        first = start[key] / 2 + one[key] / 2  # decay min(1 - 1 / (step + 1), 0.999)
        np.testing.assert_allclose(value, first * 2 / 3 + two[key] / 3, atol=1e-6, err_msg=key)
    assert (tmp_path / "ema_best_model" / "ema_model.pdparams").is_file()


def test_interrupting_saves_and_says_so(config, tmp_path, caplog):
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


def test_a_loss_that_is_no_number_stops_the_run(config, tmp_path):
    run = trainer(config, tmp_path / "run", iters=2)
    run.network.last.bias.set_value(np.full(1, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match=r"iter 1: the loss is nan.* Fix: a lower --learning_rate"):
        run.run()
    assert not list((tmp_path / "run").iterdir())


def test_a_full_disk_loses_nothing(config, tmp_path, monkeypatch):
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
    assert sorted(p.name for p in folder.iterdir()) == ["iter_2"]
    load_checkpoint(folder / "iter_2", run.network, run.optimizer, None, None, "maxF")


def test_resuming_from_what_is_no_checkpoint_is_refused(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    for folder, options, message in (
        (tmp_path, {}, "holds no model.pdparams, model.pdopt, state.json. Fix: give an iter_N folder"),
        (tmp_path / "run" / "iter_2", {"use_ema": True}, "holds no ema_model.pdparams.* that used --use_ema"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            trainer(config, tmp_path / "new", iters=4, resume_model=folder, **options).run()


def test_resuming_another_network_is_refused(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    other = trainer(
        config,
        tmp_path / "new",
        opts=["model.in_channels=3", "model.type=U2Netp", "loss.coef=[1,1,1,1,1,1,1]"],
    )
    other.settings.resume_model = tmp_path / "run" / "iter_2"
    with pytest.raises(ValueError, match="does not fit U2Netp"):
        other.run()


def test_a_finished_run_resumes_to_nothing(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    assert (
        trainer(config, tmp_path / "run", iters=2, resume_model=tmp_path / "run" / "iter_2").run().iter == 2
    )


def test_an_earlier_run_is_kept(tmp_path):
    assert keep_earlier_run(tmp_path) is None
    for expected in ("earlier_1", "earlier_2"):
        for name in ("iter_2", "best_model"):
            (tmp_path / name).mkdir()
        (tmp_path / "result").mkdir(exist_ok=True)
        assert keep_earlier_run(tmp_path) == tmp_path / expected
        assert sorted(p.name for p in (tmp_path / expected).iterdir()) == ["best_model", "iter_2"]
    assert (tmp_path / "result").is_dir()


def test_the_run_record_holds_config_and_flags(config, tmp_path):
    settings = Settings(tmp_path, 3, 2, "MAE", resume_model=tmp_path / "x")
    write_run_record(tmp_path, load_config(config), settings)
    assert load_config(tmp_path / "config.yaml") == load_config(config)
    assert json.loads((tmp_path / "settings.json").read_text())["resume_model"] == str(tmp_path / "x")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_cpu_is_refused(precision):
    with pytest.raises(ValueError, match=f"--precision {precision}: Paddle computes in fp32 on a CPU .*Fix:"):
        amp_options(precision, "O1", "cpu")


def test_half_precision_on_a_gpu_is_what_was_asked_for():
    options = amp_options("bf16", "O2", "gpu")
    assert (options["enable"], options["dtype"], options["level"]) == (True, "bfloat16", "O2")
    assert amp_options("fp16", "O1", "gpu")["dtype"] == "float16"
    assert amp_options("fp32", "O1", "gpu")["enable"] is False
    with paddle.amp.auto_cast(**amp_options("fp32", "O1", "cpu")):
        pass


def test_reduce_on_plateau_is_given_the_loss(config, tmp_path):
    run = trainer(
        config,
        tmp_path,
        iters=4,
        opts=["lr_scheduler={type: ReduceOnPlateau, learning_rate: 0.1, patience: 0}"],
    )
    run.run()
    assert run.optimizer._learning_rate.last_epoch == 4
