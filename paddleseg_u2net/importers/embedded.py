"""Find the image of an annotation: as named, by its base name, or embedded in the annotation file."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import AnnotatedImage, read_json
from paddleseg_u2net.io.decoders import load, open_image
from paddleseg_u2net.io.file_kinds import find_kind, why_unreadable
from paddleseg_u2net.io.images import check_size
from paddleseg_u2net.io.listing import is_image, list_files

IMAGES = "images"  # folder of embedded images below the folder of the data set
BY_BASE_NAME = "path in the annotations is not there; found by its base name"
BY_OWN_NAME = "path in the annotations is not there; the image has the name of the JSON file"
BY_CONTENT = "no image file; read from imageData"


class ImageFolder:
    """Finds images by the names that annotations give them.

    Args:
        folder: folder that relative names are relative to, and that is searched.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, named: str) -> tuple[Path | None, str]:
        """Find an image below the folder.

        Args:
            named: name in the annotations: a path of any system, relative or absolute, or an address.

        Returns:
            The path, or None if no file or more than one fits; and how it was found, if not as named.
        """
        for text in dict.fromkeys((named, unquote(named))):
            parts = [part for part in _posix(text).parts if part not in ("/", "..")]
            for start in range(len(parts)):
                path = self.folder.joinpath(*parts[start:])
                if path.is_file():
                    as_named = start == 0 and not _leaves(text)
                    return path, "" if as_named else BY_BASE_NAME
            found = self._all().get(parts[-1].casefold(), []) if parts else []
            if len(found) == 1:
                return found[0], BY_BASE_NAME
        return None, ""

    def _all(self) -> dict[str, list[Path]]:
        """The files below the folder by their names in lower case."""
        if self._by_name is None:
            self._by_name = {}
            listing = list_files(self.folder)
            for path in itertools.chain(listing.images, *listing.unused.values()):
                self._by_name.setdefault(path.name.casefold(), []).append(path)
        return self._by_name


def _posix(text: str) -> PurePosixPath:
    return PurePosixPath(text.replace("\\", "/").replace("\0", ""))


def _leaves(text: str) -> bool:
    """Whether a path is absolute or leaves its folder."""
    path = _posix(text)
    return path.is_absolute() or ".." in path.parts


class ImagesBeside:
    """Finds the images of LabelMe files, in the folder of each file but not below it."""

    def __init__(self):
        self._folders: dict[Path, tuple[dict[str, list[Path]], dict[str, list[Path]]]] = {}

    def find(self, json_file: Path, named: str, has_content: bool) -> tuple[Path, str]:
        """Find the image of a file.

        Args:
            json_file: the LabelMe file.
            named: its `imagePath`.
            has_content: whether it holds `imageData`.

        Returns:
            The path, and how it was found, if not as named: BY_BASE_NAME, BY_CONTENT or BY_OWN_NAME.
        """
        path = json_file.parent / _posix(named)
        if path.is_file():
            return path, ""
        by_name, by_stem = self._files(json_file.parent)
        bases = dict.fromkeys(_posix(text).name for text in (named, unquote(named)))
        any_case = [(base, by_name.get(base.casefold(), [])) for base in bases]
        for candidates, how in (
            *(([file for file in files if file.name == base], BY_BASE_NAME) for base, files in any_case),
            *((files, BY_BASE_NAME) for _, files in any_case),
            ([path] if has_content else [], BY_CONTENT),
            ([file for file in by_stem.get(json_file.stem, ()) if is_image(file)], BY_OWN_NAME),
        ):
            if len(candidates) == 1:
                return candidates[0], how
        return path, ""

    def _files(self, folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """The files in a folder by their names in lower case, and by their stems."""
        if folder not in self._folders:
            by_name, by_stem = self._folders[folder] = {}, {}
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                by_name.setdefault(path.name.casefold(), []).append(path)
                by_stem.setdefault(path.stem, []).append(path)
        return self._folders[folder]


def write_embedded(image: AnnotatedImage, folder: Path, final_folder: Path) -> tuple[Path, Path]:
    """Write the image that a JSON file holds, if its own file is missing.

    Args:
        image: the annotated image.
        folder: folder of the data set while it is built; the image goes to IMAGES below it.
        final_folder: path of that folder after the build has succeeded.

    Returns:
        Where the image can be read now, and where after the build.

    Raises:
        DataError: the content is not an image.
    """
    if image.embedded is None:
        return image.image, image.image
    where = f"{image.embedded}: imageData"
    text = "".join(str(read_json(image.embedded).get("imageData")).split())
    fix = f"put {image.image.name} beside the JSON file"
    try:
        data = base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except ValueError as error:
        raise DataError([Fault(where, f"cannot be read as an image: {error}", fix)]) from None
    try:
        with open_image(data) as image_file:
            check_size(Path(where), image_file.size, MAX_PIXELS)
            load(image_file, data)
    except Exception as error:  # Pillow's readers raise any kind of error
        what = f"cannot be read as an image: {why_unreadable(data, str(error))[0]}"
        raise DataError([Fault(where, what, fix)]) from None
    kind = find_kind(data)
    assert kind is not None
    name = Path(IMAGES, f"{image.name}.{kind.suffixes.split()[0]}")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name, final_folder / name
