"""Plots of the curves of one or several methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.metrics.table import MapMeasures

PLOTS = (  # file, title, x axis, y axis
    ("pr.png", "Precision and recall", "recall", "precision"),
    ("f.png", "F-measure", "threshold", "f"),
)


def draw_curves(folder: Path, methods: Mapping[str, MapMeasures]) -> None:
    """Write `pr.png` and `f.png`: the curves of some methods on one data set.

    The author's curves are drawn if all methods have them, else the means of the curves of the images, and
    nothing if there are neither.

    Args:
        folder: where the files are written.
        methods: name -> accumulated measures.
    """
    curves = {name: measures.curves() for name, measures in methods.items()}
    shared = set.intersection(*map(set, curves.values()))
    prefix, protocol = ("author_", "the author's protocol") if "author_f" in shared else ("", "per image")
    if f"{prefix}f" not in shared:
        return
    need("matplotlib").use("Agg")
    from matplotlib import pyplot

    for file, title, x_label, y_label in PLOTS:
        figure, axes = pyplot.subplots(figsize=(5, 4), layout="constrained")
        for method, own in curves.items():
            y = own[f"{prefix}{y_label}"]
            axes.plot(own.get(f"{prefix}{x_label}", np.arange(len(y))[::-1]), y, label=method)
        axes.set(title=f"{title} ({protocol})", xlabel=x_label, ylabel=y_label, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend()
        with atomic_write(folder / file) as partial:
            figure.savefig(partial, format="png", dpi=150)
        pyplot.close(figure)
