"""Faults of single items: one table of all of them, or skipping the items (`--skip_faulty`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.errors import DataError, Fault

OF_SKIPPED_IMAGES = "of images that are skipped"
SKIP_FAULTY = "--skip_faulty leaves these items out, and goes on with the others"
ROW = re.compile(r": (\w+)\[\d+\]")
ITEMS = {"shapes": "annotations", "objects": "annotations"}  # words of LabelMe and Supervisely for them
LINE = re.compile(r":\d+$")
PATH = re.compile(r"^[^:]*([/\\][^:]*|\.\w{1,5}): ")
# what differs between two faults of one kind: the path in front, what was found, names and numbers
FOUND = re.compile(r", (got|for example|first in|which) .*|\. (Known: |Fix: ).*| Did you mean .*", re.DOTALL)
VARIABLE = re.compile(r"'[^']*'|[(\[][\d, .-]+[)\]]|-?\b\d+(\.\d+)?\b|\S*[/\\]\S*")


def items_of(where: str) -> str:
    """Return what the place of a fault names: `annotations`, `images`, `lines`, or else `files`."""
    found = ROW.search(where)
    if found:
        return ITEMS.get(found[1], found[1])
    return "lines" if LINE.search(where) else "files"


def kind_of(fault: Fault | str) -> str:
    """Return what a fault has in common with others of its kind: its text without names and numbers."""
    what = PATH.sub("", FOUND.sub("", fault.what if isinstance(fault, Fault) else fault))
    return re.sub(r"… ?x …", "…", VARIABLE.sub("…", what)).strip(" :;,.")


def skip(faults: Sequence[Fault | str], items: str, counts: ItemCounts) -> None:
    """Count items that are left out because of their faults, one for each fault.

    Args:
        faults: the faults.
        items: what is left out, in the plural; empty to take it from the place of each fault.
        counts: the items are added, by the kind of the fault.
    """
    for fault in faults:
        where = fault.where if isinstance(fault, Fault) else ""
        counts.add("skipped", items or items_of(where), kind_of(fault), _place_of(fault))


def skip_each_once(faults: Sequence[Fault | str], counts: ItemCounts) -> None:
    """Count items that are left out because of their faults, by the first fault of each."""
    first: dict[str, Fault | str] = {}
    for fault in faults:
        first.setdefault(_place_of(fault), fault)
    skip(list(first.values()), "", counts)


def _place_of(fault: Fault | str) -> str:
    """Return the place that a fault names; many faults have it in their text only."""
    return (fault.where if isinstance(fault, Fault) else "") or str(fault).partition(": ")[0]


def raise_all(faults: Sequence[Fault | str], conflicts: Sequence[Fault | str], some_left: bool) -> None:
    """Raise one DataError with everything that is wrong and, below it, a table of the faulty items.

    Args:
        faults: of single items.
        conflicts: what is wrong with the source as a whole.
        some_left: whether `--skip_faulty` would leave something to work with.
    """
    kinds = ItemCounts()
    skip(faults, "", kinds)
    lines = [f"{len(faults)} faults:", *kinds.table(without_outcome=True)] if len(faults) > 1 else []
    lines += [f"Fix: {SKIP_FAULTY}"] if faults and some_left and not conflicts else []
    raise DataError([*conflicts, *faults], "\n".join(lines))
