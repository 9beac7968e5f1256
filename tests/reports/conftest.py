"""Results of `u2net val` for tests of reports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paddleseg_u2net.cli.app import main


@pytest.fixture(scope="session")
def finished_scores(finished_run) -> Path:
    """Results of the run of `finished_run` on its two validation images; see `measured`."""
    folder = finished_run / "scores"
    words = ["--model_path", str(finished_run / "run"), "--save_dir", str(folder)]
    assert main(["val", *words, "--opts", "test_config.as_is=true"]) == 0
    return folder


@pytest.fixture
def measured(finished_scores, trained, tmp_path) -> Path:
    """The folder of results of `trained`; measured once, and copied for each test."""
    folder = tmp_path / "scores"
    shutil.copytree(finished_scores, folder)
    for path in (folder / "metrics.json", folder / "per_image.csv"):
        path.write_text(path.read_text().replace(str(finished_scores.parent), str(tmp_path)))
    return folder
