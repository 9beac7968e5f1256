r"""Measure saliency maps of any method against masks: one command, every number named by its protocol.

python tools/evaluate_folder.py --pred_dir output/saliency --label_dir data/ECSSD/masks --save_dir scores
python tools/evaluate_folder.py --pred_dir maps/Amulet maps/DSS --label_dir data/SOD/masks --save_dir scores
python tools/evaluate_folder.py --pred_dir Ours=output/maps BASNet=maps/basnet --save_dir scores \
    --label_dir ECSSD=data/ECSSD/masks SOD=data/SOD/masks --measures max_f mae weighted_f s_measure

Of several sets, each --pred_dir holds a folder of each set's name. max_f and mean_f are by the author's
protocol, that of the paper's tables: precision and recall are averaged over the set before F is taken; those
named per_image are PySODMetrics'. In --save_dir come metrics.json, per_image.csv, pr.png and f.png; of
several methods or sets a folder for each, and comparison.md, comparison.tex and the curves of all methods.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.evaluation.folders import FolderScores, Paired, Rules, pair_up, score_folder
from paddleseg_u2net.io.files import atomic_write, require_writable
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES, MapMeasures

ALL = MEASURES | AREA_MEASURES
PLOTS = (
    ("pr.png", "Precision and recall", "recall", "precision"),
    ("f.png", "F-measure", "threshold", "f"),
)
Scores = dict[str, dict[str, FolderScores]]  # set -> method -> scores


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="evaluate_folder.py"
    )
    named = {"nargs": "+", "required": True, "metavar": "[NAME=]FOLDER"}
    parser.add_argument("--pred_dir", **named, help="maps of a method, or of several")
    parser.add_argument("--label_dir", **named, help="masks of a set, or of several")
    parser.add_argument("--save_dir", type=Path, required=True, help="where the results are written")
    parser.add_argument(
        "--workers", type=int, default=processors(), help="processes (one a core: %(default)s)"
    )
    parser.add_argument(
        *("--measures",),
        nargs="+",
        default=list(MEASURES),
        choices=list(ALL),
        metavar="NAME",
        help=f"in order, of {', '.join(ALL)}; default all but the last four, which split maps at a half",
    )
    parser.add_argument(
        "--resize", action="store_true", help="bring maps of another size to that of their mask"
    )
    parser.add_argument(
        *("--common_only",),
        action="store_true",
        help="measure what has both map and mask; what is left out is told. Otherwise that is an error",
    )
    parser.add_argument(
        *("--as_is",),
        action="store_true",
        help="do not stretch each map to 0 .. 1 first, as PySODMetrics does (for all but max_f and mean_f)",
    )
    parser.add_argument(
        *("--author_minmax",),
        action="store_true",
        help="stretch maps for max_f and mean_f too, where they were saved as the network gave them",
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers: expected at least 1")
    args.measures = list(dict.fromkeys(args.measures))
    return args


def named_folders(words: Sequence[str], flag: str) -> dict[str, Path]:
    """`NAME=FOLDER` or a folder, which is called as it is on disk -> by name.

    Raises:
        ValueError: two of one name, or a name or folder that is none.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name or Path(word).is_dir():
            name, path = Path(word).resolve().name, word
        if not path or name in ("", ".", ".."):
            raise ValueError(f"{flag} '{word}': expected a folder. Fix: FOLDER or NAME=FOLDER")
        if name in found:
            raise ValueError(f"{flag}: two folders are called '{name}'. Fix: NAME=FOLDER")
        found[name] = Path(path)
    return found


def check_apart(save_dir: Path, folders: Iterable[Path]) -> None:
    """Raise ValueError where results would lie among maps or masks, and be measured the next time."""
    for folder in folders:
        if folder.resolve() in (save_dir.resolve(), *save_dir.resolve().parents):
            raise ValueError(f"--save_dir {save_dir}: lies in {folder}. Fix: another folder")


def measure_all(methods: Mapping[str, Path], sets: Mapping[str, Path], args: argparse.Namespace) -> Scores:
    """Each method on each set.

    Raises:
        DataError: the faults of all of them; where a folder is absent or fits no other, before all else.
    """
    rules = Rules(tuple(args.measures), not args.as_is, args.author_minmax, args.resize)
    paired: dict[tuple[str, str], tuple[Path, Paired]] = {}
    faults = []
    for (title, masks), (method, maps) in product(sets.items(), methods.items()):
        folder = maps / title if len(sets) > 1 else maps
        try:
            paired[title, method] = folder, pair_up(folder, masks, args.common_only)
            faults += paired[title, method][1].faults
        except FileNotFoundError as error:
            faults.append(str(error))
    if len(paired) < len(sets) * len(methods) or not all(pairs.pairs for _, pairs in paired.values()):
        _report(faults)
    scores: Scores = {title: {} for title in sets}
    for (title, method), (folder, pairs) in paired.items():
        found = score_folder(folder, pairs, rules, args.workers, f"{method} on {title}")
        scores[title][method] = found
        faults += found.faults
    _report(faults)
    return scores


def _report(faults: Sequence[str]) -> None:
    if faults:
        raise DataError(list(dict.fromkeys(faults)))  # those of masks come once a method


