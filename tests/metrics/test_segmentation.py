"""Class measures and the author's F against paddleseg, scikit-learn, PySODMetrics and plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from paddleseg_u2net.metrics.protocol import AbsentClasses, MeasureStretch
from paddleseg_u2net.metrics.saliency import precision_recall, stretch
from paddleseg_u2net.metrics.segmentation import RocMeasure, SegmentationMeasures
from paddleseg_u2net.metrics.table import AREA_MEASURES, MapMeasures

RNG = np.random.default_rng(0)


def measured(pairs, num_classes, ignore_index=None) -> dict:
    measures = SegmentationMeasures(num_classes, ignore_index)
    for prediction, mask in pairs:
        measures.update(prediction, mask)
    return measures.compute()


@pytest.mark.parametrize("num_classes", [2, 5])
def test_segmentation_equals_scikit_learn(num_classes):
    pairs = [RNG.integers(0, num_classes, (2, h, w)) for h, w in ((7, 5), (1, 1), (20, 31))]
    pairs = [(np.where(RNG.random(p.shape) < 0.6, m, p), m) for p, m in pairs]
    scores = measured(pairs, num_classes)
    p, m = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    labels = list(range(num_classes))
    np.testing.assert_allclose(scores["class_IoU"], jaccard_score(m, p, labels=labels, average=None))
    np.testing.assert_allclose(scores["class_Precision"], precision_score(m, p, labels=labels, average=None))
    np.testing.assert_allclose(scores["class_Recall"], recall_score(m, p, labels=labels, average=None))
    assert scores["mIoU"] == pytest.approx(scores["class_IoU"].mean())
    assert scores["Kappa"] == pytest.approx(cohen_kappa_score(m, p))
    assert scores["Acc"] == pytest.approx((p == m).mean())
    np.testing.assert_allclose(scores["class_Dice"], f1_score(m, p, labels=labels, average=None))
    assert scores["Dice"] == pytest.approx(scores["class_Dice"].mean())


def test_confusion_and_means_over_images_equal_scikit_learn():
    labels = list(range(5))
    pairs = [RNG.integers(0, n, (2, h, w)) for n, h, w in ((4, 7, 5), (1, 1, 1), (2, 20, 31), (4, 9, 9))]
    measures = SegmentationMeasures(5, 255)
    for prediction, mask in pairs:
        measures.update(np.vstack([prediction, prediction]), np.vstack([mask, np.full_like(mask, 255)]))
    p, m = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    np.testing.assert_array_equal(measures.confusion, confusion_matrix(m, p, labels=labels))
    assert measures.occurrences.tolist() == [4, 3, 2, 2, 0]  # the last class is in no image
    means = measures.means_over_images()
    for name, score in (("class_IoU", jaccard_score), ("class_Dice", f1_score)):
        options = {"labels": labels, "average": None, "zero_division": 0}
        rows = [score(mask.ravel(), prediction.ravel(), **options) for prediction, mask in pairs]
        rows = np.where([np.isin(labels, pair) for pair in pairs], rows, np.nan)
        np.testing.assert_allclose(means[name][:4], np.nanmean(rows[:, :4], axis=0), rtol=1e-12)
        assert np.isnan(means[name][4])


def test_means_over_images_do_not_depend_on_the_order():
    pairs = [RNG.integers(0, 3, (2, 6, 7)) for _ in range(9)]
    found = []
    for order in (pairs, pairs[::-1]):
        parts = [SegmentationMeasures(3) for _ in order]
        for part, (prediction, mask) in zip(parts, order, strict=True):
            part.update(prediction, mask)
            parts[0].merge(part) if part is not parts[0] else None
        found.append(parts[0].means_over_images())
    assert str(found[0]) == str(found[1])
    assert np.isnan(SegmentationMeasures(3).means_over_images()["class_IoU"]).all()


def test_classes_in_no_mask_and_no_prediction_are_left_out_of_the_means_as_in_scikit_learn():
    prediction, mask = RNG.choice([0, 2, 3], (20, 30)), RNG.choice([0, 2, 5], (20, 30))  # of 0 .. 6
    scores = measured([(prediction, mask)], 7)
    p, m = prediction.ravel(), mask.ravel()  # scikit-learn counts the labels of either by default
    options = {"average": "macro", "zero_division": 0}
    assert scores["mIoU"] == pytest.approx(jaccard_score(m, p, **options))
    assert scores["Dice"] == pytest.approx(f1_score(m, p, **options))


@pytest.mark.parametrize("num_classes", [3, 5])  # of which three occur
def test_segmentation_equals_paddleseg(num_classes):
    import paddle
    from paddleseg.utils import metrics as stock

    prediction, mask = RNG.integers(0, 3, (2, 40, 30))
    measures = SegmentationMeasures(num_classes, absent=AbsentClasses.ZERO)
    measures.update(prediction, mask)
    scores = measures.compute()
    areas = [paddle.to_tensor(area) for area in measures.areas]
    assert scores["mIoU"] == pytest.approx(stock.mean_iou(*areas)[1])
    assert scores["Dice"] == pytest.approx(stock.dice(*areas)[1])
    assert scores["Kappa"] == pytest.approx(stock.kappa(*areas))
    assert scores["Acc"] == pytest.approx(stock.class_measurement(*areas)[0])


def test_ignored_pixels_do_not_change_scores():
    prediction, mask = RNG.integers(0, 2, (2, 10, 10))
    padded = np.vstack([mask, np.full((5, 10), 255)]), np.vstack([prediction, np.ones((5, 10), int)])
    expected, found = measured([(prediction, mask)], 2), measured([(padded[1], padded[0])], 2, 255)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("fill", [0, 1])
def test_correct_prediction_of_a_single_class_gives_no_nan(fill):
    constant = np.full((4, 4), fill)
    scores = measured([(constant, constant)], 2)
    assert scores["Acc"] == 1
    assert scores["Kappa"] == 0
    assert scores["class_IoU"].tolist() == [1 - fill, fill]


def test_scores_without_images_are_zero():
    assert measured([], 2)["mIoU"] == 0


@pytest.mark.parametrize("num_classes", [1, 2, 4])
def test_roc_equals_scikit_learn(num_classes):
    channels = RNG.random((num_classes, 30, 40)).astype(np.float32)
    probabilities = channels / (channels.sum(0) if num_classes > 1 else 1)
    mask = RNG.integers(0, max(num_classes, 2), (30, 40))
    measure = RocMeasure(num_classes)
    measure.update(probabilities, mask)

    def expected(scores):
        flat = scores.reshape(num_classes, -1)
        if num_classes <= 2:
            return roc_auc_score(mask.ravel(), flat[-1])
        return np.mean([roc_auc_score(mask.ravel() == c, flat[c]) for c in range(num_classes)])

    found = measure.compute()["Auc_roc"]
    assert found == pytest.approx(expected(np.floor(probabilities * measure.bins)), abs=1e-12)
    assert found == pytest.approx(expected(probabilities), abs=1e-4)  # scores in one bin count as equal


def test_roc_of_a_single_class_is_nan():
    measure = RocMeasure(1)
    measure.update(np.ones((1, 2, 2)), np.zeros((2, 2), int))
    assert np.isnan(measure.compute()["Auc_roc"])


def official_curve(saliency, mask):
    """The author's evaluator in plain numpy (measures.py@2a010f5)."""
    mask = mask / (mask.max() + 1e-8) * 255
    saliency = saliency / (saliency.max() + 1e-8) * 255
    bins = np.arange(256)
    foreground = np.histogram(saliency[mask > 128], bins)[0][::-1].cumsum()
    background = np.histogram(saliency[mask <= 128], bins)[0][::-1].cumsum()
    return foreground / (foreground + background + 1e-8), foreground / ((mask > 128).sum() + 1e-8)


