"""`u2net p`: cut out the objects of a folder of images, as `rembg p` does."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from paddleseg_u2net.cli.predict import report
from paddleseg_u2net.cli.rembg import model_of, output_of, rembg_parser, settings_of
from paddleseg_u2net.environment.devices import threads_for
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.inference.batch import BatchPredictor, announce_replaced, name_jobs
from paddleseg_u2net.inference.image_paths import FoundImages, find_images
from paddleseg_u2net.inference.outputs import OUTPUTS
from paddleseg_u2net.io.locks import folder_lock

log = logging.getLogger(__name__)

EXAMPLES = """\
  u2net p photos cut                    sub-folders are mirrored
  u2net p -w photos cut                 and each image that is added later, until Ctrl-C
"""
PAUSE = 1.0  # seconds between two looks at a watched folder
State = tuple[int, int]


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net p`."""
    flags = rembg_parser("p", "Cut out the objects of a folder of images, as `rembg p` does.", EXAMPLES)
    flags.usage = "u2net p [flags] INPUT OUTPUT"
    flags.add_argument("-w", "--watch", action="store_true", help="go on with images that are added later")
    folders = flags.add_argument_group("input and output")
    folders.add_argument("input", type=Path, help="folder of images")
    folders.add_argument("output", type=Path, help="folder of the results")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Cut out; returns the exit code, 1 if any image failed."""
    args = build_parser().parse_intermixed_args(argv)
    settings, name = settings_of(args), output_of(args)
    if not args.input.exists():
        raise FileNotFoundError(f"{args.input}: no such folder. Fix: a folder of images")
    if not args.input.is_dir():
        raise ValueError(f"{args.input}: is no folder. Fix: u2net i for one image")
    if args.input.resolve() in (args.output.resolve(), *args.output.resolve().parents):
        raise ValueError(f"{args.output}: lies in the folder of the images. Fix: another folder")
    with folder_lock(args.output, "choose another folder"):
        parallel = threads_for(2)
        return _run(args, model_of(args, settings, parallel), name)


def _run(args: argparse.Namespace, model: BatchPredictor, name: str) -> int:
    """Predict what is in the folder, and what is added while it is watched."""
    code, seen, last = 0, dict[Path, State](), dict[Path, State]()
    table = {name: replace(OUTPUTS[name], folder="")}  # the results lie in the folder itself
    while True:
        try:
            found = find_images([args.input], args.output)
        except DataError:
            if not args.watch:
                raise
            found = FoundImages({}, args.input, [])
        jobs = name_jobs(found, args.output, [name], table=table)
        now = {job.image: state_of(job.image) for job in jobs}
        jobs = [job for job in jobs if seen.get(job.image) != now[job.image]]
        # a file that has changed since the last look may still be written
        settled = [job for job in jobs if not args.watch or last.get(job.image) == now[job.image]]
        last = now
        if settled or not args.watch:
            announce_replaced(settled, args.output)
            code |= report(model.run_jobs(settled), len(settled), args.output, found.faults)
            seen.update((job.image, now[job.image]) for job in settled)
        if not args.watch:
            return code
        time.sleep(PAUSE)


def state_of(path: Path) -> State:
    """When a file was changed, in nanoseconds since 1970, and its size; zeros if it has gone."""
    try:
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    except OSError:
        return 0, 0
