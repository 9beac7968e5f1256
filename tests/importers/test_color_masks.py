"""Masks of colours become masks of class ids; colours without a label are listed with their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from built_sets import nothing_is_written, pairs_of
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from support import pixels, write_mask

from paddleseg_u2net.importers import color_masks
from paddleseg_u2net.importers.color_masks import TRANSPARENT, read_colors
from paddleseg_u2net.importers.color_tables import parse_colors

BLACK, RED, GREEN, GREY, ODD = (0, 0, 0), (255, 0, 0), (0, 128, 0), (90, 90, 90), (1, 2, 3)
COLORS = ["background=0,0,0", "cat=255,0,0", "dog=0,128,0", "void=90,90,90"]
PICTURE = [[BLACK, RED, RED, GREY], [BLACK, GREEN, RED, GREY], [GREEN, GREEN, BLACK, BLACK]]
IDS = [[0, 1, 1, 255], [0, 2, 1, 255], [2, 2, 0, 0]]  # drawn by hand


def write_set(root: Path, picture=PICTURE, count: int = 3, suffix: str = ".png", mode: str = "RGB") -> list:
    """Images and coloured masks in two folders; returns the flags that name them."""
    rng = np.random.default_rng(0)
    for index in range(count):
        colors = np.array(picture, np.uint8)
        write_mask(root / "i" / f"a {index}.jpg", rng.integers(0, 256, colors.shape, np.uint8))
        (root / "m").mkdir(exist_ok=True)
        mask = Image.fromarray(colors)
        mask = mask.quantize(16, dither=Image.Dither.NONE) if mode == "P" else mask.convert(mode)
        mask.save(root / "m" / f"a {index}{suffix}")
    return ["--image_dir", root / "i", "--mask_dir", root / "m", "--split", 0.6, 0.4, 0]


@pytest.mark.parametrize("flag", ["--colors", "--labelmap"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_become_class_ids(make, tmp_path, flag, mode):
    Path("labelmap.txt").write_text("background:0,0,0::\ncat:255,0,0::\ndog:0,128,0::\nvoid:90,90,90::\n")
    words = COLORS if flag == "--colors" else ["labelmap.txt"]
    code, out, err = make(*write_set(tmp_path, mode=mode), flag, *words)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog" in out
    for _, mask in pairs_of("data/mine/config.yaml", "train"):
        np.testing.assert_array_equal(pixels(mask), IDS)
    record = json.loads(Path("data/mine/dataset.json").read_text())
    assert (record["num_classes"], record["ignore_index"]) == (3, 255)


def test_coloured_masks_without_a_table_name_the_flags_that_convert_them(make, tmp_path):
    flags = write_set(tmp_path)
    code, _, err = make(*flags)
    assert code == 1
    assert "a 0.png: a mask of colours" in err
    assert "u2net make-dataset --labelmap or --colors converts colours" in err
    assert make(*flags, "--colors", *COLORS)[0] == 0


def test_chosen_classes_and_saliency_come_from_colours_too(make, tmp_path):
    flags = [*write_set(tmp_path), "--colors", *COLORS]
    code, out, _ = make(*flags, "--classes", "dog", "--save_dir", "a")
    assert code == 0
    assert "categories      1  label is not among --classes, so background  " in out
    np.testing.assert_array_equal(pixels("a/masks/a 0.png"), [[0, 0, 0, 255], [0, 1, 0, 255], [1, 1, 0, 0]])
    assert make(*flags, "--saliency", "--save_dir", "b")[0] == 0
    np.testing.assert_array_equal(pixels("b/masks/a 0.png"), [[0, 1, 1, 255], [0, 1, 1, 255], [1, 1, 0, 0]])


def test_unknown_colours_are_listed_with_their_pixels(make, tmp_path):
    picture = [[ODD, ODD, RED], [(7, 7, 7), BLACK, ODD]]
    flags = write_set(tmp_path, picture)
    code, _, err = make(*flags, "--colors", *COLORS)
    assert code == 1
    lines = err.splitlines()
    assert (
        f"--colors: colour (1, 2, 3) has no label: 9 pixels in 3 masks, for example {tmp_path / 'm/a 0.png'}"
        in lines[0]
    )
    assert (
        "Fix: add it to the label map, or choose --unknown_colors ignore, background or nearest" in lines[0]
    )
    assert "--colors: colour (7, 7, 7) has no label: 3 pixels in 3 masks" in lines[1]
    assert nothing_is_written()
    # following the advice
    for mode, expected in (
        ("ignore", [[255, 255, 1], [255, 0, 255]]),
        ("background", [[0, 0, 1], [0, 0, 0]]),
        ("nearest", [[0, 0, 1], [0, 0, 0]]),
    ):
        code, _, err = make(*flags, "--colors", *COLORS, "--unknown_colors", mode, "--save_dir", mode)
        assert (code, err) == (0, "")
        np.testing.assert_array_equal(pixels(f"{mode}/masks/a 1.png"), expected)
        rows = json.loads((Path(mode) / "dataset.json").read_text())["items"]
        (row,) = (row for row in rows if f"--unknown_colors {mode}" in row["reason"])
        assert (row["items"], row["count"], row["first"]) == ("pixels", 12, ["(1, 2, 3)", "(7, 7, 7)"])
    assert make(*flags, "--colors", *COLORS, "a=1,2,3", "b=7,7,7", "--save_dir", "added")[0] == 0


def test_masks_of_class_ids_are_named_where_colours_are_expected(make, tmp_path):
    flags = write_set(tmp_path, [[(0, 0, 0), (1, 1, 1), (2, 2, 2)]], mode="L")
    code, _, err = make(*flags, "--colors", "voc")
    assert code == 1
    assert "masks of class ids need no label map: --image_dir and --mask_dir read them" in err
    assert "contain no object" not in err
    assert make(*flags)[0] == 0
    assert "(0, 0, 0)" not in make(*write_set(tmp_path, [[ODD, RED]]), "--colors", *COLORS)[2]


def test_counts_of_unknown_colours_are_bounded_and_their_pixels_exact(make, tmp_path, monkeypatch):
    monkeypatch.setattr(color_masks, "MAX_COLORS", 2)
    monkeypatch.setattr(color_masks, "MAX_ALL_COLORS", 3)
    flags = write_set(tmp_path, [[(1, 1, i) for i in (0, 0, 1, 2, 3)]])
    Image.fromarray(np.full((1, 5, 3), 9, np.uint8)).save(tmp_path / "m" / "a 1.png")
    Image.fromarray(np.full((1, 5, 3), 8, np.uint8)).save(tmp_path / "m" / "a 2.png")
    code, _, err = make(*flags, "--colors", *COLORS)
    assert code == 1
    assert "colour (9, 9, 9) has no label: 5 pixels in 1 mask" in err
    assert "(8, 8, 8)" not in err
    assert "more than 20 colours have no label: 7 further pixels" in err


def test_masks_are_decoded_as_images_are(make, tmp_path):
    """Large metadata is no fault, the largest page counts, and PostScript is not run."""
    flags = write_set(tmp_path)
    mask = Image.fromarray(np.array(PICTURE, np.uint8))
    (tmp_path / "m" / "a 1.png").unlink()
    mask.resize((2, 2)).save(tmp_path / "m" / "a 1.tif", save_all=True, append_images=[mask])
    text = PngInfo()
    text.add_text("comment", "x" * (3 << 20), zip=True)
    mask.save(tmp_path / "m" / "a 0.png", pnginfo=text)
    assert make(*flags, "--colors", *COLORS)[0] == 0
    for index in range(2):
        np.testing.assert_array_equal(pixels(f"data/mine/masks/a {index}.png"), IDS)
    mask.save(tmp_path / "m" / "a 0.png", "EPS")
    with pytest.raises(ValueError, match="cannot be read as a mask: holds a PostScript file"):
        read_colors(tmp_path / "m" / "a 0.png")


def test_masks_saved_as_jpeg_are_read_by_the_nearest_colour(make, tmp_path):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[8:24, 8:24], picture[:, 32:] = RED, GREEN
    expected = np.zeros((32, 48), int)
    expected[8:24, 8:24], expected[:, 32:] = 1, 2
    flags = write_set(tmp_path, picture, suffix=".jpg")
    code, _, err = make(*flags, "--colors", *COLORS[:3])
    assert code == 1
    assert "more than 20 colours have no label:" in err
    assert "JPEG and blurred edges mix colours. Fix: --unknown_colors nearest" in err
    code, _, err = make(*flags, "--colors", *COLORS[:3], "--unknown_colors", "nearest")
    assert (code, err) == (0, "")
    assert (pixels("data/mine/masks/a 0.png") != expected).mean() < 0.05  # at the outlines


def test_labels_in_no_mask_are_no_classes(make, tmp_path):
    code, out, err = make(*write_set(tmp_path), "--colors", "hare=9,9,9", *COLORS)
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 cat, 2 dog" in out
    flags = [*write_set(tmp_path), "--colors", "hare=9,9,9", *COLORS, "--save_dir", "b"]
    code, out, err = make(*flags, "--keep_unused")
    assert (code, err) == (0, "")
    assert "classes: 0 background, 1 hare, 2 cat, 3 dog" in out
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    assert {(row["items"], row["reason"]): row["count"] for row in rows} == {
        ("categories", ""): 2,
        ("images", ""): 3,
        ("pixels", "background, class 0"): 12,
        ("pixels", "labels void, ignore, ignored, unlabeled, unlabelled"): 6,
        ("categories", "in no mask (--keep_unused keeps them)"): 1,
    }


def test_skip_faulty_leaves_out_faulty_masks_but_no_colours(make, tmp_path):
    flags = [*write_set(tmp_path), "--colors", *COLORS, "--skip_faulty"]
    (tmp_path / "m" / "a 0.png").write_bytes(b"")
    code, out, err = make(*flags)
    assert (code, err) == (0, "")
    assert "train 1, val 1" in out
    Image.fromarray(np.full((3, 4, 3), 7, np.uint8)).save(tmp_path / "m" / "a 1.png")
    code, _, err = make(*flags, "--save_dir", "b")
    assert (code, "colour (7, 7, 7) has no label: 12 pixels in 1 mask" in err) == (1, True)


def test_masks_of_a_real_set_survive_being_coloured(make, tmp_path, shared):
    folder = shared / "data" / "camvid"
    masks = sorted((folder / "masks").rglob("*.png"))[:6]
    rng = np.random.default_rng(1)
    palette = rng.permutation(256)[:36].reshape(12, 3).astype(np.uint8)
    rows = [f"{r} {g} {b} class {index}" for index, (r, g, b) in enumerate(palette[:11])]
    Path("map.txt").write_text("\n".join([*rows, " ".join(map(str, palette[11])) + " Void"]))
    ids = {path.stem: pixels(path) for path in masks}
    for path in masks:
        Image.fromarray(palette[np.minimum(ids[path.stem], 11)]).save(tmp_path / path.name)
        image = next((folder / "images").rglob(f"{path.stem}.*"))
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / image.name).write_bytes(image.read_bytes())
    (tmp_path / "masks").mkdir()
    for path in masks:
        (tmp_path / path.name).rename(tmp_path / "masks" / path.name)
    words = ["--image_dir", "photos", "--mask_dir", "masks", "--labelmap", "map.txt"]
    code, _, err = make(*words)
    assert (code, err) == (0, "")
    present = sorted({value for mask in ids.values() for value in np.unique(mask).tolist()} - {11})
    for name, truth in ids.items():
        drawn = pixels(f"data/mine/masks/{name}.png")
        np.testing.assert_array_equal(drawn == 255, truth == 11)
        for number, value in enumerate(present, start=1):
            np.testing.assert_array_equal(drawn == number, truth == value)


def test_transparent_pixels_are_background_and_half_transparent_ones_a_fault(make, tmp_path):
    flags = write_set(tmp_path)
    clear = np.dstack([np.full((3, 4), 255), np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))])
    clear[0, 0, 3] = 255
    Image.fromarray(clear.astype(np.uint8)).save(tmp_path / "m" / "a 0.png")
    assert (read_colors(tmp_path / "m" / "a 0.png") == TRANSPARENT).sum() == 11
    assert make(*flags, "--colors", *COLORS, "--save_dir", "a")[0] == 0
    assert pixels("a/masks/a 0.png").sum() == 1
    clear[1, 1, 3] = 128
    Image.fromarray(clear.astype(np.uint8)).save(tmp_path / "m" / "a 0.png")
    code, _, err = make(*flags, "--colors", *COLORS)
    assert code == 1
    assert "a 0.png: half transparent pixels. Fix: save it without an alpha channel" in err


def test_faulty_masks_of_colours_are_all_reported(make, tmp_path):
    flags = write_set(tmp_path, count=5)
    (tmp_path / "m" / "a 0.png").write_bytes(b"")
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tmp_path / "m" / "a 1.png")
    Image.fromarray(np.full((3, 4), 300, np.uint16)).save(tmp_path / "m" / "a 2.png")
    code, _, err = make(*flags, "--colors", *COLORS)
    assert code == 1
    for message in (
        "a 0.png: cannot be read as a mask: the file is empty",
        "a 1.png: mask (H, W) (3, 3) differs from its image's (3, 4)",
        "a 2.png: Pillow's mode I;16, expected colours of 8 bits",
    ):
        assert message in err
    assert nothing_is_written()


def test_lists_with_paths_outside_their_root_draw_inside_the_new_folder(make, tmp_path):
    write_set(tmp_path)
    (tmp_path / "lists").mkdir()
    rows = [f"../i/a {index}.jpg\t../m/a {index}.png" for index in range(3)]
    (tmp_path / "lists" / "all.txt").write_text("\n".join(rows))
    flags = ["--list", "lists/all.txt", "--dataset_root", "lists", "--split", 0.6, 0.4, 0]
    code, _, err = make(*flags, "--colors", *COLORS)
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(pixels("data/mine/masks/i/a 2.png"), IDS)


# distances of (50, 50, 50) from (0, 0, 0): 86.6; by the sum of differences 150, by the largest one 50
@pytest.mark.parametrize(("red", "expected"), [(130, 1), (150, 0)])
def test_nearest_colour_is_that_of_the_least_euclidean_distance(make, tmp_path, red, expected):
    flags = write_set(tmp_path, [[(50, 50, 50), (0, 0, 0), (red, 50, 50)]])
    words = ["background=0,0,0", f"cat={red},50,50", "--unknown_colors", "nearest"]
    assert make(*flags, "--colors", *words)[0] == 0
    assert pixels("data/mine/masks/a 0.png").tolist() == [[expected, 0, 1]]


def test_masks_are_turned_upright_by_their_exif_tag(tmp_path):
    mask = Image.fromarray(np.array(PICTURE, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    mask.save(tmp_path / "a.png", exif=exif)
    mask.save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        read_colors(tmp_path / "a.png"), np.rot90(read_colors(tmp_path / "b.png"), -1)
    )


def test_table_lookup_covers_all_colours():
    table = parse_colors(["a=0,0,0", "b=255,255,255"])
    assert table.codes.tolist() == [0, (1 << 24) - 1]
