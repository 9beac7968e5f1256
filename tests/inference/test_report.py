"""The report of a prediction: what it holds, when it is written, what it never replaces."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.report import Record, written_report

PATH = Path("out/report.json")


def images(path: Path = PATH) -> list[dict]:
    return json.loads(path.read_text())["images"]


def write(*names: str, resume: bool = False) -> None:
    with written_report(PATH, {"model": "u2netp"}, resume=resume) as report:
        for name in names:
            report.add(Record(name, presence=0.25))


def test_report_holds_settings_and_one_record_per_image_sorted():
    write("b.png", "a.png")
    content = json.loads(PATH.read_text())
    assert [content[key] for key in ("format", "version", "complete", "model")] == [
        "u2net predict report",
        1,
        True,
        "u2netp",
    ]
    assert [record["image"] for record in content["images"]] == ["a.png", "b.png"]
    assert set(content["images"][0]) == {
        *("image", "presence", "emptied", "threshold", "foreground", "classes", "results", "faults"),
        "seconds",
    }


def test_empty_run_gives_an_empty_report():
    write()
    assert images() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_report_of_an_interrupted_run_is_valid_and_says_so(error):
    def stop() -> None:
        with written_report(PATH, {}) as report:
            report.add(Record("a.png"))
            raise error

    with pytest.raises(error):
        stop()
    assert json.loads(PATH.read_text())["complete"] is False
    assert [record["image"] for record in images()] == ["a.png"]


def test_earlier_records_stay_on_resume_only():
    write("a.png", "b.png")
    write("b.png", "c.png", resume=True)
    assert [record["image"] for record in images()] == ["a.png", "b.png", "c.png"]
    write("c.png")
    assert [record["image"] for record in images()] == ["c.png"]


def test_each_rank_writes_its_own_file():
    for index in range(2):
        with written_report(PATH, {}, Rank(index, 2)) as report:
            report.add(Record(f"{index}.png"))
    assert sorted(os.listdir("out")) == ["report.rank0.json", "report.rank1.json"]
    assert images(Path("out/report.rank1.json"))[0]["image"] == "1.png"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"images": []}',
        b'{"format": "COCO", "images": []}',
        b'{"format": "u2net predict report", "images": [1]}',
        b'{"format": "u2net predict report", "images": [{"image": 1}]}',
        b'{"format": "u2net predict report", "images": [{"image": "a", "presence": NaN}]}',
        b"\x89PNG\r\n\x1a\n\xff",
        b"[" * 100_000,
    ],
)
def test_other_files_are_not_replaced(content):
    PATH.parent.mkdir()
    PATH.write_bytes(content)
    with pytest.raises(
        ValueError, match="is no report of u2net predict.* Fix: choose another name for --report"
    ):
        write("a.png")
    assert PATH.read_bytes() == content


def test_folders_and_pipes_are_refused():
    PATH.mkdir(parents=True)
    with pytest.raises(ValueError, match="is no report"):
        write()
    PATH.rmdir()
    os.mkfifo(PATH)
    with pytest.raises(ValueError, match="is no report"):
        write()


def test_other_suffix_is_refused_and_the_fix_works():
    with pytest.raises(ValueError, match=r"--report a.png: expected a name that ends with .json"):
        written_report(Path("a.png"), {}).__enter__()
    with written_report(Path("a.png.json"), {}):
        pass
    assert os.listdir() == ["a.png.json"]


def test_names_that_are_no_text_are_kept():
    name = os.fsdecode(b"\xff\n.png")
    write(name)
    assert images()[0]["image"] == name


def maps(*values: list[float]) -> np.ndarray:
    """(C, 1, W) from the values of each channel."""
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize(
    ("prediction", "threshold", "foreground", "classes"),
    [
        (Prediction(maps([0, 0.4, 0.5, 1])), 0.5, 0.5, [0, 1]),
        (Prediction(maps([0, 0])), 0.5, 0, [0]),
        (Prediction(maps([1, 1])), 0.5, 1, [1]),
        (Prediction(maps([0.2, 0.7], [0.3, 0.2], [0.5, 0.1])), None, 0.5, [0, 2]),
        (Prediction(maps([0.9, 0.1], [0.6, 0.2]), multilabel=True), 0.5, 0.5, [0, 1, 2]),
        (Prediction(maps([0.1], [0.6]), multilabel=True), 0.5, 1, [2]),
    ],
)
def test_record_describes_what_results_show(prediction, threshold, foreground, classes):
    record = Record("a.png")
    record.describe(prediction)
    assert (record.threshold, record.foreground, record.classes) == (threshold, foreground, classes)


def test_faults_and_seconds_are_noted():
    record = Record("a.png")
    record.finish([Fault("list.txt:3", "a.png: gone", "bring it back")])
    assert record.faults == ["list.txt:3: a.png: gone. Fix: bring it back"]
    assert 0 <= record.seconds < 10
