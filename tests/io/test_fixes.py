"""Each fix for an image, an archive or an address is followed, and then it is read."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from bombs import with_parts
from PIL import Image

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.archives import unpack
from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.files import require_writable
from paddleseg_u2net.io.images import read_image, write_image
from paddleseg_u2net.io.urls import MIRROR, check_address, redirect

GREY = np.kron(np.arange(16).reshape(4, 4) * 15, np.ones((2, 2))).astype(np.uint8)
RGB = np.dstack([GREY, GREY.T, GREY])
BANDS = {"photometric": "minisblack", "planarconfig": "contig"}
FOUR, FIVE = np.dstack([RGB, GREY]), np.dstack([RGB, GREY, GREY])


def encoded(kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, kind, **options)
    return stream.getvalue()


def tiff(values, **options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, metadata=None, **options)
    return stream.getvalue()


def unzipped(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0])


def zipped(name: str = "a.png", content: bytes | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, encoded() if content is None else content)
    return stream.getvalue()


def converted(content: bytes, kind: str = "PNG") -> bytes:
    """What a viewer or ImageMagick would save of a file."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").save(stream, kind)
    return stream.getvalue()


def array_as_png(content: bytes) -> bytes:
    return cv2.imencode(".png", np.load(io.BytesIO(content)))[1].tobytes()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, GREY)
    return stream.getvalue()


PNG = encoded()
# a file, the fix in the message, and how to do it
FILES = {
    "icon": (
        encoded("ICO", sizes=[(8, 8)]),
        "holds a Windows icon. Fix: convert it to PNG or JPEG",
        converted,
    ),
    "PCX": (
        encoded("PCX"),
        "holds a PCX image. Fix: convert it to PNG or JPEG",
        partial(converted, kind="JPEG"),
    ),
    "PDF": (encoded("PDF"), "holds a PDF document. Fix: export its pages as PNG", lambda _: PNG),
    "gzip": (gzip.compress(PNG), "Fix: unpack it: gunzip", gzip.decompress),
    "bzip2": (bz2.compress(PNG), "Fix: unpack it: bunzip2", bz2.decompress),
    "xz": (lzma.compress(PNG), "Fix: unpack it: unxz", lzma.decompress),
    "zip": (zipped(), "Fix: unpack it, and name the images inside", unzipped),
    "base64": (base64.b64encode(PNG), "Fix: decode it: base64 -d", base64.b64decode),
    "other bytes": (b"HTTP" + PNG, "an image behind 4 other bytes. Fix: remove them", lambda data: data[4:]),
    "array": (npy(), "Fix: save it as PNG, as by cv2.imwrite", array_as_png),
    "fractions": (
        tiff(GREY / 255),
        "samples are floating-point numbers of 64 bits. Fix: save it again as PNG or JPEG",
        lambda _: PNG,
    ),
    "32 bits": (tiff(GREY.astype(np.uint32)), "Fix: save it again as PNG or JPEG", lambda _: PNG),
    "truncated": (PNG[:60], "Fix: restore it from its source", lambda _: PNG),
    "negative": (
        tiff(GREY.astype(np.int16) - 9),
        "Fix: shift them, so that black is 0",
        lambda _: tiff(GREY.astype(np.int16)),
    ),
    "comments": (
        with_parts("GIF", b"!\xfe\1a\0" * 2001),
        "a.png: holds 2,001 blocks of comments, expected at most 2,000. Fix: save it again as PNG",
        converted,
    ),
    "lines": (PNG.replace(b"\r\n", b"\n"), "Fix: download the file itself again", lambda _: PNG),
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path, name):
    content, message, fix = FILES[name]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Fix: ") as error:
        read_picture(path)
    assert message in str(error.value)
    path.write_bytes(fix(content))
    assert np.ptp(read_picture(path))


