"""Scores of a folder of saliency maps against a folder of masks, computed on all cores; needs no Paddle."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
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
from paddleseg_u2net.data.palettes import are_brightness, compare
from paddleseg_u2net.data.wording import as_files
from paddleseg_u2net.environment.processes import start_worker
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.evaluation.matching import MatchedFiles
from paddleseg_u2net.io.depth import bits_text
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures

CHUNK = 16  # images per task of a worker process
WHITE, FOREGROUND_ABOVE = 255, 128
TWELVE_BITS = 4095  # 16-bit maps none of which is brighter were stored with 12 bits or fewer
EIGHT_BITS = ("8-bit", "RGB")
EMPTY_MASKS = (
    "F, weighted F and boundary measures of an empty mask are 0, S is 1 - mean(map), E is the share of "
    "pixels that are background in the map, as in PySODMetrics"
)


@dataclass(frozen=True)
class FolderSettings:
    """How the maps of a folder are measured.

    Args:
        names: measures, by their names in `MEASURES` and `AREA_MEASURES`.
        measure_stretch: which measures stretch each map to [0, 1] first.
        resize: resize maps of another size to their masks, bilinearly; otherwise they are faults.
    """

    names: tuple[str, ...] = tuple(MEASURES)
    measure_stretch: MeasureStretch = MeasureStretch.REFERENCE
    resize: bool = False

    def accumulator(self) -> MapMeasures:
        """A new accumulator of these measures."""
        return MapMeasures(self.names, measure_stretch=self.measure_stretch)


@dataclass
class FolderScores:
    """The results of some or all images of a folder.

    Attributes:
        measures: the accumulated measures; `measures.rows` has the scores of each image.
        resized: number of maps that were resized to their masks.
        mask_levels: file type, lowest and highest values of each mask.
        brightest: largest value of all maps of each file type.
        faults: what makes the scores wrong or prevents measuring.
        left_out: maps and masks without partner, where they are allowed.
        not_read: files of formats that are not read.
        maps: folder of the maps.
        masks: folder of the masks.
    """

    measures: MapMeasures
    resized: int = 0
    mask_levels: list[MaskLevels] = field(default_factory=list)
    brightest: Counter[str] = field(default_factory=Counter)
    faults: list[Fault | str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    maps: str = ""
    masks: str = ""

    def merge(self, other: FolderScores) -> None:
        """Add the images of another process."""
        self.measures.merge(other.measures)
        self.resized += other.resized
        self.mask_levels += other.mask_levels
        self.brightest |= other.brightest
        self.faults += other.faults

    def check_values(self, folder: Path) -> None:
        """Add the faults of values that show only when all files of the folder are compared.

        Args:
            folder: of the maps.
        """
        encoding, contradictions = decide_encoding(self.mask_levels, 1, None, None)
        palettes = compare(self.mask_levels)
        self.faults += [fault._replace(fix=as_files(fault.fix)) for fault in contradictions.values()]
        self.faults += palettes.faults.values()
        what = "the palette holds the colours of the other masks in another order"
        self.faults += [
            Fault(place, what, "store all masks with one palette") for place in palettes.reordered
        ]
        if are_brightness(self.mask_levels, soft=False):
            first = next(mask.where for mask in self.mask_levels if mask.palette is not None)
            what = "a palette of black and white whose values are not 0 for black and 1 for white"
            self.faults.append(Fault(first, what, "save the masks as grey, without a palette"))
        for mask in self.mask_levels:
            highest = mask.levels[-1]
            if mask.kind == "16-bit" and 1 < highest <= WHITE < encoding.top16:
                what = f"16-bit with no value above {WHITE}, while other masks have larger values"
                self.faults.append(Fault(mask.where, what, "store all masks with the same white"))
            elif mask.kind in EIGHT_BITS and 1 < highest <= FOREGROUND_ABOVE and not contradictions:
                what = f"no value exceeds {highest}, and foreground is what exceeds {FOREGROUND_ABOVE}"
                self.faults.append(Fault(mask.where, what, "store it as 0 and 255"))
        if encoding.top16 not in (WHITE, 65535):
            first = next(mask.where for mask in self.mask_levels if mask.kind == "16-bit")
            what = f"16-bit masks whose {bits_text(encoding.top16)}, and here white is 65535"
            self.faults.append(Fault(first, what, "store all of them with 8 bits, 0 and 255"))
        for kinds, least, fix in (
            (EIGHT_BITS, 1, "store them times 255"),
            (("16-bit",), TWELVE_BITS, "store them in 8 bits, or so that white is 65535"),
        ):
            if 0 < (highest := max(self.brightest[kind] for kind in kinds)) <= least:
                self.faults.append(Fault(str(folder), f"no {kinds[0]} map has a value above {highest}", fix))

    def protocol(self) -> dict[str, Any]:
        """What the scores depend on, as plain data for `metrics.json`."""
        stretch = self.measures.measure_stretch
        return {
            "beta_squared": 0.3,
            "measure_stretch": stretch.value,
            "minmax": stretch.minmax,
            "author_minmax": stretch.author_minmax,
            "mask_foreground": f"> {FOREGROUND_ABOVE} of 255; for max_f and mean_f of the mask's own maximum",
            "masks": dict(Counter(mask.kind for mask in self.mask_levels)),
            "empty_masks": {"count": self.measures.empty_masks, "policy": EMPTY_MASKS},
            "maps_resized": self.resized,
            "left_out": self.left_out,
            "not_read": self.not_read,
        }


def score_folder(
    folder: Path, files: MatchedFiles, settings: FolderSettings, workers: int, title: str = "evaluate"
) -> FolderScores:
    """Measure the maps of one method on one data set.

    Args:
        folder: of the maps, for messages.
        files: the maps and masks, from `match_files`.
        settings: how they are measured.
        workers: number of processes.
        title: of the progress bar.

    Returns:
        The scores, with the faults of all files.

    Raises:
        OSError: a worker process was killed.
    """
    chunks = [files.pairs[start : start + CHUNK] for start in range(0, len(files.pairs), CHUNK)]
    total = FolderScores(
        settings.accumulator(),
        left_out=list(map(str, files.unmatched)),
        not_read=list(map(str, files.not_read)),
    )
    with tqdm(total=len(files.pairs), desc=title, disable=None, delay=1, leave=False, unit=" maps") as bar:
        for part in _score_chunks(chunks, settings, min(workers, len(chunks))):
            bar.update(part.measures.images + len(part.faults))
            total.merge(part)
    total.check_values(folder)
    return total


def _score_chunks(
    chunks: Sequence[Sequence[tuple[str, Path, Path]]], settings: FolderSettings, workers: int
) -> Iterator[FolderScores]:
    """`_score_chunk` of each chunk, in their order, in worker processes if there are to be several."""
    if workers <= 1:
        with threadpool_limits(1):
            yield from (_score_chunk(chunk, settings) for chunk in chunks)
        return
    # not forked: that would copy locks which threads of OpenCV and of the caller may hold
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        with _interrupts_blocked():  # workers inherit this and never handle Ctrl-C themselves
            parts = pool.map(partial(_score_chunk, settings=settings), chunks)
        yield from parts
    except BrokenProcessPool:
        message = "a worker process was killed, most likely because memory ran out. Fix: fewer --workers"
        raise OSError(message) from None
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold SIGINT back until the block ends; processes started meanwhile inherit its being blocked.

    Blocking it in this thread is not enough: any other thread may take it, and Python then raises
    `KeyboardInterrupt` in the main thread, possibly while that writes to a worker which has just started.
    """
    resource_tracker.ensure_running()  # starting it resets the mask, and workers would start it
    interrupts: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number)) if is_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_main:
            signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt


