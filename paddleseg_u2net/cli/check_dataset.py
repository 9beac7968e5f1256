"""Find what is wrong with images and masks before training does: a table, report.json and report.html.

python tools/check_dataset.py --config configs/RGB/U2Net/u2net.yaml
python tools/check_dataset.py --image_dir photos/ --mask_dir masks/
python tools/check_dataset.py --dataset_root data/mine --num_classes 5 --save_dir output/check
python tools/check_dataset.py --list data/mine/train_list.txt --fix data/mine_fixed
python tools/check_dataset.py --config configs/RGB/U2Net/u2netp.yaml --overfit

The exit code is 0 where training can run, warnings or not, 1 for errors, 2 for wrong flags. With --fix it is
that of the copy, which is examined as well. Nothing is overwritten. docs/doctor.md explains each check.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.cli.app import configure_log, guarded
from paddleseg_u2net.cli.flags import DEVICE_FLAGS, add_flags, count, positive, some_path
from paddleseg_u2net.config.loader import in_file, load_config
from paddleseg_u2net.data.masks import ENCODINGS
from paddleseg_u2net.data.pairs import Pair, list_pairs, pair_folders, read_list
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.findings import Finding, diagnose, report
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import DatasetSurvey, examine
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.importers.list_writer import absolute
from paddleseg_u2net.io.files import atomic_write, require_writable

log = logging.getLogger("paddleseg_u2net.check_dataset")

LISTS = {"train": "train_list.txt", "val": "val_list.txt", "test": "test_list.txt"}
REPORTS = ("report.json", "report.html")
OVERFIT = Path("output/overfit")
FLAGS: dict[str, dict[str, Any]] = {
    "config": {"help": "YAML file: checks its train_dataset and val_dataset as train.py would read them"},
    "image_dir": {"type": some_path, "help": "folder of images, with --mask_dir"},
    "mask_dir": {"type": some_path, "help": "folder of masks of the same names"},
    "dataset_root": {
        "type": some_path,
        "help": f"folder with {', '.join(LISTS.values())}, as far as they exist; with --list what its paths "
        "are relative to",
    },
    "list": {"type": some_path, "help": "list file of 'image mask' a line; relative to its folder"},
    "num_classes": {"type": positive, "help": "1 for saliency, the default, else class ids"},
    "mask_encoding": {"choices": ENCODINGS, "help": "how masks are read; decided over all masks without it"},
    "ignore_index": {"type": count, "help": "value of mask pixels that do not count"},
    "save_dir": {
        "type": Path,
        "help": f"write {' and '.join(REPORTS)}, which must not be there yet, and the picture of --overfit",
    },
    "fix": {"type": some_path, "metavar": "DIR", "help": "write a corrected copy into this new folder"},
    "overfit": {
        "action": "store_true",
        "help": "with --config, where there are no errors: can the network learn two pairs by heart? "
        "(train.py --overfit takes --seed, --precision and --iters)",
    },
    **DEVICE_FLAGS,
}
NOT_WITH_CONFIG = ("num_classes", "mask_encoding", "ignore_index")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="check_dataset.py"
    )
    add_flags(flags, FLAGS)
    args = flags.parse_args(argv)
    sources = [args.config, args.image_dir or args.mask_dir, args.list or args.dataset_root]
    if sum(source is not None for source in sources) != 1:
        flags.error("give one of --config, --image_dir with --mask_dir, --dataset_root, or --list")
    if (args.image_dir is None) != (args.mask_dir is None):
        flags.error("--image_dir and --mask_dir belong together")
    idle = [name for name in NOT_WITH_CONFIG if args.config and getattr(args, name) is not None]
    if idle:
        flags.error(f"--{idle[0]}: the config says it. Fix: --opts train_dataset.{idle[0]}=… or leave it out")
    if args.fix and args.overfit:
        flags.error("--overfit cannot go with --fix. Fix: write the copy first, and try that")
    for name in ("overfit", "opts", "device"):
        if getattr(args, name) and not args.config:
            flags.error(f"--{name} needs --config")
    return args


def datasets(args: argparse.Namespace) -> Iterator[DatasetSpec]:
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
        yield _dataset(pair_folders(args.image_dir, args.mask_dir), "train", options)
    elif args.list:
        if not args.list.is_file():
            raise FileNotFoundError(f"--list {args.list}: no such file")
        yield _dataset(read_list(args.list, args.dataset_root or args.list.parent), "train", options)
    else:
        yield from listed(args.dataset_root, options)


def listed(root: Path, options: dict[str, Any]) -> Iterator[DatasetSpec]:
    """The data sets of the lists in a folder."""
    names = {mode: name for mode, name in LISTS.items() if (root / name).is_file()}
    if not names:
        raise FileNotFoundError(f"--dataset_root {root}: holds none of {', '.join(LISTS.values())}")
    for mode, name in names.items():
        path = str(root / name)
        yield _dataset(list_pairs(mode, str(root), **{f"{mode}_path": path}), mode, options)


def _dataset(found: tuple[list[Pair], list[Fault]], mode: str, options: dict[str, Any]) -> DatasetSpec:
    pairs, faults = found
    if not pairs and not faults:
        raise ValueError("there is no pair of image and mask. Fix: names must be the same without suffix")
    return DatasetSpec(pairs, mode=mode, name=mode, faults=faults, **options)


def tell(survey: DatasetSurvey, findings: Sequence[Finding]) -> Iterator[str]:
    """The lines of the terminal: each set in numbers, then the table."""
    for surveyed in survey.datasets:
        found = summary(surveyed)
        yield f"{surveyed.name}: {found['pairs']} pairs, {found['encoding']}"
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
        yield f"{check.severity:9}{finding.name:26}{len(finding.examples):6}  {check.todo}"
        yield f"{'':9}first: {finding.examples[0].text}"


def run(args: argparse.Namespace) -> int:
    """Examine, tell, write; returns the exit code."""
    data = list(datasets(args))
    check_room(args, data)
    survey = examine(data)
    findings = diagnose(survey)
    print("\n".join(tell(survey, findings)))
    if args.save_dir:
        from paddleseg_u2net.data_check.report import write_page

        with atomic_write(args.save_dir / REPORTS[0]) as partial:
            partial.write_text(json.dumps(report(survey, findings), indent=1), encoding="utf-8")
        source = args.config or args.image_dir or args.list or args.dataset_root
        write_page(args.save_dir / REPORTS[1], survey, findings, str(source))
        log.info("Wrote %s into %s", " and ".join(REPORTS), args.save_dir)
    if args.fix:
        return fix(survey, args.fix)
    if errors(findings):
        return 1
    if args.overfit:
        from paddleseg_u2net.training.overfit import overfit

        found = survey.datasets[0].inspection  # the train_dataset comes first
        config = load_config(args.config, opts=args.opts)
        outcome = overfit(config, found, args.save_dir or OVERFIT, args.device)
        return 0 if outcome.learned else 1
    return 0


def check_room(args: argparse.Namespace, data: Sequence[DatasetSpec]) -> None:
    """Refuse before the work what could not be written after it."""
    if args.fix:
        from paddleseg_u2net.data_check.repair import check_destination

        check_destination(data, args.fix, filter(None, (args.image_dir, args.mask_dir)))
    if args.save_dir:
        for path in (args.save_dir / name for name in REPORTS):
            if path.exists():
                raise FileExistsError(f"{path}: exists already. Fix: another --save_dir, or remove it")
        if args.fix and absolute(args.save_dir).is_relative_to(absolute(args.fix)):
            raise ValueError(f"--save_dir {args.save_dir}: lies in the copy. Fix: a folder beside it")
        require_writable(args.save_dir)
    if args.overfit:
        require_writable(args.save_dir or OVERFIT)


def errors(findings: Sequence[Finding]) -> list[str]:
    """The checks that keep training from running."""
    return [finding.name for finding in findings if finding.check.severity == "error"]


def fix(survey: DatasetSurvey, destination: Path) -> int:
    """Write the corrected copy, examine it, and say what is in it; returns the exit code."""
    from paddleseg_u2net.data_check.repair import RECORD, repair

    record = repair(survey, destination)
    for row in record["left out"]:
        print(f"left out: {row['why']}")
    changed = sum(bool(row["done"]) for row in record["files"])
    print(
        f"{destination}: {len(record['files'])} pairs, {changed} of them changed, {len(record['left out'])} "
        f"left out ({RECORD} says what was done). Read it with {record['settings']}"
    )
    findings = diagnose(examine(list(listed(destination, record["settings"]))))
    left = ", ".join(f"{finding.name} ({len(finding.examples)})" for finding in findings)
    print(f"{destination}, examined: {left or 'nothing was found'}")
    return 1 if errors(findings) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = parse(argv)
    configure_log()
    if hasattr(sys.stdout, "reconfigure"):  # file names may hold what a terminal cannot show
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")
    return guarded(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
