"""What exceptions of libraries say, in one line for users."""

from __future__ import annotations

import re

from paddleseg_u2net.environment.memory import available_memory
from paddleseg_u2net.errors import printable

SHOWN, OWN = 300, 2000  # characters of a library's message, and of one of ours, which ends with a fix
OPENCV = re.compile(r"^OpenCV\([^)]*\) \S+ error: \(-?\d+:([^)]*)\) (.*)$")
PADDLE = re.compile(r"(?:ResourceExhausted|[A-Z]\w+)Error: (.*?)(?: Please check| \[Hint| \(at |$)")


def reason(error: BaseException) -> str:
    """What went wrong, in one printable line without places in a library's source.

    Args:
        error: any exception. For one that means too little memory, the line says how much is free.
    """
    text = " ".join(str(error).split())
    if found := OPENCV.match(text):
        text = f"OpenCV: {found[1]}: {found[2]}"
    elif "C++ Traceback" in text and (named := PADDLE.search(text)):
        text = named[1]
    if len(text) > (SHOWN if "Fix: " not in text else OWN):
        text = f"{text[:SHOWN]}…"
    if is_memory(error):
        return ": ".join(filter(None, [f"not enough memory ({free_memory()})", printable(text)]))
    if isinstance(error, (OSError, ValueError)):
        return printable(text) or type(error).__name__
    return printable(f"{type(error).__name__}: {text}" if type(error).__module__ == "builtins" else text)


def is_memory(error: BaseException) -> bool:
    """Whether an exception means that memory could not be allocated."""
    return isinstance(error, MemoryError) or "Insufficient memory" in str(error)


def free_memory() -> str:
    """How much memory is free, in words: `1.2 GiB are free`."""
    free = available_memory()
    return "how much is free is not known" if free is None else f"{free / 2**30:.1f} GiB are free"
