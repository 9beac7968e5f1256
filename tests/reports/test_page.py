"""`u2net report`: what the page shows, leaves out and refuses."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from map_folders import write_folders
from support import ROOT

from paddleseg_u2net.bounds import RECORD_BYTES
from paddleseg_u2net.reports import page, results, runs, sources

EVIL = "<script>alert('x')</script>"


def text_of(path: Path | str) -> str:
    return Path(path).read_text(encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_page_of_a_run_and_its_results(run, trained, measured):
    code, log, _ = run("report", trained, measured, "--output", "out/page.html")
    assert code == 0
    assert "Wrote out/page.html" in log
    text = text_of("out/page.html")
    record = json.loads((trained / "run.json").read_text())
    assert record["command"] in unescape(text)
    for found in record["data"].values():
        assert found["sha256"] in text
    scores = json.loads((measured / "metrics.json").read_text())
    for name in ("mIoU", "MAE", "maxF"):
        assert f"<b>{scores['scores'][name]:.4f}</b><span>{name} " in text
    assert text.count("data:image/jpeg;base64,") == 1 + 2 * 4  # the preview, and two images once each
    assert len(re.findall(r"<p><b>p\d\.", text)) == 2
    assert "pairs in val_dataset" in text
    assert "precision and recall (over the data set)" in text
    assert "Predictions of validation images, iter_2" in text
    assert "Not on this page" not in text
    assert text_of(trained / "config.yaml").strip() in unescape(text)


def test_pictures_show_what_was_measured(run, measured, monkeypatch):
    """The mean absolute difference of map and mask is the MAE in per_image.csv."""
    drawn = []
    monkeypatch.setattr(results, "draw", lambda item, palette: drawn.append(item) or [])
    assert run("report", measured)[0] == 0
    wrong = [np.abs(item.found - item.mask).mean() for item in drawn]
    ranked = [float(row["MAE"]) for row in rows_of(measured / "per_image.csv")]
    np.testing.assert_allclose(wrong, ranked, atol=1e-6)
    assert ranked == sorted(ranked, reverse=True)


def test_page_needs_no_other_file_and_runs_no_script(run, trained, measured):
    assert run("report", trained, measured)[0] == 0
    text = text_of(trained / "report.html")
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|https?:|<script|style=|\son\w+=", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_everything_from_files_is_escaped(run, trained, measured):
    for path in (trained / "run.json", measured / "metrics.json"):
        content = json.loads(path.read_text())
        content |= {
            "command": EVIL,
            "started": EVIL,
            "versions": {EVIL: EVIL},
            "git": {EVIL: [EVIL, {EVIL: EVIL}]},
        }
        content |= {"data": {EVIL: {"pairs": EVIL, "sha256": EVIL, "covers": EVIL}}, "rules": {EVIL: EVIL}}
        content["images"] = EVIL
        if "scores" in content:
            content["scores"]["class_IoU"] = {EVIL: 0.5}
            content["scores"][EVIL] = 0.5
        path.write_text(json.dumps(content))
    history = trained / "history.csv"
    history.write_text(history.read_text().replace("mIoU", EVIL))
    (trained / "config.yaml").write_text(EVIL)
    table = measured / "per_image.csv"
    table.write_text(table.read_text().replace("mIoU", EVIL).replace(".png", EVIL).replace(".jpg", EVIL))
    (measured / "confusion.csv").write_text(f"x,{EVIL},b\n{EVIL},1,0\nb,0,1\n")
    assert run("report", trained, measured, "--output", f"{EVIL.replace('/', '_')}.html")[0] == 0
    text = text_of(f"{EVIL.replace('/', '_')}.html")
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&#39;x&#39;)") > 20


@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {}, {"a": None}, {"pairs": []}])
def test_records_of_any_shape_give_a_page(run, trained, measured, value):
    keys = {"run.json": "command started versions git data", "settings.json": "metric iters"}
    keys["metrics.json"] = (
        "scores images model refine augmentation config versions data rules map_protocol files"
    )
    for name, names in keys.items():
        path = (measured if name == "metrics.json" else trained) / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **dict.fromkeys(names.split(), value)}))
    code, log, error = run("report", trained, measured, "--output", "p.html")
    assert (code, error) == (0, "")
    assert "scores: pictures (" in log


def test_missing_and_damaged_files_are_left_out_and_named(run, trained, measured):
    for name in ("run.json", "history.csv"):
        (trained / name).write_bytes(b"\xff{")
    (trained / "settings.json").unlink()
    (measured / "confusion.csv").write_text("true,a,b\na,1,2\n")
    (measured / "curves.csv").unlink()
    with (measured / "per_image.csv").open("a") as file:
        file.write(",".join("9" * 60) + "\n")
    code, log, _ = run("report", trained, measured, "--output", "p.html")
    assert code == 0
    for line in (
        "settings.json (there is no such file)",
        "validation scores (the run was not evaluated: --do_eval)",
        "confusion.csv (is damaged: expected as many rows as classes)",
        "curves.csv (there is no such file)",
        "per_image.csv (is damaged: a line has more values than the header)",
        "pictures (there are no scores of images)",
    ):
        assert line in log
        assert line in unescape(text_of("p.html"))
    assert re.search(r"run\.json \(.*utf", log)


def test_records_beyond_the_bounds_are_left_out(run, trained, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.io.text_files.RECORD_BYTES", RECORD_BYTES._replace(most=10))
    code, log, _ = run("report", trained)
    assert code == 0
    assert "run.json (holds" in log


def test_pictures_of_another_model_are_not_drawn(run, trained, measured, monkeypatch):
    for name in ("draw_examples", "draw_confusion"):  # slow, and not of the report
        monkeypatch.setattr(f"paddleseg_u2net.evaluation.details.{name}", lambda *_: None)
    content = json.loads((measured / "metrics.json").read_text())
    content["model"]["sha256"] = "0" * 64
    (measured / "metrics.json").write_text(json.dumps(content))
    code, log, _ = run("report", measured)
    assert code == 0
    assert "has changed since it was measured. Fix: measure it again" in log
    assert run("val", "--model_path", trained, "--save_dir", "scores")[0] == 0
    assert "Left out" not in run("report", measured)[1]


def test_without_the_data_the_pictures_of_val_are_shown(run, measured):
    (measured / "worst.jpg").write_bytes((ROOT / "docs" / "contact_sheet.jpg").read_bytes())
    content = json.loads((measured / "metrics.json").read_text())
    content["config"]["val_dataset"]["dataset_root"] = "nowhere"
    (measured / "metrics.json").write_text(json.dumps(content))
    code, log, _ = run("report", measured)
    assert code == 0
    assert "nowhere" in log
    assert "<h3>worst.jpg</h3>" in text_of(measured / "report.html")


def test_results_of_maps_are_compared_and_drawn(run, tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.evaluation.tables.draw_curves", lambda *_: None)
    for method in ("ours", "theirs"):
        write_folders(tmp_path / method, tmp_path / "masks")
    words = ["--pred_dir", "ours", "theirs", "--label_dir", "masks", "--save_dir", "scores", "--workers", 1]
    assert run("evaluate", *words, "--measures", "mae", "max_f")[0] == 0
    assert run("report", "scores", "--images", 2, "--image_dir", "masks")[0] == 0
    text = text_of("scores/report.html")
    assert text.count("data:image/jpeg;base64,") == 2 * 4 * 4
    assert text.count('<path class="curve k1"') == 2  # the second method, and in the legend
    content = json.loads((tmp_path / "scores" / "masks" / "ours" / "metrics.json").read_text())
    assert text.count(f"<b>{content['mae']:.4f}</b></td>") == 2  # equal methods are both the best
    assert content["files"] == {"method": "ours", "maps": "ours", "masks": "masks"}
    rows = sources.find_sources(tmp_path / "scores" / "masks" / "ours")[0].images
    assert [float(row["mae"]) for row in rows] == sorted((float(row["mae"]) for row in rows), reverse=True)


def test_presence_of_real_predictions_is_shown(run, trained, measured, data):
    words = [
        "--model_path",
        trained,
        "--outputs",
        "saliency",
        "--save_dir",
        "out",
        "--report",
        "predict.json",
    ]
    assert run("predict", data / "val_list.txt", *words, "--min_presence", 0.5)[0] == 0
    assert run("report", measured, "predict.json", "--output", "p.html")[0] == 0
    text, found = text_of("p.html"), json.loads(text_of("predict.json"))
    assert len(found["images"]) == len(rows_of(measured / "per_image.csv"))
    for row in found["images"]:
        assert text.count(f"presence {row['presence']:.4f}") == 1
        assert text.count(f'<td class="n">{row["presence"]:.4f}</td>') == 2  # among scores, and predictions
    emptied = sum(row["presence"] < 0.5 for row in found["images"])
    assert f"<b>{emptied}</b><span>emptied: presence below 0.5</span>" in text
    assert f"<p>Model: <code>{trained}</code></p>" in text


def test_best_of_each_score_is_the_smallest_error_or_the_largest_share():
    found = [
        sources.Result(Path("r"), {"mae": mae, "max_f": max_f}) for mae, max_f in ((0.1, 0.7), (0.2, 0.9))
    ]
    assert page._best(found, ["mae", "max_f"]) == {"mae": 0.1, "max_f": 0.9}
    assert page._best(found[:1], ["mae", "max_f"]) == {}


@pytest.mark.parametrize(("metric", "tile"), [("MAE", "at step 20"), ("mIoU", "at step 10")])
def test_best_step_of_an_error_is_that_of_the_smallest(metric, tile):
    rows = [
        {"iter": str(step), "source": "model", metric: value} for step, value in ((10, "0.2"), (20, "0.1"))
    ]
    section = runs.run_section(sources.Run(Path("r"), settings={"metric": metric}, history=rows))
    assert any(tile in text for _, text in section["tiles"])


def test_shade_of_a_wrong_cell_grows_with_the_square_root_of_its_share():
    matrix = np.array([[96, 4, 0], [0, 49, 51], [0, 0, 0]])
    result = sources.Result(Path("r"), {}, class_names=["a", "b", "c"], confusion=matrix)
    rows = [[kind for _, kind in cells] for _, cells in results._confusion(result)]
    assert rows[0] == ["right h10", "wrong h2", "wrong h0"]
    assert rows[1] == ["wrong h0", "right h5", "wrong h7"]
    assert rows[2] == ["wrong h0", "wrong h0", "right h0"]  # a class without a pixel


@pytest.mark.parametrize(("measured", "predicted"), [("d/a.png", "{}/d/a.png"), ("{}/d/a.png", "d/a.png")])
def test_presence_is_that_of_the_same_file(measured, predicted):
    """A list gives absolute paths, and a config often relative ones."""
    here = str(Path.cwd())
    result = sources.Result(Path("r"), {}, [{"image": measured.format(here)}, {"image": "b.png"}])
    found = sources.Predictions(Path("p.json"), [{"image": predicted.format(here), "presence": 0.25}])
    page._add_presence(result, [found])
    assert [row["presence"] for row in result.images] == ["0.25", ""]


def test_presence_of_predictions_is_shown(run, measured):
    image = rows_of(measured / "per_image.csv")[0]["image"]
    rows = [{"image": image, "presence": 0.25}, {"image": "b.jpg", "presence": None, "faults": ["gone"]}, 3]
    content = {"format": "u2net predict report", "complete": False, "images": rows}
    Path("predict.json").write_text(json.dumps(content))
    code, log, _ = run("report", measured, "predict.json", "--output", "p.html")
    assert code == 0
    assert "presence 0.2500" in text_of("p.html")
    assert "predict.json: presence of 2 images (not recorded)" in log
    assert "predict.json: the other images (the run was interrupted)" in log


def test_only_a_report_is_replaced(run, trained):
    target = trained / "report.html"
    target.write_text("<p>mine</p>")
    code, _, error = run("report", trained)
    assert (code, target.read_text()) == (1, "<p>mine</p>")
    assert "report.html: exists already and is not a report. Fix: another --output, or remove it" in error
    assert run("report", trained, "--output", "other.html")[0] == 0
    assert "in place of an earlier report" in run("report", trained, "--output", "other.html")[1]
    assert "is a folder. Fix: the name of a file, as" in run("report", trained, "--output", trained)[2]


def test_folders_of_something_else_are_refused_and_the_fix_works(run, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, error = run("report", "empty")
    assert code == 1
    assert "empty: holds neither run.json nor metrics.json. Fix: the folder of u2net train" in error
    assert run("report", trained / "run.json")[0] == 0
    assert "nothing: no such folder" in run("report", "nothing")[2]
    Path("a.json").write_text("{")
    assert "a.json: is damaged" in run("report", "a.json")[2]
    assert "--image_dir no: no such folder" in run("report", trained, "--image_dir", "no")[2]
