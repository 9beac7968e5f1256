"""The benchmark of the data set checks, tools/benchmarks/data_check.py."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from support import draw_pair, write_mask

from tools.benchmarks import data_check


def test_time_and_memory_are_measured(tmp_path, capsys, monkeypatch):
    for index in range(4):
        draw_pair(tmp_path, f"p{index}")
    monkeypatch.setattr(data_check, "DIVISORS", (2,))
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)
    words = ["--image_path", str(tmp_path / "images"), "--mask_path", str(tmp_path / "masks"), "--turns", "1"]
    threads = cv2.getNumThreads()
    assert data_check.main(words) == 0
    cv2.setNumThreads(threads)
    text = capsys.readouterr().out
    assert "time over decoding alone: " in text
    assert "| data set check | 2 | " in text


def test_found_copies_are_counted(tmp_path, capsys):
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 256, (6, 8, 3), np.uint8)
        write_mask(tmp_path / f"{index}.png", cv2.resize(image, (160, 120), interpolation=cv2.INTER_CUBIC))
    assert data_check.main(["--image_path", str(tmp_path), "--copies"]) == 0
    text = capsys.readouterr().out
    assert "among 4 photographs: 0 pairs that show the same" in text
    assert "| mirrored | 100.0% | 0 |" in text
    assert "| cropped by a tenth | 0.0% | 0 |" in text
    with pytest.raises(SystemExit):
        data_check.main(["--image_path", str(tmp_path)])
    assert "give --mask_path, or --copies" in capsys.readouterr().err
