"""Benchmark of the measures of saliency maps: time and memory of ours, and time of PySODMetrics.

OMP_NUM_THREADS=1 python -m tools.benchmarks.measures
OMP_NUM_THREADS=1 python -m tools.benchmarks.measures --turns 20 --updates 100000

Ours and PySODMetrics run alternately on one core, so that other load on the machine affects both. Both
compute MAE, F (ours by both protocols), weighted F, S and E. Then `u2net evaluate` is measured as a whole:
seconds by number of workers, and peak memory by number of images. Needs `pip install pysodmetrics`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.metrics.map_and_mask import MapAndMask
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures
from tools.benchmarks.measuring import benchmark_parser, peak_memory, run_measured

SIZES = ((300, 400), (1024, 1024))
THEIRS = ("MAE", "Fmeasure", "WeightedFmeasure", "Smeasure", "Emeasure")
SHARED = [name for name in MEASURES if name not in ("relax_boundary_f", "boundary_iou")]
MAPS = 4  # different maps of each size


def build_parser() -> argparse.ArgumentParser:
    """The parser of this program."""
    parser = benchmark_parser("measures", __doc__)
    parser.add_argument("--turns", type=int, default=5, help="repetitions of each side (%(default)s)")
    parser.add_argument(
        "--updates", type=int, default=10000, help="updates with a small map, for memory (%(default)s)"
    )
    parser.add_argument("--files", type=int, default=600, help="maps in a folder (%(default)s)")
    return parser


def draw(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a blurred and noisy map and its mask, an object with a wavy outline; (height, width) uint8."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:height, :width].T / (height, width) - rng.uniform(0.4, 0.6, 2)).T
    waves = 1 + 0.2 * np.sin(rng.integers(3, 12) * np.arctan2(y, x))
    mask = (np.hypot(y, x) < 0.28 * waves).astype(np.float64)
    saliency = cv2.GaussianBlur(mask, (0, 0), height / 60) + rng.normal(0, 0.03, mask.shape)
    return (saliency.clip(0, 1) * 255).astype(np.uint8), (mask * 255).astype(np.uint8)


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of a call in this thread."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1e3


def compare(size: tuple[int, int], turns: int) -> tuple[float, float]:
    """Median milliseconds per image of ours and of PySODMetrics."""
    import py_sod_metrics

    pairs = [draw(*size, seed) for seed in range(MAPS)]
    measures = MapMeasures(SHARED)

    def ours() -> None:
        for saliency, mask in pairs:
            measures.update(saliency, mask)

    def theirs() -> None:
        for name in THEIRS:
            oracle = getattr(py_sod_metrics, name)()
            for saliency, mask in pairs:
                oracle.step(saliency, mask)

    rounds = [(milliseconds(ours), milliseconds(theirs)) for _ in range(turns + 1)]
    first, second = np.median(rounds[1:], axis=0) / MAPS  # the first round warms up
    return float(first), float(second)


def costs(size: tuple[int, int], turns: int) -> dict[str, float]:
    """Milliseconds per image of each measure alone; `shared` is what all measures share."""
    saliency, mask = draw(*size, 0)

    def shared() -> MapAndMask:
        item = MapAndMask(saliency, mask)
        _ = item.positives, item.adaptive_positives
        return item

    item = shared()
    found = {"shared": min(milliseconds(shared) for _ in range(turns))}
    for name, row in MEASURES.items():
        found[name] = min(milliseconds(partial(row.per_image, item)) for _ in range(turns))
    return found


def growth(updates: int) -> tuple[float, float]:
    """Peak memory in MiB after a tenth of the updates, and after all."""
    saliency, mask = draw(32, 32, 0)
    measures, peaks = MapMeasures(), []
    for count in (updates // 10, updates - updates // 10):
        for _ in range(count):
            measures.update(saliency, mask)
        peaks.append(peak_memory())
    return peaks[0], peaks[1]


def folder_of(root: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Write a few maps and masks under many names; returns the command that measures them."""
    drawn = zip(*(draw(*size, seed) for seed in range(MAPS)), strict=True)
    for kind, images in zip(("maps", "masks"), drawn, strict=True):
        (root / kind).mkdir()
        for index in range(count):
            path = root / kind / f"{index}.png"
            if index < MAPS:
                cv2.imwrite(str(path), images[index])
            else:
                os.link(root / kind / f"{index % MAPS}.png", path)
    command = [sys.executable, "-m", "paddleseg_u2net", "evaluate"]
    flags = ["--pred_dir", str(root / "maps"), "--label_dir", str(root / "masks")]
    return [*command, *flags, "--save_dir", str(root / "scores")]


def whole_folders(files: int, turns: int) -> None:
    """Print the seconds of the command by number of workers, and its memory by number of images."""
    print("\n| workers | s | images/s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        command = folder_of(Path(folder), files, SIZES[0])
        for workers in sorted({1, 2, processors()}):
            seconds = np.median(
                [run_measured([*command, "--workers", str(workers)])[0] for _ in range(turns)]
            )
            print(f"| {workers} | {seconds:.1f} | {files / seconds:.0f} |")
    print("\n| images of 64 x 64 | MiB of the largest process |\n|---|---|")
    for count in (files, 10 * files):
        with tempfile.TemporaryDirectory() as folder:
            _, memory, _ = run_measured(folder_of(Path(folder), count, (64, 64)))
            print(f"| {count} | {memory:.0f} |")


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    args = build_parser().parse_args(argv)
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", message="This class will be removed")  # py_sod_metrics.Fmeasure
    early, late = growth(args.updates)
    print("| map | ours, ms per image | PySODMetrics | times faster |\n|---|---|---|---|")
    for size in SIZES:
        ours, theirs = compare(size, args.turns)
        print(f"| {size[0]} x {size[1]} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |")
    print("\n| measure | ms, 1024 x 1024 |\n|---|---|")
    for name, cost in costs(SIZES[-1], args.turns).items():
        print(f"| {name} | {cost:.2f} |")
    print(
        f"\npeak memory: {early:.1f} MiB after {args.updates // 10} updates, {late:.1f} after {args.updates}"
    )
    whole_folders(args.files, args.turns)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
