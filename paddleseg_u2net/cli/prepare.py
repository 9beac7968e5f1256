"""`u2net prepare`: prepare known data sets: download, verify, unpack, arrange, write lists."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.flags import HOW, INPUT, OUTPUT, Flags, add_flags, add_group, parser
from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import check, prepare
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import suggest

ABOUT = "Prepare known data sets: download, verify, unpack, arrange, write lists."
EXAMPLES = f"""\
  u2net prepare --list
  u2net prepare DUTS-TR DUTS-TE
  u2net prepare ECSSD --archive Downloads/images.zip Downloads/ground_truth_mask.zip
  u2net prepare HKU-IS --archive Downloads/HKU-IS         a folder that you unpacked; it is only read
  u2net prepare MSRA10K --accept-unverified               plain http without a known checksum
  u2net prepare ECSSD --check                             verify that its files are unchanged

Each script below Benckmark_data_prepare/ prepares one data set with the same flags. An interrupted run leaves
no incomplete data set; a broken download is resumed; a second run does nothing. If U2NET_MIRROR is set to
https://… or file:///…, files of the same names are fetched from there.
names: {", ".join(DATA_SETS)}
"""
INPUT_FLAGS: Flags = {
    "list": {"action": "store_true", "help": "print the known data sets and exit"},
    "archive": {
        "nargs": "+",
        "type": Path,
        "default": [],
        "help": "archives or folders to use instead of a download",
    },
}
OUTPUT_FLAGS: Flags = {
    "data_root": {"type": Path, "default": Path("data"), "help": "folder of the data sets (%(default)s)"},
}
RUN_FLAGS: Flags = {
    "accept-unverified": {
        "action": "store_true",
        "help": "accept an archive without a known checksum or with another one; its sha256 is printed",
    },
    "check": {"action": "store_true", "help": "compare a prepared data set with its dataset.json"},
}


def build_parser() -> argparse.ArgumentParser:
    """The flags of `u2net prepare`."""
    flags = parser("u2net prepare", ABOUT, EXAMPLES)
    inputs = flags.add_argument_group(INPUT)
    inputs.add_argument("names", nargs="*", metavar="NAME", help="known data sets; see --list")
    add_flags(inputs, INPUT_FLAGS)
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, RUN_FLAGS)
    return flags


def table() -> str:
    """The known data sets, a line each."""
    shown = need("prettytable").PrettyTable(
        ["name", "task", "images", "size", "licence", "address verified"], align="l"
    )
    for name, row in DATA_SETS.items():
        images = "not published" if row.pairs is None else row.pairs
        shown.add_row([name, row.task, images, row.size, row.licence, row.verified])
    return shown.get_string(border=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, check or list data sets; returns the exit code."""
    flags = build_parser()
    args = flags.parse_args(argv)
    if args.list:
        print(table())
        return 0
    if not args.names:
        flags.error("expected the name of a data set; --list prints them")
    for name in args.names:
        if name not in DATA_SETS:
            flags.error(f"{name}: no such data set.{suggest(name, DATA_SETS)}")
    for name in args.names:
        if args.check:
            check(args.data_root / name)
        else:
            prepare(name, args.data_root, args.archive, accept_unverified=args.accept_unverified)
    return 0
