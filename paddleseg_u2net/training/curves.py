"""`curves.png` of a run: its loss and scores over the steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.environment.optional_imports import has
from paddleseg_u2net.io.files import atomic_bytes
from paddleseg_u2net.training.history import COLUMNS, Row

log = logging.getLogger(__name__)

LINES = {"model": "-", "ema_model": "--"}  # line styles of the networks


def _points(rows: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a column; rows without a finite value are left out."""
    found = [(int(row["iter"]), float(row[name])) for row in rows if row.get(name)]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def draw_curves(path: Path, rows: Sequence[Row], metric: str) -> None:
    """Draw the history of a run.

    Args:
        path: PNG to write.
        rows: of `read_history`.
        metric: score that selects the best model; drawn bold.
    """
    if not has("matplotlib"):
        log.info("%s is not drawn: matplotlib is not installed", path)
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    evaluated = any(row["source"] in LINES for row in rows)
    # fixed margins: a tight layout would draw everything twice
    figure = Figure(figsize=(10 if evaluated else 5, 3.6))
    FigureCanvasAgg(figure)
    if evaluated:
        loss, scores = figure.add_axes((0.07, 0.14, 0.34, 0.74)), figure.add_axes((0.52, 0.14, 0.3, 0.74))
        _draw_scores(scores, rows, metric)
    else:
        loss = figure.add_axes((0.14, 0.14, 0.72, 0.74))
    _draw_loss(loss, rows)
    for axes in figure.axes:
        axes.set_xlabel("iter")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    with atomic_bytes(path, durable=False) as buffer:
        figure.savefig(buffer, format="png", dpi=110)


def _draw_loss(axes: Any, rows: Sequence[Row]) -> None:
    """The loss, and the learning rate on an axis of its own."""
    train = [row for row in rows if row["source"] == "train"]
    steps, losses = _points(train, "loss")
    axes.plot(steps, losses, color="tab:blue", marker="." if len(steps) < 2 else None)
    axes.set_title("Loss (blue), learning rate (grey)", fontsize=11)
    axes.grid(alpha=0.3)
    if losses and min(losses) > 0 and max(losses) > 10 * min(losses):
        axes.set_yscale("log", subs=(2, 5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    rate = axes.twinx()
    rate.plot(*_points(train, "lr"), color="grey", alpha=0.6, linewidth=1)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-2, 3))
    rate.tick_params(labelcolor="grey")


def _draw_scores(axes: Any, rows: Sequence[Row], metric: str) -> None:
    """A line for each score and network."""
    measured = [row for row in rows if row["source"] in LINES]
    names = [name for name in dict.fromkeys(n for row in measured for n in row) if name not in COLUMNS]
    scores = [name for name in names if any(row.get(name) for row in measured)]
    for number, name in enumerate(scores):
        for network, line in LINES.items():
            steps, values = _points([row for row in measured if row["source"] == network], name)
            if steps:
                label = name if network == "model" else None
                width = 2.5 if name == metric else 1
                axes.plot(steps, values, f"C{number}{line}", label=label, linewidth=width, marker=".")
    dashed = any(row["source"] == "ema_model" for row in measured)
    axes.set_title("Validation scores" + (" (dashed: moving average)" if dashed else ""), fontsize=11)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.02))
