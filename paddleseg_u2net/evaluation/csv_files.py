"""Writes tables of scores and curves as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from paddleseg_u2net.io.files import write_text
from paddleseg_u2net.metrics.table import MapMeasures

CURVES = "curves.csv"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header; keys that a row lacks become empty cells."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def write_curves(folder: Path, measures: MapMeasures) -> None:
    """Write `curves.csv`: the columns of `MapMeasures.curves`, a row for each threshold from high to low.

    Nothing is written if the measures have no curves.

    Args:
        folder: where the file is written.
        measures: of a data set.
    """
    if curves := measures.curves():
        rows = [dict(zip(curves, row, strict=True)) for row in zip_longest(*curves.values())]
        write_csv(folder / CURVES, list(curves), rows)
