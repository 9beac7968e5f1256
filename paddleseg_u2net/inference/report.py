"""The report of a prediction: a JSON file with one record per image."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.io.files import write_text
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.io.text_files import parse_json

if TYPE_CHECKING:
    from paddleseg_u2net.inference.prediction import Prediction

FORMAT = "u2net predict report"  # first value of the file, which tells it from other JSON files
VERSION = 1
ANOTHER_FILE = "choose another name for --report"


@dataclass
class Record:
    """What was predicted for one image, and how that went.

    Args:
        image: its path.
        presence: probability in [0, 1] that it shows an object; see `presence`. None if it failed before, or
            if the maps are stretched.
        emptied: its results are empty because `presence` is too low.
        threshold: a pixel is foreground where saliency is at least this; None for classes.
        foreground: share in [0, 1] of the pixels that are not background in the results.
        classes: ids in the results, ascending; 0 is the background, also of saliency.
        results: name of the output -> file that was written.
        faults: messages; none if all went well.
        seconds: from reading the image to writing its last result.
    """

    image: str
    presence: float | None = None
    emptied: bool = False
    threshold: float | None = None
    foreground: float | None = None
    classes: list[int] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self):
        self._started = time.perf_counter()

    def describe(self, prediction: Prediction) -> None:
        """Note what the results show."""
        classes = prediction.classes
        self.threshold = 0.5 if prediction.multilabel or len(prediction.probabilities) == 1 else None
        self.foreground = round(np.count_nonzero(classes) / classes.size, 6)
        if prediction.multilabel:
            found = prediction.labels.any(axis=(1, 2))
            self.classes = [*([0] if self.foreground < 1 else []), *(np.flatnonzero(found) + 1).tolist()]
        else:
            self.classes = np.flatnonzero(np.bincount(classes.ravel())).tolist()

    def finish(self, faults: Sequence[Fault]) -> None:
        """Note what went wrong, and how long it took."""
        self.faults = [str(fault) for fault in faults]
        self.seconds = round(time.perf_counter() - self._started, 3)


class Report:
    """The records of a run; threads add to it.

    Args:
        settings: what the whole run shares: values of JSON.
        earlier: records of earlier runs to keep, by image; a new record of an image replaces them.
    """

    def __init__(self, settings: dict[str, Any], earlier: dict[str, dict[str, Any]] | None = None):
        self.settings, self.earlier = settings, earlier or {}
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        """Add a finished record."""
        self.records.append(record)

    def text(self, complete: bool) -> str:
        """The file: images sorted by path, one per line.

        Args:
            complete: whether the run reached its end.
        """
        images = self.earlier | {record.image: asdict(record) for record in self.records}
        head = {"format": FORMAT, "version": VERSION, "complete": complete, **self.settings}
        lines = ",\n".join(json.dumps(images[name], allow_nan=False) for name in sorted(images))
        return f'{json.dumps(head, allow_nan=False)[:-1]}, "images": [\n{lines}\n]}}\n'


@contextmanager
def written_report(
    path: Path, settings: dict[str, Any], rank: Rank | None = None, resume: bool = False
) -> Iterator[Report]:
    """Yield a report that is written when the block ends, also by an error or Ctrl-C.

    Args:
        path: the file, whose suffix is `.json`. Each of several ranks writes its own, `NAME.rank0.json`.
        settings: see `Report`.
        rank: this process; None for the only one.
        resume: keep the records of an earlier report in this file.

    Raises:
        ValueError: the name has another suffix, or an existing file is no report.
        LockedError: another process writes this report.
        DiskError: the disk is full or read-only.
    """
    if path.suffix.lower() != ".json":
        raise ValueError(f"--report {path}: expected a name that ends with .json. Fix: {path}.json")
    if rank is not None and rank.count > 1:
        path = path.with_name(f"{path.stem}.rank{rank.index}{path.suffix}")
    with path_lock(path, ANOTHER_FILE):
        found = _records_of(path)
        report, complete = Report(settings, found if resume else None), False
        try:
            yield report
            complete = True
        finally:
            write_text(path, report.text(complete))


def _records_of(path: Path) -> dict[str, dict[str, Any]]:
    """The records of an existing report by image; none if there is no file.

    Raises:
        ValueError: it is something else.
    """
    if not path.exists():
        return {}
    try:
        content = parse_json(path) if path.is_file() else {}
        json.dumps(content, allow_nan=False)  # else keeping it would fail at the end
        found = {record["image"]: record for record in content["images"]}
        if content["format"] != FORMAT or not all(isinstance(image, str) for image in found):
            raise ValueError
        return found
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(
            f"--report {path}: exists and is no report of u2net predict, so it is not replaced. "
            f"Fix: {ANOTHER_FILE}"
        ) from None
