"""Write a corrected copy of surveyed data sets: `--fix` of `u2net check-dataset`.

Images are upright, masks share one encoding, broken pairs and training images that another set has as well
are left out. The originals are only read.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.agreement import as_classes
from paddleseg_u2net.data.inspection import PairRecord
from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import IGNORE, decide_encoding
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.survey import (
    DatasetSurvey,
    SurveyedDataset,
    SurveyedPair,
    find_shared_files,
    find_shared_pictures,
)
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.faulty_items import kind_of
from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, pillow, upright, write_image

RECORD = "fixed.json"
SOFT_IGNORE = 128  # value of ignored pixels in a written soft mask, where 255 is the object
SAME_ASPECT = 0.01  # relative difference of aspect ratios up to which a mask is resized


@dataclass(frozen=True)
class Task:
    """What to do with one pair.

    Args:
        pair: the original.
        reason: why it is left out; None if it is copied.
        image: path of the image in the copy.
        mask: path of the mask in the copy.
    """

    pair: SurveyedPair
    reason: Fault | None = None
    image: str = ""
    mask: str = ""


def repair(survey: DatasetSurvey, destination: Path) -> dict[str, Any]:
    """Write the corrected copy, completely or not at all.

    Args:
        survey: what `survey.examine` returned.
        destination: a folder that does not exist yet.

    Returns:
        The content of fixed.json in the copy: `files`, what was done to each pair; `left out`, and why;
        `items`, how many pairs were kept, converted and left out, by reason; `settings`, the keys of a
        dataset section that read the copy.

    Raises:
        FileExistsError: the folder exists.
        ValueError: see `check_destination`; or no pair of a data set would be left.
        DataError: the encoding of the masks cannot be decided.
    """
    check_destination([dataset.spec for dataset in survey.datasets], destination)
    tasks = list(_plan(survey))
    kept = [task for task in tasks if not task.reason]
    for dataset in survey.datasets:
        if not any(task.pair.dataset is dataset for task in kept):
            raise ValueError(
                f"--fix {destination}: no pair of {dataset.name} would be left. "
                "Fix: correct the reported faults by hand"
            )
    settings = _settings(survey)
    record = {
        "settings": settings,
        "files": [],
        "left out": [_left_out(task) for task in tasks if task.reason],
    }
    with atomic_write(destination) as folder:
        for task, changes in _write_all(kept, folder, settings["ignore_index"] is not None):
            names = {"set": task.pair.dataset.name, "image": task.image, "mask": task.mask}
            record["files"].append({**names, "from": str(task.pair.files.image), "done": changes})
        faults = [fault for dataset in survey.datasets for fault in dataset.spec.faults]
        record["items"] = _count(record["files"], tasks, faults).to_json()
        for dataset in survey.datasets:
            lines = [f"{task.image}\t{task.mask}\n" for task in kept if task.pair.dataset is dataset]
            (folder / f"{dataset.spec.mode}_list.txt").write_text("".join(lines), encoding="utf-8")
        (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _count(files: Sequence[dict[str, Any]], tasks: Iterable[Task], faults: Iterable[Fault]) -> ItemCounts:
    """Count the pairs that were copied, changed, and left out, by reason; `faults` made no pair."""
    items = ItemCounts()
    for row in files:
        reason = "; ".join(kind_of(change) for change in row["done"])
        items.add("converted" if reason else "kept", "pairs", reason, row["image"] if reason else "")
    for task in tasks:
        if task.reason:
            items.add("left out", "pairs", kind_of(task.reason), task.pair.files.image)
    for fault in faults:
        items.add("left out", "pairs", kind_of(fault), fault.where)
    return items


def check_destination(datasets: Sequence[DatasetSpec], destination: Path, roots: Iterable[Path] = ()) -> None:
    """Check what can be checked about the destination before any file is read.

    Args:
        datasets: what is copied.
        destination: folder of the copy.
        roots: further folders of originals, besides those of the images and masks.

    Raises:
        FileExistsError: the destination exists.
        ValueError: it is inside a folder of originals, or two data sets have the same mode and would share
            one list file.
    """
    if destination.exists() or destination.is_symlink():
        raise FileExistsError(f"--fix {destination}: exists already. Fix: another folder")
    folders = {path.parent for dataset in datasets for pair in dataset.pairs for path in pair[:2] if path}
    parents = {destination.resolve(), *destination.resolve().parents}
    if inside := {folder.resolve() for folder in (*folders, *roots)} & parents:
        raise ValueError(
            f"--fix {destination}: is inside {inside.pop()}, a folder of originals. Fix: another folder"
        )
    if any(dataset.labels for dataset in datasets):
        raise ValueError("--fix: not for labels that overlap. Fix: correct the reported faults by hand")
    for one, other in itertools.combinations(datasets, 2):
        if one.mode == other.mode:
            raise ValueError(
                f"--fix {destination}: {one.name} and {other.name} both have mode {one.mode} and would share "
                "one list file. Fix: set a different mode (train, val, test), or fix them one by one"
            )


# -- which pairs, and their names in the copy -----------------------------------------------------------


def _plan(survey: DatasetSurvey) -> Iterator[Task]:
    for dataset in survey.datasets:
        _require_clear_encoding(dataset)
    leaks, taken = _leaks(survey), Counter[str]()
    for dataset in survey.datasets:
        listed: set[Path] = set()
        for pair in dataset.pairs:
            image = pair.files.image
            reason = _unusable(pair) or leaks.get((dataset.spec.mode, pair.record.index))
            if not reason and image in listed:
                reason = Fault(pair.record.place, "listed before")
            if reason:
                yield Task(pair, reason)
                continue
            listed.add(image)
            name = Path(re.sub(r"[^\w.() +,=@~-]", "_", image.name))
            stem = _unique(name.stem, taken)
            suffix = ".png" if pair.record.orientation != UPRIGHT else name.suffix
            yield Task(pair, image=f"images/{stem}{suffix}", mask=f"masks/{stem}.png")


def _require_clear_encoding(dataset: SurveyedDataset) -> None:
    """Raise DataError if the encoding is unclear even without the masks that contradict it."""
    spec = dataset.spec
    palettes = dataset.inspection.agreement.palettes
    sound = [pair.record.mask_levels for pair in dataset.pairs if not pair.contradiction]
    levels = [as_classes(mask, palettes) for mask in sound]
    _, faults = decide_encoding(levels, spec.num_classes, spec.ignore_index, spec.mask_encoding)
    unclear = [*faults.values(), *filter(None, [dataset.inspection.no_foreground])]
    if unclear:
        fix = spec.fix_as("set mask_encoding")
        raise DataError([*unclear, Fault("--fix", "cannot decide the encoding of the masks", fix)])


def _leaks(survey: DatasetSurvey) -> dict[tuple[str, int], Fault]:
    """By mode and index: why training images are left out that another set shows and keeps."""
    usable = [[pair for pair in dataset.readable if not _unusable(pair)] for dataset in survey.datasets]
    leaks = {}
    for match in (*find_shared_files(usable), *find_shared_pictures(usable)):
        for pair, other in ((match.first, match.second), (match.second, match.first)):
            if pair.dataset.spec.mode == "train":
                what = f"shows the same as {other.record.place} of {other.dataset.name}"
                leaks[pair.dataset.spec.mode, pair.record.index] = Fault(pair.record.place, what)
    return leaks


def _unusable(pair: SurveyedPair) -> Fault | None:
    """The fault that makes a pair unusable; a mask of another size may still be made to fit."""
    if pair.record.broken:
        return pair.record.broken[0]
    if pair.record.mask_levels is None:
        return Fault(pair.record.place, "has no mask")
    return pair.contradiction or (None if _way_to_fit(pair.record) else pair.record.mismatch)


def _unique(stem: str, taken: Counter[str]) -> str:
    """`a`, or `a_2` if `a` is taken, ignoring case."""
    taken[stem.casefold()] += 1
    while (number := taken[stem.casefold()]) > 1:
        stem = f"{stem}_{number}"
        taken[stem.casefold()] += 1
    return stem


def _left_out(task: Task) -> dict[str, str]:
    image = str(task.pair.files.image)
    return {"set": task.pair.dataset.name, "image": image, "why": str(task.reason)}


# -- writing --------------------------------------------------------------------------------------------


def _write_all(tasks: Sequence[Task], folder: Path, with_ignore: bool) -> Iterator[tuple[Task, list[str]]]:
    """Write the pairs on all processors; yields each with what was changed."""
    with ThreadPoolExecutor(processors()) as pool:
        done = pool.map(lambda task: _write(task, folder, with_ignore), tasks)
        bar = tqdm(done, "fix", len(tasks), disable=None, delay=1, leave=False, unit=" pairs")
        yield from zip(tasks, bar, strict=True)


def _write(task: Task, folder: Path, with_ignore: bool) -> list[str]:
    """Write one pair and return what was changed."""
    record, changes = task.pair.record, []
    assert record.pair.mask is not None
    if record.orientation != UPRIGHT:
        white = task.pair.dataset.inspection.agreement.white
        write_image(folder / task.image, read_picture(record.pair.image, white=white))
        changes.append(f"image rotated upright{', stored with 8 bits' if record.top else ''}")
    else:
        with atomic_write(folder / task.image) as partial:
            partial.write_bytes(record.pair.image.read_bytes())
    raw = task.pair.dataset.spec.read_mask(record.pair.mask)
    stored = to_8bit(task.pair.dataset.encoding.decode(raw), with_ignore)
    if raw.orientation != UPRIGHT:
        changes.append("mask rotated upright")
    way = _way_to_fit(record) if record.mismatch else ""
    if (record._replace(mask_size=record.size) if way == "resize" else record).rotated_differently:
        changes.append("CHECK that image and mask fit: their EXIF orientations differ")
    if (raw.kind, record.pair.mask.suffix.lower()) != ("8-bit", ".png") or (raw.values != stored).any():
        changes.append(f"mask re-encoded ({raw.kind} {record.pair.mask.suffix})")
    if way == "rotate":
        stored = np.asarray(upright(pillow().fromarray(stored), record.orientation))
        changes.append("mask rotated by the EXIF tag of its image")
    elif way == "resize" and record.size:
        stored = cv2.resize(stored, record.size[::-1], interpolation=cv2.INTER_NEAREST)
        changes.append(f"mask resized from {record.mask_size} to {record.size}, nearest pixel")
    write_image(folder / task.mask, stored)
    return changes


def _way_to_fit(record: PairRecord) -> str:
    """`rotate` or `resize` if that safely makes a mask fit its image, else an empty string."""
    if record.size is None or record.mask_size is None:
        return ""
    (height, width), (mask_height, mask_width) = record.size, record.mask_size
    quarter_turn = record.orientation >= SIDEWAYS and record.mask_orientation == UPRIGHT
    if quarter_turn and (height, width) == (mask_width, mask_height):
        return "rotate"
    return "resize" if abs(height * mask_width / (width * mask_height) - 1) <= SAME_ASPECT else ""


def to_8bit(decoded: np.ndarray, with_ignore: bool) -> np.ndarray:
    """Encode a decoded mask as it is written to the copy.

    Args:
        decoded: (H, W) as `MaskEncoding.decode` returns it: uint8 class ids, or float32 in [0, 1].
        with_ignore: whether 128 is reserved for ignored pixels in soft masks.

    Returns:
        (H, W) uint8: class ids unchanged, soft masks scaled to 0 .. 255.
    """
    if decoded.dtype == np.uint8:
        return decoded
    grey = np.round(np.where(decoded == IGNORE, 0, decoded) * 255).astype(np.uint8)
    if with_ignore:
        grey[grey == SOFT_IGNORE] -= 1
        grey[decoded == IGNORE] = SOFT_IGNORE
    return grey


def _settings(survey: DatasetSurvey) -> dict[str, Any]:
    """The keys of a dataset section that read the copy."""
    num_classes = survey.datasets[0].spec.num_classes
    with_ignore = any(dataset.spec.ignore_index is not None for dataset in survey.datasets)
    return {
        "num_classes": num_classes,
        "mask_encoding": "grey" if num_classes == 1 else "index",
        "ignore_index": (SOFT_IGNORE if num_classes == 1 else IGNORE) if with_ignore else None,
    }
