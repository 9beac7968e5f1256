"""Bring known data sets into data/: download, verify, unpack, lay out, list."""

from __future__ import annotations

import sys
from pathlib import Path

from prettytable import PrettyTable

from paddleseg_u2net.cli.app import configure_log, guarded
from paddleseg_u2net.cli.flags import parser
from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import PROGRAM, check, prepare
from paddleseg_u2net.errors import suggest

EXAMPLES = f"""\
  {PROGRAM} --list
  {PROGRAM} DUTS-TR DUTS-TE
  {PROGRAM} ECSSD --archive Downloads/images.zip Downloads/ground_truth_mask.zip
  {PROGRAM} HKU-IS --archive Downloads/HKU-IS         a folder unpacked by hand; it is only read
  {PROGRAM} MSRA10K --accept-unverified               plain http without a known checksum
  {PROGRAM} ECSSD --check                             are its files still as they were made?

a set is whole or not there; a broken download goes on where it ended; a second run does nothing.
U2NET_MIRROR=https://… or file:///… is asked for files of the same names instead of the known addresses.
names: {", ".join(DATA_SETS)}
"""


def table() -> str:
    """The known data sets, a line each."""
    shown = PrettyTable(["name", "task", "images", "size", "licence", "address verified"], align="l")
    for name, row in DATA_SETS.items():
        images = "not published" if row.pairs is None else row.pairs
        shown.add_row([name, row.task, images, row.size, row.licence, row.verified])
    return shown.get_string(border=False)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    flags = parser("prepare", __doc__ or "", EXAMPLES)
    flags.add_argument("names", nargs="*", metavar="NAME", help="which; see --list")
    flags.add_argument("--list", action="store_true", help="print the known data sets")
    flags.add_argument(
        "--archive",
        nargs="+",
        type=Path,
        default=[],
        help="archives or folders to use instead of downloading",
    )
    flags.add_argument(
        "--data_root", type=Path, default=Path("data"), help="where sets are put (%(default)s)"
    )
    flags.add_argument(
        "--accept-unverified",
        action="store_true",
        help="take an archive without a known checksum, or of another one; its sha256 is printed",
    )
    flags.add_argument("--check", action="store_true", help="compare a prepared set with its dataset.json")
    args = flags.parse_args(argv)
    if args.list:
        print(table())
        return 0
    if not args.names:
        flags.error("which data set? --list prints them")
    for name in args.names:
        if name not in DATA_SETS:
            flags.error(f"{name}: no such data set.{suggest(name, DATA_SETS)}")
    configure_log(line="%(message)s")

    def run() -> None:
        for name in args.names:
            if args.check:
                check(args.data_root / name)
            else:
                prepare(name, args.data_root, args.archive, accept_unverified=args.accept_unverified)

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
