"""Ctrl-C, SIGTERM and closed pipes while a command runs: how it ends, and its exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BROKEN_PIPE = 128 + 13  # exit code of a program that SIGPIPE ends


class Interruption:
    """The signal that asked this process to end, if any.

    It raises `KeyboardInterrupt`, so that files that are being written are removed. Libraries turn that into
    errors of their own, as `import paddle` into ImportError; `code` tells that they are none.
    """

    code: int | None = None  # exit code: 130 for SIGINT, 143 for SIGTERM
    nothing: TextIO | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt; a second signal ends the process at once."""
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != self.process:  # a child process, which ends as it would without a handler
            os.kill(os.getpid(), number)
            return
        self.code = 128 + number
        # libraries print advice about their own failure
        sys.stderr = self.nothing = open(os.devnull, "w")  # noqa: SIM115 - `watched` closes it
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals in the block; in another thread than the main one nothing changes."""
        self.process, stderr = os.getpid(), sys.stderr
        before = {}
        if threading.current_thread() is threading.main_thread():
            ignored = {n for n in SIGNALS if signal.getsignal(n) is signal.SIG_IGN}  # as nohup leaves them
            before = {n: signal.signal(n, self.handle) for n in SIGNALS if n not in ignored}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self.nothing is not None and sys.stderr is self.nothing:
                sys.stderr = stderr
                self.nothing.close()


def handle_again() -> None:
    """Install Python's handlers again, after a library has replaced them beneath Python."""
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


class LogHandler(logging.StreamHandler):
    """Logs to stdout; lines that cannot be written are lost, and the command goes on."""

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:
        """Remember the first failure, for `close_output`; other errors are mistakes of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        self.failure = self.failure or (error if isinstance(error, OSError) else None)


def log_to_stderr() -> None:
    """Leave stdout to the result of a command."""
    for handler in logging.getLogger("paddleseg_u2net").handlers:
        if isinstance(handler, LogHandler):
            handler.setStream(sys.stderr)


def open_output() -> None:
    """Let text that the encoding of the terminal lacks be escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def close_output(failure: OSError | None = None) -> OSError | None:
    """Write out what is still buffered; returns why stdout cannot be written, or None if it can.

    Args:
        failure: an earlier one.
    """
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        failure = failure or error
    if failure is not None and sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # else Python reports it again when it ends
    return failure
