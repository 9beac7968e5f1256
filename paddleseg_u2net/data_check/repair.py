"""Examined data -> a corrected copy: upright, one mask encoding, no broken pairs, no leaks into training.

The originals are read only.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.inspection import PairRecord
from paddleseg_u2net.data.masks import IGNORE, decide_encoding, read_raw
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.survey import DatasetSurvey, SurveyedDataset
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import DataError
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, pillow, read_image, upright, write_image

RECORD = "fixed.json"
SOFT_MARK = 128  # value of pixels that do not count in a written soft mask, where 255 means object
SAME_ASPECT = 0.01


@dataclass(frozen=True)
class Task:
    """One pair: why it is left out, or what it is called in the copy."""

    surveyed: SurveyedDataset
    record: PairRecord
    reason: str = ""
    image: str = ""
    mask: str = ""


def repair(survey: DatasetSurvey, destination: Path) -> dict[str, Any]:
    """Write the corrected copy; it appears whole or not at all.

    Args:
        survey: what `survey.examine` returned.
        destination: folder that does not exist yet.

    Returns:
        The record, also in the copy: `files`, what was done for each pair; `left out`; `settings`, how the
        masks are to be read.

    Raises:
        FileExistsError: the folder exists.
        ValueError: see `check_destination`; or nothing would be left.
        DataError: what the masks mean is not clear.
    """
    check_destination([surveyed.dataset for surveyed in survey.datasets], destination)
    tasks = list(_plan(survey))
    kept = [task for task in tasks if not task.reason]
    for surveyed in survey.datasets:
        if not any(task.surveyed is surveyed for task in kept):
            raise ValueError(
                f"--fix {destination}: no pair of {surveyed.name} would be left. "
                "Fix: mend by hand what is told of it"
            )
    record: dict[str, Any] = {"settings": _settings(survey), "files": [], "left out": []}
    marks = record["settings"]["ignore_index"] is not None
    with atomic_write(destination) as folder:
        with ThreadPoolExecutor(processors()) as pool:
            done = pool.map(lambda task: _write(task, folder, marks), kept)
            bar = tqdm(done, "fix", len(kept), disable=None, delay=1, leave=False, unit=" pairs")
            for task, actions in zip(kept, bar, strict=True):
                names = {"set": task.surveyed.name, "image": task.image, "mask": task.mask}
                record["files"].append({**names, "from": str(task.record.pair.image), "done": actions})
        record["left out"] = [
            {"set": task.surveyed.name, "image": str(task.record.pair.image), "why": task.reason}
            for task in tasks
            if task.reason
        ]
        for surveyed in survey.datasets:
            lines = [f"{task.image}\t{task.mask}\n" for task in kept if task.surveyed is surveyed]
            (folder / f"{surveyed.dataset.mode}_list.txt").write_text("".join(lines), encoding="utf-8")
        (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def check_destination(datasets: Sequence[DatasetSpec], destination: Path, roots: Iterable[Path] = ()) -> None:
    """Refuse what cannot be written, as far as that is known before anything is read.

    Args:
        datasets: what is to be copied.
        destination: folder of the copy.
        roots: folders that all below belongs to, besides those of the files.

    Raises:
        FileExistsError: the folder exists.
        ValueError: it would lie among the originals, or two lists would have one name.
    """
    if destination.exists() or destination.is_symlink():
        raise FileExistsError(f"--fix {destination}: exists already. Fix: another folder")
    folders = {path.parent for dataset in datasets for pair in dataset.pairs for path in pair[:2] if path}
    here = {destination.resolve(), *destination.resolve().parents}
    if inside := {folder.resolve() for folder in (*folders, *roots)} & here:
        raise ValueError(
            f"--fix {destination}: lies among the originals in {inside.pop()}. Fix: another folder"
        )
    for one, other in itertools.combinations(datasets, 2):
        if one.mode == other.mode:
            raise ValueError(
                f"--fix {destination}: {one.name} and {other.name} have one mode, {one.mode}, and so one "
                "list in the copy. Fix: give each its own mode (train, val, test), or write one copy each"
            )


def _plan(survey: DatasetSurvey) -> Iterator[Task]:
    for surveyed in survey.datasets:
        _check_clear(surveyed)
    leaked = _leaked(survey)
    taken: Counter[str] = Counter()
    for surveyed in survey.datasets:
        listed: set[Path] = set()
        for record in surveyed.inspection.records:
            reason = _fault(record, surveyed) or leaked.get((surveyed.dataset.mode, record.index), "")
            if not reason and record.pair.image in listed:
                reason = f"{record.place}: listed before"
            if reason:
                yield Task(surveyed, record, reason)
                continue
            listed.add(record.pair.image)
            name = Path(re.sub(r"[^\w.() +,=@~-]", "_", record.pair.image.name))
            stem = _free(name.stem, taken)
            suffix = ".png" if record.orientation != UPRIGHT else name.suffix
            yield Task(surveyed, record, "", f"images/{stem}{suffix}", f"masks/{stem}.png")


def _leaked(survey: DatasetSurvey) -> dict[tuple[str, int], str]:
    """By mode and index, why images to train on are left out: another set shows the same and keeps it."""
    sound = DatasetSurvey([_without_faults(surveyed) for surveyed in survey.datasets])
    return {
        (
            leak.first.dataset.mode,
            record.index,
        ): f"{record.place}: shows the same as {other.place} of {leak.second.name}"
        for leak in (*sound.same_files, *sound.same_pictures)
        for record, other in [leak.records]
        if leak.first.dataset.mode == "train"
    }


def _without_faults(surveyed: SurveyedDataset) -> SurveyedDataset:
    records = [record for record in surveyed.inspection.records if not _fault(record, surveyed)]
    return SurveyedDataset(replace(surveyed.inspection, records=records))


def _fault(record: PairRecord, surveyed: SurveyedDataset) -> str:
    """What makes a pair useless, or nothing."""
    if record.broken:
        return str(record.broken[0])
    if record.mask_levels is None:
        return f"{record.place}: has no mask"
    unfit = record.mismatch if record.mismatch and not _way_to_fit(record) else ""
    return str(surveyed.inspection.contradictions.get(record.index, unfit))


def _free(stem: str, taken: Counter[str]) -> str:
    """`a`, or `a_2` where there is one, whatever the case of the letters."""
    taken[stem.casefold()] += 1
    while (number := taken[stem.casefold()]) > 1:
        stem = f"{stem}_{number}"
        taken[stem.casefold()] += 1
    return stem


def _check_clear(surveyed: SurveyedDataset) -> None:
    """Raise DataError where what the masks mean would not be clear without the contradictory ones either."""
    found, dataset = surveyed.inspection, surveyed.dataset
    rest = [record.mask_levels for record in found.records if record.index not in found.contradictions]
    _, left = decide_encoding(rest, dataset.num_classes, dataset.ignore_index, dataset.mask_encoding)
    unclear = [*left.values(), *([found.no_foreground] if found.no_foreground else [])]
    if unclear:
        raise DataError([*unclear, "--fix cannot decide how the masks are to be read"])


def _way_to_fit(record: PairRecord) -> str:
    """`turn` or `resize`, where that brings a mask to its image safely; else nothing."""
    if record.size is None or record.mask_size is None:
        return ""
    (height, width), (tall, wide) = record.size, record.mask_size
    quarter = record.orientation >= SIDEWAYS and record.mask_orientation == UPRIGHT
    if quarter and (height, width) == (wide, tall):
        return "turn"
    return "resize" if abs(height * wide / (width * tall) - 1) <= SAME_ASPECT else ""


def _write(task: Task, folder: Path, marks: bool) -> list[str]:
    """Write one pair; says what was changed."""
    record, actions = task.record, []
    assert record.pair.mask is not None
    if record.orientation != UPRIGHT:
        write_image(folder / task.image, read_image(record.pair.image))
        actions.append("image turned upright")
    else:
        with atomic_write(folder / task.image) as partial:
            partial.write_bytes(record.pair.image.read_bytes())
    raw = read_raw(record.pair.mask)
    stored = to_8bit(task.surveyed.inspection.encoding.decode(raw), marks)
    if raw.orientation != UPRIGHT:
        actions.append("mask turned upright")
    way = _way_to_fit(record) if record.mismatch else ""
    if (record._replace(mask_size=record.size) if way == "resize" else record).turned_apart:
        actions.append("LOOK whether image and mask fit: they were turned differently")
    if (raw.kind, record.pair.mask.suffix.lower()) != ("8-bit", ".png") or (raw.values != stored).any():
        actions.append(f"mask re-encoded ({raw.kind} {record.pair.mask.suffix})")
    if way == "turn":
        stored = np.asarray(upright(pillow().fromarray(stored), record.orientation))
        actions.append("mask turned as the EXIF tag of its image says")
    elif way == "resize" and record.size:
        stored = cv2.resize(stored, record.size[::-1], interpolation=cv2.INTER_NEAREST)
        actions.append(f"mask resized from {record.mask_size} to {record.size}, nearest pixel")
    write_image(folder / task.mask, stored)
    return actions


def to_8bit(decoded: np.ndarray, marks: bool) -> np.ndarray:
    """Class ids as they are; soft masks as 0 .. 255, where with `marks` one value says `does not count`."""
    if decoded.dtype == np.uint8:
        return decoded
    grey = np.round(np.where(decoded == IGNORE, 0, decoded) * 255).astype(np.uint8)
    if marks:
        grey[grey == SOFT_MARK] -= 1
        grey[decoded == IGNORE] = SOFT_MARK
    return grey


def _settings(survey: DatasetSurvey) -> dict[str, Any]:
    """The keys of a dataset section that read the copy."""
    single = survey.datasets[0].dataset.num_classes == 1
    marks = any(surveyed.dataset.ignore_index is not None for surveyed in survey.datasets)
    return {
        "num_classes": survey.datasets[0].dataset.num_classes,
        "mask_encoding": "grey" if single else "index",
        "ignore_index": (SOFT_MARK if single else IGNORE) if marks else None,
    }
