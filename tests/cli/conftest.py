"""Fixtures of the tests of commands."""

from __future__ import annotations

import pytest

from paddleseg_u2net.evaluation import details


@pytest.fixture(autouse=True)
def _no_pictures_of_evaluations(monkeypatch):
    """Draw no examples and matrices, which takes longer than all else; `tests/evaluation` has them drawn."""
    for name in ("draw_examples", "draw_confusion", "write_curves"):
        monkeypatch.setattr(details, name, lambda *_: None)
