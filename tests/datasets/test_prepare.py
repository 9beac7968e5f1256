"""Known data sets: published archives become folders and lists; wrong content is reported."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image
from published_sets import GREY, LISTS, PUBLISHED, build, lists_of, write_member
from support import pixels, tree, write_mask
from support import prepare_command as main

from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import check, prepare
from paddleseg_u2net.errors import DataError

# -- results ---------------------------------------------------------------------------------------


def test_every_row_is_tested():
    assert set(PUBLISHED) == set(LISTS) == {name for name, row in DATA_SETS.items() if row.archives}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_archives_become_folders_and_lists(tmp_path, name):
    archives = build(tmp_path / "my archives", PUBLISHED[name])
    root = prepare(name, tmp_path / "my data", archives[::-1], accept_unverified=True)
    assert lists_of(root) == LISTS[name]
    named = {path for lines in lists_of(root).values() for line in lines for path in line.split()}
    assert set(tree(root)) == named | {f"{key}_list.txt" for key in LISTS[name]} | {"dataset.json"}
    assert tree(tmp_path / "my data") == sorted(f"{name}/{path}" for path in tree(root))


@pytest.mark.parametrize("name", ["DUTS-TR", "DRIVE", "optic_disc_seg"])
def test_unpacked_folder_is_accepted_and_only_read(tmp_path, name):
    """The folder is read-only; as root may write anyway, its content is compared too."""
    archives = build(tmp_path / "archives", PUBLISHED[name])
    expected = prepare(name, tmp_path / "one", archives)
    source = tmp_path / "my own"
    for archive in archives:
        shutil.unpack_archive(archive, source)
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    state = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [source, *source.rglob("*")]}
    root = prepare(name, tmp_path / "two", [source])
    assert state == {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [source, *source.rglob("*")]
    }
    assert (root / "dataset.json").read_text() != ""
    shutil.rmtree(source)
    for path in tree(expected):
        if path != "dataset.json":
            assert (root / path).read_bytes() == (expected / path).read_bytes()
            assert os.access(root / path, os.W_OK)


def test_soft_maps_and_gifs_become_masks_of_0_and_1(tmp_path):
    for name in ("Drishti-GS", "DRIVE"):
        root = prepare(name, tmp_path, build(tmp_path / name.lower(), PUBLISHED[name]))
        mask = root / LISTS[name]["train"][0].split()[1]
        np.testing.assert_array_equal(pixels(mask), GREY > 127)
        items = json.loads((root / "dataset.json").read_text())["items"]
        converted = [row for row in items if row["outcome"] == "converted"]
        assert [row["items"] for row in converted] == ["masks"]
        assert converted[0]["count"] == len({row.split()[1] for rows in LISTS[name].values() for row in rows})


def test_files_that_are_not_part_of_the_data_set_are_counted_and_named(tmp_path):
    (archive, masks) = build(tmp_path / "a", PUBLISHED["ECSSD"])
    folder = tmp_path / "mine"
    for path in (archive, masks):
        shutil.unpack_archive(path, folder)
    (folder / "notes.txt").write_text("x")
    shutil.copy(folder / "images" / "0001.jpg", folder / "other.jpg")
    root = prepare("ECSSD", tmp_path, [folder])
    items = json.loads((root / "dataset.json").read_text())["items"]
    assert [row["count"] for row in items if row["outcome"] == "kept"] == [1, 1]
    (left_out,) = [row for row in items if row["outcome"] == "left out"]
    assert {name.split("/")[-1] for name in left_out["first"]} == {"Thumbs.db", "notes.txt", "other.jpg"}
    root = prepare("ECSSD", tmp_path / "packed", [archive, masks], accept_unverified=True)
    items = json.loads((root / "dataset.json").read_text())["items"]
    (left_out,) = [row for row in items if row["outcome"] == "left out"]
    assert (left_out["reason"], left_out["first"]) == (
        "not part of the data set",
        ["images/images/Thumbs.db"],
    )


@pytest.mark.parametrize("packed", [False, True])
def test_hidden_files_are_counted(tmp_path, packed):
    """As macOS adds them, with the names of images."""
    sources = build(tmp_path / "a", PUBLISHED["DUTS-TE"])
    hidden = "DUTS-TE/__MACOSX/._a.jpg", "DUTS-TE/DUTS-TE-Image/.DS_Store"
    if packed:
        with zipfile.ZipFile(sources[0], "a") as archive:
            for name in hidden:
                archive.writestr(name, b"x")
    else:
        folder = tmp_path / "mine"
        shutil.unpack_archive(sources[0], folder)
        for name in hidden:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")
        (folder / "broken.jpg").symlink_to("absent.jpg")
        sources = [folder]
    root = prepare("DUTS-TE", tmp_path, sources, accept_unverified=True)
    items = json.loads((root / "dataset.json").read_text())["items"]
    left_out = {row["reason"]: row["count"] for row in items if row["outcome"] == "left out"}
    assert left_out.pop("hidden") == 2
    assert left_out.pop("broken link", 0) == (not packed)
    assert lists_of(root) == LISTS["DUTS-TE"]


def test_folders_that_are_linked_are_read(tmp_path):
    (source,) = build(tmp_path / "a", PUBLISHED["DUTS-TE"])
    shutil.unpack_archive(source, tmp_path / "elsewhere")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "elsewhere")
    assert lists_of(prepare("DUTS-TE", tmp_path, [tmp_path / "mine"])) == LISTS["DUTS-TE"]


def test_record_checksum_equals_that_of_sha256sum(tmp_path):
    (archive,) = build(tmp_path / "a", PUBLISHED["DUTS-TE"])
    root = prepare("DUTS-TE", tmp_path, [archive])
    record = json.loads((root / "dataset.json").read_text())
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert record["sources"] == [{"from": "DUTS-TE.zip", "sha256": sha256}]
    assert record["pairs"] == {"val": 2, "test": 2}
    assert record["published"] == {"val": 5019, "test": 5019}
    assert record["licence"] == DATA_SETS["DUTS-TE"].licence
    command = "find * -type f ! -name dataset.json | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=root, check=True)
    assert record["contents"] == f"sha256:{done.stdout.split()[0]}"
    check(root)
    (root / "DUTS-TE-Mask" / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match="its files have changed .* Fix: move it away"):
        check(root)
    with pytest.raises(ValueError, match="has no dataset.json. Fix: prepare it first"):
        check(tmp_path / "a")


def test_real_data_sets_are_copied_unchanged(shared, tmp_path):
    """SOD as a folder; photographs of Drishti-GS and MSRA10K packed like the originals."""
    sod = prepare("SOD", tmp_path, [shared / "data" / "sod300"])
    assert lists_of(sod)["val"] == (shared / "data" / "sod300" / "val_list.txt").read_text().split("\n")[:-1]
    source, packed = shared / "data" / "drishti_gs_512", tmp_path / "Drishti-GS1_files.zip"
    with zipfile.ZipFile(packed, "w") as target:
        for part, gt, key in (("Training", "GT", "train"), ("Test", "Test_GT", "val")):
            for line in (source / f"{key}_list.txt").read_text().splitlines()[:2]:
                image, mask = (source / path for path in line.split())
                for path, inside in (
                    (image, f"{part}/Images/{image.stem}.png"),
                    (mask, f"{part}/{gt}/{image.stem}/SoftMap/{image.stem}_ODsegSoftmap.png"),
                ):
                    with target.open(inside, "w") as file:
                        content = pixels(path) if path == image else (pixels(path) > 0) * np.uint8(255)
                        Image.fromarray(content).save(file, "png", compress_level=1)
    root = prepare("Drishti-GS", tmp_path, [packed])
    for key in ("train", "val"):
        theirs = (source / f"{key}_list.txt").read_text().splitlines()[:2]
        for line, other in zip(lists_of(root)[key], theirs, strict=True):
            (image, mask), (other_image, other_mask) = line.split(), other.split()
            np.testing.assert_array_equal(pixels(root / image), pixels(source / other_image))
            np.testing.assert_array_equal(pixels(root / mask), pixels(source / other_mask) > 0)
    source = shared / "data" / "msra10k_1200"
    with zipfile.ZipFile(tmp_path / "MSRA10K_Imgs_GT.zip", "w") as target:
        for path in sorted((source / "images").iterdir())[:50]:
            target.write(path, f"MSRA10K_Imgs_GT/Imgs/{path.name}")
            target.write(source / "masks" / f"{path.stem}.png", f"MSRA10K_Imgs_GT/Imgs/{path.stem}.png")
    root = prepare("MSRA10K", tmp_path, [tmp_path / "MSRA10K_Imgs_GT.zip"])
    assert {key: len(lines) for key, lines in lists_of(root).items()} == {"train": 45, "val": 5, "test": 5}
    for path in [*sod.glob("masks/*.png"), *root.glob("masks/*.png")]:
        own = shared / "data" / ("sod300" if path.is_relative_to(sod) else "msra10k_1200")
        assert path.read_bytes() == (own / "masks" / path.name).read_bytes()


# -- what is wrong ----------------------------------------------------------------------------------------


def test_all_faults_are_reported_together_and_nothing_is_created(tmp_path):
    members = ["Image/a.jpg", "Mask/a.png", "Mask/a.jpg", "Image/b.jpg", "Image/c.jpg", "Mask/c.png"]
    archives = build(tmp_path / "one", {"DUTS-TR.zip": [f"DUTS-TR/DUTS-TR-{name}" for name in members]})
    with pytest.raises(DataError) as caught:
        prepare("DUTS-TR", tmp_path / "data", archives)
    message = str(caught.value).splitlines()
    assert message[0].startswith(
        "DUTS-TR: these files are not this data set. Note: an archive from before 2018-01-22"
    )
    assert message[1:] == [
        "DUTS-TR-Mask/a.png: a second file named 'a'. Fix: rename it",
        "DUTS-TR-Image/b.jpg: no mask named 'b' in DUTS-TR-Mask. Fix: add it, or remove the image",
    ]
    assert tree(tmp_path / "data") == []
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("ECSSD", {"x.zip": ["else/a.jpg"]}, "no images found: no file matches images/*"),
        (
            "ECSSD",
            {"x.zip": ["else/a.jpg"]},
            "no masks found: no file matches ground_truth_mask/* or masks/*",
        ),
        (
            "DUTS-TE",
            {"DUTS-TE.zip": ["DUTS-TE-Image/a.jpg"]},
            "no masks found: no file matches DUTS-TE-Mask/*",
        ),
        ("optic_disc_seg", {"x.zip": ["a.jpg"]}, "expected one file train_list.txt, found none"),
        (
            "optic_disc_seg",
            {
                "x.zip": [
                    "train_list.txt=a.jpg\nb.jpg b.png\n../../x /etc/passwd\n",
                    "val_list.txt=",
                    "b/a.jpg",
                ]
            },
            "train_list.txt:1: expected 'image mask', got 1 column: 'a.jpg'",
        ),
        (
            "optic_disc_seg",
            {"x.zip": ["train_list.txt=../../x /etc/passwd\n", "val_list.txt="]},
            "train_list.txt:1: ../../x: no such file",
        ),
        (
            "DRIVE",
            {"training.zip": ["training/images/21_a.tif", "training/1st_manual/21_b.gif=x"]},
            "training/training/1st_manual/21_b.gif: cannot be read as a mask: holds a text",
        ),
        (
            "DRIVE",
            {
                "training.zip": [
                    f"training/{n}" for n in ("images/21_a.tif", "images/21_b.tif", "1st_manual/21_c.gif")
                ]
            },
            "images/21.tif: both training/training/images/21_a.tif and training/training/images/21_b.tif",
        ),
    ],
)
def test_wrong_content_is_reported_by_name(tmp_path, name, members, message):
    archives = build(tmp_path / "archives", members)
    with pytest.raises(DataError) as caught:
        prepare(name, tmp_path / "data", archives, accept_unverified=True)
    assert message in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_list_cannot_name_files_outside_its_archive(tmp_path):
    """Even if such a file exists."""
    write_member(tmp_path / "own", "sub/train_list.txt=../a.jpg ../a.png\nx/../../a.jpg a.png\n")
    for name in ("a.jpg", "a.png", "sub/a.png"):
        write_member(tmp_path / "own", name)
    with pytest.raises(DataError) as caught:
        prepare("optic_disc_seg", tmp_path / "data", [tmp_path / "own" / "sub"])
    found = [fault for fault in str(caught.value).splitlines() if "no such file" in fault]
    assert found == [
        f"train_list.txt:{fault}: no such file" for fault in ("1: ../a.jpg", "1: ../a.png", "2: ../a.jpg")
    ]
    assert list((tmp_path / "data").iterdir()) == []


def test_names_that_differ_in_case_only_are_reported(tmp_path):
    """On a case-insensitive disk one of them would be lost silently."""
    for name in ("images/a.jpg", "masks/a.png"):
        write_member(tmp_path / "one", name)
        write_member(tmp_path / "two", name.replace("a.", "A."))
    with pytest.raises(
        DataError, match="images/A.jpg: both one/images/a.jpg and two/images/A.jpg belong here. Fix: pass"
    ):
        prepare("SOD", tmp_path / "data", [tmp_path / "one", tmp_path / "two"])


def test_broken_link_is_reported_before_any_download(tmp_path, monkeypatch):
    build(tmp_path / "mirror", PUBLISHED["DUTS-TE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "DUTS-TE").symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError, match="DUTS-TE: exists, but this program did not create it"):
        prepare("DUTS-TE", tmp_path / "data")
    (tmp_path / "data" / "DUTS-TE").unlink()
    assert lists_of(prepare("DUTS-TE", tmp_path / "data")) == LISTS["DUTS-TE"]
    assert tree(tmp_path / "disk") == [f"DUTS-TE/{path}" for path in tree(tmp_path / "data" / "DUTS-TE")]


def test_foreign_folder_is_left_untouched(tmp_path, capsys):
    (tmp_path / "data" / "DUTS-TR").mkdir(parents=True)
    (tmp_path / "data" / "DUTS-TR" / "mine.txt").write_text("mine")
    assert main(["DUTS-TR"]) == 1
    message = capsys.readouterr().err
    assert "data/DUTS-TR: exists, but this program did not create it" in message
    assert (
        "Fix: mv data/DUTS-TR data/DUTS-TR.own, then u2net prepare DUTS-TR --archive data/DUTS-TR.own"
        in message
    )
    assert tree(tmp_path / "data") == ["DUTS-TR/mine.txt"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["HKU-IS"],
            1,
            "no download address is known for HKU-IS.rar. Fix: get it from https://i.cs.hku.hk/~gbli/deep_saliency",
        ),
        (
            ["HKU-IS"],
            1,
            "then u2net prepare HKU-IS --archive HKU-IS. Note: it comes as",
        ),
        (
            ["DRIVE", "--data_root", "d"],
            1,
            "prepare DRIVE --data_root d --archive training.zip test.zip. Note:",
        ),
        (
            ["MSRA10K"],
            1,
            "plain http can be tampered with, and no checksum of this file is known. Fix: u2net prepare",
        ),
        (
            ["ECSSD", "--archive", "a.zip", "b"],
            1,
            "a.zip: no such file or folder\nb: no such file or folder\nFix:",
        ),
        (["ECSSD", "--archive", "/dev/zero"], 1, "/dev/zero: no such file or folder\nFix:"),
        (
            ["synthetic_disc", "--archive", "."],
            1,
            "synthetic_disc: is generated, not unpacked from archives. Fix: leave out --archive",
        ),
        (["ECSSD", "--check"], 1, "data/ECSSD: has no dataset.json. Fix: prepare it first"),
        (["DUTS"], 2, "DUTS: no such data set. Did you mean 'DUTS-TR'?"),
        ([], 2, "expected the name of a data set; --list prints them"),
    ],
)
def test_wrong_arguments_are_reported_with_a_fix(capsys, words, code, message):
    try:
        outcome = main(words)
    except SystemExit as stop:
        outcome = stop.code
    assert outcome == code
    assert message in capsys.readouterr().err


def test_sources_inside_the_work_folder_or_with_unlistable_names_are_refused(tmp_path):
    for name in ("one", "two"):
        for kind in ("images", "masks"):
            write_mask(tmp_path / name / kind / "b.png", np.full((4, 4), 9, np.uint8))
    sources = [tmp_path / name for name in ("one", "two")]
    with pytest.raises(
        ValueError, match=r"both .*one.*b.png and .*two.*b.png belong here. Fix: pass one of them"
    ):
        prepare("SOD", tmp_path / "data", sources)
    shutil.move(tmp_path / "one" / "images" / "b.png", tmp_path / "one" / "images" / "a\nb.png")
    shutil.move(tmp_path / "one" / "masks" / "b.png", tmp_path / "one" / "masks" / "a\nb.png")
    with pytest.raises(ValueError, match="a list cannot hold this name. Fix: rename it"):
        prepare("SOD", tmp_path / "data", sources[:1])
    inside = tmp_path / "data" / ".SOD.preparing" / "downloads" / "SOD.zip"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"mine")
    with pytest.raises(ValueError, match="which will be cleared. Fix: move it elsewhere"):
        prepare("SOD", tmp_path / "data", [inside])
    with pytest.raises(ValueError, match="a list cannot hold this name"):
        prepare("SOD", tmp_path / "data", sources[:1])  # what came of a download has no part in this fault
    assert inside.read_bytes() == b"mine"
