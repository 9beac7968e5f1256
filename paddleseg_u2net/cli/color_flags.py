"""Flags of `u2net make-dataset` for masks whose colours are classes."""

from __future__ import annotations

import argparse

from paddleseg_u2net.cli.flags import Flags, nonempty_path
from paddleseg_u2net.importers.color_masks import UNKNOWN_MODES, from_color_masks
from paddleseg_u2net.importers.color_tables import KNOWN, ColorTable, parse_colors, read_label_map
from paddleseg_u2net.importers.sources import ImageSource

COLOR_FLAGS: Flags = {
    "labelmap": {
        "type": nonempty_path,
        "metavar": "FILE",
        "help": "labels of the colours in masks: labelmap.txt of CVAT, lines of 'R G B name', CSV or JSON",
    },
    "colors": {
        "nargs": "+",
        "metavar": "NAME=R,G,B",
        "help": f"the same on the command line, or a known table: {', '.join(KNOWN)}",
    },
    "unknown_colors": {
        "choices": UNKNOWN_MODES,
        "default": UNKNOWN_MODES[0],
        "help": "colours without a label: an error that lists them, ignored pixels, background, or the label "
        "of the nearest colour (%(default)s)",
    },
}


def check_colors(flags: argparse.ArgumentParser, args: argparse.Namespace) -> bool:
    """Return whether colours are converted; exit if flags contradict that."""
    colors = bool(args.format == "voc" or args.labelmap or args.colors)
    if args.labelmap and args.colors:
        flags.error("--labelmap and --colors: expected one of them")
    if args.unknown_colors != UNKNOWN_MODES[0] and not colors:
        flags.error("--unknown_colors needs --labelmap or --colors")
    of_values = ("num_classes", "ignore_index", "mask_encoding")
    if colors and any(getattr(args, name) is not None for name in of_values):
        names = " and ".join(f"--{name}" for name in of_values)
        flags.error(f"{names} cannot be used with colours, whose labels decide")
    return colors


def color_table(args: argparse.Namespace) -> ColorTable | None:
    """Return the table that the flags name, or None."""
    if args.labelmap:
        return read_label_map(args.labelmap)
    return parse_colors(args.colors) if args.colors else None


def convert_colors(args: argparse.Namespace, source: ImageSource) -> ImageSource:
    """Make the masks of a source ones that are drawn from colours, if the flags name a table."""
    table = color_table(args)
    return from_color_masks(source, table, args.unknown_colors, args.keep_unused) if table else source
