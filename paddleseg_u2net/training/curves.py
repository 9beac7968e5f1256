"""`curves.png` of a run: its loss and scores over the steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.environment.optional_imports import has
from paddleseg_u2net.io.files import atomic_write
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

    evaluated = any(row["source"] in LINES for row in rows)
    figure = Figure(figsize=(9 if evaluated else 5, 3.6), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if evaluated else 1, squeeze=False)[0]
    _draw_loss(axes[0], rows)
    if evaluated:
        _draw_scores(axes[1], rows, metric)
    for each in axes:
        each.set_xlabel("iter")
        each.grid(alpha=0.3)
        each.xaxis.get_major_locator().set_params(integer=True)
    with atomic_write(path, durable=False) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _draw_loss(axes: Any, rows: Sequence[Row]) -> None:
    """The loss, and the learning rate on an axis of its own."""
    train = [row for row in rows if row["source"] == "train"]
    steps, losses = _points(train, "loss")
    axes.plot(steps, losses, color="tab:blue", marker="." if len(steps) < 2 else None)
    axes.set(title="loss (blue) and learning rate (grey)", ylabel="loss")
    if losses and min(losses) > 0 and max(losses) > 10 * min(losses):
        axes.set_yscale("log")
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
                label = name if network == "model" else f"{name} (EMA)"
                width = 2.5 if name == metric else 1
                axes.plot(steps, values, f"C{number}{line}", label=label, linewidth=width, marker=".")
    axes.set(title=f"validation scores; {metric} selects the best model")
    if axes.lines:
        axes.legend(fontsize=8, loc="best")
