"""`history.csv` and `curves.png`: what is recorded, and how a resumed run continues it."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from support import pixels
from training_runs import trainer

from paddleseg_u2net.bounds import Bound
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training import history, records
from paddleseg_u2net.training.curves import draw_curves
from paddleseg_u2net.training.history import History, read_history
from paddleseg_u2net.training.records import run_recorders
from paddleseg_u2net.training.saving import prepare_run_folder
from paddleseg_u2net.training.settings import TrainingSettings


def rows_of(path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        return [(row["iter"], row["source"]) for row in csv.DictReader(file)]


@pytest.fixture
def path(tmp_path):
    """A history of four steps, two evaluations of the model and one of the average."""
    history = History(tmp_path / "history.csv", 0, True)
    for step in (1, 2, 3, 4):
        history.record("train", {"loss": step / 8, "lr": 0.1}, step)
        if step % 2 == 0:
            history.record("model", {"MAE": step / 16, "maxF": step / 32}, step)
    history.record("ema_model", {"MAE": 0.5}, 4)
    return history.path


def test_each_line_has_the_values_under_their_names(path):
    header, *lines = path.read_text().splitlines()
    assert header == "iter,source,loss,lr,MAE,maxF"
    assert lines[:3] == ["1,train,0.125,0.1,,", "2,train,0.25,0.1,,", "2,model,,,0.125,0.0625"]
    assert lines[-1] == "4,ema_model,,,0.5,"
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("evaluated", "kept"),
    [
        (True, [("1", "train"), ("2", "train"), ("2", "model")]),
        (False, [("1", "train"), ("2", "train")]),
    ],
)
def test_rows_that_a_resumed_run_repeats_are_dropped(path, evaluated, kept):
    History(path, 2, evaluated)
    assert rows_of(path) == kept


@pytest.mark.parametrize("pending", [False, True])
def test_evaluation_that_a_resumed_run_repeats_is_recorded_once(path, pending):
    settings = TrainingSettings(path.parent, iters=4, batch_size=1, metric="MAE")
    progress = Progress(seed=1, iter=2, pending=pending)
    run_recorders(settings, {}, progress)[0]()
    assert rows_of(path) == [("1", "train"), ("2", "train"), ("2", "model")][: 2 if pending else 3]


def test_fixes_of_foreign_histories(path, monkeypatch):
    monkeypatch.setattr(history, "TEXT_BYTES", Bound(200_000, "bytes", "none"))
    for size, message in (
        (150_000, "is damaged: field larger .* Fix: move it away"),
        (200_001, "holds .* at most 200,000. Fix: give a file with fewer"),
    ):
        path.write_bytes(b"iter,source\n1," + b"x" * (size - 15) + b"\n")
        with pytest.raises(ValueError, match=rf"history\.csv: {message}"):
            read_history(path)
    path.unlink()
    assert read_history(path) == []


def test_line_that_a_killed_process_left_incomplete_is_dropped(path):
    with path.open("a") as file:
        file.write("5,trai")
    before = len(read_history(path))
    History(path, 9, True).record("train", {"loss": 1.0}, 6)
    assert rows_of(path)[-1] == ("6", "train")
    assert len(read_history(path)) == before + 1 == 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\n\x80,1\n",
        b"a,b\n1,2\n",
        b"iter,source\n1,train,9,9\n",
        b"iter,source\n" + b"9" * 5000 + b",train\n",
    ],
)
def test_file_that_is_no_history_starts_anew(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content)
    History(tmp_path / "history.csv", 9, True).record("train", {"loss": float("nan")}, 10)
    assert (tmp_path / "history.csv").read_text() == "iter,source,loss\n10,train,nan\n"


def test_history_of_a_run_equals_that_of_an_interrupted_and_resumed_one(config, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    trainer(config, whole, iters=4, do_eval=True).run()
    assert rows_of(whole / "history.csv") == [
        *(("1", "train"), ("2", "train"), ("2", "model"), ("3", "train"), ("4", "train"), ("4", "model"))
    ]
    for save_dir in (resumed, whole):  # another folder, and the same one
        run = trainer(config, save_dir, iters=4, do_eval=True, resume_model=whole / "iter_2")
        prepare_run_folder(run.config, run.settings, run.progress)
        run.run()
    histories = [read_history(folder / "history.csv") for folder in (whole / "earlier_1", resumed, whole)]
    names = ("iter", "source", "loss", "loss_0", "lr", "MAE", "maxF", "mIoU")
    found = [[[row[name] for name in names] for row in rows] for rows in histories]
    assert found[0] == found[1] == found[2]
    assert all(float(row["ips"]) > 0 for row in histories[0] if row["source"] == "train")


def test_curves_show_losses_and_scores(path, tmp_path):
    rows = read_history(path)
    train = [row for row in rows if row["source"] == "train"]
    sizes = {}
    for name, some in (
        ("all", rows),
        ("train", train),
        ("one", train[:1]),
        ("nan", [{**train[0], "loss": "nan"}]),
    ):
        draw_curves(tmp_path / f"{name}.png", some, "maxF")
        sizes[name] = pixels(tmp_path / f"{name}.png", "RGB").shape
    assert sizes["all"] == (396, 1100, 3)
    assert sizes["train"] == sizes["one"] == sizes["nan"] == (396, 550, 3)
    picture = pixels(tmp_path / "all.png", "RGB").astype(int)
    blue, orange = (np.abs(picture - color).max(axis=2) < 8 for color in ([31, 119, 180], [255, 127, 14]))
    assert blue[:, :500].sum() > 200  # the loss
    assert orange[:, 560:].sum() > 200  # maxF, the second score


def test_a_run_draws_its_history(path, monkeypatch):
    monkeypatch.setattr(records, "draw_curves", draw_curves)  # as it is outside of the tests
    records.draw_run_curves(path.parent, "maxF")
    assert pixels(path.with_name("curves.png")).shape[:2] == (396, 1100)


def test_missing_matplotlib_is_said_and_not_an_error(path, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("paddleseg_u2net.training.curves.has", lambda name: False)
    draw_curves(tmp_path / "c.png", read_history(path), "maxF")
    assert "c.png is not drawn: matplotlib is not installed" in caplog.text
    assert not (tmp_path / "c.png").exists()


def test_run_without_log_lines_is_summed_up(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run = trainer(config, tmp_path, iters=1)
    with run.log:
        records.finish_records(run.log, run.settings, run.progress)
    assert caplog.messages[-1] == "Trained 0 steps in 00:00:00"


def test_history_without_rows_is_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "draw_curves", draw_curves)
    records.draw_run_curves(tmp_path, "maxF")
    assert not list(tmp_path.iterdir())
