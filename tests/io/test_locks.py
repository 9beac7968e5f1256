"""One process at a time writes a folder; the error names it; a dead process is no obstacle."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from support import environment

from paddleseg_u2net.errors import DiskError, LockedError
from paddleseg_u2net.io import locks
from paddleseg_u2net.io.files import LOCK, prune_cache
from paddleseg_u2net.io.listing import list_files
from paddleseg_u2net.io.locks import file_lock, folder_lock, lock_file, path_lock

HOLD = """
import os, sys, time
from pathlib import Path
from paddleseg_u2net.io.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    if "fork" in sys.argv and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    if "exec" in sys.argv:
        import subprocess
        print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(folder: Path, *words: str):
    """A process that holds the lock of a folder until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(folder), *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        try:
            assert process.stdout
            process.lines = [process.stdout.readline().strip() for _ in range(2 if words else 1)]
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_thread_at_a_time_holds_a_lock_and_removes_the_file(tmp_path):
    """Also after the previous holder removed the file that a waiting one has open."""
    lock, inside, most = tmp_path / "lock", [], []

    def work():
        with file_lock(lock, tmp_path):
            inside.append(1)
            most.append((len(inside), lock.exists()))
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [(1, True)] * 5
    assert not list(tmp_path.iterdir())


def test_error_names_the_other_process_and_a_fix_that_works(tmp_path):
    folder, link = tmp_path / "run", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with holder(folder) as process:
        here = os.path.relpath(folder)
        for name in (folder, link, Path(here), folder / ".." / "run"):
            with pytest.raises(LockedError) as error, folder_lock(name):
                pass
            who = rf"process {process.pid} on {re.escape(socket.gethostname())} \(.*python.* -c .*\)"
            since = r"has been writing here since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
            fix = "Fix: wait until it ends, or choose another --save_dir"
            assert re.fullmatch(rf"{re.escape(str(name))}: {who} {since}\. {fix}", str(error.value)), error
        with folder_lock(tmp_path / "other"):  # the one fix
            assert names(tmp_path / "other") == [LOCK]
        process.communicate("")  # the other one
    with folder_lock(link):
        assert names(folder) == [LOCK]
    assert not names(folder)


@pytest.mark.parametrize("child", ["", "fork", "exec"])
def test_killed_process_leaves_no_lock_even_if_its_children_live(tmp_path, child):
    with holder(tmp_path, *filter(None, [child])) as process:
        pid = next((int(line) for line in process.lines if line.isdecimal()), None)
        process.kill()
        process.wait()
        assert names(tmp_path) == [LOCK]
        with folder_lock(tmp_path):
            pass
        if pid:
            os.kill(pid, signal.SIGKILL)  # ProcessLookupError if it had ended
    assert not names(tmp_path)


def test_child_that_leaves_the_block_does_not_end_the_lock(tmp_path):
    parent, code = os.getpid(), 1
    try:
        with folder_lock(tmp_path):
            pid = os.fork()
            if pid == 0:
                raise KeyboardInterrupt
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with pytest.raises(LockedError), folder_lock(tmp_path):
                pass
    except KeyboardInterrupt:
        code = 0
    finally:
        if os.getpid() != parent:
            os._exit(code)
    assert code == 0
    assert not names(tmp_path)


def test_nested_folders_have_locks_of_their_own(tmp_path):
    with folder_lock(tmp_path), folder_lock(tmp_path / "result"), path_lock(tmp_path / "exported"):
        assert names(tmp_path) == [".exported.u2net.lock", LOCK, "result"]
    assert not names(tmp_path)  # the empty folder neither


def test_path_has_one_lock_under_all_its_names(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with path_lock(tmp_path / "set"):
        for name in (tmp_path / "link" / "set", tmp_path / "x" / ".." / "set"):
            with (
                pytest.raises(LockedError, match="Fix: wait until it ends, or rename"),
                path_lock(name, "rename"),
            ):
                pass
    assert len(lock_file(tmp_path / ("é" * 127)).name.encode()) < 255
    with path_lock(tmp_path / "new" / "folder" / "set"):
        (tmp_path / "new" / "folder" / "set").mkdir()
    assert names(tmp_path / "new" / "folder") == ["set"]


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    for name in (".set.1a2b3c4d.part", ".other.1a2b3c4d.part"):
        (tmp_path / name).mkdir()
    with path_lock(tmp_path / "set"):
        assert names(tmp_path) == [".other.1a2b3c4d.part", ".set.u2net.lock"]


def test_lock_that_is_no_regular_file_is_refused_and_left_alone(tmp_path):
    folder, mine = tmp_path / "run", tmp_path / "mine"
    folder.mkdir()
    mine.write_text("mine")
    lock = folder / LOCK
    for make in (
        lock.mkdir,
        lambda: lock.symlink_to(mine),
        lambda: os.link(mine, lock),
        lambda: os.mkfifo(lock),
    ):
        make()
        with (
            pytest.raises(OSError, match=r"\.u2net\.lock: is no lock file of this program\. Fix: remove it"),
            folder_lock(folder),
        ):
            pass
        assert mine.read_text() == "mine"
        lock.rmdir() if lock.is_dir() else lock.unlink()
        with folder_lock(folder):
            pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux only")
def test_path_that_cannot_be_created_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/proc/\.set\.u2net\.lock"), path_lock(Path("/proc/set")):
        pass
    with pytest.raises(OSError, match=r"/proc/run: cannot be written to"), folder_lock(Path("/proc/run")):
        pass


def test_lock_without_a_record_is_respected(tmp_path):
    with folder_lock(tmp_path):
        for content in (b"", b"\xff", b"[]", b'{"pid": 1}', b"[" * 5000):
            (tmp_path / LOCK).write_bytes(content)
            with pytest.raises(LockedError, match="another process is writing here"), folder_lock(tmp_path):
                pass
        (tmp_path / LOCK).write_text('{"pid": "1\\n\\u001b[2J", "host": "h", "since": 1, "command": "c"}')
        with (
            pytest.raises(LockedError, match=re.escape(r"process 1\n\x1b[2J on h (c)")),
            folder_lock(tmp_path),
        ):
            pass


@pytest.fixture
def other_user():
    """A folder of root's, and this process as another user."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_folder_that_is_read_only_is_named_with_a_fix(other_user):
    with pytest.raises(OSError, match=r"cannot be written to \(Permission.*Fix: .*--save_dir"):
        folder_lock(other_user).__enter__()
    with pytest.raises(DiskError, match=r"set: cannot be written .*Fix: free some space, or choose"):
        path_lock(other_user / "set").__enter__()


