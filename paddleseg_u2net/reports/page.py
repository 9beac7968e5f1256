"""The report of runs and results: one HTML page that needs no other file."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net import __version__
from paddleseg_u2net.io.web_page import render, write_page
from paddleseg_u2net.reports.charts import Chart, Series, histogram, line_chart
from paddleseg_u2net.reports.pictures import short_names
from paddleseg_u2net.reports.results import result_section, rounded
from paddleseg_u2net.reports.runs import run_section
from paddleseg_u2net.reports.sources import (
    LISTED,
    SMALLER_IS_BETTER,
    Predictions,
    Result,
    Run,
    Source,
    number,
)

GENERATOR = "u2net report"
TEMPLATE = Path(__file__).with_name("report.html.j2")
HEAD = 1024  # characters of a page within which its generator is named
CURVE_COLUMNS = (("author_recall", "author_precision"), ("recall", "precision"))


def check_output(path: Path) -> None:
    """Raise FileExistsError if there is a file that is not an earlier report."""
    if path.is_dir():
        raise FileExistsError(
            f"--output {path}: is a folder. Fix: the name of a file, as {path / 'report.html'}"
        )
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            if f'<meta name="generator" content="{GENERATOR}">' not in file.read(HEAD):
                fix = "another --output, or remove it"
                raise FileExistsError(f"{path}: exists already and is not a report. Fix: {fix}")


def write_report(
    path: Path, sources: Sequence[Source], title: str, images: int, image_dir: Path | None = None
) -> list[str]:
    """Write the page.

    Args:
        path: file to write.
        sources: runs, results and predictions, each kind in the order of the page.
        title: heading of the page.
        images: number of the worst and of the best images of each result that are drawn.
        image_dir: photographs for the results of maps, which name none.

    Returns:
        What the page leaves out, and why.
    """
    runs = [run_section(source) for source in sources if isinstance(source, Run)]
    results = [source for source in sources if isinstance(source, Result)]
    names = _names([source.folder for source in results])
    predicted = [_predictions_section(source) for source in sources if isinstance(source, Predictions)]
    for result in results:
        _add_presence(result, [source for source in sources if isinstance(source, Predictions)])
    sections = [result_section(*pair, images, image_dir) for pair in zip(results, names, strict=True)]
    columns = list(dict.fromkeys(name for result in results for name in result.scores))
    page = render(
        TEMPLATE,
        generator=GENERATOR,
        title=title,
        version=__version__,
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        runs=runs,
        predicted=predicted,
        results=sections,
        columns=columns,
        best=_best(results, columns),
        smaller_is_better=SMALLER_IS_BETTER,
        plot=_precision_recall(results, names),
    )
    write_page(path, page)
    return [
        f"{section['name']}: {line}"
        for section in (*runs, *sections, *predicted)
        for line in section["missing"]
    ]


def _predictions_section(source: Predictions) -> dict[str, Any]:
    scores = source.presence
    names = short_names([str(row.get("image")) for row in source.images])
    rows = sorted(source.images, key=lambda row: scores.get(str(row.get("image")), 0))

    def shown(row: dict[str, Any]) -> dict[str, Any]:
        numbers = {key: rounded(row.get(key)) for key in ("presence", "foreground")}
        return {**row, **numbers, "image": names[str(row.get("image"))]}

    return {
        "name": source.folder.name,
        "missing": source.missing,
        "count": len(source.images),
        "emptied": sum(row.get("emptied") is True for row in source.images),
        "failed": sum(bool(row.get("faults")) for row in source.images),
        "model": source.record.get("model"),
        "min_presence": number(source.record.get("min_presence")),
        "bars": histogram(list(scores.values())),
        "rows": [shown(row) for row in rows[:LISTED]],
        "hidden": max(len(rows) - LISTED, 0),
    }


def _add_presence(result: Result, predictions: Sequence[Predictions]) -> None:
    """Add the presence scores of predictions to the images of a result that they name."""
    # `predict` notes the images of a list by absolute paths, `val` those of its config
    scores = {
        os.path.abspath(name): str(score) for one in predictions for name, score in one.presence.items()
    }
    key = next(iter(result.images[0])) if result.images else ""
    found = [scores.get(os.path.abspath(row[key]), "") for row in result.images]
    if any(found):
        for row, score in zip(result.images, found, strict=True):
            row["presence"] = score


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of folders, with those of their parents where some are equal."""
    short = [folder.resolve().name for folder in folders]
    long = ["/".join(folder.resolve().parts[-2:]) for folder in folders]
    return [two if short.count(one) > 1 else one for one, two in zip(short, long, strict=True)]


def _best(results: Sequence[Result], columns: Sequence[str]) -> dict[str, float]:
    """The best score of each column, if there are several results."""
    found = {name: [one.scores[name] for one in results if name in one.scores] for name in columns}
    choose = {name: min if name in SMALLER_IS_BETTER else max for name in columns}
    return {name: choose[name](values) for name, values in found.items() if len(values) > 1}


def _precision_recall(results: Sequence[Result], names: Sequence[str]) -> Chart | None:
    """The curves of all results by the same protocol."""
    for recall, precision in CURVE_COLUMNS:
        lines = []
        for result, name in zip(results, names, strict=True):
            points = [(number(row.get(recall)), number(row.get(precision))) for row in result.curves]
            points = [point for point in points if all(map(math.isfinite, point))]
            lines.append(Series(name, [x for x, _ in points], [y for _, y in points]))
        if any(line.x for line in lines):
            how = "over the data set" if recall.startswith("author") else "means over images"
            return line_chart(f"precision and recall ({how})", "recall", lines, x_range=(0, 1))
    return None
