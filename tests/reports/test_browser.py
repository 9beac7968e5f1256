"""The pages in Chromium: nothing in its console, nothing loaded, nothing wider than a phone."""

from __future__ import annotations

import cv2
import numpy as np
from browser import Record, browser, needs_browser

pytestmark = needs_browser


def test_pages_fit_a_phone_in_both_colour_schemes(run, trained, measured, data, tmp_path):
    names = ["road marking, dashed", *(f"class{i}" * 3 for i in range(20))]
    lines = [["true", *names], *([name, *map(str, range(len(names)))] for name in names)]
    table = "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines)
    (measured / "confusion.csv").write_text(table + "\n")
    assert run("report", trained, measured, "--output", "report.html")[0] == 0
    run("check-dataset", "--dataset_root", data, "--save_dir", "check")
    record, pages = Record(), (tmp_path / "report.html", tmp_path / "check" / "report.html")
    with browser() as chromium:
        for path in pages:
            brightness = {}
            for scheme in ("light", "dark"):
                context = chromium.new_context(color_scheme=scheme, viewport={"width": 360, "height": 800})
                record.watch(context)
                page = context.new_page()
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") == 360
                picture = np.frombuffer(page.screenshot(), np.uint8)
                brightness[scheme] = np.median(cv2.imdecode(picture, cv2.IMREAD_GRAYSCALE))
                # the policy lets the style in
                assert page.evaluate("getComputedStyle(document.body).fontSize") == "15px"
                context.close()
            assert brightness["light"] > 240
            assert brightness["dark"] < 40
    assert record.problems == []
    assert {url.split(":")[0] for url in record.requests} <= {"file", "data"}
    assert {url for url in record.requests if url.startswith("file:")} == {path.as_uri() for path in pages}