def maps(kind: str) -> tuple[np.ndarray, np.ndarray]:
    saliency, mask = RNG.random((13, 17)), (RNG.random((13, 17)) > 0.6).astype(float)
    return {
        "random": (saliency, mask),
        "soft mask": (saliency, RNG.random((13, 17))),
        "empty mask": (saliency, np.zeros_like(mask)),
        "full mask": (saliency, np.ones_like(mask)),
        "empty map": (np.zeros_like(saliency), mask),
        "full map": (np.ones_like(saliency), mask),
        "one pixel": (np.array([[0.3]]), np.array([[1.0]])),
        "8-bit": (RNG.integers(0, 256, (9, 9)) / 255, (RNG.random((9, 9)) > 0.5).astype(np.float32)),
    }[kind]


KINDS = ("random", "soft mask", "empty mask", "full mask", "empty map", "full map", "one pixel", "8-bit")


@pytest.mark.parametrize("kind", KINDS)
def test_precision_and_recall_equal_the_authors(kind):
    saliency, mask = maps(kind)
    np.testing.assert_allclose(precision_recall(saliency, mask), official_curve(saliency, mask), atol=1e-12)


def test_max_f_is_computed_from_the_mean_curves():
    pairs = [maps(kind) for kind in KINDS[:4]]
    measures = MapMeasures(["max_f"])
    for saliency, mask in pairs:
        measures.update(saliency, mask)
    precision, recall = np.mean([official_curve(*pair) for pair in pairs], axis=0)
    expected = (1.3 * precision * recall / (0.3 * precision + recall + 1e-8)).max()
    assert measures.compute()["max_f"] == pytest.approx(expected, abs=1e-12)


def test_mae_without_stretching():
    measures = MapMeasures(["mae"], measure_stretch=MeasureStretch.NONE)
    measures.update(np.array([[0.2, 0.4]]), np.zeros((1, 2)))
    assert measures.compute()["mae"] == pytest.approx(0.3)


@pytest.mark.parametrize("name", AREA_MEASURES)
def test_class_measures_of_maps_equal_those_of_thresholded_maps(name):
    measures, expected = MapMeasures([name], measure_stretch=MeasureStretch.NONE), SegmentationMeasures(2)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        saliency, mask = rng.random((5 + seed, 7)), rng.random((5 + seed, 7)) > 0.7
        measures.update(saliency, mask)
        expected.update((saliency >= 0.5).astype(int), mask.astype(int))
    assert measures.compute()[name] == pytest.approx(expected.compute()[name], abs=1e-15)


def test_stretch_of_a_constant_map_is_zero():
    assert stretch(np.full((3, 3), 0.7)).tolist() == np.zeros((3, 3)).tolist()
    assert stretch(np.array([0.2, 0.4, 0.6])).tolist() == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    "make", [lambda: SegmentationMeasures(2), lambda: MapMeasures(["mae", "mIoU"]), lambda: RocMeasure(1)]
)
def test_merging_equals_one_accumulator(make):
    whole, halves = make(), [make(), make()]
    for index in range(4):
        saliency, mask = RNG.random((6, 6)), RNG.integers(0, 2, (6, 6))
        given = {
            SegmentationMeasures: (saliency.round().astype(int), mask),
            MapMeasures: (saliency, mask > 0),
        }
        for accumulator in (whole, halves[index % 2]):
            accumulator.update(*given.get(type(whole), (saliency[None], mask)))
    halves[0].merge(halves[1])
    for name, score in whole.compute().items():
        np.testing.assert_allclose(halves[0].compute()[name], score, rtol=1e-14)
