"""What is printed: file names and contents cannot move the cursor of a terminal, colour or retitle it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paddleseg_u2net.errors import printable, terminal_safe

PROGRESS = re.compile(r"\n*(?:\x1b\[A)*|\r?(.*?)\r?", re.DOTALL)  # what tqdm writes at once
# a line feed before what begins a line of this program: messages hold none, but names in them may
FORGED = re.compile(r"\n(?=(?:error|warning|u2net[\w -]*): |Interrupted|\[[A-Z]+\]|\d{4}-\d\d-\d\d \d\d:)")


class SafeStream:
    """A text stream whose text is `terminal_safe`; a name that holds a line feed cannot forge a message.

    Args:
        stream: where it goes; a terminal also gets the movements of progress bars, which are written as a
            whole.
    """

    def __init__(self, stream: Any):
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        bar = PROGRESS.fullmatch(text) if self.stream.isatty() else None
        if bar and bar[1] is not None:
            start, end = bar.span(1)
            safe = text[:start] + printable(bar[1]) + text[end:]
        else:
            safe = text if bar else terminal_safe(FORGED.sub(r"\\n", text))
        self.stream.write(safe)
        return len(text)


def escape_output() -> None:
    """Make what this process prints to stdout and stderr safe from now on; see `SafeStream`."""
    # a program that was started with closed files has None; a forked worker has the streams of its parent
    sys.stdout, sys.stderr = (
        SafeStream(stream) if stream and not isinstance(stream, SafeStream) else stream
        for stream in (sys.stdout, sys.stderr)
    )


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make what the block prints to stdout and stderr safe; see `SafeStream`."""
    before = sys.stdout, sys.stderr
    escape_output()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
