"""Every command refuses an output that another process is writing, before it moves or writes anything."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest
from support import ROOT, tree

from paddleseg_u2net.cli import predict
from paddleseg_u2net.cli.app import COMMANDS, command_module
from paddleseg_u2net.errors import LockedError
from paddleseg_u2net.io.files import LOCK
from paddleseg_u2net.io.locks import folder_lock, path_lock

LISTED = ("--dataset_root", "my data")
# command -> its words, the output, whether it is a folder that may exist
WRITES: dict[str, tuple[list[str], str, bool]] = {
    "train": (["--config", "tiny.yaml", "--save_dir", "out"], "out", True),
    "train --overfit": (["--config", "tiny.yaml", "--overfit", "--save_dir", "out"], "out", True),
    "train --resume_model": (
        ["--config", "tiny.yaml", "--resume_model", "run/iter_2", "--save_dir", "run"],
        "run",
        True,
    ),
    "val": (["--model_path", "run", "--save_dir", "out"], "out", True),
    "evaluate": (
        ["--pred_dir", "my data/masks", "--label_dir", "my data/masks", "--save_dir", "out"],
        "out",
        True,
    ),
    "predict": (["my data/images", "--model_path", "run", "--save_dir", "out"], "out", True),
    "portrait": (["my data/images", "--model_path", "run", "--save_dir", "out"], "out", True),
    "i": (["-m", "run", "my data/images/p0.png", "out/a.png"], "out/a.png", False),
    "p": (["-m", "run", "my data/images", "out"], "out", True),
    "report": (["run", "--output", "out/a.html"], "out/a.html", False),
    "export": (["--model_path", "run", "--save_dir", "out/set"], "out/set", False),
    "make-dataset": (
        ["--image_dir", "my data/images", "--mask_dir", "my data/masks", "--save_dir", "out/set"],
        "out/set",
        False,
    ),
    "make-dataset --config_out": (
        [
            *("--image_dir", "my data/images", "--mask_dir", "my data/masks"),
            *("--save_dir", "out/other", "--config_out", "out/set.yaml"),
        ],
        "out/set.yaml",
        False,
    ),
    "check-dataset": ([*LISTED, "--save_dir", "out"], "out", True),
    "check-dataset --fix": ([*LISTED, "--fix", "out/set"], "out/set", False),
    "check-dataset --overfit": (["--config", "tiny.yaml", "--overfit"], "output/overfit", True),
    "average-weights": (["run", "run/iter_2", "--save_path", "out/a.npz"], "out/a.npz", False),
    "average-weights of another name": (
        ["run", "run/iter_2", "--save_path", "out/a.npz"],
        "out/config.yaml",
        False,
    ),
    "convert-weights": (["run", "out/a.npz"], "out/a.npz", False),
    "benchmark": (["--image_path", "my data/images", "--plot", "out/a.png"], "out/a.png", False),
    "demo": (["--out", "out"], "out", True),
}
WAITS = {"prepare", "d"}  # for the same data set; see datasets/test_prepare_download.py
NOTHING = {"serve"}  # writes no files


def test_every_command_is_listed():
    assert {name.partition(" ")[0] for name in WRITES} | WAITS | NOTHING == set(COMMANDS)


@pytest.mark.parametrize("name", WRITES)
def test_output_of_another_process_is_refused(run, trained, config, tmp_path, monkeypatch, name):
    words, output, is_folder = WRITES[name]
    monkeypatch.setattr("paddleseg_u2net.cli.demo.PACKAGES", ())
    before = tree(tmp_path)
    with folder_lock(Path(output)) if is_folder else path_lock(Path(output)):
        code, _, error = run(name.partition(" ")[0], *words)
        assert code == 1, error
        assert error.startswith(f"error: {output}: process {os.getpid()} on "), error
        assert " has been writing here since " in error
        assert ". Fix: wait until it ends, or choose another " in error
    assert tree(tmp_path) == before


EXISTS = {"train --resume_model"}  # its folder is that of the run


@pytest.mark.parametrize("name", sorted(WRITES.keys() - EXISTS))
def test_output_below_a_file_is_refused(run, trained, config, tmp_path, monkeypatch, name):
    words, output, _ = WRITES[name]
    monkeypatch.setattr("paddleseg_u2net.cli.demo.PACKAGES", ())
    above = Path(Path(output).parts[0])
    above.write_text("mine")
    code, _, error = run(name.partition(" ")[0], *words)
    assert code == 1, error
    message = rf"error: {above}: expected a folder, found a file\. Fix: choose another (.* )?(--\w+|\w+)\n"
    found = re.fullmatch(message, error)
    assert found, error
    known = command_module(name.partition(" ")[0]).build_parser()._option_string_actions
    assert found[2] in (*known, "name", "folder", "output")
    assert above.read_text() == "mine"


def test_tools_refuse_the_output_of_another_process(tmp_path, photos_dir, capsys):
    for script, words in {
        "Benckmark_data_prepare/synthetic_disc.py": ["--out", "out"],
        "tools/predict_ray.py": [str(photos_dir), "--save_dir", "out"],
    }.items():
        main = runpy.run_path(str(ROOT / script))["main"]
        with folder_lock(Path("out")) if "ray" in script else path_lock(Path("out")):
            assert main(words) == 1
        assert "has been writing here since" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_fix_of_the_message_works(run, trained, tmp_path):
    """Wait, or choose another folder; nothing but the results is left."""
    words = ["convert-weights", "run"]
    with path_lock(Path("a.npz")):
        assert run(*words, "a.npz")[0] == 1
        assert run(*words, "b.npz")[0] == 0
    assert run(*words, "a.npz")[0] == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_command_that_fails_leaves_no_new_folder(run, trained, tmp_path):
    before = tree(tmp_path), sorted(os.listdir(tmp_path))
    for words in (
        ["predict", "none.png", "--save_dir", "out"],
        ["export", "--model_path", "none", "--save_dir", "new/out"],
        ["convert-weights", "none", "new/a.npz"],
    ):
        assert run(*words)[0] == 1
        assert (tree(tmp_path), sorted(os.listdir(tmp_path))) == before, words


@pytest.mark.parametrize("index", [0, 1])
def test_all_ranks_wait_for_the_lock_of_the_first(tmp_path, monkeypatch, index):
    """The launcher ends those that wait when the first one is refused."""
    done = []

    def note(what):
        done.append((what, (tmp_path / "out" / LOCK).exists()))
        return 0

    monkeypatch.setenv("PADDLE_TRAINER_ID", str(index))
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setattr(predict, "wait_for_neighbours", lambda rank: note("wait"))
    monkeypatch.setattr(predict, "_predict", lambda args, rank: note(f"predict {rank.index}"))
    assert predict.main(["a.png", "--save_dir", "out"]) == 0
    assert done == [("wait", not index), (f"predict {index}", not index), ("wait", not index)]
    done.clear()
    if index == 0:
        with folder_lock(Path("out")), pytest.raises(LockedError):
            predict.main(["a.png", "--save_dir", "out"])
        assert not done
