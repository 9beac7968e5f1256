"""`u2net report`: one web page of runs and results."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.flags import HOW, INPUT, OUTPUT, Flags, add_group, nonempty_path, parser, small_count
from paddleseg_u2net.environment.optional_imports import require
from paddleseg_u2net.io.locks import path_lock

log = logging.getLogger(__name__)

PAGE = "report.html"
ABOUT = """\
Write one HTML page of runs, results and predictions, which needs no other file and no network.

Of a run (u2net train): learning curves, validation scores, the newest previews. Of a result (u2net val
--save_dir, u2net evaluate --save_dir): scores, precision and recall, confusion matrix, classes, and the worst
and the best images with error maps. Several results are compared. Of both: command, versions, fingerprint of
the data, config. Of predictions (the JSON of u2net predict --report): presence scores.

The pictures of images are predicted again by the model that was measured, or read from the maps: run the
command where the paths in metrics.json lead to the data. What is not there is left out and named.
"""
EXAMPLES = """\
  u2net report output
  u2net val --model_path output --save_dir output_scores
  u2net report output output_scores --output report.html
  u2net report scores_a scores_b --images 0
  u2net evaluate --pred_dir maps --label_dir data/SOD/masks --save_dir scores
  u2net report scores --image_dir data/SOD/images
"""
INPUT_FLAGS: Flags = {
    "image_dir": {
        "type": nonempty_path,
        "metavar": "FOLDER",
        "help": "photographs for results of u2net evaluate, with the names of their maps",
    },
}
OUTPUT_FLAGS: Flags = {
    "output": {
        "type": nonempty_path,
        "metavar": "FILE",
        "help": f"page to write; {PAGE} in the first folder by default. An earlier report is replaced, any "
        "other file is an error",
    },
}
HOW_FLAGS: Flags = {
    "images": {
        "type": small_count,
        "default": 4,
        "metavar": "N",
        "help": "number of the worst and of the best images of each result that are drawn (%(default)s)",
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net report`."""
    flags = parser("u2net report", ABOUT, EXAMPLES)
    inputs = add_group(flags, INPUT, INPUT_FLAGS)
    inputs.add_argument(
        "sources",
        nargs="+",
        type=nonempty_path,
        metavar="RUN_OR_RESULTS",
        help="folder of a run or of results, or a file in one; JSON of predictions",
    )
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, HOW_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code."""
    args = build_parser().parse_args(argv)
    require("jinja2")
    from paddleseg_u2net.reports.page import check_output, write_report
    from paddleseg_u2net.reports.sources import find_sources

    if args.image_dir and not args.image_dir.is_dir():
        raise FileNotFoundError(f"--image_dir {args.image_dir}: no such folder. Fix: a folder of photographs")
    sources = [source for path in args.sources for source in find_sources(path)]
    first: Path = args.sources[0]
    output = args.output or (first.parent if first.is_file() else first) / PAGE
    with path_lock(output, "choose another --output"):
        check_output(output)
        replaced = output.exists()
        for line in write_report(output, sources, _title(args.sources), args.images, args.image_dir):
            log.info("Left out: %s", line)
    log.info("Wrote %s%s", output, ", in place of an earlier report" if replaced else "")
    return 0


def _title(paths: Sequence[Path]) -> str:
    """The names of the folders."""
    names = [(path.parent if path.is_file() else path).resolve().name for path in paths]
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
