"""`u2net predict --report --min_presence` as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import pixels, tree

from paddleseg_u2net.inference.predictor import Predictor
from tools import predict_ray


@pytest.fixture
def words(trained, photos_dir) -> list:
    """Flags that predict three images."""
    return ["predict", photos_dir, "--model_path", trained, "--save_dir", "out", "--outputs", "saliency"]


def report() -> dict:
    return json.loads(Path("out/report.json").read_text())


def names() -> list[str]:
    return [Path(record["image"]).name for record in report()["images"]]


def test_report_has_a_record_of_each_image(run, words):
    assert run(*words, "--report", "out/report.json")[0] == 0
    content = report()
    assert (content["complete"], content["min_presence"], len(content["images"])) == (True, 0, 3)
    for record in content["images"]:
        saved = pixels(record["results"]["saliency"])
        assert record["foreground"] == pytest.approx((saved >= 128).mean(), abs=1e-6)
        assert 0 <= record["presence"] <= 1
        assert record["seconds"] > 0


def test_min_presence_of_one_empties_all(run, words):
    assert run(*words)[0] == 0
    assert all(pixels(path).max() > 0 for path in Path("out/saliency").rglob("*.png"))
    code, text, _ = run(*words, "--min_presence", 1)
    assert (code, "The results of 3 of 3 images are empty: presence is below --min_presence 1" in text) == (
        0,
        True,
    )
    assert not any(pixels(path).max() for path in Path("out/saliency").rglob("*.png"))


def test_fault_is_in_the_report_and_the_exit_code(run, words, photos_dir):
    (photos_dir / "a.jpg").write_bytes(b"text")
    code, _, error = run(*words, "--report", "out/report.json")
    broken = report()["images"][0]
    assert (code, f"error: {broken['faults'][0]}\n") == (1, error)
    assert (broken["presence"], broken["results"]) == (None, {})


def test_interrupted_run_leaves_a_report_that_resume_completes(run, words, monkeypatch):
    predict, calls = Predictor.predict, []

    def interrupted(self, images):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, images)

    words += ["--report", "out/report.json"]
    monkeypatch.setattr(Predictor, "predict", interrupted)
    assert run(*words)[0] == 130
    done = [record for record in report()["images"] if record["results"]]
    assert not report()["complete"]
    assert {record["results"]["saliency"] for record in done} == {
        f"out/saliency/{name}" for name in tree("out/saliency")
    }
    assert run(*words, "--resume")[0] == 0
    assert report()["complete"]
    assert names() == ["a.jpg", "a.png", "ü b.png"]
    assert run(*words, "--resume")[0] == 0  # nothing is left to do
    assert names() == ["a.jpg", "a.png", "ü b.png"]


def test_other_file_is_refused_before_anything_is_predicted(run, words):
    Path("notes.json").write_text("{}")
    code, _, error = run(*words, "--report", "notes.json")
    assert code == 1
    assert "--report notes.json: exists and is no report of u2net predict, so it is not replaced" in error
    assert tree("out") == []
    assert Path("notes.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min_presence", "2"], "--min_presence: expected a number from 0 to 1, got '2'"),
        (["--min_presence", "nan"], "expected a number from 0 to 1, got 'nan'"),
        (["--min_presence", ".5", "--minmax"], "needs maps as predicted. Fix: leave out --minmax"),
        (["--report", ""], "--report: expected a path, got an empty text"),
    ],
)
def test_wrong_values_are_rejected(run, flags, message):
    code, _, error = run("predict", "a.png", *flags)
    assert (code, message in error) == (2, True)


@pytest.mark.parametrize("flags", [["--report", "a.json"], ["--min_presence", "0.5"]])
def test_ray_refuses_what_its_workers_would_not_report(capsys, flags):
    assert predict_ray.main(["a.png", *flags]) == 1
    assert "--report, --min_presence: not with Ray. Fix: u2net predict" in capsys.readouterr().err
