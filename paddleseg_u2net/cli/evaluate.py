"""`u2net evaluate`: measure the saliency maps of any method against masks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from paddleseg_u2net.cli.flags import HOW, INPUT, OUTPUT, Flags, add_group, parser, positive_int
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.table import AREA_MEASURES, MEASURES

ABOUT = """\
Measure the saliency maps of one or several methods against masks.

max_f and mean_f follow the protocol of the U²-Net author and of the paper's tables: precision and recall
are averaged over the data set before F is computed. max_f_per_image and mean_f_per_image are those of
PySODMetrics.

One method on one data set gives metrics.json, per_image.csv, curves.csv, pr.png and f.png; several give a
folder of these for each, plots of all methods, comparison.md and comparison.tex. With several data sets,
each --pred_dir has a sub-folder named after each data set. u2net report makes a page of them.
"""
EXAMPLES = """\
  u2net evaluate --pred_dir output/saliency --label_dir data/ECSSD/masks --save_dir scores
  u2net evaluate --pred_dir maps/Amulet maps/DSS --label_dir data/SOD/masks --save_dir scores
  u2net evaluate --pred_dir Ours=output/maps BASNet=maps/basnet --save_dir scores \\
      --label_dir ECSSD=data/ECSSD/masks SOD=data/SOD/masks --measures max_f mae weighted_f s_measure
"""
NAMES = [*MEASURES, *AREA_MEASURES]
NAMED_FOLDERS = {"nargs": "+", "required": True, "metavar": "[NAME=]FOLDER"}
INPUT_FLAGS: Flags = {
    "pred_dir": {**NAMED_FOLDERS, "help": "maps of one or several methods"},
    "label_dir": {**NAMED_FOLDERS, "help": "masks of one or several data sets"},
    "resize": {"action": "store_true", "help": "resize maps of another size to their masks"},
    "common_only": {
        "action": "store_true",
        "help": "measure images that have both a map and a mask, and report the others; without it they are "
        "errors",
    },
}
OUTPUT_FLAGS: Flags = {
    "save_dir": {"type": Path, "required": True, "help": "where the results are written"},
    "measures": {
        "nargs": "+",
        "default": list(MEASURES),
        "choices": NAMES,
        "metavar": "NAME",
        "help": f"any of {', '.join(NAMES)}; default: all but the last {len(AREA_MEASURES)}, which are of "
        "maps thresholded at 0.5",
    },
}
HOW_FLAGS: Flags = {
    "measure_stretch": {
        "choices": [choice.value for choice in MeasureStretch],
        "help": "which measures stretch each map to 0 .. 1 first: all but max_f and mean_f, as their "
        "reference code does (reference, the default), none, only max_f and mean_f (author), or all",
    },
    # None, not False, where they are not given: see `MeasureStretch.from_options`
    "as_is": {"action": "store_true", "default": None, "help": "short for --measure_stretch none"},
    "author_minmax": {
        "action": "store_true",
        "default": None,
        "help": "stretch maps for max_f and mean_f too, if they were saved as predicted: short for "
        "--measure_stretch all; with --as_is for --measure_stretch author",
    },
    "workers": {
        "type": positive_int,
        "default": processors(),
        "help": "number of processes (one per core: %(default)s)",
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net evaluate`."""
    flags = parser("u2net evaluate", ABOUT, EXAMPLES)
    add_group(flags, INPUT, INPUT_FLAGS)
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, HOW_FLAGS)
    return flags


def named_folders(values: Sequence[str], flag: str) -> dict[str, Path]:
    """Name -> folder, of values `NAME=FOLDER` or `FOLDER`, which is named after the folder.

    Raises:
        ValueError: two folders have the same name, or a value has no name or no folder.
    """
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or "/" in name or Path(value).is_dir():
            name, path = Path(value).resolve().name, value
        if not path or name in ("", ".", ".."):
            raise ValueError(f"{flag} '{value}': expected a folder. Fix: FOLDER or NAME=FOLDER")
        if name in found:
            raise ValueError(f"{flag}: two folders are named '{name}'. Fix: NAME=FOLDER")
        found[name] = Path(path)
    return found


def check_apart(save_dir: Path, folders: Iterable[Path]) -> None:
    """Raise ValueError if results would be written among maps or masks, and be read as such the next time."""
    for folder in folders:
        if folder.resolve() in (save_dir.resolve(), *save_dir.resolve().parents):
            raise ValueError(f"--save_dir {save_dir}: is inside {folder}. Fix: another folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit code."""
    args = build_parser().parse_args(argv)
    from paddleseg_u2net.io.locks import folder_lock

    methods = named_folders(args.pred_dir, "--pred_dir")
    data_sets = named_folders(args.label_dir, "--label_dir")
    check_apart(args.save_dir, [*methods.values(), *data_sets.values()])
    with folder_lock(args.save_dir):
        return _evaluate(args, methods, data_sets)


def _evaluate(args: argparse.Namespace, methods: dict[str, Path], data_sets: dict[str, Path]) -> int:
    from paddleseg_u2net.environment.provenance import command_line, package_versions
    from paddleseg_u2net.evaluation.comparison import compare
    from paddleseg_u2net.evaluation.folders import FOREGROUND_ABOVE, FolderSettings
    from paddleseg_u2net.evaluation.tables import markdown, notes, write_comparison

    names = tuple(dict.fromkeys(args.measures))
    settings = FolderSettings(names, MeasureStretch.from_options(vars(args)), args.resize)
    comparison = compare(methods, data_sets, settings, args.workers, args.common_only)
    record = {"command": command_line(), "versions": package_versions()}
    write_comparison(args.save_dir, comparison, names, record)
    print(markdown(comparison, names))
    foreground = f"a pixel of a mask is foreground above {FOREGROUND_ABOVE} of 255"
    print(f"maps {settings.measure_stretch.description}; beta squared 0.3; {foreground}")
    print("\n".join([*notes(comparison), f"Written to {args.save_dir}"]))
    return 0
