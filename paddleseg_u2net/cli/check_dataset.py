"""`u2net check-dataset`: check images and masks before training."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.cli import flags
from paddleseg_u2net.config.loader import in_file, load_config
from paddleseg_u2net.data.masks import ENCODINGS
from paddleseg_u2net.data.pairs import Pair, list_pairs, pair_folders, read_list
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.wording import as_flags, as_options
from paddleseg_u2net.data_check.checks import Finding, run_checks
from paddleseg_u2net.data_check.report import JSON, PAGE, write_reports
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import DatasetSurvey, examine
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.io.locks import folder_lock, path_lock

log = logging.getLogger(__name__)

LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
OVERFIT_DIR = Path("output/overfit")
NOT_WITH_CONFIG = ("num_classes", "mask_encoding", "ignore_index")
DESCRIPTION = """\
Check images and masks before training, and suggest how to fix what is wrong.

The exit code is 0 if training can run, with or without warnings, 1 for errors, and 2 for wrong flags. With
--fix it is the exit code of a check of the copy. No file is overwritten. Each check is explained in
docs/data/check_dataset.md."""
EXAMPLES = """\
  u2net check-dataset --config configs/RGB/U2Net/u2net.yaml
  u2net check-dataset --image_dir photos/ --mask_dir masks/
  u2net check-dataset --dataset_root data/mine --num_classes 5 --save_dir output/check
  u2net check-dataset --list data/mine/train_list.txt --fix data/mine_fixed
  u2net check-dataset --config configs/RGB/U2Net/u2netp.yaml --overfit"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    parser = flags.parser("u2net check-dataset", DESCRIPTION, EXAMPLES)
    inputs = parser.add_argument_group(flags.INPUT, "one of --config, --image_dir, --dataset_root, --list")
    inputs.add_argument(
        "--config", help="YAML file: check its train_dataset and val_dataset, read as in training"
    )
    inputs.add_argument("--image_dir", type=flags.nonempty_path, help="folder of images, with --mask_dir")
    inputs.add_argument(
        "--mask_dir", type=flags.nonempty_path, help="folder of masks that have the names of the images"
    )
    inputs.add_argument(
        "--dataset_root",
        type=flags.nonempty_path,
        help=f"folder with {', '.join(LISTS.values())}, or some of them; with --list: the folder that its "
        "paths are relative to",
    )
    inputs.add_argument(
        "--list",
        type=flags.nonempty_path,
        help="list file with 'image mask' on each line, relative to its own folder",
    )
    inputs.add_argument(
        "--num_classes",
        type=flags.positive_int,
        help="1 for saliency (default), else the number of class ids",
    )
    inputs.add_argument(
        "--mask_encoding", choices=ENCODINGS, help="how masks are read; default: decided over all masks"
    )
    inputs.add_argument("--ignore_index", type=flags.non_negative_int, help="mask value of ignored pixels")
    inputs.add_argument("--opts", **flags.DEVICE_FLAGS["opts"])
    outputs = parser.add_argument_group(flags.OUTPUT)
    outputs.add_argument(
        "--save_dir",
        type=Path,
        help=f"write {JSON} and {PAGE}, which must not exist, and the --overfit picture",
    )
    outputs.add_argument(
        "--fix", type=flags.nonempty_path, metavar="DIR", help="write a corrected copy to this new folder"
    )
    options = parser.add_argument_group(flags.HOW)
    options.add_argument(
        "--overfit",
        action="store_true",
        help="with --config, if there are no errors: sanity check that the network can overfit two samples "
        "(u2net train --overfit has more options)",
    )
    options.add_argument("--device", **flags.DEVICE_FLAGS["device"])
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags and exit with 2 if some of them contradict each other."""
    parser = build_parser()
    args = parser.parse_args(argv)
    sources = [args.config, args.image_dir or args.mask_dir, args.list or args.dataset_root]
    if sum(source is not None for source in sources) != 1:
        parser.error("give one of --config, --image_dir with --mask_dir, --dataset_root, or --list")
    if (args.image_dir is None) != (args.mask_dir is None):
        parser.error("--image_dir needs --mask_dir, and --mask_dir needs --image_dir")
    unused = [name for name in NOT_WITH_CONFIG if args.config and getattr(args, name) is not None]
    if unused:
        options = as_options(unused[0], "train_dataset")
        parser.error(f"--{unused[0]} cannot be used with --config. Fix: {options}")
    if args.fix and args.overfit:
        parser.error("--overfit cannot be used with --fix. Fix: write the copy first, then check that")
    for name in ("overfit", "opts", "device"):
        if getattr(args, name) and not args.config:
            parser.error(f"--{name} needs --config")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its flags; None for those of this process.

    Returns:
        The exit code: 0, or 1 for errors in the data or for `--overfit` without success.

    Raises:
        ValueError: the data, the config or a flag cannot be used.
        OSError: a file is missing or cannot be written.
    """
    args = parse(argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold characters that a terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    datasets = list(load_datasets(args))
    with output_paths(args, datasets):
        return _check(args, datasets)


def _check(args: argparse.Namespace, datasets: Sequence[DatasetSpec]) -> int:
    survey = examine(datasets)
    findings = run_checks(survey)
    print("\n".join(terminal_lines(survey, findings)))
    if args.save_dir:
        source = args.config or args.image_dir or args.list or args.dataset_root
        write_reports(args.save_dir, survey, findings, str(source))
        log.info("Wrote %s and %s into %s", JSON, PAGE, args.save_dir)
    if args.fix:
        return fix(survey, args.fix)
    if errors(findings):
        return 1
    return overfit_two_samples(args, survey) if args.overfit else 0


# -- input ----------------------------------------------------------------------------------------------


def load_datasets(args: argparse.Namespace) -> Iterator[DatasetSpec]:
    """The data sets that the flags name."""
    if args.config:
        from paddleseg_u2net.builders import build_dataset_spec

        config = load_config(args.config, opts=args.opts)
        with in_file(args.config):
            for key in ("train_dataset", "val_dataset"):
                if key == "train_dataset" or key in config:
                    yield build_dataset_spec(config, key)
        return
    options = {name: getattr(args, name) for name in NOT_WITH_CONFIG}
    options["num_classes"] = args.num_classes or 1
    if args.image_dir:
        found = pair_folders(args.image_dir, args.mask_dir)
        if not any(found):
            raise ValueError(
                f"--image_dir {args.image_dir}: no images in this folder. Fix: a folder with images"
            )
        yield _dataset(found, "train", options)
    elif args.list:
        if not args.list.is_file():
            raise FileNotFoundError(f"--list {args.list}: no such file. Fix: correct the path")
        found = read_list(args.list, args.dataset_root or args.list.parent)
        if not any(found):
            raise ValueError(f"--list {args.list}: no lines. Fix: list at least one pair of image and mask")
        yield _dataset(found, "train", options)
    else:
        yield from listed_datasets(args.dataset_root, options)


def listed_datasets(root: Path, options: dict[str, Any]) -> Iterator[DatasetSpec]:
    """The data sets of the list files in a folder."""
    names = {mode: name for mode, name in LISTS.items() if (root / name).is_file()}
    if not names:
        raise FileNotFoundError(
            f"--dataset_root {root}: has none of {', '.join(LISTS.values())}. "
            "Fix: correct the path, or use --list"
        )
    for mode, name in names.items():
        path = str(root / name)
        yield _dataset(list_pairs(mode, str(root), **{f"{mode}_path": path}), mode, options)


def _dataset(found: tuple[list[Pair], list[Fault]], mode: str, options: dict[str, Any]) -> DatasetSpec:
    pairs, faults = found
    return DatasetSpec(pairs, mode=mode, name=mode, faults=faults, fix_as=as_flags, **options)


# -- output ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def output_paths(args: argparse.Namespace, datasets: Sequence[DatasetSpec]) -> Iterator[None]:
    """Lock the folders of the results; raise an error before the work if they cannot be written."""
    check_output_paths(args, datasets)
    with contextlib.ExitStack() as locks:
        if args.fix:
            locks.enter_context(path_lock(args.fix, "choose another folder for --fix"))
        if args.save_dir or args.overfit:
            locks.enter_context(folder_lock(args.save_dir or OVERFIT_DIR))
        check_output_paths(args, datasets)  # again: another process may have written them meanwhile
        yield


def check_output_paths(args: argparse.Namespace, datasets: Sequence[DatasetSpec]) -> None:
    """Raise an error if results exist already, or would lie among the originals."""
    if args.fix:
        from paddleseg_u2net.data_check.repair import check_destination

        check_destination(datasets, args.fix, filter(None, (args.image_dir, args.mask_dir)))
    if args.save_dir:
        for path in (args.save_dir / JSON, args.save_dir / PAGE):
            if path.exists():
                raise FileExistsError(f"{path}: exists already. Fix: another --save_dir, or remove it")
        if args.fix and args.save_dir.resolve().is_relative_to(args.fix.resolve()):
            raise ValueError(f"--save_dir {args.save_dir}: is inside the copy. Fix: another folder")


def terminal_lines(survey: DatasetSurvey, findings: Sequence[Finding]) -> Iterator[str]:
    """What the terminal shows: the statistics of each data set, then a table of the findings."""
    for dataset in survey.datasets:
        found = summary(dataset)
        yield f"{dataset.name}: {counted(found['pairs'], 'pair')}, {found['encoding']}"
        if "height" in found:
            sizes = (
                f"{axis} {found[axis]['min']:.0f} to {found[axis]['max']:.0f}" for axis in ("width", "height")
            )
            yield f"  images: {', '.join(sizes)}; suggested target_size: {found['suggested target_size']}"
        if "foreground share" in found:
            shares = found["foreground share"]
            yield "  foreground: " + ", ".join(f"{name} {value:.1%}" for name, value in shares.items())
    yield ""
    if not findings:
        yield "Nothing was found."
        return
    yield f"{'severity':9}{'check':26}{'found':>6}  what to do"
    for finding in findings:
        check = finding.check
        yield f"{check.severity:9}{check.name:26}{len(finding.examples):6}  {check.fix}"
        for example in finding.examples if check.show_all else ():
            yield f"{'':9}{example.fault}"
        if not check.show_all:
            yield f"{'':9}first: {finding.examples[0].fault}"


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that prevent training."""
    return [finding for finding in findings if finding.check.severity == "error"]


# -- further work ---------------------------------------------------------------------------------------


def fix(survey: DatasetSurvey, destination: Path) -> int:
    """Write the corrected copy, check it, and print the result; returns the exit code of that check."""
    from paddleseg_u2net.data.item_counts import ItemCounts
    from paddleseg_u2net.data_check.repair import RECORD, repair

    record = repair(survey, destination)
    for row in record["left out"]:
        print(f"left out: {row['why']}")
    changed = sum(bool(row["done"]) for row in record["files"])
    print(
        f"{destination}: {counted(len(record['files']), 'pair')}, {changed} of them changed, "
        f"{len(record['left out'])} "
        f"left out (details in {RECORD}). Dataset options that read it: {record['settings']}"
    )
    print("", *ItemCounts.from_json(record["items"]).table(), "", sep="\n")
    findings = run_checks(examine(list(listed_datasets(destination, record["settings"]))))
    remaining = ", ".join(
        f"{finding.check.name} ({len(finding.examples)})"
        for finding in findings
        if finding.check.name != "preparation"  # the table above has it
    )
    print(f"{destination}, checked: {remaining or 'nothing was found'}")
    return 1 if errors(findings) else 0


def overfit_two_samples(args: argparse.Namespace, survey: DatasetSurvey) -> int:
    """Run the sanity check on the training set; returns the exit code."""
    from paddleseg_u2net.training.overfit import overfit

    inspection = survey.datasets[0].inspection  # the train_dataset comes first
    config = load_config(args.config, opts=args.opts)
    outcome = overfit(config, inspection, args.save_dir or OVERFIT_DIR, args.device)
    return 0 if outcome.learned else 1
