"""Find the images of a data set that are copies of one picture, so that a split keeps them together."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from paddleseg_u2net.data.duplicates import find_turned
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.importers.sources import InspectedImage

log = logging.getLogger(__name__)

# different images that are turned copies of one picture: 8 ways to turn it, each saved twice
MAX_TURNED = 16
WORDS = (
    r"(?:aug(?:mented)?|(?:[hv]|horizontal|vertical)?[_-]?(?:flip(?:ped)?|mirror(?:ed)?)(?:[_-]?(?:lr|ud|[hvxy]))?"
    r"|rot(?:ated?)?|crop(?:ped)?|blur(?:red)?|noise|bright(?:ness)?|dark|contrast|hue|saturation|gamma|jitter"
    r"|shift(?:ed)?|scaled?|zoom(?:ed)?|shear(?:ed)?)"
)
NUMBER = r"(?:[ ._-]?\d{1,4}){0,2}"
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
    turned = _find_turned_copies(images)
    names = [image.name.removesuffix(image.pair.image.suffix) for image in images]
    named = find_named_copies(names) if by_name else []
    for pairs, what in ((turned, "mirrored or turned"), (named, "copies by their names")):
        if pairs:
            several = len({index for pair in pairs for index in pair})
            first, second = (images[index].name for index in pairs[0])
            log.info(f"{several} images are {what}, as {first} and {second}; copies stay in one part")
    first_of: dict[bytes, int] = {}
    same = [(first_of.setdefault(image.digest, index), index) for index, image in enumerate(images)]
    keys: dict[int, str] = {}
    numbers = _group_numbers(len(images), [*same, *turned, *named])
    for number, image in zip(numbers, images, strict=True):
        keys[number] = min(keys.get(number, image.digest.hex()), image.digest.hex())
    return [keys[number] for number in numbers]


def _find_turned_copies(images: Sequence[InspectedImage]) -> list[tuple[int, int]]:
    """Return pairs of turned copies, without those of images that only look much alike."""
    pairs = list(find_turned(np.stack([image.thumb for image in images])))
    numbers = _group_numbers(len(images), pairs)
    different = Counter(
        numbers[index] for index in {image.digest: i for i, image in enumerate(images)}.values()
    )
    alike = [pair for pair in pairs if different[numbers[pair[0]]] > MAX_TURNED]
    if alike:
        several = len({index for pair in alike for index in pair})
        first = images[alike[0][0]].name
        log.warning(
            f"{several} images look alike when turned, as {first}: too many to be copies of one picture. "
            "Fix: if they are, --group_by keeps them together"
        )
    return [pair for pair in pairs if different[numbers[pair[0]]] <= MAX_TURNED]


def _group_numbers(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return the number of the group of each of `count` images that pairs of indices join."""
    sparse, graph = need("scipy.sparse"), need("scipy.sparse.csgraph")
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    return graph.connected_components(links, directed=False)[1].tolist()
