"""Child processes that run commands, and how much time and memory they take."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


def u2net_command(*words: str | Path) -> list[str]:
    """The command line that runs `u2net` with some flags, by the Python of this process."""
    return [sys.executable, "-m", "paddleseg_u2net", *map(str, words)]


def u2net_environment() -> dict[str, str]:
    """The variables that let `u2net_command` find this package from any folder, installed or not."""
    paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


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


def end_with_parent(_worker: int = 0) -> None:
    """Let the system kill this process when its parent ends, even if that is killed; works on Linux alone.

    Paddle's worker processes would wait for work forever.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB.

    `getrusage` would include what the parent process had when it started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
