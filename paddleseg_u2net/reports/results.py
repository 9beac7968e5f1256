"""The section of a result on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.evaluation.csv_files import CURVES
from paddleseg_u2net.reports.charts import histogram
from paddleseg_u2net.reports.pictures import draw, embedded, open_items, short_names
from paddleseg_u2net.reports.sources import CONFIG_TEXT, LISTED, Result, attempt, mapping, number

SHOWN_CLASSES = 40  # of a confusion matrix that is drawn whole
CONFUSED = 12  # pairs of classes that are listed
CLASS_MEASURES = ("IoU", "Dice", "Precision", "Recall")


def result_section(result: Result, name: str, images: int, image_dir: Path | None) -> dict[str, Any]:
    """What the page shows of a result, by the names that the template uses.

    Args:
        result: the result.
        name: its heading.
        images: see `page.write_report`.
        image_dir: see `page.write_report`.
    """
    missing = [
        line for line in result.missing if result.scores.keys() & {"maxF", "max_f"} or CURVES not in line
    ]
    examples = attempt(missing, "pictures", lambda: _examples(result, images, image_dir)) if images else None
    sheets = {}
    if images and not examples:  # val has drawn some
        for file in ("worst.jpg", "best.jpg"):
            if (result.folder / file).is_file():
                sheets[file] = attempt(missing, file, lambda file=file: embedded(result.folder / file))
    values = [number(row.get(result.ranked_by)) for row in result.images]
    values = [value for value in values if math.isfinite(value)]
    record = result.record
    plot = None
    if not result.curves and (result.folder / "pr.png").is_file():
        plot = attempt(missing, "pr.png", lambda: embedded(result.folder / "pr.png"))
    columns = list(result.images[0])[1:] if result.images else []
    return {
        "name": name,
        "missing": missing,
        "of_maps": result.of_maps,
        "scores": result.scores,
        "images": record.get("images"),
        "model": mapping(record.get("model")),
        "classes": _class_table(result),
        "confusion": _confusion(result),
        "confused": _confused(result),
        "plot": plot,
        "examples": examples or {},
        "sheets": {file: uri for file, uri in sheets.items() if uri},
        "ranked_by": result.ranked_by,
        "bars": histogram(values),
        "columns": columns,
        "rows": _image_rows(result, columns),
        "hidden": max(len(result.images) - LISTED, 0),
        "record": record,
        "protocol": {
            key: value
            for name in ("files", "protocol", "rules")
            for key, value in mapping(record.get(name)).items()
        },
        "config": dump_config(mapping(record.get("config")))[:CONFIG_TEXT] if record.get("config") else "",
        "of_classes": not result.of_maps and not record.get("map_protocol"),
    }


def _image_rows(result: Result, columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    rows = result.images[:LISTED]
    key = next(iter(rows[0])) if rows else ""
    names = short_names([row[key] for row in rows])
    return [(names[row[key]], [rounded(row[column]) for column in columns]) for row in rows]


def rounded(text: Any) -> str:
    """A number with four decimals; any other text as it is, nothing for None."""
    return f"{number(text):.4f}" if math.isfinite(number(text)) else "" if text is None else str(text)


def _examples(result: Result, count: int, image_dir: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The worst and the best images with their pictures; no image is in both."""
    if not result.images:
        raise ValueError("there are no scores of images")
    load, palette = open_items(result, image_dir)
    key = next(iter(result.images[0]))
    names = short_names([row[key] for row in result.images])
    worst = result.images[:count]
    best = [row for row in result.images[::-1][:count] if row not in worst]

    def example(row: dict[str, str]) -> dict[str, Any]:
        shown = [name for name in (result.ranked_by, "maxF", "max_f", "mIoU", "presence") if row.get(name)]
        scores = {name: rounded(row[name]) for name in shown}
        return {"name": names[row[key]], "scores": scores, "pictures": draw(load(row[key]), palette)}

    return {"Worst": [example(row) for row in worst], "Best": [example(row) for row in best]}


def _class_table(result: Result) -> list[dict[str, Any]]:
    """A row for each class: its measures, its share of the pixels, and in how many images it occurs."""
    scores = mapping(result.record.get("scores"))
    measures = {name: mapping(scores.get(f"class_{name}")) for name in CLASS_MEASURES}
    occurrences = mapping(result.record.get("images_with_class"))
    labels = result.confusion is None  # which overlap; colour 0 is that of no label
    palette = make_palette(len(measures["IoU"]))[labels:]
    shares: dict[str, float] = {}
    if result.confusion is not None and result.confusion.sum():
        totals = result.confusion.sum(axis=1) / result.confusion.sum()
        shares = dict(zip(result.class_names, totals.tolist(), strict=True))
    return [
        {
            "name": name,
            "measures": {measure: _share_or_none(found.get(name)) for measure, found in measures.items()},
            "share": shares.get(name),
            "images": occurrences.get(name),
            "color": "#{:02x}{:02x}{:02x}".format(*palette[index % len(palette)]),
        }
        for index, name in enumerate(measures["IoU"])
    ]


def _share_or_none(value: Any) -> float | None:
    return value if isinstance(value, float) and 0 <= value <= 1 else None


def _confusion(result: Result) -> list[tuple[str, list[tuple[str, str]]]] | None:
    """For each true class its name, and text and style classes of each cell; None if there are too many."""
    if result.confusion is None or len(result.class_names) > SHOWN_CLASSES:
        return None
    shares = _shares(result.confusion)
    rows = []
    for row, name in enumerate(result.class_names):
        cells = []
        for column, share in enumerate(shares[row]):
            kind = "right" if row == column else "wrong"
            # the square root shows small shares of wrong pixels
            level = 0 if math.isnan(share) else round(10 * (share if row == column else math.sqrt(share)))
            text = "" if math.isnan(share) else f"{share:.1%}" if share >= 0.0005 else "·"
            cells.append((text, f"{kind} h{level}"))
        rows.append((name, cells))
    return rows


def _shares(confusion: np.ndarray) -> np.ndarray:
    """(true class, predicted class): share of the true class; NaN for classes without a pixel."""
    totals = confusion.sum(axis=1, keepdims=True)
    return np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan)


def _confused(result: Result) -> list[dict[str, Any]]:
    """The pairs of classes that most pixels are confused between."""
    if result.confusion is None or len(result.class_names) < 3:
        return []
    wrong = result.confusion * (1 - np.eye(len(result.confusion), dtype=np.int64))
    shares, total = _shares(result.confusion), max(int(wrong.sum()), 1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]
    pairs = [divmod(int(index), len(wrong)) for index in order]
    return [
        {
            "true": result.class_names[row],
            "predicted": result.class_names[column],
            "share": float(shares[row, column]),
            "of_errors": int(wrong[row, column]) / total,
        }
        for row, column in pairs
        if wrong[row, column]
    ]
