"""report.json and report.html."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
from drawn_sets import append, image_of, load_sets, mask_of
from support import tree, write_mask

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check import report
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.survey import examine


def test_report_is_plain_json_with_all_examples(data):
    image_of(data, "p0").unlink()
    survey = examine(load_sets(data))
    plain = json.loads(json.dumps(report.as_data(survey, run_checks(survey))))
    (row,) = [row for row in plain["findings"] if row["severity"] == "error"]
    assert (row["check"], row["count"], len(row["examples"])) == ("broken files", 1, 1)
    assert plain["sets"]["val"]["foreground share"]["max"] == round(largest_share(data), 4)
    assert plain["sets"]["train"]["mask files"] == {"8-bit": 4}


def largest_share(root: Path) -> float:
    masks = [cv2.imread(str(mask_of(root, name)), cv2.IMREAD_GRAYSCALE) for name in ("p4", "p5")]
    return max((mask > 0).mean() for mask in masks)


def test_page_is_self_contained_and_escapes_names(data, tmp_path):
    name = "<script>alert('x')</script>&.png".replace("/", "_")
    image_of(data, "p0").rename(data / "images" / name)
    append(data, f"images/{name}\tmasks/p1.png\n")
    survey = examine(load_sets(data))
    report.write_reports(tmp_path / "out", survey, run_checks(survey), "<b>title")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)" in text
    assert "<b>title" not in text
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|https?:", text)
    assert text.count("data:image/jpeg;base64,") >= 6
    assert tree(tmp_path / "out") == ["report.html", "report.json"]


def test_every_example_is_drawn_listed_or_counted(data, monkeypatch):
    monkeypatch.setattr(report, "DRAWN", 1)
    monkeypatch.setattr(report, "LISTED", 2)
    for name in ("p0", "p1", "p2", "p4", "p5"):
        write_mask(mask_of(data, name), np.zeros((32, 32), np.uint8))
    survey = examine(load_sets(data))
    (finding,) = run_checks(survey)
    texts = [str(example.fault) for example in finding.examples]
    page = report.as_page(survey, [finding], "x")
    assert f"<figcaption>{texts[0]}</figcaption>" in page
    assert [f"<li>{text}</li>" in page for text in texts] == [False, True, True, False, False]
    assert "… and 2 more, all in report.json" in page
    (row,) = report.as_data(survey, [finding])["findings"]
    assert [example["text"] for example in row["examples"]] == texts
    assert row["examples"][0]["what"] == "nothing but background"


def test_page_of_sound_data_has_statistics_and_samples(data):
    survey = examine(load_sets(data))
    page = report.as_page(survey, [], "x")
    assert "Nothing was found." in page
    assert "<td>suggested target_size</td><td>[256, 256]</td>" in page
    assert page.count("<rect ") == 2 * report.BINS
    assert page.count("<figure>") == 6


def test_page_of_broken_pairs_only_is_written():
    survey = examine([DatasetSpec([Pair(Path("no.png"), Path("none.png"))], 1)])
    assert "no.png: no such image file" in report.as_page(survey, run_checks(survey), "x")
