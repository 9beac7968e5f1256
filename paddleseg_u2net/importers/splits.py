"""Named images -> training, validation and test parts, as a function of the names and a seed.

Neither the order of files nor the machine matters, and a new image moves few others: images stand in an order
that is drawn from a hash of seed and name, and the parts are cut from it by count.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Item(NamedTuple):
    """What a split needs to know of an image.

    Args:
        name: what its place is drawn from; relative, so that a moved folder is split alike.
        digest: of its content; copies stay together.
        stratum: each part gets its share of every stratum.
    """

    name: str
    digest: str
    stratum: str = ""


class _Unit(NamedTuple):
    """Images that stay together."""

    key: str
    members: list[int]
    stratum: str


def _chance(*words: str) -> float:
    """A number in [0, 1) that is a function of the words."""
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _name(item: Item) -> str:
    return unicodedata.normalize("NFC", item.name)  # as macOS hands names out, and as others do, alike


def group_of(name: str, pattern: re.Pattern[str]) -> str | None:
    """The group of a name: what the pattern's brackets match, or all of it; None without a match."""
    found = pattern.search(name)
    return None if found is None else "\0".join(text or "" for text in found.groups() or [found[0]])


def _units(items: Sequence[Item], group_by: re.Pattern[str] | None) -> list[_Unit]:
    """Join images of one group and copies of one image, also where they chain."""
    parents: dict[str, str] = {}

    def root(token: str) -> str:
        while parents.setdefault(token, token) != token:
            parents[token] = parents[parents[token]]
            token = parents[token]
        return token

    keys = []
    for item in items:
        group = group_of(_name(item), group_by) if group_by else None
        keys.append(f"name {_name(item)}" if group is None else f"group {group}")
        parents[root(f"content {item.digest}")] = root(keys[-1])
    joined: defaultdict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        joined[root(key)].append(index)
    return [
        _Unit(min(keys[index] for index in members), members, _commonest(items[i].stratum for i in members))
        for members in joined.values()
    ]


def _commonest(strata: Iterable[str]) -> str:
    counts = Counter(strata)
    return min(counts, key=lambda stratum: (-counts[stratum], stratum))


def split(
    items: Sequence[Item], shares: Sequence[float], seed: int, group_by: re.Pattern[str] | None = None
) -> list[list[int]]:
    """Share images out.

    Args:
        items: the images, in any order.
        shares: of each part; they add up to 1.
        seed: another one gives another split.
        group_by: images whose names agree in it stay together.

    Returns:
        Indices of the images of each part, sorted by name. Counts are the shares rounded, as far as groups
        and copies can be cut so.
    """
    strata: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit in _units(items, group_by):
        strata[unit.stratum].append(unit)
    places = []
    for stratum, units in strata.items():
        # systematic sampling: a stratum is spread evenly over [0, 1), from a random start
        start, total, before = _chance(str(seed), "stratum", stratum), sum(len(u.members) for u in units), 0
        for unit in sorted(units, key=lambda unit: (_chance(str(seed), unit.key), unit.key)):
            places.append(((before + start * len(unit.members)) / total, unit.key, unit))
            before += len(unit.members)
    ends = [round(end * len(items)) for end in itertools.accumulate(shares)]
    parts: list[list[int]] = [[] for _ in shares]
    before = 0
    for _, _, unit in sorted(places, key=lambda place: place[:2]):
        middle = before + len(unit.members) / 2
        parts[min(bisect.bisect_right(ends, middle), len(parts) - 1)] += unit.members
        before += len(unit.members)
    return [sorted(part, key=lambda index: (_name(items[index]), index)) for part in parts]
