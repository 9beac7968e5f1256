"""Fixtures of tests that evaluate folders of maps."""

from __future__ import annotations

from pathlib import Path

import pytest
from map_folders import write_folders

from paddleseg_u2net.evaluation import tables


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Maps of one method, and masks."""
    maps, masks = tmp_path / "my maps", tmp_path / "masks"
    write_folders(maps, masks)
    return maps, masks


@pytest.fixture
def evaluate(run, monkeypatch):
    """Run `u2net evaluate` in this process, with one process: (exit code, stdout, stderr)."""

    def call(maps, masks, *flags, save_dir="scores", curves=False):
        if not curves:  # drawing takes ten times as long as everything else
            monkeypatch.setattr(tables, "draw_curves", lambda *_: None)
        inputs = ["--pred_dir", *_as_list(maps), "--label_dir", *_as_list(masks)]
        return run("evaluate", *inputs, "--save_dir", save_dir, "--workers", 1, *flags)

    return call


def _as_list(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]
