"""Reads the folders that `u2net train`, `val` and `evaluate` write, for a report."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from paddleseg_u2net.bounds import MIB, RECORD_BYTES, Bound
from paddleseg_u2net.errors import counted, printable
from paddleseg_u2net.evaluation.csv_files import CURVES
from paddleseg_u2net.evaluation.model import LOWER_IS_BETTER
from paddleseg_u2net.io.text_files import parse_json, parse_record, text_lines
from paddleseg_u2net.models.checkpoint import CONFIG
from paddleseg_u2net.training.history import HISTORY, Row, read_history
from paddleseg_u2net.training.saving import PREVIEWS, PROVENANCE, SETTINGS

METRICS, IMAGES, CONFUSION = "metrics.json", "per_image.csv", "confusion.csv"
MOST_RESULTS = 20
LISTED = 500  # images whose scores a page lists
CONFIG_TEXT = MIB // 4  # characters of a config that a page shows
SMALLER_IS_BETTER = {*LOWER_IS_BETTER, "mae"}
CLASSES = Bound(1024, "classes", "ADE20K, 150; LVIS, 1,203 of which few occur")
Table = list[dict[str, str]]
Read = TypeVar("Read")


@dataclass
class Run:
    """A folder of `u2net train`.

    Attributes:
        folder: its path.
        record: of `run.json`: command, start, versions, git, fingerprints of the data.
        settings: of `settings.json`.
        history: of `history.csv`.
        config: text of `config.yaml`.
        preview: the newest picture of predictions during the training.
        missing: what could not be read, and why.
    """

    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    config: str = ""
    preview: Path | None = None
    missing: list[str] = field(default_factory=list)


@dataclass
class Result:
    """A folder of `u2net val --save_dir`, or of one method of `u2net evaluate`.

    Attributes:
        folder: its path.
        record: of `metrics.json`.
        images: of `per_image.csv`, worst first; the first column names the image.
        curves: of `curves.csv`.
        class_names: of `confusion.csv`.
        confusion: (true class, predicted class) int64: number of pixels; None if there is none.
        missing: what could not be read, and why.
    """

    folder: Path
    record: dict[str, Any]
    images: Table = field(default_factory=list)
    curves: Table = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    confusion: np.ndarray | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def of_maps(self) -> bool:
        """Whether `u2net evaluate` wrote it."""
        return "scores" not in self.record

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the whole data set by name, without those of classes."""
        found = self.record if self.of_maps else mapping(self.record.get("scores"))
        numbers = {name: value for name, value in found.items() if _is_number(value)}
        return {name: float(value) for name, value in numbers.items() if name != "images"}

    @property
    def ranked_by(self) -> str:
        """The score that images are ranked by."""
        columns = list(self.images[0])[1:] if self.images else []
        return next((name for name in ("MAE", "mae", "mIoU") if name in columns), (columns or [""])[0])


@dataclass
class Predictions:
    """A file of `u2net predict --report`.

    Attributes:
        folder: path of the file.
        images: `image`, `presence` and more of each image, in the order of the file.
        record: what the file says of the whole run: `model`, `min_presence`, `complete`.
        missing: images without a presence score are counted here.
    """

    folder: Path
    images: list[dict[str, Any]]
    record: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def presence(self) -> dict[str, float]:
        """The scores by image."""
        scores = {str(row.get("image")): row.get("presence") for row in self.images}
        return {image: number(score) for image, score in scores.items() if _is_number(score)}


Source = Run | Result | Predictions


def find_sources(path: Path) -> list[Source]:
    """Read a folder, or the folders of results below it, or a file of `u2net predict --report`.

    Args:
        path: folder of a run or of results, folder of `u2net evaluate` with several methods, a file in a
            folder of a run or of results, or a file of predictions.

    Raises:
        FileNotFoundError: there is nothing of these.
        ValueError: `metrics.json` is damaged, or there are too many results.
    """
    if path.is_file():
        if path.suffix == ".json" and (found := _read_predictions(path)):
            return [found]
        path = path.parent
    if (path / METRICS).is_file():
        return [_read_result(path)]
    if (path / PROVENANCE).is_file() or (path / HISTORY).is_file():
        return [_read_run(path)]
    found = sorted(file.parent for pattern in ("*", "*/*") for file in path.glob(f"{pattern}/{METRICS}"))
    if len(found) > MOST_RESULTS:
        fix = "name the folders of those to show"
        raise ValueError(f"{path}: {len(found)} folders of results, at most {MOST_RESULTS}. Fix: {fix}")
    if not found:
        what = "no such folder" if not path.exists() else f"holds neither {PROVENANCE} nor {METRICS}"
        fix = "the folder of u2net train, of u2net val --save_dir, or of u2net evaluate --save_dir"
        raise FileNotFoundError(f"{path}: {what}. Fix: {fix}")
    return [_read_result(folder) for folder in found]


