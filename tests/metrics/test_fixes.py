"""Each fix of measures is followed, and then they are computed."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.metrics.map_and_mask import MapAndMask
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.metrics.table import MapMeasures

MAP, MASK = np.eye(4), np.eye(4) > 0


def test_shapes():
    for wrong in (np.eye(5), np.dstack([MAP] * 3)):
        with pytest.raises(ValueError, match="Fix: resize the map to its mask, and keep one channel of each"):
            MapAndMask(wrong, MASK)
        MapAndMask(wrong[:4, :4].reshape(4, 4, -1)[..., 0], MASK)


def test_names_of_measures_and_images():
    with pytest.raises(ValueError, match="No such measures: f1. Fix: choose from mae, max_f"):
        MapMeasures(["f1"])
    measures = MapMeasures(["mae", "max_f"])
    measures.update(MAP, MASK, "a")
    with pytest.raises(ValueError, match="a: measured twice. Fix: give each image a different name"):
        measures.update(MAP, MASK, "a")
    measures.update(MAP, MASK, "b")
    assert measures.compute()["mae"] == 0


def test_protocols():
    with pytest.raises(ConfigError, match="Fix: leave out one of the two, or minmax: true"):
        MapProtocol.from_options({"map_protocol": "minmax", "minmax": False})
    for fixed in ({"map_protocol": "minmax"}, {"map_protocol": "minmax", "minmax": True}):
        assert MapProtocol.from_options(fixed) is MapProtocol.MINMAX
    assert MapProtocol.from_options({"minmax": False}) is MapProtocol.PLAIN
    with pytest.raises(ValueError, match="Fix: leave it out"):
        MapProtocol.MINMAX.check_classes(3)
    MapProtocol.from_options({}).check_classes(3)
