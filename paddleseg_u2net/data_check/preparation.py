"""What preparing a data set ignored, converted, merged and left out, as its record says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paddleseg_u2net.data.item_counts import ItemCounts, shown
from paddleseg_u2net.data_check.survey import DatasetSurvey
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.io.text_files import parse_json

# beside the lists that make-dataset, prepare, and check-dataset --fix write
RECORDS = ("dataset.json", "fixed.json")


def changed_items(survey: DatasetSurvey) -> Iterator[Fault]:
    """Yield a fault for each reason for which items were not simply kept when the data sets were prepared."""
    lists = {pair.files.where.rpartition(":")[0] for pair in survey.pairs}
    folders = sorted({Path(path).parent for path in lists if path})
    for record in (folder / name for folder in folders for name in RECORDS):
        for row in ItemCounts.from_json(_read(record).get("items")).rows():
            if row.reason:
                names = f"; first: {text}" if (text := shown(row)) else ""
                what = f"{row.count} {row.items} {row.outcome}: {row.reason}{names}"
                yield Fault(str(record), what)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a record; empty if there is none, or if it is another kind of file."""
    try:
        content = parse_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
