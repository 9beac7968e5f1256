"""Exceptions of the project, and faults as data: where, what, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_SHOWN = 100  # faults in one message


class Fault(NamedTuple):
    """One thing that is wrong with the user's files; turned into text only where it is shown.

    Args:
        where: file, and line where there is one (`train.txt:17`).
        what: what was found and what was expected.
        fix: what to do about it; empty where `what` leaves no doubt.
    """

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        """As messages show it: `train.txt:17: expected 2 columns. Fix: …`."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. Fix: {self.fix}" if self.fix else text


class DataError(ValueError):
    """The faults of one or more data sets, all together.

    Args:
        faults: at least one.
        note: text below the faults, about all of them.
    """

    def __init__(self, faults: Sequence[Fault | str], note: str = ""):
        hidden = len(faults) - MAX_SHOWN
        more = [f"… and {hidden} more"] if hidden > 0 else []
        super().__init__("\n".join([*map(str, faults[:MAX_SHOWN]), *more, *([note] if note else [])]))
        self.faults = list(faults)


class ConfigError(ValueError):
    """A config that cannot be used; the message names the place and the fix."""


class VerificationError(ValueError):
    """An export that computes something other than the network it was made from."""


class DiskError(OSError):
    """A disk that is full or may not be written to."""


class DownloadError(OSError):
    """A file that could not be fetched, or is not the expected one."""


class MissingPackage(ImportError):
    """An optional package that is not installed; the message is the command that installs it."""


def printable(text: str) -> str:
    r"""Text from a file with `\n` for a line feed and the like, so that it cannot forge lines of a log."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, and with a verb if both forms have one: `1 mask is`, `2 masks are`.

    Args:
        number: 0 or more.
        one: what follows 1.
        many: what follows any other number; by default `one` with an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def suggest(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the known names where none is close."""
    known = list(known)
    near = difflib.get_close_matches(wrong, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}"
