"""Measure the measures of saliency maps: time beside PySODMetrics on one core, and memory over many updates.

OMP_NUM_THREADS=1 python -m tools.benchmarks.measures
OMP_NUM_THREADS=1 python -m tools.benchmarks.measures --turns 20 --updates 100000

The two run in turn, so that what else the machine does meets both. Both make MAE, F (ours in both protocols),
weighted F, S and E. Then `evaluate_folder.py` as a whole command: seconds by workers, peak memory by images.
Needs `pip install pysodmetrics`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.metrics.pair import Pair
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures
from tools.benchmarks.measuring import peak_memory, run_measured

SIZES = ((300, 400), (1024, 1024))
THEIRS = ("MAE", "Fmeasure", "WeightedFmeasure", "Smeasure", "Emeasure")
SHARED = [name for name in MEASURES if name not in ("relax_boundary_f", "boundary_iou")]
MAPS = 4  # of each size


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="benchmark_measures.py",
    )
    parser.add_argument("--turns", type=int, default=5, help="of each side (%(default)s)")
    parser.add_argument("--updates", type=int, default=10000, help="with small maps (%(default)s)")
    parser.add_argument("--files", type=int, default=600, help="maps of a folder (%(default)s)")
    return parser.parse_args(argv)


def draw(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A map and its mask, uint8: a wavy object found with a soft edge and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:height, :width].T / (height, width) - rng.uniform(0.4, 0.6, 2)).T
    waves = 1 + 0.2 * np.sin(rng.integers(3, 12) * np.arctan2(y, x))
    mask = (np.hypot(y, x) < 0.28 * waves).astype(np.float64)
    saliency = cv2.GaussianBlur(mask, (0, 0), height / 60) + rng.normal(0, 0.03, mask.shape)
    return (saliency.clip(0, 1) * 255).astype(np.uint8), (mask * 255).astype(np.uint8)


def milliseconds(work: Callable[[], object]) -> float:
    """Of this thread, waiting not counted."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1e3


def compare(size: tuple[int, int], turns: int) -> tuple[float, float]:
    """Median milliseconds an image, of ours and of PySODMetrics."""
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

    rounds = [(milliseconds(ours), milliseconds(theirs)) for _ in range(turns + 1)][1:]  # the first warms up
    first, second = np.median(rounds, axis=0) / MAPS
    return float(first), float(second)


def costs(size: tuple[int, int], turns: int) -> dict[str, float]:
    """Milliseconds of each measure's own part for an image; what measures share is `shared`."""
    pair = draw(*size, 0)

    def shared() -> Pair:
        made = Pair(*pair)
        _ = made.positives, made.adaptive_positives
        return made

    made = shared()
    parts: dict[str, Callable] = {name: row.of for name, row in MEASURES.items()}
    found = {"shared": min(milliseconds(shared) for _ in range(turns))}
    return found | {
        name: min(milliseconds(lambda of=of: of(made)) for _ in range(turns)) for name, of in parts.items()
    }


def growth(updates: int) -> tuple[float, float]:
    """Peak memory in MiB after a tenth of the updates, and after all."""
    pair, measures, peaks = draw(32, 32, 0), MapMeasures(), []
    for count in (updates // 10, updates - updates // 10):
        for _ in range(count):
            measures.update(*pair)
        peaks.append(peak_memory())
    return peaks[0], peaks[1]


def folder_of(root: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Draw a few maps and masks under many names; the command that measures them."""
    drawn = zip(*(draw(*size, seed) for seed in range(MAPS)), strict=True)
    for kind, images in zip(("maps", "masks"), drawn, strict=True):
        (root / kind).mkdir()
        for index in range(count):
            path = root / kind / f"{index}.png"
            if index < MAPS:
                cv2.imwrite(str(path), images[index])
            else:
                os.link(root / kind / f"{index % MAPS}.png", path)
    tool = Path(__file__).parents[1] / "evaluate_folder.py"
    flags = ["--pred_dir", str(root / "maps"), "--label_dir", str(root / "masks")]
    return [sys.executable, str(tool), *flags, "--save_dir", str(root / "scores")]


def whole_folders(files: int, turns: int) -> None:
    """Print seconds of the command by workers, and its memory by images."""
    print("\n| workers | s | images/s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        command = folder_of(Path(folder), files, SIZES[0])
        for workers in sorted({1, 2, processors()}):
            seconds = np.median(
                [run_measured([*command, "--workers", str(workers)])[0] for _ in range(turns)]
            )
            print(f"| {workers} | {seconds:.1f} | {files / seconds:.0f} |")
    print("\n| images of 64 x 64 | MiB, largest process |\n|---|---|")
    for count in (files, 10 * files):
        with tempfile.TemporaryDirectory() as folder:
            _, memory, _ = run_measured(folder_of(Path(folder), count, (64, 64)))
            print(f"| {count} | {memory:.0f} |")


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    args = parse(argv)
    cv2.setNumThreads(1)
    warnings.filterwarnings("ignore", message="This class will be removed")  # py_sod_metrics.Fmeasure
    early, late = growth(args.updates)
    print("| map | ours, ms an image | PySODMetrics | times faster |\n|---|---|---|---|")
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
    raise SystemExit(guarded(main))
