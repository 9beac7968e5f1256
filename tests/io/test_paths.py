"""Paths that were written on another system."""

from __future__ import annotations

from pathlib import Path

from paddleseg_u2net.io.paths import local_path


def test_backslashes_separate_folders_unless_a_file_has_that_name(tmp_path):
    assert local_path("a/b.png", tmp_path) == tmp_path / "a" / "b.png"
    assert local_path(r"a\b.png", tmp_path) == tmp_path / "a" / "b.png"
    assert local_path(r"a\b.png") == Path("a/b.png")
    (tmp_path / r"a\b.png").touch()
    assert local_path(r"a\b.png", tmp_path) == tmp_path / r"a\b.png"
