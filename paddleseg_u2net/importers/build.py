"""Images and masks as people have them -> lists, a record and a config that train, val and predict accept."""

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

from paddleseg_u2net.data.masks import MaskContent, MaskEncoding
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.importers.list_writer import (
    PARTS,
    absolute,
    anchored,
    config_text,
    find_root,
    list_texts,
)
from paddleseg_u2net.importers.sources import Checked, Meaning, Source, read_source
from paddleseg_u2net.importers.splits import Item, group_of, split
from paddleseg_u2net.io.files import atomic_write

log = logging.getLogger(__name__)

CONFIG, RECORD, MASKS = "config.yaml", "dataset.json", "masks"
# upper ends of the foreground shares that --stratify tells apart
SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0)
CHECK = "python tools/check_dataset.py --config {config}"
TRAIN = "python train.py --config {config} --save_interval 200 --do_eval"


@dataclass(frozen=True)
class Wish:
    """What is to become of a source.

    Args:
        save_dir: new folder of lists, record, config and drawn masks.
        config_out: where the config goes instead.
        meaning: what masks mean.
        shares: of train, val and test; None where the parts of the source are these.
        seed: of the split.
        group_by: images whose names agree in it stay in one part.
        stratify: give each part its share of small and large objects, or of the rare classes.
        skip_empty: leave out images without any object.
        command: how this is asked for again; for the record and the config's header.
    """

    save_dir: Path
    config_out: Path | None = None
    meaning: Meaning = Meaning()
    shares: tuple[float, ...] | None = None
    seed: int = 0
    group_by: re.Pattern[str] | None = None
    stratify: bool = False
    skip_empty: bool = False
    command: str = ""


class Summary(NamedTuple):
    """What was made.

    Args:
        config: path of the YAML file.
        counts: images of each part that has any.
        classes: names of class 0, 1, …; for saliency of background and object.
        encoding: how masks are read.
    """

    config: Path
    counts: dict[str, int]
    classes: list[str]
    encoding: MaskEncoding

    def command(self, text: str) -> str:
        """CHECK or TRAIN with the config's path, for a shell."""
        return text.format(config=shlex.quote(str(self.config)))


# -- images -> parts --------------------------------------------------------------------------------------


def strata(contents: Sequence[MaskContent], saliency: bool) -> list[str]:
    """Per image what `--stratify` keeps in proportion: its foreground share, or the rarest class it shows."""
    if saliency:
        shares = [content.areas[1] / max(content.areas.sum(), 1) for content in contents]
        return [f"share up to {next(end for end in SHARES if share <= end)}" for share in shares]
    present = [np.flatnonzero(content.areas[1:]) + 1 for content in contents]
    images = Counter(number for numbers in present for number in numbers.tolist())
    return [f"class {min(numbers.tolist(), key=lambda n: (images[n], n), default=0)}" for numbers in present]


def _with_objects(found: list[Checked], wish: Wish) -> list[Checked]:
    """The images that are kept of all."""
    shown = [one for one in found if one.content.share]
    if not shown:
        raise DataError([f"none of the {len(found)} masks has any object"])
    if empty := len(found) - len(shown):
        left = "left out" if wish.skip_empty else "kept (--skip_empty leaves them out)"
        log.info("%d images show no object: %s", empty, left)
    return shown if wish.skip_empty else found


def _split_anew(found: list[Checked], encoding: MaskEncoding, wish: Wish) -> list[list[Checked]]:
    """The images of each part by `wish.shares`."""
    assert wish.shares is not None
    if wish.group_by:
        alone = [one.entry.name for one in found if group_of(one.entry.name, wish.group_by) is None]
        if len(alone) == len(found):
            raise ValueError(f"--group_by {wish.group_by.pattern}: matches no name, as '{alone[0]}'")
        if alone:
            log.warning("--group_by matches %d names not, first: %s", len(alone), alone[0])
    if copies := len(found) - len({one.digest for one in found}):
        log.warning("%d images are copies of others; each stays with its original", copies)
    contents = [one.content for one in found]
    named = strata(contents, encoding.num_classes == 1) if wish.stratify else [""] * len(found)
    items = [Item(one.entry.name, one.digest.hex(), name) for one, name in zip(found, named, strict=True)]
    parts = split(items, wish.shares, wish.seed, wish.group_by)
    for part, share, members in zip(PARTS, wish.shares, parts, strict=True):
        if share and not members:
            raise ValueError(
                f"{part}: gets none of {len(found)} images by --split {' '.join(map(str, wish.shares))}. "
                "Fix: more images, other shares, or smaller groups"
            )
    return [[found[index] for index in part] for part in parts]


def _split_as_given(found: list[Checked]) -> list[list[Checked]]:
    """The images of each part as the source has them."""
    parts = [[one for one in found if one.entry.part == number] for number in range(len(PARTS))]
    for part, members in zip(PARTS[:2], parts, strict=False):
        if not members:
            raise ValueError(f"{part}: no image is left of it. Fix: --split joins all and splits them anew")
    trained = {one.digest for one in parts[0]}
    if copies := sum(one.digest in trained for part in parts[1:] for one in part):
        log.warning("%d images of val or test are in train too. Fix: --split keeps copies together", copies)
    return parts


