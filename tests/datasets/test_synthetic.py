"""Drawn fundus photographs and the data set they make."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support import ROOT, environment, tree

from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.datasets.synthetic import draw_dataset, draw_fundus


def test_drawn_photographs_depend_on_the_seed_only():
    first, again, other = (draw_fundus(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert set(np.unique(first[1])) == {0, 1}


def test_drawn_discs_are_brighter_than_their_surroundings():
    for seed in range(5):
        image, mask = draw_fundus(np.random.default_rng(seed), 96)
        assert 0.003 < mask.mean() < 0.12
        assert image[mask == 1].mean() > image[mask == 0].mean()


def test_drawn_data_set_can_be_read(tmp_path):
    root = draw_dataset(tmp_path / "discs", images=12, size=48, seed=0)
    counts = {}
    for mode in ("train", "val", "test"):
        pairs, _ = list_pairs(mode, str(root), *(f"{name}_list.txt" for name in ("train", "val", "test")))
        (own,) = open_datasets([DatasetSpec(pairs, 2, mode=mode)])
        assert own.encoding.name == "index"
        counts[mode] = len(own)
    assert counts == {"train": 8, "val": 2, "test": 2}


def test_existing_folder_is_not_overwritten(tmp_path):
    with pytest.raises(FileExistsError, match="exists already. Fix:"):
        draw_dataset(tmp_path, 10, 32, 0)
    with pytest.raises(ValueError, match="expected at least 10"):
        draw_dataset(tmp_path / "x", 3, 32, 0)
    with pytest.raises(ValueError, match="expected at least 16 pixels"):
        draw_dataset(tmp_path / "x", 10, 15, 0)


def test_command_prints_the_folder(tmp_path):
    command = [sys.executable, "-m", "Benckmark_data_prepare.synthetic_disc", "--images", "10"]
    command += ["--size", "32", "--out", str(tmp_path / "discs")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=True)
    assert done.stdout == f"Drew 10 images into {tmp_path / 'discs'}\n"
    assert len(tree(tmp_path / "discs")) == 23
