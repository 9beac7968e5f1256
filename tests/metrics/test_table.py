"""Measures of saliency maps against PySODMetrics, published scores, plain numpy and brute force."""

from __future__ import annotations

import doctest
import json
import pickle
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracle import EXACT, assert_equal_to_oracle, blob, measured, oracle
from scipy.io import loadmat
from support import ROOT

from paddleseg_u2net.metrics import table
from paddleseg_u2net.metrics.boundary import boundary_iou, relaxed_boundary_f
from paddleseg_u2net.metrics.map_and_mask import MapAndMask
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.structure import s_measure
from paddleseg_u2net.metrics.sums import ExactSum
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures
from paddleseg_u2net.metrics.thresholds import precision_recall_f
from tools.benchmarks import measures as benchmark_measures


def example(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    saliency = rng.integers(0, 256, (13, 17), np.uint8)
    mask = np.where(rng.random((13, 17)) < 0.3, 255, 0).astype(np.uint8)
    stripe = np.array([255] * 6 + [0] * 11, np.uint8)
    dot = np.zeros_like(mask)
    dot[5, 7] = 255
    return {
        "random": (saliency, mask),
        "grey mask": (saliency, rng.integers(0, 256, (13, 17), np.uint8)),
        "narrow range": (saliency // 8 + 100, mask),
        "perfect": (mask, mask),
        "inverted": (255 - mask, mask),
        "empty mask": (saliency, np.zeros_like(mask)),
        "full mask": (saliency, np.full_like(mask, 255)),
        "black map": (np.zeros_like(saliency), mask),
        "grey map": (np.full_like(saliency, 77), mask),
        "white map": (np.full_like(saliency, 255), mask),
        "both empty": (np.zeros_like(mask), np.zeros_like(mask)),
        "both full": (np.full_like(mask, 255), np.full_like(mask, 255)),
        "grey map, half a mask": (np.full_like(mask, 77), np.tile(stripe, (13, 1))),
        "one pixel, right": (np.array([[200]], np.uint8), np.array([[255]], np.uint8)),
        "one pixel, wrong": (np.array([[200]], np.uint8), np.array([[0]], np.uint8)),
        "one pixel of foreground": (saliency, dot),
        "object": blob(61, 83),
        "small object, far background": blob(300, 40, 3),
    }[kind]


KINDS = (
    "random",
    "grey mask",
    "narrow range",
    "perfect",
    "inverted",
    "empty mask",
    "full mask",
    "black map",
    "grey map",
    "white map",
    "both empty",
    "both full",
    "grey map, half a mask",
    "one pixel, right",
    "one pixel, wrong",
    "one pixel of foreground",
    "object",
    "small object, far background",
)


@pytest.mark.parametrize("kind", KINDS)
def test_measures_equal_pysodmetrics(kind):
    saliency, mask = example(kind)
    assert_equal_to_oracle([(saliency, mask)])


@pytest.mark.parametrize("kind", KINDS)
def test_float_maps_equal_pysodmetrics(kind):
    saliency, mask = example(kind)
    assert_equal_to_oracle([(np.sqrt(saliency / 255), mask > 128)], normalize=False)


def test_measures_of_many_small_maps_equal_pysodmetrics():
    rng = np.random.default_rng(2)
    for share in np.linspace(0.02, 0.98, 40):
        shape = rng.integers(1, 40, 2)
        mask = np.where(rng.random(shape) < share, 255, 0).astype(np.uint8)
        mask[0, 0] = 255  # with it the centroid lies in no last row or column
        if min(shape) > 2:
            mask[-1] = mask[:, -1] = 0
            assert_equal_to_oracle([(rng.integers(0, 256, shape, np.uint8), mask)])


def test_means_over_images_equal_pysodmetrics():
    assert_equal_to_oracle([example(kind) for kind in KINDS if not kind.startswith("one")])


def test_large_maps_equal_pysodmetrics():
    assert_equal_to_oracle([blob(1024, 1024), blob(333, 1025, 5)])


def test_s_measure_is_finite_if_the_centroid_is_in_the_last_row():
    """The one difference from PySODMetrics, which computes the mean of an empty quarter."""
    mask = np.zeros((4, 5), np.uint8)
    mask[3, 1] = 255
    saliency = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert np.isnan(oracle([(saliency, mask)])["s_measure"])
    assert 0 < s_measure(MapAndMask(saliency, mask)) < 1
    assert s_measure(MapAndMask(mask, mask)) == pytest.approx(1)


def test_scores_of_the_golden_pairs_equal_the_published(shared):
    folder = shared / "data" / "pysodmetrics_golden"
    versions = json.loads((folder / "version_performance.json").read_text())
    published = {name: score for version in versions.values() for name, score in version.items()}
    pairs = [
        (
            cv2.imread(str(path), cv2.IMREAD_GRAYSCALE),
            cv2.imread(str(folder / "test_data/masks" / path.name), 0),
        )
        for path in sorted((folder / "test_data" / "preds").iterdir())
    ]
    assert len(pairs) == 3
    scores = measured(pairs).compute()
    theirs = {"mae": "MAE", "s_measure": "Smeasure", "weighted_f": "wFmeasure"}
    theirs |= {"max_f_per_image": "maxFm", "mean_f_per_image": "meanFm", "adaptive_f": "adpFm"}
    theirs |= {"max_e": "maxEm", "mean_e": "meanEm", "adaptive_e": "adpEm"}
    for name, key in theirs.items():
        assert scores[name] == pytest.approx(published[key], **EXACT), name


def sod(shared: Path, method: str, every: int):
    """Stored scores, and (position, map, mask) of each n-th image in sorted order."""
    folder = shared / "data"
    paths = sorted((folder / "sod300_preds" / method).iterdir())
    chosen = [
        (index, *(cv2.imread(str(p), 0) for p in (path, folder / "sod300" / "masks" / path.name)))
        for index, path in enumerate(paths)
        if index % every == 0
    ]
    return loadmat(folder / "sod300_preds" / f"{method}.mat"), chosen


def assert_images_equal_stored(stored, chosen) -> MapMeasures:
    measures = MapMeasures(["mae", "s_measure", "max_f_per_image"])
    for index, saliency, mask in chosen:
        measures.update(saliency, mask, name=str(index))
        row = measures.rows[str(index)]
        assert row["s_measure"] == pytest.approx(stored["S_measure_image"][index, 0], **EXACT)
        assert row["mae"] == pytest.approx(stored["MAE_image"][index, 0], **EXACT)
        for curve, key in zip(
            precision_recall_f(MapAndMask(saliency, mask)), ("Pre", "Recall"), strict=False
        ):
            np.testing.assert_allclose(curve, stored[f"{key}_image"][index], rtol=1e-9, atol=1e-12)
    return measures


@pytest.mark.parametrize("method", ["Amulet", "DSS"])
def test_scores_of_sod_images_equal_the_stored(shared, method):
    stored, chosen = sod(shared, method, every=15)
    measures = assert_images_equal_stored(stored, chosen)
    assert measures.compute()["images"] == 20


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Amulet", "DSS"])
def test_scores_of_all_of_sod_equal_the_stored(shared, method):
    stored, chosen = sod(shared, method, every=1)
    measures = assert_images_equal_stored(stored, chosen)
    scores, curves = measures.compute(), measures.curves()
    assert scores["images"] == 300
    assert scores["s_measure"] == pytest.approx(stored["S_measure"][0, 0], **EXACT)
    assert scores["mae"] == pytest.approx(stored["MAE"][0, 0], **EXACT)
    precision, recall = curves["precision"], curves["recall"]
    f = 1.3 * precision * recall / (0.3 * precision + recall)
    assert f.max() == pytest.approx(stored["MaxFmeasure"][0, 0], **EXACT)


def author(pairs) -> tuple[float, float]:
    """Maximal and mean F of measures.py@2a010f5 in plain numpy, of 8-bit maps."""
    curves = []
    for saliency, mask in pairs:
        saliency, mask = (array / (array.max() + 1e-8) * 255 for array in (saliency, mask))
        true, every = (
            np.histogram(values, np.arange(256))[0][::-1].cumsum()
            for values in (saliency[mask > 128], saliency)
        )
        curves.append((true / (every + 1e-8), true / ((mask > 128).sum() + 1e-8)))
    precision, recall = np.mean(curves, axis=0)
    f = 1.3 * precision * recall / (0.3 * precision + recall + 1e-8)
    return f.max(), f.mean()


def test_max_f_and_mean_f_equal_those_of_the_author():
    pairs = [example(kind) for kind in KINDS]
    measures = measured(pairs, ["max_f", "mean_f"])
    assert list(measures.compute().values())[1:] == pytest.approx(author(pairs), rel=1e-12)
    assert measures.curves()["author_f"].max() == measures.compute()["max_f"]


def test_maps_are_stretched_for_max_f_only_when_chosen():
    saliency, mask = example("narrow range")
    stretched = (saliency - 100.0) / saliency.max()
    for choice, expected in ((MeasureStretch.REFERENCE, saliency), (MeasureStretch.ALL, stretched)):
        found = measured([(saliency, mask)], measure_stretch=choice).compute()
        assert found["max_f"] == pytest.approx(author([(expected, mask)])[0])
        assert found["max_f_per_image"] == oracle([(saliency, mask)])["max_f_per_image"]


def test_merged_parts_equal_the_whole_bit_for_bit():
    pairs = [blob(40, 50, seed) for seed in range(9)]
    whole = measured(pairs)
    for parts in ([pairs[:2], pairs[2:]], [pairs[::2], pairs[1::2]], [pairs[::-1], []]):
        first, second = (measured(part) for part in parts)
        first.merge(pickle.loads(pickle.dumps(second)))  # as from another process
        assert first.compute() == whole.compute()
        for name, curve in whole.curves().items():
            np.testing.assert_array_equal(first.curves()[name], curve)


def test_exact_sums_do_not_depend_on_the_order():
    values = np.random.default_rng(0).random((1000, 3)) * np.array([1, 1e-12, 1e12])
    sums = [ExactSum(), ExactSum()]
    for total, rows in zip(sums, (values, values[::-1]), strict=True):
        for row in rows:
            total.add(row)
    np.testing.assert_array_equal(sums[0].mean(7), sums[1].mean(7))
    np.testing.assert_allclose(sums[0].mean(1000), values.mean(axis=0), rtol=1e-14, atol=2**-62)


def boundary(mask: np.ndarray, width: int, border: bool) -> np.ndarray:
    """Pixels of a mask with background within `width` rows and columns; `border`: outside is background."""
    padded = np.pad(mask, width, constant_values=not border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * width + 1,) * 2)
    return mask & ~windows.all(axis=(2, 3))


@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("kind", ["random", "object", "perfect", "full mask", "empty mask", "black map"])
def test_relaxed_boundary_f_equals_brute_force(kind, border):
    saliency, mask = example(kind)
    pair = MapAndMask(saliency, mask)
    found, true = (
        np.argwhere(boundary(array, 1, border)).astype(float) for array in (pair.saliency >= 0.5, mask > 128)
    )
    expected = 0.0
    if len(found) and len(true):
        near = np.linalg.norm(found[:, None] - true[None], axis=2) <= 3
        precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
        expected = 1.3 * precision * recall / max(0.3 * precision + recall, 1e-300)
    assert relaxed_boundary_f(pair, border=border) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("kind", ["random", "object", "perfect", "full mask", "empty mask", "black map"])
def test_boundary_iou_equals_brute_force(kind, ratio):
    saliency, mask = example(kind)
    pair = MapAndMask(saliency, mask)
    width = max(1, round(ratio * (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5))
    found, true = (boundary(array, width, border=True) for array in (pair.saliency >= 0.5, mask > 128))
    expected = (found & true).sum() / max((found | true).sum(), 1)
    assert boundary_iou(pair, dilation_ratio=ratio) == pytest.approx(expected, rel=1e-12)


def test_boundary_three_pixels_away_matches_and_four_does_not():
    columns = np.tile(np.arange(20), (9, 1))  # the mask is the left part, with a straight boundary
    for offset, expected in ((3, 1), (-3, 1), (4, 0), (-4, 0)):
        pair = MapAndMask(np.where(columns < 10 + offset, 1.0, 0.0), columns < 10)
        assert relaxed_boundary_f(pair) == pytest.approx(expected)


def test_types_of_maps_and_masks_do_not_change_scores():
    saliency, mask = example("object")
    expected = measured([(saliency, mask)]).compute()
    for other in (mask > 128, mask / 255, (mask / 255).astype(np.float32)):
        assert measured([(saliency, other)]).compute() == expected
    found = measured([(saliency / 255, mask)]).compute()
    for name in set(expected) - {"max_f", "mean_f"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name


def test_parameter_of_a_measure_is_changed_in_the_table():
    pair = example("object")
    changed = MEASURES | {
        "s_measure": MEASURES["s_measure"]._replace(per_image=partial(s_measure, alpha=0.7))
    }
    assert measured([pair], ["s_measure"], measures=changed).compute()["s_measure"] == pytest.approx(
        s_measure(MapAndMask(*pair), alpha=0.7)
    )


def test_scores_of_named_images_are_kept():
    measures = MapMeasures(["mae", "max_f"])
    for seed, name in ((0, "a"), (1, None), (2, "c")):
        measures.update(*blob(30, 30, seed), name=name)
    assert list(measures.rows) == ["a", "c"]
    alone = measured([blob(30, 30, 2)], ["mae", "max_f"]).compute()
    assert {"images": 1, **measures.rows["c"]} == alone
    with pytest.raises(ValueError, match="a: measured twice"):
        measures.update(*blob(30, 30), name="a")


def test_unusable_maps_and_masks_are_rejected():
    saliency, mask = blob(12, 9)
    for pair, message in (
        ((saliency, mask[:4]), r"got \(12, 9\) and \(4, 9\)"),
        ((saliency[..., None], mask[..., None]), "one shape"),
        ((saliency[:0], mask[:0]), "one shape"),
        ((saliency.astype(int), mask), "map of uint8, or of float in .0, 1., got int64"),
        ((saliency, mask.astype(int)), "mask of bool, of uint8, or of float in .0, 1., got int64"),
        ((saliency.astype(float), mask), r"got values from \d+.0 to \d+.0"),
        ((np.full((12, 9), np.nan), mask), "got values from nan"),
    ):
        with pytest.raises(ValueError, match=message):
            MapMeasures().update(*pair)
    with pytest.raises(ValueError, match="No such measures: f1, iou. Fix: choose from mae, max_f"):
        MapMeasures(["mae", "f1", "iou"])


def test_scores_without_images_are_nan():
    scores = MapMeasures().compute()
    assert scores.pop("images") == 0
    assert list(scores) == list(MEASURES)
    assert np.isnan(list(scores.values())).all()
    assert MapMeasures().curves() == {}


def test_example_in_the_docstring_runs():
    assert doctest.testmod(table, extraglobs={"np": np}) == (0, 3)


@pytest.mark.slow
def test_benchmark_prints_its_tables(monkeypatch, capsys):
    monkeypatch.setattr(benchmark_measures, "SIZES", ((30, 40), (64, 64)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert benchmark_measures.main(["--turns", "1", "--updates", "20", "--files", "6"]) == 0
    text = capsys.readouterr().out
    assert "| 30 x 40 |" in text
    assert all(f"| {name} |" in text for name in MEASURES)
    assert "MiB after 2 updates" in text
    assert "| workers | s | images/s |" in text
    assert text.splitlines()[-1].startswith("| 60 | ")


def test_aliases_and_directions_of_measures():
    assert {row.alias: name for name, row in MEASURES.items() if row.alias} == {"MAE": "mae", "maxF": "max_f"}
    assert [name for name, row in MEASURES.items() if not row.larger_is_better] == ["mae"]