def write_one(folder: Path, method: str, found: FolderScores) -> None:
    """The files of one method on one set."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = {**found.measures.compute(), "protocol": found.facts()}
    write(folder / "metrics.json", json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, ["name", *found.measures.measures], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"name": name, **row} for name, row in sorted(found.measures.rows.items()))
    write(folder / "per_image.csv", table.getvalue())
    draw(folder, {method: found.measures})


def write(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def draw(folder: Path, methods: Mapping[str, MapMeasures]) -> None:
    """Draw the curves of some methods on one set: the author's where they were measured, else per image."""
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


def table_of(methods: Mapping[str, FolderScores], names: Sequence[str]) -> dict[str, list[tuple[str, bool]]]:
    """Rows of a table of one set: method -> (score with three decimals, whether it is the best) a measure."""
    scores = {method: found.measures.compute() for method, found in methods.items()}
    best = {
        name: (max if ALL[name].larger_is_better else min)(round(row[name], 3) for row in scores.values())
        for name in names
    }
    return {
        method: [
            (f"{row[name]:.3f}", round(row[name], 3) == best[name] and len(scores) > 1) for name in names
        ]
        for method, row in scores.items()
    }


def markdown(scores: Scores, names: Sequence[str]) -> str:
    """A table a set, the best in bold."""
    lines = []
    for title, methods in scores.items():
        arrows = [f"{name} {'↑' if ALL[name].larger_is_better else '↓'}" for name in names]
        images = next(iter(methods.values())).measures.images
        lines += ["", f"| {cell(title)} ({images}) | {' | '.join(arrows)} |", "|---" * (len(names) + 1) + "|"]
        for method, row in table_of(methods, names).items():
            cells = [f"**{text}**" if best else text for text, best in row]
            lines.append(f"| {cell(method)} | {' | '.join(cells)} |")
    return "\n".join(lines[1:]) + "\n"


def latex(scores: Scores, names: Sequence[str]) -> str:
    """One table of all sets side by side, as papers print it, the best in bold; needs no package."""
    arrows = [
        rf"{plain(name)}$\{'uparrow' if ALL[name].larger_is_better else 'downarrow'}$" for name in names
    ]
    heads = [rf"\multicolumn{{{len(names)}}}{{c}}{{{plain(title)}}}" for title in scores]
    tables = [table_of(methods, names) for methods in scores.values()]
    rows = [
        [
            plain(method),
            *(rf"\textbf{{{text}}}" if best else text for own in tables for text, best in own[method]),
        ]
        for method in tables[0]
    ]
    body = [["", *heads], ["Method", *arrows * len(tables)], *rows]
    lines = [" & ".join(row) + r" \\" for row in body]
    lines.insert(2, r"\hline")
    begin = rf"\begin{{tabular}}{{l{'c' * len(names) * len(tables)}}}"
    return "\n".join([begin, r"\hline", *lines, r"\hline", r"\end{tabular}"]) + "\n"


def plain(text: str) -> str:
    """Text as LaTeX prints it."""
    escaped = re.sub(r"([_&%$#{}])", r"\\\1", text.replace("\\", "/"))
    return re.sub(r"([~^])", r"\\\1{}", escaped)


def cell(text: str) -> str:
    """Text as a cell of a markdown table."""
    return text.replace("|", r"\|")


def notes(scores: Scores) -> list[str]:
    """What a reader of the numbers has to know beyond them."""
    lines = []
    for title, methods in scores.items():
        for method, found in methods.items():
            where, facts = f"{method} on {title}", found.facts()
            if count := facts["empty_masks"]["count"]:
                lines.append(f"{where}: {count} masks are empty: {facts['empty_masks']['policy']}")
            if found.resized:
                lines.append(f"{where}: {found.resized} maps were resized to their masks, bilinearly")
            others = {"have no partner": found.left_out, "are no images we read": found.not_read}
            for what, files in others.items():
                shown = "; ".join([*files[:3], *["…"][: len(files) - 3]])
                if files:
                    lines.append(f"{where}: without {len(files)} files that {what}: {shown}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    args = parse(argv)
    methods = named_folders(args.pred_dir, "--pred_dir")
    sets = named_folders(args.label_dir, "--label_dir")
    check_apart(args.save_dir, [*methods.values(), *sets.values()])
    require_writable(args.save_dir)
    scores = measure_all(methods, sets, args)
    table = markdown(scores, args.measures)
    single = len(methods) == len(sets) == 1
    for title, found in scores.items():
        for method, one in found.items():
            write_one(args.save_dir if single else args.save_dir / title / method, method, one)
        if len(methods) > 1:
            draw(args.save_dir / title, {method: one.measures for method, one in found.items()})
    if not single:
        write(args.save_dir / "comparison.md", table)
        write(args.save_dir / "comparison.tex", latex(scores, args.measures))
    print(table)
    stretch = (
        "maps as they are" if args.as_is else "each map stretched to 0 .. 1 for all but max_f and mean_f"
    )
    print(f"{stretch}; beta squared 0.3; a mask's pixel is foreground above 128 of 255")
    print("\n".join([*notes(scores), f"Written to {args.save_dir}"]))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
