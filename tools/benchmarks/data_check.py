"""Benchmark the data set checks: speed against decoding alone, memory, and which copies of images are found.

OMP_NUM_THREADS=1 python -m tools.benchmarks.data_check --image_path images/ --mask_path masks/
OMP_NUM_THREADS=1 python -m tools.benchmarks.data_check --image_path images/ --mask_path masks/ --turns 9
python -m tools.benchmarks.data_check --image_path images/ --copies

Both sides read, decode and turn upright each image and mask with the same code; the checks, comparisons of
images included, come on top. The process is bound to one core and its CPU time is measured; the two sides
alternate, so that other load affects both. Memory is the peak of a separate process. With --copies, a changed
copy of each photograph is searched among the photographs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.data.duplicates import find_matches
from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.data.pairs import Pair, pair_folders
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.thumbnails import thumbnail
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.survey import examine
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.io.listing import list_images
from tools.benchmarks.measuring import ROOT, benchmark_parser, peak_memory

COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda image: image[:, ::-1].copy(),
    "0.3 times the size": lambda image: scaled(image, 0.3),
    "half the size": lambda image: scaled(image, 0.5),
    "1.4 times the size": lambda image: scaled(image, 1.4),
    "3 times the size": lambda image: scaled(image, 3),
    "made square": lambda image: cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA),
    "JPEG of quality 20": lambda image: jpeg(image, 20),
    "15 % brighter, highlights clipped": lambda image: np.clip(image * 1.15, 0, 255).astype(np.uint8),
    "cropped by a tenth": lambda image: image[: image.shape[0] * 9 // 10, : image.shape[1] * 9 // 10],
}
DIVISORS = (4, 2, 1)  # memory is measured with a quarter, half and all of the pairs


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the flags."""
    parser = benchmark_parser("data_check", __doc__)
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--mask_path", type=Path, help="folder of their masks")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each side (%(default)s)")
    parser.add_argument(
        "--copies", action="store_true", help="count the copies that are found instead of measuring time"
    )
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not args.copies and args.mask_path is None:
        parser.error("give --mask_path, or --copies")
    return args


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """Resize an image by a factor."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode an image as JPEG and decode it."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def print_copies(paths: Sequence[Path]) -> None:
    """Print how many copies of each kind are found, and how many other photographs are mistaken for them."""
    if not paths:
        raise ValueError("--image_path: the folder has no image. Fix: a folder of photographs")
    thumbs: dict[str, list[np.ndarray]] = {name: [] for name in ("", *COPIES)}
    for path in paths:
        image = read_image(path)
        for name, stack in thumbs.items():
            stack.append(thumbnail(COPIES[name](image) if name else image))
    originals = np.stack(thumbs.pop(""))
    print(f"among {len(paths)} photographs: {len(list(find_matches(originals)))} pairs that show the same")
    print("\n| copy | found | others mistaken for it |\n|---|---|---|")
    for name, stack in thumbs.items():
        pairs = [match[:2] for match in find_matches(originals, np.stack(stack))]
        found = sum(first == second for first, second in pairs)
        print(f"| {name} | {found / len(paths):.1%} | {len(pairs) - found} |")


def decode(pairs: Sequence[Pair]) -> None:
    """Read and decode only: the lower bound of any check."""
    for pair in pairs:
        read_image(pair.image)
        assert pair.mask is not None
        read_raw(pair.mask)


def check(pairs: Sequence[Pair]) -> None:
    """Run all checks."""
    run_checks(examine([DatasetSpec(pairs, 1)]))


def seconds(work: Callable[[], None]) -> float:
    """CPU time of all threads, in seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(pairs: Sequence[Pair], turns: int) -> tuple[float, float, list[float]]:
    """Pairs per second and core of decoding and of checking (medians), and the time ratio of each turn."""
    rounds = [(seconds(lambda: decode(pairs)), seconds(lambda: check(pairs))) for _ in range(turns + 1)][1:]
    first, second = np.median(rounds, axis=0)
    return len(pairs) / float(first), len(pairs) / float(second), [late / early for early, late in rounds]


def memory(args: argparse.Namespace, count: int) -> str:
    """Peak memory in MiB of a process that checks `count` pairs; 0 decodes all pairs and checks none."""
    command = [sys.executable, "-m", "tools.benchmarks.data_check", "--memory", str(count)]
    command += ["--image_path", str(args.image_path.resolve()), "--mask_path", str(args.mask_path.resolve())]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    args = parse(argv)
    if args.copies:
        print_copies(list_images(args.image_path))
        return 0
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pairs, _ = pair_folders(args.image_path, args.mask_path)
    if not pairs:
        raise ValueError(f"{args.image_path}: no image has a mask in {args.mask_path}")
    if args.memory is not None:
        if args.memory:
            check(pairs[: args.memory])
        else:
            decode(pairs)
        print(f"{peak_memory():.0f}")
        return 0
    decoding, checking, ratios = compare(pairs, args.turns)
    print("| | pairs per second and core |\n|---|---|")
    print(f"| decoding alone | {decoding:.0f} |\n| data set check | {checking:.0f} |")
    print(f"\ntime over decoding alone: {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("\n| | pairs | peak MiB |\n|---|---|---|")
    print(f"| decoding alone | {len(pairs)} | {memory(args, 0)} |")
    for count in (len(pairs) // part for part in DIVISORS):
        print(f"| data set check | {count} | {memory(args, count)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
