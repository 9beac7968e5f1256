"""Images and masks of your own -> lists, and a config that train.py, val.py and predict.py accept at once.

Images and masks stay where they are; lists name them. COCO and LabelMe files are drawn into mask files.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.cli.app import configure_log, guarded
from paddleseg_u2net.cli.flags import count, parser, some_path
from paddleseg_u2net.importers.build import CHECK, TRAIN, Summary, Wish, make_dataset
from paddleseg_u2net.importers.coco import CROWDS, read_coco
from paddleseg_u2net.importers.labelme import read_labelme
from paddleseg_u2net.importers.list_writer import PARTS
from paddleseg_u2net.importers.sources import Meaning, Source, from_annotations, from_folders, from_lists

EXAMPLES = """\
  two folders, cat.jpg and cat.png or cat_mask.png:
    python tools/make_dataset.py --image_dir photos --mask_dir masks --mask_suffix _mask
  one folder, cat.jpg and cat_gt.png, or cat.jpg and cat.png:
    python tools/make_dataset.py --folder photos --mask_suffix _gt
    python tools/make_dataset.py --folder photos --mask_suffix .png
  COCO instances; every category a class, two of them, or all of them one foreground:
    python tools/make_dataset.py --coco instances.json --image_dir photos
    python tools/make_dataset.py --coco instances.json --image_dir photos --classes cat dog --skip_empty
    python tools/make_dataset.py --coco instances.json --image_dir photos --saliency
  LabelMe, a JSON file an image:
    python tools/make_dataset.py --labelme photos --classes cat dog
  two or three of a kind are train, val and test as they are; with --split they are joined and split anew:
    python tools/make_dataset.py --coco train.json val.json --image_dir train2017 val2017
    python tools/make_dataset.py --list train.txt val.txt --dataset_root data/old
    python tools/make_dataset.py --list train.txt val.txt --dataset_root data/old --split 0.8 0.1 0.1
  frames of a video, clip3_0001.jpg, stay in one part; small and large objects in both:
    python tools/make_dataset.py --folder frames --mask_suffix _gt --group_by '^[^_]+' --stratify
"""

SHARES = (0.8, 0.2, 0.0)  # of train, val and test
SEVERAL: dict[str, Any] = {"type": some_path, "nargs": "+"}
SOURCE_FLAGS: dict[str, dict[str, Any]] = {
    "image_dir": {**SEVERAL, "metavar": "DIR", "help": "folder of images, with sub-folders"},
    "mask_dir": {**SEVERAL, "metavar": "DIR", "help": "folder of masks of the same names"},
    "folder": {**SEVERAL, "metavar": "DIR", "help": "folder of both, told apart by how their names end"},
    "image_suffix": {"default": "", "help": "what names of images end with: _rgb, or .jpg"},
    "mask_suffix": {"default": "", "help": "what names of masks end with: _mask, or .png"},
    "coco": {**SEVERAL, "metavar": "JSON", "help": "COCO instances; polygons and RLE"},
    "crowd": {"choices": CROWDS, "default": CROWDS[0], "help": "COCO's iscrowd regions (%(default)s)"},
    "labelme": {**SEVERAL, "metavar": "DIR", "help": "folder of LabelMe's JSON files"},
    "list": {**SEVERAL, "metavar": "FILE", "help": "lists of 'image mask' lines"},
    "dataset_root": {"type": some_path, "help": "folder that the paths in the lists are relative to"},
}
FLAGS: dict[str, dict[str, Any]] = {
    "save_dir": {"type": some_path, "default": Path("data/mine"), "help": "new folder (%(default)s)"},
    "config_out": {"type": some_path, "metavar": "YAML", "help": "the config (config.yaml in save_dir)"},
    "saliency": {"action": "store_true", "help": "one foreground, whatever the objects are called"},
    "classes": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "names of class 1, 2, …; of annotations, those to draw",
    },
    "num_classes": {"type": count, "help": "with background; where masks do not show all, or only 0 and 1"},
    "ignore_index": {"type": count, "help": "mask value of pixels that do not count"},
    "split": {
        "nargs": len(PARTS),
        "type": float,
        "metavar": tuple(part.upper() for part in PARTS),
        "help": "shares (0.8 0.2 0); sources that are parts already are joined",
    },
    "seed": {"type": count, "default": 0, "help": "of the split (%(default)s)"},
    "stratify": {"action": "store_true", "help": "small and large objects, or rare classes, in each part"},
    "group_by": {"metavar": "REGEX", "help": "names that agree in what it matches stay in one part"},
    "skip_empty": {"action": "store_true", "help": "leave out images without any object"},
}


class Kind(NamedTuple):
    """A kind of source: the flags it needs, those it can have, and how it is read."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    read: Callable[[argparse.Namespace], Source]


