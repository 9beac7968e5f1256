"""The report of runs and results: one HTML page that needs no other file."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from paddleseg_u2net import __version__
from paddleseg_u2net.bounds import MIB
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.errors import printable
from paddleseg_u2net.evaluation.csv_files import CURVES
from paddleseg_u2net.evaluation.model import LOWER_IS_BETTER
from paddleseg_u2net.io.web_page import render, write_page
from paddleseg_u2net.reports.charts import Chart, Series, histogram, line_chart
from paddleseg_u2net.reports.pictures import draw, embedded, open_items, short_names
from paddleseg_u2net.reports.sources import Predictions, Result, Run, Source, mapping, number
from paddleseg_u2net.training.history import COLUMNS, Row

GENERATOR = "u2net report"
TEMPLATE = Path(__file__).with_name("report.html.j2")
HEAD = 1024  # characters of a page within which its generator is named
SHOWN_CLASSES = 40  # of a confusion matrix that is drawn whole
CONFUSED = 12  # pairs of classes that are listed
LISTED = 500  # images whose scores are listed
CONFIG_TEXT = MIB // 4  # characters of a config that are shown
NETWORKS = {"model": "", "ema_model": "moving average"}  # sources of evaluations in a history
SMALLER_IS_BETTER = {*LOWER_IS_BETTER, "mae"}
CURVE_COLUMNS = (("author_recall", "author_precision"), ("recall", "precision"))
CLASS_MEASURES = ("IoU", "Dice", "Precision", "Recall")
Made = TypeVar("Made")


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
    runs = [_run_section(source) for source in sources if isinstance(source, Run)]
    results = [source for source in sources if isinstance(source, Result)]
    names = _names([source.folder for source in results])
    predicted = [_predictions_section(source) for source in sources if isinstance(source, Predictions)]
    for result in results:
        _add_presence(result, [source for source in sources if isinstance(source, Predictions)])
    sections = [_result_section(*pair, images, image_dir) for pair in zip(results, names, strict=True)]
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
    return {
        "name": source.folder.name,
        "missing": source.missing,
        "count": len(source.images),
        "emptied": sum(row.get("emptied") is True for row in source.images),
        "failed": sum(bool(row.get("faults")) for row in source.images),
        "bars": histogram(list(scores.values())),
        "rows": [{**row, "image": names[str(row.get("image"))]} for row in rows[:LISTED]],
        "hidden": max(len(rows) - LISTED, 0),
    }


def _add_presence(result: Result, predictions: Sequence[Predictions]) -> None:
    """Add the presence scores of predictions to the images of a result that they name."""
    scores = {image: score for source in predictions for image, score in source.presence.items()}
    key = next(iter(result.images[0])) if result.images else ""
    if any(row[key] in scores for row in result.images):
        for row in result.images:
            row["presence"] = str(scores.get(row[key], ""))


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of folders, with those of their parents where some are equal."""
    short = [folder.resolve().name for folder in folders]
    long = ["/".join(folder.resolve().parts[-2:]) for folder in folders]
    return [two if short.count(one) > 1 else one for one, two in zip(short, long, strict=True)]


def _attempt(missing: list[str], what: str, make: Callable[[], Made]) -> Made | None:
    """What a function returns; None with an entry in `missing` if it cannot."""
    try:
        return make()
    # a record of others may hold a value of any type where another is expected
    except (OSError, ValueError, TypeError, ImportError, FloatingPointError) as error:
        missing.append(
            f"{what} ({printable(str(error).splitlines()[0] if str(error) else type(error).__name__)})"
        )
        return None


# -- runs -----------------------------------------------------------------------------------------------


