"""Batches of training: workers that die, small data sets."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import draw_pair, make_config
from training_runs import assert_equal_runs, trainer

from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.models.run_folders import iter_of
from paddleseg_u2net.training.loader import _until_a_worker_dies, load_batches, saved_when_a_worker_dies
from paddleseg_u2net.training.settings import TrainingSettings


def killing(run, number: int, at: int) -> None:
    """Let a run send a signal to one of its workers after a step; a stopped one is killed a second later."""
    step = run.step

    def step_and_kill(batch):
        outcome = step(batch)
        if run.progress.iter == at:
            worker = multiprocessing.active_children()[0].pid
            os.kill(worker, number)
            if number == signal.SIGSTOP and os.fork() == 0:
                time.sleep(1)
                os.kill(worker, signal.SIGKILL)
                os._exit(0)
        return outcome

    run.step = step_and_kill


@pytest.fixture(autouse=True)
def reaped_workers(monkeypatch):
    """Wait for dead workers, which Paddle would report again when any later process of a test ends."""
    # how often Paddle's thread, which is joined when a run ends, looks whether it is to end: every 5 s
    monkeypatch.setattr("paddle.io.dataloader.dataloader_iter.MP_STATUS_CHECK_INTERVAL", 0.2)
    yield
    multiprocessing.active_children()


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGKILL, 1, marks=pytest.mark.slow),
        (signal.SIGKILL, 2),
        pytest.param(signal.SIGSTOP, 2, marks=pytest.mark.slow),
    ],
)
def test_worker_that_dies_ends_the_run_at_once_and_leaves_a_checkpoint(config, tmp_path, number, workers):
    """Dying while the main process computes, and (stopped first) while it waits for a batch."""
    opts = ["lr_scheduler={type: StepDecay, learning_rate: 0.01, step_size: 3}"]  # whatever `iters` is
    settings = {"num_workers": workers, "save_interval": 100000}
    run = trainer(config, tmp_path / "run", opts, iters=100000, **settings)
    killing(run, number, at=4)
    message = r"^A process that loads data died, .*Fix: a smaller --num_workers .*--resume_model .*iter_\d+$"
    with pytest.raises(ChildProcessError, match=message):
        run.run()
    assert run.progress.iter < 20  # of 100,000
    (saved,) = tmp_path.glob("run/iter_*")
    last = iter_of(saved) + 2
    assert last >= 6
    trainer(config, tmp_path / "whole", opts, iters=last, **settings).run()
    trainer(config, tmp_path / "again", opts, iters=last, resume_model=saved, **settings).run()
    assert_equal_runs(tmp_path / "whole" / f"iter_{last}", tmp_path / "again" / f"iter_{last}")


def test_dead_worker_is_one_line_and_exit_code_1(run, config, monkeypatch):
    from paddleseg_u2net.training.trainer import Trainer

    step = Trainer.step

    def step_and_kill(self, batch):
        outcome = step(self, batch)
        if self.progress.iter == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        return outcome

    monkeypatch.setattr(Trainer, "step", step_and_kill)
    flags = ["--iters", 100000, "--num_workers", 2, "--save_interval", 2]
    code, _, error = run("train", "--config", config, *flags)
    assert code == 1
    assert error.startswith("error: A process that loads data died, ")
    assert len(error.splitlines()) == 1
    assert (Path(error.split("--resume_model ")[1].strip()) / "model.pdopt").is_file()


def test_other_errors_are_raised_as_they_are():
    def batches():
        raise RuntimeError("something else")
        yield

    with pytest.raises(RuntimeError, match="^something else$"):
        list(_until_a_worker_dies(batches()))


def test_run_that_has_no_checkpoint_yet_names_none():
    fix = "Fix: a smaller --batch_size"
    with pytest.raises(ChildProcessError, match=rf"^died\. {fix}$"), saved_when_a_worker_dies(lambda: None):
        raise ChildProcessError(f"died. {fix}")


@pytest.mark.parametrize("workers", [0, 2])
def test_data_set_smaller_than_a_batch_fills_it_with_the_next_epochs(tmp_path, workers):
    names = ["a", "b", "c"]
    for name in names:
        draw_pair(tmp_path, name)
    pairs = [Pair(tmp_path / "images" / f"{n}.png", tmp_path / "masks" / f"{n}.png") for n in names]
    (data,) = open_datasets([DatasetSpec(pairs, 1)])
    settings = TrainingSettings(tmp_path, iters=3, batch_size=8, metric="MAE", num_workers=workers)
    images = [data[index, 0]["img"] for index in range(3)]
    drawn = []
    for batch in load_batches(data, settings, Progress(seed=1), Rank()):
        assert batch["img"].shape == [8, 3, 32, 32]
        for image in batch["img"].numpy():
            (index,) = (i for i, known in enumerate(images) if np.array_equal(known, image))
            drawn.append(index)
    assert len(drawn) == 24  # eight epochs
    assert all(sorted(drawn[start : start + 3]) == [0, 1, 2] for start in range(0, 24, 3))


def test_one_image_trains(run, data, tmp_path):
    (data / "train_list.txt").write_text("images/p0.png\tmasks/p0.png\n")
    config = make_config(tmp_path / "one.yaml", data, batch_size=4)
    code, text, _ = run("train", "--config", config, "--iters", 2, "--log_iters", 1)
    assert (code, "epoch: 8, iter: 2/2" in text) == (0, True)


@pytest.mark.parametrize("content", ["", "# a comment\n\n"])
def test_empty_training_set_is_an_error(run, config, data, content):
    (data / "train_list.txt").write_text(content)
    code, _, error = run("train", "--config", config)
    assert code == 1
    assert "train_list.txt: train images: 0. Fix: list at least one pair" in error
    assert not list(Path("output").glob("*"))


def test_a_run_of_many_short_epochs_uses_one_loader_and_full_batches(config, tmp_path, monkeypatch):
    """Four images an epoch, batches of three: workers start once, and no batch is cut at an epoch's end."""
    loaders = []

    class Counted(paddle.io.DataLoader):
        def __init__(self, *args, **options):
            loaders.append(options["num_workers"])
            super().__init__(*args, **options)

    monkeypatch.setattr(paddle.io, "DataLoader", Counted)
    run, sizes = trainer(config, tmp_path, iters=9, batch_size=3, num_workers=1), []
    run.network.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[0]))
    assert run.run().samples == 27
    assert (loaders, sizes) == ([1], [3] * 9)
