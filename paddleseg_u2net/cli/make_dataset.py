"""Build a data set from your own images: lists, a split, and a config for train, val and predict.

Images and mask files stay where they are; the lists name them. Masks are drawn from COCO, LabelMe, YOLO
and Supervisely annotations, and converted from colours.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paddleseg_u2net.cli.color_flags import COLOR_FLAGS, check_colors
from paddleseg_u2net.cli.flags import (
    HOW,
    INPUT,
    OUTPUT,
    Flags,
    add_group,
    non_negative_int,
    nonempty_path,
    parser,
)
from paddleseg_u2net.cli.source_formats import ANNOTATION_FLAGS, FORMATS, MASK_FILE_FLAGS, MASK_FILE_FORMATS
from paddleseg_u2net.data.masks import ENCODINGS
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.importers.build import (
    CHECK_COMMAND,
    TRAIN_COMMAND,
    BuildOptions,
    BuildSummary,
    make_dataset,
)
from paddleseg_u2net.importers.crowd import CROWD_MODES
from paddleseg_u2net.importers.labels import is_background
from paddleseg_u2net.importers.list_writer import PARTS
from paddleseg_u2net.importers.mask_meaning import MaskMeaning

EXAMPLES = """\
  two folders with cat.jpg and cat.png, or cat.jpg and cat_mask.png:
    u2net make-dataset --image_dir photos --mask_dir masks
    u2net make-dataset --image_dir photos --mask_dir masks --mask_suffix _mask
  one folder with cat.jpg and cat_gt.png, or cat.jpg and cat.png:
    u2net make-dataset --folder photos --mask_suffix _gt
    u2net make-dataset --folder photos --mask_suffix .png
  COCO instances, with all categories as classes, two of them, or all of them as one foreground:
    u2net make-dataset --coco instances.json --image_dir photos
    u2net make-dataset --coco instances.json --image_dir photos --classes cat dog --skip_empty
    u2net make-dataset --coco instances.json --image_dir photos --saliency
  LabelMe, one JSON file per image:
    u2net make-dataset --labelme photos --classes cat dog
  masks whose colours are classes, by CVAT's labelmap.txt, a known table, or colours of your own:
    u2net make-dataset --image_dir photos --mask_dir masks --labelmap labelmap.txt
    u2net make-dataset --image_dir photos --mask_dir masks --colors background=0,0,0 cat=255,0,0
  Pascal VOC (CVAT too), polygons of YOLO, a project of Supervisely; their own train and val are kept:
    u2net make-dataset --voc VOCdevkit/VOC2012
    u2net make-dataset --yolo data.yaml
    u2net make-dataset --supervisely project
  two or three sources are train, val and test; --split joins and splits them again:
    u2net make-dataset --coco train.json val.json --image_dir train2017 val2017
    u2net make-dataset --list train.txt val.txt --dataset_root data/old
    u2net make-dataset --list train.txt val.txt --dataset_root data/old --split 0.8 0.1 0.1
  keep the frames of a video (clip3_0001.jpg) in one part, and balance small and large objects:
    u2net make-dataset --folder frames --mask_suffix _gt --group_by '^[^_]+' --stratify
