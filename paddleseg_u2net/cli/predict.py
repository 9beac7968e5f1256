"""`python predict.py`: cut out, colour and map the objects of images."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from paddleseg_u2net.cli.flags import (
    MODEL_FLAGS,
    add_flags,
    add_view_flags,
    parser,
    positive,
    some_path,
    views_from,
)
from paddleseg_u2net.data.pairs import list_lines
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.environment.devices import threads_for
from paddleseg_u2net.environment.distributed import Rank, this_rank, wait_for_neighbours
from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.inference.outputs import OUTPUTS, plan_outputs
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.files import require_writable
from paddleseg_u2net.io.images import MAX_PIXELS, SUFFIXES, list_images, read_image
from paddleseg_u2net.metrics.protocol import MapProtocol

log = logging.getLogger(__name__)

EXAMPLES = """\
  python predict.py --model_path u2netp --image_path photos/
  python predict.py --model_path u2netp --image_path cat.jpg --outputs cutout --save_dir cut
  python predict.py --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams \\
      --image_path data/optic_disc_seg/JPEGImages
  python -m paddle.distributed.launch --nproc_per_node 2 predict.py --model_path u2netp --image_path photos/
"""


# tqdm's own, but images a second also where one takes seconds
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
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
    about = "Predict an image, those of a list file, or those of a folder."
    return prediction_flags("predict.py", about, EXAMPLES).parse_args(argv)


def prediction_flags(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser of all that can be said of a prediction."""
    flags = parser(prog, description, examples)
    add_flags(flags, FLAGS)
    add_view_flags(flags, "aug_pred")
    return flags


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


@dataclass(frozen=True)
class Job:
    """An image, its results (output name -> file), and the line of the list that names it."""

    image: Path
    results: dict[str, Path]
    line: str


def plan_jobs(args: argparse.Namespace, rank: Rank) -> list[Job]:
    """What a rank has to do: its share of all images, less what `--resume` finds done.

    All ranks plan the same names and share out before they look what is done, so no share shifts while
    another rank writes.
    """
    images, root = find_images(args.image_path, args.save_dir)
    plans = plan_outputs(list(images), root, args.save_dir, args.outputs.split(","))
    jobs = [Job(path, plan, images[path]) for path, plan in zip(images, plans, strict=True)]
    share = jobs[rank.index :: rank.count]
    if rank.count > 1:
        log.info("Rank %d of %d has %d of %d images", rank.index, rank.count, len(share), len(jobs))
    left = [job for job in share if not (args.resume and whole(job))]
    if len(left) < len(share):
        log.info("%d of %d images are done already", len(share) - len(left), len(share))
    return left


def whole(job: Job) -> bool:
    """Whether all results of an image are there, newer than it and readable."""
    try:
        return all(
            path.stat().st_mtime >= job.image.stat().st_mtime and read_image(path, sys.maxsize) is not None
            for path in job.results.values()
        )
    except (OSError, ValueError):
        return False


class Worker:
    """One model that turns image files into result files.

    Args:
        args: the flags.
        config: of the model.
        parallel: threads that will call it at once.
    """

    def __init__(self, args: argparse.Namespace, config: Mapping[str, Any], parallel: int):
        views = views_from(config.get("test_config", {}), args)
        self.predictor = Predictor(
            *(args.model_path, config, args.device, views, args.backend, args.precision, parallel),
            map_protocol=MapProtocol.from_options(vars(args)),
        )
        self.palette = make_palette(self.predictor.num_classes, args.custom_color)
        self.max_pixels, self.parallel = args.max_pixels, parallel

    def __call__(self, job: Job) -> str:
        """Do one image; what went wrong, or nothing."""
        try:
            image = read_image(job.image, self.max_pixels)
            prediction = self.predictor.predict([image])[0]
        except (OSError, ValueError) as error:
            return f"{job.line}{error}"
        except (MemoryError, cv2.error) as error:  # the others may still have room
            return f"{job.line}{job.image}: {str(error).strip() or 'out of memory'}"
        faults = []
        for name, target in job.results.items():
            try:
                OUTPUTS[name].write(target, image, prediction, self.palette)
            except (OSError, ValueError, MemoryError, cv2.error) as error:
                faults.append(f"{job.line}{job.image}: {name}: {error}")
        return "\nerror: ".join(faults)

    def do_all(self, jobs: Sequence[Job]) -> Iterator[str]:
        """Do images in threads, so that reading, inference and writing of several overlap.

        OpenCV, the engines and the files let the interpreter go while they work.

        Yields:
            What went wrong with each, or nothing, in their order.
        """
        if self.parallel > 1:
            cv2.setNumThreads(1)
        with ThreadPoolExecutor(self.parallel) as pool:
            yield from pool.map(self, jobs)  # which cancels what is left where this ends early


def report(results: Iterable[str], count: int, save_dir: Path) -> int:
    """Follow the results of `count` images with a bar and print what went wrong; returns the exit code."""
    bar = results
    with contextlib.suppress(ModuleNotFoundError):  # where an export is all there is, a bar is a luxury
        from tqdm import tqdm

        bar = tqdm(results, "predict", count, disable=None, leave=False, unit=" images", bar_format=BAR)
    try:
        failures = [failure for failure in bar if failure]
    except KeyboardInterrupt:
        log.warning("Interrupted: what is done is whole; --resume goes on")
        raise
    log.info("Predicted %d of %d images into %s", count - len(failures), count, save_dir)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Predict; returns the exit code, 1 where any image failed."""
    args, rank, code = parse(argv), this_rank(), 0
    jobs = plan_jobs(args, rank)
    config = config_of(args.model_path, args.config, args.opts)
    require_writable(args.save_dir)
    if jobs:
        worker = Worker(args, config, threads_for(len(jobs)))
        code = report(worker.do_all(jobs), len(jobs), args.save_dir)
    wait_for_neighbours(rank)
    return code
