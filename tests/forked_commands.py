"""Runs commands of `u2net` in forked processes, so that each need not import Paddle again.

Reads a line per case from stdin, `{"folder": …, "commands": [{"words": […], "after": seconds, "kill": seconds
or null}, …]}`, and answers with a line: `[[exit code, text], …]`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import onnxruntime  # noqa: F401
import paddle  # noqa: F401
import paddleseg  # noqa: F401
import support  # noqa: F401  registers TinyNet

from paddleseg_u2net.cli.app import COMMANDS, command_module, main
from paddleseg_u2net.training import records

LIMIT_S = 300


def start(folder: str, number: int, command: dict[str, Any]) -> int:
    """Fork a process that runs a command in a folder after a time; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 4
    try:
        os.chdir(folder)
        out = os.open(f"{folder}.{number}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        time.sleep(command["after"])
        code = main(command["words"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(case: dict[str, Any]) -> list[tuple[int, str]]:
    """Run the commands of a case at the same time; returns (exit code, what it printed) of each."""
    folder = case["folder"]
    pids = [start(folder, number, command) for number, command in enumerate(case["commands"])]
    timers = []
    for pid, command in zip(pids, case["commands"], strict=True):
        timers.append(threading.Timer(command.get("kill") or LIMIT_S, os.kill, (pid, signal.SIGKILL)))
        timers[-1].start()
    codes = []
    for pid, timer in zip(pids, timers, strict=True):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its number is not given to another process yet
        timer.cancel()
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    logs = [Path(f"{folder}.{number}.log") for number in range(len(pids))]
    return [(code, path.read_text(errors="replace")) for code, path in zip(codes, logs, strict=True)]


if __name__ == "__main__":
    records.draw_curves = lambda path, rows, metric: path.touch()  # drawing takes long
    cv2.setNumThreads(1)
    for name in COMMANDS:
        command_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
