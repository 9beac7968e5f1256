"""Measure how fast archives of a data set are unpacked, beside Python's own unpacking and a plain copy.

python -m tools.benchmarks.data_loading --folder ../shared/data/msra10k_1200
python -m tools.benchmarks.data_loading --folder data/DUTS-TE --repeats 9

The ways take turns, so that what else the machine does meets all of them. Each number is the median.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.io.archives import unpack
from tools.benchmarks.measuring import benchmark_parser

FORMATS = {"zip": ".zip", "tar": ".tar", "gztar": ".tar.gz"}
GIB = 1 << 30


def measure(folder: Path, repeats: int, work: Path) -> list[tuple[str, float, float, float]]:
    """Median MB/s of unpacking `folder`, by format: ours, shutil's, and a copy of the folder.

    Args:
        folder: what is packed; MB are those of its files.
        repeats: how often each way is taken.
        work: where to, on the disk to measure.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    rows = []
    for kind, suffix in FORMATS.items():
        archive = Path(shutil.make_archive(str(work / "packed"), kind, folder))
        ways: list[Callable[[Path], object]] = [
            lambda to, archive=archive: unpack(archive, to, 64 * GIB),
            lambda to, archive=archive: shutil.unpack_archive(archive, to),
            lambda to: shutil.copytree(folder, to),
        ]
        seconds: list[list[float]] = [[] for _ in ways]
        for _ in tqdm(range(repeats), suffix, disable=None, leave=False):
            for way, times in zip(ways, seconds, strict=True):
                started = time.perf_counter()
                way(work / "out")
                times.append(time.perf_counter() - started)
                shutil.rmtree(work / "out")
        ours, theirs, copy = (size / statistics.median(times) for times in seconds)
        rows.append((suffix, ours, theirs, copy))
    return rows


def report(folder: Path, repeats: int, work: Path | None) -> None:
    """Print the table."""
    if not folder.is_dir():
        raise FileNotFoundError(f"--folder {folder}: no such folder. Fix: the folder of a data set")
    with tempfile.TemporaryDirectory(dir=work) as place:
        rows = measure(folder, repeats, Path(place))
    print("| format | ours, MB/s | shutil.unpack_archive | copying the folder | ours / shutil |")
    print("|---|---|---|---|---|")
    for suffix, ours, theirs, copy in rows:
        print(f"| {suffix} | {ours:.0f} | {theirs:.0f} | {copy:.0f} | {ours / theirs:.2f} |")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = benchmark_parser("data_loading", __doc__)
    parser.add_argument("--folder", type=Path, required=True, help="a data set to pack and unpack")
    parser.add_argument("--repeats", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure; default the system's")
    args = parser.parse_args(argv)
    return guarded(lambda: report(args.folder, args.repeats, args.work))


if __name__ == "__main__":
    sys.exit(main())
