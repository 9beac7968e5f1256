"""Read every file of a data set once: faults, the mask encoding, and what each mask contains."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.data.agreement import Agreement, agree, as_classes
from paddleseg_u2net.data.masks import (
    MaskContent,
    MaskEncoding,
    MaskLevels,
    RawMask,
    decide_encoding,
    decode_raw,
    tally,
)
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.thumbnails import MASK_SIDE, is_grey, sample, shows_its_mask, thumbnail
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import DataError, Fault, counted
from paddleseg_u2net.io.appearance import Note, note_lines
from paddleseg_u2net.io.bands import as_rgb, decode_picture
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.images import SIDEWAYS, UPRIGHT

log = logging.getLogger(__name__)

NOISE = 2.0  # standard deviation of a channel below which an image is one colour, in levels of 255


class PairRecord(NamedTuple):
    """What is kept of one image and its mask after reading them; about 3 KB.

    Args:
        pair: the files.
        index: position of the pair in its data set.
        broken: faults of files that cannot be read.
        mismatch: the fault if image and mask differ in size.
        size: (H, W) of the image, upright.
        orientation: EXIF orientation of the image; 1 is upright.
        notes: what was changed or left out when the image was read.
        digest: checksum of the image file.
        thumb: (16, 16, 3) uint8, see `thumbnail`.
        constant: whether the image has a single colour.
        is_mask: whether the image equals its mask.
        mask_levels: distinct values of the mask.
        counts: (L,), number of pixels of each of these values.
        mask_size: (H, W) of the mask, upright.
        mask_orientation: EXIF orientation of the mask.
        mask_sample: (32, 32), stored values of the mask, see `sample`.
        top: largest stored value of a 16-bit image; 0 for 8 bits.
        held: channels of a multi-band image; 0 for other images.
    """

    pair: Pair
    index: int = 0
    broken: tuple[Fault, ...] = ()
    mismatch: Fault | None = None
    size: tuple[int, int] | None = None
    orientation: int = UPRIGHT
    notes: tuple[Note, ...] = ()
    digest: bytes = b""
    thumb: np.ndarray | None = None
    constant: bool = False
    is_mask: bool = False
    mask_levels: MaskLevels | None = None
    counts: np.ndarray = np.empty(0, int)
    mask_size: tuple[int, int] | None = None
    mask_orientation: int = UPRIGHT
    mask_sample: np.ndarray | None = None
    top: int = 0
    held: int = 0

    @property
    def place(self) -> str:
        """List, line and path of the image, for messages."""
        return self.pair.image_place

    @property
    def mask_place(self) -> str:
        """List, line and path of the mask, for messages."""
        return self.pair.mask_place

    @property
    def rotated_differently(self) -> bool:
        """Whether EXIF tags rotate image and mask differently, and it is unclear that they fit together.

        One case is clear: the tag of a non-square image rotates it by 90 degrees, and the mask has no tag and
        the size of the upright image, so it was drawn on the upright image. For a square image, or a tag that
        mirrors or rotates by 180 degrees, either is possible, because few programs read the tags of masks.
        """
        clear = self.orientation >= SIDEWAYS and self.size and self.size[0] != self.size[1]
        differ = self.orientation != self.mask_orientation and self.size == self.mask_size
        return differ and not (clear and self.mask_orientation == UPRIGHT)

    @property
    def faults(self) -> list[Fault]:
        """The faults of the two files; a pair without faults may still contradict the encoding."""
        return [*self.broken, *([self.mismatch] if self.mismatch else [])]


def read_pair(pair: Pair, spec: DatasetSpec | None = None) -> PairRecord:
    """Read an image and its mask; faults of files that cannot be read become part of the record.

    Args:
        pair: the files.
        spec: data set that says how many channels images have, and how mask files are stored; None for RGB,
            and for values as they are.
    """
    record, image, raw = PairRecord(pair), None, None
    try:
        data = read_bytes(pair.image)
        photograph = decode_picture(pair.image, data, spec.channels if spec else 3)
        image = photograph.image
        record = _add_image(record, image)._replace(
            top=photograph.depth.top,
            held=photograph.held,
            orientation=photograph.orientation,
            notes=photograph.notes,
            digest=hashlib.blake2b(data, digest_size=16).digest(),
        )
    except (OSError, ValueError) as error:
        record = record._replace(broken=(Fault(pair.where, str(error)),))
    try:
        if pair.mask:
            raw = decode_raw(pair.mask, read_bytes(pair.mask, "mask"))
            raw = spec.relabelled(raw) if spec else raw
            record = _add_mask(record, raw)
    except (OSError, ValueError) as error:
        record = record._replace(broken=(*record.broken, Fault(pair.where, str(error))))
    if image is None or raw is None:
        return record
    labels = spec.labels if spec else 0
    height, width = image.shape[:2]
    if record.mask_size != (height, width * (labels or 1)):
        what = (
            f"mask (H, W) {record.mask_size} differs from its image's {record.size} "
            "(both upright by their EXIF tags)"
        )
        fix = f"store {labels} masks beside each other" if labels else "make them the same size"
        if spec and not labels and record.mask_size == (height, width * spec.num_classes):
            fix += ", or set use_multilabel: true in the config if it is one mask for each class"
        return record._replace(mismatch=Fault(record.mask_place, what, fix))
    return record._replace(is_mask=is_grey(record.thumb) and shows_its_mask(image, raw.values))


def _add_image(record: PairRecord, image: np.ndarray) -> PairRecord:
    image = as_rgb(image)
    thumb = thumbnail(image)
    # the thumbnail of a noisy image is even, so the image decides
    constant = all(float(cv2.meanStdDev(pixels)[1].max()) < NOISE for pixels in (thumb, image))
    return record._replace(size=image.shape[:2], thumb=thumb, constant=constant)


def _add_mask(record: PairRecord, raw: RawMask) -> PairRecord:
    levels, counts = tally(raw)
    return record._replace(
        mask_levels=MaskLevels(record.mask_place, raw.kind, levels, raw.palette),
        counts=counts,
        mask_size=raw.values.shape,
        mask_orientation=raw.orientation,
        mask_sample=sample(raw.values, MASK_SIDE),
    )


def read_pairs(
    sources: Sequence[Any], name: str, read: Callable[[Any], PairRecord] = read_pair
) -> list[PairRecord]:
    """Read pairs in parallel, each once.

    Args:
        sources: pairs, or what `read` takes.
        name: label of the progress bar.
        read: returns the record of one source.
    """
    with ThreadPoolExecutor(processors()) as pool:  # decoding releases the interpreter lock
        results = pool.map(read, sources)
        bar = tqdm(results, name, len(sources), disable=None, delay=1, leave=False, unit=" pairs")
        return [record._replace(index=index) for index, record in enumerate(bar)]


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of reading all files of a data set once.

    Args:
        spec: what was requested.
        records: one per pair.
        encoding: how the masks are read.
        contradictions: index of the pair -> fault of a mask that does not fit the encoding.
        contents: one per pair: what the mask contains; None if it cannot be read or contradicts the encoding.
        no_foreground: the fault of training data in which no mask has any foreground.
        agreement: what was decided together with other data sets.
    """

    spec: DatasetSpec
    records: Sequence[PairRecord]
    encoding: MaskEncoding
    contradictions: Mapping[int, Fault]
    contents: Sequence[MaskContent | None]
    no_foreground: Fault | None
    agreement: Agreement = Agreement()

    @property
    def faults(self) -> list[Fault]:
        """All errors: of the list, of the files in their order, of the masks together."""
        of_files = [fault for record in self.records for fault in record.faults]
        of_all = [self.no_foreground] if self.no_foreground else []
        return [*self.spec.faults, *of_files, *self.contradictions.values(), *of_all]

    def log_notes(self, level: int) -> None:
        """Log what was changed or left out when images were read, as far as it has this level of logging."""
        notes = [(record.place, note) for record in self.records for note in record.notes]
        for own, line in note_lines(notes, len(self.records)):
            if own == level:
                log.log(level, "%s: %s", self.spec.name, line)