def _read_predictions(path: Path) -> Predictions | None:
    """The content of a file of `u2net predict --report`; None if it is another file."""
    try:
        content = parse_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: is damaged: {error}. Fix: predict or measure again") from None
    images = mapping(content).get("images")
    if not isinstance(images, list):
        return None
    record = {name: value for name, value in content.items() if name != "images"}
    predictions = Predictions(path, [dict(mapping(row)) for row in images], record)
    without = len(images) - len(predictions.presence)
    predictions.missing += [f"presence of {counted(without, 'image')} (not recorded)"] if without else []
    predictions.missing += ["the other images (the run was interrupted)"] * (record.get("complete") is False)
    return predictions


def _read_run(folder: Path) -> Run:
    run = Run(folder)
    run.record = _optional(run.missing, folder / PROVENANCE, parse_record) or {}
    run.settings = _optional(run.missing, folder / SETTINGS, parse_record) or {}
    run.history = _optional(run.missing, folder / HISTORY, read_history) or []
    run.config = _optional(run.missing, folder / CONFIG, _read_text) or ""
    previews = [path for path in (folder / PREVIEWS).glob("iter_*.png") if path.stem[5:].isdecimal()]
    run.preview = max(previews, key=lambda path: int(path.stem[5:]), default=None)
    return run


def _read_result(folder: Path) -> Result:
    path = folder / METRICS
    try:
        result = Result(folder, parse_record(path))
    except ValueError as error:
        raise ValueError(f"{path}: is damaged: {error}. Fix: measure again") from None
    result.images = _optional(result.missing, folder / IMAGES, read_table) or []
    result.curves = _optional(result.missing, folder / CURVES, read_table) or []
    if result.of_maps:
        ranked_by = result.ranked_by
        result.images.sort(key=lambda row: -number(row[ranked_by]) if ranked_by else 0)
    elif found := _optional(result.missing, folder / CONFUSION, _read_confusion):
        result.class_names, result.confusion = found
    return result


def _optional(missing: list[str], path: Path, read: Callable[[Path], Read]) -> Read | None:
    """What a file holds; None with an entry in `missing` if it cannot be read."""
    try:
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        return read(path)
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} ({error.strerror or error if isinstance(error, OSError) else error})")
        return None


def _read_text(path: Path) -> str:
    RECORD_BYTES.check(path.stat().st_size)
    return path.read_text(encoding="utf-8", errors="replace")


def read_table(path: Path) -> Table:
    """The rows of a CSV file, each column name -> text.

    Raises:
        ValueError: it is damaged, or exceeds the bounds.
    """
    try:
        reader = csv.DictReader(text_lines(path), restval="")
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"is damaged: {error}") from None
    if any(None in row for row in rows):
        raise ValueError("is damaged: a line has more values than the header")
    return rows


def _read_confusion(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the classes and the matrix; raises ValueError."""
    try:
        rows = list(csv.reader(text_lines(path)))
    except csv.Error as error:
        raise ValueError(f"is damaged: {error}") from None
    CLASSES.check(len(rows) - 1)
    names = rows[0][1:] if rows else []
    if not names or any(len(row) != len(names) + 1 for row in rows) or len(rows) != len(names) + 1:
        raise ValueError("is damaged: expected as many rows as classes")
    if not all(cell.isdecimal() and len(cell) < 19 for row in rows[1:] for cell in row[1:]):
        raise ValueError("is damaged: expected numbers of pixels")
    return names, np.array([[int(cell) for cell in row[1:]] for row in rows[1:]], np.int64)


def attempt(missing: list[str], what: str, make: Callable[[], Read]) -> Read | None:
    """What a function returns; None with an entry in `missing` if it cannot."""
    try:
        return make()
    # a record of others may hold a value of any type where another is expected
    except (OSError, ValueError, TypeError, ImportError, FloatingPointError) as error:
        missing.append(
            f"{what} ({printable(str(error).splitlines()[0] if str(error) else type(error).__name__)})"
        )
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """A value of a record that should be an object; empty if it is something else."""
    return value if isinstance(value, dict) else {}


def number(text: Any) -> float:
    """The number that a cell holds; NaN if it holds none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
