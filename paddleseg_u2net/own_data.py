"""Images and masks as people have them -> lists, a record and a config that train, val and predict accept."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.annotations import Annotated, Annotations, class_values, draw
from paddleseg_u2net.config import BASE, HERE, dump_config
from paddleseg_u2net.dataset import DataError, Dataset
from paddleseg_u2net.files import arriving, digest
from paddleseg_u2net.images import pillow, read_image
from paddleseg_u2net.masks import (
    IDS_BELOW,
    IGNORE,
    MaskEncoding,
    RawMask,
    Survey,
    decide_encoding,
    read_raw,
)
from paddleseg_u2net.outputs import make_palette
from paddleseg_u2net.pairs import Pair, pair_folders, read_list
from paddleseg_u2net.splits import Item, group_of, split

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
CONFIG, RECORD, MASKS = "config.yaml", "dataset.json", "masks"
# upper ends of the foreground shares that --stratify tells apart
SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 1.0)
CHECK = "python tools/check_dataset.py --config {config}"
TRAIN = "python train.py --config {config} --save_interval 200 --do_eval"
SALIENCY_BASE, CLASSES_BASE = (f"configs/RGB/U2Net/{name}.yaml" for name in ("u2netp_finetune", "u2netp"))


class Entry(NamedTuple):
    """One image of a source.

    Args:
        name: what its part of the split is drawn from.
        pair: its files; the mask is None where it has yet to be drawn …
        annotated: … from this.
    """

    name: str
    pair: Pair
    annotated: Annotated | None = None


class Source(NamedTuple):
    """What was found: images, what is wrong, and for annotations the labels in their order."""

    entries: list[Entry]
    faults: list[str]
    labels: list[str] | None = None


@dataclass(frozen=True)
class Wish:
    """What is to become of a source.

    Args:
        save_dir: new folder of lists, record, config and drawn masks.
        config_out: where the config goes instead.
        shares: of train, val and test.
        seed: of the split.
        group_by: images whose names agree in it stay in one part.
        stratify: give each part its share of small and large objects, or of the rare classes.
        skip_empty: leave out images without any object.
        saliency: one class, soft or not; None to decide by the masks, classes for annotations.
        classes: names of class 1, 2, …
        num_classes: background included, where masks do not show all.
        ignore_index: mask value of pixels that do not count.
        command: how this is asked for again; for the record and the config's header.
    """

    save_dir: Path
    config_out: Path | None = None
    shares: tuple[float, ...] = (0.8, 0.2, 0.0)
    seed: int = 0
    group_by: re.Pattern[str] | None = None
    stratify: bool = False
    skip_empty: bool = False
    saliency: bool = False
    classes: list[str] | None = None
    num_classes: int | None = None
    ignore_index: int | None = None
    command: str = ""


class Seen(NamedTuple):
    """One image, read: its mask's file, which values that holds and how often, and its own checksum."""

    entry: Entry
    survey: Survey
    counts: np.ndarray
    digest: str


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


# -- sources -> images and masks -------------------------------------------------------------------------


def from_folders(image_dir: Path, mask_dir: Path, image_suffix: str, mask_suffix: str) -> Source:
    """Two folders, or one whose file names end differently; arguments as `pair_folders`."""
    if image_dir == mask_dir and image_suffix == mask_suffix:
        raise ValueError(
            f"{image_dir}: images and masks cannot be told apart. Fix: --mask_suffix _gt, or "
            "--image_suffix .jpg --mask_suffix .png"
        )
    pairs, faults = pair_folders(image_dir, mask_dir, image_suffix, mask_suffix)
    return Source([Entry(pair.image.relative_to(image_dir).as_posix(), pair) for pair in pairs], faults)


def from_lists(paths: Sequence[Path], root: Path) -> Source:
    """PaddleSeg's lists, one or several that are split anew."""
    entries, faults = [], []
    for path in paths:
        pairs, wrong = read_list(path, root)
        entries += [Entry(Path(os.path.relpath(pair.image, root)).as_posix(), pair) for pair in pairs]
        faults += wrong
    return Source(entries, faults)


def from_annotations(found: Annotations) -> Source:
    """COCO or LabelMe, read."""
    entries = [Entry(one.name, Pair(one.image, None, one.where), one) for one in found.images]
    return Source(entries, found.faults, found.labels)


def _repeated(entries: Iterable[Entry]) -> list[str]:
    """A fault per image that is named twice, or whose drawn mask would get the name of another."""
    first: dict[str, Entry] = {}
    faults = []
    for entry in entries:
        kept = first.setdefault(entry.name, entry)
        if kept is not entry:
            other = kept.pair.where.removesuffix(": ") or kept.pair.image
            faults.append(
                f"{entry.pair.where}{entry.pair.image}: the name '{entry.name}' stands twice, first in "
                f"{other}. Fix: keep one, or rename it"
            )
    return faults


