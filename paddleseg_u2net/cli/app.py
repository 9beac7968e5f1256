"""The command `u2net`: its subcommands, and the set-up of the process that all of them share.

This module imports no heavy package, so that `u2net --help` is fast and a missing package is one clear line.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.environment.interruptions import (
    BROKEN_PIPE,
    Interruption,
    LogHandler,
    close_output,
    open_output,
)
from paddleseg_u2net.environment.optional_imports import missing, need, quiet
from paddleseg_u2net.environment.processes import end_with_starter
from paddleseg_u2net.environment.provenance import package_versions
from paddleseg_u2net.environment.terminal import safe_streams
from paddleseg_u2net.errors import printable, suggest

LOG_LINE = "%(asctime)s [%(levelname)s]\t%(message)s"  # PaddleSeg's
PLAIN_LINE = "%(message)s"


class Command(NamedTuple):
    """A row of COMMANDS.

    The module `paddleseg_u2net/cli/NAME.py` (with `_` for `-`) has `build_parser()`, which returns an
    `argparse.ArgumentParser`, and `main(argv)`, which returns the exit code.

    Args:
        group: heading in `u2net --help`.
        help: one line in `u2net --help`.
        log_line: format of a log line.
        every_rank_logs: of several processes every one logs, instead of the first alone.
    """

    group: str
    help: str
    log_line: str = LOG_LINE
    every_rank_logs: bool = False


TRAIN, PREDICT, REMBG, DATA, MORE = (
    "Train and measure",
    "Predict and export",
    "With the flags of rembg",
    "Data",
    "More",
)
COMMANDS = {
    "train": Command(TRAIN, "train a network on images and masks, as a YAML file describes it"),
    "val": Command(TRAIN, "measure a model on the validation images of its config"),
    "evaluate": Command(TRAIN, "measure the saliency maps of any method against masks"),
    "report": Command(TRAIN, "write a web page of a run and of results: curves, scores, worst images"),
    "predict": Command(PREDICT, "cut out, colour and map the objects of images", every_rank_logs=True),
    "portrait": Command(PREDICT, "draw faces as pencil portraits, by the published weights for it"),
    "serve": Command(PREDICT, "serve models over HTTP: cut-outs, maps, and a page for the browser"),
    "export": Command(PREDICT, "write a model as ONNX, OpenVINO or Paddle files and verify them"),
    "i": Command(REMBG, "cut out the objects of one image"),
    "p": Command(REMBG, "cut out the objects of a folder of images"),
    "d": Command(REMBG, "download published weights"),
    "prepare": Command(DATA, "download a known data set and list its images", PLAIN_LINE),
    "make-dataset": Command(DATA, "turn your own images and annotations into a data set"),
    "check-dataset": Command(DATA, "find and repair faults of a data set"),
    "average-weights": Command(MORE, "average checkpoints of one network: WiSE-FT, model soups"),
    "convert-weights": Command(MORE, "convert weights of other implementations and between formats"),
    "benchmark": Command(MORE, "measure the speed of prediction on this machine"),
    "demo": Command(MORE, "predict real photographs, then train, validate and predict"),
}
EXAMPLES = """\
  u2net predict photo.jpg                         the main object of a photograph, by published weights
  u2net train --config configs/RGB/U2Net/u2netp.yaml --do_eval
  u2net val --model_path output                   what the best model of that run scores
"""
SHELLS = ("bash", "zsh", "tcsh")
MEMORY_FLAGS = ("--batch_size", "--num_workers", "--workers", "--scales")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: name of the subcommand and its flags; None takes those of this process.

    Returns:
        The exit code: 0, 1 for a fault, 2 for wrong flags, 130 after Ctrl-C, 143 after SIGTERM, 141 if what
        reads the output has gone.
    """
    open_output()
    with safe_streams():
        return _written(argv)


def _written(argv: Sequence[str] | None) -> int:
    """Run the command that `argv` names; what cannot be written to stdout changes the exit code."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as end:  # of argparse, whose help may not have been written yet
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not (failure := close_output()):
            raise
        return _unwritten(failure)
    failure = close_output(next((h.failure for h in log_handlers()), None))
    return _unwritten(failure) if failure else code


def log_handlers() -> list[LogHandler]:
    """Those of this package's log that write to stdout."""
    return [h for h in logging.getLogger("paddleseg_u2net").handlers if isinstance(h, LogHandler)]


def _unwritten(failure: OSError) -> int:
    """Say that stdout could not be written, unless its reader has gone; returns the exit code."""
    if isinstance(failure, BrokenPipeError):
        return BROKEN_PIPE
    return _fail(f"stdout: {failure.strerror}: lines are lost. Fix: write it to another place")


