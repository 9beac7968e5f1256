"""What exceptions of libraries say to users."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from paddleseg_u2net.environment import failures
from paddleseg_u2net.environment.failures import reason


@pytest.fixture(autouse=True)
def free(monkeypatch):
    monkeypatch.setattr(failures, "available_memory", lambda: 3 << 29)


def test_opencv_is_quoted_without_its_source_files():
    with pytest.raises(cv2.error) as error:
        cv2.resize(np.zeros((2, 2), np.uint8), (0, 0))
    text = reason(error.value)
    assert text.startswith("OpenCV: ")
    assert ".cpp" not in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "not enough memory (1.5 GiB are free)"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            "not enough memory (1.5 GiB are free): Unable to allocate 9 GiB",
        ),
        (ValueError("a\nb\x1b[31m"), r"a b\x1b[31m"),
        (ValueError(), "ValueError"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (ValueError("x" * 999), "x" * 300 + "…"),
        (ValueError("x" * 999 + ". Fix: y"), "x" * 999 + ". Fix: y"),
        (
            RuntimeError("C++ Traceback ResourceExhaustedError: Out of memory Please check"),
            "RuntimeError: Out of memory",
        ),
    ],
)
def test_reasons_are_one_printable_line(error, text):
    assert reason(error) == text


def test_unknown_amount_of_memory(monkeypatch):
    monkeypatch.setattr(failures, "available_memory", lambda: None)
    assert reason(MemoryError()) == "not enough memory (how much is free is not known)"
