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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.dataset import DataError, Dataset
from paddleseg_u2net.data.inspection import Look
from paddleseg_u2net.data.masks import IGNORE, decide_encoding, read_raw
from paddleseg_u2net.data_check.survey import Chart, Patient
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.io.files import arriving
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT, pillow, read_image, upright, write_image

RECORD = "fixed.json"
SOFT_MARK = 128  # value of pixels that do not count in a written soft mask, where 255 means object
SAME_ASPECT = 0.01


@dataclass(frozen=True)
class Task:
    """One pair: why it is left out, or what it is called in the copy."""

    chart: Chart
    look: Look
    reason: str = ""
    image: str = ""
    mask: str = ""


def repair(patient: Patient, destination: Path) -> dict[str, Any]:
    """Write the corrected copy; it appears whole or not at all.

    Args:
        patient: what `patient.examine` returned.
        destination: folder that does not exist yet.

    Returns:
        The record, also in the copy: `files`, what was done for each pair; `left out`; `settings`, how the
        masks are to be read.

    Raises:
        FileExistsError: the folder exists.
        ValueError: see `check_destination`; or nothing would be left.
        DataError: what the masks mean is not clear.
    """
    check_destination([chart.dataset for chart in patient.charts], destination)
    tasks = list(_plan(patient))
    kept = [task for task in tasks if not task.reason]
    for chart in patient.charts:
        if not any(task.chart is chart for task in kept):
            raise ValueError(
                f"--fix {destination}: no pair of {chart.name} would be left. "
                "Fix: mend by hand what is told of it"
            )
    record: dict[str, Any] = {"settings": _settings(patient), "files": [], "left out": []}
    marks = record["settings"]["ignore_index"] is not None
    with arriving(destination) as folder:
        with ThreadPoolExecutor(processors()) as pool:
            done = pool.map(lambda task: _write(task, folder, marks), kept)
            bar = tqdm(done, "fix", len(kept), disable=None, delay=1, leave=False, unit=" pairs")
            for task, actions in zip(kept, bar, strict=True):
                names = {"set": task.chart.name, "image": task.image, "mask": task.mask}
                record["files"].append({**names, "from": str(task.look.pair.image), "done": actions})
        record["left out"] = [
            {"set": task.chart.name, "image": str(task.look.pair.image), "why": task.reason}
            for task in tasks
            if task.reason
        ]
        for chart in patient.charts:
            lines = [f"{task.image}\t{task.mask}\n" for task in kept if task.chart is chart]
            (folder / f"{chart.dataset.mode}_list.txt").write_text("".join(lines), encoding="utf-8")
        (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def check_destination(datasets: Sequence[Dataset], destination: Path, roots: Iterable[Path] = ()) -> None:
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


def _plan(patient: Patient) -> Iterator[Task]:
    for chart in patient.charts:
        _check_clear(chart)
    leaked = _leaked(patient)
    taken: Counter[str] = Counter()
    for chart in patient.charts:
        listed: set[Path] = set()
        for look in chart.examination.looks:
            reason = _fault(look, chart) or leaked.get(id(look), "")
            if not reason and look.pair.image in listed:
                reason = f"{look.place}: listed before"
            if reason:
                yield Task(chart, look, reason)
                continue
            listed.add(look.pair.image)
            name = Path(re.sub(r"[^\w.() +,=@~-]", "_", look.pair.image.name))
            stem = _free(name.stem, taken)
            suffix = ".png" if look.orientation != UPRIGHT else name.suffix
            yield Task(chart, look, "", f"images/{stem}{suffix}", f"masks/{stem}.png")


def _leaked(patient: Patient) -> dict[int, str]:
    """By identity, why images to train on are left out: another set shows the same and keeps it."""
    sound = Patient([_without_faults(chart) for chart in patient.charts])
    return {
        id(look): f"{look.place}: shows the same as {other.place} of {leak.second.name}"
        for leak in (*sound.same_files, *sound.same_pictures)
        for look, other in [leak.looks]
        if leak.first.dataset.mode == "train"
    }


def _without_faults(chart: Chart) -> Chart:
    looks = [look for look in chart.examination.looks if not _fault(look, chart)]
    return Chart(chart.dataset, chart.examination._replace(looks=looks))


def _fault(look: Look, chart: Chart) -> str:
    """What makes a pair useless, or nothing."""
    if look.broken:
        return look.broken[0]
    if look.survey is None:
        return f"{look.place}: has no mask"
    unfit = look.mismatch if look.mismatch and not _way_to_fit(look) else ""
    return chart.examination.contradictions.get(look.survey.where, "") or unfit


def _free(stem: str, taken: Counter[str]) -> str:
    """`a`, or `a_2` where there is one, whatever the case of the letters."""
    taken[stem.casefold()] += 1
    while (number := taken[stem.casefold()]) > 1:
        stem = f"{stem}_{number}"
        taken[stem.casefold()] += 1
    return stem


def _check_clear(chart: Chart) -> None:
    """Raise DataError where what the masks mean would not be clear without the contradictory ones either."""
    found, dataset = chart.examination, chart.dataset
    surveys = [look.survey for look in found.looks if look.survey]
    rest = [survey for survey in surveys if survey.where not in found.contradictions]
    _, left = decide_encoding(rest, dataset.num_classes, dataset.ignore_index, dataset.requested_encoding)
    if unclear := [*left, *found.lacking]:
        raise DataError([*unclear, "--fix cannot decide how the masks are to be read"])


def _way_to_fit(look: Look) -> str:
    """`turn` or `resize`, where that brings a mask to its image safely; else nothing."""
    if look.size is None or look.mask_size is None:
        return ""
    (height, width), (tall, wide) = look.size, look.mask_size
    quarter = look.orientation >= SIDEWAYS and look.mask_orientation == UPRIGHT
    if quarter and (height, width) == (wide, tall):
        return "turn"
    return "resize" if abs(height * wide / (width * tall) - 1) <= SAME_ASPECT else ""


def _write(task: Task, folder: Path, marks: bool) -> list[str]:
    """Write one pair; says what was changed."""
    look, actions = task.look, []
    assert look.pair.mask is not None
    if look.orientation != UPRIGHT:
        write_image(folder / task.image, read_image(look.pair.image))
        actions.append("image turned upright")
    else:
        with arriving(folder / task.image) as partial:
            partial.write_bytes(look.pair.image.read_bytes())
    raw = read_raw(look.pair.mask)
    stored = to_8bit(task.chart.examination.encoding.decode(raw), marks)
    if raw.orientation != UPRIGHT:
        actions.append("mask turned upright")
    way = _way_to_fit(look) if look.mismatch else ""
    if (look._replace(mask_size=look.size) if way == "resize" else look).turned_apart:
        actions.append("LOOK whether image and mask fit: they were turned differently")
    if (raw.kind, look.pair.mask.suffix.lower()) != ("8-bit", ".png") or (raw.values != stored).any():
        actions.append(f"mask re-encoded ({raw.kind} {look.pair.mask.suffix})")
    if way == "turn":
        stored = np.asarray(upright(pillow().fromarray(stored), look.orientation))
        actions.append("mask turned as the EXIF tag of its image says")
    elif way == "resize" and look.size:
        stored = cv2.resize(stored, look.size[::-1], interpolation=cv2.INTER_NEAREST)
        actions.append(f"mask resized from {look.mask_size} to {look.size}, nearest pixel")
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


def _settings(patient: Patient) -> dict[str, Any]:
    """The keys of a dataset section that read the copy."""
    single = patient.charts[0].dataset.num_classes == 1
    marks = any(chart.dataset.ignore_index is not None for chart in patient.charts)
    return {
        "num_classes": patient.charts[0].dataset.num_classes,
        "mask_encoding": "grey" if single else "index",
        "ignore_index": (SOFT_MARK if single else IGNORE) if marks else None,
    }
