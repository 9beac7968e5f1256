"""The engine on a small network: what is saved, resumed, kept, stopped."""

from __future__ import annotations

import json
import signal

import numpy as np
import paddle
import pytest

from paddleseg_u2net import builders
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.models.checkpoint import (
    bring_best,
    keep_earlier_run,
    load_checkpoint,
    save_checkpoint,
    write_run_record,
)
from paddleseg_u2net.models.weight_files import read_pickle, read_state
from paddleseg_u2net.training.settings import Settings, amp_options
from paddleseg_u2net.training.trainer import Trainer


class TrainerWithData(Trainer):
    """A trainer that opens its data, which `train.py` does before `run`."""

    def run(self):
        return super().run(*open_datasets([self.train_spec, self.val_spec]))


def trainer(config, save_dir, opts=(), **changes) -> Trainer:
    """A trainer as `train.py` makes it; keyword arguments are settings."""
    paddle.seed(changes.get("seed", 0))
    found = load_config(config, opts=opts, iters=changes.get("iters"))
    specs = [builders.build_dataset_spec(found, key) for key in ("train_dataset", "val_dataset")]
    network = builders.build_network(found["model"])
    settings = {
        "iters": found["iters"],
        "batch_size": 2,
        "metric": "maxF",
        "save_interval": 2,
        "log_iters": 1,
    }
    settings = Settings(**{**settings, "save_dir": save_dir, **changes})
    save_dir.mkdir(parents=True, exist_ok=True)
    optimizer = builders.build_optimizer(found, network)
    return TrainerWithData(network, optimizer, builders.build_losses(found), *specs, found, settings)


