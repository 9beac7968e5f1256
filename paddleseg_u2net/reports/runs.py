"""The section of a run on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from paddleseg_u2net.reports.charts import Chart, Series, line_chart
from paddleseg_u2net.reports.pictures import embedded
from paddleseg_u2net.reports.sources import CONFIG_TEXT, SMALLER_IS_BETTER, Run, attempt, mapping, number
from paddleseg_u2net.training.history import COLUMNS, Row

NETWORKS = {"model": "", "ema_model": "moving average"}  # sources of evaluations in a history


def run_section(run: Run) -> dict[str, Any]:
    """What the page shows of a run, by the names that the template uses."""
    missing = list(run.missing)
    preview = attempt(missing, "preview", partial(embedded, run.preview)) if run.preview else None
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