def inspect_together(specs: Sequence[DatasetSpec]) -> list[Inspection]:
    """Read every file of data sets that are used together, see `inspect`."""
    records = [_read(spec) for spec in specs]
    agreements = agree(specs, records)
    return [inspect(*one) for one in zip(specs, records, agreements, strict=True)]


def _read(spec: DatasetSpec) -> list[PairRecord]:
    return read_pairs(spec.pairs, spec.name, partial(read_pair, spec=spec))


def inspect(
    spec: DatasetSpec,
    records: Sequence[PairRecord] | None = None,
    agreement: Agreement | None = None,
) -> Inspection:
    """Read every file of a data set once and decide how its images and masks are read.

    Logs the number of images and the encoding if there are no faults.

    Args:
        spec: the data set.
        records: what `read_pairs` returned for its pairs, if the files have been read before.
        agreement: what was decided together with other data sets; None to decide it for this one.
    """
    records = _read(spec) if records is None else records
    agreement = agreement or agree([spec], [records])[0]
    palettes = agreement.palettes
    levels = [as_classes(record.mask_levels, palettes) for record in records]
    encoding, contradictions = decide_encoding(
        levels, spec.num_classes, spec.ignore_index, spec.mask_encoding
    )
    encoding = replace(encoding, colors=palettes.colors, by_brightness=palettes.by_brightness)
    found = sorted({**contradictions, **palettes.faults}.items())
    contradictions = {key: _reworded(fault, spec) for key, fault in found}
    contents = [
        encoding.measure(record.mask_levels, record.counts)
        if record.mask_levels and index not in contradictions
        else None
        for index, record in enumerate(records)
    ]
    no_foreground = _no_foreground(spec, encoding, contents)
    inspection = Inspection(spec, records, encoding, contradictions, contents, no_foreground, agreement)
    if not inspection.faults:
        log.info("%s: %s, %s", spec.name, counted(len(spec), "image"), encoding)
        inspection.log_notes(logging.INFO)
        _warn_of_unused_channels(spec, records)
    return inspection


def _warn_of_unused_channels(spec: DatasetSpec, records: Sequence[PairRecord]) -> None:
    more = [record for record in records if record.held > spec.channels]
    if more:
        log.warning(
            "%s: %d images hold more channels than img_channels: %d, first: %s (%d). The others are not used",
            spec.name,
            len(more),
            spec.channels,
            more[0].place,
            more[0].held,
        )


def _no_foreground(
    spec: DatasetSpec, encoding: MaskEncoding, contents: Sequence[MaskContent | None]
) -> Fault | None:
    shares = [content.share for content in contents if content]
    if spec.mode != "train" or not shares or any(shares):
        return None
    what = f"none of the {len(shares)} masks has any foreground, as they are read ({encoding})"
    return _reworded(Fault(spec.name, what, "check the masks, mask_encoding and ignore_index"), spec)


def _reworded(fault: Fault, spec: DatasetSpec) -> Fault:
    """The fault with settings named as the running command takes them."""
    return fault._replace(fix=spec.fix_as(fault.fix))


def raise_faults(inspections: Sequence[Inspection]) -> None:
    """Raise one DataError with the faults of several data sets; return if there are none."""
    if faults := [fault for inspection in inspections for fault in inspection.faults]:
        raise DataError(faults)