@pytest.mark.parametrize(
    ("wrong", "count", "message", "right", "counts"),
    [
        (
            tiff(RGB),
            4,
            "Fix: a file of 4 channels; or train with img_channels and in_channels: 3",
            tiff(FOUR),
            3,
        ),
        (
            tiff(FIVE, **BANDS)[:-90],
            2,
            "Fix: restore it, or save it without",
            tiff(FOUR),
            2,
        ),
    ],
)
def test_channels(tmp_path, wrong, count, message, right, counts):
    path = tmp_path / "a.tif"
    path.write_bytes(wrong)
    with pytest.raises(ValueError, match="Fix: ") as error:
        read_picture(path, count)
    assert message in str(error.value)
    if counts != count:
        assert read_picture(path, counts).shape[2] == counts
    path.write_bytes(right)
    assert read_picture(path, count).shape[2] == count


def test_numbers_of_other_types(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(FIVE.astype(np.float32), **BANDS))
    with pytest.raises(ValueError, match="Fix: convert it to 16-bit TIFF or PNG"):
        read_picture(tmp_path / "a.tif", 5)
    (tmp_path / "a.tif").write_bytes(tiff(FIVE.astype(np.uint16), **BANDS))
    assert read_picture(tmp_path / "a.tif", 5).shape == (8, 8, 5)


def test_folders_pipes_and_sizes(tmp_path):
    folder, pipe, large = tmp_path / "f", tmp_path / "p", tmp_path / "l.png"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    with pytest.raises(IsADirectoryError, match="Fix: name the files in it"):
        read_picture(folder)
    assert read_picture(folder / "a.png").any()
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="Fix: save it as a file"):
        read_picture(pipe)
    pipe.unlink()
    shutil.copy(folder / "a.png", pipe)
    assert read_picture(pipe).any()
    Image.fromarray(RGB).resize((40, 40)).save(large)
    with pytest.raises(ValueError, match="Fix: make it smaller"):
        read_image(large, max_pixels=1000)
    Image.fromarray(RGB).resize((20, 20)).save(large)
    assert read_image(large, max_pixels=1000).any()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rights(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PermissionError, match="Fix: chmod u"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(stat.S_IRUSR)
    assert read_picture(tmp_path / "a.png").any()


def test_formats_that_cannot_hold_an_image(tmp_path):
    wide = np.zeros((2, 1 << 14, 3), np.uint8)
    with pytest.raises(ValueError, match="Fix: use another format or size"):
        write_image(tmp_path / "a.webp", wide)
    write_image(tmp_path / "a.png", wide)
    write_image(tmp_path / "a.webp", wide[:, :99])


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Fix: choose another --save_dir"):
        require_writable(tmp_path / "file" / "run")
    require_writable(tmp_path / "run")


ARCHIVES = [
    (b"Rar!\x1a\x07\x00", "a RAR archive. Fix: unpack it yourself and pass the folder"),
    (b"", "not a zip, tar or tar.gz archive. Fix: download it again"),
    (b"<!DOCTYPE html><html>", "Fix: open the address in a browser and save the file itself"),
    (zipped()[:-40], "damaged or incomplete: .*Fix: download it again"),
]


@pytest.mark.parametrize(("content", "message"), ARCHIVES)
def test_archives(tmp_path, content, message):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        unpack(path, tmp_path / "out", 1 << 20)
    path.write_bytes(zipped())
    unpack(path, tmp_path / "out", 1 << 20)
    assert (tmp_path / "out" / "a.png").read_bytes() == PNG


def test_addresses(tmp_path, monkeypatch):
    for url, message in (
        ("https://me:secret@host.org/a.zip", "Fix: leave them out, or download it yourself and set"),
        ("http://93.184.216.34/a.zip", "Fix: u2net prepare NAME --accept-unverified"),
    ):
        with pytest.raises(DownloadError, match=message):
            check_address(url, trusted=False)
    check_address("https://host.org/a.zip", trusted=False)
    check_address("http://93.184.216.34/a.zip", trusted=True)  # as --accept-unverified
    monkeypatch.setenv(MIRROR, "ftp://host")
    with pytest.raises(DownloadError, match=f"Fix: {MIRROR}=file:///folder"):
        check_address(redirect("https://host.org/a.zip"), trusted=True)
    monkeypatch.setenv(MIRROR, tmp_path.as_uri())
    check_address(redirect("https://host.org/a.zip"), trusted=False)
    assert Path(redirect("https://host.org/a.zip").removeprefix("file://")) == tmp_path / "a.zip"
