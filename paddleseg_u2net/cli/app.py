"""`python -m paddleseg_u2net train|val|predict …`, which train.py, val.py and predict.py are short for.

Light, so that even a missing package ends in one clear line.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.environment.optional_imports import missing, quiet

LINE = "%(asctime)s [%(levelname)s]\t%(message)s"
COMMANDS = {
    name: name.replace("-", "_")
    for name in (
        "train",
        "val",
        "predict",
        "export",
        "evaluate",
        "make-dataset",
        "check-dataset",
        "prepare",
        "convert-weights",
        "benchmark",
        "demo",
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the command's name and its flags; None takes those of this process.

    Returns:
        The exit code: 0, 1 for a fault, 2 for wrong flags, 130 where it was interrupted.
    """
    name, *flags = list(sys.argv[1:] if argv is None else argv) or [""]
    if name not in COMMANDS:
        print(f"usage: u2net {'|'.join(COMMANDS)} …   (--help after one of them tells more)")
        return 0 if name in ("-h", "--help") else 2

    def command() -> int:
        configure_log(every_rank=name == "predict")  # there each rank has images of its own
        return importlib.import_module(f"paddleseg_u2net.cli.{COMMANDS[name]}").main(flags)

    return guarded(command)


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command; faults of the user's input become one message on stderr.

    Returns:
        Its exit code; 1 for a fault, 130 where it was interrupted. `U2NET_DEBUG=1` shows the traceback.
    """
    quiet()
    try:
        return command() or 0
    except ModuleNotFoundError as error:
        line = missing(error)
        if line is None:
            raise
        return _fail(line)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        return _fail(error)
    except MemoryError:
        return _fail("not enough memory. Fix: a smaller batch, image or --scales")
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130


def _fail(error: BaseException | str) -> int:
    if os.environ.get("U2NET_DEBUG") and isinstance(error, BaseException):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return 1


def configure_log(every_rank: bool = False, line: str = LINE) -> None:
    """PaddleSeg's line format, on stdout; of several processes the first alone speaks, or every one."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(line, "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("paddleseg_u2net")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if every_rank or this_rank().index == 0 else logging.ERROR)
