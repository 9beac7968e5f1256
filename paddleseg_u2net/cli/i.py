"""`u2net i`: cut out the objects of one image, as `rembg i` does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.other_sources import STDIN, image_source, send, stdin_content
from paddleseg_u2net.cli.rembg import is_same, model_of, output_of, rembg_parser, settings_of
from paddleseg_u2net.environment.interruptions import log_to_stderr
from paddleseg_u2net.inference.outputs import encode_output, write_output
from paddleseg_u2net.io.fetch import fetch
from paddleseg_u2net.io.locks import path_lock

EXAMPLES = """\
  u2net i photo.jpg cut.png
  u2net i photo.jpg > cut.png                     without a second name, or with -, the result goes to stdout
  u2net i - - < photo.jpg > cut.png
  u2net i -bgc 255 255 255 255 photo.jpg cut.jpg
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net i`."""
    flags = rembg_parser("i", "Cut out the objects of one image, as `rembg i` does.", EXAMPLES)
    flags.usage = "u2net i [flags] [INPUT [OUTPUT]]"
    files = flags.add_argument_group("input and output")
    files.add_argument(
        "input", nargs="?", type=image_source, default=STDIN, help="image or https address; - is stdin"
    )
    files.add_argument("output", nargs="?", type=Path, default=STDIN, help="file to write; - is stdout")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Cut out; returns the exit code."""
    args = build_parser().parse_intermixed_args(argv)
    piped = args.output == STDIN
    if piped:
        log_to_stderr()
        if sys.stdout.isatty():
            raise ValueError("stdout is a terminal. Fix: u2net i photo.jpg cut.png")
    elif isinstance(args.input, Path) and is_same(args.input, args.output):
        raise ValueError(f"{args.output}: is the image itself and would be overwritten. Fix: another name")
    settings, name = settings_of(args, Path("cut.png") if piped else args.output), output_of(args)
    source, data = args.input, None
    if source == STDIN:
        source, data = "stdin", stdin_content("u2net i")
    elif isinstance(source, str):
        data = fetch(source)
    model = model_of(args, settings)
    result = model.result(source, data)
    model.log_notes(1)
    if piped:
        send(encode_output(name, result, settings))
        return 0
    with path_lock(args.output, "choose another output"):
        write_output(name, args.output, result, settings, Path(str(source)))
    return 0
