"""`u2net average-weights` on the folders of training runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.models.weight_files import read_state

AVERAGED = "averaged over 2, BatchNorm statistics included"


@pytest.fixture
def runs(run, config) -> list[str]:
    """Two runs that start from the same weights, with different data orders."""
    for name in ("a", "b"):
        flags = ["--iters", 2, "--seed", 1, "--learning_rate", 0.1 if name == "a" else 0.01]
        assert run("train", "--config", config, "--save_dir", name, *flags)[0] == 0
    return ["a/iter_2/model.pdparams", "b"]


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
@pytest.mark.parametrize(
    ("flags", "second"), [([], 0.5), (["--alpha", 0.25], 0.25), (["--weights", 0.1, 0.9], 0.9)]
)
def test_average_is_written_with_the_config_of_the_last_model(run, runs, suffix, flags, second):
    target = Path("mean/model").with_suffix(suffix)
    code, text, error = run("average-weights", *runs, *flags, "--save_path", target)
    assert (code, error) == (0, "")
    assert text == f"{target}: 8 tensors of a network of another family, {AVERAGED}\n"
    first, last = (read_state(f"{name}/iter_2/model.pdparams") for name in "ab")
    for key, value in read_state(target).items():
        np.testing.assert_allclose(value, (1 - second) * first[key] + second * last[key], atol=1e-6)
    assert load_config("mean/config.yaml") == load_config("b/config.yaml")


def test_average_is_measured_like_any_model(run, runs):
    assert run("average-weights", *runs, "--save_path", "mean/model.pdparams")[0] == 0
    code, text, error = run("val", "--model_path", "mean/model.pdparams")
    assert (code, error) == (0, "")
    assert "maxF: " in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a", "--save_path", "c.pdparams"], 1, "a: expected at least two different weight files"),
        (["a", "b", "a/iter_2", "--alpha", 0.5, "--save_path", "c.npz"], 2, "--alpha: needs two models"),
        (["a", "b", "--weights", 0.5, 0.6, "--save_path", "c.npz"], 1, "shares 0.5, 0.6 for 2 weight files"),
        (["a", "b", "--weights", 2, "--save_path", "c.npz"], 2, "expected a number from 0 to 1, got '2'"),
        (["a", "b", "--alpha", "x", "--save_path", "c.npz"], 2, "expected a number from 0 to 1, got 'x'"),
        (["a", "b", "--save_path", "c.onnx"], 1, "cannot write '.onnx'. Fix: one of .pdparams"),
        (["a", "b", "--save_path", "b/model.npz"], 1, "b/config.yaml: exists already. Fix: remove it"),
        (["a", "none", "--save_path", "c.npz"], 1, "none: no such weight file or run folder"),
    ],
)
def test_wrong_words_are_rejected_and_nothing_is_written(run, runs, words, code, message):
    found, _, error = run("average-weights", *words)
    assert (found, message in error) == (code, True), error
    assert not list(Path().glob("c.*"))
