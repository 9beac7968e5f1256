"""Augmented copies of a picture stay in one part of a split: by their names, and by what they show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from built_sets import pairs_of
from support import write_mask

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.importers.copies import base_name, copy_keys, find_named_copies


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph-like picture with an ellipse, and its mask."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = cv2.resize(small, (60, 48), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((48, 60), np.uint8)
    centre, axes = [int(rng.integers(12, 40)) for _ in "xy"], [int(rng.integers(4, 12)) for _ in "ab"]
    cv2.ellipse(mask, centre, axes, 30, 0, 360, 255, -1)
    image[mask > 0] = rng.integers(0, 256, 3)
    return image, mask


def parts_by_picture(config: str = "data/mine/config.yaml") -> dict[str, set[str]]:
    """Number of a picture -> the parts that hold it or a copy."""
    found: dict[str, set[str]] = {}
    for part in ("train", "val"):
        for image, _ in pairs_of(config, part):
            found.setdefault(image.stem[:3], set()).add(part)
    return found


TURNS = {
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "turned by 90 degrees": lambda a: np.rot90(a),
    "turned by 270 degrees": lambda a: np.rot90(a, 3),
    "turned and mirrored": lambda a: np.rot90(a)[:, ::-1],
}


@pytest.mark.parametrize("turn", TURNS)
def test_official_layout_keeps_a_picture_and_its_turned_copy_together(make, tmp_path, turn):
    """The copies are JPEG files beside the pictures, and their names do not tell that they are copies."""
    root = tmp_path / "DUTS-TR"
    for index in range(15):
        for name, change in ((f"{index:03}a", lambda a: a), (f"{index:03}b", TURNS[turn])):
            image, mask = (np.ascontiguousarray(change(array)) for array in draw(index))
            write_mask(root / "im_aug" / f"{name}.jpg", image)
            write_mask(root / "gt_aug" / f"{name}.png", mask)
    flags = ["--image_dir", root / "im_aug", "--mask_dir", root / "gt_aug", "--split", 0.6, 0.4, 0]
    code, out, err = make(*flags)
    assert (code, err) == (0, "")
    assert "train 18, val 12" in out
    assert "30 images are mirrored or turned, as 0" in out
    parts = parts_by_picture()
    assert len(parts) == 15
    assert all(len(found) == 1 for found in parts.values())


def test_many_images_that_look_alike_are_not_taken_for_copies(make, tmp_path):
    """A scene that stays the same when mirrored, as seen by a camera that does not move."""
    image, mask = draw(0)
    image = np.concatenate([image, image[:, ::-1]], 1)
    rng = np.random.default_rng(0)
    for index in range(20):
        noisy = np.clip(image + rng.integers(-3, 4, image.shape), 0, 255).astype(np.uint8)
        write_mask(tmp_path / "i" / f"{index:03}.png", noisy)
        write_mask(tmp_path / "m" / f"{index:03}.png", np.concatenate([mask, mask], 1))
    code, out, err = make("--image_dir", "i", "--mask_dir", "m")
    assert (code, err) == (0, "")
    assert "20 images look alike when turned, as 0" in out
    assert "train 16, val 4" in out


def test_names_of_augmented_copies_keep_them_together(make, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(10):
        for name in ("", "_flip", "_aug_1", "_rot90_2"):
            path = f"{index:03}{name}.png"
            write_mask(tmp_path / "i" / path, rng.integers(0, 256, (20, 20, 3), np.uint8))
            write_mask(tmp_path / "m" / path, np.pad(np.full((9, 9), 255, np.uint8), (0, 11)))
    flags = ["--image_dir", "i", "--mask_dir", "m", "--split", 0.5, 0.5, 0]
    code, out, err = make(*flags)
    assert (code, err) == (0, "")
    assert "40 images are copies by their names, as 0" in out
    assert all(len(found) == 1 for found in parts_by_picture().values())
    # a group of the user's own replaces what the names say
    assert make(*flags, "--group_by", "_.*$|^...$", "--save_dir", "b")[0] == 0
    assert any(len(found) == 2 for found in parts_by_picture("b/config.yaml").values())


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("cat_flip", "cat"),
        ("cat-hflip", "cat"),
        ("cat_flip_lr", "cat"),
        ("cat_mirrored", "cat"),
        ("cat.aug.3", "cat"),
        ("cat_augmented_12", "cat"),
        ("cat_rot90", "cat"),
        ("cat_rot_270_flip", "cat"),
        ("cat_rot90_2", "cat"),
        ("CAT_FLIP", "CAT_FLIP"),  # there is no CAT
        ("aug_3_cat", "cat"),
        ("flip_cat", "cat"),
        ("flipped-cat", "cat"),
        ("cat_jpg.rf.0a1b2c", "cat_jpg"),
        ("cat_2", "cat_2"),
        ("cat", "cat"),
        ("catflip", "catflip"),
        ("dog_flip", "dog_flip"),
        ("x/cat_flip", "x/cat_flip"),  # the cat is in another folder
        ("y/cat_flip", "y/cat"),
        ("apple_rot_1", "apple_rot_1"),
    ],
)
def test_base_of_a_name(name, base):
    assert base_name(name, {"cat", "y/cat", "apple_rot_2"}) == base


def test_pairs_of_names():
    names = ["b", "a_flip", "a", "c.rf.1", "c.rf.2", "a_aug1"]
    assert find_named_copies(names) == [(1, 2), (3, 4), (1, 5)]


def test_real_photographs_are_not_taken_for_copies(make, shared):
    names = sorted(path.stem for path in (shared / "data" / "sod300" / "images").iterdir())[:50]
    Path("all.txt").write_text("".join(f"images/{name}.jpg masks/{name}.png\n" for name in names))
    code, out, err = make("--list", "all.txt", "--dataset_root", shared / "data" / "sod300")
    assert (code, err) == (0, "")
    assert "copies stay in one part" not in out
    assert "train 40, val 10" in out


def test_key_of_a_group_is_the_same_in_any_order():
    """Its smallest checksum, also that of a file whose copy belongs to another group by its name."""
    thumb = np.zeros((16, 16, 3), np.uint8)  # without contrast, so that only names and checksums count
    images = [
        SimpleNamespace(name=f"{name}.png", pair=Pair(Path(f"{name}.png"), None), digest=digest, thumb=thumb)
        for name, digest in (("cat", b"2"), ("dog", b"2"), ("dog_flip", b"1"), ("cow", b"3"))
    ]
    keys = copy_keys(images)
    assert keys == [b"1".hex()] * 3 + [b"3".hex()]
    assert copy_keys(images[::-1]) == keys[::-1]
