"""Counts what preparing a data set kept, converted, merged, ignored and left out, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

OUTCOMES = {
    "kept": "used as it is",
    "converted": "used, but not in the form in which the source has it",
    "merged": "used as a part of another item",
    "ignored": "drawn as pixels that neither losses nor scores count",
    "left out": "not used, as the rules or the flags say",
    "skipped": "not used, because it is faulty (--skip_faulty)",
}
EXAMPLES = 3  # first names that are kept for each reason
HEADS = ("outcome", "items", "count", "reason", "first")


class ItemCount(NamedTuple):
    """A row of the summary.

    Args:
        outcome: key of OUTCOMES.
        items: what is counted, in the plural: `images`, `annotations`, `categories`, `labels`, `files`.
        reason: why; empty only for what is kept as it is. The flag that changes it is named here.
        count: how many.
        first: names or places of the first ones, at most EXAMPLES.
    """

    outcome: str
    items: str
    reason: str
    count: int
    first: tuple[str, ...]


class ItemCounts:
    """The items of a source by outcome and reason; every importer adds to one such object."""

    def __init__(self):
        self._rows: dict[tuple[str, str, str], tuple[int, tuple[str, ...]]] = {}

    def add(self, outcome: str, items: str, reason: str = "", name: object = "", count: int = 1) -> None:
        """Count an item, or `count` of them.

        Args:
            outcome: key of OUTCOMES.
            items: as in ItemCount.
            reason: as in ItemCount.
            name: name or place of the item; the first ones that differ are shown.
            count: how many; 0 adds nothing.

        Raises:
            ValueError: an unknown outcome, or no reason for an item that is not kept as it is.
        """
        if outcome not in OUTCOMES or not (reason or outcome == "kept"):
            raise ValueError(f"outcome '{outcome}' with reason '{reason}', expected one of {list(OUTCOMES)}")
        if count:
            before, first = self._rows.get((outcome, items, reason), (0, ()))
            new = str(name) and str(name) not in first and len(first) < EXAMPLES
            named = (*first, str(name)) if new else first
            self._rows[outcome, items, reason] = before + count, named

    def add_all(self, outcome: str, items: str, reason: str, names: Iterable[object]) -> None:
        """Count one item for each name."""
        for name in names:
            self.add(outcome, items, reason, name)

    def merge(self, other: ItemCounts) -> None:
        """Add the counts of another source."""
        for outcome, items, reason, count, first in other.rows():
            for name in first:
                self.add(outcome, items, reason, name)
            self.add(outcome, items, reason, count=count - len(first))

    def count(self, outcome: str, items: str) -> int:
        """Return the number of items with an outcome, for all reasons."""
        return sum(row.count for row in self.rows() if (row.outcome, row.items) == (outcome, items))

    def rows(self) -> list[ItemCount]:
        """Return the rows in the order of OUTCOMES, and those of the same items together."""
        found = [ItemCount(*key, *value) for key, value in self._rows.items()]
        outcomes, items = list(OUTCOMES), list(dict.fromkeys(row.items for row in found))
        return sorted(found, key=lambda row: (outcomes.index(row.outcome), items.index(row.items)))

    def table(self, without_outcome: bool = False) -> list[str]:
        """Return the lines of the summary table; none if nothing was counted.

        Args:
            without_outcome: leave out the first column.
        """
        cells = [(row.outcome, row.items, str(row.count), row.reason, shown(row)) for row in self.rows()]
        columns = list(zip(HEADS, *cells, strict=True))[without_outcome:] if cells else []
        padded = [_aligned(column) for column in columns]
        return ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows as plain data, as dataset.json holds them under `items`."""
        return [{**row._asdict(), "first": list(row.first)} for row in self.rows()]

    @classmethod
    def from_json(cls, rows: Any) -> ItemCounts:
        """Read what `to_json` returned; rows that it cannot have written are skipped."""
        found = cls()
        for row in rows if isinstance(rows, list) else ():
            if _is_row(row):
                first = [str(name) for name in row["first"][:EXAMPLES]]
                key = row["outcome"], row["items"], row["reason"]
                found._rows[key] = row["count"], tuple(first)
        return found


def _is_row(row: Any) -> bool:
    """Whether an object has the form of an ItemCount."""
    types = {"outcome": str, "items": str, "reason": str, "count": int, "first": list}
    return (
        isinstance(row, Mapping)
        and all(isinstance(row.get(name), kind) for name, kind in types.items())
        and row["outcome"] in OUTCOMES
    )


def _aligned(column: Sequence[str]) -> list[str]:
    """Pad the cells of a column to one width; numbers are aligned to the right."""
    width = max(map(len, column))
    return [cell.rjust(width) if column[0] == "count" else cell.ljust(width) for cell in column]


def shown(row: ItemCount) -> str:
    """Return the first names of a row, with `…` if there are more."""
    names = [name if len(name) <= 60 else f"…{name[-59:]}" for name in row.first]
    return "; ".join([*names, "…"] if names and row.count > len(names) else names)
