"""The data sets: drawn, downloaded through the mirror, unpacked safely."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment

from Benckmark_data_prepare.prepare import DATA_SETS, main, prepare
from Benckmark_data_prepare.synthetic_disc import draw_dataset, draw_fundus
from paddleseg_u2net.dataset import Dataset
from paddleseg_u2net.pairs import list_pairs


def test_drawn_photographs_are_a_function_of_the_seed():
    first, again, other = (draw_fundus(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert set(np.unique(first[1])) == {0, 1}


def test_drawn_discs_are_brighter_than_what_surrounds_them():
    for seed in range(5):
        image, mask = draw_fundus(np.random.default_rng(seed), 96)
        assert 0.003 < mask.mean() < 0.12
        assert image[mask == 1].mean() > image[mask == 0].mean()


def test_the_drawn_set_is_one_that_we_read(tmp_path):
    root = draw_dataset(tmp_path / "discs", images=12, size=48, seed=0)
    counts = {}
    for mode in ("train", "val", "test"):
        pairs, _ = list_pairs(mode, str(root), *(f"{name}_list.txt" for name in ("train", "val", "test")))
        own = Dataset(pairs, 2, mode=mode)
        assert own.inspect() == []
        assert own.encoding.name == "index"
        counts[mode] = len(own)
    assert counts == {"train": 8, "val": 2, "test": 2}


def test_nothing_is_drawn_over(tmp_path):
    with pytest.raises(FileExistsError, match="exists already. Fix:"):
        draw_dataset(tmp_path, 10, 32, 0)
    with pytest.raises(ValueError, match="expected at least 10"):
        draw_dataset(tmp_path / "x", 3, 32, 0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A zip of the layout of optic_disc_seg, drawn by the generator's command."""
    folder = tmp_path_factory.mktemp("mirror")
    command = [
        sys.executable,
        "-m",
        "Benckmark_data_prepare.synthetic_disc",
        "--images",
        "10",
        "--size",
        "40",
    ]
    command += ["--out", str(folder / "optic_disc_seg"), "--zip"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment())
    return folder / "optic_disc_seg.zip"


def test_the_script_of_the_walk_through_downloads_and_unpacks(archive, tmp_path):
    project = tmp_path / "project"
    for name in ("Benckmark_data_prepare", "paddleseg_u2net", "configs"):
        shutil.copytree(ROOT / name, project / name)
    script = "Benckmark_data_prepare/RGB/MICCAI2021/disc_cpu.sh"
    env = environment(U2NET_MIRROR=f"file://{archive.parent}", PYTHON=sys.executable, PYTHONPATH="")
    first = subprocess.run(["bash", script], capture_output=True, text=True, cwd=project, env=env)
    assert first.returncode == 0, first.stderr
    assert "train_list.txt: 7 pairs (published: 267)" in first.stdout
    assert "no checksum is published; this file's is sha256:" in first.stdout
    assert (project / "data/optic_disc_seg/JPEGImages/S0000.jpg").is_file()
    again = subprocess.run(["bash", project / script], capture_output=True, text=True, cwd="/", env=env)
    assert again.stdout.strip() == f"{project}/data/optic_disc_seg is there already"


def test_an_archive_of_ones_own_replaces_the_download(archive, tmp_path, capsys):
    assert main(["optic_disc_seg", "--archive", str(archive), "--data_root", str(tmp_path / "data")]) == 0
    assert "Ready in" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["optic_disc_seg"]


def make_zip(path: Path, *members: tuple[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members:
            target.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(info, "/etc/passwd")
    return path


@pytest.mark.parametrize(
    ("members", "link", "message"),
    [
        ([("../outside.txt", b"x")], None, "would be written outside the folder"),
        ([("/tmp/outside.txt", b"x")], None, "would be written outside the folder"),
        ([("a\\..\\b", b"x")], None, "would be written outside the folder"),
        ([], "optic_disc_seg/link", "is a link or a device"),
        ([("optic_disc_seg/bomb", bytes(40 << 20))], None, "unpacks to more than a data set would"),
        ([("other/a.txt", b"x")], None, "holds no folder optic_disc_seg"),
        ([("optic_disc_seg/a.txt", b"x")], None, "holds no train_list.txt"),
        ([("optic_disc_seg/train_list.txt", b"a.jpg a.png\n")], None, "names 2 files that are absent"),
    ],
)
def test_hostile_and_foreign_archives_leave_nothing(tmp_path, capsys, members, link, message):
    path = make_zip(tmp_path / "a.zip", *members, link=link)
    data = tmp_path / "data"
    assert main(["optic_disc_seg", "--archive", str(path), "--data_root", str(data)]) == 1
    assert message in capsys.readouterr().err
    assert not data.exists() or not list(data.iterdir())


@pytest.mark.parametrize("content", [b"", b"<html>moved</html>"])
def test_what_is_no_archive_leaves_nothing(tmp_path, capsys, content):
    (tmp_path / "a.zip").write_bytes(content)
    data = tmp_path / "data"
    assert main(["optic_disc_seg", "--archive", str(tmp_path / "a.zip"), "--data_root", str(data)]) == 1
    assert "a.zip: not a whole zip file" in capsys.readouterr().err
    assert not data.exists() or not list(data.iterdir())


def test_a_truncated_archive_leaves_nothing(archive, tmp_path, capsys):
    (tmp_path / "a.zip").write_bytes(archive.read_bytes()[:-2000])
    assert (
        main(["optic_disc_seg", "--archive", str(tmp_path / "a.zip"), "--data_root", str(tmp_path / "d")])
        == 1
    )
    assert "Fix: download it anew" in capsys.readouterr().err


def test_an_unreachable_address_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("U2NET_MIRROR", "file:///nowhere")
    with pytest.raises(OSError, match=r"file:///nowhere/optic_disc_seg.zip: "):
        prepare("optic_disc_seg", tmp_path)


def test_every_row_says_licence_and_when_its_address_was_verified():
    for row in DATA_SETS.values():
        assert row.url.startswith("https://")
        assert row.licence
        assert row.verified == "never" or len(row.verified) == len("2026-11-21")
