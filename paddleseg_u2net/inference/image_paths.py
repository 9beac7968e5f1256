"""The images that paths name: single files, folders, and list files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from paddleseg_u2net.data.pairs import list_lines
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.inference.outputs import OUTPUTS, Output
from paddleseg_u2net.io.file_kinds import READ, READ_SUFFIXES, is_plain_text
from paddleseg_u2net.io.listing import is_image, list_images
from paddleseg_u2net.io.paths import local_path


class Image(NamedTuple):
    """An image file.

    Args:
        path: as given by the user.
        where: the line of the list that names it (`photos.txt:3`), or nothing.
        name: what messages and reports call it, if that is not its path.
    """

    path: Path
    where: str = ""
    name: str = ""


@dataclass(frozen=True)
class FoundImages:
    """The images that several paths name.

    Args:
        images: each once, by absolute path.
        root: folder that the outputs mirror: the common parent of what was given.
        faults: one per path that names no images.
    """

    images: dict[Path, Image]
    root: Path
    faults: list[Fault | str]


def find_images(paths: Iterable[Path], save_dir: Path, table: Mapping[str, Output] = OUTPUTS) -> FoundImages:
    """Find the images that paths name: images, folders with sub-folders, and list files.

    Args:
        paths: at least one; repeated images are taken once.
        save_dir: earlier results in it are left out of a folder that contains them.
        table: the kinds of results that there are.

    Raises:
        DataError: none of the paths names an image.
    """
    images: dict[Path, Image] = {}
    roots: list[Path] = []
    faults: list[Fault | str] = []
    for path in dict.fromkeys(path for given in paths for path in _matches(given)):
        try:
            found, root = _images_of(path, [save_dir / output.folder for output in table.values()])
        except DataError as error:
            faults += error.faults
        except (OSError, ValueError) as error:  # a folder or a list that cannot be read
            faults.append(str(error))
        else:
            for image in found:
                images.setdefault(_absolute(image.path), image)
            roots.append(_absolute(root))
    if not images:
        raise DataError(faults)
    return FoundImages(images, Path(os.path.commonpath(roots)), faults)


def _matches(path: Path) -> list[Path]:
    """What a pattern matches, where the shell did not replace it; for other paths themselves."""
    if os.path.lexists(path) or not glob.has_magic(str(path)):
        return [path]
    return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))] or [path]


def _images_of(path: Path, results: Iterable[Path]) -> tuple[list[Image], Path]:
    """The images that one path names, and the folder that their outputs would mirror."""
    if path.is_dir():
        return _images_in(path, results), path
    if not path.is_file() and os.path.lexists(path):
        return [Image(path)], path.parent  # a broken link or a pipe; reading it says so
    if not path.is_file():
        what = "no file matches this pattern" if glob.has_magic(str(path)) else "no such file or folder"
        raise DataError([Fault(str(path), what)])
    if path.suffix.lower() in READ_SUFFIXES or is_image(path) or not _is_text(path):
        return [Image(path)], path.parent
    images = [Image(_named(line, path), f"{path}:{number}") for number, line in list_lines(path)]
    if not any(image.path.is_file() for image in images):
        fix = "name one image per line, relative to the folder of the list"
        raise DataError([Fault(str(path), "this list names no images that exist", fix)])
    return images, Path(os.path.commonpath([image.path.parent for image in images]))


def _images_in(folder: Path, results: Iterable[Path]) -> list[Image]:
    """The images of a folder, without those in the folders of results."""
    results = [result.resolve() for result in results if folder.resolve() in result.resolve().parents]
    found = [path for path in list_images(folder) if not set(results) & set(path.resolve().parents)]
    if not found:
        formats = ", ".join(kind.noun.removesuffix(" image") for kind in READ)
        raise DataError([Fault(str(folder), f"no images ({formats}) in this folder")])
    return [Image(path) for path in found]


def _is_text(path: Path) -> bool:
    """Whether a file without an image's suffix is a list; PaddleSeg takes any such file for one."""
    with path.open("rb") as file:
        return is_plain_text(file.read(1 << 16))


def _named(line: str, path: Path) -> Path:
    """The image that a line of a list names: the whole line if that file exists, else its first column."""
    image = local_path(line, path.parent)
    if not image.is_file():
        image = local_path(line.split("\t" if "\t" in line else None)[0].strip(), path.parent)
    return _absolute(image)


def _absolute(path: Path) -> Path:
    """An absolute path without `..`, symbolic links kept."""
    return Path(os.path.abspath(path))
