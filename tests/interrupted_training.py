"""A training in a process of its own, which can be interrupted in several ways and observed."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PHASES = ("starting", "loading", "step", "saving", "evaluating")
PATIENCE = 300  # seconds after which a process hangs


# "forkserver" saves the seconds of importing Paddle, and forks a process that has no threads
CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["paddleseg_u2net.training.trainer", "support"]


class Child:
    """A command in a process of its own, whose output and phase this process reads.

    Args:
        words: subcommand of `u2net`, and its flags.
        file_size: bytes beyond which writing to a file fails; None for no limit.
    """

    def __init__(self, words: Sequence[str | Path], file_size: int | None = None):
        self._phase = CONTEXT.RawValue("b", 0)
        self._reader, writer = CONTEXT.Pipe(duplex=False)
        CONTEXT.set_forkserver_preload(PRELOADED)
        arguments = ([*map(str, words)], self._phase, writer, file_size)
        self._process = CONTEXT.Process(target=_child, args=arguments)
        self._process.start()
        writer.close()
        self.pid, self.output = self._process.pid or 0, b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while part := os.read(self._reader.fileno(), 1 << 16):
            self.output += part

    @property
    def phase(self) -> str:
        """One of PHASES; of a process that ended, the last one."""
        return PHASES[self._phase.value]

    @property
    def workers(self) -> list[int]:
        """Processes that it has started."""
        return [pid for pid in _group(self.pid) if pid != self.pid]

    def running(self, until: Callable[[], bool]) -> bool:
        """Wait until a condition holds; returns False if the process ended before."""
        while self._process.is_alive():
            if until():
                return True
            time.sleep(0.001)
        return False

    def finish(self) -> tuple[int, str, list[int]]:
        """Wait for the end; returns the exit code, the output, and the workers that outlived it."""
        limit = time.monotonic() + PATIENCE
        if self.running(lambda: time.monotonic() > limit):
            os.killpg(self.pid, signal.SIGKILL)
            self.output += f"\nIt hung for {PATIENCE} seconds".encode()
            self._process.join()
        limit = time.monotonic() + 2
        while (left := _group(self.pid)) and time.monotonic() < limit:
            time.sleep(0.01)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self._thread.join()
        self._reader.close()
        return self._process.exitcode or 0, self.output.decode(errors="replace"), left


def _group(leader: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text().rsplit(")", 1)[1].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


def _child(words: list[str], phase: Any, writer: Connection, file_size: int | None) -> None:
    os.setsid()  # workers that outlive this process are found by its group
    for stream in (1, 2):
        os.dup2(writer.fileno(), stream)
    writer.close()
    for name, stream in (("stdout", 1), ("stderr", 2)):  # these were files, perhaps
        setattr(sys, name, io.TextIOWrapper(io.FileIO(stream, "w", closefd=False), write_through=True))
    multiprocessing.set_start_method("fork", force=True)  # as in any other command
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    sys.exit(_command(words, phase))


def _command(words: list[str], phase: Any) -> int:
    """`u2net` in this process; keeps the number of a training's phase in `phase`."""
    from paddleseg_u2net.cli.app import main
    from paddleseg_u2net.models import checkpoint
    from paddleseg_u2net.training import records
    from paddleseg_u2net.training.trainer import Trainer

    def track(owner: Any, name: str, during: str) -> None:
        function = getattr(owner, name)

        def tracked(*args, **options):
            before, phase.value = phase.value, PHASES.index(during)
            found = function(*args, **options)
            phase.value = before
            return found

        setattr(owner, name, tracked)

    records.draw_curves = lambda path, rows, metric: path.touch()  # drawing takes longer than all else
    for name, during in (("run", "loading"), ("step", "step"), ("evaluate", "evaluating")):
        track(Trainer, name, during)
    for name in ("save_checkpoint", "prune_checkpoints", "save_best", "save_progress"):
        track(checkpoint, name, "saving")
    try:
        return main(words)
    except BaseException:  # what `main` does not expect is a fault too
        traceback.print_exc()
        return 70


class Interruption(NamedTuple):
    """A row of INTERRUPTIONS.

    Args:
        act: interrupts a child; the path is the folder of its run.
        ended: whether exit code and output are those of a run that was interrupted so.
    """

    act: Callable[[Child, Path, np.random.Generator], None]
    ended: Callable[[int, str], bool]


def _kill(child: Child, folder: Path, rng: np.random.Generator) -> None:
    os.kill(child.pid, signal.SIGKILL)


def _kill_worker(child: Child, folder: Path, rng: np.random.Generator) -> None:
    """Kill a process that loads data, as the system does when memory runs out; without one, the training."""
    os.kill(int(rng.choice(child.workers or [child.pid])), signal.SIGKILL)


def _terminate(child: Child, folder: Path, rng: np.random.Generator) -> None:
    os.kill(child.pid, signal.SIGTERM)


def _limit_files(child: Child, folder: Path, rng: np.random.Generator) -> None:
    """Let no file grow beyond a random size below that of the weights."""
    size = int(rng.integers(1, 4 << 20))
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _fill_disk(child: Child, folder: Path, rng: np.random.Generator) -> None:
    """Leave less room than a checkpoint needs; `remove_ballast` frees it again."""
    fill(folder.parent, int(rng.integers(0, 8 << 20)))


def fill(disk: Path, room: int) -> None:
    """Leave so many bytes on a disk, by a file that `remove_ballast` removes."""
    with (disk / "ballast").open("wb") as file:
        while True:
            found = os.statvfs(disk)
            with contextlib.suppress(OSError):  # the training has written in the meantime
                os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - room, 1))
                return


def remove_ballast(folder: Path) -> None:
    """Undo `fill` for the disk that a folder is directly in."""
    (folder.parent / "ballast").unlink(missing_ok=True)


def _disk_error(code: int, output: str) -> bool:
    return code == 1 and "cannot be written" in output.strip().splitlines()[-1]


def _worker_named(code: int, output: str) -> bool:
    return code == -signal.SIGKILL or (code == 1 and "error: A process that loads data died" in output)


INTERRUPTIONS = {
    "SIGKILL": Interruption(_kill, lambda code, _: code == -signal.SIGKILL),
    "SIGKILL of a worker": Interruption(_kill_worker, _worker_named),
    # before the command has started, SIGTERM ends the process as it ends any other
    "SIGTERM": Interruption(_terminate, lambda code, _: code in (128 + signal.SIGTERM, -signal.SIGTERM)),
    "file size limit": Interruption(_limit_files, _disk_error),
    "full disk": Interruption(_fill_disk, _disk_error),
}