class Scripted:
    """Evaluations whose scores are told in advance."""

    def __init__(self, metric: str, values: list[float]):
        self.metric, self.values = metric, iter(values)

    def __call__(self, network, data) -> Scripted:
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
    (val_data,) = open_datasets([run.val_spec])
    first = run.evaluate(run.network, val_data).compute()["MAE"]
    run.run()
    last = run.evaluate(run.network, val_data).compute()
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
    opts = ["model.type=U2Netp", "loss.coef=[1,1,1,1,1,1,1]"]
    with pytest.raises(ValueError, match="does not fit U2Netp"):
        trainer(config, tmp_path / "new", opts, resume_model=tmp_path / "run" / "iter_2")
    opts = ["optimizer={type: SGD}"]
    with pytest.raises(ValueError, match="was trained by Adam, the config says SGD. Fix: the same optimizer"):
        trainer(config, tmp_path / "new", opts, resume_model=tmp_path / "run" / "iter_2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", b"{", "state.json: is damaged: "),
        ("state.json", b'{"iteration": 2}', "state.json: is no record of a run"),
        ("model.pdopt", b"\x80\x04", "model.pdopt: cannot be read as what paddle.save writes"),
    ],
)
def test_damaged_checkpoints_are_named(config, tmp_path, name, content, message):
    trainer(config, tmp_path / "run", iters=2).run()
    (tmp_path / "run" / "iter_2" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        trainer(config, tmp_path / "new", resume_model=tmp_path / "run" / "iter_2")


def test_changes_of_the_config_are_told_at_resuming(config, tmp_path, caplog):
    trainer(config, tmp_path / "run", iters=2).run()
    trainer(
        config, tmp_path / "new", ["lr_scheduler.power=1"], iters=4, resume_model=tmp_path / "run" / "iter_2"
    )
    line = "The config is not that of the checkpoint: iters: 2 -> 4; lr_scheduler.power: 0.9 -> 1"
    assert line in caplog.text


def best_run(config, folder, monkeypatch, values, **changes):
    """A run whose evaluations are scripted; one a step."""
    run = trainer(config, folder, save_interval=1, do_eval=True, **changes)
    monkeypatch.setattr(run, "evaluate", Scripted("maxF", values))
    return run


def test_an_evaluation_that_was_cut_off_is_done_after_resuming(config, tmp_path, monkeypatch):
    run = best_run(config, tmp_path, monkeypatch, [], iters=2)  # dies in its first evaluation
    with pytest.raises(StopIteration):
        run.run()
    assert json.loads((tmp_path / "iter_1" / "state.json").read_text())["pending"]
    again = best_run(config, tmp_path, monkeypatch, [0.7, 0.6], iters=2, resume_model=tmp_path / "iter_1")
    assert again.run().best == {"model": (0.7, 1)}
    assert_equal_states(saved_state(tmp_path / "best_model"), saved_state(tmp_path / "iter_1"))


def test_a_pending_checkpoint_goes_on_in_another_folder_and_without_evaluation(config, tmp_path, monkeypatch):
    run = best_run(config, tmp_path / "a", monkeypatch, [], iters=2)
    with pytest.raises(StopIteration):
        run.run()
    pending = tmp_path / "a" / "iter_1"
    best_run(config, tmp_path / "b", monkeypatch, [0.7], iters=1, resume_model=pending).run()
    assert (tmp_path / "b" / "iter_1" / "model.pdopt").is_file()
    assert trainer(config, tmp_path / "c", iters=2, resume_model=pending).run().iter == 2


def test_going_on_from_an_older_checkpoint_keeps_what_is_newer(config, tmp_path, monkeypatch, caplog):
    best_run(config, tmp_path, monkeypatch, [0.5, 0.6, 0.9], iters=3).run()
    resumed = tmp_path / "iter_2"
    again = best_run(config, tmp_path, monkeypatch, [0.4], iters=3, resume_model=resumed)
    assert (
        "no longer holds the best model of then (maxF 0.6000 at iter 2); the best starts anew" in caplog.text
    )
    earlier = keep_earlier_run(tmp_path, again.progress)
    assert sorted(p.name for p in earlier.iterdir()) == ["best_model", "iter_3"]
    assert again.run().best == {"model": (0.4, 3)}
    assert json.loads((earlier / "best_model" / "state.json").read_text())["score"] == 0.9


def test_the_best_model_comes_along_into_another_folder(config, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    best_run(config, first, monkeypatch, [0.9, 0.1], iters=2).run()
    again = best_run(config, second, monkeypatch, [0.2], iters=3, resume_model=first / "iter_2")
    bring_best(first, second, again.progress)
    assert again.run().best == {"model": (0.9, 1)}
    assert_equal_states(saved_state(second / "best_model"), saved_state(first / "iter_1"))


def test_another_metric_starts_the_best_anew(config, tmp_path, monkeypatch, caplog):
    best_run(config, tmp_path, monkeypatch, [0.9], iters=1).run()
    run = trainer(config, tmp_path, iters=2, metric="MAE", resume_model=tmp_path / "iter_1")
    assert run.progress.best == {}
    assert (keep_earlier_run(tmp_path, run.progress) / "best_model" / "model.pdparams").is_file()
    assert "The best score so far was of maxF; by MAE it starts anew" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sample_that_cannot_be_made_ends_the_run_with_its_name(config, tmp_path, num_workers):
    opts = ["train_dataset.transforms.0={type: RandomCrop, crop_size: [64, 64]}"]
    run = trainer(config, tmp_path, opts, num_workers=num_workers)
    with pytest.raises(
        ValueError, match=r"train_list.txt:\d: .*p\d.png: .*RandomCrop: .* exceeds the image's"
    ):
        run.run()


def test_weights_that_are_no_numbers_are_never_saved(config, tmp_path):
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
    assert not list((tmp_path / "run").iterdir())


def test_master_weights_of_half_precision_survive(config, tmp_path):
    run = trainer(config, tmp_path / "run", iters=1)
    run.run()
    state = dict(run.optimizer.state_dict())
    name = run.network.last.bias.name
    state["master_weights"] = {name: paddle.full([1], 7.0)}
    run.optimizer.state_dict = lambda: state
    save_checkpoint(tmp_path / "x", run.network, run.optimizer, None, None, run.progress, run.config)
    assert read_pickle(tmp_path / "x" / "model.pdopt")["master_weights"][name] == [7.0]
    fresh = trainer(config, tmp_path / "new", iters=1)
    given = {}
    fresh.optimizer.set_state_dict = given.update
    load_checkpoint(tmp_path / "x", fresh.network, fresh.optimizer, None, None, "maxF")
    assert given["master_weights"][name].tolist() == [7.0]


def test_a_finished_run_resumes_to_nothing(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    resumed = trainer(config, tmp_path / "run", iters=2, resume_model=tmp_path / "run" / "iter_2")
    assert resumed.finished
    assert resumed.run().iter == 2
    assert not trainer(config, tmp_path / "run", iters=3, resume_model=tmp_path / "run" / "iter_2").finished


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
