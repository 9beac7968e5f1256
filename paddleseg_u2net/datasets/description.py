"""The columns of the table of known data sets; `catalog` holds the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

GIB = 1 << 30


class Address(NamedTuple):
    """A download address, and the date on which it last served the file, or `never`."""

    url: str
    verified: str = "never"


@dataclass(frozen=True)
class Archive:
    """One archive of a data set.

    Args:
        file: its name.
        addresses: tried in turn; empty where it has to be downloaded by hand.
        checksum: `sha256:HEX` or `md5:HEX`; None where none is published.
    """

    file: str
    addresses: tuple[Address, ...] = ()
    checksum: str | None = None


@dataclass(frozen=True)
class Part:
    """A group of pairs, such as the official training data.

    Args:
        lists: the lists that name these pairs: some of train, val and test.
        pairs: published number of pairs; None where it is not published.
        images: patterns of image names (`PurePath.match`); the first pattern that matches any file is used.
        masks: patterns of mask names, likewise.
        image_dir: folder for the images.
        mask_dir: folder for the masks.
        listed: pattern of the archive's own list file, instead of `images` and `masks`; the files that it
            names keep their paths.
        optional: whether the archive may lack this part.
        held_out: every n-th image goes to val and test instead; for data sets without an official split.
    """

    lists: tuple[str, ...]
    pairs: int | None
    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    image_dir: str = "images"
    mask_dir: str = "masks"
    listed: str = ""
    optional: bool = False
    held_out: int = 0


@dataclass(frozen=True)
class DataSet:
    """A row of the table.

    Args:
        task: what the masks show.
        about: one sentence about the data set.
        paper: the publication to cite.
        licence: as published.
        page: web page of the authors.
        archives: the files to download; empty where the data set is generated.
        parts: groups of pairs.
        script: script in Benckmark_data_prepare that prepares it.
        size: of the archives, as reported by others.
        max_bytes: upper bound of a download, and of the unpacked files.
        name_of: regular expression whose first group is the name that an image and its mask share; empty to
            use the stems of the file names.
        threshold: grey level above which a mask pixel becomes 1, else 0; None copies masks unchanged.
        note: a remark for the user.
    """

    task: str
    about: str
    paper: str
    licence: str
    page: str
    archives: tuple[Archive, ...]
    parts: tuple[Part, ...]
    script: str
    size: str = "not published"
    max_bytes: int = GIB
    name_of: str = ""
    threshold: int | None = None
    note: str = ""

    @property
    def pairs(self) -> int | None:
        """The published number of pairs; None where it is not published."""
        counts = [part.pairs for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def verified(self) -> str:
        """Date on which its addresses last served it, `never`, `no address` or `drawn`."""
        dates = [max((a.verified for a in file.addresses), default="no address") for file in self.archives]
        return min(dates, default="drawn", key=lambda date: (date[0].isdigit(), date))