# -- images and masks -> what a split has to know ---------------------------------------------------------


def _see_mask(entry: Entry) -> Seen | list[str]:
    """A mask file as stored; what is wrong with it, `Dataset.inspect` tells better."""
    try:
        assert entry.pair.mask is not None
        raw = read_raw(entry.pair.mask)
        return _seen(entry, f"{entry.pair.where}{entry.pair.mask}", raw)
    except (OSError, ValueError):
        return []


def _seen(entry: Entry, where: str, raw: RawMask) -> Seen:
    counts = np.bincount(raw.values.ravel())
    return Seen(
        entry, Survey(where, raw.kind, np.flatnonzero(counts)), counts, digest(entry.pair.image, "sha256")
    )


def _see_drawing(
    entry: Entry, folder: Path, arrives: Path, values: Mapping[str, int], palette: np.ndarray
) -> Seen | list[str]:
    """Draw a mask into `folder`, which becomes `arrives`; or what is wrong with its image and shapes."""
    annotated = entry.annotated
    assert annotated is not None
    try:
        size = read_image(annotated.image).shape[:2]
    except (OSError, ValueError) as error:
        return [f"{annotated.where}{error}"]
    if annotated.size not in (None, size):
        turned = annotated.size == size[::-1]
        fix = "turn the image for good and annotate that" if turned else "use the image that was annotated"
        return [
            f"{annotated.where}(H, W) {annotated.size} differs from the {size} of {annotated.image}, upright "
            f"by its EXIF tag. Fix: {fix}"
        ]
    ids, faults = draw(annotated, values, *size)
    if faults:
        return faults
    mask = folder / f"{annotated.name}.png"
    mask.parent.mkdir(parents=True, exist_ok=True)
    picture = pillow().fromarray(ids)
    picture.putpalette(palette.tobytes())
    picture.save(mask)
    drawn = entry._replace(pair=entry.pair._replace(mask=arrives / f"{annotated.name}.png"))
    return _seen(drawn, str(drawn.pair.mask), RawMask(ids, "palette"))


def _see_all(
    see: Callable[[Entry], Seen | list[str]], entries: Sequence[Entry]
) -> tuple[list[Seen], list[str]]:
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter
        outcomes = list(
            tqdm(pool.map(see, entries), "masks", len(entries), disable=None, delay=1, leave=False)
        )
    seen = [outcome for outcome in outcomes if isinstance(outcome, Seen)]
    return seen, [fault for outcome in outcomes if isinstance(outcome, list) for fault in outcome]


def count_classes(surveys: Sequence[Survey], wish: Wish) -> tuple[int, int | None]:
    """`num_classes` and `ignore_index` of masks that were not drawn here: as wished, else as they look.

    Masks are saliency unless they cannot be: then they hold class ids, background 0, and the largest is the
    last class. 255 beside three classes or more does not count.
    """
    values = set().union(*(survey.levels.tolist() for survey in surveys)) - {wish.ignore_index}
    ids = values - {IGNORE}
    if wish.saliency:
        count = 1
    elif wish.num_classes or wish.classes:
        count = wish.num_classes or len(wish.classes or ()) + 1
    else:
        contradictions = decide_encoding(surveys, 1, wish.ignore_index, None)[1]
        as_ids = all(survey.kind == "palette" for survey in surveys) or max(ids, default=0) <= IDS_BELOW
        count = max(ids) + 1 if contradictions and as_ids and max(ids, default=0) > 1 else 1
    ignore = IGNORE if wish.ignore_index is None and count > 2 and IGNORE in values else wish.ignore_index
    return count, ignore


def strata(seen: Sequence[Seen], encoding: MaskEncoding) -> list[str]:
    """Per image what `--stratify` keeps in proportion: its foreground share, or the rarest class it shows."""
    decoded = [encoding.decode(RawMask(one.survey.levels, one.survey.kind)) for one in seen]
    if encoding.num_classes == 1:
        found = []
        for one, values in zip(seen, decoded, strict=True):
            counts = one.counts[one.survey.levels]
            share = counts[(values > 0.5) & (values != IGNORE)].sum() / max(counts[values != IGNORE].sum(), 1)
            found.append(f"share up to {next(end for end in SHARES if share <= end)}")
        return found
    present = [set(values[values != IGNORE].tolist()) - {0} for values in decoded]
    images = Counter(value for values in present for value in values)
    return [f"class {min(values, key=lambda v: (images[v], v), default=0)}" for values in present]


def _is_empty(one: Seen, encoding: MaskEncoding) -> bool:
    decoded = encoding.decode(RawMask(one.survey.levels, one.survey.kind))
    return not (decoded[decoded != IGNORE] > 0).any()


# -- what was seen -> files -------------------------------------------------------------------------------


