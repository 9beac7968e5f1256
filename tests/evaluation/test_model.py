"""A data set -> scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paddleseg_u2net.data.dataset import Dataset, open_datasets
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.evaluation.model import Protocol, Scores, better, evaluate
from paddleseg_u2net.inference.predictor import Prediction, Predictor
from paddleseg_u2net.metrics.table import MEASURES

EVERYTHING = Protocol(tuple(MEASURES), auc_roc=True)
CONFIG = {"model": {"num_classes": 1}, "val_dataset": {"transforms": []}}
RNG = np.random.default_rng(0)


def brightness(batch: np.ndarray) -> np.ndarray:
    return batch.max(axis=1, keepdims=True) / 255


@pytest.fixture
def inspected(data) -> Dataset:
    (dataset,) = open_datasets(
        [DatasetSpec(list_pairs("train", str(data), "train_list.txt")[0], 1, mode="val")]
    )
    return dataset


def test_scores_are_those_of_the_maps(inspected):
    scores = evaluate(Predictor(brightness, CONFIG), inspected, Protocol(as_is=True)).compute()
    maps, masks = [], []
    for index in range(len(inspected)):
        image, mask = inspected.load(index)
        maps.append(image.max(axis=2) / np.float32(255))
        masks.append(mask)
    maps, masks = np.stack(maps), np.stack(masks)
    assert scores["MAE"] == pytest.approx(np.abs(maps - masks).mean(), abs=1e-6)
    assert scores["Acc"] == pytest.approx(((maps >= 0.5) == masks).mean())


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"workers": 2}, {"workers": 2, "batch_size": 2}])
def test_batches_and_threads_change_no_score(inspected, options):
    predictor = Predictor(brightness, CONFIG)
    expected = evaluate(predictor, inspected, EVERYTHING).compute()
    found = evaluate(predictor, inspected, EVERYTHING, **options).compute()
    assert str(found) == str(expected)  # bit for bit
    assert set(MEASURES) - {"mae", "max_f"} < set(found)


def test_shards_merge_to_the_whole(inspected):
    predictor = Predictor(brightness, CONFIG)
    shards = [evaluate(predictor, inspected, EVERYTHING, shard=(rank, 3)) for rank in range(3)]
    assert sum(s.segmentation.images for s in shards) == len(inspected)
    for shard in shards[1:]:
        shards[0].merge(shard)
    assert str(shards[0].compute()) == str(evaluate(predictor, inspected, EVERYTHING).compute())


def test_a_share_of_no_images_is_legal(inspected):
    assert evaluate(Predictor(brightness, CONFIG), inspected, shard=(7, 8)).segmentation.images == 0


def test_ignored_pixels_count_in_no_score():
    saliency, mask = RNG.random((6, 6)).astype(np.float32), (RNG.random((6, 6)) > 0.5).astype(np.float32)
    pixelwise = tuple(name for name, row in MEASURES.items() if not row.spatial)
    scores = Scores(1, Protocol(pixelwise, auc_roc=True))
    expected = scores.of(Prediction(saliency[None]), mask).compute()
    padded = np.vstack([mask, np.full((3, 6), IGNORE, np.float32)])
    found = scores.of(Prediction(np.vstack([saliency, np.ones((3, 6), np.float32)])[None]), padded).compute()
    for name, score in expected.items():
        np.testing.assert_allclose(found[name], score, rtol=1e-12)


def test_ignored_pixels_and_measures_of_places_exclude_each_other(inspected):
    inspected = Dataset(replace(inspected.spec, ignore_index=255), inspected.encoding)
    with pytest.raises(
        ConfigError, match=r"metrics: s_measure: of whole masks only.*\(ignore_index: 255\). Fix:"
    ):
        evaluate(Predictor(brightness, CONFIG), inspected, Protocol(("mae", "s_measure")))


def test_an_image_without_a_pixel_that_counts_is_told():
    scores = Scores(1)
    scores.merge(scores.of(Prediction(np.eye(4, dtype=np.float32)[None]), np.eye(4)))
    scores.merge(scores.of(Prediction(np.eye(4, dtype=np.float32)[None]), np.full((4, 4), IGNORE)))
    assert scores.report()[1].endswith("; without 1 images that have no pixel to count)")


@pytest.mark.parametrize(
    ("maps", "as_is", "names", "words"),
    [
        ("plain", False, ("mae", "max_f"), "maps as predicted, each stretched for all but maxF"),
        ("official", False, ("mae",), "maps as u2net_test.py saves them, each stretched"),
        ("minmax", True, ("mae", "max_f"), "maps stretched to 0 .. 1, measured as they are"),
    ],
)
def test_reports_have_the_known_lines_and_name_their_protocol(maps, as_is, names, words):
    scores = Scores(1, Protocol(names, as_is, auc_roc=True), maps)
    eye = np.eye(4, dtype=np.float32)
    lines = scores.of(Prediction(eye[None]), eye).report()
    known = "[EVAL] #Images: 1 mIoU: 1.0000 Acc: 1.0000 Kappa: 1.0000 Dice: 1.0000 Auc_roc: 1.0000"
    assert lines[0] == known
    values = "MAE: 0.0000 maxF: 1.0000" if len(names) == 2 else "MAE: 0.0000"
    assert lines[1] == f"[EVAL] {values} ({words})"
    assert lines[2] == "[EVAL] Class IoU: \n[1. 1.]"
    assert [line.split(":")[0] for line in lines[3:]] == ["[EVAL] Class Precision", "[EVAL] Class Recall"]


def test_stretching_changes_saliency_measures_alone():
    found = [
        Scores(1, Protocol(as_is=as_is))
        .of(Prediction(np.float32(0.2) * np.eye(3)[None]), np.eye(3))
        .compute()
        for as_is in (True, False)
    ]
    assert [score["MAE"] for score in found] == pytest.approx([0.8 / 3, 0])
    assert found[0]["mIoU"] == found[1]["mIoU"] < 1


def test_a_config_chooses_its_measures():
    one, two = ({"model": {"num_classes": count}} for count in (1, 2))
    assert Protocol.of(one) == Protocol(("mae", "max_f"))
    assert Protocol.of(one, "s_measure").names == ("mae", "max_f", "s_measure")
    assert Protocol.of({**one, "metrics": ["maxF", "max_e", "mIoU"]}).names == ("mae", "max_f", "max_e")
    assert Protocol.of({**one, "metrics": "all"}).names == tuple(MEASURES)
    assert Protocol.of({**one, "test_config": {"as_is": True, "auc_roc": True}}) == Protocol(
        as_is=True, auc_roc=True
    )
    assert Protocol.of({**two, "metrics": ["mIoU"]}, "Dice") == Protocol()
    with pytest.raises(ConfigError, match=r"max_f: of saliency maps \(num_classes: 1\). Fix: mIoU, Acc"):
        Protocol.of({**two, "metrics": ["maxF"]})


def test_lower_is_better_for_errors_only():
    assert better("mIoU", 0.6, 0.5)
    assert not better("mIoU", 0.5, 0.5)
    assert better("MAE", 0.4, 0.5)
    assert not better("MAE", 0.6, 0.5)
    assert better("MAE", 9, None)
