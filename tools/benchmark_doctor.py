"""Measure the doctor: images a second of one core beside decoding alone, and memory as a data set grows.

OMP_NUM_THREADS=1 python -m tools.benchmark_doctor --image_path images/ --mask_path masks/
OMP_NUM_THREADS=1 python -m tools.benchmark_doctor --image_path images/ --mask_path masks/ --turns 9

Both sides read, decode and turn upright each image and mask by the same code; the doctor then checks them,
comparisons of pictures included. The process is bound to one core; seconds are those it computes, waiting not
counted, and the two run in turn, so that what else the machine does meets both. Memory is that of whole
processes.
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

from paddleseg_u2net.__main__ import guarded
from paddleseg_u2net.dataset import Dataset
from paddleseg_u2net.doctor import diagnose
from paddleseg_u2net.images import read_image
from paddleseg_u2net.masks import read_raw
from paddleseg_u2net.pairs import Pair, pair_folders
from paddleseg_u2net.patient import examine
from tools.benchmark import ROOT, peak_memory

PARTS = (4, 2, 1)  # of the pairs, a quarter to all, where memory is measured


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmark_doctor.py"
    )
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--mask_path", type=Path, required=True, help="folder of their masks")
    parser.add_argument("--turns", type=int, default=5, help="of each side (%(default)s)")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def decode(pairs: Sequence[Pair]) -> None:
    """What the doctor cannot do without."""
    for pair in pairs:
        read_image(pair.image)
        assert pair.mask is not None
        read_raw(pair.mask)


def check(pairs: Sequence[Pair]) -> None:
    """All checks."""
    diagnose(examine([Dataset(pairs, 1)]))


def seconds(work: Callable[[], None]) -> float:
    """Of the processor, over all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(pairs: Sequence[Pair], turns: int) -> tuple[float, float, list[float]]:
    """Images a second and core of decoding and of the doctor (medians), and the ratio of each turn."""
    rounds = [(seconds(lambda: decode(pairs)), seconds(lambda: check(pairs))) for _ in range(turns + 1)][1:]
    first, second = np.median(rounds, axis=0)
    return len(pairs) / float(first), len(pairs) / float(second), [late / early for early, late in rounds]


def memory(args: argparse.Namespace, count: int) -> str:
    """Peak MiB of a process that checks so many pairs; 0 decodes all and checks none."""
    command = [sys.executable, "-m", "tools.benchmark_doctor", "--memory", str(count)]
    command += ["--image_path", str(args.image_path.resolve()), "--mask_path", str(args.mask_path.resolve())]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    args = parse(argv)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pairs, _ = pair_folders(args.image_path, args.mask_path)
    if not pairs:
        raise ValueError(f"{args.image_path}: no image has a mask in {args.mask_path}")
    if args.memory is not None:
        check(pairs[: args.memory]) if args.memory else decode(pairs)
        print(f"{peak_memory():.0f}")
        return 0
    decoding, doctor, ratios = compare(pairs, args.turns)
    print("| | pairs a second and core |\n|---|---|")
    print(f"| decoding alone | {decoding:.0f} |\n| doctor | {doctor:.0f} |")
    print(f"\ntime over decoding alone: {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("\n| | pairs | peak MiB |\n|---|---|---|")
    print(f"| decoding alone | {len(pairs)} | {memory(args, 0)} |")
    for count in (len(pairs) // part for part in PARTS):
        print(f"| doctor | {count} | {memory(args, count)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