def _below(path: Path, folder: Path) -> bool:
    return folder == path or folder in path.parents


def find_root(paths: Sequence[Path], save_dir: Path) -> Path:
    """The deepest folder that holds all files, `save_dir` where that is the whole disk."""
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return save_dir if root == Path(root.anchor) else root


def entry_text(path: Path, root: Path) -> str:
    """A path as a list names it: below `root` where it lies there.

    Raises:
        ValueError: a name that no line of a list can hold.
    """
    text = path.relative_to(root).as_posix() if _below(path, root) else path.as_posix()
    if len(text.splitlines()) != 1 or "\t" in text:
        raise ValueError(f"{text!r}: a list cannot hold a name with a tab or a line break. Fix: rename it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r}: a name that is not UTF-8. Fix: rename it") from None
    return f"./{text}" if text[0] == "#" or text[0].isspace() else text


def _anchored(path: Path, config: Path, save_dir: Path) -> str:
    """A path as the config says it: from its own folder where both move together, else absolute."""
    for anchor in (Path(os.path.abspath(".")), save_dir.parent):
        if _below(path, anchor) and _below(config.parent, anchor) and anchor != Path(anchor.anchor):
            way = Path(os.path.relpath(path, config.parent)).as_posix()
            return HERE if way == "." else f"{HERE}/{way}"
    return str(path)


def _printable(text: str) -> str:
    """Without line breaks and what else would end a comment."""
    return "".join(character if character.isprintable() else " " for character in text)


def config_text(root: str, lists: Mapping[str, str], encoding: MaskEncoding, header: Sequence[str]) -> str:
    """A config over one of the project's, which paths of data it replaces.

    Args:
        root: `dataset_root`.
        lists: path of the list of each part.
        encoding: how its masks are read.
        header: lines of its comment.
    """
    single = encoding.num_classes == 1
    data: dict[str, Any] = {"dataset_root": root}
    if single:
        data |= {"image_dir": None, "mask_dir": None}
    else:
        data |= {"num_classes": encoding.num_classes}
    data["mask_encoding"] = encoding.name
    if encoding.ignore_index is not None:
        data["ignore_index"] = encoding.ignore_index
    config: dict[str, Any] = {BASE: SALIENCY_BASE if single else CLASSES_BASE}
    for part in ("train", "val"):
        config[f"{part}_dataset"] = {**data, f"{part}_path": lists[part]}
    if not single:
        config["model"] = {"num_classes": encoding.num_classes}
    wrap = partial(textwrap.wrap, width=106, break_long_words=False, break_on_hyphens=False)
    comment = [line for text in header for line in wrap(_printable(text), subsequent_indent=" " * 10)]
    return "".join(f"# {line}\n" for line in comment) + dump_config(config)


def _look(source: Source, wish: Wish, folder: Path) -> tuple[list[Seen], MaskEncoding, list[str]]:
    """Read or draw every mask and check every image; raises DataError with all that is wrong.

    Returns:
        The images, how their masks are read, and the names of class 1, 2, …
    """
    faults = source.faults + _repeated(source.entries)
    if source.labels is None:
        seen, _ = _see_all(_see_mask, source.entries)
        count, ignore = count_classes([one.survey for one in seen], wish)
        pairs = [entry.pair for entry in source.entries]
        data = Dataset(pairs, count, ignore_index=ignore, name="all images", faults=faults)
        faults, encoding, classes = data.inspect(), data.encoding, wish.classes or []
        assert encoding is not None
    else:
        classes, values = [], dict.fromkeys(source.labels, 1)  # shapes are checked in any case
        try:
            classes, values = class_values(source.labels, wish.classes, wish.saliency)
        except ValueError as error:
            faults.append(str(error))
        count = 1 if wish.saliency else len(classes) + 1
        see = partial(
            _see_drawing,
            folder=folder,
            arrives=wish.save_dir / MASKS,
            values=values,
            palette=make_palette(count),
        )
        seen, wrong = _see_all(see, source.entries)
        faults += wrong
        unsure = any(one.survey.levels[-1] == IGNORE for one in seen)
        encoding = MaskEncoding("index", count, IGNORE if unsure else None)
    if not source.entries and not faults:
        faults = ["0 images. Fix: name a source that holds at least two"]
    if faults:
        raise DataError(faults)
    return seen, encoding, classes


