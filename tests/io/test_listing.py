"""Which files of a folder are images, whatever their names, and what is counted as not used."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.listing import (
    BROKEN_LINK,
    CLOSED,
    HIDDEN,
    NO_IMAGE,
    SEEN,
    SPECIAL,
    first_names,
    list_files,
    list_images,
    stem_of,
    unused_text,
)

PIXELS = np.kron(np.arange(48).reshape(6, 8) * 5, np.ones((8, 8))).astype(np.uint8)


def names(paths, root) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def unused_in(root) -> dict[str, list[str]]:
    return {reason: names(paths, root) for reason, paths in list_files(root).unused.items()}


@pytest.mark.parametrize("written", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "JPEG2000", "GIF", "AVIF", "PPM"])
@pytest.mark.parametrize(
    "name", ["a.jfif", "a.jpe", "a.jp2", "a.gif", "a.img", "a", "A.JPG", "a.0001", "a.nef.jpg", "a.psd"]
)
def test_content_that_is_read_is_an_image_under_any_name(tmp_path, written, name):
    Image.fromarray(PIXELS).save(tmp_path / name, written)
    assert names(list_images(tmp_path), tmp_path) == [name]
    assert np.abs(read_picture(tmp_path / name)[..., 0].astype(int) - PIXELS).max() <= 12


def foreign(path: Path) -> None:
    """Write a file of the format of its suffix, by Pillow or by its first bytes."""
    by_hand = {
        ".psd": b"8BPS\0\1" + bytes(60),
        ".heic": b"\0\0\0\x24ftypheic" + bytes(60),
        ".cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(60),
        ".cr3": b"\0\0\0\x18ftypcrx " + bytes(60),
        ".raf": b"FUJIFILMCCD-RAW 0201" + bytes(60),
        ".jxl": b"\xff\x0a" + bytes(60),
        ".svg": b"<svg/>",
        ".dcm": bytes(128) + b"DICM",
        ".exr": b"v/1\x01" + bytes(60),
        ".pam": b"P7\nWIDTH 1",
        ".pfm": b"PF\n1 1\n-1.0\n" + bytes(12),
    }
    if content := by_hand.get(path.suffix):
        path.write_bytes(content)
    elif path.suffix == ".dng":
        Image.fromarray(PIXELS).save(path, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    else:
        Image.fromarray(PIXELS).convert("RGB").save(path, path.suffix[1:].upper())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.psd", "Photoshop file"),
        ("a.heic", "HEIC image"),
        ("a.dng", "camera raw file"),
        ("a.cr2", "camera raw file"),
        ("a.cr3", "camera raw file"),
        ("a.raf", "camera raw file"),
        ("a.tga", "TGA image"),
        ("a.ico", "Windows icon"),
        ("a.pcx", "PCX image"),
        ("a.sgi", "SGI image"),
        ("a.qoi", "QOI image"),
        ("a.jxl", "JPEG XL image"),
        ("a.svg", "SVG drawing"),
        ("a.dcm", "DICOM file"),
        ("a.exr", "OpenEXR image"),
        ("a.pam", "PAM image"),
        ("a.pfm", "PFM image, whose samples are floating-point numbers"),
    ],
)
def test_images_of_other_formats_are_counted_by_format(tmp_path, name, kind, caplog):
    foreign(tmp_path / name)
    assert unused_in(tmp_path) == {f"not read ({kind})": [name]}
    list_images(tmp_path)
    assert f"1 file is not used: 1 not read ({kind}): {name}" in caplog.text
    with pytest.raises(ValueError, match="Fix: "):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nef", "a.arw", "a.dng"])
def test_a_plain_tiff_named_like_camera_raw_is_an_image_in_a_folder_and_alone(tmp_path, name):
    Image.fromarray(PIXELS).save(tmp_path / name, "TIFF")
    assert list_images(tmp_path) == [tmp_path / name]
    assert (read_picture(tmp_path / name)[..., 0] == PIXELS).all()
    Image.fromarray(PIXELS).save(
        tmp_path / name, "TIFF", tiffinfo={254: 1, 330: 8}
    )  # a preview, as cameras do
    assert unused_in(tmp_path) == {"not read (camera raw file)": [name]}
    with pytest.raises(ValueError, match="it is a camera raw file"):
        read_picture(tmp_path / name)


def test_damaged_files_with_a_name_of_an_image_stay_images_so_that_they_are_an_error(tmp_path):
    contents = {
        "empty.gif": b"",
        "heic.jpg": b"\0\0\0\x24ftypheic",
        "text.jfif": b"<html>",
        "zeros.pgm": b"\0",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert names(list_images(tmp_path), tmp_path) == list(contents)


def test_other_content_under_the_name_of_an_image_that_is_not_read_may_be_lost(tmp_path):
    (tmp_path / "a.heic").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "b.hdr").write_text("ENVI")  # describes another file
    assert unused_in(tmp_path) == {"not read (HEIC image)": ["a.heic"], NO_IMAGE: ["b.hdr"]}


def test_other_files_are_counted_by_reason(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    for name in ("notes.txt", "BM.txt", "Thumbs.db", ".DS_Store", ".git/config", "sub/.b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("BM of course, and much more text than that")
    (tmp_path / ".mine.0123abcd.part").mkdir()  # a data set that is being written
    os.symlink("gone.png", tmp_path / "lost.png")
    os.symlink("self.png", tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert unused_in(tmp_path) == {
        NO_IMAGE: ["BM.txt", "Thumbs.db", "notes.txt"],
        HIDDEN: [".DS_Store", ".git", "sub/.b.png"],
        BROKEN_LINK: ["lost.png", "self.png"],
        SPECIAL: ["pipe.png"],
    }
    assert names(list_images(tmp_path), tmp_path) == ["a.png"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    for folder in ("root/own", "far/deep"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(PIXELS).save(tmp_path / folder / "a.png")
    root = tmp_path / "root"
    Image.fromarray(PIXELS).save(tmp_path / "far" / "b.png")
    os.symlink(tmp_path / "far", root / "linked")
    os.symlink(tmp_path / "far", root / "linked_again")
    os.symlink(root / "own", root / "an_own_folder")
    os.symlink(tmp_path, root / "own" / "up")
    os.symlink(tmp_path / "far", tmp_path / "far" / "deep" / "loop")
    os.symlink(root / "own" / "a.png", root / "own" / "linked_file.png")
    listing = list_files(root)
    assert names(listing.images, root) == [
        "linked/b.png",
        "linked/deep/a.png",
        "own/a.png",
        "own/linked_file.png",
    ]
    assert names(listing.unused[SEEN], root) == [
        "an_own_folder",
        "linked/deep/loop",
        "linked_again",
        "own/up",
    ]


def test_a_folder_inside_one_that_was_linked_before_is_not_read_twice(tmp_path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    Image.fromarray(PIXELS).save(tmp_path / "far" / "deep" / "a.png")
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "far" / "deep", tmp_path / "root" / "a")
    os.symlink(tmp_path / "far", tmp_path / "root" / "b")
    listing = list_files(tmp_path / "root")
    assert names(listing.images, tmp_path / "root") == ["a/a.png"]
    assert names(listing.unused[SEEN], tmp_path / "root") == ["b/deep"]


def test_a_folder_that_cannot_be_opened_is_counted(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert unused_in(tmp_path) == {CLOSED: ["closed"]}


def test_the_same_line_is_logged_once(tmp_path, caplog):
    (tmp_path / "a.heic").touch()
    list_images(tmp_path)
    list_images(tmp_path)
    assert caplog.text.count("not read (HEIC image)") == 1


def test_numbers_after_a_dot_are_no_suffix():
    expected = {"a.jpg": "a", "a.b.jfif": "a.b", "frame.0001": "frame.0001", "a": "a", "a.img": "a"}
    assert {name: str(stem_of(Path(name))) for name in expected} == expected


def test_texts_count_and_show_the_first_names():
    paths = [Path(f"r/{name}") for name in "abcd"]
    assert first_names(paths, Path("r")) == "a, b, c, …"
    assert unused_text({"odd": paths, "even": paths[:1]}, Path("r")) == (
        "5 files are not used: 4 odd: a, b, c, …; 1 even: a"
    )
