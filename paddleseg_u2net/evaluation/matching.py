"""Finds the mask of each saliency map, by file name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paddleseg_u2net.data.pairs import by_stem, second_files
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.io.listing import HIDDEN, list_files


@dataclass
class MatchedFiles:
    """The maps of one method and the masks of one data set.

    Attributes:
        pairs: (name, map, mask) of each image.
        unmatched: maps without a mask, and masks without a map.
        faults: what prevents measuring, such as names that are not unique.
        not_read: files that are not read: of other formats, broken links, links that lead back.
    """

    pairs: list[tuple[str, Path, Path]]
    unmatched: list[Fault]
    faults: list[Fault | str]
    not_read: list[Path]


def match_files(maps: Path, masks: Path, common_only: bool = False) -> MatchedFiles:
    """Find the mask of each map; their paths below the two folders are equal except for the suffix.

    Args:
        maps: folder of PNG or other images: grey of 8 or 16 bits, or RGB with equal channels.
        masks: folder of masks.
        common_only: leave out maps without a mask and masks without a map; otherwise they are faults.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    for folder in (maps, masks):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder. Fix: the path of an existing folder")
    found, true = by_stem(maps), by_stem(masks)
    names = sorted(found.keys() & true.keys())
    missing, extra = sorted(true.keys() - found.keys()), sorted(found.keys() - true.keys())
    unmatched = [Fault(str(true[name][0]), f"no map named '{name}' in {maps}") for name in missing]
    unmatched += [Fault(str(found[name][0]), f"no mask named '{name}' in {masks}") for name in extra]
    faults: list[Fault | str] = [*second_files(found), *second_files(true)]
    if not names:
        what = f"holds no map for a mask in {masks} (maps: {len(found)}, masks: {len(true)})"
        faults.append(Fault(str(maps), what, "maps and masks of the same names, except for their suffixes"))
    elif unmatched and not common_only:
        alone = counted(len(unmatched), "file has", "files have")
        what = f"{alone} no partner, and {counted(len(names), 'pair is', 'pairs are')} complete"
        fix = "add the missing files, or use --common_only to measure the complete pairs"
        faults += [*unmatched, Fault(str(maps), what, fix)]
    pairs = [(name, found[name][0], true[name][0]) for name in names]
    return MatchedFiles(pairs, unmatched, faults, [*_not_read(maps), *_not_read(masks)])


def _not_read(folder: Path) -> list[Path]:
    """Visible files below a folder that are not read, whatever the reason."""
    unused = list_files(folder).unused
    return sorted(path for reason, paths in unused.items() if reason != HIDDEN for path in paths)
