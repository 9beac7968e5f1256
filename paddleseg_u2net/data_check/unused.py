"""Checks of files that lie in the folders of a data set and that no pair uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paddleseg_u2net.data.unused import NO_PAIR, may_be_lost, outermost, unused_files
from paddleseg_u2net.data_check.survey import DatasetSurvey
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.io.listing import stem_of, unused_text

LARGEST = 1 << 26  # bytes of a list file that is read


def lost_files(survey: DatasetSurvey) -> Iterator[Fault]:
    """Files that may be images and are not read, a fault for each folder."""
    for folder, unused in _by_folder(survey):
        if lost := may_be_lost(unused):
            yield Fault(str(folder), unused_text(lost, folder))


def other_files(survey: DatasetSurvey) -> Iterator[Fault]:
    """All other files that no pair uses and no list beside those of the pairs names, a fault a folder."""
    named = _names_in_lists(survey) | {fault.where for fault in masks_without_a_pair(survey)}
    for folder, unused in _by_folder(survey):
        lost = may_be_lost(unused)
        others = {reason: list(paths) for reason, paths in unused.items() if reason not in lost}
        left = [path for path in others.pop(NO_PAIR, ()) if not {path.name, str(path)} & named]
        others |= {NO_PAIR: left} if left else {}
        if others:
            yield Fault(str(folder), unused_text(others, folder))


def _names_in_lists(survey: DatasetSurvey) -> set[str]:
    """Names of files in all list files beside those that were checked: of other parts of the data set."""
    folders = {Path(pair.files.where).parent for pair in survey.pairs if ":" in pair.files.where}
    names: set[str] = set()
    for path in (path for folder in folders for path in folder.glob("*.txt")):
        small = path.is_file() and path.stat().st_size < LARGEST
        text = path.read_text(encoding="utf-8", errors="replace") if small else ""
        for line in text.splitlines():
            names |= {Path(word.strip()).name for word in (*line.split("\t"), *line.split())}
    return names


def masks_without_a_pair(survey: DatasetSurvey) -> Iterator[Fault]:
    """Files in the folders of masks that belong to no pair and share their name with no image."""
    pairs = [pair.files for pair in survey.pairs]
    image_folders = {pair.image.parent for pair in pairs}
    mask_folders = sorted({pair.mask.parent for pair in pairs if pair.mask} - image_folders)
    used = [path for pair in pairs for path in pair[:2] if path]
    stems = {stem_of(path).name for path in unused_files(image_folders, ()).get(NO_PAIR, ())}
    for path in sorted(unused_files(mask_folders, used).get(NO_PAIR, ())):
        if stem_of(path).name not in stems:
            yield Fault(str(path), "no pair uses this mask, and no image has its name")


def _by_folder(survey: DatasetSurvey) -> Iterator[tuple[Path, dict[str, list[Path]]]]:
    """The folders of images and masks, and what is not used in each."""
    files = [path for pair in survey.pairs for path in pair.files[:2] if path]
    for folder in outermost({path.parent for path in files}):
        if unused := unused_files([folder], files):
            yield folder, unused
