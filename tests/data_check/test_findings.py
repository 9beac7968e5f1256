"""What is wrong with data, each fault planted and found."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_sets import ORIENTATION, append, found, image_of, mask_of, sets, turn
from PIL import Image
from support import ROOT, draw_pair, tree, write_mask

from paddleseg_u2net.data.inspection import read_pair
from paddleseg_u2net.data.pairs import Pair, list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.data_check.checks import CHECKS
from paddleseg_u2net.data_check.findings import admit, diagnose, report
from paddleseg_u2net.data_check.report import overlay, write_page
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.errors import DataError


def copy(root: Path, source: str, target: str, change=lambda image: image) -> None:
    image = cv2.imread(str(image_of(root, source)))
    cv2.imwrite(str(image_of(root, target)), change(image))


def test_the_page_on_the_doctor_names_every_check_and_its_severity():
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| (error|warning|note) \|", page, re.MULTILINE)
    assert rows == [(name, check.severity) for name, check in CHECKS.items()]


def test_sound_data_have_no_findings(data):
    assert found(data) == {}


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
        *("broken files", "p1.png: truncated, or not an image"),
    ),
    "text as a mask": (
        lambda d: mask_of(d, "p1").write_text("no"),
        "broken files",
        "cannot be read as a mask",
    ),
    "an empty file": (lambda d: image_of(d, "p1").write_bytes(b""), "broken files", "the file is empty"),
    "a coloured mask": (
        lambda d: shutil.copy(image_of(d, "p1"), mask_of(d, "p1")),
        *("broken files", "a mask of colours"),
    ),
    "another size": (
        lambda d: write_mask(mask_of(d, "p2"), np.eye(16, 32, dtype=np.uint8) * 255),
        *("size mismatch", "mask (H, W) (16, 32) differs from its image's (32, 32)"),
    ),
    "two encodings": (
        lambda d: write_mask(mask_of(d, "p2"), np.eye(32, dtype=np.uint8)),
        *("mask encoding", "p2.png: holds 0, 1, but 3 masks are grey"),
    ),
    "a line twice": (
        lambda d: append(d, "images/p0.png\tmasks/p0.png\n"),
        *("listed twice", "train_list.txt:5: .*p0.png: listed before, with the same mask"),
    ),
    "a line twice, two masks": (
        lambda d: append(d, "images/p0.png\tmasks/p1.png\n"),
        *("listed twice", "listed before, with another mask"),
    ),
    "a tag on the image": (
        lambda d: turn(image_of(d, "p0"), 3),
        *("EXIF rotation", "p0.png: EXIF orientation 3 of the image, 1 of its mask"),
    ),
    "a tag on the mask": (
        lambda d: turn(mask_of(d, "p0"), 6),
        *("EXIF rotation", "p0.png: EXIF orientation 1 of the image, 6 of its mask"),
    ),
    "an empty mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.zeros((32, 32), np.uint8)),
        *("empty masks", "train_list.txt:1: .*masks/p0.png: nothing but background"),
    ),
    "a full mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.full((32, 32), 255, np.uint8)),
        *("full masks", "p0.png: nothing but foreground"),
    ),
    "the same file in val": (
        lambda d: shutil.copy(image_of(d, "p4"), image_of(d, "p0")),
        *("same file in two sets", "p0.png is the file .*val_list.txt:1: .*p4.png .train and val."),
    ),
    "a mirrored copy in val": (
        lambda d: copy(d, "p4", "p0", lambda x: x[:, ::-1]),
        *("same picture in two sets", "p0.png shows the same as .*p4.png, mirrored"),
    ),
    "a larger copy in train": (
        lambda d: copy(d, "p1", "p0", lambda x: np.kron(x, np.ones((1, 1, 1), np.uint8)) // 2 + 20),
        *("duplicates", "p0.png shows the same as .*p1.png"),
    ),
    "another mask of one picture": (
        lambda d: (shutil.copy(image_of(d, "p1"), image_of(d, "p0")), full_but(mask_of(d, "p0"))),
        *("masks disagree", "the masks overlap by 0.[0-7]"),
    ),
    "an image that is its mask": (
        lambda d: cv2.imwrite(str(image_of(d, "p0")), cv2.imread(str(mask_of(d, "p0")))),
        *("image is its mask", "p0.png: shows its mask"),
    ),
    "an image of one colour": (
        lambda d: cv2.imwrite(str(image_of(d, "p0")), np.full((32, 32, 3), (9, 200, 77), np.uint8)),
        *("constant images", "p0.png: has one colour"),
    ),
    "a mask too many": (
        lambda d: write_mask(mask_of(d, "zz"), np.zeros((3, 3), np.uint8)),
        *("masks without a pair", "masks/zz.png: no pair names this mask"),
    ),
    "a soft mask": (
        lambda d: write_mask(mask_of(d, "p0"), np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))),
        *("soft masks", "train: 1 masks have soft edges, on average 96.9% of their pixels"),
    ),
}


def full_but(path: Path) -> None:
    mask = np.full((32, 32), 255, np.uint8)
    mask[0] = 0
    write_mask(path, mask)


@pytest.mark.parametrize("planted", PLANTED)
def test_each_planted_fault_is_found_once_where_it_is(data, planted):
    plant, name, pattern = PLANTED[planted]
    plant(data)
    texts = found(data)
    assert len(texts[name]) == 1
    assert re.search(pattern if ".*" in pattern or "[" in pattern else re.escape(pattern), texts[name][0])
    beside = {
        "duplicates",
        "masks without a pair",
        "masks disagree",
    }  # what else the same change brings about
    assert set(texts) - {name} <= beside


def test_a_mirrored_copy_with_its_mask_mirrored_is_no_disagreement(data):
    copy(data, "p4", "p0", lambda x: x[:, ::-1])
    write_mask(mask_of(data, "p0"), cv2.imread(str(mask_of(data, "p4")), cv2.IMREAD_GRAYSCALE)[:, ::-1])
    assert set(found(data)) == {"same picture in two sets"}


def test_every_check_is_planted_somewhere():
    elsewhere = {"class ids", "no foreground", "absent classes", "rare classes", "tiny images"}
    assert {name for _, name, _ in PLANTED.values()} | elsewhere == set(CHECKS)


def test_classes_out_of_range_absent_and_rare(data):
    for index in range(6):
        ids = np.zeros((64, 64), np.uint8)
        ids[:20] = 1
        ids[0, 0] = 3 * (index == 0)
        write_mask(mask_of(data, f"p{index}"), ids)
        write_mask(
            image_of(data, f"p{index}"), np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        )
    texts = found(data, num_classes=5)
    assert texts["absent classes"] == [
        *("train: class 2 occurs in no mask", "train: class 4 occurs in no mask"),
        *(f"val: class {c} occurs in no mask" for c in (2, 3, 4)),
    ]
    assert texts["rare classes"] == ["train: class 3 has 0.006% of the pixels"]
    assert "full masks" not in texts
    assert "p0.png: holds 0, 1, 3, expected class ids 0 .. 2" in found(data, num_classes=3)["class ids"][0]


def test_masks_of_many_classes_may_do_without_background(data):
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), np.tile(np.arange(32, dtype=np.uint8) % 3 + 1, (32, 1)))
    assert set(found(data, num_classes=4)) == {"absent classes"}


def test_what_only_resembles_a_mask_or_one_colour_is_neither(data):
    mask = cv2.imread(str(mask_of(data, "p0")), cv2.IMREAD_GRAYSCALE)
    write_mask(image_of(data, "p0"), np.dstack([255 - mask, mask // 2, mask]))
    write_mask(image_of(data, "p1"), np.dstack([np.indices((32, 32)).sum(0) % 2 * np.uint8(255)] * 3))
    write_mask(image_of(data, "p2"), 255 - cv2.imread(str(mask_of(data, "p2"))))
    assert found(data) == {}


def test_data_without_foreground_and_tiny_images(tmp_path):
    for index in range(6):
        draw_pair(tmp_path, f"p{index}", size=(1, 1) if index else (31, 40), white=0)
    lines = [f"images/p{i}.png masks/p{i}.png\n" for i in range(6)]
    (tmp_path / "train_list.txt").write_text("".join(lines[:3]))
    (tmp_path / "val_list.txt").write_text("".join(lines[3:]))
    texts = found(tmp_path)
    assert "none of the 3 masks has any foreground" in texts["no foreground"][0]
    assert len(texts["empty masks"]) == 6
    assert texts["tiny images"][0].endswith("p0.png: (H, W) (31, 40), below 32 pixels")
    assert len(texts["tiny images"]) == 6


def test_a_pair_is_read_once(data, monkeypatch):
    read = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or original(self))
    diagnose(examine(sets(data)))
    assert sorted(read) == sorted([*(data / "images").iterdir(), *(data / "masks").iterdir()])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mask_orientation", range(1, 9))
@pytest.mark.parametrize("square", [False, True])
def test_tags_are_told_where_sizes_do_not_say_how_the_mask_lies(
    tmp_path, orientation, mask_orientation, square
):
    """Both are stored so that they are of one size when upright, as the mask of a portrait drawn as seen."""
    for path, tag in ((image_of(tmp_path, "p"), orientation), (mask_of(tmp_path, "p"), mask_orientation)):
        stored = np.arange(600, dtype=np.uint8).reshape((30, 20) if tag >= 5 else (20, 30))
        write_mask(path, stored[:20, :20] if square else stored)
        turn(path, tag)
    record = read_pair(Pair(image_of(tmp_path, "p"), mask_of(tmp_path, "p")))
    assert record.faults == []
    portrait = orientation >= 5 and mask_orientation == 1 and not square
    assert record.turned_apart == (orientation != mask_orientation and not portrait)


def test_a_tag_beyond_the_eight_turns_nothing(data):
    turn(image_of(data, "p0"), 9)
    assert found(data) == {}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_tags_are_seen_in_every_format(tmp_path, name):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / name, exif=exif)
    write_mask(tmp_path / "m.png", np.zeros((8, 4), np.uint8))
    record = read_pair(Pair(tmp_path / name, tmp_path / "m.png"))
    assert (record.orientation, record.mask_orientation, record.faults) == (6, 1, [])
    assert record.turned_apart is False


def test_a_broken_tag_turns_nothing(tmp_path):
    stored = io.BytesIO()
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(stored, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "a.jpg").write_bytes(stored.getvalue())
    write_mask(tmp_path / "m.png", np.zeros((4, 8), np.uint8))
    assert read_pair(Pair(tmp_path / "a.jpg", tmp_path / "m.png")).faults == []


def test_the_report_is_plain_json_with_all_examples(data):
    image_of(data, "p0").unlink()
    survey = examine(sets(data))
    plain = json.loads(json.dumps(report(survey, diagnose(survey))))
    (row,) = [row for row in plain["findings"] if row["severity"] == "error"]
    assert (row["check"], row["count"], len(row["examples"])) == ("broken files", 1, 1)
    assert plain["sets"]["val"]["foreground share"]["max"] == round(largest_share(data), 4)
    assert plain["sets"]["train"]["mask files"] == {"8-bit": 4}


def largest_share(root: Path) -> float:
    masks = [cv2.imread(str(mask_of(root, name)), cv2.IMREAD_GRAYSCALE) for name in ("p4", "p5")]
    return max((mask > 0).mean() for mask in masks)


# -- before training ------------------------------------------------------------------------------------


def test_training_warns_of_what_is_cheap_to_see(data, caplog):
    shutil.copy(image_of(data, "p4"), image_of(data, "p0"))
    write_mask(mask_of(data, "p1"), np.zeros((32, 32), np.uint8))
    admit(sets(data))
    assert "same file in two sets: 1, first: " in caplog.text
    assert "empty masks: 1, first: " in caplog.text


def test_training_refuses_errors_all_together(data):
    image_of(data, "p0").unlink()
    image_of(data, "p4").unlink()
    with pytest.raises(DataError, match="p0.png: no such image file\n.*p4.png: no such image file"):
        admit(sets(data))


# -- the page -------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else_and_escapes_names(data, tmp_path):
    name = "<script>alert('x')</script>&.png".replace("/", "_")
    image_of(data, "p0").rename(data / "images" / name)
    append(data, f"images/{name}\tmasks/p1.png\n")
    survey = examine(sets(data))
    write_page(tmp_path / "out" / "a.html", survey, diagnose(survey), "<b>title")
    text = (tmp_path / "out" / "a.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in text
    assert "<b>title" not in text
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|https?:", text)
    assert text.count("data:image/jpeg;base64,") >= 6
    assert tree(tmp_path / "out") == ["a.html"]


def test_a_page_of_broken_pairs_alone_is_written(tmp_path):
    survey = examine([DatasetSpec([Pair(Path("no.png"), Path("none.png"))], 1)])
    write_page(tmp_path / "a.html", survey, diagnose(survey), "x")
    assert "no.png: no such image file" in (tmp_path / "a.html").read_text()


def test_an_overlay_shows_object_background_and_ignored_pixels():
    image = np.full((360, 720, 3), 100, np.uint8)
    mask = np.zeros((360, 720), np.float32)
    mask[:, 240:480], mask[:, 480:] = 1, 255
    drawn = overlay(image, mask, make_palette(1))
    assert drawn.shape == (180, 360, 3)
    np.testing.assert_array_equal(drawn[90, 60], (100, 100, 100))
    np.testing.assert_array_equal(drawn[90, 180], (50, 150, 95))  # half of (0, 200, 90)
    np.testing.assert_array_equal(drawn[90, 300], (178, 50, 178))
    assert overlay(image[:1, :1], mask, make_palette(1)).shape == (180, 180, 3)


# -- real data ------------------------------------------------------------------------------------------


def test_the_leak_in_a_published_set_is_found(shared):
    """MSRA10K holds one bear twice, brighter and darker; the other 120 pairs around them are different."""
    root = shared / "data" / "msra10k_1200"
    pairs = [list_pairs(mode, str(root), "train_list.txt", "val_list.txt")[0] for mode in ("train", "val")]
    chosen = pairs[0][600:660], pairs[1][100:160]
    datasets = [
        DatasetSpec(part, 1, mode=mode, name=mode)
        for part, mode in zip(chosen, ("train", "val"), strict=True)
    ]
    findings = diagnose(examine(datasets))
    (leak,) = [finding for finding in findings if finding.check.severity == "warning"]
    (example,) = leak.examples
    assert [record.pair.image.name for record in example.records] == ["202819.jpg", "203346.jpg"]


def test_fundus_photographs_which_are_all_alike_are_no_duplicates(shared):
    root = shared / "data" / "drishti_gs_512"
    pairs = list_pairs("train", str(root), "train_list.txt")[0]
    survey = examine([DatasetSpec(pairs, 2)])
    assert diagnose(survey) == []  # nor are the masks of val without images
    assert summary(survey.datasets[0])["suggested target_size"] == [512, 448]
