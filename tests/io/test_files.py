"""Whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
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
    file_lock,
    remove_partial_files,
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
    with pytest.raises(OSError, match=r"file/sub: cannot be written to .*Fix: choose another --save_dir"):
        require_writable(tmp_path / "file" / "sub")
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
    for name in ("mine.part", ".movie.part"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == [".movie.part", "best_model", "mine.part"]


@pytest.mark.parametrize(("where", "kind"), [("a/b", DiskError), ("other", PermissionError)])
def test_disk_error_names_only_files_that_cannot_be_written(tmp_path, where, kind):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / where))
    with (
        pytest.raises(kind, match="a/set: cannot be written|other"),
        disk_errors_named(tmp_path / "a" / "set"),
    ):
        raise error


def test_file_lock_is_exclusive_and_removed_afterwards(tmp_path):
    """Also after the previous holder removed the file that a waiting process has open."""
    lock, inside, most = tmp_path / "lock", [], []

    def work():
        with file_lock(lock):
            inside.append(1)
            most.append((len(inside), lock.exists()))
            threading.Event().wait(0.02)
            inside.pop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [(1, True)] * 5
    assert not list(tmp_path.iterdir())


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
