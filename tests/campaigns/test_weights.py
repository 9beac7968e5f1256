"""Hostile and damaged weight files: nothing runs, nothing else is read, each is refused in a line or read."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import Campaign
from hostile_weights import damaged, hostile, real_files
from support import SHARED, environment

SECONDS, MEMORY = 20, 3 << 30  # most of processor time and of memory that one file may take
# Reads the files whose paths come on stdin and prints what came of each; an audit hook sees what Python does.
READER = """
import json, os, resource, sys, time
import numpy as np
from paddleseg_u2net.errors import printable
from paddleseg_u2net.models.pretrained import read_weights
seen, watching = [], False
ALLOWED = (os.getcwd(), "/proc/meminfo", "/sys/fs/cgroup/memory.")  # messages say how much memory is free
FORBIDDEN = (
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.kill", "os.remove", "os.rename"),
    *("os.putenv", "os.listdir", "os.mkdir", "subprocess.Popen", "socket.", "shutil.", "pickle.find_class"),
    *("ctypes.dlopen", "pty.spawn", "webbrowser.open", "urllib.Request", "code.__new__", "marshal."),
)
def hook(event, arguments):
    if watching and event.startswith(FORBIDDEN):
        seen.append(event)
    elif watching and event == "open" and isinstance(arguments[0], str):
        writes = arguments[1] and arguments[1] not in ("r", "rb")
        code = arguments[0].endswith((".py", ".pyc")) or "site-packages" in arguments[0]
        if writes or not (code or os.path.abspath(arguments[0]).startswith(ALLOWED)):
            seen.append(f"open {arguments[0]}")
sys.addaudithook(hook)
for line in sys.stdin:
    number, path = json.loads(line)
    if path is None:  # all readers are imported: limit memory from here on
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        continue
    seen.clear()
    started, watching = time.process_time(), True
    fault, outcome = None, "refused"
    try:
        state = read_weights(path)
        outcome = "read"
        if any(np.any(array == 1234.5) for array in state.values() if array.dtype.kind == "f"):
            fault = "read a file outside"
        names = [name for name in state if not name.isprintable()]
        fault = fault or (f"names that are not printable: {names[0]!r}" if names else None)
        del state
    except (ValueError, OSError) as error:
        text = str(error)
        if not text.isprintable() or len(text) > 2000 or printable(os.path.basename(path)) not in text:
            fault = f"message: {text[:300]!r}"
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"[:300]
    watching = False
    seconds = time.process_time() - started
    fault = fault or (f"did {seen[0]}" if seen else None) or ("ran code" if os.path.exists("RAN") else None)
    fault = fault or (f"took {seconds:.0f} s" if seconds > SECONDS else None)
    print(json.dumps([number, outcome, fault]), flush=True)
"""


def read_all(files: list[Path], folder: Path, warm: list[Path]) -> dict[int, tuple[str, str | None]]:
    """What came of each file, read by one child process after another; another starts where one died."""
    reader = READER.replace("SECONDS", str(SECONDS)).replace("MEMORY", str(MEMORY))
    found: dict[int, tuple[str, str | None]] = {}
    while len(found) < len(files):
        rest = [number for number in range(len(files)) if number not in found]
        lines = [(-1, str(path)) for path in warm] + [(-1, None)] + [(n, str(files[n])) for n in rest]
        child = subprocess.run(
            [sys.executable, "-c", reader],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment(),
        )
        for number, outcome, fault in map(json.loads, child.stdout.splitlines()):
            if number >= 0:
                found[number] = (outcome, fault)
        if child.returncode:
            first = next(number for number in rest if number not in found)
            found[first] = ("ended", f"ended the process: {child.returncode} {child.stderr[-300:]}")
    return found


@pytest.mark.slow
def test_hostile_weight_files(request, tmp_path):
    campaign = Campaign("weights", request)
    real = real_files(SHARED)
    cases = list(hostile(tmp_path)) + list(damaged(real, 8))
    assert len(cases) >= 214
    folder, paths, names = tmp_path / "files", [], []
    folder.mkdir()
    for number, (name, content) in enumerate(cases[: campaign.size(len(cases))]):
        paths.append(folder / f"w{number:03}.bin")
        paths[-1].write_bytes(content)
        names.append(name)
    for name, path in special_files(folder):
        paths.append(path)
        names.append(name)
    warm = [folder / name for name in real]
    for path, content in zip(warm, real.values(), strict=True):
        path.write_bytes(content)
    found = read_all(paths, folder, warm)
    for number, name in enumerate(names):
        campaign.record(name, found[number][1])
    campaign.finish()


def special_files(folder: Path) -> list[tuple[str, Path]]:
    """Paths that are no regular files, in a folder."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    for name, target in (
        ("dangling", "nothing"),
        ("loop", "loop"),
        ("zero", "/dev/zero"),
        ("tty", "/dev/tty"),
    ):
        (folder / name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "socket"))
    (folder / "unreadable").write_bytes(b"")
    (folder / "unreadable").chmod(0)
    names = ("pipe", "folder", "dangling", "loop", "zero", "tty", "socket", "unreadable", "nul\0", "n" * 300)
    return [(f"path {name[:12]!r}", folder / name) for name in names]
