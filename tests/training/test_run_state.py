"""How runs are compared that tests/campaigns/test_interruptions.py has interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_state import Differences, History


@pytest.mark.parametrize(
    ("found", "expected", "lines"),
    [
        ({"a": {"b": np.zeros(2)}}, {"a": {"b": np.zeros(2)}}, []),
        ({"a": np.float32([0.0])}, {"a": np.float32([-0.0])}, ["run: a: [0.] instead of [-0.]"]),
        ({"a": np.zeros(1)}, {"a": np.zeros(1, np.float32)}, ["run: a: [0.] instead of [0.]"]),
        ({"a": np.float32([np.nan])}, {"a": np.float32([np.nan])}, []),
        ({"a": 1}, {"a": 1, "b": 2}, ["run: only one of the two has ['b']"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["run: a: [1, 2] instead of [1, 3]"]),
        ({"a": None}, {"a": {"b": 1}}, ["run: a: None instead of {'b': 1}"]),
    ],
)
def test_values_are_compared_bit_for_bit(found, expected, lines):
    differences = Differences()
    differences.compare("run", found, expected)
    assert differences.lines == lines


def test_repeated_steps_replace_earlier_lines_and_times_are_left_out():
    def line(step, loss):
        return f"[TRAIN] epoch: 1, iter: {step}/9, loss: {loss}, lr: 0.1, batch_cost: 0.{loss}, ips: 3"

    history = History()
    history.read("\n".join([line(1, 5), line(2, 4), "[EVAL] MAE: 3", "[EVAL] half a li"]), None)
    history.read("\n".join(["[EVAL] MAE: 2", "[EVAL] Acc: 1", line(3, 7)]), Path("run/iter_2"))
    history.read(line(3, 6), Path("run/iter_2"))
    assert history.losses == {n: line(n, k)[8:].split(", batch")[0] for n, k in ((1, 5), (2, 4), (3, 6))}
    assert history.scores == {2: [" MAE: 2", " Acc: 1"]}