def test_lock_file_that_a_killed_process_of_another_user_left_is_no_obstacle(other_user):
    os.seteuid(0)
    other_user.chmod(0o777)
    (other_user / LOCK).write_text("left")
    (other_user / LOCK).chmod(0o644)
    os.seteuid(65534)
    with (
        folder_lock(other_user),
        pytest.raises(LockedError, match="another process"),
        folder_lock(other_user),
    ):
        pass
    assert not names(other_user)


def test_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level("WARNING", "paddleseg_u2net"), folder_lock(tmp_path):
        pass
    assert re.search(
        r"this file system has no locks \(No locks available\).*Fix: start one command", caplog.text
    )
    assert not names(tmp_path)


def test_first_rank_holds_the_lock_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with folder_lock(tmp_path):
        monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
        with folder_lock(tmp_path):
            pass
        assert names(tmp_path) == [LOCK]


def test_lock_file_is_not_counted_as_content_and_not_pruned(tmp_path):
    with folder_lock(tmp_path), path_lock(tmp_path / "set"):
        assert not list_files(tmp_path).unused
        for name in ("old", "new"):
            (tmp_path / name).write_bytes(b"12")
            time.sleep(0.01)
        prune_cache(tmp_path, 2)
        assert names(tmp_path) == [".set.u2net.lock", LOCK, "new"]


def test_lock_file_that_was_removed_is_created_again(tmp_path, monkeypatch):
    """As if the previous holder ended between opening the file and locking it."""
    lock, real = tmp_path / LOCK, locks._try
    monkeypatch.setattr(locks, "_try", lambda *words: (lock.unlink(), monkeypatch.undo(), real(*words))[-1])
    with folder_lock(tmp_path):
        assert names(tmp_path) == [LOCK]
        with pytest.raises(LockedError), folder_lock(tmp_path):
            pass


def test_lock_file_of_another_process_is_not_removed(tmp_path):
    """A user removed the lock file of a first process, so that a second one could start."""
    first, second = folder_lock(tmp_path), folder_lock(tmp_path)
    first.__enter__()
    (tmp_path / LOCK).unlink()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(LockedError), folder_lock(tmp_path):
        pass
    second.__exit__(None, None, None)
    assert not names(tmp_path)


def test_record_replaces_a_longer_one_and_shortens_the_command(tmp_path, monkeypatch):
    (tmp_path / LOCK).write_text("left" * 1000)
    monkeypatch.setattr(sys, "orig_argv", ["python", "x" * 1000])
    with folder_lock(tmp_path):
        record = json.loads((tmp_path / LOCK).read_text())
    assert record["pid"] == os.getpid()
    assert record["command"] == f"python {'x' * 293} …"


def test_folder_that_another_process_removes_is_created_again(tmp_path, monkeypatch):
    real = locks._open

    def remove_first(lock):
        monkeypatch.setattr(locks, "_open", real)
        lock.parent.rmdir()
        return real(lock)

    monkeypatch.setattr(locks, "_open", remove_first)
    with path_lock(tmp_path / "new" / "set"):
        assert names(tmp_path / "new") == [".set.u2net.lock"]


def test_lock_that_is_refused_leaves_no_file_open(tmp_path):
    with folder_lock(tmp_path):
        before = set(locks._descriptors)
        with pytest.raises(LockedError), folder_lock(tmp_path):
            pass
        assert locks._descriptors == before
