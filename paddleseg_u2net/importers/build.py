"""Build a data set from a user's images and masks: lists, a record, and a config that is ready to train."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import MaskContent, MaskEncoding
from paddleseg_u2net.data.unused import unused_files
from paddleseg_u2net.errors import DataError, Fault, counted
from paddleseg_u2net.importers.config_writer import config_text, path_text
from paddleseg_u2net.importers.copies import copy_keys
from paddleseg_u2net.importers.embedded import IMAGES
from paddleseg_u2net.importers.list_writer import PARTS, absolute, find_root, list_texts
from paddleseg_u2net.importers.mask_meaning import MaskMeaning
from paddleseg_u2net.importers.sources import ImageSource, InspectedImage, inspect_source
from paddleseg_u2net.importers.splits import SplitItem, group_of, split
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.locks import path_lock

log = logging.getLogger(__name__)

CONFIG, RECORD, MASKS = "config.yaml", "dataset.json", "masks"
SHARE_LIMITS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0)  # upper limits of foreground shares, for --stratify
CHECK_COMMAND = "u2net check-dataset --config {config}"
TRAIN_COMMAND = "u2net train --config {config} --save_interval 200 --do_eval"
Parts = list[list[InspectedImage]]


@dataclass(frozen=True)
class BuildOptions:
    """How a data set is built from a source.

    Args:
        save_dir: new folder for the lists, the record, the config and drawn masks.
        config_out: path of the config, if it is not `config.yaml` in `save_dir`.
        meaning: how masks are interpreted.
        shares: shares of train, val and test; None keeps the parts of the source.
        seed: seed of the split.
        group_by: images with the same group stay in one part; see `splits.group_of`.
        stratify: give each part its share of small and large objects, or of rare classes.
        skip_empty: leave out images without any object.
        skip_faulty: leave out items that have faults, and count them.
        command: the command that repeats the build; written to the record and the config.
    """

    save_dir: Path
    config_out: Path | None = None
    meaning: MaskMeaning = MaskMeaning()
    shares: tuple[float, ...] | None = None
    seed: int = 0
    group_by: re.Pattern[str] | None = None
    stratify: bool = False
    skip_empty: bool = False
    skip_faulty: bool = False
    command: str = ""


class BuildSummary(NamedTuple):
    """The data set that was built.

    Args:
        config: path of the YAML file.
        counts: number of images of each part that has any.
        classes: names of class 0, 1, …; for saliency of background and object.
        encoding: how masks are decoded.
        items: what became of the items of the source.
    """

    config: Path
    counts: dict[str, int]
    classes: list[str]
    encoding: MaskEncoding
    items: ItemCounts

    def command(self, template: str) -> str:
        """Return CHECK_COMMAND or TRAIN_COMMAND with the path of the config, quoted for a shell."""
        return template.format(config=shlex.quote(str(self.config)))


# -- split into parts -------------------------------------------------------------------------------------


def strata(contents: Sequence[MaskContent], saliency: bool) -> list[str]:
    """Return the stratum of each image.

    Args:
        contents: what the masks contain.
        saliency: strata are ranges of the foreground share; if False, the rarest class of each image.
    """
    if saliency:
        shares = [content.areas[1] / max(content.areas.sum(), 1) for content in contents]
        return [f"share up to {next(limit for limit in SHARE_LIMITS if share <= limit)}" for share in shares]
    present = [np.flatnonzero(content.areas[1:]) + 1 for content in contents]
    images = Counter(number for numbers in present for number in numbers.tolist())
    return [f"class {min(numbers.tolist(), key=lambda n: (images[n], n), default=0)}" for numbers in present]


def _handle_empty(
    images: list[InspectedImage], options: BuildOptions, items: ItemCounts
) -> list[InspectedImage]:
    """Leave out images without any object if the options say so; counts all images."""
    with_objects = [image for image in images if image.content.share]
    if not with_objects:
        what = f"none of the {len(images)} masks contains an object"
        raise DataError([Fault("", what, "check the masks, and the labels of --classes")])
    if len(with_objects) < len(images):
        names = [image.name for image in images if not image.content.share]
        if options.skip_empty:
            items.add_all("left out", "images", "contain no object", names)
        else:
            items.add_all("kept", "images", "contain no object (--skip_empty leaves them out)", names)
    items.add("kept", "images", count=len(with_objects))
    return with_objects if options.skip_empty else images


def _count_absent(images: Sequence[InspectedImage], classes: Sequence[str], items: ItemCounts) -> None:
    """Count the classes that no mask shows, though their ids are in use."""
    if len(classes) > 2:
        areas = np.sum([image.content.areas for image in images], axis=0)
        names = [f"{number} {name}" for number, name in enumerate(classes) if number and not areas[number]]
        items.add_all("kept", "classes", "no mask shows them", names)


def _split_by_shares(images: list[InspectedImage], saliency: bool, options: BuildOptions) -> Parts:
    """Split the images by `options.shares`."""
    assert options.shares is not None
    if options.group_by:
        unmatched = [image.name for image in images if group_of(image.name, options.group_by) is None]
        if len(unmatched) == len(images):
            what = f"matches none of the names, for example '{unmatched[0]}'"
            raise DataError([Fault(f"--group_by {options.group_by.pattern}", what, "correct the pattern")])
        if unmatched:
            names = counted(len(unmatched), "name")
            log.warning("--group_by does not match %s, first: %s", names, unmatched[0])
    if copies := len(images) - len({image.digest for image in images}):
        log.warning(
            "%s of others; copies stay in one part", counted(copies, "image is a copy", "images are copies")
        )
    names = strata([image.content for image in images], saliency) if options.stratify else [""] * len(images)
    keys = copy_keys(images, by_name=options.group_by is None)
    items = [SplitItem(image.name, *rest) for image, *rest in zip(images, keys, names, strict=True)]
    parts = split(items, options.shares, options.seed, options.group_by)
    for part, share, members in zip(PARTS, options.shares, parts, strict=True):
        if share and not members:
            what = f"gets none of {len(images)} images with --split {' '.join(map(str, options.shares))}"
            raise DataError([Fault(part, what, "add images, change the shares, or use smaller groups")])
    return [[images[index] for index in part] for part in parts]


def _keep_given_parts(images: list[InspectedImage]) -> Parts:
    """Return the images of each part as the source has them."""
    parts = [[image for image in images if image.part == number] for number in range(len(PARTS))]
    for part, members in zip(PARTS[:2], parts, strict=False):
        if not members:
            raise DataError([Fault(part, "no image is left in this part", "use --split to split all images")])
    trained = {image.digest for image in parts[0]}
    if copies := sum(image.digest in trained for part in parts[1:] for image in part):
        what = counted(copies, "image of val or test is", "images of val or test are")
        log.warning("%s in train too. Fix: --split keeps copies together", what)
    return parts


# -- write files ------------------------------------------------------------------------------------------


def _record(summary: BuildSummary, options: BuildOptions) -> str:
    """Return the text of dataset.json, which says how the data set was built."""
    record = {
        "made_by": options.command,
        "counts": summary.counts,
        "num_classes": summary.encoding.num_classes,
        "classes": summary.classes,
        "mask_encoding": summary.encoding.name,
        "ignore_index": summary.encoding.ignore_index,
        "mask_colors": summary.encoding.colors,
        "split": list(options.shares) if options.shares else "as given",
        "seed": options.seed if options.shares else None,
        "stratify": options.stratify,
        "group_by": options.group_by.pattern if options.group_by else None,
        "items": summary.items.to_json(),
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _header(summary: BuildSummary, options: BuildOptions) -> list[str]:
    """Return the lines of the comment at the top of the config."""
    counts = ", ".join(f"{part} {count}" for part, count in summary.counts.items())
    task = (
        "salient objects"
        if summary.encoding.num_classes == 1
        else counted(len(summary.classes), "class", "classes")
    )
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(summary.classes))
    return [
        f"{task} in your own images: {counts}",
        f"classes:  {classes}",
        f"made by:  {options.command}",
        f"command:  {summary.command(TRAIN_COMMAND)}",
        "hardware: -   time: -",
        "score:    not run",
    ]


def _write(parts: Parts, summary: BuildSummary, options: BuildOptions, folder: Path) -> str:
    """Write the lists and the record to `folder`, and return the text of the config."""
    save_dir, config = absolute(options.save_dir), absolute(summary.config)
    pairs = [[image.pair for image in part] for part in parts]
    files = [absolute(path) for part in pairs for pair in part for path in pair[:2] if path]
    root = find_root(files, save_dir)
    for part, text in list_texts(pairs, root).items():
        (folder / f"{part}_list.txt").write_text(text, encoding="utf-8")
    (folder / RECORD).write_text(_record(summary, options), encoding="utf-8")
    lists = {part: path_text(save_dir / f"{part}_list.txt", config, save_dir) for part in PARTS}
    header = _header(summary, options)
    root_text = path_text(root, config, save_dir)
    return config_text(root_text, lists, summary.encoding, header, summary.classes)


def _class_names(classes: Sequence[str], count: int) -> list[str]:
    """Return the names of class 0, 1, …, numbered if they have none."""
    if count == 1:
        return ["background", "object"]
    return ["background", *classes, *(f"class {number}" for number in range(len(classes) + 1, count))]


def make_dataset(source: ImageSource, options: BuildOptions) -> BuildSummary:
    """Build a data set in `save_dir`: lists, record, config and, from annotations, masks.

    Images and mask files stay where they are.

    Args:
        source: the images.
        options: what to build, and where.

    Raises:
        FileExistsError: `save_dir` or `config_out` exists; nothing is overwritten.
        LockedError: another process is creating one of them.
        DataError: all faults of the source; nothing is written.
        OSError: a path that cannot be written; nothing is left behind.
    """
    config = options.config_out or options.save_dir / CONFIG
    for path in (options.save_dir, config):
        _check_is_free(path)
    if options.shares is None:  # images of different parts may have the same name
        named = [image._replace(name=f"{PARTS[image.part]}/{image.name}") for image in source.images]
        source = source._replace(images=named)
    with _output_paths(options.save_dir, config) as (folder, config_path):
        drawn = folder / MASKS, options.save_dir / MASKS
        found = inspect_source(source, options.meaning, *drawn, options.skip_faulty)
        count = found.encoding.num_classes
        images = _handle_empty(found.images, options, found.counts)
        parts = _split_by_shares(images, count == 1, options) if options.shares else _keep_given_parts(images)
        counts = {part: len(members) for part, members in zip(PARTS, parts, strict=True) if members}
        classes = _class_names(found.classes, count)
        _count_absent(images, classes, found.counts)
        _count_unused(source, found.counts)
        summary = BuildSummary(config, counts, classes, found.encoding, found.counts)
        config_path.write_text(_write(parts, summary, options, folder), encoding="utf-8")
    return summary


def _count_unused(source: ImageSource, items: ItemCounts) -> None:
    """Count the files in the folders of a source that it neither uses nor reports as faulty."""
    used = [path for image in source.images for path in image.pair[:2] if path]
    where = [image.annotated.where for image in source.images if image.annotated]
    where += [fault.where for fault in source.faults if isinstance(fault, Fault)]
    for reason, paths in unused_files(source.folders, [*used, *map(Path, where), *source.used]).items():
        items.add_all("left out", "files", reason, paths)


def _check_is_free(path: Path) -> None:
    """Raise an error if a path exists."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path}: exists already. Fix: remove it, or choose another name")


