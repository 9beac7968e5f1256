"""The files of checkpoints and best models: damage is found, and a replacement is complete or not there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import paddle
import pytest
from support import TinyNet, tree
from training_runs import assert_equal_states, run_with_scores, saved_state, trainer, without_checksums

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.io import exchange
from paddleseg_u2net.models.checkpoint import Progress, save_best
from paddleseg_u2net.models.run_folders import best_file
from paddleseg_u2net.models.weight_files import read_state


@pytest.fixture
def checkpoint_folder(config, tmp_path) -> Path:
    """A checkpoint with all of its files, beside the best models of its run."""
    trainer(config, tmp_path / "run", iters=1, use_ema=True, do_eval=True).run()
    return tmp_path / "run" / "iter_1"


def flip(path: Path, at: float = 0.6) -> None:
    """Change one bit of a file, as a failing disk or memory does."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.pdparams", "ema_model.pdparams", "model.pdopt"])
def test_flipped_bit_is_found_when_a_run_is_resumed(checkpoint_folder, config, tmp_path, name):
    flip(checkpoint_folder / name)
    flags = {"use_ema": True, "iters": 2, "resume_model": checkpoint_folder}
    with pytest.raises(ValueError, match=rf"iter_1/{name}: is damaged: .*Fix: use another checkpoint, or"):
        trainer(config, tmp_path / "new", **flags)
    flip(checkpoint_folder / name)
    assert trainer(config, tmp_path / "new", **flags).run().iter == 2


@pytest.mark.parametrize("name", ["best_model/model", "ema_best_model/ema_model", "iter_1/model"])
def test_flipped_bit_is_found_when_weights_of_a_run_are_loaded(checkpoint_folder, config, capsys, name):
    weights = checkpoint_folder.parent / f"{name}.pdparams"
    words = ["val", "--config", str(config), "--model_path", str(weights)]
    assert main(words) == 0
    flip(weights)
    assert main(words) == 1
    message = capsys.readouterr().err
    assert f"error: {weights}: is damaged: its SHA-256 is not the one in state.json. Fix: " in message
    moved = weights.rename(checkpoint_folder.parents[1] / weights.name)  # the second fix
    assert read_state(moved)


def test_weights_of_earlier_versions_have_no_checksums_and_are_loaded(checkpoint_folder, config, tmp_path):
    shutil.copyfile(checkpoint_folder / "ema_model.pdparams", checkpoint_folder / "model.pdparams")
    without_checksums(checkpoint_folder)
    settings = {"use_ema": True, "iters": 2, "resume_model": checkpoint_folder}
    assert trainer(config, tmp_path / "new", **settings).run().iter == 2


def test_damaged_record_beside_weights_is_named(checkpoint_folder):
    (checkpoint_folder / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"iter_1/state.json: is damaged: .*Fix: use another checkpoint"):
        read_state(checkpoint_folder / "model.pdparams")
    (checkpoint_folder / "state.json").write_text('{"sha256": {"model.pdparams": 3}}')
    with pytest.raises(ValueError, match="model.pdparams: is damaged"):
        read_state(checkpoint_folder / "model.pdparams")


# where the process is killed: at the n-th call of a function while the second best model replaces the first
IN_ONE_STEP = ["save 1", "dumps 1", "rename 1"]  # the last is never called
IN_TWO_STEPS = ["save 1", "dumps 1", "rename 1", "rename 2", "rmtree 1", "rmtree 2"]
OWNERS = {"save": paddle, "dumps": json, "rename": Path, "rmtree": shutil}


@pytest.mark.parametrize(
    ("exchanged", "killed_at"),
    [*((True, at) for at in IN_ONE_STEP), *((False, at) for at in IN_TWO_STEPS)],
)
@pytest.mark.parametrize("name", ["model", "ema_model"])
def test_interrupted_replacement_leaves_the_earlier_or_the_new_best_model(
    tmp_path, monkeypatch, exchanged, killed_at, name
):
    networks = [TinyNet(1), TinyNet(1)]
    progress = [Progress(best={name: (0.5 + at, at)}, metric="maxF") for at in (0, 1)]
    save_best(tmp_path, name, networks[0], {}, progress[0])
    (tmp_path / f"{name.removesuffix('model')}best_model" / "notes.txt").write_text("mine")
    with monkeypatch.context() as patch:
        if not exchanged:
            patch.setattr(exchange, "_exchange", lambda *_: False)
        die_at(patch, *killed_at.split())
        try:
            save_best(tmp_path, name, networks[1], {}, progress[1])
        except SystemExit:
            assert (exchanged, killed_at) != (True, "rename 1")
    found = best_file(tmp_path)
    assert tree(found.parent) == sorted(["config.yaml", f"{name}.pdparams", "notes.txt", "state.json"])
    at = json.loads((found.parent / "state.json").read_text())["iter"]
    expected = {key: value.numpy() for key, value in networks[at].state_dict().items()}
    assert_equal_states(read_state(found), expected)
    save_best(tmp_path, name, networks[1], {}, progress[1])  # as the run that is resumed does
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == [
        found.parent.name.strip(".").removesuffix(".old")
    ]


def die_at(patch, name: str, number: str) -> None:
    """Let the n-th call of a function end the process; nothing is cleaned up then."""
    owner = OWNERS[name]
    function = getattr(owner, name)
    left = [int(number)]

    def call(*args, **options):
        left[0] -= 1
        if not left[0]:
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            raise SystemExit
        return function(*args, **options)

    patch.setattr(owner, name, call)


def test_run_goes_on_after_its_best_model_was_being_replaced(config, tmp_path, monkeypatch, caplog):
    run_with_scores(config, tmp_path, monkeypatch, [0.5], iters=1).run()
    (tmp_path / "best_model").rename(tmp_path / ".best_model.old")
    again = run_with_scores(config, tmp_path, monkeypatch, [0.4], iters=2, resume_model=tmp_path / "iter_1")
    assert again.run().best == {"model": (0.5, 1)}
    assert_equal_states(saved_state(tmp_path / "best_model"), saved_state(tmp_path / "iter_1"))
    assert "no longer holds the best model" not in caplog.text


def test_two_folders_are_exchanged_in_one_step(tmp_path):
    """Otherwise the tests above would test the same way twice."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange._exchange(tmp_path / "a", tmp_path / "b")
    assert tree(tmp_path) == ["a/b", "b/a"]
    assert not exchange._exchange(tmp_path / "a", tmp_path / "missing")


def test_system_that_cannot_exchange_folders_replaces_them_in_two_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(exchange.ctypes, "CDLL")  # which has no library without a name there
    for name in ("new", "best", ".best.old"):  # the last one of a process that was killed
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange.take_place(tmp_path / "new", tmp_path / "best")
    assert tree(tmp_path) == ["best/new"]


def test_best_model_on_a_disk_that_is_read_only_is_found_where_it_is(tmp_path, monkeypatch):
    (tmp_path / ".best.old").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError))
        assert exchange.restore(tmp_path / "best") == tmp_path / ".best.old"
    assert exchange.restore(tmp_path / "best") == tmp_path / "best"
