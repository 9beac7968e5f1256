"""What exported models give, as probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from paddleseg_u2net.engines.adapters import (
    FixedSizeEngine,
    PhotographEngine,
    ProbabilityEngine,
    adapt,
    to_probabilities,
)
from paddleseg_u2net.engines.deploy_config import PHOTOGRAPH, PREPARED, Deployment

RNG = np.random.default_rng(0)


def deployment(**changes) -> Deployment:
    """A record of an export for any size that gives saliency."""
    values = {"input_shape": (-1, 3, -1, -1), "output_op": "sigmoid", "image": PREPARED, "num_classes": 1}
    return Deployment(model="model.onnx", precision="fp32", labels=[], sha256={}, **{**values, **changes})


@pytest.mark.parametrize("scale", [1, 1000])
def test_logits_become_probabilities_without_overflow(scale):
    logits = (scale * RNG.normal(size=(2, 1, 4, 5))).astype(np.float32)
    np.testing.assert_allclose(to_probabilities(logits, "none", 1), expit(logits), atol=1e-6)
    logits = (scale * RNG.normal(size=(2, 3, 4, 5))).astype(np.float32)
    np.testing.assert_allclose(to_probabilities(logits, "none", 3), softmax(logits, axis=1), atol=1e-6)


def test_class_ids_become_probabilities_of_0_and_1():
    ids = np.int32([[[0, 2], [1, 2]]])
    maps = to_probabilities(ids, "argmax", 3)
    assert (maps.shape, maps.dtype) == ((1, 3, 2, 2), np.float32)
    np.testing.assert_array_equal(maps.argmax(axis=1), ids)
    np.testing.assert_array_equal(maps.sum(axis=1), 1)
    np.testing.assert_array_equal(to_probabilities(np.int32([[[0, 1]]]), "argmax", 1), [[[[0, 1]]]])


@pytest.mark.parametrize("output_op", ["sigmoid", "softmax"])
def test_probabilities_stay_as_they_are(output_op):
    maps = RNG.random((1, 2, 3, 3), dtype=np.float32)
    assert to_probabilities(maps, output_op, 2) is maps


def test_engine_is_wrapped_only_where_it_has_to_be():
    def engine(batch: np.ndarray) -> np.ndarray:
        return batch[:, :1]

    assert adapt(engine, deployment()) is engine
    assert isinstance(adapt(engine, deployment(output_op="none")), ProbabilityEngine)
    assert isinstance(adapt(engine, deployment(image=PHOTOGRAPH)), PhotographEngine)
    fixed = adapt(engine, deployment(input_shape=(1, 3, 8, 6), output_op="none"))
    assert isinstance(fixed, FixedSizeEngine)
    maps = fixed(np.zeros((1, 3, 11, 7), np.float32))
    assert maps.shape == (1, 1, 11, 7)
    np.testing.assert_array_equal(maps, 0.5)
