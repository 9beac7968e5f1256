"""A data set -> scores."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.dataset import Dataset
from paddleseg_u2net.evaluation import Scores, better, evaluate
from paddleseg_u2net.masks import IGNORE
from paddleseg_u2net.pairs import list_pairs
from paddleseg_u2net.prediction import Prediction, Predictor

CONFIG = {"model": {"num_classes": 1}, "val_dataset": {"transforms": []}}
RNG = np.random.default_rng(0)


def brightness(batch: np.ndarray) -> np.ndarray:
    return batch.max(axis=1, keepdims=True) / 255


@pytest.fixture
def inspected(data) -> Dataset:
    own = Dataset(list_pairs("train", str(data), "train_list.txt")[0], 1, mode="val")
    assert own.inspect() == []
    return own


def test_scores_are_those_of_the_maps(inspected):
    scores = evaluate(Predictor(brightness, CONFIG), inspected).compute()
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
    expected = evaluate(predictor, inspected, auc_roc=True).compute()
    for name, score in evaluate(predictor, inspected, auc_roc=True, **options).compute().items():
        np.testing.assert_allclose(score, expected[name], rtol=1e-12)


def test_shards_merge_to_the_whole(inspected):
    predictor = Predictor(brightness, CONFIG)
    shards = [evaluate(predictor, inspected, auc_roc=True, shard=(rank, 3)) for rank in range(3)]
    assert sum(s.segmentation.images for s in shards) == len(inspected)
    for shard in shards[1:]:
        shards[0].merge(shard)
    for name, score in evaluate(predictor, inspected, auc_roc=True).compute().items():
        np.testing.assert_allclose(shards[0].compute()[name], score, rtol=1e-12)


def test_a_share_of_no_images_is_legal(inspected):
    assert evaluate(Predictor(brightness, CONFIG), inspected, shard=(7, 8)).segmentation.images == 0


def test_ignored_pixels_count_in_no_score():
    saliency, mask = RNG.random((6, 6)).astype(np.float32), (RNG.random((6, 6)) > 0.5).astype(np.float32)
    expected, found = Scores(1, auc_roc=True), Scores(1, auc_roc=True)
    expected.update(Prediction(saliency[None]), mask)
    padded = np.vstack([mask, np.full((3, 6), IGNORE, np.float32)])
    found.update(Prediction(np.vstack([saliency, np.ones((3, 6), np.float32)])[None]), padded)
    for name, score in expected.compute().items():
        np.testing.assert_allclose(found.compute()[name], score, rtol=1e-12)


def test_reports_have_the_known_lines_and_name_their_protocol():
    for minmax, words in ((False, "maps as predicted"), (True, "each map min-max stretched")):
        scores = Scores(1, minmax, auc_roc=True)
        scores.update(Prediction(np.eye(4, dtype=np.float32)[None]), np.eye(4, dtype=np.float32))
        lines = scores.report()
        assert (
            lines[0]
            == "[EVAL] #Images: 1 mIoU: 1.0000 Acc: 1.0000 Kappa: 1.0000 Dice: 1.0000 Auc_roc: 1.0000"
        )
        assert lines[1] == f"[EVAL] MAE: 0.0000 maxF: 1.0000 ({words})"
        assert lines[2] == "[EVAL] Class IoU: \n[1. 1.]"
        assert [line.split(":")[0] for line in lines[3:]] == ["[EVAL] Class Precision", "[EVAL] Class Recall"]


def test_stretching_changes_saliency_measures_alone():
    plain, stretched = Scores(1), Scores(1, minmax=True)
    for scores in (plain, stretched):
        scores.update(Prediction(np.full((1, 3, 3), 0.2, np.float32) * np.eye(3)), np.eye(3))
    assert plain.compute()["MAE"] == pytest.approx(0.8 / 3)
    assert stretched.compute()["MAE"] == pytest.approx(0)
    assert plain.compute()["mIoU"] == stretched.compute()["mIoU"] < 1


def test_lower_is_better_for_errors_only():
    assert better("mIoU", 0.6, 0.5)
    assert not better("mIoU", 0.5, 0.5)
    assert better("MAE", 0.4, 0.5)
    assert better("mae", 0.4, 0.5)
    assert not better("MAE", 0.6, 0.5)
    assert better("MAE", 9, None)
