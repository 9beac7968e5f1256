"""Each fix of `prepare`, and of data sets of PaddleSeg's types, is followed and succeeds."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from published_sets import PUBLISHED, build
from support import prepare_command as main
from support import write_mask

from paddleseg_u2net.datasets.prepare import check, find_data, prepare
from paddleseg_u2net.datasets.stock import known_files, require_classes
from paddleseg_u2net.datasets.synthetic import draw_dataset, draw_into
from paddleseg_u2net.errors import ConfigError


def pairs(root: Path, *names: str) -> Path:
    for name in names:
        for kind in ("images", "masks"):
            write_mask(root / kind / f"{name}.png", np.eye(4, dtype=np.uint8) * 255)
    return root


def test_a_folder_of_the_user_is_moved_and_prepared(tmp_path, capsys):
    pairs(tmp_path / "data" / "SOD", "a", "b")
    assert main(["SOD"]) == 1
    first, then = re.search(r"Fix: mv (\S+ \S+), then u2net prepare (.*)", capsys.readouterr().err).groups()
    shutil.move(*first.split())
    assert main(then.split()) == 0
    assert (tmp_path / "data" / "SOD" / "val_list.txt").is_file()


def test_a_data_set_without_an_address_is_prepared_from_its_archive(tmp_path, capsys):
    assert main(["HKU-IS"]) == 1
    words = re.search(r"then u2net prepare (.*?)\. Note", capsys.readouterr().err)[1].split()
    (archive,) = build(tmp_path, PUBLISHED["HKU-IS"])
    shutil.unpack_archive(archive, tmp_path / words[-1])  # a RAR, which the note says to unpack
    assert main([*words, "--accept-unverified"]) == 0


def test_archives_that_are_missing_or_not_the_published_ones(tmp_path, monkeypatch, capsys):
    assert main(["ECSSD", "--archive", "a.zip"]) == 1
    assert "Fix: pass paths of existing archives or folders to --archive" in capsys.readouterr().err
    given = ["ECSSD", "--archive", *map(str, build(tmp_path / "a", PUBLISHED["ECSSD"]))]
    assert main(given) == 1
    assert "Fix: download it again, or --accept-unverified if you trust it" in capsys.readouterr().err
    assert main([*given, "--accept-unverified"]) == 0
    assert main(["synthetic_disc", "--archive", "."]) == 1
    assert "Fix: leave out --archive" in capsys.readouterr().err
    few = partial(draw_into, images=10, size=16)
    monkeypatch.setattr("paddleseg_u2net.datasets.prepare.draw_into", few)
    assert main(["synthetic_disc"]) == 0


def test_an_archive_that_cannot_be_downloaded_is_given(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("U2NET_MIRROR", (tmp_path / "empty").as_uri())
    assert main(["DUTS-TE"]) == 1
    message = capsys.readouterr().err
    assert "Fix: try again, or download it from http" in message
    build(tmp_path, PUBLISHED["DUTS-TE"])
    words = re.search(r"then u2net prepare (.*)", message)[1].split()
    assert main([*words, "--accept-unverified"]) == 0


def test_records(tmp_path, capsys):
    with pytest.raises(ValueError, match="Fix: prepare it first"):
        check(tmp_path / "data" / "SOD")
    source = pairs(tmp_path / "s", "a")
    root = prepare("SOD", tmp_path / "data", [source])
    check(root)
    (root / "images" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="Fix: move it away and prepare it again"):
        check(root)
    root.rename(tmp_path / "away")
    check(prepare("SOD", tmp_path / "data", [source]))


def test_names_and_places_of_sources(tmp_path):
    one, two = pairs(tmp_path / "one", "b"), pairs(tmp_path / "two", "b")
    with pytest.raises(ValueError, match="belong here. Fix: pass one of them"):
        prepare("SOD", tmp_path / "data", [one, two])
    strange = pairs(tmp_path / "three", "a\nb")
    with pytest.raises(ValueError, match="Fix: rename it"):
        prepare("SOD", tmp_path / "data", [strange])
    for kind in ("images", "masks"):
        (strange / kind / "a\nb.png").rename(strange / kind / "a b.png")
    work = tmp_path / "data" / ".SOD.preparing"
    inside = pairs(work / "mine", "c")
    with pytest.raises(ValueError, match="Fix: move it elsewhere"):
        prepare("SOD", tmp_path / "data", [inside])
    inside.rename(tmp_path / "mine")
    assert prepare("SOD", tmp_path / "data", [tmp_path / "mine"]).is_dir()
    assert prepare("SOD", tmp_path / "data 2", [one]).is_dir()
    assert prepare("SOD", tmp_path / "data 3", [strange]).is_dir()


def test_a_config_names_the_command_that_prepares_its_data(tmp_path, monkeypatch):
    build(tmp_path, PUBLISHED["DUTS-TE"])
    with pytest.raises(FileNotFoundError, match="or set download: true beside dataset_root") as error:
        find_data({"dataset_root": "data/DUTS-TE"}, False)
    monkeypatch.setenv("U2NET_MIRROR", tmp_path.as_uri())
    words = re.search(r"Fix: u2net prepare (.*?), or", str(error.value))[1].split()
    assert main([*words, "--accept-unverified"]) == 0
    find_data({"dataset_root": "data/DUTS-TE"}, False)
    shutil.rmtree("data/DUTS-TE")
    find_data({"dataset_root": "data/DUTS-TE"}, True)
    assert Path("data/DUTS-TE/val_list.txt").is_file()


def test_folders_that_exist(tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.datasets.synthetic.draw_into", lambda target, *_: target.mkdir())
    (tmp_path / "a").mkdir()
    with pytest.raises(FileExistsError, match="Fix: remove it, or choose another folder"):
        draw_dataset(tmp_path / "a", 10, 16, seed=0)
    assert draw_dataset(tmp_path / "b", 10, 16, seed=0).is_dir()
    (tmp_path / "a").rmdir()
    assert draw_dataset(tmp_path / "a", 10, 16, seed=0).is_dir()


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        ({"dataset_root": "no"}, "Fix: prepare the data, and set dataset_root to their folder", {}),
        ({"train_path": "x"}, "no such key of type: OpticDiscSeg. Fix: leave it out", {}),
        ({"mode": "trainval"}, "Fix: one of train, val, test", {"mode": "train"}),
        ({"dataset_root": "empty"}, "train_list.txt: no such list. Fix: correct dataset_root", {}),
    ],
)
def test_sections_of_stock_types(tmp_path, wrong, message, right):
    pairs(tmp_path / "set", "a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "set" / "train_list.txt").write_text("images/a.png masks/a.png\n")
    section = {"dataset_root": "set", "mode": "train"}
    with pytest.raises((ConfigError, OSError), match=message):
        known_files("train_dataset", "OpticDiscSeg", section | wrong, False)
    assert known_files("train_dataset", "OpticDiscSeg", section | right, False)[0]


def test_classes_of_stock_types():
    with pytest.raises(ConfigError, match=r"Fix: num_classes: (\d+)") as error:
        require_classes("train_dataset", "OpticDiscSeg", 3)
    require_classes("train_dataset", "OpticDiscSeg", int(str(error.value).rpartition(" ")[2]))
