"""Image files -> result files: find the images, name their results, predict them in threads."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.data.pairs import list_lines
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import DataError, Fault, counted
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.outputs import OUTPUTS, Output, OutputSettings, plan_outputs, write_output
from paddleseg_u2net.inference.result import Result
from paddleseg_u2net.io.appearance import Note, note_lines
from paddleseg_u2net.io.contents import TooManyPixels
from paddleseg_u2net.io.file_kinds import READ, READ_SUFFIXES, is_plain_text
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.io.listing import is_image, list_images
from paddleseg_u2net.io.paths import local_path

log = logging.getLogger(__name__)


class Image(NamedTuple):
    """An image file.

    Args:
        path: as given by the user.
        where: the line of the list that names it (`photos.txt:3`), or nothing.
    """

    path: Path
    where: str = ""


@dataclass(frozen=True)
class FoundImages:
    """The images that several paths name.

    Args:
        images: each once, by absolute path.
        root: folder that the outputs mirror: the common parent of what was given.
        faults: one per path that names no images.
    """

    images: dict[Path, Image]
    root: Path
    faults: list[Fault | str]


def find_images(paths: Iterable[Path], save_dir: Path, table: Mapping[str, Output] = OUTPUTS) -> FoundImages:
    """Find the images that paths name: images, folders with sub-folders, and list files.

    Args:
        paths: at least one; repeated images are taken once.
        save_dir: earlier results in it are left out of a folder that contains them.
        table: the kinds of results that there are.

    Raises:
        DataError: none of the paths names an image.
    """
    images: dict[Path, Image] = {}
    roots: list[Path] = []
    faults: list[Fault | str] = []
    for path in dict.fromkeys(paths):
        try:
            found, root = _images_of(path, [save_dir / output.folder for output in table.values()])
        except DataError as error:
            faults += error.faults
        except (OSError, ValueError) as error:  # a folder or a list that cannot be read
            faults.append(str(error))
        else:
            for image in found:
                images.setdefault(_absolute(image.path), image)
            roots.append(_absolute(root))
    if not images:
        raise DataError(faults)
    return FoundImages(images, Path(os.path.commonpath(roots)), faults)


def _images_of(path: Path, results: Iterable[Path]) -> tuple[list[Image], Path]:
    """The images that one path names, and the folder that their outputs would mirror."""
    if path.is_dir():
        return _images_in(path, results), path
    if not path.is_file() and os.path.lexists(path):
        return [Image(path)], path.parent  # a broken link or a pipe; reading it says so
    if not path.is_file():
        pattern = any(character in str(path) for character in "*?[")
        what = "no file matches this pattern" if pattern else "no such file or folder"
        raise DataError([Fault(str(path), what)])
    if path.suffix.lower() in READ_SUFFIXES or is_image(path) or not _is_text(path):
        return [Image(path)], path.parent
    images = [Image(_named(line, path), f"{path}:{number}") for number, line in list_lines(path)]
    if not any(image.path.is_file() for image in images):
        fix = "name one image per line, relative to the folder of the list"
        raise DataError([Fault(str(path), "this list names no images that exist", fix)])
    return images, Path(os.path.commonpath([image.path.parent for image in images]))


def _images_in(folder: Path, results: Iterable[Path]) -> list[Image]:
    """The images of a folder, without those in the folders of results."""
    results = [result.resolve() for result in results if folder.resolve() in result.resolve().parents]
    found = [path for path in list_images(folder) if not set(results) & set(path.resolve().parents)]
    if not found:
        formats = ", ".join(kind.noun.removesuffix(" image") for kind in READ)
        raise DataError([Fault(str(folder), f"no images ({formats}) in this folder")])
    return [Image(path) for path in found]


def _is_text(path: Path) -> bool:
    """Whether a file without an image's suffix is a list; PaddleSeg takes any such file for one."""
    with path.open("rb") as file:
        return is_plain_text(file.read(1 << 16))


def _named(line: str, path: Path) -> Path:
    """The image that a line of a list names: the whole line if that file exists, else its first column."""
    image = local_path(line, path.parent)
    if not image.is_file():
        image = local_path(line.split("\t" if "\t" in line else None)[0].strip(), path.parent)
    return _absolute(image)


def _absolute(path: Path) -> Path:
    """An absolute path without `..`, symbolic links kept."""
    return Path(os.path.abspath(path))


@dataclass(frozen=True)
class Job:
    """An image and the files that its prediction is written to.

    Args:
        image: the file.
        results: name of the output -> file.
        where: see `Image`.
    """

    image: Path
    results: dict[str, Path]
    where: str = ""

    def is_done(self) -> bool:
        """Whether all results exist, are newer than the image and can be read."""
        try:
            changed = self.image.stat().st_mtime
            return all(
                path.stat().st_mtime >= changed and read_image(path, sys.maxsize) is not None
                for path in self.results.values()
            )
        except (OSError, ValueError):
            return False


