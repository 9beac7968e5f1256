"""Draw a small optic-disc data set, of any size: a generator of fundus photographs.

python -m Benckmark_data_prepare.synthetic_disc --out data/discs --images 60
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
from pathlib import Path

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.datasets.synthetic import draw_dataset
from paddleseg_u2net.io.files import atomic_write


def draw(out: Path, images: int, size: int, seed: int, packed: bool) -> None:
    """Draw a data set and say where it is; `packed` leaves a zip file instead of a folder."""
    target = out.with_name(f"{out.name}.zip")
    if packed and target.exists():
        raise FileExistsError(f"{target}: exists already. Fix: remove it, or choose another name")
    root = draw_dataset(out, images, size, seed)
    print(f"Drew {images} images into {root}")
    if packed:
        with atomic_write(target) as partial, zipfile.ZipFile(partial, "w") as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root.parent))
        shutil.rmtree(root)
        print(f"Packed it as {target}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw a small optic-disc data set.")
    parser.add_argument("--out", type=Path, default=Path("data/synthetic_disc"), help="folder (%(default)s)")
    parser.add_argument("--images", type=int, default=60, help="how many, at least 10 (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same one draws the same images (%(default)s)"
    )
    parser.add_argument("--zip", action="store_true", help="pack it as optic_disc_seg.zip is packed")
    args = parser.parse_args(argv)
    return guarded(lambda: draw(args.out, args.images, args.size, args.seed, args.zip))


if __name__ == "__main__":
    sys.exit(main())
