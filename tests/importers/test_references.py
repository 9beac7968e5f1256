"""References in foreign files lead to files inside the folder of the data set only."""

from __future__ import annotations

import pytest

from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.references import find_inside, read_lines


@pytest.mark.parametrize(
    "reference",
    [
        "a/b.png",
        "./a/b.png",
        "a\\b.png",
        "../a/b.png",
        "/a/b.png",
        "/x/y/a/b.png",
        "C:\\x\\a\\b.png",
        " a/b.png ",
    ],
)
def test_the_longest_end_that_exists_inside_is_found(tmp_path, reference):
    for folder in ("set/a", "set/x", "a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "b.png").touch()
    (tmp_path / "set" / "b.png").touch()  # a shorter end
    assert find_inside(tmp_path / "set", reference) == tmp_path / "set" / "a" / "b.png"


@pytest.mark.parametrize(
    "reference", ["../b.png", "/etc/passwd", "a/../../b.png", "", ".", "a/\0", "..", "./" * 3000 + "a.png"]
)
def test_nothing_outside_is_found(tmp_path, reference):
    (tmp_path / "set").mkdir()
    for name in ("b.png", "set/a.png"):
        (tmp_path / name).touch()
    expected = tmp_path / "set" if reference in ("", ".") else None
    assert find_inside(tmp_path / "set", reference) == expected


def test_text_files_are_bounded(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffa\r\nb")
    assert read_lines(tmp_path / "a.txt") == ["a", "b"]
    with pytest.raises(DataError, match="a.txt: 7 bytes, expected at most 3"):
        read_lines(tmp_path / "a.txt", 3)
    with pytest.raises(DataError, match="is a folder, expected a file"):
        read_lines(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="b.txt: not UTF-8"):
        read_lines(tmp_path / "b.txt")
