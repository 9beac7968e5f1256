"""Plots of the curves of one or several methods, and of confusion matrices."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.files import atomic_bytes
from paddleseg_u2net.metrics.table import MapMeasures

GLYPHS = "Glyph .* missing from"  # warning of matplotlib about characters that its font lacks
WRITTEN_CLASSES = 20  # numbers in the cells of a larger confusion matrix would not be readable
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
        with atomic_bytes(folder / file) as buffer:
            figure.savefig(buffer, format="png", dpi=150)
        pyplot.close(figure)


@contextmanager
def literal_text() -> Iterator[None]:
    """Draw names of files and classes as they are: no mathematics between $ signs, no warnings of fonts."""
    matplotlib = need("matplotlib")
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLYPHS)
        yield


@literal_text()
def draw_confusion(path: Path, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    """Write a picture of a confusion matrix: the share of each true class that is predicted as each class.

    Args:
        path: PNG to write.
        confusion: (true class, predicted class): number of pixels.
        class_names: one name per class.
    """
    need("matplotlib").use("Agg")
    from matplotlib import pyplot

    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, confusion / np.maximum(totals, 1), np.nan)
    count = len(class_names)
    side = 2.5 + 0.55 * min(count, 40)
    figure, axes = pyplot.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_facecolor("lightgrey")  # of classes without a true pixel
    axes.set_xticks(range(count), class_names, rotation=90)
    axes.set_yticks(range(count), class_names)
    axes.set(xlabel="predicted class", ylabel="true class", title="Share of the true class")
    for row, column in np.argwhere(~np.isnan(shares)) if count <= WRITTEN_CLASSES else ():
        share = shares[row, column]
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=7, color=color)
    with atomic_bytes(path) as buffer:
        figure.savefig(buffer, format="png", dpi=150)
    pyplot.close(figure)
