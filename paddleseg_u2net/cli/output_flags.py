"""Flags of `u2net predict` for what is written, and their conversion to `OutputSettings`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from paddleseg_u2net.cli.flags import MAP_FLAGS, Flags, add_group, non_negative_float, positive_int
from paddleseg_u2net.inference.outputs import OUTPUTS, USUAL, OutputSettings, check_outputs
from paddleseg_u2net.inference.result import CutoutSettings
from paddleseg_u2net.io.encoding import FORMATS
from paddleseg_u2net.matting.ground import Background, Margin
from paddleseg_u2net.matting.shapes import THRESHOLDS, check_growth, parse_threshold

T = TypeVar("T")


def _or_usage_error(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A type of argparse that shows the message of a ValueError without the flag, which argparse names."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def quality(text: str) -> int:
    """Convert the value of --quality: 1 to 100."""
    value = positive_int(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"expected 1 to 100, got {value}")
    return value


FILE_FLAGS: Flags = {
    "save_dir": {"type": Path, "default": "./output/result", "help": "folder of the results (%(default)s)"},
    "outputs": {
        "help": f"kinds of results, separated by commas: {', '.join(OUTPUTS)} (the first {len(USUAL)}; of an "
        "image on stdin cutout)",
    },
    "format": {
        "choices": FORMATS,
        "help": "of pictures and maps; masks and class ids are PNG in any case. Default: PNG, and the "
        "photograph's own for added and contour",
    },
    "quality": {
        "type": quality,
        "metavar": "1..100",
        "help": "of jpg (95), webp (90; 100 loses nothing) and avif (80)",
    },
    "bits": {"type": int, "choices": (8, 16), "default": 8, "help": "of saliency maps, png and tiff (8)"},
    "keep_exif": {
        "action": "store_true",
        "help": "cut-outs keep the EXIF data of the photograph, the place included; its pictures are left "
        "out. The colour profile is kept in any case",
    },
    "custom_color": {
        "nargs": "+",
        "type": int,
        "metavar": "RGB",
        "help": "R G B of each class, background first, each 0 .. 255",
    },
    **MAP_FLAGS,
}
SHAPE_FLAGS: Flags = {
    "threshold": {
        "type": _or_usage_error(parse_threshold),
        "default": 0.5,
        "help": f"saliency from which masks are foreground: a number, {', '.join(THRESHOLDS)} (%(default)s)",
    },
    "fill_holes": {"action": "store_true", "help": "fill holes inside of objects"},
    "drop_specks": {
        "type": positive_int,
        "nargs": "?",
        "const": 100,
        "default": 0,
        "metavar": "PIXELS",
        "help": "leave out objects of fewer pixels; PIXELS may be left out: %(const)s",
    },
}


class OnOff(argparse.Action):
    """`--name`, the default, and `--no_name`: `BooleanOptionalAction` with the underscores of other flags."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str):
        names = [*option_strings, *(f"--no_{name[2:]}" for name in option_strings)]
        super().__init__(names, dest, nargs=0, default=True, help=f"{help}; on by default")

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the value to whether the flag begins without `no_`."""
        setattr(namespace, self.dest, not (option_string or "").startswith("--no_"))


CUTOUT_FLAGS: Flags = {
    "refine_edges": {"action": OnOff, "help": "add the detail of the photograph to soft edges"},
    "foreground": {"action": OnOff, "help": "remove the background's colours from soft edges"},
    "background": {
        "type": _or_usage_error(Background.parse),
        "metavar": "COLOUR|blur|IMAGE",
        "help": "put the objects over a colour (white, #ff8000, 255,128,0), the blurred photograph, or an "
        "image, which is resized to cover it",
    },
    "crop": {
        "type": _or_usage_error(Margin.parse),
        "nargs": "?",
        "const": Margin(0),
        "metavar": "MARGIN",
        "help": "trim to the objects, with a margin in pixels (20) or percent of their longer side (5%%)",
    },
    "grow": {"type": positive_int, "default": 0, "metavar": "PIXELS", "help": "move edges outwards"},
    "shrink": {"type": positive_int, "default": 0, "metavar": "PIXELS", "help": "move edges inwards"},
    "feather": {
        "type": non_negative_float,
        "default": 0,
        "metavar": "PIXELS",
        "help": "soften edges; the standard deviation of a Gaussian",
    },
}


def add_output_flags(target: argparse.ArgumentParser, title: str) -> None:
    """Add the groups of flags for what is written; `title` is that of the first one."""
    add_group(target, title, FILE_FLAGS)
    add_group(target, "maps, masks and cut-outs", SHAPE_FLAGS)
    add_group(target, "cut-outs", CUTOUT_FLAGS)


def output_settings(args: argparse.Namespace, palette: np.ndarray | None = None) -> OutputSettings:
    """The settings that the flags ask for.

    Args:
        args: of a parser with `add_output_flags`.
        palette: (256, 3) uint8 RGB, the colour of each class; None where it is not known yet.

    Raises:
        ValueError: flags that contradict each other, an unknown output, or a format that cannot hold one.
    """
    check_growth(args.grow, args.shrink, args.feather)
    names = ("fill_holes", "drop_specks", "refine_edges", "feather", "background", "crop", "foreground")
    cutout = CutoutSettings(grow=args.grow - args.shrink, **{name: getattr(args, name) for name in names})
    given: dict[str, Any] = {} if palette is None else {"palette": palette}
    names = ("threshold", "format", "quality", "bits", "keep_exif")
    settings = OutputSettings(cutout=cutout, **given, **{name: getattr(args, name) for name in names})
    check_outputs(args.outputs.split(","), settings)
    return settings
