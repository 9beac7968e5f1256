"""Files of a data set's folders that it does not use."""

from __future__ import annotations

from paddleseg_u2net.data.unused import NO_PAIR, may_be_lost, unused_files


def test_files_of_nested_folders_are_counted_once(tmp_path):
    for name in ("a/b/one.png", "a/two.png", "a/old.heic", "c/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = [tmp_path / name for name in ("a/b", "a", "c", "gone", "c/../a")]
    unused = unused_files(folders, [tmp_path / "c" / ".." / "a" / "two.png"])
    assert {reason: [path.name for path in paths] for reason, paths in unused.items()} == {
        NO_PAIR: ["one.png"],
        "not read (HEIC image)": ["old.heic"],
        "not an image": ["notes.txt"],
    }
    assert list(may_be_lost(unused)) == ["not read (HEIC image)"]
