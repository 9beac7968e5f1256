"""List files and folders -> pairs of image and mask."""

from __future__ import annotations

import numpy as np
import pytest
from support import draw_pair, write_mask

from paddleseg_u2net.data.pairs import list_pairs, pair_folders, read_list
from paddleseg_u2net.errors import Fault


def test_lists_accept_spaces_tabs_comments_and_windows_line_ends(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa.png b.png\r\n\r\n# old\r\nmy cat.png\tits mask.png\r\n".encode())
    pairs, faults = read_list(path, tmp_path)
    assert not faults
    assert [(p.image.name, p.mask.name, p.where) for p in pairs] == [
        ("a.png", "b.png", f"{path}:1"),
        ("my cat.png", "its mask.png", f"{path}:4"),
    ]
    path.write_text("a.png, b.png\n")
    assert read_list(path, tmp_path, separator=",")[0][0].mask == tmp_path / "b.png"


@pytest.mark.parametrize("mask_suffix", ["_gtFine_labelIds", "_gtFine_color.png", "_rgb"])
def test_regular_files_of_cityscapes_are_no_warning(tmp_path, caplog, mask_suffix):
    """They are where the masks are Cityscapes' own; beside other masks nobody expects them."""
    caplog.set_level("INFO")
    city, stem = "gtFine/train/aachen", "aachen_000000_000019"
    write_mask(tmp_path / "leftImg8bit/train/aachen" / f"{stem}_leftImg8bit.png", np.eye(4, dtype=np.uint8))
    for kind in ("color", "instanceIds", "labelIds"):
        write_mask(tmp_path / city / f"{stem}_gtFine_{kind}.png", np.eye(4, dtype=np.uint8))
    write_mask(tmp_path / city / f"{stem}_rgb.png", np.eye(4, dtype=np.uint8))
    pairs, faults = pair_folders(tmp_path / "leftImg8bit", tmp_path / "gtFine", "_leftImg8bit", mask_suffix)
    assert not faults
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    if mask_suffix == "_rgb":
        assert "3 files end neither" in warnings[0]
    else:
        assert "2 other files of Cityscapes are not used" in caplog.text
        assert ["1 file ends neither" in text and f"{stem}_rgb.png" in text for text in warnings] == [True]


def test_every_line_with_a_wrong_number_of_columns_is_a_fault(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.png b.png\nonly.png\nmy cat.png mask.png\n")
    pairs, faults = read_list(path, tmp_path)
    assert len(pairs) == 1
    fix = "separate the two paths by a space (or a tab, where paths hold spaces)"
    assert faults == [
        Fault(f"{path}:2", "expected 'image mask', got 1 column: 'only.png'", fix),
        Fault(f"{path}:3", "expected 'image mask', got 3 columns: 'my cat.png mask.png'", fix),
    ]


def test_places_name_list_line_and_file(tmp_path):
    (tmp_path / "list.txt").write_text("a.png b.png\n")
    ((pair,), _) = read_list(tmp_path / "list.txt", tmp_path)
    assert pair.image_place == f"{tmp_path}/list.txt:1: {tmp_path}/a.png"
    assert pair.mask_place == f"{tmp_path}/list.txt:1: {tmp_path}/b.png"
    assert pair._replace(where="").mask_place == f"{tmp_path}/b.png"


def test_folders_are_paired_by_stem_including_sub_folders(tmp_path, caplog):
    for name in ("a", "sub/b"):
        draw_pair(tmp_path, name)
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "a.JPG")
    write_mask(tmp_path / "masks" / "unused.png", np.zeros((4, 4), np.uint8))
    pairs, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert not faults
    assert [(p.image.name, p.mask.name) for p in pairs] == [("a.JPG", "a.png"), ("b.png", "b.png")]
    assert "1 mask has no image" in caplog.text


def test_missing_masks_and_duplicate_names_are_all_reported(tmp_path):
    for name in ("a", "b", "c"):
        draw_pair(tmp_path, name)
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "images" / "c.jpg").write_bytes(b"")
    pairs, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert [pair.image.name for pair in pairs] == ["c.jpg"]
    assert faults[0] == Fault(f"{tmp_path}/images/c.png", "a second file named 'c'", "rename it")
    assert faults[1].fix == "add it, or remove the image"
    assert [fault.what for fault in faults[1:]] == [
        f"no mask named '{name}' in {tmp_path}/masks" for name in ("a", "b")
    ]


def test_masks_with_longer_names_are_suggested(tmp_path):
    for name in ("a", "b"):
        draw_pair(tmp_path, name)
        (tmp_path / "masks" / f"{name}.png").rename(tmp_path / "masks" / f"{name}_mask.png")
    _, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert faults[0].fix == "use the same name without suffix; there is 'a_mask'"
    assert faults[1].what.startswith("no mask named 'b'")
    assert not faults[1].fix


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either train_path, or image_dir and mask_dir. Fix: remove an inherited key"),
        ({"image_dir": "images"}, "give either train_path, or image_dir and mask_dir"),
        (
            {"train_path": "no.txt"},
            "train_path: no.txt: no such list, in the working directory or in .*. Fix:",
        ),
        ({"train_path": "empty.txt"}, "train images: 0. Fix:"),
        ({"mode": "trian", "train_path": "x"}, "mode: 'trian', expected train, val or test"),
        ({"image_dir": "no", "mask_dir": "masks"}, "no: no such folder"),
        ({"image_dir": "none", "mask_dir": "none"}, "train images: 0"),
        (
            {"dataset_root": "absent", "train_path": "x"},
            r"dataset_root: absent: no such folder \(/.*absent; it is relative to where",
        ),
    ],
)
def test_sections_without_data_are_rejected(data, options, message):
    (data / "empty.txt").write_text("\n")
    (data / "none").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list_pairs(**{"dataset_root": str(data), **options})
