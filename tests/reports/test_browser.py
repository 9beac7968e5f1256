"""The pages in Chromium: nothing in its console, nothing loaded, nothing wider than a phone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")


def test_pages_fit_a_phone_in_both_colour_schemes(run, trained, measured, data, tmp_path):
    names = ["road marking, dashed", *(f"class{i}" * 3 for i in range(20))]
    lines = [["true", *names], *([name, *map(str, range(len(names)))] for name in names)]
    table = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    (measured / "confusion.csv").write_text(table + "\n")
    assert run("report", trained, measured, "--output", "report.html")[0] == 0
    run("check-dataset", "--dataset_root", data, "--save_dir", "check")
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        for path in (tmp_path / "report.html", tmp_path / "check" / "report.html"):
            brightness = {}
            for scheme in ("light", "dark"):
                page.open(path, 360, scheme)
                assert page.value("document.documentElement.scrollWidth") == 360
                picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
                brightness[scheme] = np.median(picture)
            assert brightness["light"] > 240
            assert brightness["dark"] < 40
            assert (
                page.value("getComputedStyle(document.body).fontSize") == "15px"
            )  # the policy lets the style in
        assert page.problems == []
        assert {url.split(":")[0] for url in page.requests} == {"file", "data"}
        assert {url for url in page.requests if url.startswith("file:")} == {
            (tmp_path / name / "report.html").as_uri() for name in ("", "check")
        }
