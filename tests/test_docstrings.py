"""The examples of docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "paddleseg_u2net").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.usefixtures("warm_cache", "small_drawing")
@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    assert not doctest.testmod(importlib.import_module(name)).failed
