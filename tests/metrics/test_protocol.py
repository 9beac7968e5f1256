"""The enumerations of map protocols and of measure stretching."""

from __future__ import annotations

import pytest

from paddleseg_u2net.config.schema import TEST_KEYS
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.metrics.protocol import MapProtocol, MeasureStretch


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, MapProtocol.PLAIN),
        ({"minmax": None, "official": None, "map_protocol": None}, MapProtocol.PLAIN),
        ({"minmax": False, "official": False}, MapProtocol.PLAIN),
        ({"minmax": True}, MapProtocol.MINMAX),
        ({"official": True}, MapProtocol.OFFICIAL),
        ({"minmax": True, "official": True}, MapProtocol.OFFICIAL),
        ({"map_protocol": "plain", "official": False}, MapProtocol.PLAIN),
        ({"map_protocol": "minmax", "minmax": True}, MapProtocol.MINMAX),
        ({"map_protocol": "official", "scales": [1]}, MapProtocol.OFFICIAL),
    ],
)
def test_options_choose_the_map_protocol(options, expected):
    assert MapProtocol.from_options(options) is expected


def test_default_holds_without_an_option_that_is_on():
    default = MapProtocol.OFFICIAL
    assert MapProtocol.from_options({"minmax": None}, default) is default
    assert MapProtocol.from_options({"minmax": True}, default) is MapProtocol.MINMAX
    assert MapProtocol.from_options({"map_protocol": "plain"}, default) is MapProtocol.PLAIN


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, MeasureStretch.REFERENCE),
        ({"as_is": False}, MeasureStretch.REFERENCE),
        ({"as_is": True}, MeasureStretch.NONE),
        ({"author_minmax": True}, MeasureStretch.ALL),
        ({"as_is": True, "author_minmax": True}, MeasureStretch.AUTHOR),
        ({"measure_stretch": "author", "as_is": True}, MeasureStretch.AUTHOR),
        ({"measure_stretch": "none"}, MeasureStretch.NONE),
    ],
)
def test_options_choose_the_measure_stretch(options, expected):
    assert MeasureStretch.from_options(options) is expected


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MapProtocol, {"map_protocol": "plain", "official": True}, "plain and official: true contradict"),
        (MapProtocol, {"map_protocol": "official", "official": False}, "official: false contradict"),
        (MapProtocol, {"map_protocol": "official", "minmax": True}, "or minmax: false$"),
        (MeasureStretch, {"measure_stretch": "none", "as_is": False}, "as_is: false contradict"),
        (MeasureStretch, {"measure_stretch": "none", "author_minmax": True}, "author_minmax: true"),
    ],
)
def test_contradicting_options_are_rejected(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        kind.from_options(options)


def test_each_choice_has_its_own_description():
    for kind in (MapProtocol, MeasureStretch):
        assert len({choice.description for choice in kind}) == len(kind)


def test_stretches_are_the_four_combinations():
    assert len({(choice.minmax, choice.author_minmax) for choice in MeasureStretch}) == 4


@pytest.mark.parametrize(
    ("key", "kind"), [("map_protocol", MapProtocol), ("measure_stretch", MeasureStretch)]
)
def test_configs_accept_the_values_and_no_others(key, kind):
    valid, expected = TEST_KEYS[key]
    assert all(valid(choice.value) for choice in kind)
    assert not any(map(valid, ("", True, None, ["plain"], "other")))
    assert expected == f"one of {', '.join(choice.value for choice in kind)}"


def test_class_maps_have_the_plain_protocol_only():
    MapProtocol.PLAIN.check_classes(3)
    MapProtocol.MINMAX.check_classes(1)
    with pytest.raises(ValueError, match="map_protocol minmax: .* 3 classes. Fix: leave it out"):
        MapProtocol.MINMAX.check_classes(3)
