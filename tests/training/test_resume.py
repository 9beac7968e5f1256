"""Checkpoints, resuming from them, and the folder of a run."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import paddle
import pytest
from training_runs import (
    assert_equal_runs,
    assert_equal_states,
    run_with_scores,
    saved_state,
    trainer,
    without_checksums,
)

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.io.files import remove_partial_files
from paddleseg_u2net.models.checkpoint import (
    Progress,
    load_checkpoint,
    save_checkpoint,
)
from paddleseg_u2net.models.run_folders import numbered
from paddleseg_u2net.models.safe_pickle import read_pickle
from paddleseg_u2net.training.saving import (
    OWN,
    keep_earlier_run,
    leave_finished_run,
    prepare_run_folder,
    write_run_record,
)
from paddleseg_u2net.training.settings import TrainingSettings

DISTORT = "train_dataset.transforms.0={type: RandomDistort}"
PLATEAU = "lr_scheduler={type: ReduceOnPlateau, learning_rate: 0.1, patience: 0, threshold: 9}"
WARM_UP = "lr_scheduler={type: CosineAnnealingDecay, learning_rate: 0.1, warmup_iters: 3, warmup_start_lr: 0}"


@pytest.mark.parametrize(
    ("opts", "options"),
    [
        ([], {}),
        ([], {"use_ema": True}),
        ([], {"num_workers": 2}),
        # two steps are one and a half epochs
        ([DISTORT, PLATEAU], {"use_ema": True, "num_workers": 2, "batch_size": 3}),
        ([WARM_UP, "optimizer={type: sgd, momentum: 0.9}"], {"batch_size": 3}),
    ],
)
def test_resume_equals_uninterrupted_training(config, tmp_path, opts, options):
    whole = tmp_path / "whole"
    trainer(config, whole, opts, iters=4, do_eval=True, **options).run()
    resumed = tmp_path / "resumed"
    # another seed: everything that matters must come from the checkpoint
    changes = {"iters": 4, "do_eval": True, "seed": 9, "resume_model": whole / "iter_2", **options}
    trainer(config, resumed, opts, **changes).run()
    assert_equal_runs(whole / "iter_4", resumed / "iter_4")
    assert (whole / "iter_4" / "ema_model.pdparams").is_file() == options.get("use_ema", False)


def test_resuming_from_a_folder_that_is_no_checkpoint_is_rejected(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    for folder, options, message in (
        (tmp_path, {}, "holds no model.pdparams, model.pdopt, state.json. Fix: give an iter_N folder"),
        (tmp_path / "run" / "iter_2", {"use_ema": True}, "holds no ema_model.pdparams.* that used --use_ema"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            trainer(config, tmp_path / "new", iters=4, resume_model=folder, **options).run()


def test_resuming_another_network_or_optimizer_is_rejected(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    opts = ["model.type=U2Netp", "loss.coef=[1,1,1,1,1,1,1]"]
    with pytest.raises(ValueError, match="does not fit U2Netp"):
        trainer(config, tmp_path / "new", opts, resume_model=tmp_path / "run" / "iter_2")
    opts = ["model.num_classes=2", "train_dataset.num_classes=2", "val_dataset.num_classes=2"]
    opts += ["loss.types=[{type: CrossEntropyLoss}]", "metric=mIoU"]
    with pytest.raises(
        ValueError, match=r"(?s)iter_2/model.pdparams does not fit TinyNet: 2 .*last.weight.*Fix"
    ):
        trainer(config, tmp_path / "new", opts, resume_model=tmp_path / "run" / "iter_2", metric="mIoU")
    opts = ["optimizer={type: SGD}"]
    with pytest.raises(ValueError, match="was trained by Adam, the config says SGD. Fix: use the same"):
        trainer(config, tmp_path / "new", opts, resume_model=tmp_path / "run" / "iter_2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", b"{", "state.json: is damaged: "),
        ("state.json", b'{"iteration": 2}', "state.json: is not the record of a run"),
        ("state.json", b'{"iter": "2"}', "not the record of a run: iter is '2', expected a whole number"),
        ("state.json", b'{"samples": -4}', "not the record of a run: samples is -4, expected a whole number"),
        ("state.json", b'{"best": {"models": [0.5, 1]}}', "best: 'models', expected model or ema_model"),
        ("state.json", b'{"best": {"model": 0.5}}', "not the record of a run: .*Fix: resume from another"),
        ("model.pdopt", b"\x80\x04", "model.pdopt: cannot be read as a file of paddle.save"),
    ],
)
def test_damaged_checkpoint_files_are_named(config, tmp_path, name, content, message):
    trainer(config, tmp_path / "run", iters=2).run()
    without_checksums(tmp_path / "run" / "iter_2")
    (tmp_path / "run" / "iter_2" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        trainer(config, tmp_path / "new", resume_model=tmp_path / "run" / "iter_2")


class Marker:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["model.pdparams", "model.pdopt", "ema_model.pdparams"])
@pytest.mark.parametrize("content", ["truncated", "random", "hostile", "foreign", "list"])
def test_files_that_are_no_checkpoint_are_rejected_and_run_no_code(config, tmp_path, name, content):
    first = trainer(config, tmp_path / "run", iters=1, use_ema=True)
    first.run()
    path = tmp_path / "run" / "iter_1" / name
    contents = {
        "truncated": path.read_bytes()[:-100],
        "random": np.random.default_rng(0).bytes(500),
        "hostile": pickle.dumps({"last.bias": Marker(tmp_path / "executed")}),
        "foreign": pickle.dumps({"weight": np.zeros(3, np.float32)}),
        "list": pickle.dumps([1, 2]),
    }
    path.write_bytes(contents[content])
    without_checksums(path.parent)
    with pytest.raises(ValueError, match=rf"(?s){name}.*Fix: "):
        trainer(config, tmp_path / "new", use_ema=True, resume_model=path.parent)
    assert not (tmp_path / "executed").exists()
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pdparams", "holds no model.pdparams. Fix: give an iter_N folder of a run"),
        ("model.pdopt", "holds no model.pdopt. Fix: give an iter_N folder of a run"),
        ("state.json", "has no state.json, as checkpoints of PaddleSeg, and cannot be resumed. Fix: start"),
    ],
)
def test_half_written_checkpoint_is_rejected(config, tmp_path, name, message):
    trainer(config, tmp_path / "run", iters=1).run()
    (tmp_path / "run" / "iter_1" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"iter_1: {message}"):
        trainer(config, tmp_path / "new", resume_model=tmp_path / "run" / "iter_1")


def test_file_instead_of_a_checkpoint_folder_is_rejected(config, tmp_path):
    (tmp_path / "model.pdparams").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="model.pdparams: no such folder. Fix: give an iter_N folder"):
        trainer(config, tmp_path / "new", resume_model=tmp_path / "model.pdparams")


def test_config_changes_are_logged_when_resuming(config, tmp_path, caplog):
    trainer(config, tmp_path / "run", iters=2).run()
    trainer(
        config, tmp_path / "new", ["lr_scheduler.power=1"], iters=4, resume_model=tmp_path / "run" / "iter_2"
    )
    line = "The config differs from the checkpoint's: iters: 2 -> 4; lr_scheduler.power: 0.9 -> 1"
    assert line in caplog.text


def test_interrupted_evaluation_is_repeated_after_resuming(config, tmp_path, monkeypatch):
    run = run_with_scores(config, tmp_path, monkeypatch, [], iters=2)  # fails in its first evaluation
    with pytest.raises(StopIteration):
        run.run()
    assert json.loads((tmp_path / "iter_1" / "state.json").read_text())["pending"]
    again = run_with_scores(
        config, tmp_path, monkeypatch, [0.7, 0.6], iters=2, resume_model=tmp_path / "iter_1"
    )
    assert again.run().best == {"model": (0.7, 1)}
    assert_equal_states(saved_state(tmp_path / "best_model"), saved_state(tmp_path / "iter_1"))


def test_checkpoint_with_pending_evaluation_resumes_in_another_folder_and_without_evaluation(
    config, tmp_path, monkeypatch
):
    run = run_with_scores(config, tmp_path / "a", monkeypatch, [], iters=2)
    with pytest.raises(StopIteration):
        run.run()
    pending = tmp_path / "a" / "iter_1"
    run_with_scores(config, tmp_path / "b", monkeypatch, [0.7], iters=1, resume_model=pending).run()
    assert (tmp_path / "b" / "iter_1" / "model.pdopt").is_file()
    assert trainer(config, tmp_path / "c", iters=2, resume_model=pending).run().iter == 2


def test_resuming_an_older_checkpoint_moves_newer_files(config, tmp_path, monkeypatch, caplog):
    run_with_scores(config, tmp_path, monkeypatch, [0.5, 0.6, 0.9], iters=3).run()
    resumed = tmp_path / "iter_2"
    again = run_with_scores(config, tmp_path, monkeypatch, [0.4], iters=3, resume_model=resumed)
    assert "no longer holds the best model (maxF 0.6000 at iter 2); the best score is reset" in caplog.text
    earlier = keep_earlier_run(tmp_path, again.progress)
    found = ["best_model", "curves.png", "history.csv", "iter_3", "previews"]
    assert sorted(p.name for p in earlier.iterdir()) == found
    assert [p.name for p in (earlier / "previews").iterdir()] == ["iter_3.png"]
    # a copy: a process killed here leaves the history where the next one continues it
    assert (tmp_path / "history.csv").read_text() == (earlier / "history.csv").read_text()
    assert again.run().best == {"model": (0.4, 3)}
    assert json.loads((earlier / "best_model" / "state.json").read_text())["score"] == 0.9


def test_best_model_is_copied_into_another_folder(config, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    run_with_scores(config, first, monkeypatch, [0.9, 0.1], iters=2).run()
    again = run_with_scores(config, second, monkeypatch, [0.2], iters=3, resume_model=first / "iter_2")
    (second / ".iter_1.1a2b3c4d.part").mkdir()  # of a process that was killed
    prepare_run_folder(again.config, again.settings, again.progress)
    assert [path.name for path in second.glob(".*")] == []
    assert again.run().best == {"model": (0.9, 1)}
    assert_equal_states(saved_state(second / "best_model"), saved_state(first / "iter_1"))


def test_best_model_that_was_being_replaced_is_moved_with_its_run(tmp_path):
    """The process was killed between the two steps of `exchange.take_place`."""
    (tmp_path / ".best_model.old").mkdir()
    assert [path.name for path in keep_earlier_run(tmp_path).iterdir()] == ["best_model"]


def test_records_of_loggers_stay_where_a_resumed_run_continues_them(tmp_path):
    (tmp_path / "wandb").mkdir()
    assert keep_earlier_run(tmp_path, Progress(seed=1)) is None
    assert (keep_earlier_run(tmp_path) / "wandb").is_dir()


def test_another_metric_resets_the_best_score(config, tmp_path, monkeypatch, caplog):
    run_with_scores(config, tmp_path, monkeypatch, [0.9], iters=1).run()
    run = trainer(config, tmp_path, iters=2, metric="MAE", resume_model=tmp_path / "iter_1")
    assert run.progress.best == {}
    assert (keep_earlier_run(tmp_path, run.progress) / "best_model" / "model.pdparams").is_file()
    assert "The best score was of maxF; for MAE it is reset" in caplog.text


def test_master_weights_of_half_precision_are_saved_and_loaded(config, tmp_path):
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


def test_finished_run_has_nothing_to_resume(config, tmp_path):
    trainer(config, tmp_path / "run", iters=2).run()
    resumed = trainer(config, tmp_path / "run", iters=2, resume_model=tmp_path / "run" / "iter_2")
    assert resumed.finished
    assert resumed.run().iter == 2
    assert not trainer(config, tmp_path / "run", iters=3, resume_model=tmp_path / "run" / "iter_2").finished


def test_old_checkpoints_of_a_run_that_was_killed_at_its_end_are_removed(config, tmp_path):
    run = tmp_path / "run"
    trainer(config, run, iters=3, save_interval=1, keep_checkpoint_max=0).run()
    for resumed, kept in (("iter_2", [1, 2, 3]), ("iter_3", [2, 3])):  # not of a checkpoint before the last
        options = {"iters": int(resumed[-1]), "keep_checkpoint_max": 2, "resume_model": run / resumed}
        leave_finished_run(trainer(config, run, **options).settings, int(resumed[-1]))
        assert [path.name for path in numbered(run)] == [f"iter_{step}" for step in kept]
    options = {"iters": 3, "keep_checkpoint_max": 1, "resume_model": run / "iter_3"}
    leave_finished_run(trainer(config, tmp_path / "other", **options).settings, 3)
    assert len(numbered(run)) == 2


def test_old_checkpoints_are_removed_after_the_last_evaluation_was_interrupted(config, tmp_path, monkeypatch):
    options = {"iters": 2, "keep_checkpoint_max": 1}
    with pytest.raises(StopIteration):  # in the evaluation of the last step
        run_with_scores(config, tmp_path, monkeypatch, [0.7], **options).run()
    last = tmp_path / "iter_2"
    assert numbered(tmp_path) == [tmp_path / "iter_1", last]
    run_with_scores(config, tmp_path, monkeypatch, [0.6], resume_model=last, **options).run()
    assert numbered(tmp_path) == [last]


def test_earlier_run_is_moved(tmp_path):
    assert keep_earlier_run(tmp_path) is None
    for expected in ("earlier_1", "earlier_2"):
        for name in ("iter_2", "best_model", "mlruns"):
            (tmp_path / name).mkdir()
        (tmp_path / "result").mkdir(exist_ok=True)
        assert keep_earlier_run(tmp_path) == tmp_path / expected
        assert sorted(p.name for p in (tmp_path / expected).iterdir()) == ["best_model", "iter_2", "mlruns"]
    assert (tmp_path / "result").is_dir()


def test_run_record_has_config_and_settings(config, tmp_path):
    settings = TrainingSettings(tmp_path, 3, 2, "MAE", resume_model=tmp_path / "x")
    write_run_record(tmp_path, load_config(config), settings)
    assert load_config(tmp_path / "config.yaml") == load_config(config)
    assert json.loads((tmp_path / "settings.json").read_text())["resume_model"] == str(tmp_path / "x")


def test_removing_old_checkpoints_never_leaves_an_incomplete_one(config, tmp_path, monkeypatch):
    """As if the process were killed while it removes files."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    trainer(config, tmp_path, iters=3, save_interval=1, keep_checkpoint_max=1).run()
    assert sorted(p.name for p in tmp_path.glob("iter_*")) == ["iter_3"]
    assert len(list(tmp_path.glob(".iter_*"))) == 2
    monkeypatch.undo()
    remove_partial_files(tmp_path, OWN)
    assert not list(tmp_path.glob(".*"))