def _share_out(seen: Sequence[Seen], encoding: MaskEncoding, wish: Wish) -> list[list[Seen]]:
    """The images of each part."""
    empty = [one for one in seen if _is_empty(one, encoding)]
    if len(empty) == len(seen):
        raise DataError([f"none of the {len(seen)} masks has any object"])
    if empty and wish.skip_empty:
        seen = [one for one in seen if not _is_empty(one, encoding)]
    if empty:
        left = "left out" if wish.skip_empty else "kept (--skip_empty leaves them out)"
        log.info("%d images show no object: %s", len(empty), left)
    if wish.group_by:
        alone = [one.entry.name for one in seen if group_of(one.entry.name, wish.group_by) is None]
        if len(alone) == len(seen):
            raise ValueError(f"--group_by {wish.group_by.pattern}: matches no name, as '{alone[0]}'")
        if alone:
            log.warning("--group_by matches %d names not, first: %s", len(alone), alone[0])
    copies = len(seen) - len({one.digest for one in seen})
    if copies:
        log.warning("%d images are copies of others; each stays with its original", copies)
    named = strata(seen, encoding) if wish.stratify else [""] * len(seen)
    items = [Item(one.entry.name, one.digest, name) for one, name in zip(seen, named, strict=True)]
    parts = split(items, wish.shares, wish.seed, wish.group_by)
    for part, share, members in zip(PARTS, wish.shares, parts, strict=True):
        if share and not members:
            raise ValueError(
                f"{part}: gets none of {len(seen)} images by --split {' '.join(map(str, wish.shares))}. "
                "Fix: more images, other shares, or smaller groups"
            )
    return [[seen[index] for index in part] for part in parts]


def _lists(parts: Sequence[Sequence[Seen]], root: Path) -> dict[str, str]:
    """Text of the list of each part that has images."""
    rows: dict[str, list[list[str]]] = {}
    faults = []
    for part, members in zip(PARTS, parts, strict=True):
        for one in members:
            rows.setdefault(part, []).append([])
            for path in filter(None, one.entry.pair[:2]):
                try:
                    rows[part][-1].append(entry_text(_absolute(path), root))
                except ValueError as error:
                    faults.append(str(error))
    if faults:
        raise DataError(faults)
    texts = [text for pairs in rows.values() for row in pairs for text in row]
    separator = "\t" if any(map(str.isspace, "".join(texts))) else " "
    return {part: "".join(f"{separator.join(row)}\n" for row in pairs) for part, pairs in rows.items()}


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # links stay what they are: they are how people move data


def _write(
    parts: Sequence[Sequence[Seen]], encoding: MaskEncoding, classes: Sequence[str], wish: Wish, folder: Path
) -> tuple[Summary, str]:
    """Write lists and record into `folder`; returns the summary and the config's text."""
    save_dir, config = _absolute(wish.save_dir), wish.config_out or wish.save_dir / CONFIG
    files = [path for part in parts for one in part for path in one.entry.pair[:2] if path]
    root = find_root([_absolute(path) for path in files], save_dir)
    lists = _lists(parts, root)
    for part, text in lists.items():
        (folder / f"{part}_list.txt").write_text(text, encoding="utf-8")
    counts = {part: len(members) for part, members in zip(PARTS, parts, strict=True) if members}
    names = ["background", *classes]
    names += [f"class {number}" for number in range(len(names), encoding.num_classes)]
    if encoding.num_classes == 1:
        names = ["background", "object"]
    summary = Summary(config, counts, names, encoding)
    record = {
        "made_by": wish.command,
        "counts": counts,
        "num_classes": encoding.num_classes,
        "classes": names,
        "mask_encoding": encoding.name,
        "ignore_index": encoding.ignore_index,
        "split": list(wish.shares),
        "seed": wish.seed,
        "stratify": wish.stratify,
        "group_by": wish.group_by.pattern if wish.group_by else None,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    where = _absolute(config)
    text = config_text(
        _anchored(root, where, save_dir),
        {part: _anchored(save_dir / f"{part}_list.txt", where, save_dir) for part in PARTS},
        encoding,
        header_of(summary, wish),
    )
    (folder / CONFIG).write_text(text, encoding="utf-8")
    return summary, text


def header_of(summary: Summary, wish: Wish) -> list[str]:
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


def make_dataset(source: Source, wish: Wish) -> Summary:
    """Turn a source into `save_dir`: lists, record, config and, from annotations, masks.

    Images and masks that are files already stay where they are.

    Raises:
        FileExistsError: `save_dir` or `config_out` exists; nothing is overwritten.
        DataError: all that is wrong with the source; nothing is written then.
    """
    for path in (wish.save_dir, wish.config_out):
        if path and (path.exists() or path.is_symlink()):
            raise FileExistsError(f"{path}: exists already. Fix: remove it, or choose another name")
    with arriving(wish.save_dir) as folder:
        folder.mkdir()
        seen, encoding, classes = _look(source, wish, folder / MASKS)
        parts = _share_out(seen, encoding, wish)
        summary, text = _write(parts, encoding, classes, wish, folder)
        if wish.config_out:
            (folder / CONFIG).unlink()
    if wish.config_out:
        with arriving(wish.config_out) as arriving_config:
            arriving_config.write_text(text, encoding="utf-8")
    return summary
