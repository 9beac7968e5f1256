"""Names in list files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from built_sets import folder_flags, nothing_is_written, pairs_of
from support import draw_pair, write_mask


@pytest.mark.parametrize("ending", ["_gt", " gt"])
def test_names_with_spaces_and_special_characters_are_read_back(make, tmp_path, ending):
    names = ["#one", "#two", "ü", "plain", *([" two", "thr  ee", "vier\u00a0"] if " " in ending else [])]
    draw_pair(tmp_path / "d", "x")
    for index, name in enumerate(names):
        write_mask(tmp_path / "d" / f"{name}.png", np.full((32, 32, 3), index, np.uint8))
        (tmp_path / "d" / f"{name}{ending}.png").write_bytes((tmp_path / "d/masks/x.png").read_bytes())
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder / "x.png").unlink()
    code, _, err = make("--folder", "d", "--mask_suffix", ending, "--split", 0.5, 0.5, 0)
    assert (code, err) == (0, "")
    found = [pair for part in ("train", "val") for pair in pairs_of(Path("data/mine/config.yaml"), part)]
    assert sorted(image.stem for image, _ in found) == sorted(names)
    assert all(mask.stem == image.stem + ending for image, mask in found)


def test_names_that_a_list_cannot_contain_are_reported_together(make, photo_set):
    for number, sign in enumerate(("\t", "\n", "\x85", "\udcff")):
        for folder in ("images", "masks"):
            (photo_set / folder / f"p{number}.png").rename(photo_set / folder / f"p{number}{sign}.png")
    code, _, err = make(*folder_flags(photo_set))
    assert code == 1
    assert err.count("a list cannot contain a name with a tab or a line break. Fix: rename it") == 6
    assert err.count("the name is not valid UTF-8. Fix: rename it") == 2
    assert nothing_is_written()
