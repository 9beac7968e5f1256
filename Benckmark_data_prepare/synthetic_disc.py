"""Draw a data set of synthetic fundus photographs with masks of the optic disc, of any size.

python -m Benckmark_data_prepare.synthetic_disc --out data/discs --images 60
"""

from __future__ import annotations

import sys
from pathlib import Path

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.flags import add_flags, non_negative_int, parser, positive_int
from paddleseg_u2net.datasets.synthetic import draw_archive, draw_dataset
from paddleseg_u2net.io.locks import path_lock

FLAGS = {
    "out": {"type": Path, "default": "data/synthetic_disc", "help": "folder to write (%(default)s)"},
    "images": {"type": positive_int, "default": 60, "help": "number of images, at least 10 (%(default)s)"},
    "size": {"type": positive_int, "default": 256, "help": "height and width in pixels (%(default)s)"},
    "seed": {
        "type": non_negative_int,
        "default": 0,
        "help": "the same seed draws the same images (%(default)s)",
    },
    "zip": {"action": "store_true", "help": "write a zip file like optic_disc_seg.zip instead of a folder"},
}


def main(argv: list[str] | None = None) -> int:
    """Draw the data set; returns the exit code."""
    about, _, example = (__doc__ or "").strip().partition("\n\n")
    flags = parser("synthetic_disc", about, f"  {example}")
    add_flags(flags, FLAGS)
    args = flags.parse_args(argv)
    draw = draw_archive if args.zip else draw_dataset

    def run() -> None:
        with path_lock(args.out, "choose another --out"):
            print(f"Drew {args.images} images into {draw(args.out, args.images, args.size, args.seed)}")

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
