"""The presence of an object in a saliency map, and results that are emptied without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import pixels, tree

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.inference.batch import BatchPredictor, plan_jobs
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.image_paths import find_images
from paddleseg_u2net.inference.outputs import OutputSettings
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.presence import GRID, certainty, presence, reduced, without_object
from paddleseg_u2net.inference.report import written_report
from paddleseg_u2net.io.images import read_image, read_photograph, write_image
from paddleseg_u2net.metrics.protocol import MapProtocol

RECOMMENDED = 0.5


def disc(height: int, width: int, inside: float = 0.98) -> np.ndarray:
    """A map of an ellipse in the middle."""
    y, x = np.mgrid[:height, :width]
    within = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5) < 0.25
    return np.where(within, inside, 0.005).astype(np.float32)


@pytest.mark.parametrize("value", [0, 0.01, 0.05])
def test_faint_maps_show_no_object(value):
    assert presence(np.full((30, 40), value, np.float32)) < 0.1


def test_a_clear_object_is_present():
    assert presence(disc(300, 400)) > 0.85
    assert presence(disc(300, 400)) > presence(disc(300, 400, inside=0.3)) + 0.3


@pytest.mark.parametrize("size", [(64, 64), (300, 401), (1501, 999), (3000, 4000)])
def test_presence_does_not_depend_on_the_size_of_the_image(size):
    assert presence(disc(*size)) == pytest.approx(presence(disc(640, 640)), abs=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2), (64, 64), (65, 63)])
@pytest.mark.parametrize("value", [0, 1e-30, 0.5, 1])
def test_any_map_has_a_probability(shape, value):
    found = presence(np.full(shape, value, np.float32))
    assert type(found) is float
    assert 0 <= found <= 1


def test_views_that_are_not_contiguous_are_accepted():
    wide = disc(300, 400)
    assert presence(wide[:, ::-1]) == pytest.approx(presence(wide), abs=1e-4)
    assert presence(1 - (1 - wide)) == pytest.approx(presence(wide), abs=1e-4)


def test_reduced_map_holds_the_mean_of_each_cell():
    saliency = np.random.default_rng(0).random((GRID * 3, GRID * 5), dtype=np.float32)
    expected = saliency.reshape(GRID, 3, GRID, 5).mean(axis=(1, 3), dtype=np.float64)
    assert np.abs(reduced(saliency) - expected).max() < 1e-6


def test_certainty_of_drawn_maps():
    cells = np.zeros((GRID, GRID), np.float32)
    assert certainty(cells) == 0
    cells[0, :4], cells[30, 30:32] = 0.25, 1
    assert certainty(cells) == pytest.approx((4 * 0.25**2 + 2) / 3)
    assert certainty(np.full((GRID, GRID), 0.3, np.float32)) == pytest.approx(0.3)
    assert certainty((cells > 0).astype(np.float32)) == 1


@pytest.mark.parametrize(
    ("channels", "multilabel", "classes"), [(1, False, [0]), (3, False, [0]), (3, True, [0])]
)
def test_prediction_without_object_has_background_alone(channels, multilabel, classes):
    maps = np.random.default_rng(0).random((channels, 4, 5), dtype=np.float32)
    empty = Prediction(without_object(maps, multilabel), multilabel)
    assert empty.probabilities.shape == maps.shape
    assert np.unique(empty.classes).tolist() == classes
    assert empty.saliency.max() == 0


class Scenes(SourcePredictor):
    """A stand-in for `Predictor`: an image whose first pixel is bright has an object."""

    channels = 3  # pyright: ignore[reportAssignmentType]

    def open(self, path, max_pixels=MAX_PIXELS, data=None):
        return read_photograph(path, max_pixels)

    def __init__(self, map_protocol: MapProtocol = MapProtocol.PLAIN):
        self.map_protocol = map_protocol

    def predict(self, images):
        inside = [1.0 if image[0, 0, 0] > 99 else 0.6 for image in images]
        sizes = [image.shape for image in images]
        return [
            Prediction(disc(height, width, value)[None])
            for (height, width, _), value in zip(sizes, inside, strict=True)
        ]


def run(min_presence: float = 0.0, report: bool = True, **options) -> list[dict]:
    """Predict a scene with an object, one without and a broken file; returns the records."""
    write_image(Path("in/full.png"), np.full((50, 60, 3), 200, np.uint8))
    write_image(Path("in/none.png"), np.zeros((50, 60, 3), np.uint8))
    Path("in/broken.png").write_text("no image")
    batch = BatchPredictor(Scenes(**options), OutputSettings(), min_presence=min_presence, parallel=2)
    out = Path("out")
    jobs = plan_jobs(find_images([Path("in")], out), out, ["saliency", "cutout", "pseudo_color"])
    if not report:
        list(batch.run_jobs(jobs))
        return []
    with written_report(Path("report.json"), {}, Rank()) as batch.report:
        list(batch.run_jobs(jobs))
    return json.loads(Path("report.json").read_text())["images"]


def between() -> float:
    """A probability between those of the two scenes."""
    scores = [presence(disc(50, 60, inside)) for inside in (0.6, 1.0)]
    assert scores[0] < scores[1]
    return sum(scores) / 2


def test_results_below_min_presence_are_empty_and_counted(caplog, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.inference.batch.log.parent.propagate", True)
    with caplog.at_level("INFO"):
        broken, full, none = run(min_presence=between())
    assert "The results of 1 of 3 images are empty: presence is below --min_presence" in caplog.text
    assert (full["emptied"], none["emptied"], broken["emptied"]) == (False, True, False)
    assert none["presence"] < between() < full["presence"]
    assert (none["foreground"], none["classes"]) == (0, [0])
    assert full["foreground"] == pytest.approx(np.pi / 16, abs=0.01)
    assert pixels("out/saliency/none.png").max() == 0
    assert pixels("out/cutout/none.png")[..., 3].max() == 0
    assert pixels("out/pseudo_color_prediction/none.png").max() == 0
    assert pixels("out/saliency/full.png").max() == 255


def test_nothing_is_emptied_by_default():
    run(report=False)
    assert pixels("out/saliency/none.png").max() > 127


def test_report_names_results_and_faults():
    broken, full, none = run()
    assert broken["faults"][0].startswith("in/broken.png: holds a text")
    assert (broken["results"], broken["presence"], broken["foreground"]) == ({}, None, None)
    assert sorted(full["results"]) == ["cutout", "pseudo_color", "saliency"]
    assert {*full["results"].values(), *none["results"].values()} == {f"out/{name}" for name in tree("out")}
    assert full["faults"] == none["faults"] == []


def test_stretched_maps_have_no_presence():
    _, full, none = run(map_protocol=MapProtocol.MINMAX)
    assert full["presence"] is none["presence"] is None
    assert full["foreground"] > 0


def test_published_weights_tell_photographs_from_empty_scenes(known_weights, small_drawing, shared):
    from paddleseg_u2net.inference.predictor import Predictor

    predictor = Predictor("u2netp")
    photograph = read_image(shared / "data/sod300/images/100075.jpg")
    sky = np.repeat(np.linspace(90, 200, 300).astype(np.uint8), 400 * 3).reshape(300, 400, 3)
    found, empty = (presence(one.saliency) for one in predictor.predict([photograph, sky]))
    assert found > RECOMMENDED > empty
