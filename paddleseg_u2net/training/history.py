"""`history.csv` of a run: a row per log line and per evaluation."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from paddleseg_u2net.bounds import TEXT_BYTES
from paddleseg_u2net.io.files import atomic_write, disk_errors_named

HISTORY = "history.csv"
COLUMNS = ("iter", "source")  # of every row; `source` is a key of `loggers.PREFIXES`
LONGEST = 19  # digits of a step
Row = dict[str, str]


def read_history(path: Path) -> list[Row]:
    """The rows of a history, each column name -> text; empty where there is no file.

    A last line that a killed process left incomplete is not read.
    """
    if not path.is_file():
        return []
    TEXT_BYTES.check(path.stat().st_size, str(path))
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows = csv.DictReader(lines, restval="")
    try:
        return [row for row in rows if None not in row and set(COLUMNS) <= set(row) and _is_step(row["iter"])]
    except csv.Error as error:
        raise ValueError(f"{path}: is damaged: {error}. Fix: move it away") from None


def _is_step(text: str) -> bool:
    return text.isdecimal() and len(text) < LONGEST


def _open(path: Path, mode: str) -> TextIO:
    return cast(TextIO, path.open(mode, newline="", encoding="utf-8"))


class History:
    """Appends the values of a run to its `history.csv`.

    Args:
        path: the file; rows in it are continued.
        step: rows after this step are dropped, as the run repeats these steps.
        evaluated: False also drops the evaluations at this step, which the run repeats.
    """

    def __init__(self, path: Path, step: int, evaluated: bool):
        self.path = path
        last = {"train": step}  # the last step of the rows that are kept
        otherwise = step if evaluated else step - 1
        rows = [row for row in read_history(path) if int(row["iter"]) <= last.get(row["source"], otherwise)]
        self.columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
        self._rewrite(rows)

    def _rewrite(self, rows: list[Row]) -> None:
        with atomic_write(self.path, durable=False) as partial, _open(partial, "w") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def record(self, source: str, values: Mapping[str, float], step: int) -> None:
        """Append a row; see `loggers.Recorder`."""
        if new := [name for name in values if name not in self.columns]:
            self.columns += new  # the scores of the first evaluation
            self._rewrite(read_history(self.path))
        row = {"iter": step, "source": source, **{name: f"{value:.6g}" for name, value in values.items()}}
        with disk_errors_named(self.path), _open(self.path, "a") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def picture(self, image: np.ndarray, step: int) -> None:
        """Nothing: see `previews`."""

    def close(self, failed: bool) -> None:
        """Nothing: each row is complete."""


def continue_history(source: Path, save_dir: Path) -> None:
    """Copy the history of a run that is resumed into the folder where it goes on.

    Args:
        source: folder with the history so far; without one nothing is copied.
        save_dir: folder of the resumed run.
    """
    if (source / HISTORY).is_file():
        shutil.copyfile(source / HISTORY, save_dir / HISTORY)
