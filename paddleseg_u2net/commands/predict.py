"""`python predict.py`: cut out, colour and map the objects of images."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from paddleseg_u2net.commands.flags import (
    MODEL_FLAGS,
    ONE_CLASS_ONLY,
    add_flags,
    add_view_flags,
    parser,
    positive,
    some_path,
    views_from,
)
from paddleseg_u2net.devices import processors
from paddleseg_u2net.files import require_writable
from paddleseg_u2net.images import MAX_PIXELS, SUFFIXES, list_images, read_image
from paddleseg_u2net.loading import config_of
from paddleseg_u2net.metrics.saliency import stretch
from paddleseg_u2net.outputs import OUTPUTS, make_palette, plan_outputs
from paddleseg_u2net.pairs import list_lines
from paddleseg_u2net.prediction import Predictor

log = logging.getLogger(__name__)

EXAMPLES = """\
  python predict.py --model_path u2netp --image_path photos/
  python predict.py --model_path u2netp --image_path cat.jpg --outputs cutout --save_dir cut
  python predict.py --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams \\
      --image_path data/optic_disc_seg/JPEGImages
"""


MAX_PARALLEL = 4  # each costs the memory of one more image and its activations
NOT_READ = {".gif", ".heic", ".heif", ".avif", ".jp2", ".svg", ".pdf"}

FLAGS: dict[str, dict[str, Any]] = {
    **MODEL_FLAGS,
    "image_path": {
        "type": some_path,
        "required": True,
        "help": "image, list file, or folder with sub-folders",
    },
    "save_dir": {"type": Path, "default": "./output/result", "help": "where folders are made (%(default)s)"},
    "outputs": {
        "default": ",".join(OUTPUTS),
        "help": "some of %(default)s, separated by commas; default all",
    },
    "resume": {"action": "store_true", "help": "leave out images whose results are there and whole"},
    "max_pixels": {"type": positive, "default": MAX_PIXELS, "help": "refuse larger images (%(default)s)"},
    "custom_color": {
        "nargs": "+",
        "type": int,
        "metavar": "RGB",
        "help": "R G B of each class, background first, 0 .. 255",
    },
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; see `predict.py --help`."""
    flags = parser("predict.py", "Predict an image, those of a list file, or those of a folder.", EXAMPLES)
    add_flags(flags, FLAGS)
    add_view_flags(flags, "aug_pred")
    return flags.parse_args(argv)


def find_images(path: Path, save_dir: Path) -> tuple[dict[Path, str], Path]:
    """The images that `--image_path` means, and the folder that the outputs mirror.

    Earlier results in `save_dir` are left out of a folder that contains them.

    Returns:
        Image -> the line of the list that names it (`photos.txt:3: `), or nothing; and the folder.

    Raises:
        FileNotFoundError: no such path.
        ValueError: no images there.
    """
    if path.is_dir():
        results = [(save_dir / output.folder).resolve() for output in OUTPUTS.values()]
        results = [folder for folder in results if path.resolve() in folder.parents]
        found = [image for image in list_images(path) if not set(results) & set(image.resolve().parents)]
        if not found:
            raise ValueError(f"--image_path {path}: holds no images ({', '.join(sorted(SUFFIXES))})")
        strange = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in NOT_READ and p.is_file()]
        if strange:
            log.warning("%d file(s) of other formats are left out, first: %s", len(strange), strange[0])
        return dict.fromkeys(found, ""), path
    if not path.is_file():
        raise FileNotFoundError(f"--image_path {path}: no such file or folder")
    if path.suffix.lower() in SUFFIXES or not _is_text(path):
        return {path: ""}, path.parent
    images: dict[Path, str] = {}
    for number, line in list_lines(path):
        images.setdefault(_named(line, path), f"{path}:{number}: ")
    if not any(image.is_file() for image in images):
        raise ValueError(
            f"--image_path {path}: lists no images that exist. Fix: one path a line, from its folder"
        )
    return images, Path(os.path.commonpath([image.parent for image in images]))


def _is_text(path: Path) -> bool:
    """Whether a file without an image's suffix is a list; PaddleSeg takes any such file for one."""
    with path.open("rb") as file:
        return b"\0" not in file.read(1 << 16)


def _named(line: str, path: Path) -> Path:
    """The image that a line of a list names: all of it where such a file exists, else its first column."""
    image = path.parent / line
    if not image.is_file():
        image = path.parent / line.split("\t" if "\t" in line else None)[0].strip()
    return Path(os.path.abspath(image))


def whole(image: Path, plan: dict[str, Path]) -> bool:
    """Whether all results of an image are there, newer than it and readable."""
    try:
        return all(
            path.stat().st_mtime >= image.stat().st_mtime and read_image(path, sys.maxsize) is not None
            for path in plan.values()
        )
    except (OSError, ValueError):
        return False


def in_parallel(
    work: Callable[[Path, dict[str, Path]], str | None], jobs: Sequence[tuple], parallel: int
) -> list[str]:
    """Do all jobs in threads, so that reading, inference and writing of several images overlap.

    OpenCV, the engines and the files let the interpreter go while they work.

    Args:
        work: does one; says what went wrong.
        jobs: its arguments.
        parallel: threads.

    Returns:
        What went wrong, in the order of the jobs.
    """
    if parallel > 1:
        cv2.setNumThreads(1)
    with ThreadPoolExecutor(parallel) as pool:
        try:
            results = pool.map(lambda job: work(*job), jobs)
            bar = tqdm(results, "predict", len(jobs), disable=None, leave=False, unit=" images")
            return [failure for failure in bar if failure]
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            log.warning("Interrupted: what is done is whole; --resume goes on")
            raise


def main(argv: Sequence[str] | None = None) -> int:
    """Predict; returns the exit code, 1 where any image failed."""
    args = parse(argv)
    images, root = find_images(args.image_path, args.save_dir)
    plans = plan_outputs(list(images), root, args.save_dir, args.outputs.split(","))
    config = config_of(args.model_path, args.config, args.opts)
    views = views_from(config.get("test_config", {}), args)
    require_writable(args.save_dir)
    jobs = [
        (path, plan)
        for path, plan in zip(images, plans, strict=True)
        if not (args.resume and whole(path, plan))
    ]
    if len(jobs) < len(images):
        log.info("%d of %d images are done already", len(images) - len(jobs), len(images))
    if not jobs:
        return 0
    parallel = max(min(len(jobs) // 2, processors(), MAX_PARALLEL), 1)
    predictor = Predictor(args.model_path, config, args.device, views, args.backend, args.precision, parallel)
    if args.minmax and predictor.num_classes > 1:
        raise ValueError(ONE_CLASS_ONLY)
    palette = make_palette(predictor.num_classes, args.custom_color)

    def work(path: Path, plan: dict[str, Path]) -> str | None:
        """From file to files; what went wrong, or None."""
        try:
            image = read_image(path, args.max_pixels)
            prediction = predictor.predict([image])[0]
            if args.minmax:
                prediction = replace(prediction, probabilities=stretch(prediction.probabilities))
            for name, target in plan.items():
                OUTPUTS[name].write(target, image, prediction, palette)
        except (OSError, ValueError) as error:
            return f"{images[path]}{error}"

    failures = in_parallel(work, jobs, parallel)
    log.info("Predicted %d of %d images into %s", len(jobs) - len(failures), len(images), args.save_dir)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0
