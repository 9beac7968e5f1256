"""Each fix of `check-dataset --fix` is followed, and then a corrected copy is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_sets import load_sets, mask_of
from support import write_mask

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data_check.repair import check_destination, repair
from paddleseg_u2net.data_check.survey import examine


def test_destinations(data):
    survey = examine(load_sets(data))
    Path("there").mkdir()
    for place, message in (("there", "exists already"), (data / "images" / "new", "a folder of originals")):
        with pytest.raises((OSError, ValueError), match=f"{message}. Fix: another folder"):
            repair(survey, Path(place))
    repair(survey, Path("another"))
    assert Path("another/train_list.txt").is_file()


def test_modes(data):
    one, other = load_sets(data)
    with pytest.raises(
        ValueError, match="Fix: set a different mode .train, val, test., or fix them one by one"
    ):
        check_destination([one, replace(other, mode="train")], Path("new"), [])
    check_destination([one, replace(other, mode="test")], Path("new"), [])
    check_destination([one], Path("new"), [])


def test_faults_that_leave_nothing(data):
    one, _ = load_sets(data)
    pairs, one = one.pairs, replace(one, pairs=[Pair(Path("a/no.png"), None)])
    with pytest.raises(ValueError, match="would be left. Fix: correct the reported faults by hand"):
        repair(examine([one]), Path("new"))
    repair(examine([replace(one, pairs=pairs)]), Path("new"))


def test_encodings_that_are_not_clear(data):
    for index in range(6):
        write_mask(mask_of(data, f"p{index}"), np.eye(32, dtype=np.uint8) * 3)
    with pytest.raises(ValueError, match="cannot decide the encoding of the masks. Fix: set mask_encoding"):
        repair(examine(load_sets(data)), Path("new"))
    repair(examine(load_sets(data, mask_encoding="grey")), Path("new"))


def test_labels_that_overlap(data):
    specs = [replace(spec, num_classes=2, labels=2) for spec in load_sets(data)]
    with pytest.raises(
        ValueError, match="not for labels that overlap. Fix: correct the reported faults by hand"
    ):
        check_destination(specs, Path("new"), [])