def plan_jobs(
    found: FoundImages,
    save_dir: Path,
    outputs: Sequence[str],
    rank: Rank | None = None,
    resume: bool = False,
    wanted: str | None = None,
    table: Mapping[str, Output] = OUTPUTS,
) -> list[Job]:
    """The jobs of a rank: its share of all images, without those that are done if `resume`.

    All ranks plan the same names and divide them before they check for results, so that the shares do not
    change while another rank writes.

    Args:
        found: the images.
        save_dir: folder of the results.
        outputs: keys of `table`.
        rank: this process; None for the only one.
        resume: leave out images whose results are complete.
        wanted: see `OutputSettings.format`.
        table: the kinds of results that there are.

    Raises:
        ValueError: a result would overwrite an image.
    """
    rank = rank or Rank()
    plans = plan_outputs(list(found.images), found.root, save_dir, outputs, wanted, table)
    jobs = [
        Job(image.path, plan, image.where) for image, plan in zip(found.images.values(), plans, strict=True)
    ]
    share = jobs[rank.index :: rank.count]
    if rank.count > 1:
        images = counted(len(jobs), "image")
        log.info("Rank %d of %d has %d of %s", rank.index, rank.count, len(share), images)
    if not resume:
        replaced = sum(any(path.exists() for path in job.results.values()) for job in share)
        if replaced:
            log.info(
                "Results of %s exist in %s and are replaced (--resume keeps them)",
                counted(replaced, "image"),
                save_dir,
            )
        return share
    left = [job for job in share if not job.is_done()]
    if len(left) < len(share):
        done = len(share) - len(left)
        verb = "is" if done == 1 else "are"
        log.info("%d of %s %s done already", done, counted(len(share), "image"), verb)
    return left


class BatchPredictor:
    """Predicts image files with one model and writes the results.

    Args:
        predictor: the model; threads call it at once.
        settings: how results are drawn and written.
        max_pixels: larger images are refused before they are decoded.
        parallel: number of threads.
        table: the kinds of results that there are.
    """

    def __init__(
        self,
        predictor: SourcePredictor,
        settings: OutputSettings,
        max_pixels: int = MAX_PIXELS,
        parallel: int = 1,
        table: Mapping[str, Output] = OUTPUTS,
    ):
        self.predictor, self.settings, self.table = predictor, settings, table
        self.max_pixels, self.parallel = max_pixels, parallel
        self.notes: list[tuple[str, Note]] = []  # appended to by all threads

    def result(self, path: Path, data: bytes | None = None) -> Result:
        """Predict one image; `data` is its content, if that is known.

        Raises:
            OSError, ValueError, MemoryError, cv2.error: it cannot be read or predicted.
        """
        photograph = self.predictor.open(path, self.max_pixels, data)
        self.notes += [(str(path), note) for note in photograph.notes]
        return Result(photograph, self.predictor.predict([photograph.image])[0], self.settings.cutout)

    def run_job(self, job: Job) -> list[Fault]:
        """Predict one image and write its results; returns what went wrong."""
        try:
            result = self.result(job.image)
        except TooManyPixels as error:
            return [Fault(job.where, f"{error}, or raise --max_pixels")]
        except (OSError, ValueError) as error:
            return [Fault(job.where, str(error))]
        except (MemoryError, cv2.error) as error:  # smaller images may still fit
            return [Fault(job.where, f"{job.image}: {reason(error)}")]
        faults = []
        for name, target in job.results.items():
            try:
                write_output(name, target, result, self.settings, job.image, self.table)
            except (OSError, ValueError, MemoryError, cv2.error) as error:
                faults.append(Fault(job.where, f"{job.image}: {name}: {reason(error)}"))
        return faults

    def run_jobs(self, jobs: Sequence[Job]) -> Iterator[list[Fault]]:
        """Run jobs in threads, so that reading, inference and writing of several images overlap.

        What was changed or left out when images were read is logged at the end.
        OpenCV, the engines and file access release Python's lock while they work.

        Yields:
            What went wrong with each job, in their order.
        """
        if self.parallel > 1:
            cv2.setNumThreads(1)
        self.notes = []
        with ThreadPoolExecutor(self.parallel) as pool:
            yield from pool.map(self.run_job, jobs)  # if this ends early, jobs not started are cancelled
        for level, line in note_lines(self.notes, len(jobs)):
            log.log(level, "%s", line)
