"""Reading what people have, writing whole files."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net.io.images import read_image, read_photograph, write_image
from paddleseg_u2net.io.listing import list_images

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["plain.png", "with space.png", "ünïcödé 图.png", "UPPER.PNG"])
def test_written_pixels_are_read_back(tmp_path, name):
    path = tmp_path / "sub" / name
    write_image(path, RGB)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert list(path.parent.iterdir()) == [path]


def test_alpha_is_written_beside_the_colours(tmp_path):
    alpha = np.full((20, 30), 7, np.uint8)
    rgba = np.dstack([RGB, alpha])
    write_image(tmp_path / "a.png", rgba)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgba)
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.png").alpha, alpha)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(RGB).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    if mode == "I;16":
        np.testing.assert_array_equal(image[..., 0], RGB[..., 0])


@pytest.mark.parametrize("name", ["a.jpg", "a.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_read_upright(tmp_path, orientation, name):
    from PIL import ImageOps

    picture = Image.fromarray(np.kron(RNG.integers(0, 2, (4, 6)) * 255, np.ones((16, 16))).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / name, exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / name)).convert("RGB"))
    assert np.abs(read_image(tmp_path / name).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("share", [0.97, 0.5, 0.01])
def test_truncated_files_are_named(tmp_path, suffix, share):
    whole = cv2.imencode(suffix, np.repeat(np.repeat(RGB, 8, 0), 8, 1))[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=rf"a{suffix}: an? \w+ image that is truncated or damaged"):
        read_image(path)


def test_empty_foreign_and_missing_files_are_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name, error, message in (
        ("empty.jpg", ValueError, "empty.jpg: the file is empty"),
        ("text.jpg", ValueError, r"text.jpg: holds a web page \(HTML\)"),
        ("missing.jpg", FileNotFoundError, "missing.jpg: no such image file"),
        ("folder.jpg", IsADirectoryError, "folder.jpg: is a folder, not an image file"),
    ):
        with pytest.raises(error, match=message):
            read_image(tmp_path / name)


def test_images_with_too_many_pixels_are_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (12000, 12000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"bomb.png: 12000 x 12000 pixels, more than 67 million. Fix: "):
        read_image(tmp_path / "bomb.png")


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(cv2.error):
        write_image(tmp_path / "a.nosuchformat", RGB)
    assert not list(tmp_path.iterdir())


def test_folders_are_listed_recursively_without_hidden_and_other_files(tmp_path):
    for name in ("b.PNG", "sub/a.jpg", ".hidden/c.png", "notes.txt", "sub/.d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [str(p.relative_to(tmp_path)) for p in list_images(tmp_path)] == ["b.PNG", "sub/a.jpg"]