MASK_FILES = ("num_classes", "ignore_index")
KINDS = {
    "coco": Kind(
        ("image_dir",),
        ("crowd",),
        lambda args: from_annotations(
            [
                read_coco(path, folder, args.crowd)
                for path, folder in zip(args.coco, args.image_dir, strict=True)
            ]
        ),
    ),
    "labelme": Kind((), (), lambda args: from_annotations([read_labelme(path) for path in args.labelme])),
    "list": Kind(("dataset_root",), MASK_FILES, lambda args: from_lists(args.list, args.dataset_root)),
    "folder": Kind(
        (),
        ("image_suffix", "mask_suffix", *MASK_FILES),
        lambda args: from_folders(args.folder, args.folder, args.image_suffix, args.mask_suffix),
    ),
    "mask_dir": Kind(
        ("image_dir",),
        ("image_suffix", "mask_suffix", *MASK_FILES),
        lambda args: from_folders(args.image_dir, args.mask_dir, args.image_suffix, args.mask_suffix),
    ),
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags, checked; `kind` is the source they mean."""
    flags = parser("make_dataset.py", __doc__ or "", EXAMPLES)
    for title, table in (("one source", SOURCE_FLAGS), ("what is made of it", FLAGS)):
        group = flags.add_argument_group(title)
        for name, options in table.items():
            group.add_argument(f"--{name}", **options)
    args = flags.parse_args(argv)
    given = {name for name, value in vars(args).items() if value not in (None, flags.get_default(name))}
    kinds = [name for name in KINDS if name in given]
    if len(kinds) != 1:
        flags.error(f"give one source of --{', --'.join(KINDS)}, got {len(kinds)}")
    args.kind = kinds[0]
    kind = KINDS[args.kind]
    for name in kind.needs:
        if name not in given:
            flags.error(f"--{args.kind} needs --{name}")
    own = {*SOURCE_FLAGS, *MASK_FILES} - {args.kind, *kind.needs, *kind.may}
    if strange := sorted(given & own):
        flags.error(f"--{strange[0]} means nothing with --{args.kind}")
    check(flags, args)
    args.shares = shares(flags, args, given)
    return args


def check(flags: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What does not go together, and `group_by` as a pattern."""
    if args.saliency and (args.num_classes or (args.classes and args.kind not in ("coco", "labelme"))):
        flags.error("--saliency is one foreground: leave out --num_classes and --classes")
    if args.num_classes is not None and args.num_classes < 2:
        flags.error("--num_classes counts background too, at least 2; --saliency for one foreground")
    if args.classes and args.num_classes and len(args.classes) + 1 != args.num_classes:
        flags.error("--num_classes is one more than --classes names, which leave out background")
    try:
        args.group_by = args.group_by and re.compile(args.group_by)
    except re.error as error:
        flags.error(f"--group_by {args.group_by}: not a regular expression: {error}")


def shares(flags: argparse.ArgumentParser, args: argparse.Namespace, given: set[str]) -> tuple | None:
    """Those of the split, None where two or three sources are its parts; an image_dir for each source."""
    number = len(getattr(args, args.kind))
    if args.kind == "coco" and len(args.image_dir) == 1:
        args.image_dir *= number
    if args.image_dir and len(args.image_dir) != number:
        flags.error(f"--image_dir: {len(args.image_dir)} folders for {number} of --{args.kind}")
    if number > 1 and args.split is None:
        if number > len(PARTS):
            flags.error(f"--{args.kind}: {number} are more than train, val and test; --split joins them")
        if strange := sorted(given & {"seed", "stratify", "group_by"}):
            flags.error(f"--{strange[0]} means nothing for parts that are given; --split splits them anew")
        return None
    train, val, test = args.split or SHARES
    if not (train > 0 and val > 0 and test >= 0 and abs(train + val + test - 1) < 1e-6):
        flags.error("--split: shares that add up to 1, those of train and val above 0")
    return train, val, test


def tell(summary: Summary, save_dir: Path) -> None:
    """What was made, and what to do next."""
    encoding = summary.encoding
    counts = ", ".join(f"{part} {number}" for part, number in summary.counts.items())
    print(f"{save_dir}: {counts}; {encoding}")
    if encoding.num_classes > 1:
        print("classes: " + ", ".join(f"{number} {name}" for number, name in enumerate(summary.classes)))
    elif encoding.name == "index":
        print("one foreground (saliency); where 0 and 1 mean two classes: --num_classes 2")
    print(f"check:  {summary.command(CHECK)}\ntrain:  {summary.command(TRAIN)}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = parse(argv)
    command = shlex.join(["python", "tools/make_dataset.py", *(sys.argv[1:] if argv is None else argv)])
    meaning = Meaning(args.saliency, args.classes, args.num_classes, args.ignore_index)
    names = ("save_dir", "config_out", "shares", "seed", "group_by", "stratify", "skip_empty")
    wish = Wish(**{name: getattr(args, name) for name in names}, meaning=meaning, command=command)

    def make() -> None:
        configure_log()
        tell(make_dataset(KINDS[args.kind].read(args), wish), args.save_dir)

    return guarded(make)


if __name__ == "__main__":
    sys.exit(main())