def _run(words: list[str]) -> int:
    """Run the subcommand that the first word names, or the flags of `u2net` itself."""
    if words and (command := COMMANDS.get(words[0])):
        return guarded(
            lambda: command_module(words[0]).main(words[1:]),
            command.every_rank_logs,
            command.log_line,
            words[0],
        )
    if words in ([], ["--"]):
        return guarded(lambda: print(help_text())) or 2
    if not words[0].startswith("-"):
        print(f"u2net: error: {words[0]}: no such command.{suggest(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    return guarded(lambda: print(completion(build_parser().parse_args(words).print_completion)))


def command_module(name: str) -> ModuleType:
    """The module of a subcommand."""
    return importlib.import_module(f"paddleseg_u2net.cli.{name.replace('-', '_')}")


class _Print(argparse.Action):
    """Prints what `const()` returns and ends the program."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(self.const())
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net` itself, without its subcommands."""
    parser = argparse.ArgumentParser(prog="u2net", add_help=False)
    parser.add_argument(
        "-h", "--help", nargs=0, action=_Print, const=help_text, help="show the commands and exit"
    )
    parser.add_argument(
        "--version", nargs=0, action=_Print, const=version_text, help="show versions and exit"
    )
    parser.add_argument("--print-completion", choices=SHELLS, help="print a completion script for a shell")
    return parser


def help_text() -> str:
    """What `u2net --help` prints: the commands by group, one line each."""
    lines = ["usage: u2net COMMAND [flags]", "", "U²-Net: salient objects, cut-outs and segmentation."]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<17}{row.help}" for name, row in COMMANDS.items() if row.group == group]
    lines += ["", "examples:", EXAMPLES]
    lines += ["u2net COMMAND --help explains a command by examples.", "u2net --version shows versions."]
    lines += [f"u2net --print-completion {'|'.join(SHELLS)} prints a completion script for your shell."]
    return "\n".join(lines)


def version_text() -> str:
    """Versions of this package, of Python, and of the engines that are installed."""
    return "\n".join(f"{name} {number}" for name, number in package_versions().items())


def completion(shell: str) -> str:
    """A script that completes all subcommands, their flags, and paths.

    Args:
        shell: one of SHELLS.
    """
    shtab = need("shtab")
    parser = build_parser()
    commands = parser.add_subparsers()
    for name, row in COMMANDS.items():
        full = command_module(name).build_parser()
        for action in full._actions:  # argparse has no public way to list them
            if action.nargs != 0 and not action.choices:
                action.complete = shtab.FILE
        commands.add_parser(name, help=row.help, parents=[full], add_help=False)
    return shtab.complete(parser, shell=shell)


def guarded(
    command: Callable[[], int | None],
    every_rank_logs: bool = False,
    log_line: str = LOG_LINE,
    name: str = "",
) -> int:
    """Set up the process and run a command; faults of the user's input become one message on stderr.

    Args:
        command: returns the exit code, or None for 0.
        every_rank_logs: see `Command`.
        log_line: see `Command`.
        name: of the subcommand, key of COMMANDS.

    Returns:
        The exit code; 1 for a fault, see `main` for others. `U2NET_DEBUG=1` shows the traceback.
    """
    interruption = Interruption()
    try:
        with interruption.watched():
            return _with_messages(command, every_rank_logs, log_line, name, interruption)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return interruption.code or 130


def _with_messages(
    command: Callable[[], int | None],
    every_rank_logs: bool,
    log_line: str,
    name: str,
    interruption: Interruption,
) -> int:
    """See `guarded`; raises KeyboardInterrupt after a signal, whatever a library made of it."""
    try:
        end_with_starter()
        quiet()
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # OpenCV's messages do not name the file
        configure_log(every_rank_logs, log_line)
        return command() or 0
    except Exception as error:
        if interruption.code:
            raise KeyboardInterrupt from error
        return _fault(error, name)


def _fault(error: Exception, name: str) -> int:
    """Print the message of a fault of the user's input; anything else is a mistake of ours and is raised."""
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC) and not error.filename:
        return _unwritten(close_output(error) or error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "paddleseg_u2net").split(".")[0]
        if package == "paddleseg_u2net":
            raise error
        return _fail(missing(error) or f"{package} is not installed. Fix: pip install {package}")
    if isinstance(error, (ValueError, OSError, ImportError, FloatingPointError)):
        return _fail(error)
    if isinstance(error, MemoryError):
        doing = f"u2net {name}: " if name else ""
        fix = ", or ".join(["smaller images", *_memory_flags(name)])
        return _fail(f"{doing}{reason(error)}. Fix: {fix}")
    raise error


def _memory_flags(name: str) -> list[str]:
    """The flags of a subcommand whose smaller values need less memory, as advice."""
    known = command_module(name).build_parser()._option_string_actions if name else {}
    return [f"a smaller {flag}" for flag in MEMORY_FLAGS if flag in known]


def _fail(error: BaseException | str) -> int:
    if os.environ.get("U2NET_DEBUG") and isinstance(error, BaseException):
        raise error
    if isinstance(error, OSError) and error.filename and error.strerror:
        error = f"{printable(str(error.filename))}: {error.strerror}"  # without the number of the error
    print(f"error: {error}", file=sys.stderr)
    return 1


def configure_log(every_rank: bool = False, line: str = LOG_LINE) -> None:
    """Log to stdout.

    Args:
        every_rank: of several processes every one logs, instead of the first alone.
        line: format of a line.
    """
    handler = LogHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(line, "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("paddleseg_u2net")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if every_rank or this_rank().index == 0 else logging.ERROR)
