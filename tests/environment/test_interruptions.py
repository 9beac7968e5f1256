"""Signals and unwritable output: how a command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support import environment

from paddleseg_u2net.cli import app

COMMAND = [sys.executable, "-m", "paddleseg_u2net"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("swallowed", [False, True])
def test_a_signal_ends_a_command_with_one_line(capfd, number, code, swallowed):
    def command():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            if not swallowed:
                raise
            print("advice of a library", file=sys.stderr)  # as `import paddle` does
            raise ImportError("initialization failed") from error

    handlers, stderr = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], sys.stderr
    assert app.guarded(command) == code
    assert capfd.readouterr().err == "Interrupted\n"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert sys.stderr is stderr


def test_a_child_process_ends_as_without_a_handler(capfd):
    def command():
        if not (child := os.fork()):
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM

    assert app.guarded(command) == 0


@pytest.mark.parametrize(
    ("words", "redirect", "code", "error"),
    [
        ("--help", "| true", 141, ""),
        (
            "--help",
            "> /dev/full",
            1,
            "error: stdout: No space left on device: lines are lost. Fix: write it to",
        ),
        ("--help", ">&-", 0, ""),
        ("--version", "2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written(words, redirect, code, error):
    line = f"set -o pipefail; {' '.join(COMMAND)} {words} {redirect}"
    outcome = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment())
    assert outcome.returncode == code
    assert outcome.stderr.startswith(error)
    assert bool(outcome.stderr) == bool(error)


def test_terminals_without_our_letters_and_of_one_column(monkeypatch):
    changes = {"PYTHONIOENCODING": "ascii", "COLUMNS": "1"}
    outcome = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, env=environment(**changes))
    assert outcome.returncode == 0
    assert r"U\xb2-Net" in outcome.stdout
