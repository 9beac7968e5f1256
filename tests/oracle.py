"""PySODMetrics as an independent reference for measures of saliency maps."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import py_sod_metrics
import pytest

from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.table import MEASURES, MapMeasures

ORACLES = ("Fmeasure", "WeightedFmeasure", "Smeasure", "Emeasure", "MAE")


EXACT = {"rel": 1e-9, "abs": 1e-12}


def oracle(pairs, **options) -> dict:
    """PySODMetrics' scores under our names, and its curves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure is deprecated; NaN of empty quarters
        measures = [getattr(py_sod_metrics, name)() for name in ORACLES]
        for saliency, mask in pairs:
            for measure in measures:
                measure.step(saliency, mask, **options)
        found = {name: value for measure in measures for name, value in measure.get_results().items()}
    f, e = found["fm"], found["em"]
    return {
        "mae": found["mae"],
        "max_f_per_image": f["curve"].max(),
        "mean_f_per_image": f["curve"].mean(),
        "adaptive_f": f["adp"],
        "weighted_f": found["wfm"],
        "s_measure": found["sm"],
        "max_e": e["curve"].max(),
        "mean_e": e["curve"].mean(),
        "adaptive_e": e["adp"],
        "curves": {
            "precision": found["pr"]["p"],
            "recall": found["pr"]["r"],
            "f": f["curve"],
            "e": e["curve"],
        },
    }


def measured(pairs, names=tuple(MEASURES), **options) -> MapMeasures:
    measures = MapMeasures(names, **options)
    for saliency, mask in pairs:
        measures.update(saliency, mask)
    return measures


def assert_equal_to_oracle(pairs, **options):
    expected = oracle(pairs, **options)
    curves = expected.pop("curves")
    stretch = MeasureStretch.REFERENCE if options.get("normalize", True) else MeasureStretch.NONE
    measures = measured(pairs, expected, measure_stretch=stretch)
    scores = measures.compute()
    for name, score in expected.items():
        assert scores[name] == pytest.approx(score, **EXACT), name
    for name, curve in curves.items():
        np.testing.assert_allclose(measures.curves()[name], curve, rtol=1e-9, atol=1e-12)


def blob(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A mask of ellipses and a map close to it, uint8."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(3):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(2, width // 3)), int(rng.integers(2, height // 3))
        cv2.ellipse(mask, centre, axes, int(rng.integers(180)), 0, 360, 255, -1)
    noise = rng.normal(0, 20, mask.shape)
    shifted = np.roll(mask, (2, -3), axis=(0, 1)).astype(float)
    return np.clip(cv2.GaussianBlur(shifted, (0, 0), 3) + noise, 0, 255).astype(np.uint8), mask
