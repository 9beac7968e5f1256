"""Measure what reading photographs strictly costs, beside decoding by OpenCV alone, which passes over damage.

OMP_NUM_THREADS=1 python -m tools.benchmarks.decoding --image_path ../shared/data/msra10k_1200/images

Reading checks what a file holds, decodes it, turns it upright and converts it to sRGB; OpenCV decodes it and
turns it upright, in one thread. A last row is of one JPEG of 12 million pixels, enlarged from the first
photograph. The two ways take turns, so that other load affects both. CPU time; each number is the median.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.io.images import decode_photograph
from paddleseg_u2net.io.listing import list_images
from tools.benchmarks.measuring import benchmark_parser

LARGE = (4000, 3000)  # width and height of a photograph of 12 million pixels
Files = Sequence[tuple[Path, bytes]]


def strict(path: Path, data: bytes) -> object:
    """Decode as predicting does."""
    return decode_photograph(path, data)


def plain(_path: Path, data: bytes) -> object:
    """Decode by OpenCV alone, to RGB."""
    return cv2.cvtColor(bgr(data), cv2.COLOR_BGR2RGB)


def bgr(data: bytes) -> np.ndarray:
    """Decode by OpenCV alone, upright."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def milliseconds(decode: Callable[[Path, bytes], object], files: Files) -> float:
    """CPU time of decoding one of the files, on average."""
    started = time.process_time()
    for path, data in files:
        decode(path, data)
    return (time.process_time() - started) / len(files) * 1e3


def enlarged(data: bytes) -> bytes:
    """A photograph as a JPEG of LARGE pixels."""
    return cv2.imencode(".jpg", cv2.resize(bgr(data), LARGE))[1].tobytes()


def report(folder: Path, count: int, repeats: int) -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    files = [(path, path.read_bytes()) for path in list_images(folder)[:count]]
    if not files:
        raise ValueError(f"--image_path {folder}: holds no images. Fix: a folder of photographs")
    rows: dict[str, Files] = {
        f"{len(files)} photographs of {folder.name}": files,
        f"JPEG of {LARGE[0]} x {LARGE[1]}": [(Path("large.jpg"), enlarged(files[0][1]))],
    }
    print("| | strict, ms | OpenCV alone | more, ms |\n|---|---|---|---|")
    for name, some in rows.items():
        turns = [
            (milliseconds(strict, some), milliseconds(plain, some))
            for _ in tqdm(range(repeats + 1), name, disable=None, leave=False)
        ][1:]
        ours, theirs = (statistics.median(times) for times in zip(*turns, strict=True))
        more = statistics.median(first - second for first, second in turns)
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {more:.2f} |")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = benchmark_parser("decoding", __doc__)
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--count", type=int, default=40, help="photographs (%(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="(%(default)s)")
    args = parser.parse_args(argv)
    return guarded(lambda: report(args.image_path, args.count, args.repeats))


if __name__ == "__main__":
    sys.exit(main())