"""

DEFAULT_SHARES = (0.8, 0.2, 0.0)  # of train, val and test
PATHS: dict[str, Any] = {"type": nonempty_path, "nargs": "+"}
FOLDER: dict[str, Any] = {"type": nonempty_path, "nargs": 1, "metavar": "DIR"}
INPUT_FLAGS: Flags = {
    "image_dir": {**PATHS, "metavar": "DIR", "help": "folder of images, searched with sub-folders"},
    "mask_dir": {**PATHS, "metavar": "DIR", "help": "folder of masks with the same names"},
    "folder": {**PATHS, "metavar": "DIR", "help": "folder of images and masks with different suffixes"},
    "image_suffix": {"default": "", "help": "end of the names of images, such as _rgb or .jpg"},
    "mask_suffix": {"default": "", "help": "end of the names of masks, such as _mask or .png"},
    "coco": {**PATHS, "metavar": "JSON", "help": "COCO instances: polygons and RLE"},
    "crowd": {
        "choices": CROWD_MODES,
        "default": CROWD_MODES[0],
        "help": "COCO's iscrowd regions: ignored pixels, objects of their class, or not drawn; auto: objects "
        "if the files mark every mask, or more than COCO would, else ignored (%(default)s)",
    },
    "labelme": {**PATHS, "metavar": "DIR", "help": "folder of LabelMe JSON files"},
    "voc": {**FOLDER, "help": "folder with JPEGImages, SegmentationClass and ImageSets/Segmentation"},
    "yolo": {**FOLDER, "help": "folder or data.yaml of YOLO polygon labels"},
    "supervisely": {**FOLDER, "help": "folder of a Supervisely project, with meta.json"},
    **COLOR_FLAGS,
    "list": {**PATHS, "metavar": "FILE", "help": "PaddleSeg list files with lines of 'image mask'"},
    "dataset_root": {"type": nonempty_path, "help": "folder that the paths in the lists are relative to"},
}
OUTPUT_FLAGS: Flags = {
    "save_dir": {"type": nonempty_path, "default": Path("data/mine"), "help": "new folder (%(default)s)"},
    "config_out": {"type": nonempty_path, "metavar": "YAML", "help": "config file (config.yaml in save_dir)"},
}
OPTION_FLAGS: Flags = {
    "saliency": {"action": "store_true", "help": "one foreground class, whatever the labels are"},
    "classes": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "names of class 1, 2, …; with annotations, the labels to use",
    },
    "num_classes": {
        "type": non_negative_int,
        "help": "number of classes with background, if the masks do not show all or contain only 0 and 1",
    },
    "ignore_index": {"type": non_negative_int, "help": "mask value of ignored pixels"},
    "mask_encoding": {"choices": ENCODINGS, "help": "how masks are read; default: decided over all masks"},
    "split": {
        "nargs": len(PARTS),
        "type": float,
        "metavar": tuple(part.upper() for part in PARTS),
        "help": "shares of the parts (0.8 0.2 0); several sources are joined first",
    },
    "seed": {"type": non_negative_int, "default": 0, "help": "seed of the split (%(default)s)"},
    "stratify": {"action": "store_true", "help": "balance object sizes, or rare classes, between the parts"},
    "group_by": {"metavar": "REGEX", "help": "keep names with the same match of this pattern in one part"},
    "skip_empty": {"action": "store_true", "help": "leave out images without any object"},
    "skip_faulty": {
        "action": "store_true",
        "help": "leave out, count and name what is faulty, and go on; else any fault stops the command",
    },
    "keep_unused": {"action": "store_true", "help": "keep categories without any annotation as classes"},
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    flags = parser("u2net make-dataset", __doc__ or "", EXAMPLES)
    add_group(flags, INPUT, INPUT_FLAGS)
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, OPTION_FLAGS)
    return flags


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the flags; adds `format` (key of FORMATS) and `shares` (None: parts are given)."""
    flags = build_parser()
    args = flags.parse_args(argv)
    given = {name for name, value in vars(args).items() if value not in (None, flags.get_default(name))}
    formats = [name for name in FORMATS if name in given]
    if len(formats) != 1:
        flags.error(f"expected one source of --{', --'.join(FORMATS)}, got {len(formats)}")
    args.format = formats[0]
    chosen = FORMATS[args.format]
    for name in chosen.required:
        if name not in given:
            flags.error(f"--{args.format} needs --{name}")
    allowed = {args.format, *chosen.required, *chosen.optional}
    if wrong := sorted(given & {*INPUT_FLAGS, *MASK_FILE_FLAGS, *ANNOTATION_FLAGS} - allowed):
        flags.error(f"--{wrong[0]} cannot be used with --{args.format}")
    _check_options(flags, args)
    _check_sources(flags, args, given)
    args.shares = _shares(flags, args)
    return args


