"""Fixtures for the tests of importers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support import draw_pair


@pytest.fixture
def make(run):
    """Run `u2net make-dataset` in this process: (exit code, stdout, stderr)."""
    return partial(run, "make-dataset")


@pytest.fixture
def photo_set(tmp_path) -> Path:
    """Ten pairs in two folders below `my photos`, with masks of 0 and 255."""
    for index in range(10):
        draw_pair(tmp_path / "my photos", f"p{index}", size=(40, 48))
    return tmp_path / "my photos"
