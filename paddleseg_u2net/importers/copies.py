"""Find the images of a data set that are copies of one picture, so that a split keeps them together."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence

import numpy as np

from paddleseg_u2net.data.duplicates import find_turned
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.importers.sources import InspectedImage

log = logging.getLogger(__name__)

WORDS = (
    r"(?:aug(?:mented)?|(?:[hv]|horizontal|vertical)?[_-]?(?:flip(?:ped)?|mirror(?:ed)?)(?:[_-]?(?:lr|ud|[hvxy]))?"
    r"|rot(?:ated?)?|crop(?:ped)?|blur(?:red)?|noise|bright(?:ness)?|dark|contrast|hue|saturation|gamma|jitter"
    r"|shift(?:ed)?|scaled?|zoom(?:ed)?|shear(?:ed)?)"
)
NUMBER = r"(?:[ ._-]?\d{1,4})?"
AFTER = re.compile(rf"(.+?)(?:[ ._-]{WORDS}{NUMBER})+", re.IGNORECASE)
BEFORE = re.compile(rf"(?:{WORDS}{NUMBER}[ ._-])+(.+)", re.IGNORECASE)
ROBOFLOW = re.compile(r"(.+)\.rf\.\w+")  # all copies of a picture have this name; none is without


def base_name(name: str, names: Collection[str]) -> str:
    """Return the name of the picture that an augmented copy was made of, or the name itself.

    Args:
        name: path of an image without suffix, as `train/cat_flip` or `aug_3_cat`.
        names: all of them. Apart from Roboflow's names, the picture must be one of these.
    """
    if found := ROBOFLOW.fullmatch(name):
        return found[1]
    folder, slash, stem = name.rpartition("/")
    for pattern in (AFTER, BEFORE):
        if (found := pattern.fullmatch(stem)) and (base := f"{folder}{slash}{found[1]}") in names:
            return base
    return name


def find_named_copies(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of images whose names say that both are copies of one picture; see `base_name`."""
    known, first, pairs = set(names), {}, []
    for index, name in enumerate(names):
        other = first.setdefault(base_name(name, known), index)
        if other != index:
            pairs.append((other, index))
    return pairs


def copy_keys(images: Sequence[InspectedImage], by_name: bool = True) -> list[str]:
    """Return a key for each image that all copies of a picture share.

    Copies are identical files; images of which one is the other mirrored, upside down or turned by 90
    degrees; and those whose names say so (`cat` and `cat_flip`, or Roboflow's `cat_jpg.rf.1f…`).

    Args:
        images: the images.
        by_name: whether names count.
    """
    names = [image.name.removesuffix(image.pair.image.suffix) for image in images]
    named = find_named_copies(names) if by_name else []
    turned = list(find_turned(np.stack([image.thumb for image in images])))
    for pairs, what in ((turned, "mirrored or turned"), (named, "copies by their names")):
        if pairs:
            several = len({index for pair in pairs for index in pair})
            first, second = (images[index].name for index in pairs[0])
            shown = several, what, first, second
            log.info("%d images are %s, as %s and %s; copies stay in one part", *shown)
    first_of: dict[bytes, int] = {}
    same = [(first_of.setdefault(image.digest, index), index) for index, image in enumerate(images)]
    sparse, graph = need("scipy.sparse"), need("scipy.sparse.csgraph")
    rows, columns = np.array([*same, *turned, *named]).T
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (len(images),) * 2)
    numbers = graph.connected_components(links, directed=False)[1]
    keys: dict[int, str] = {}
    for number, image in zip(numbers.tolist(), images, strict=True):
        keys[number] = min(keys.get(number, image.digest.hex()), image.digest.hex())
    return [keys[number] for number in numbers.tolist()]
