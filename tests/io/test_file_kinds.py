"""Files under the names of images that hold something else, or that are damaged: the message says what."""

from __future__ import annotations

import errno
import io
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.io.file_kinds import AVIF, find_kind
from paddleseg_u2net.io.images import read_image

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def encoded(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, kind, **options)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    return buffer.getvalue()


def media(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + bytes(99)


JPEG, PNG = encoded("JPEG"), encoded("PNG")
FRAME = b"\xff\xc0\0\x11\x08"  # of JPEG
FOREIGN = {
    "nothing": (b"", "the file is empty"),
    "a page": (b"\xef\xbb\xbf <!DOCTYPE html><html>404", r"holds a web page \(HTML\), .* Fix: download"),
    "a page without doctype": (b"<!-- x -->\n<HTML><body>", r"holds a web page"),
    "an error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "holds an XML document"),
    "a drawing": (b'<?xml version="1.0"?>\n<!-- x --><svg width="1"/>', "holds an SVG drawing. Fix: export"),
    "JSON": (b'{"message": "not found"}', "holds a JSON document"),
    "text": (b"no image", "holds a text that begins with 'no image'"),
    "UTF-16": ("no image".encode("utf-16"), "holds a text that begins with 'no image'"),
    "a link stored as text": (b"../images/a.jpg", "holds a text that begins with '../images/a.jpg'"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "holds a Git LFS .* Fix: git lfs"),
    "annex": (b"../.git/annex/objects/xx/SHA256E-s1--a.jpg", "holds a git-annex .* Fix: git annex get"),
    "base64": (b"/9j/4AAQSkZJRgABAQ", "holds an image as base64 text. Fix: decode it"),
    "macOS": (b"\0\x05\x16\x07\0\2\0\0Mac OS X        ", r"holds macOS's notes .* Fix: remove"),
    "zip": (zipped(), "holds an archive .* Fix: unpack it"),
    "PDF": (b"%PDF-1.4\n%\xe2\xe3", "holds a PDF document. Fix: export its pages"),
    "HEIC": (media(b"heic"), "holds a HEIC image. Fix: convert it to JPEG or PNG"),
    "HEIC of another brand": (media(b"mif1"), "holds a HEIC image"),
    "video": (media(b"isom"), "holds a video. Fix: extract its frames"),
    "video of QuickTime": (b"\0\0\0\x08wide\0\0\0\0mdat" + bytes(9), "holds a video"),
    "video of Matroska": (b"\x1a\x45\xdf\xa3" + bytes(40), "holds a video"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "holds a JPEG XL image. Fix: convert"),
    "Photoshop": (b"8BPS\0\1" + bytes(40), "holds a Photoshop file. Fix: export"),
    "camera raw": (b"II*\0\x10\0\0\0CR\x02\0", "holds a camera raw file. Fix: develop"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "holds gzip data. Fix: unpack it: gunzip"),
    "zeros": (bytes(5000), "holds nothing but zero bytes"),
    "line ends changed": (PNG.replace(b"\r\n", b"\n"), "holds an image that was .* Fix: download"),
    "saved as text": (JPEG.decode("utf-8", "replace").encode(), "holds an image that was transferred"),
    "headers before it": (b"HTTP/1.1 200 OK\r\n\r\n" + JPEG, "holds an image behind 19 other bytes"),
    "noise": (b"\x07\x81\x93\xa4" * 200, "no image of a known format; it begins with 07 81 93 a4"),
    "most of a JPEG": (JPEG[:-200], "a JPEG image that is truncated or damaged .Premature end"),
    "a header": (JPEG[:20], "a JPEG image that is truncated or damaged"),
    "half an AVIF": (encoded("AVIF")[:-50], "an AVIF image that is truncated or damaged"),
    "half a GIF": (encoded("GIF")[:300], "a GIF image that is truncated or damaged"),
    "12 bits": (JPEG.replace(FRAME, b"\xff\xc0\0\x11\x0c"), "a JPEG .* not supported: it has 12 bits"),
    "lossless": (JPEG.replace(FRAME, b"\xff\xc3\0\x11\x08"), "a JPEG .* not supported: it is lossless"),
    "fractions": (
        cv2.imencode(".tiff", np.ones((9, 9), np.float32))[1].tobytes(),
        "a TIFF .* not supported: its samples are floating-point numbers of 32 bits. Fix: save it again",
    ),
    "unknown compression": (
        encoded("TIFF").replace(b"\x03\x01\x03\0\x01\0\0\0\x01", b"\x03\x01\x03\0\x01\0\0\0\x77"),
        "a TIFF .* not supported: its compression is unknown .119.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_content_that_is_no_readable_image_is_named(tmp_path, name):
    content, message = FOREIGN[name]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path}/a.jpg: {message}"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}], ids=["DNG", "NEF"])
def test_the_preview_of_a_camera_raw_file_is_not_taken_for_the_photograph(tmp_path, tags):
    PICTURE.save(tmp_path / "a.tif", tiffinfo=tags)
    with pytest.raises(ValueError, match="a TIFF image that is not supported: it is a camera raw file"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bigtiff", [False, True])
def test_raw_samples_are_not_taken_for_grey(tmp_path, bigtiff):
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones((9, 9), np.uint16), photometric="cfa", bigtiff=bigtiff, metadata=None
    )
    with pytest.raises(ValueError, match="a TIFF image that is not supported: it is a camera raw file"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("main", "others"), [(b"avif", b"mif1miaf"), (b"mif1", b"mif1miafavif")])
def test_avif_is_told_from_heic_by_all_its_brands(main, others):
    assert find_kind(struct.pack(">I4s4s4x", 16 + len(others), b"ftyp", main) + others) is AVIF


def test_a_page_of_many_comments_takes_no_time():
    start = time.process_time()
    assert "a web page" in find_kind(b"<!-- -->" * 99 + b"<html>").name
    assert "an XML document" in find_kind(b"<!-- -->" * 99 + b"<feed>").name
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", ["nothing", "a page", "LFS", "HEIC", "half a GIF", "noise"])
def test_masks_say_the_same(tmp_path, name):
    content, message = FOREIGN[name]
    (tmp_path / "m.png").write_bytes(content)
    message = message.replace("JPEG or ", "").replace(" or JPEG", "")  # which would change class ids
    with pytest.raises(ValueError, match=f"m.png: cannot be read as a mask: {message}"):
        read_raw(tmp_path / "m.png")


@pytest.mark.parametrize("extra", [["unassalpha"], [0]])
def test_grey_of_16_bits_with_opacity_is_not_called_damaged_and_the_fix_works(tmp_path, extra):
    stored = np.stack([np.arange(9), np.full(9, 65535)], -1).reshape(3, 3, 2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="minisblack", extrasamples=extra, metadata=None)
    message = r"a TIFF image that is not supported: its pixels have 2 x 16 bits .*Fix: save it again as PNG$"
    with pytest.raises(ValueError, match=message):
        read_raw(tmp_path / "m.tif")
    cv2.imwrite(str(tmp_path / "m.png"), stored[..., 0])
    assert (read_raw(tmp_path / "m.png").values == stored[..., 0]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM"])
def test_images_are_read_by_content_under_any_name(tmp_path, kind):
    (tmp_path / "a.jpg").write_bytes(encoded(kind))
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)
    assert find_kind(encoded(kind)).is_image


def test_places_without_a_readable_file_are_named_for_what_they_are(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "file.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, error, message in (
        ("folder.jpg", IsADirectoryError, "folder.jpg: is a folder, not an image file. Fix: "),
        ("link.jpg", FileNotFoundError, "link.jpg: a link to gone.jpg, which does not exist"),
        ("loop.jpg", OSError, "loop.jpg: cannot be read: Too many levels of symbolic links"),
        ("pipe.jpg", OSError, "pipe.jpg: is a device or a pipe, not an image file. Fix: "),
        ("file.jpg/a.jpg", FileNotFoundError, "file.jpg/a.jpg: no such image file"),
        ("x" * 300, OSError, "xxx: cannot be read: File name too long"),
    ):
        with pytest.raises(error, match=message):
            read_image(tmp_path / name)


def test_files_that_may_not_be_read_are_named_with_a_fix(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    with pytest.raises(PermissionError, match=r"a.jpg: cannot be read: Permission denied. Fix: chmod u\+r"):
        read_image(path)


def test_files_too_large_for_memory_are_refused_unread(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(media(b"isom"))
        file.truncate(5 << 30)  # takes no space
    with pytest.raises(ValueError, match="a.jpg: holds a video of 5.4 GB, more than 2.1. Fix: "):
        read_image(tmp_path / "a.jpg")


def test_size_is_the_reason_named_for_large_images_and_masks(tmp_path):
    header = struct.pack(">IIBBBBB", 12000, 12000, 1, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    head = PNG[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(head + PNG[33:])
    for read in (read_image, read_raw):
        with pytest.raises(ValueError, match=r"a.png: 12000 x 12000 pixels, more than 67 million. Fix: "):
            read(tmp_path / "a.png")
