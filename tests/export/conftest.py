"""Fixtures of the tests of exports."""

from __future__ import annotations

import paddle
import pytest

from paddleseg_u2net.models.u2net import U2Netp


@pytest.fixture(scope="package")
def network():
    """A small network with random weights, which no test changes."""
    paddle.seed(2)
    layer = U2Netp(1)
    layer.eval()
    return layer
