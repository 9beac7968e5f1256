"""Evaluation of a model on a data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paddleseg_u2net.data.dataset import Dataset, open_datasets
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.evaluation.model import EvaluationSettings, Scores, evaluate, is_better
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.metrics.protocol import MapProtocol, MeasureStretch
from paddleseg_u2net.metrics.table import MEASURES

EVERYTHING = EvaluationSettings(tuple(MEASURES), auc_roc=True)
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


def test_scores_equal_plain_numpy(inspected):
    scores = evaluate(
        Predictor(brightness, CONFIG), inspected, EvaluationSettings(measure_stretch=MeasureStretch.NONE)
    ).compute()
    maps, masks = [], []
    for index in range(len(inspected)):
        image, mask = inspected.load(index)
        maps.append(image.max(axis=2) / np.float32(255))
        masks.append(mask)
    maps, masks = np.stack(maps), np.stack(masks)
    assert scores["MAE"] == pytest.approx(np.abs(maps - masks).mean(), abs=1e-6)
    assert scores["Acc"] == pytest.approx(((maps >= 0.5) == masks).mean())


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"workers": 2}, {"workers": 2, "batch_size": 2}])
def test_batches_and_threads_do_not_change_scores(inspected, options):
    predictor = Predictor(brightness, CONFIG)
    expected = evaluate(predictor, inspected, EVERYTHING).compute()
    found = evaluate(predictor, inspected, EVERYTHING, **options).compute()
    assert str(found) == str(expected)  # bit for bit
    assert set(MEASURES) - {"mae", "max_f"} < set(found)


def test_merged_shards_equal_the_whole(inspected):
    predictor = Predictor(brightness, CONFIG)
    shards = [evaluate(predictor, inspected, EVERYTHING, shard=(rank, 3)) for rank in range(3)]
    assert sum(s.segmentation.images for s in shards) == len(inspected)
    for shard in shards[1:]:
        shards[0].merge(shard)
    assert str(shards[0].compute()) == str(evaluate(predictor, inspected, EVERYTHING).compute())


def test_shard_without_images_is_allowed(inspected):
    assert evaluate(Predictor(brightness, CONFIG), inspected, shard=(7, 8)).segmentation.images == 0


def test_ignored_pixels_do_not_change_scores():
    saliency, mask = RNG.random((6, 6)).astype(np.float32), (RNG.random((6, 6)) > 0.5).astype(np.float32)
    pixelwise = tuple(name for name, row in MEASURES.items() if not row.spatial)
    scores = Scores(1, EvaluationSettings(pixelwise, auc_roc=True))
    expected = scores.score_image(Prediction(saliency[None]), mask).compute()
    padded = np.vstack([mask, np.full((3, 6), IGNORE, np.float32)])
    found = scores.score_image(
        Prediction(np.vstack([saliency, np.ones((3, 6), np.float32)])[None]), padded
    ).compute()
    for name, score in expected.items():
        np.testing.assert_allclose(found[name], score, rtol=1e-12)


def test_ignored_pixels_reject_measures_that_depend_on_positions(inspected):
    inspected = Dataset(replace(inspected.spec, ignore_index=255), inspected.encoding)
    message = r"metrics: s_measure: for whole masks only.*\(ignore_index: 255\). Fix:"
    with pytest.raises(ConfigError, match=message):
        evaluate(Predictor(brightness, CONFIG), inspected, EvaluationSettings(("mae", "s_measure")))


def test_images_with_only_ignored_pixels_are_reported():
    scores = Scores(1)
    scores.merge(scores.score_image(Prediction(np.eye(4, dtype=np.float32)[None]), np.eye(4)))
    scores.merge(scores.score_image(Prediction(np.eye(4, dtype=np.float32)[None]), np.full((4, 4), IGNORE)))
    assert scores.report()[1].endswith("; without 1 image in which every pixel is ignored)")


@pytest.mark.parametrize(
    ("protocol", "stretch", "names", "conditions"),
    [
        (
            MapProtocol.PLAIN,
            MeasureStretch.REFERENCE,
            ("mae", "max_f"),
            "maps as predicted, "
            "measured with each map min-max stretched for all measures but max_f and mean_f",
        ),
        (
            MapProtocol.OFFICIAL,
            MeasureStretch.ALL,
            ("mae",),
            "maps as u2net_test.py saves them, measured with each map min-max stretched for all measures",
        ),
        (
            MapProtocol.MINMAX,
            MeasureStretch.NONE,
            ("mae", "max_f"),
            "maps stretched to 0 .. 1, measured as they are",
        ),
    ],
)
def test_report_has_the_lines_of_paddleseg_and_names_the_protocol(protocol, stretch, names, conditions):
    scores = Scores(1, EvaluationSettings(names, stretch, auc_roc=True), protocol)
    eye = np.eye(4, dtype=np.float32)
    lines = scores.score_image(Prediction(eye[None]), eye).report()
    known = "[EVAL] #Images: 1 mIoU: 1.0000 Acc: 1.0000 Kappa: 1.0000 Dice: 1.0000 Auc_roc: 1.0000"
    assert lines[0] == known
    values = "MAE: 0.0000 maxF: 1.0000" if len(names) == 2 else "MAE: 0.0000"
    assert lines[1] == f"[EVAL] {values} ({conditions})"
    assert lines[2] == "[EVAL] Class IoU: \n[1. 1.]"
    assert [line.split(":")[0] for line in lines[3:]] == ["[EVAL] Class Precision", "[EVAL] Class Recall"]


def test_stretching_changes_only_saliency_measures():
    found = [
        Scores(1, EvaluationSettings(measure_stretch=stretch))
        .score_image(Prediction(np.float32(0.2) * np.eye(3)[None]), np.eye(3))
        .compute()
        for stretch in (MeasureStretch.NONE, MeasureStretch.REFERENCE)
    ]
    assert [score["MAE"] for score in found] == pytest.approx([0.8 / 3, 0])
    assert found[0]["mIoU"] == found[1]["mIoU"] < 1


def test_config_chooses_the_measures():
    one, two = ({"model": {"num_classes": count}} for count in (1, 2))
    settings = EvaluationSettings.from_config
    assert settings(one) == EvaluationSettings(("mae", "max_f"))
    assert settings(one, "s_measure").names == ("mae", "max_f", "s_measure")
    assert settings({**one, "metrics": ["maxF", "max_e", "mIoU"]}).names == ("mae", "max_f", "max_e")
    assert settings({**one, "metrics": "all"}).names == tuple(MEASURES)
    for test_config in ({"as_is": True, "auc_roc": True}, {"measure_stretch": "none", "auc_roc": True}):
        expected = EvaluationSettings(measure_stretch=MeasureStretch.NONE, auc_roc=True)
        assert settings({**one, "test_config": test_config}) == expected
    assert settings({**two, "metrics": ["mIoU"]}, "Dice") == EvaluationSettings()
    message = r"max_f: for saliency maps \(num_classes: 1\) only, and .* 2 classes. Fix: mIoU, Acc"
    with pytest.raises(ConfigError, match=message):
        settings({**two, "metrics": ["maxF"]})


def test_lower_scores_are_better_for_errors_only():
    assert is_better("mIoU", 0.6, 0.5)
    assert not is_better("mIoU", 0.5, 0.5)
    assert is_better("MAE", 0.4, 0.5)
    assert not is_better("MAE", 0.6, 0.5)
    assert is_better("MAE", 9, None)
