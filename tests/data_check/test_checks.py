"""The checks: each finds the fault that the test plants, and nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from drawn_sets import ORIENTATION, append, check_sets, image_of, load_sets, mask_of, set_orientation
from PIL import Image
from support import ROOT, draw_pair, write_mask

from paddleseg_u2net.data.inspection import read_pair
from paddleseg_u2net.data.pairs import Pair, list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.before_training import check_before_training
from paddleseg_u2net.data_check.checks import CHECKS, run_checks
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.errors import DataError


def copy(root: Path, source: str, target: str, change=lambda image: image) -> None:
    image = cv2.imread(str(image_of(root, source)))
    cv2.imwrite(str(image_of(root, target)), change(image))


def save(root: Path, name: str, change) -> None:
    with Image.open(image_of(root, name)) as image:
        pixels = np.asarray(image)
    Image.fromarray(change(pixels)).save(image_of(root, name))


def two_pages(path: Path) -> None:
    with Image.open(path) as image:
        image.resize((8, 8)).save(path, "TIFF", save_all=True, append_images=[image.copy()])


def damaged_jpeg(path: Path) -> None:
    with Image.open(path) as image:
        image.resize((99, 99)).save(path, "JPEG", quality=95)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(900) + content[len(content) // 2 + 900 :])


def palettes(root: Path, other: Sequence[int] = (128, 0, 0, 0, 0, 0)) -> None:
    """Store the masks of train with palettes, one of them with another one, in which 1 is background."""
    for number in range(4):
        path = mask_of(root, f"p{number}")
        swapped = number == 0
        values = (np.asarray(Image.open(path)) > 0) ^ swapped
        picture = Image.fromarray(values.astype(np.uint8)).convert("P")
        picture.putpalette([*other] if swapped else [0, 0, 0, 128, 0, 0])
        picture.save(path)


def test_documentation_lists_every_check_with_its_severity():
    page = (ROOT / "docs" / "data" / "check_dataset.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| (error|warning|note) \|", page, re.MULTILINE)
    assert rows == [(check.name, check.severity) for check in CHECKS]


def test_sound_data_has_no_findings(data):
    os.mkfifo(data / "notes.txt")  # is no list; reading it would never end
    assert check_sets(data) == {}


LEFT_OUT = [
    {"outcome": "kept", "items": "images", "reason": "", "count": 6, "first": []},
    {
        "outcome": "ignored",
        "items": "annotations",
        "reason": "crowd regions (--crowd class)",
        "count": 3,
        "first": ["a.json: annotations[2]"],
    },
]
PLANTED = {
    "a line of one column": (
        lambda d: append(d, "lonely.png\n"),
        "pairs",
        "train_list.txt:5: expected 'image mask'",
    ),
    "an absent image": (lambda d: image_of(d, "p1").unlink(), "broken files", "p1.png: no such image file"),
    "an absent mask": (lambda d: mask_of(d, "p1").unlink(), "broken files", "p1.png: no such mask file"),
    "half an image": (
        lambda d: image_of(d, "p1").write_bytes(image_of(d, "p1").read_bytes()[:500]),
        "broken files",
        "p1.png: a PNG image that is truncated",
    ),
    "text as a mask": (
        lambda d: mask_of(d, "p1").write_text("no"),
        "broken files",
        "cannot be read as a mask",
    ),
    "an empty file": (lambda d: image_of(d, "p1").write_bytes(b""), "broken files", "the file is empty"),
    "a coloured mask": (
        lambda d: shutil.copy(image_of(d, "p1"), mask_of(d, "p1")),
        "broken files",
        "a mask of colours",
    ),
    "another size": (
        lambda d: write_mask(mask_of(d, "p2"), np.eye(16, 32, dtype=np.uint8) * 255),
        "size mismatch",
        "mask (H, W) (16, 32) differs from its image's (32, 32)",
    ),
    "two encodings": (
        lambda d: write_mask(mask_of(d, "p2"), np.eye(32, dtype=np.uint8)),
        "mask encoding",
        "p2.png: holds 0, 1, but 3 masks are grey",
    ),
    "a line twice": (
        lambda d: append(d, "images/p0.png\tmasks/p0.png\n"),
        "listed twice",
        "train_list.txt:5: .*p0.png: listed before, with the same mask",
    ),
    "a line twice, two masks": (
        lambda d: append(d, "images/p0.png\tmasks/p1.png\n"),
        "listed twice",
        "listed before, with another mask",
    ),
    "a tag on the image": (
        lambda d: set_orientation(image_of(d, "p0"), 3),
        "EXIF rotation",
        "p0.png: EXIF orientation 3 of the image, 1 of its mask",
    ),
    "a tag on the mask": (
        lambda d: set_orientation(mask_of(d, "p0"), 6),
        "EXIF rotation",
        "p0.png: EXIF orientation 1 of the image, 6 of its mask",
    ),
    "an empty mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.zeros((32, 32), np.uint8)),
        "empty masks",
        "train_list.txt:1: .*masks/p0.png: nothing but background",
    ),
    "a full mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.full((32, 32), 255, np.uint8)),
        "full masks",
        "p0.png: nothing but foreground",
    ),
    "the same file in val": (
        lambda d: shutil.copy(image_of(d, "p4"), image_of(d, "p0")),
        "same file in two sets",
        "p0.png: is the same file as .*val_list.txt:1: .*p4.png .train and val.",
    ),
    "a mirrored copy in val": (
        lambda d: copy(d, "p4", "p0", lambda x: x[:, ::-1]),
        "same picture in two sets",
        "p0.png: shows the same as .*p4.png, mirrored",
    ),
    "a larger copy in train": (
        lambda d: copy(d, "p1", "p0", lambda x: np.kron(x, np.ones((1, 1, 1), np.uint8)) // 2 + 20),
        "duplicates",
        "p0.png: shows the same as .*p1.png",
    ),
    "another mask of one picture": (
        lambda d: (shutil.copy(image_of(d, "p1"), image_of(d, "p0")), full_but(mask_of(d, "p0"))),
        "masks disagree",
        "p0.png: the images show the same, but this mask and .*p1.png overlap by 0.[0-7]",
    ),
    "an image that is its mask": (
        lambda d: cv2.imwrite(str(image_of(d, "p0")), cv2.imread(str(mask_of(d, "p0")))),
        "image is its mask",
        "p0.png: shows its mask",
    ),
    "an image of one colour": (
        lambda d: cv2.imwrite(str(image_of(d, "p0")), np.full((32, 32, 3), (9, 200, 77), np.uint8)),
        "constant images",
        "p0.png: has one colour",
    ),
    "a transparent image": (
        lambda d: save(d, "p0", lambda x: np.dstack([x, x[..., 0]])),
        "transparent images",
        "p0.png: seen over",
    ),
    "a TIFF of two pages": (
        lambda d: two_pages(image_of(d, "p0")),
        "several pages",
        "p0.png: page 2 of 2, the largest (32 x 32) is read",
    ),
    "a colour profile": (
        lambda d: Image.open(image_of(d, "p0")).save(image_of(d, "p0"), icc_profile=b"junk"),
        "colour profiles",
        "p0.png: the ICC profile is ignored",
    ),
    "damage in the middle of a JPEG": (
        lambda d: damaged_jpeg(image_of(d, "p1")),
        "broken files",
        "p1.png: a JPEG image that is truncated or damaged",
    ),
    "a mask too many": (
        lambda d: write_mask(mask_of(d, "zz"), np.zeros((3, 3), np.uint8)),
        "masks without a pair",
        "masks/zz.png: no pair uses this mask",
    ),
    "a record of what was left out": (
        lambda d: (d / "dataset.json").write_text(json.dumps({"items": LEFT_OUT})),
        "preparation",
        "dataset.json: 3 annotations ignored: crowd regions (--crowd class); first: a.json: ",
    ),
    "an image in a format that is not read": (
        lambda d: (image_of(d, "old").with_suffix(".heic")).write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
        "files that are not read",
        "images: 1 file is not used: 1 not read (HEIC image): old.heic",
    ),
    "an image without a mask, and notes": (
        lambda d: (shutil.copy(image_of(d, "p1"), image_of(d, "new")), (d / "images/notes.md").touch()),
        "unused files",
        "images: 2 files are not used: 1 in no pair: new.png; 1 not an image: notes.md",
    ),
    "a palette in another order": (
        palettes,
        "palettes",
        "masks/p0.png: its palette holds the colours of the others in another order",
    ),
    "a palette of other colours": (
        lambda d: palettes(d, other=(0, 128, 0, 0, 0, 0)),
        "palettes differ",
        "masks/p0.png: the palette has the colour (0, 128, 0) for the value 0, but (0, 0, 0) in ",
    ),
    "an image with infrared": (
        lambda d: tifffile.imwrite(
            image_of(d, "p0"),
            cv2.imread(str(image_of(d, "p0")))[..., [0, 1, 2, 2]],
            photometric="rgb",
            extrasamples=["unspecified"],
        ),
        "unused channels",
        "p0.png: holds 4 channels, of which 3 are used",
    ),
    "a soft mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))),
        "soft masks",
        "train: 1 of 4 masks has soft edges: 96.9% of their pixels on average",
    ),
}


def full_but(path: Path) -> None:
    mask = np.full((32, 32), 255, np.uint8)
    mask[0] = 0
    write_mask(path, mask)


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_fault_is_found_once_at_its_place(data, planted):
    plant, name, pattern = PLANTED[planted]
    plant(data)
    texts = check_sets(data)
    assert len(texts[name]) == 1
    assert re.search(pattern if ".*" in pattern or "[" in pattern else re.escape(pattern), texts[name][0])
    side_effects = {"duplicates", "masks without a pair", "masks disagree"}  # of some of the changes
    assert set(texts) - {name} <= side_effects


def test_mirrored_copy_with_mirrored_mask_does_not_disagree(data):
    copy(data, "p4", "p0", lambda x: x[:, ::-1])
    write_mask(mask_of(data, "p0"), cv2.imread(str(mask_of(data, "p4")), cv2.IMREAD_GRAYSCALE)[:, ::-1])
    assert set(check_sets(data)) == {"same picture in two sets"}


def test_every_check_has_a_planted_fault():
    elsewhere = {"class ids", "no foreground", "absent classes", "rare classes", "tiny images"}
    assert {name for _, name, _ in PLANTED.values()} | elsewhere == {check.name for check in CHECKS}


def test_class_ids_that_are_out_of_range_absent_or_rare_are_found(data):
    for index in range(6):
        ids = np.zeros((64, 64), np.uint8)
        ids[:20] = 1
        ids[0, 0] = 3 * (index == 0)
        write_mask(mask_of(data, f"p{index}"), ids)
        write_mask(
            image_of(data, f"p{index}"), np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        )
    texts = check_sets(data, num_classes=5)
    assert texts["absent classes"] == [
        "train: class 2 occurs in no mask",
        "train: class 4 occurs in no mask",
        *(f"val: class {c} occurs in no mask" for c in (2, 3, 4)),
    ]
    assert texts["rare classes"] == ["train: class 3 has 0.006% of the pixels"]
    assert "full masks" not in texts
    assert (
        "p0.png: holds 0, 1, 3, expected class ids 0 .. 2" in check_sets(data, num_classes=3)["class ids"][0]
    )


def test_masks_of_many_classes_without_background_are_not_full(data):
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), np.tile(np.arange(32, dtype=np.uint8) % 3 + 1, (32, 1)))
    assert set(check_sets(data, num_classes=4)) == {"absent classes"}


def test_images_that_resemble_a_mask_or_one_colour_are_not_reported(data):
    mask = cv2.imread(str(mask_of(data, "p0")), cv2.IMREAD_GRAYSCALE)
    write_mask(image_of(data, "p0"), np.dstack([255 - mask, mask // 2, mask]))
    write_mask(image_of(data, "p1"), np.dstack([np.indices((32, 32)).sum(0) % 2 * np.uint8(255)] * 3))
    write_mask(image_of(data, "p2"), 255 - cv2.imread(str(mask_of(data, "p2"))))
    assert check_sets(data) == {}


def test_missing_foreground_and_tiny_images_are_found(tmp_path):
    for index in range(6):
        draw_pair(tmp_path, f"p{index}", size=(1, 1) if index else (31, 40), white=0)
    lines = [f"images/p{i}.png masks/p{i}.png\n" for i in range(6)]
    (tmp_path / "train_list.txt").write_text("".join(lines[:3]))
    (tmp_path / "val_list.txt").write_text("".join(lines[3:]))
    texts = check_sets(tmp_path)
    assert "none of the 3 masks has any foreground" in texts["no foreground"][0]
    assert len(texts["empty masks"]) == 6
    assert texts["tiny images"][0].endswith("p0.png: (H, W) (31, 40), below 32 pixels")
    assert len(texts["tiny images"]) == 6


def test_each_file_is_read_once(data, monkeypatch):
    read = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or original(self))
    run_checks(examine(load_sets(data)))
    assert sorted(read) == sorted([*(data / "images").iterdir(), *(data / "masks").iterdir()])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mask_orientation", range(1, 9))
@pytest.mark.parametrize("square", [False, True])
def test_orientations_are_reported_unless_sizes_show_that_they_fit(
    tmp_path, orientation, mask_orientation, square
):
    """Both files have the same size when upright, as a portrait and a mask drawn on the upright image."""
    for path, tag in ((image_of(tmp_path, "p"), orientation), (mask_of(tmp_path, "p"), mask_orientation)):
        stored = np.arange(600, dtype=np.uint8).reshape((30, 20) if tag >= 5 else (20, 30))
        write_mask(path, stored[:20, :20] if square else stored)
        set_orientation(path, tag)
    record = read_pair(Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p")))
    assert record.faults == []
    portrait = orientation >= 5 and mask_orientation == 1 and not square
    assert record.rotated_differently == (orientation != mask_orientation and not portrait)


def test_unknown_orientation_is_ignored(data):
    set_orientation(image_of(data, "p0"), 9)
    assert check_sets(data) == {}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_orientation_is_read_from_every_format(tmp_path, name):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / name, exif=exif)
    write_mask(tmp_path / "m.png", np.zeros((8, 4), np.uint8))
    record = read_pair(Pair(tmp_path / name, tmp_path / "m.png"))
    assert (record.orientation, record.mask_orientation, record.faults) == (6, 1, [])
    assert record.rotated_differently is False


def test_broken_exif_data_is_ignored(tmp_path):
    stored = io.BytesIO()
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(stored, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "a.jpg").write_bytes(stored.getvalue())
    write_mask(tmp_path / "m.png", np.zeros((4, 8), np.uint8))
    assert read_pair(Pair(tmp_path / "a.jpg", tmp_path / "m.png")).faults == []


# -- before training ------------------------------------------------------------------------------------


def test_training_logs_warnings_of_the_cheap_checks(data, caplog):
    shutil.copy(image_of(data, "p4"), image_of(data, "p0"))
    write_mask(mask_of(data, "p1"), np.zeros((32, 32), np.uint8))
    save(data, "p2", lambda x: np.dstack([x, x[..., 0]]))
    with Image.open(image_of(data, "p3")) as image:
        image.save(image_of(data, "p3"), icc_profile=b"junk")
    with caplog.at_level("INFO"):
        check_before_training(load_sets(data))
    assert "same file in two sets: 1, first: " in caplog.text
    assert "transparent images: 1, first: " in caplog.text
    assert "train: 1 of 4 images has other colours than sRGB, first: " in caplog.text
    assert "empty masks: 1, first: " in caplog.text


def test_training_stops_with_all_errors(data):
    image_of(data, "p0").unlink()
    image_of(data, "p4").unlink()
    with pytest.raises(DataError, match="p0.png: no such image file\n.*p4.png: no such image file"):
        check_before_training(load_sets(data))


# -- real data ------------------------------------------------------------------------------------------


def test_leak_in_published_data_is_found(shared):
    """MSRA10K has one photograph of a bear twice, brighter and darker, among 120 pairs here."""
    root = shared / "data" / "msra10k_1200"
    pairs = [list_pairs(mode, str(root), "train_list.txt", "val_list.txt")[0] for mode in ("train", "val")]
    chosen = pairs[0][600:660], pairs[1][100:160]
    datasets = [
        DatasetSpec(part, 1, mode=mode, name=mode)
        for part, mode in zip(chosen, ("train", "val"), strict=True)
    ]
    findings = run_checks(examine(datasets))
    (leak,) = [finding for finding in findings if finding.check.severity == "warning"]
    (example,) = leak.examples
    assert [pair.files.image.name for pair in example.pairs] == ["202819.jpg", "203346.jpg"]


def test_similar_fundus_photographs_are_not_duplicates(shared):
    root = shared / "data" / "drishti_gs_512"
    pairs = list_pairs("train", str(root), "train_list.txt")[0]
    survey = examine([DatasetSpec(pairs, 2)])
    assert run_checks(survey) == []  # masks of val, which have images, are not reported either
    assert summary(survey.datasets[0])["suggested target_size"] == [512, 448]