def _check_options(flags: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit if options contradict each other; compiles `group_by`."""
    colors = check_colors(flags, args)
    has_labels = colors or args.format not in MASK_FILE_FORMATS
    if args.keep_unused and not has_labels:
        flags.error(f"--keep_unused cannot be used with --{args.format}, except for masks of colours")
    if args.saliency and (args.num_classes or (args.classes and not has_labels)):
        flags.error("--saliency means one foreground class: remove --num_classes and --classes")
    if args.classes and not has_labels:
        args.classes = _without_background(flags, args.classes)
    if args.num_classes is not None and args.num_classes < 2:
        flags.error("--num_classes includes background, expected at least 2; --saliency for one foreground")
    if args.classes and args.num_classes and len(args.classes) + 1 != args.num_classes:
        flags.error("--num_classes includes background: expected one more than the names of --classes")
    try:
        args.group_by = args.group_by and re.compile(args.group_by)
    except re.error as error:
        flags.error(f"--group_by {args.group_by}: not a regular expression: {error}")


def _without_background(flags: argparse.ArgumentParser, names: Sequence[str]) -> list[str]:
    """Return the names of class 1, 2, … of mask files: background, which is class 0, may come first."""
    named = [number for number, name in enumerate(names) if is_background(name)]
    if named not in ([], [0]) or len(named) == len(names):
        flags.error("--classes: background is class 0; leave it out, or name it first, before other names")
    return [name for name in names if not is_background(name)]


def _check_sources(flags: argparse.ArgumentParser, args: argparse.Namespace, given: set[str]) -> None:
    """Exit if the number of sources is wrong; repeats a single `image_dir` for several COCO files."""
    number = len(getattr(args, args.format))
    if args.format == "coco" and len(args.image_dir) == 1:
        args.image_dir *= number
    if args.image_dir and len(args.image_dir) != number:
        flags.error(f"--image_dir: got {len(args.image_dir)} folders for {number} of --{args.format}")
    if number == 1 or args.split:
        return
    if number > len(PARTS):
        flags.error(f"--{args.format}: got {number}, expected at most {len(PARTS)}; --split joins them")
    if wrong := sorted(given & {"seed", "stratify", "group_by"}):
        flags.error(f"--{wrong[0]} needs --split, because several sources are train, val and test already")


def _shares(flags: argparse.ArgumentParser, args: argparse.Namespace) -> tuple[float, ...] | None:
    """Return the shares of the split, or None if several sources are the parts."""
    if len(getattr(args, args.format)) > 1 and args.split is None:
        return None
    train, val, test = args.split or DEFAULT_SHARES
    if not (train > 0 and val > 0 and test >= 0 and abs(train + val + test - 1) < 1e-6):
        flags.error("--split: expected shares that add up to 1, with those of train and val above 0")
    return train, val, test


def _print_summary(summary: BuildSummary, save_dir: Path) -> None:
    """Print what was built and the next commands."""
    encoding = summary.encoding
    counts = ", ".join(f"{part} {number}" for part, number in summary.counts.items())
    print(f"{save_dir}: {counts}; {encoding}")
    if encoding.num_classes > 1:
        print("classes: " + ", ".join(f"{number} {name}" for number, name in enumerate(summary.classes)))
    elif encoding.name == "index":
        print("one foreground class (saliency); if 0 and 1 are two classes: --num_classes 2")
    print("", *summary.items.table(), "", sep="\n")
    print(f"check:  {summary.command(CHECK_COMMAND)}\ntrain:  {summary.command(TRAIN_COMMAND)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the flags; None takes those of this process.

    Returns:
        The exit code, 0.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parse(argv)
    options = BuildOptions(
        save_dir=args.save_dir,
        config_out=args.config_out,
        meaning=MaskMeaning(
            args.saliency,
            args.classes,
            args.num_classes,
            args.ignore_index,
            args.keep_unused,
            args.mask_encoding,
        ),
        shares=args.shares,
        seed=args.seed,
        group_by=args.group_by,
        stratify=args.stratify,
        skip_empty=args.skip_empty,
        skip_faulty=args.skip_faulty,
        command=shlex.join(["u2net", "make-dataset", *argv]),
    )
    source = FORMATS[args.format].read(args)
    if args.split is None and any(image.part for image in source.images):
        options = replace(options, shares=None)
        if args.seed or args.stratify or args.group_by:
            what = f"{getattr(args, args.format)[0]}: has train and val already, so it is not split"
            raise ConfigError(f"{what}. Fix: add --split, or remove --seed, --stratify and --group_by")
    _print_summary(make_dataset(source, options), args.save_dir)
    return 0
