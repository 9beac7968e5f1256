"""What a dataset section of a config asks for, before any file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddleseg_u2net.data.masks import ENCODINGS, IGNORE, RawMask, read_raw
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.palettes import Color
from paddleseg_u2net.errors import Fault


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as it is requested; `inspect` reads its files, `Dataset` loads samples from them.

    Args:
        pairs: image and mask files.
        num_classes: 1 for saliency (soft masks), otherwise the number of class ids, background included.
        transforms: callables on PaddleSeg's sample dict, applied in this order.
        ignore_index: stored mask value of ignored pixels; None if no value is ignored.
        mask_encoding: `index`, `grey`, or None to decide it from all masks.
        channels: 3 for RGB images, 1 to convert them to grey; another number for the first channels of
            multi-band files.
        mode: `train`, `val` or `test`; training data must contain foreground.
        name: how log lines and messages call the data set.
        faults: faults found while listing the pairs; reported together with those of the files.
        multi_scale: sizes (H, W), one of which is drawn for each batch; empty to leave samples as they are.
        white: stored value of white in 16-bit images; None to decide it from all of them.
        mask_colors: class id -> colour in the palettes of masks; None to compare the palettes.
        relabel: for each stored mask value 0 .. 255 the one that is used instead; None keeps the values.
        labels: number of labels that a pixel can have at once; 0 for classes, of which a pixel has one. A
            mask holds the labels beside each other, `labels` times as wide as its image; `num_classes` is 2.
        fix_as: names the settings in a fix as the running command takes them; see `data.wording`.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    pairs: Sequence[Pair]
    num_classes: int
    transforms: Sequence[Callable[[dict], dict]] = ()
    ignore_index: int | None = None
    mask_encoding: str | None = None
    channels: int = 3
    mode: str = "train"
    name: str = "dataset"
    faults: Sequence[Fault] = ()
    multi_scale: Sequence[tuple[int, int]] = ()
    white: int | None = None
    mask_colors: Mapping[int, Color] | None = None
    relabel: tuple[int, ...] | None = None
    labels: int = 0
    fix_as: Callable[[str], str] = str

    def __post_init__(self):
        name, encoding, ignored = self.name, self.mask_encoding, self.ignore_index
        if encoding not in (None, *ENCODINGS):
            raise ValueError(f"{name}: mask_encoding: '{encoding}', expected {' or '.join(ENCODINGS)}")
        if not 1 <= self.num_classes <= IGNORE:
            raise ValueError(f"{name}: num_classes: {self.num_classes}, expected 1 .. {IGNORE}")
        if encoding == "grey" and self.num_classes > 2:
            raise ValueError(
                f"{name}: mask_encoding: grey means at most two classes, got {self.num_classes}. "
                f"Fix: {self.fix_as('mask_encoding: index')}"
            )
        if ignored is not None and (type(ignored) is not int or not 0 <= ignored <= 65535):
            raise ValueError(
                f"{name}: ignore_index: {ignored!r}, expected a value of the mask files, or null"
            )
        if type(self.channels) is not int or self.channels < 1:
            raise ValueError(f"{name}: img_channels: {self.channels!r}, expected a whole number above 0")
        if self.white is not None and (type(self.white) is not int or not 1 <= self.white <= 65535):
            raise ValueError(f"{name}: img_max: {self.white!r}, expected 1 .. 65535, or null")

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def colors(self) -> int:
        """Number of values of a mask in pictures: without labels, and each label; or the classes."""
        return self.labels + 1 if self.labels else self.num_classes

    def relabelled(self, raw: RawMask) -> RawMask:
        """A mask as stored, with its values replaced as `relabel` says."""
        if self.relabel is None:
            return raw
        return raw._replace(values=np.array(self.relabel, np.uint8)[np.minimum(raw.values, IGNORE)])

    def read_mask(self, path: Path) -> RawMask:
        """Read a mask file of this data set; see `read_raw` and `relabelled`."""
        return self.relabelled(read_raw(path))