@contextlib.contextmanager
def _output_paths(save_dir: Path, config: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a temporary folder and file that become `save_dir` and `config` together, or not at all."""
    if absolute(save_dir).is_relative_to(absolute(config)):
        fix = "name a file with --config_out"
        raise DataError([Fault(str(config), "is the folder of the data set, expected a file", fix)])
    if absolute(config).is_relative_to(absolute(save_dir)):
        inside = absolute(config).relative_to(absolute(save_dir))
        if inside.parts[0] in (RECORD, MASKS, IMAGES, *(f"{part}_list.txt" for part in PARTS)):
            fix = "choose another name for --config_out"
            raise DataError([Fault(str(config), "is used by the data set itself", fix)])
        with _free_path(save_dir), atomic_write(save_dir) as folder:
            (folder / inside).parent.mkdir(parents=True)
            yield folder, folder / inside
        return
    with _free_path(config), _free_path(save_dir), atomic_write(config) as config_path:
        config_path.touch()  # report a path that cannot be written before all images are read
        with atomic_write(save_dir) as folder:
            folder.mkdir()
            yield folder, config_path


@contextlib.contextmanager
def _free_path(path: Path) -> Iterator[None]:
    """Lock a path that must not exist yet."""
    with path_lock(path, "choose another name"):
        _check_is_free(path)  # again: another process may have created it before this one had the lock
        yield
