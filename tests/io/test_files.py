"""Whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_disks import make_read_only, small_disk
from support import small_files

from paddleseg_u2net.errors import DiskError
from paddleseg_u2net.io.files import (
    atomic_bytes,
    atomic_write,
    disk_errors_named,
    remove_partial_files,
    remove_partials_of,
    require_writable,
)


def test_atomic_write_creates_the_file_when_the_block_succeeds(tmp_path):
    with atomic_write(tmp_path / "new" / "a.txt") as partial:
        partial.write_text("x")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "x"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_atomic_write_keeps_the_existing_file_on_failure(tmp_path, kind):
    target = tmp_path / "a"
    target.write_text("before") if kind == "file" else target.mkdir()

    def fail():
        with atomic_write(target) as partial:
            partial.write_text("half") if kind == "file" else partial.mkdir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert target.is_dir() or target.read_text() == "before"


def test_folder_that_cannot_be_created_is_named_with_a_fix(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"n{300}: cannot be written to \(.*Fix: choose another --save_dir"):
        require_writable(tmp_path / ("n" * 300))
    (tmp_path / "link").symlink_to("nothing")
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError, match=rf"{name}: expected a folder.*Fix: choose another -"):
            require_writable(tmp_path / name / "sub")
    require_writable(tmp_path / "fresh" / "deep")
    assert not list((tmp_path / "fresh" / "deep").iterdir())


def test_atomic_write_works_with_the_longest_name(tmp_path):
    with atomic_write(tmp_path / ("n" * 255)) as partial:
        partial.touch()
    assert [p.name for p in tmp_path.iterdir()] == ["n" * 255]


def test_remove_partial_files_removes_temporary_files_only(tmp_path):
    (tmp_path / ".iter_2.1a2b3c4d.part").mkdir()
    (tmp_path / ".a.txt.1a2b3c4d.part").touch()
    (tmp_path / "best_model").mkdir()
    (tmp_path / "best_model" / ".model.pdparams.1a2b3c4d.part").touch()
    (tmp_path / "iter_2").mkdir()
    (tmp_path / "iter_2" / ".state.json.1a2b3c4d.part").touch()
    # of other runs and commands that write here, and the user's
    kept = ["mine.part", ".movie.part", ".exported.1a2b3c4d.part", "run/.iter_2.1a2b3c4d.part", "run/.a.part"]
    for name in kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_partial_files(tmp_path, ["best_model", "iter_*", "a.txt"])
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


def test_only_the_temporary_files_of_one_path_are_removed(tmp_path):
    kept = [".a.b.1a2b3c4d.part", "a", ".a.part", ".ab.1a2b3c4d.part"]
    for name in [".a.1a2b3c4d.part", *kept]:
        (tmp_path / name).touch()
    remove_partials_of(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_folder_that_another_process_has_created_meanwhile_is_kept(tmp_path):
    def write():
        with atomic_write(tmp_path / "set") as partial:
            partial.mkdir()
            (tmp_path / "set").mkdir()
            (tmp_path / "set" / "theirs").touch()

    with pytest.raises(FileExistsError, match=r"set: was created by another process meanwhile\. Fix: remove"):
        write()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["set", "set/theirs"]


@pytest.mark.parametrize(("where", "kind"), [("a/b", DiskError), ("other", PermissionError)])
def test_disk_error_names_only_files_that_cannot_be_written(tmp_path, where, kind):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / where))
    with (
        pytest.raises(kind, match="a/set: cannot be written|other"),
        disk_errors_named(tmp_path / "a" / "set"),
    ):
        raise error


def test_disk_that_becomes_read_only_is_named_though_nothing_can_be_removed_from_it(tmp_path, monkeypatch):
    """Removing the temporary file fails too, and must not hide the first error."""

    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(DiskError, match=r"x: cannot be written \(Read-only file system\).*Fix: free some"):
        write_and(tmp_path / "x", fail)


def test_file_on_a_disk_that_becomes_read_only_stays_as_it_was(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        if not disk:
            pytest.skip("this user may not mount a file system")
        (disk / "x").write_bytes(b"before")
        with pytest.raises(DiskError, match=r"x: cannot be written \(Read-only file system\)"):
            write_and(disk / "x", lambda: make_read_only(disk))
        assert (disk / "x").read_bytes() == b"before"


def write_and(path: Path, action) -> None:
    """Write a file atomically, and call a function before it takes its place."""
    with atomic_write(path) as partial:
        partial.write_bytes(b"x")
        action()


@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
def test_picture_that_a_full_disk_takes_a_part_of_is_not_written(tmp_path, suffix):
    """Pillow writes it in one piece, and does not notice that only the first bytes of it were taken."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    with (
        small_files(3000),
        pytest.raises(DiskError, match=r"x: cannot be written \(File too large\)"),
        atomic_bytes(tmp_path / "x") as buffer,
    ):
        picture.save(buffer, suffix)
    assert list(tmp_path.iterdir()) == []
