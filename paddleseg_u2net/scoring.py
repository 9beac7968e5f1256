"""Folders of saliency maps and of masks -> scores, on all cores. Light: no Paddle."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from paddleseg_u2net.masks import RawMask, Survey, decide_encoding, levels, read_raw
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures
from paddleseg_u2net.pairs import by_stem, second_files

CHUNK = 16  # images a task
WHITE = 255
EMPTY_MASKS = (
    "F, weighted F and boundary measures of an empty mask are 0, S is 1 - mean(map), E the share of pixels "
    "that are background in the map, as in PySODMetrics"
)


@dataclass(frozen=True)
class Rules:
    """How maps are measured.

    Args:
        names: of the measures; see `MapMeasures`.
        minmax: see `MapMeasures`.
        author_minmax: see `MapMeasures`.
        resize: bring maps of another size to that of their mask, bilinearly; otherwise that is a fault.
    """

    names: tuple[str, ...] = tuple(MEASURES)
    minmax: bool = True
    author_minmax: bool = False
    resize: bool = False

    def measures(self) -> MapMeasures:
        """An accumulator."""
        return MapMeasures(self.names, minmax=self.minmax, author_minmax=self.author_minmax)


@dataclass
class FolderScores:
    """What some or all images of a folder gave.

    Attributes:
        measures: with the images' own scores in `rows`.
        counts: how many maps were `resized`, and how many masks are `empty`.
        surveys: of the masks.
        brightest: the largest value of the maps of each kind of file.
        faults: what keeps the scores from being true.
        left_out: files that have no partner, where that was allowed.
    """

    measures: MapMeasures
    counts: Counter[str] = field(default_factory=Counter)
    surveys: list[Survey] = field(default_factory=list)
    brightest: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def merge(self, other: FolderScores) -> None:
        """Add what another process has measured."""
        self.measures.merge(other.measures)
        self.counts += other.counts
        self.surveys += other.surveys
        self.brightest |= other.brightest
        self.faults += other.faults

    def judge(self, folder: Path) -> None:
        """Add the faults that show in all files together."""
        encoding, contradictions = decide_encoding(self.surveys, 1, None, None)
        self.faults += contradictions
        if encoding.top16 > WHITE:
            self.faults += [
                f"{survey.where}: 16-bit, and holds nothing above {WHITE}, while others do. Fix: one scale"
                for survey in self.surveys
                if survey.kind == "16-bit" and 1 < survey.levels[-1] <= WHITE
            ]
        for kind, highest, fix in (
            ("8-bit", 1, "store them times 255"),
            ("16-bit", WHITE, "store them in 8 bits, or times 257"),
        ):
            if 0 < self.brightest[kind] <= highest:
                self.faults.append(
                    f"{folder}: no {kind} map holds anything above {self.brightest[kind]}. Fix: {fix}"
                )

    def facts(self) -> dict[str, Any]:
        """What the numbers hang on, in plain data."""
        kinds = Counter(survey.kind for survey in self.surveys)
        empty = {"count": self.counts["empty"], "policy": EMPTY_MASKS}
        return {
            "beta_squared": 0.3,
            "minmax": self.measures.minmax,
            "author_minmax": self.measures.author_minmax,
            "mask_foreground": "> 128 of 255; where masks hold 0 and 1 only: 1",
            "masks": dict(kinds),
            "empty_masks": empty,
            "maps_resized": self.counts["resized"],
            "left_out": self.left_out,
        }


def score_folder(
    maps: Path, masks: Path, rules: Rules, *, workers: int, common_only: bool = False, title: str = "evaluate"
) -> FolderScores:
    """Measure the maps of one method on one data set.

    Args:
        maps: folder of PNG or other images: grey of 8 or 16 bits, or RGB with equal channels.
        masks: folder of masks of the same names but for their suffixes.
        rules: how.
        workers: processes.
        common_only: leave out what has no partner; otherwise that is a fault.
        title: of the progress bar.

    Returns:
        Scores, and the faults of all files together.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no image in common.
    """
    found, true = by_stem(maps), by_stem(masks)
    pairs = [(name, found[name][0], true[name][0]) for name in sorted(found.keys() & true.keys())]
    if not pairs:
        raise ValueError(
            f"{maps}: holds no map of a mask in {masks} (maps: {len(found)}, masks: {len(true)}). "
            "Fix: names must be the same without suffix"
        )
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    total = FolderScores(rules.measures())
    with tqdm(total=len(pairs), desc=title, disable=None, delay=1, leave=False, unit=" maps") as bar:
        for part in _in_parallel(chunks, rules, min(workers, len(chunks))):
            bar.update(part.measures.images + len(part.faults))
            total.merge(part)
    alone = [
        f"{true[name][0]}: no map named '{name}' in {maps}" for name in sorted(true.keys() - found.keys())
    ]
    alone += [
        f"{found[name][0]}: no mask named '{name}' in {masks}" for name in sorted(found.keys() - true.keys())
    ]
    if common_only:
        total.left_out = alone
    elif alone:
        total.faults += [
            *alone,
            f"Fix: add what is missing, or --common_only measures the {len(pairs)} in common",
        ]
    total.faults += second_files(found) + second_files(true)
    total.judge(maps)
    return total


def _in_parallel(chunks: Sequence[Sequence], rules: Rules, workers: int) -> Iterator[FolderScores]:
    """`_measure` of each chunk, in their order."""
    if workers <= 1:
        with threadpool_limits(1):
            yield from (_measure(chunk, rules) for chunk in chunks)
        return
    # not forked: threads of OpenCV and of the caller would be copied in whatever state they are
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        yield from pool.map(partial(_measure, rules=rules), chunks)
    except BrokenProcessPool:
        message = "a worker process died, most likely for want of memory. Fix: fewer --workers"
        raise OSError(message) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One thread, as each core has a worker; and Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _measure(pairs: Sequence[tuple[str, Path, Path]], rules: Rules) -> FolderScores:
    """Measure some images: (name, map, mask)."""
    part = FolderScores(rules.measures())
    for name, map_path, mask_path in pairs:
        try:
            found, true = _read_map(map_path), read_raw(mask_path)
            part.brightest |= Counter({found.kind: int(found.values.max())})
            part.surveys.append(Survey(str(mask_path), true.kind, levels(true).astype(np.uint16)))
            saliency, mask = _as_map(found), _as_mask(true)
            if saliency.shape != mask.shape:
                saliency = _resize(saliency, map_path, mask, mask_path, rules)
                part.counts["resized"] += 1
            part.counts["empty"] += not (mask > (128 if mask.dtype == np.uint8 else 128.5 / WHITE)).any()
            part.measures.update(saliency, mask, name)
        except (OSError, ValueError) as error:
            part.faults.append(str(error))
    return part


def _read_map(path: Path) -> RawMask:
    """A map as stored; ValueError where its values are not brightness."""
    found = read_raw(path)
    if found.kind == "palette":
        raise ValueError(f"{path}: a palette picture, whose values are not brightness. Fix: save it as grey")
    return found


def _as_map(raw: RawMask) -> np.ndarray:
    """uint8, or float64 in [0, 1] where it has 16 bits."""
    if raw.kind == "16-bit":
        return raw.values / 65535
    return raw.values * np.uint8(WHITE) if raw.kind == "1-bit" else raw.values


def _as_mask(raw: RawMask) -> np.ndarray:
    """The same; values of 0 and 1 are class ids, as `decide_encoding` takes them over all masks."""
    highest = raw.values.max()
    if raw.kind in ("1-bit", "palette") or highest <= 1:
        return (raw.values > 0) * np.uint8(WHITE)
    return raw.values / (WHITE if highest <= WHITE else 65535) if raw.kind == "16-bit" else raw.values


def _resize(saliency: np.ndarray, path: Path, mask: np.ndarray, mask_path: Path, rules: Rules) -> np.ndarray:
    if not rules.resize:
        raise ValueError(
            f"{path}: a map (H, W) of {saliency.shape}, and its mask {mask_path} is {mask.shape}. "
            "Fix: --resize brings maps to their masks' size"
        )
    return cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
