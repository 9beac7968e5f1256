"""Measure the import of annotations as large as COCO's.

OMP_NUM_THREADS=1 python -m tools.benchmarks.coco --images 118287 --ways json read_coco   # size of train2017
OMP_NUM_THREADS=1 python -m tools.benchmarks.coco --images 20000 --work some/disk

`read_coco` is compared with `json.loads` alone, and `make_dataset` with decoding the images alone. The data
are synthetic: each image of 640 x 480 pixels has 7.3 objects, as in train2017, with 25 corners each, and one
object in a hundred is a crowd in RLE. Each step runs in its own process; its time is CPU time, summed over
all threads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.make_dataset import main as make_dataset
from paddleseg_u2net.importers.coco import read_coco
from paddleseg_u2net.io.images import read_image
from tools.benchmarks.measuring import ROOT, benchmark_parser, peak_memory

HEIGHT, WIDTH, CORNERS, CLASSES = 480, 640, 25, 80
OBJECTS_PER_IMAGE = 860001 / 118287  # in train2017
WAYS: dict[str, Callable[[Path], object]] = {
    "json": lambda folder: json.loads((folder / "a.json").read_bytes()),
    "read_coco": lambda folder: read_coco(folder / "a.json", folder),
    "decoding": lambda folder: [read_image(path).shape for path in folder.glob("*.jpg")],
    "make_dataset": lambda folder: make_dataset(
        ["--coco", f"{folder}/a.json", "--image_dir", str(folder), "--save_dir", f"{folder}/mine"]
    ),
}


def write_images(folder: Path, images: int) -> None:
    """Write images of noise; their bytes differ, so that they are not taken for copies."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    picture = cv2.imencode(".jpg", cv2.resize(noise, (WIDTH, HEIGHT)))[1].tobytes()
    for index in range(images):
        (folder / f"{index:012}.jpg").write_bytes(picture + str(index).encode())


def write_annotations(folder: Path, images: int) -> None:
    """Write `a.json` with the keys of a COCO file."""
    rng = np.random.default_rng(0)
    size = {"height": HEIGHT, "width": WIDTH, "date_captured": "2013-11-14 16:28:13", "license": 3}
    rows = [
        {"id": index, "file_name": f"{index:012}.jpg", "coco_url": "http://images.org/" * 3, **size}
        for index in range(images)
    ]
    objects = [random_object(rng, index, images) for index in range(round(images * OBJECTS_PER_IMAGE))]
    categories = [{"id": number, "name": f"class {number}"} for number in range(CLASSES)]
    content = {"images": rows, "annotations": objects, "categories": categories}
    (folder / "a.json").write_text(json.dumps(content))


def random_object(rng: np.random.Generator, index: int, images: int) -> dict:
    """Return the annotation of a star-shaped polygon, or of a crowd of a hundred runs."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    reach = rng.uniform(5, 120) * rng.uniform(0.7, 1, CORNERS)
    around = reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60)) + around
    shape: list | dict = [points.clip(0, (WIDTH, HEIGHT)).round(2).ravel().tolist()]
    if crowd := index % 100 == 0:
        shape = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH // 100] * 100}
    row = {"segmentation": shape, "area": 702.1057, "bbox": [473.07, 395.93, 38.65, 28.67], "id": index}
    return {
        **row,
        "iscrowd": int(crowd),
        "image_id": index % images,
        "category_id": int(rng.integers(CLASSES)),
    }


def report(images: int, ways: Sequence[str], work: Path | None) -> None:
    """Write the data, measure each step in a process of its own, and print the table."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        write_annotations(Path(name), images)
        if {"decoding", "make_dataset"} & set(ways):
            write_images(Path(name), images)
        print(f"{images} images, {(Path(name) / 'a.json').stat().st_size / 1e6:.0f} MB of annotations\n")
        print("| | CPU seconds | peak MiB |\n|---|---|---|")
        for way in ways:
            command = [sys.executable, "-m", "tools.benchmarks.coco", "--folder", name, "--ways", way]
            outcome = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            print(outcome.stdout.splitlines()[-1], flush=True)


def measure(way: str, folder: Path) -> None:
    """Measure one step in this process and print its row of the table."""
    started = time.process_time()
    WAYS[way](folder)
    print(f"| {way} | {time.process_time() - started:.1f} | {peak_memory():.0f} |")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    parser = benchmark_parser("coco", __doc__)
    parser.add_argument("--images", type=int, default=2000, help="number of images (%(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS], help="steps to measure (all)")
    parser.add_argument("--work", type=Path, help="folder for the temporary data (the system's)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.folder:
        return guarded(lambda: measure(args.ways[0], args.folder))
    return guarded(lambda: report(args.images, args.ways, args.work))


if __name__ == "__main__":
    sys.exit(main())