# -- parts -> files ---------------------------------------------------------------------------------------


def _record(summary: Summary, wish: Wish) -> str:
    """Text of the file that says how the set was made."""
    record = {
        "made_by": wish.command,
        "counts": summary.counts,
        "num_classes": summary.encoding.num_classes,
        "classes": summary.classes,
        "mask_encoding": summary.encoding.name,
        "ignore_index": summary.encoding.ignore_index,
        "split": list(wish.shares) if wish.shares else "as given",
        "seed": wish.seed if wish.shares else None,
        "stratify": wish.stratify,
        "group_by": wish.group_by.pattern if wish.group_by else None,
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _header(summary: Summary, wish: Wish) -> list[str]:
    """Lines of a config's comment: what it trains on, and the commands."""
    counts = ", ".join(f"{count} to {part}" for part, count in summary.counts.items())
    task = "salient objects" if summary.encoding.num_classes == 1 else f"{len(summary.classes)} classes"
    named = ", ".join(f"{number} {name}" for number, name in enumerate(summary.classes))
    return [
        f"{task} in images of your own: {counts}",
        f"classes:  {named}",
        f"made by:  {wish.command}",
        f"command:  {summary.command(TRAIN)}",
        "hardware: -   time: -",
        "score:    not run",
    ]


def _write(parts: Sequence[Sequence[Checked]], summary: Summary, wish: Wish, folder: Path) -> str:
    """Write lists and record into `folder`; returns the config's text."""
    save_dir, config = absolute(wish.save_dir), absolute(summary.config)
    pairs = [[one.entry.pair for one in part] for part in parts]
    files = [absolute(path) for part in pairs for pair in part for path in pair[:2] if path]
    root = find_root(files, save_dir)
    for part, text in list_texts(pairs, root).items():
        (folder / f"{part}_list.txt").write_text(text, encoding="utf-8")
    (folder / RECORD).write_text(_record(summary, wish), encoding="utf-8")
    lists = {part: anchored(save_dir / f"{part}_list.txt", config, save_dir) for part in PARTS}
    return config_text(anchored(root, config, save_dir), lists, summary.encoding, _header(summary, wish))


def _names(classes: Sequence[str], count: int) -> list[str]:
    """Of class 0, 1, … as far as they have any, else numbers."""
    if count == 1:
        return ["background", "object"]
    return ["background", *classes, *(f"class {number}" for number in range(len(classes) + 1, count))]


def make_dataset(source: Source, wish: Wish) -> Summary:
    """Turn a source into `save_dir`: lists, record, config and, from annotations, masks.

    Images and masks that are files already stay where they are.

    Raises:
        FileExistsError: `save_dir` or `config_out` exists; nothing is overwritten.
        DataError: all that is wrong with the source; nothing is written then.
        OSError: a place that cannot be written to; nothing is written then either.
    """
    config = wish.config_out or wish.save_dir / CONFIG
    for path in (wish.save_dir, config):
        if path.exists() or path.is_symlink():
            raise FileExistsError(f"{path}: exists already. Fix: remove it, or choose another name")
        above = next(parent for parent in absolute(path).parents if parent.exists())
        if not above.is_dir():
            raise NotADirectoryError(f"{above}: a file, expected a folder. Fix: choose a place beside it")
    if wish.shares is None:  # parts may have images of one name
        named = [entry._replace(name=f"{PARTS[entry.part]}/{entry.name}") for entry in source.entries]
        source = source._replace(entries=named)
    with _places(wish.save_dir, config) as (folder, place):
        found, encoding, classes = read_source(source, wish.meaning, folder / MASKS, wish.save_dir / MASKS)
        found = _with_objects(found, wish)
        parts = _split_anew(found, encoding, wish) if wish.shares else _split_as_given(found)
        counts = {part: len(members) for part, members in zip(PARTS, parts, strict=True) if members}
        summary = Summary(config, counts, _names(classes, encoding.num_classes), encoding)
        place.write_text(_write(parts, summary, wish, folder), encoding="utf-8")
    return summary


@contextlib.contextmanager
def _places(save_dir: Path, config: Path) -> Iterator[tuple[Path, Path]]:
    """A folder and a file to write to, which become `save_dir` and `config`: both or neither."""
    if absolute(save_dir).is_relative_to(absolute(config)):
        raise ValueError(f"{config}: the folder of the data set. Fix: --config_out names a file")
    if absolute(config).is_relative_to(absolute(save_dir)):
        inside = absolute(config).relative_to(absolute(save_dir))
        if inside.parts[0] in (RECORD, MASKS, *(f"{part}_list.txt" for part in PARTS)):
            raise ValueError(f"{config}: belongs to the data set. Fix: another name for --config_out")
        with atomic_write(save_dir) as folder:
            place = folder / inside
            place.parent.mkdir(parents=True)
            yield folder, place
        return
    with atomic_write(config) as place:
        place.touch()  # before all images are read, so that it is told at once where this cannot be
        with atomic_write(save_dir) as folder:
            folder.mkdir()
            yield folder, place