def _run_section(run: Run) -> dict[str, Any]:
    missing = list(run.missing)
    preview = _attempt(missing, "preview", lambda: embedded(run.preview)) if run.preview else None
    if not run.preview:
        missing.append("previews (the run has none)")
    measured = [row for row in run.history if row["source"] in NETWORKS]
    names = [name for name in dict.fromkeys(name for row in measured for name in row) if name not in COLUMNS]
    names = [name for name in names if any(row.get(name) for row in measured)]
    metric = str(run.settings.get("metric", ""))
    if not measured:
        missing.append("validation scores (the run was not evaluated: --do_eval)")
    return {
        "name": run.folder.resolve().name,
        "missing": missing,
        "tiles": _run_tiles(run, measured, metric),
        "charts": _run_charts(run.history, sorted(names, key=lambda name: name != metric)),
        "preview": preview,
        "preview_name": run.preview.stem if run.preview else "",
        "record": run.record,
        "settings": {name: value for name, value in run.settings.items() if value is not None},
        "config": run.config[:CONFIG_TEXT],
    }


def _run_tiles(run: Run, measured: Sequence[Row], metric: str) -> list[tuple[str, str]]:
    """Pairs of a value and what it is."""
    steps = [int(row["iter"]) for row in run.history]
    planned = run.settings.get("iters")
    tiles = (
        [(f"{max(steps):,}", f"of {planned:,} steps" if isinstance(planned, int) else "steps")]
        if steps
        else []
    )
    choose = min if metric in SMALLER_IS_BETTER else max
    for network, text in NETWORKS.items():
        rows = [
            row for row in measured if row["source"] == network and not math.isnan(number(row.get(metric)))
        ]
        if rows:
            best = choose(rows, key=lambda row: number(row[metric]))
            name = f"best {metric}" + (f", {text}" if text else "")
            tiles.append((f"{number(best[metric]):.4f}", f"{name}, at step {int(best['iter']):,}"))
    losses = [number(row.get("loss")) for row in run.history if row["source"] == "train"]
    if losses := [loss for loss in losses if math.isfinite(loss)]:
        tiles.append((f"{losses[-1]:.4g}", "last loss"))
    data = mapping(run.record.get("data"))
    counts = {name: mapping(found).get("pairs") for name, found in data.items()}
    tiles += [(f"{count:,}", f"pairs in {name}") for name, count in counts.items() if isinstance(count, int)]
    return tiles


def _run_charts(history: Sequence[Row], names: Sequence[str]) -> list[Chart]:
    """The loss, each score, the learning rate."""
    charts = [line_chart("loss", "step", [_series(history, "train", "loss", "")], may_be_log=True)]
    for name in names:
        lines = [_series(history, network, name, text) for network, text in NETWORKS.items()]
        better = "smaller is better" if name in SMALLER_IS_BETTER else ""
        charts.append(line_chart(f"{name} ({better})" if better else name, "step", lines))
    charts.append(line_chart("learning rate", "step", [_series(history, "train", "lr", "")]))
    return [chart for chart in charts if chart]


def _series(history: Sequence[Row], source: str, name: str, text: str) -> Series:
    found = [(int(row["iter"]), number(row.get(name))) for row in history if row["source"] == source]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    last = f"last {found[-1][1]:.4g}" if found else ""
    label = ", ".join(filter(None, (text, last)))
    return Series(label, [step for step, _ in found], [value for _, value in found], dashed=bool(text))


# -- results --------------------------------------------------------------------------------------------


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


def _result_section(result: Result, name: str, images: int, image_dir: Path | None) -> dict[str, Any]:
    missing = [
        line for line in result.missing if result.scores.keys() & {"maxF", "max_f"} or CURVES not in line
    ]
    examples = _attempt(missing, "pictures", lambda: _examples(result, images, image_dir)) if images else None
    sheets = {}
    if images and not examples:  # val has drawn some
        for file in ("worst.jpg", "best.jpg"):
            if (result.folder / file).is_file():
                sheets[file] = _attempt(missing, file, lambda file=file: embedded(result.folder / file))
    values = [number(row.get(result.ranked_by)) for row in result.images]
    values = [value for value in values if math.isfinite(value)]
    record = result.record
    plot = None
    if not result.curves and (result.folder / "pr.png").is_file():
        plot = _attempt(missing, "pr.png", lambda: embedded(result.folder / "pr.png"))
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
    return [(names[row[key]], [_rounded(row[column]) for column in columns]) for row in rows]


def _rounded(text: str) -> str:
    return f"{number(text):.4f}" if math.isfinite(number(text)) else text


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
        scores = {name: _rounded(row[name]) for name in shown}
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
