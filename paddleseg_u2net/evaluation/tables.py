"""Writes scores as JSON, CSV, Markdown and LaTeX tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.errors import counted
from paddleseg_u2net.evaluation.comparison import Comparison
from paddleseg_u2net.evaluation.csv_files import write_csv, write_curves
from paddleseg_u2net.evaluation.folders import EMPTY_MASKS, FolderScores
from paddleseg_u2net.evaluation.plots import draw_curves
from paddleseg_u2net.io.files import write_text
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES

ALL_MEASURES = MEASURES | AREA_MEASURES
SHOWN = 3  # files that a note names


def write_comparison(
    folder: Path, comparison: Comparison, names: Sequence[str], record: Mapping[str, Any] | None = None
) -> None:
    """Write all results.

    Args:
        folder: one method on one data set is written into it; otherwise each goes into
            `folder/DATA_SET/METHOD`, the plots of all methods into `folder/DATA_SET`, and `comparison.md` and
            `comparison.tex` into it.
        comparison: the scores.
        names: measures, in the order of the columns.
        record: what is added to each `metrics.json`, as plain data.
    """
    single = len(comparison) == 1 and all(len(methods) == 1 for methods in comparison.values())
    for data_set, methods in comparison.items():
        for method, scores in methods.items():
            write_scores(folder if single else folder / data_set / method, method, scores, record or {})
        if len(methods) > 1:
            draw_curves(folder / data_set, {method: scores.measures for method, scores in methods.items()})
    if not single:
        write_text(folder / "comparison.md", markdown(comparison, names))
        write_text(folder / "comparison.tex", latex(comparison, names))


def write_scores(folder: Path, method: str, scores: FolderScores, record: Mapping[str, Any]) -> None:
    """Write `metrics.json`, `per_image.csv`, `curves.csv` and the plots of one method on one data set."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"method": method, "maps": scores.maps, "masks": scores.masks}
    content = {**scores.measures.compute(), "protocol": scores.protocol(), "files": files, **record}
    write_text(folder / "metrics.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    rows = [{"name": name, **row} for name, row in sorted(scores.measures.rows.items())]
    write_csv(folder / "per_image.csv", ["name", *scores.measures.measures], rows)
    write_curves(folder, scores.measures)
    draw_curves(folder, {method: scores.measures})


def markdown(comparison: Comparison, names: Sequence[str]) -> str:
    """One Markdown table per data set, a row per method, the best scores in bold."""
    lines = []
    for data_set, methods in comparison.items():
        heads = [f"{name} {'↑' if ALL_MEASURES[name].larger_is_better else '↓'}" for name in names]
        images = next(iter(methods.values())).measures.images
        lines += ["", f"| {_in_markdown(data_set)} ({images}) | {' | '.join(heads)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        for method, row in _format_scores(methods, names).items():
            cells = [f"**{text}**" if best else text for text, best in row]
            lines.append(f"| {_in_markdown(method)} | {' | '.join(cells)} |")
    return "\n".join(lines[1:]) + "\n"


def latex(comparison: Comparison, names: Sequence[str]) -> str:
    """One LaTeX table with all data sets side by side, the best scores in bold; needs no LaTeX package."""
    heads = [rf"\multicolumn{{{len(names)}}}{{c}}{{{_in_latex(data_set)}}}" for data_set in comparison]
    arrows = ["uparrow" if ALL_MEASURES[name].larger_is_better else "downarrow" for name in names]
    columns = [rf"{_in_latex(name)}$\{arrow}$" for name, arrow in zip(names, arrows, strict=True)]
    tables = [_format_scores(methods, names) for methods in comparison.values()]
    rows = [["", *heads], ["Method", *columns * len(tables)]]
    for method in tables[0]:
        cells = [cell for table in tables for cell in table[method]]
        rows.append([_in_latex(method), *(rf"\textbf{{{text}}}" if best else text for text, best in cells)])
    lines = [" & ".join(row) + r" \\" for row in rows]
    lines.insert(2, r"\hline")
    begin = rf"\begin{{tabular}}{{l{'c' * len(names) * len(tables)}}}"
    return "\n".join([begin, r"\hline", *lines, r"\hline", r"\end{tabular}"]) + "\n"


def _format_scores(
    methods: Mapping[str, FolderScores], names: Sequence[str]
) -> dict[str, list[tuple[str, bool]]]:
    """Method -> for each measure the score with three decimals, and whether it is the best of several."""
    scores = {method: found.measures.compute() for method, found in methods.items()}
    best = {
        name: (max if ALL_MEASURES[name].larger_is_better else min)(
            round(row[name], 3) for row in scores.values()
        )
        for name in names
    }
    return {
        method: [
            (f"{row[name]:.3f}", len(scores) > 1 and round(row[name], 3) == best[name]) for name in names
        ]
        for method, row in scores.items()
    }


def _in_latex(text: str) -> str:
    """Escape text for LaTeX."""
    escaped = re.sub(r"([_&%$#{}])", r"\\\1", text.replace("\\", "/"))
    return re.sub(r"([~^])", r"\\\1{}", escaped)


def _in_markdown(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("|", r"\|")


def notes(comparison: Comparison) -> list[str]:
    """Remarks on the scores, one line each: empty masks, resized maps, files left out."""
    lines = []
    for data_set, methods in comparison.items():
        for method, scores in methods.items():
            where = f"{method} on {data_set}"
            if scores.measures.empty_masks:
                lines.append(
                    f"{where}: {counted(scores.measures.empty_masks, 'mask is', 'masks are')} empty: "
                    f"{EMPTY_MASKS}"
                )
            if scores.resized:
                lines.append(
                    f"{where}: {counted(scores.resized, 'map was', 'maps were')} resized to the "
                    "size of the mask, bilinearly"
                )
            left_out = {
                "have no partner": scores.left_out,
                "are of other formats": scores.not_read,
            }
            for reason, files in left_out.items():
                if files:
                    shown = "; ".join([*files[:SHOWN], "…"] if len(files) > SHOWN else files)
                    lines.append(f"{where}: without {counted(len(files), 'file')} that {reason}: {shown}")
    return lines