def _start_worker() -> None:
    """Limit a worker to one thread, since there is one worker per core; let it end with its parent."""
    start_worker()
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _score_chunk(pairs: Sequence[tuple[str, Path, Path]], settings: FolderSettings) -> FolderScores:
    """Measure some images: (name, map, mask)."""
    part = FolderScores(settings.accumulator())
    for name, map_path, mask_path in pairs:
        try:
            raw_map, raw_mask = _read_map(map_path), read_raw(mask_path)
            part.brightest |= Counter({raw_map.kind: int(raw_map.values.max())})
            levels = _lowest_and_highest(tally(raw_mask)[0])
            part.mask_levels.append(MaskLevels(str(mask_path), raw_mask.kind, levels, raw_mask.palette))
            saliency, mask = _decode_map(raw_map), _decode_mask(raw_mask)
            if saliency.shape != mask.shape:
                saliency = _resize(saliency, map_path, mask, mask_path, settings)
                part.resized += 1
            part.measures.update(saliency, mask, name)
        except DataError as error:
            part.faults += error.faults
        except (OSError, ValueError) as error:
            part.faults.append(str(error))
    return part


def read_pair(map_path: Path, mask_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A map and its mask as they are measured, each (H, W): uint8, or float64 in [0, 1] of 16 bits.

    Raises:
        ValueError: a file is damaged, or holds no map.
    """
    return _decode_map(_read_map(map_path)), _decode_mask(read_raw(mask_path))


def _lowest_and_highest(values: np.ndarray) -> np.ndarray:
    """The 128 lowest and the 128 highest of sorted values, enough for the choice of an encoding."""
    return np.concatenate([values[:128], values[128:][-128:]])


def _read_map(path: Path) -> RawMask:
    """Read a saliency map as stored."""
    raw = read_raw(path, "map")
    if raw.kind == "palette":
        raise DataError(
            [Fault(str(path), "a palette image, whose values are not brightness", "save it as grey")]
        )
    return raw


def _decode_map(raw: RawMask) -> np.ndarray:
    """(H, W) uint8; float64 in [0, 1] for 16 bits."""
    if raw.kind == "16-bit":
        return raw.values / 65535
    return raw.values * np.uint8(WHITE) if raw.kind == "1-bit" else raw.values


def _decode_mask(raw: RawMask) -> np.ndarray:
    """As `_decode_map`; values 0 and 1 are class ids, which `decide_encoding` verifies over all masks."""
    highest = raw.values.max()
    if raw.kind in ("1-bit", "palette") or highest <= 1:
        return (raw.values > 0) * np.uint8(WHITE)
    return raw.values / (WHITE if highest <= WHITE else 65535) if raw.kind == "16-bit" else raw.values


def _resize(
    saliency: np.ndarray, path: Path, mask: np.ndarray, mask_path: Path, settings: FolderSettings
) -> np.ndarray:
    """Resize a map to its mask where the settings allow it."""
    if not settings.resize:
        what = f"the map is (H, W) {saliency.shape}, and its mask {mask_path} is {mask.shape}"
        raise DataError([Fault(str(path), what, "use --resize to resize maps to their masks")])
    return cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
