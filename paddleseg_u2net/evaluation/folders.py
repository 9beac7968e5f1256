"""Folders of saliency maps and of masks -> scores, on all cores. Light: no Paddle."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from paddleseg_u2net.data.masks import MaskLevels, RawMask, decide_encoding, read_raw, tally
from paddleseg_u2net.data.pairs import by_stem, second_files
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures

CHUNK = 16  # images a task
WHITE, FOREGROUND_ABOVE = 255, 128
EIGHT_BITS = ("8-bit", "RGB")
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
class Paired:
    """The maps of a method and the masks of a set.

    Attributes:
        pairs: (name, map, mask).
        alone: files that have no partner, and what they lack.
        faults: what cannot be told apart.
        others: files that are no images we read, and folders that are links.
    """

    pairs: list[tuple[str, Path, Path]]
    alone: list[str]
    faults: list[str]
    others: list[Path]


def pair_up(maps: Path, masks: Path, common_only: bool = False) -> Paired:
    """Find the mask of each map, by their paths without suffixes.

    Args:
        maps: folder of PNG or other images: grey of 8 or 16 bits, or RGB with equal channels.
        masks: folder of masks of the same names but for their suffixes.
        common_only: leave out what has no partner; otherwise that is a fault.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    for folder in (maps, masks):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder. Fix: the path of one")
    found, true = by_stem(maps), by_stem(masks)
    names = sorted(found.keys() & true.keys())
    missing, extra = sorted(true.keys() - found.keys()), sorted(found.keys() - true.keys())
    alone = [f"{true[name][0]}: no map named '{name}' in {maps}" for name in missing]
    alone += [f"{found[name][0]}: no mask named '{name}' in {masks}" for name in extra]
    faults = [str(fault) for fault in (*second_files(found), *second_files(true))]
    if not names:
        faults.append(
            f"{maps}: holds no map of a mask in {masks} (maps: {len(found)}, masks: {len(true)}). "
            "Fix: names must be the same without suffix"
        )
    elif alone and not common_only:
        message = f"Fix: add what is missing, or --common_only measures the {len(names)} in common"
        faults += [*alone, message]
    pairs = [(name, found[name][0], true[name][0]) for name in names]
    return Paired(pairs, alone, faults, [*_others(maps, found), *_others(masks, true)])


def _others(folder: Path, found: Mapping[str, Sequence[Path]]) -> list[Path]:
    """What lies in a folder besides the images in it."""
    known = {path for paths in found.values() for path in paths}
    visible = (path for path in sorted(folder.rglob("*")) if not path.name.startswith("."))
    return [path for path in visible if path not in known and (path.is_symlink() or not path.is_dir())]


