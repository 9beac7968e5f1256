"""Images of annotations: found by base names, or embedded in the annotation file."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from annotation_files import labelme_shape, write_coco, write_labelme
from built_sets import pairs_of
from PIL import Image
from support import pixels, write_mask

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers import embedded
from paddleseg_u2net.importers.embedded import BY_BASE_NAME, ImageFolder, ImagesBeside

BOX = labelme_shape("cat", [[2, 1], [9, 7]], "rectangle")
SIZE = {"imageHeight": 30, "imageWidth": 40}


def encoded(image: np.ndarray, kind: str = "PNG") -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def photo(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def converted(folder: str = "data/mine") -> dict[str, list[str]]:
    """Reason -> first names of the images that were found in another way, in dataset.json."""
    rows = json.loads(Path(folder, "dataset.json").read_text())["items"]
    return {row["reason"]: row["first"] for row in rows if row["outcome"] == "converted"}


def expected_mask() -> np.ndarray:
    mask = np.zeros((30, 40), int)
    mask[1:7, 2:9] = 1
    return mask


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_embedded_images_are_written_and_used_where_the_file_is_missing(make, tmp_path, prefix):
    for index in range(4):
        write_labelme(
            tmp_path / "lm" / "ü sub" / f"{index}.json",
            BOX,
            imageData=prefix + encoded(photo(index)),
            **SIZE,
        )
    code, out, err = make("--labelme", "lm", "--saliency")
    assert (code, err) == (0, "")
    assert len(converted()["no image file; read from imageData"]) == 3
    for image, mask in pairs_of("data/mine/config.yaml", "train"):
        assert image == Path(f"data/mine/images/ü sub/{image.name}").resolve()
        np.testing.assert_array_equal(pixels(image), photo(int(image.stem)))
        np.testing.assert_array_equal(pixels(mask), expected_mask())


@pytest.mark.parametrize("named", [None, ""])
def test_embedded_image_needs_no_path(make, tmp_path, named):
    for index in range(4):
        data = encoded(photo(index))
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imageData=data, imagePath=named, **SIZE)
    code, _, err = make("--labelme", "lm")
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(pixels("data/mine/images/3.png"), photo(3))


def test_embedded_jpeg_keeps_its_bytes(make, tmp_path):
    text = encoded(photo(0), "JPEG")
    for index in range(2):
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imageData=text, **SIZE)
    assert make("--labelme", "lm", "--split", 0.5, 0.5, 0)[0] == 1  # copies cannot be split
    write_labelme(tmp_path / "lm" / "1.json", BOX, imageData=encoded(photo(1), "JPEG"), **SIZE)
    assert make("--labelme", "lm", "--split", 0.5, 0.5, 0)[0] == 0
    assert Path("data/mine/images/0.jpg").read_bytes() == base64.b64decode(text)


@pytest.mark.parametrize(("kind", "suffix"), [("MPO", ".jpg"), ("JPEG2000", ".jp2"), ("WEBP", ".webp")])
def test_embedded_formats_are_those_that_are_read_and_lines_may_be_broken(make, tmp_path, kind, suffix):
    for index in range(2):
        text = encoded(photo(index), kind)
        lines = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imageData=lines, **SIZE)
    code, _, err = make("--labelme", "lm", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    assert Path(f"data/mine/images/1{suffix}").read_bytes() == base64.b64decode(text)


def test_image_file_goes_before_the_embedded_image(make, tmp_path):
    for index in range(2):
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imageData=encoded(photo(9)), **SIZE)
        write_mask(tmp_path / "lm" / f"{index}.jpg", photo(index))
    assert make("--labelme", "lm", "--split", 0.5, 0.5, 0)[0] == 0
    assert converted() == {}
    assert not Path("data/mine/images").exists()


@pytest.mark.parametrize("content", ["%%%", base64.b64encode(b"no image").decode(), "R0lGODlhAQABAAAAACw="])
def test_embedded_content_that_is_no_image_is_a_fault(make, tmp_path, content):
    for index in range(3):
        data = content if index == 1 else encoded(photo(index))
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imageData=data, **SIZE)
    code, _, err = make("--labelme", "lm")
    assert code == 1
    assert "lm/1.json: imageData: cannot be read as an image: " in err
    assert "Fix: put 1.jpg beside the JSON file" in err
    code, _, err = make("--labelme", "lm", "--skip_faulty", "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "named",
    [
        "C:\\Users\\Ann\\photos\\{}.jpg",
        "D:/photos/{}.jpg",
        "/home/ann/photos/{}.jpg",
        "\\\\server\\photos\\{}.jpg",
        "../elsewhere/{}.jpg",
        "photos/{}.JPG",
        "file:///home/ann/{}.jpg",
    ],
)
def test_image_beside_the_labelme_file_is_found_by_its_base_name(make, tmp_path, named):
    for index in range(4):
        write_mask(tmp_path / "lm" / "sub" / f"{index}.jpg", photo(index))
        write_labelme(tmp_path / "lm" / "sub" / f"{index}.json", BOX, imagePath=named.format(index), **SIZE)
    code, _, err = make("--labelme", "lm")
    assert (code, err) == (0, "")
    assert list(converted()) == ["path in the annotations is not there; found by its base name"]
    for image, mask in pairs_of("data/mine/config.yaml", "train"):
        assert image == (tmp_path / "lm" / "sub" / image.name).resolve()
        np.testing.assert_array_equal(pixels(mask), expected_mask())


def test_image_with_the_name_of_the_labelme_file_is_found(make, tmp_path):
    for index in range(4):
        write_mask(tmp_path / "lm" / f"renamed {index}.png", photo(index))
        write_labelme(tmp_path / "lm" / f"renamed {index}.json", BOX, imagePath=f"IMG_{index}.JPG", **SIZE)
    assert make("--labelme", "lm")[0] == 0
    assert list(converted()) == [
        "path in the annotations is not there; the image has the name of the JSON file"
    ]


def test_names_are_compared_exactly_first_then_without_case_and_must_be_clear(tmp_path):
    for name in ("a.jpg", "A.jpg", "b c.jpg", "50%20.jpg", "d.png", "d.jpg", "e.JPG"):
        write_mask(tmp_path / name, photo(0))
    (tmp_path / "d.json").touch()
    for named, file in (
        ("C:\\a.jpg", "a.jpg"),
        ("C:\\A.jpg", "A.jpg"),
        ("C:\\a.JPG", None),  # two fit
        ("http://host/b%20c.jpg", "b c.jpg"),
        ("C:\\50%20.jpg", "50%20.jpg"),
        ("C:\\E.jpg", "e.JPG"),
        ("C:\\x.jpg", None),  # two images have the name of the JSON file
    ):
        found = ImagesBeside().find(tmp_path / "d.json", named, has_content=False)
        assert found[1] == (BY_BASE_NAME if file else "")
        assert found[0].name == file or not file
    assert ImageFolder(tmp_path).find("far/b%20c.jpg") == (tmp_path / "b c.jpg", BY_BASE_NAME)


def test_linked_folders_any_case_of_json_and_any_name_of_an_image_are_found(make, tmp_path):
    for index, suffix in enumerate((".json", ".JSON", ".json", ".json")):
        write_labelme(tmp_path / "disk" / f"{index}{suffix}", BOX, imagePath=f"C:\\{index}.png", **SIZE)
        Image.fromarray(photo(index)).save(tmp_path / "disk" / f"{index}.jfif", "JPEG")
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "link").symlink_to(tmp_path / "disk")
    code, out, err = make("--labelme", "lm")
    assert (code, err) == (0, "")
    assert "train 3, val 1" in out
    assert "files" not in out


def test_image_that_is_nowhere_is_a_fault(make, tmp_path):
    for index in range(2):
        write_labelme(tmp_path / "lm" / f"{index}.json", BOX, imagePath=f"C:\\{index}.jpg", **SIZE)
    code, _, err = make("--labelme", "lm")
    assert (code, err.count(".jpg: no such image file")) == (1, 2)


@pytest.mark.parametrize(
    "named",
    [
        "C:\\data\\{}.png",
        "/home/ann/{}.png",
        "../images/{}.png",
        "images/{}.png",
        "a%20b/{}.png",
        "{}.PNG",
        "https://host/bucket/{}.png",
    ],
)
def test_coco_images_are_found_by_the_end_of_their_path(make, photo_set, named):
    images = [{"id": n, "file_name": named.format(f"p{n}"), "height": 40, "width": 48} for n in range(10)]
    rows = [{"image_id": n} for n in range(10)]
    write_coco(Path("a.json"), rows, images=images)
    code, _, err = make("--coco", "a.json", "--image_dir", photo_set / "images")
    assert (code, err) == (0, "")
    assert list(converted()) == ["path in the annotations is not there; found by its base name"]
    found = {image.name for image, _ in pairs_of("data/mine/config.yaml", "train")}
    assert len(found) == 8


def test_coco_image_is_found_in_a_linked_folder_and_the_json_beside_it_is_no_unused_file(make, photo_set):
    (photo_set / "images").rename(photo_set / "disk")
    (photo_set / "images").mkdir()
    (photo_set / "images" / "link").symlink_to(photo_set / "disk")
    images = [{"id": n, "file_name": f"p{n}.png", "height": 40, "width": 48} for n in range(10)]
    path = photo_set / "images" / "_annotations.coco.json"
    write_coco(path, [{"image_id": n} for n in range(10)], images=images)
    code, out, err = make("--coco", path, "--image_dir", photo_set / "images")
    assert (code, err) == (0, "")
    assert list(converted()) == ["path in the annotations is not there; found by its base name"]
    assert "files" not in out


def test_coco_image_is_found_in_a_sub_folder_if_only_one_has_its_name(make, photo_set):
    for name in ("a", "b"):
        (photo_set / "images" / name).mkdir()
    (photo_set / "images" / "p0.png").rename(photo_set / "images" / "a" / "p0.png")
    images = [{"id": n, "file_name": f"p{n}.png", "height": 40, "width": 48} for n in range(10)]
    write_coco(Path("a.json"), [{"image_id": n} for n in range(10)], images=images)
    words = ["--coco", "a.json", "--image_dir", photo_set / "images"]
    assert make(*words)[0] == 0
    (photo_set / "images" / "b" / "p0.png").write_bytes((photo_set / "images" / "p1.png").read_bytes())
    code, _, err = make(*words, "--save_dir", "b")
    assert (code, "a.json: images[0]: " in err, "p0.png: no such image file" in err) == (1, True, True)


@pytest.mark.parametrize(
    ("text", "most", "message"),
    [(encoded(photo(0)), 1199, "40 x 30 pixels, more than"), (f"!{encoded(photo(0))}", 1200, "base64")],
)
def test_embedded_image_that_is_too_large_or_no_base64_is_refused(tmp_path, monkeypatch, text, most, message):
    write_labelme(tmp_path / "a.json", BOX, imageData=text, **SIZE)
    monkeypatch.setattr(embedded, "MAX_PIXELS", most)
    image = SimpleNamespace(embedded=tmp_path / "a.json", image=tmp_path / "a.png", name="a")
    with pytest.raises(DataError, match=f"imageData: cannot be read as an image: .*{message}"):
        embedded.write_embedded(image, tmp_path / "set", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_name_with_a_null_byte_is_another_one(tmp_path):
    assert ImagesBeside().find(tmp_path / "a.json", "a\0.png", False) == (tmp_path / "a.png", "")
