"""What a result was made with: the command, versions of packages, and the state of a git checkout."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paddleseg_u2net import __version__

ENGINES = ("paddlepaddle", "paddlepaddle-gpu", "paddleseg", "onnxruntime", "openvino")
GIT_SECONDS = 20  # after which an answer of git is not waited for


def command_line() -> str:
    """The command that started this process, as a shell takes it."""
    return shlex.join(sys.orig_argv)


def package_versions() -> dict[str, str]:
    """Versions of this package, of Python, and of the engines that are installed."""
    found = {"u2net": __version__, "Python": platform.python_version()}
    for name in ENGINES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """State of the git checkout that a folder belongs to.

    Args:
        folder: any folder of the checkout that holds a file under version control.

    Returns:
        `commit`, and `dirty`: whether a file under version control was changed since. None outside of a
        checkout, and where git is not installed or refuses to answer.
    """
    if not _git(folder, "ls-files", "."):
        return None
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "-uno")
    return None if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
