"""Image files -> result files: find the images, name their results, predict them in threads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.image_paths import FoundImages
from paddleseg_u2net.inference.outputs import OUTPUTS, Output, OutputSettings, plan_outputs, write_output
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.presence import presence, without_object
from paddleseg_u2net.inference.report import Record, Report
from paddleseg_u2net.inference.result import Result
from paddleseg_u2net.io.appearance import Note, note_lines
from paddleseg_u2net.io.contents import TooManyPixels
from paddleseg_u2net.io.images import read_image
from paddleseg_u2net.metrics.protocol import MapProtocol

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An image and the files that its prediction is written to.

    Args:
        image: the file.
        results: name of the output -> file.
        where: see `Image`.
        name: see `Image`.
    """

    image: Path
    results: dict[str, Path]
    where: str = ""
    name: str = ""

    @property
    def called(self) -> str:
        """What messages and reports call the image."""
        return self.name or str(self.image)

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


def name_jobs(
    found: FoundImages,
    save_dir: Path,
    outputs: Sequence[str],
    wanted: str | None = None,
    table: Mapping[str, Output] = OUTPUTS,
) -> list[Job]:
    """The jobs of all images; see `plan_jobs`."""
    images = found.images.values()
    plans = plan_outputs(list(found.images), found.root, save_dir, outputs, wanted, table)
    return [Job(image.path, plan, image.where, image.name) for image, plan in zip(images, plans, strict=True)]


def announce_replaced(jobs: Sequence[Job], save_dir: Path, hint: str = "") -> None:
    """Log how many images have results already."""
    replaced = sum(any(path.exists() for path in job.results.values()) for job in jobs)
    if replaced:
        log.info("Results of %s exist in %s and are replaced%s", counted(replaced, "image"), save_dir, hint)


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
    jobs = name_jobs(found, save_dir, outputs, wanted, table)
    share = jobs[rank.index :: rank.count]
    if rank.count > 1:
        images = counted(len(jobs), "image")
        log.info("Rank %d of %d has %d of %s", rank.index, rank.count, len(share), images)
    if not resume:
        announce_replaced(share, save_dir, " (--resume keeps them)")
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
        min_presence: the results of images with a lower `presence` are empty.
    """

    def __init__(
        self,
        predictor: SourcePredictor,
        settings: OutputSettings,
        max_pixels: int = MAX_PIXELS,
        parallel: int = 1,
        table: Mapping[str, Output] = OUTPUTS,
        min_presence: float = 0.0,
    ):
        self.predictor, self.settings, self.table = predictor, settings, table
        self.max_pixels, self.parallel, self.min_presence = max_pixels, parallel, min_presence
        self.report: Report | None = None
        self.notes: list[tuple[str, Note]] = []  # appended to by all threads
        self.emptied: list[Path] = []  # as well

    def result(self, path: Path | str, data: bytes | None = None, record: Record | None = None) -> Result:
        """Predict one image.

        Args:
            path: the file, or what messages call the image.
            data: its content, if that is known.
            record: receives what the report says of it.

        Raises:
            OSError, ValueError, MemoryError, cv2.error: it cannot be read or predicted.
        """
        photograph = self.predictor.open(path, self.max_pixels, data)
        self.notes += [(str(path), note) for note in photograph.notes]
        prediction = self.predictor.predict([photograph.image])[0]
        prediction = self._judge(prediction, record or Record(str(path)))
        return Result(photograph, prediction, self.settings.cutout)

    def run_job(self, job: Job) -> list[Fault]:
        """Predict one image, write its results and report it; returns what went wrong."""
        record = Record(job.called)
        faults = self._run(job, record)
        record.finish(faults)
        if self.report is not None:
            self.report.add(record)
        return faults

    def _run(self, job: Job, record: Record) -> list[Fault]:
        try:
            result = self.result(job.called, job.image.read_bytes() if job.name else None, record)
        except TooManyPixels as error:
            return [Fault(job.where, f"{error}, or raise --max_pixels")]
        except (OSError, ValueError) as error:
            return [Fault(job.where, str(error))]
        except (MemoryError, cv2.error) as error:  # smaller images may still fit
            return [Fault(job.where, f"{job.called}: {reason(error)}")]
        faults = []
        for name, target in job.results.items():
            try:
                write_output(name, target, result, self.settings, job.image, self.table)
                record.results[name] = str(target)
            except (OSError, ValueError, MemoryError, cv2.error) as error:
                faults.append(Fault(job.where, f"{job.called}: {name}: {reason(error)}"))
        return faults

    def _judge(self, prediction: Prediction, record: Record) -> Prediction:
        """The prediction, or an empty one if its image shows no object; both noted in the record."""
        if self.min_presence == 0 and self.report is None:
            return prediction
        if self.predictor.map_protocol is MapProtocol.PLAIN:  # stretching hides what the network was sure of
            record.presence = presence(prediction.saliency)
        if record.presence is not None and record.presence < self.min_presence:
            maps = without_object(prediction.probabilities, prediction.multilabel)
            prediction, record.emptied = replace(prediction, probabilities=maps), True
            self.emptied.append(Path(record.image))
        if self.report is not None:
            record.describe(prediction)
        return prediction

    def run_jobs(self, jobs: Sequence[Job]) -> Generator[list[Fault]]:
        """Run jobs in threads, so that reading, inference and writing of several images overlap.

        What was changed or left out when images were read is logged at the end.
        OpenCV, the engines and file access release Python's lock while they work.

        Yields:
            What went wrong with each job, in their order.
        """
        if self.parallel > 1:
            cv2.setNumThreads(1)
        self.notes, self.emptied = [], []
        with ThreadPoolExecutor(self.parallel) as pool:
            yield from pool.map(self.run_job, jobs)  # if this ends early, jobs not started are cancelled
        self.log_notes(len(jobs))

    def log_notes(self, count: int) -> None:
        """Log what was changed or left out when `count` images were read, and how many show no object."""
        for level, line in note_lines(self.notes, count):
            log.log(level, "%s", line)
        if self.min_presence:
            what = "The results of %d of %s are empty: presence is below --min_presence %g"
            log.info(what, len(self.emptied), counted(count, "image"), self.min_presence)
