"""Child processes that run commands, and how much time and memory they take."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

STARTER = "U2NET_STARTER"  # process that started this one and with which it is to end
LAUNCHED = "PADDLE_RANK_IN_NODE"  # set by paddle.distributed.launch alone
POLL_SECONDS = 1.0
RUN_MODULE = """
import runpy, sys
from paddleseg_u2net.environment.processes import end_with_starter
end_with_starter()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def u2net_command(*words: str | Path) -> list[str]:
    """The command line that runs `u2net` with some flags, by the Python of this process."""
    return [sys.executable, "-m", "paddleseg_u2net", *map(str, words)]


def module_command(module: str, *words: str | Path) -> list[str]:
    """The command line `python -m module …`, in a process that ends with this one; as `u2net_command`."""
    return [sys.executable, "-c", RUN_MODULE, module, *map(str, words)]


def u2net_environment() -> dict[str, str]:
    """The variables that `u2net_command` and `module_command` need.

    With them these commands find this package from any folder, installed or not, and end with this process.
    """
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), STARTER: str(os.getpid())}


class Outcome(NamedTuple):
    """What a process took and printed.

    Args:
        seconds: wall-clock time.
        peak_mib: largest resident memory, MiB.
        text: stdout and stderr.
    """

    seconds: float
    peak_mib: float
    text: str


def run_measured(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command to its end and measure it.

    Args:
        command: program and arguments.
        environment: variables added to those of this process.

    Raises:
        OSError: it failed; the message ends with its last output.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)  # `wait4` has taken it from Popen
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise OSError(f"{command[0]}: exit code {child.returncode}: {text[-500:]}")
    return Outcome(seconds, usage.ru_maxrss / 1024, text)


def start_worker(_worker: int = 0) -> None:
    """Let this worker process of `multiprocessing` end with its parent, and escape what it prints."""
    from paddleseg_u2net.environment.terminal import escape_output  # predicting does without it

    escape_output()
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    # for the system that server is the parent; and Windows keeps the number of a parent that has ended
    if multiprocessing.get_start_method() == "forkserver" or sys.platform == "win32":
        _in_thread(lambda: (parent.join(), _end()))
    else:
        end_with_parent(parent.pid)


def end_with_starter() -> None:
    """Let this command end with the command, or the rank with the launcher, that started it."""
    starter = os.environ.pop(STARTER, "")  # children of this process have another
    if starter.isdecimal():
        end_with_parent(int(starter))
    elif LAUNCHED in os.environ:
        end_with_parent(os.getppid())


def end_with_parent(parent: int) -> None:
    """Kill this process as soon as its parent has ended, even if that was killed.

    On Linux the system does so, also when the thread that started this process ends. Elsewhere a thread of
    this process looks for the parent once a second, which finds nothing on Windows.

    Args:
        parent: process id; if it is another's by now, the parent has ended already.
    """
    if not _killed_by_system():
        _in_thread(lambda: _watch(parent))
    elif os.getppid() != parent:
        _end()


def _killed_by_system() -> bool:
    """Ask Linux to kill this process when its parent ends; False where that is not possible."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(1, signal.SIGKILL) == 0  # PR_SET_PDEATHSIG
    return False


def _in_thread(function: Callable[[], object]) -> None:
    threading.Thread(target=function, daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    _end()


def _end() -> None:
    """End this process at once."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # the same on Windows


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB.

    `getrusage` would include what the parent process had when it started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