@dataclass
class FolderScores:
    """What some or all images of a folder gave.

    Attributes:
        measures: with the images' own scores in `rows`.
        resized: how many maps were.
        surveys: of the masks.
        brightest: the largest value of the maps of each kind of file.
        faults: what keeps the scores from being true.
        left_out: files that have no partner, where that was allowed.
        not_read: files of other formats.
    """

    measures: MapMeasures
    resized: int = 0
    surveys: list[MaskLevels] = field(default_factory=list)
    brightest: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)

    def merge(self, other: FolderScores) -> None:
        """Add what another process has measured."""
        self.measures.merge(other.measures)
        self.resized += other.resized
        self.surveys += other.surveys
        self.brightest |= other.brightest
        self.faults += other.faults

    def judge(self, folder: Path) -> None:
        """Add the faults that show in all files together."""
        encoding, contradictions = decide_encoding(self.surveys, 1, None, None)
        self.faults += map(str, contradictions.values())
        for survey in self.surveys:
            highest = survey.levels[-1]
            if survey.kind == "16-bit" and 1 < highest <= WHITE < encoding.top16:
                self.faults.append(
                    f"{survey.where}: 16-bit, nothing above {WHITE}, and others hold more. Fix: one scale"
                )
            elif survey.kind in EIGHT_BITS and 1 < highest <= FOREGROUND_ABOVE and not contradictions:
                self.faults.append(
                    f"{survey.where}: holds nothing above {highest}, and foreground is what exceeds "
                    f"{FOREGROUND_ABOVE}. Fix: store it as 0 and 255"
                )
        for kinds, least, fix in (
            (EIGHT_BITS, 1, "store them times 255"),
            (("16-bit",), WHITE, "store them in 8 bits, or times 257"),
        ):
            if 0 < (highest := max(self.brightest[kind] for kind in kinds)) <= least:
                self.faults.append(f"{folder}: no {kinds[0]} map holds anything above {highest}. Fix: {fix}")

    def facts(self) -> dict[str, Any]:
        """What the numbers hang on, in plain data."""
        return {
            "beta_squared": 0.3,
            "minmax": self.measures.minmax,
            "author_minmax": self.measures.author_minmax,
            "mask_foreground": f"> {FOREGROUND_ABOVE} of 255; for max_f and mean_f of the mask's own maximum",
            "masks": dict(Counter(survey.kind for survey in self.surveys)),
            "empty_masks": {"count": self.measures.empty_masks, "policy": EMPTY_MASKS},
            "maps_resized": self.resized,
            "left_out": self.left_out,
            "not_read": self.not_read,
        }


def score_folder(
    folder: Path, paired: Paired, rules: Rules, workers: int, title: str = "evaluate"
) -> FolderScores:
    """Measure the maps of one method on one data set.

    Args:
        folder: of the maps, as messages call it.
        paired: what `pair_up` found.
        rules: how.
        workers: processes.
        title: of the progress bar.

    Returns:
        Scores, and the faults of all files together.
    """
    chunks = [paired.pairs[start : start + CHUNK] for start in range(0, len(paired.pairs), CHUNK)]
    total = FolderScores(rules.measures(), left_out=paired.alone, not_read=list(map(str, paired.others)))
    with tqdm(total=len(paired.pairs), desc=title, disable=None, delay=1, leave=False, unit=" maps") as bar:
        for part in _in_parallel(chunks, rules, min(workers, len(chunks))):
            bar.update(part.measures.images + len(part.faults))
            total.merge(part)
    total.judge(folder)
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
        with _deaf():  # as workers are from their birth, and stay
            parts = pool.map(partial(_measure, rules=rules), chunks)
        yield from parts
    except BrokenProcessPool:
        message = "a worker process died, most likely for want of memory. Fix: fewer --workers"
        raise OSError(message) from None
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let Ctrl-C wait until the end of this; processes that start meanwhile never hear it."""
    resource_tracker.ensure_running()  # its start, which comes before that of workers, opens the ears
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """One thread, as each core has a worker."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _measure(pairs: Sequence[tuple[str, Path, Path]], rules: Rules) -> FolderScores:
    """Measure some images: (name, map, mask)."""
    part = FolderScores(rules.measures())
    for name, map_path, mask_path in pairs:
        try:
            found, true = _read_map(map_path), read_raw(mask_path)
            part.brightest |= Counter({found.kind: int(found.values.max())})
            part.surveys.append(MaskLevels(str(mask_path), true.kind, _extremes(tally(true)[0])))
            saliency, mask = _as_map(found), _as_mask(true)
            if saliency.shape != mask.shape:
                saliency = _resize(saliency, map_path, mask, mask_path, rules)
                part.resized += 1
            part.measures.update(saliency, mask, name)
        except (OSError, ValueError) as error:
            part.faults.append(str(error))
    return part


def _extremes(values: np.ndarray) -> np.ndarray:
    """As many levels as 8 bits have: the lowest and the highest, which tell what masks mean."""
    return np.concatenate([values[:128], values[128:][-128:]])


def _read_map(path: Path) -> RawMask:
    """A map as stored; ValueError where its values are not brightness."""
    found = read_raw(path, "map")
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
