"""What `u2net i`, `p` and `d` share: the flags of rembg's command line, on this project's code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddleseg_u2net.cli.flags import add_flags, parser
from paddleseg_u2net.cli.predict import RUN_FLAGS
from paddleseg_u2net.inference.batch import BatchPredictor
from paddleseg_u2net.inference.outputs import OutputSettings
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.rembg import SPECK, rembg_settings
from paddleseg_u2net.io.encoding import check_format, format_name
from paddleseg_u2net.models.known_weights import KNOWN

DEFAULT_MODEL = "u2netp"
GROUP = "as in rembg"
FLAGS: Mapping[tuple[str, str], dict[str, Any]] = {
    ("-m", "--model"): {
        "default": DEFAULT_MODEL,
        "help": f"{', '.join(KNOWN)}, weight file, or folder of a run or of an export (%(default)s)",
    },
    ("-om", "--only-mask"): {"action": "store_true", "help": "the saliency map instead of the cut-out"},
    ("-ppm", "--post-process-mask"): {
        "action": "store_true",
        "help": f"fill holes and drop objects of fewer than {SPECK} pixels",
    },
    ("-a", "--alpha-matting"): {
        "action": "store_true",
        "help": "add the detail of the photograph to soft edges (`u2net predict` does so by default)",
    },
    ("-dc", "--decontaminate"): {
        "action": "store_true",
        "help": "remove the background's colours from soft edges (`u2net predict` does so by default)",
    },
    ("-bgc", "--bgcolor"): {
        "nargs": 4,
        "type": int,
        "metavar": ("R", "G", "B", "A"),
        "help": "put the objects over a colour, each 0 .. 255; A is 255, or 0 for none",
    },
}


def rembg_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """The parser of one of the commands, with the flags that `i` and `p` share."""
    flags = parser(f"u2net {name}", description, examples)
    group = flags.add_argument_group(GROUP)
    for names, options in FLAGS.items():
        group.add_argument(*names, **options)
    add_flags(group, {"max_pixels": RUN_FLAGS["max_pixels"]})
    return flags


def output_of(args: argparse.Namespace) -> str:
    """The output that the flags ask for, a key of OUTPUTS."""
    return "saliency" if args.only_mask else "cutout"


def settings_of(args: argparse.Namespace, output: Path = Path("cut.png")) -> OutputSettings:
    """The settings that the flags ask for.

    Args:
        args: of `rembg_parser`.
        output: a result, whose suffix names the format.

    Raises:
        ValueError: a wrong colour, or a format that cannot hold the output.
    """
    try:
        cutout = rembg_settings(args.post_process_mask, args.alpha_matting, args.decontaminate, args.bgcolor)
    except ValueError as error:
        raise ValueError(f"-bgc {error}") from error
    name, transparent = format_name(output), not args.only_mask and cutout.background is None
    check_format(name, transparent, what=str(output), background="-bgc 255 255 255 255")
    return OutputSettings(cutout=cutout, format=name)


def model_of(args: argparse.Namespace, settings: OutputSettings, parallel: int = 1) -> BatchPredictor:
    """The model of the flags, ready to predict."""
    return BatchPredictor(Predictor(args.model, parallel=parallel), settings, args.max_pixels, parallel)


def is_same(first: Path, second: Path) -> bool:
    """Whether two paths name one existing file."""
    return first.exists() and second.exists() and first.samefile(second)
