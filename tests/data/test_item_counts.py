"""Counting what preparing a data set kept and left out."""

from __future__ import annotations

import json

import pytest

from paddleseg_u2net.data.item_counts import ItemCounts


def example() -> ItemCounts:
    counts = ItemCounts()
    counts.add_all("left out", "files", "not an image", ["a.txt", "b.txt", "c.txt", "d.txt"])
    counts.add("kept", "images", count=12)
    counts.add("left out", "annotations", "label not among --classes", "x.json: shapes[0]")
    counts.add("ignored", "annotations", "crowd regions", count=0)
    return counts


def test_table_has_a_row_per_reason_in_the_order_of_outcomes_and_names_the_first():
    assert example().table() == [
        "outcome   items        count  reason                     first",
        "kept      images          12",
        "left out  files            4  not an image               a.txt; b.txt; c.txt; …",
        "left out  annotations      1  label not among --classes  x.json: shapes[0]",
    ]
    assert ItemCounts().table() == []


def test_rows_of_the_same_items_follow_each_other():
    counts = ItemCounts()
    for reason in "ab":
        for items in ("images", "annotations"):
            counts.add("skipped", items, reason)
    assert [row.items for row in counts.rows()] == ["images", "images", "annotations", "annotations"]


def test_counts_of_two_sources_add_up():
    both = ItemCounts()
    for _ in range(2):
        both.merge(example())
    assert [row.count for row in both.rows()] == [24, 8, 2]
    assert both.count("left out", "files") == 8
    assert both.rows()[2].first == ("x.json: shapes[0]",)


def test_record_is_read_back_and_foreign_content_is_not():
    text = json.dumps(example().to_json())
    assert json.loads(text)[0] == {
        "outcome": "kept",
        "items": "images",
        "reason": "",
        "count": 12,
        "first": [],
    }
    assert ItemCounts.from_json(json.loads(text)).rows() == example().rows()
    for content in (None, 3, [3, {}], [{"outcome": "eaten", "items": "a", "reason": "b", "count": 1}]):
        assert ItemCounts.from_json(content).rows() == []


def test_item_without_reason_is_rejected():
    with pytest.raises(ValueError, match="outcome 'skipped' with reason ''"):
        ItemCounts().add("skipped", "images")
    with pytest.raises(ValueError, match="outcome 'eaten'"):
        ItemCounts().add("eaten", "images", "hunger")
