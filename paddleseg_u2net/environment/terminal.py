"""What is printed: file names and contents cannot move the cursor of a terminal, colour or retitle it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paddleseg_u2net.errors import terminal_safe

PROGRESS = re.compile(r"\n*(?:\x1b\[A)*|\r?(.*?)\r?", re.DOTALL)  # what tqdm writes at once


class SafeStream:
    """A text stream whose text is `terminal_safe`.

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
            safe = text[:start] + terminal_safe(bar[1]) + text[end:]
        else:
            safe = text if bar else terminal_safe(text)
        self.stream.write(safe)
        return len(text)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make what the block prints to stdout and stderr safe; see `SafeStream`."""
    before = sys.stdout, sys.stderr
    # a program that was started with closed files has None
    sys.stdout, sys.stderr = (stream and SafeStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
