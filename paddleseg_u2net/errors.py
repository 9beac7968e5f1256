"""Exceptions of the project, and faults as data: where, what, and how to fix it."""

from __future__ import annotations

import difflib
import re
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
        where, what = printable(self.where), terminal_safe(self.what)
        text = f"{where}: {what}" if where else what
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


class LockedError(OSError):
    """A folder or file that another process is writing; the message names that process."""


class DownloadError(OSError):
    """A file that could not be fetched, or is not the expected one."""


class MissingPackage(ImportError):
    """An optional package that is not installed; the message is the command that installs it."""


# cursor and title sequences, lone surrogates, line separators, and letters that reverse the text after them
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")


def terminal_safe(text: str) -> str:
    r"""Text of several lines with `\x1b` for an escape character and the like.

    Letters of all scripts stay, also those written from right to left and joined by invisible characters.
    """
    return UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], text)


def printable(text: str) -> str:
    r"""Text of one line: as `terminal_safe`, with `\n` for a line feed, so that it cannot forge a line."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, and with a verb if both forms have one: `1 mask is`, `2 masks are`.

    Args:
        number: 0 or more.
        one: what follows 1.
        many: what follows any other number; by default `one` with an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def suggest(wrong: object, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the known names where none is close."""
    known = list(known)
    near = difflib.get_close_matches(str(wrong), known, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}"
