"""The choice of what computes the training steps on a CPU."""

from __future__ import annotations

import ctypes
import logging
from collections import UserDict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import TinyNet
from training_runs import assert_equal_runs, trainer
from two_processes import ENGINE_OPTS

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.onednn import library as bindings
from paddleseg_u2net.onednn.library import Unavailable, open_library
from paddleseg_u2net.onednn.network import OneDnnNetwork
from paddleseg_u2net.training import validation
from paddleseg_u2net.training.cpu_engine import choose_cpu_engine, plan_batches


@cache
def built(kind=U2Netp):
    """A network of one class, which no test changes."""
    return kind(1)


def without(reason):
    """A `library` that raises."""

    def library():
        raise Unavailable(reason)

    return library


def test_networks_of_this_family_are_trained_by_onednn(caplog):
    caplog.set_level(logging.INFO)
    assert choose_cpu_engine("auto", built(), "cpu", "fp32") == "onednn"
    assert f"computed by oneDNN {bindings.version()}, fp32" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "network", "reason"),
    [
        ("auto", TinyNet, "the oneDNN engine knows U2Net and U2Netp, not TinyNet"),
        ("paddle", U2Netp, "--cpu_engine paddle was given"),
    ],
)
def test_the_log_says_why_paddle_computes(wanted, network, reason, caplog):
    caplog.set_level(logging.INFO)
    assert choose_cpu_engine(wanted, built(network), "cpu", "fp32") == "paddle"
    assert f"computed by Paddle: {reason}" in caplog.text


def test_without_a_usable_library_paddle_computes_and_onednn_is_refused(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("paddleseg_u2net.training.cpu_engine.library", without("libdnnl.so.3 is missing"))
    assert choose_cpu_engine("auto", built(), "cpu", "fp32") == "paddle"
    assert "oneDNN does not work here: libdnnl.so.3 is missing" in caplog.text
    with pytest.raises(ValueError, match="--cpu_engine onednn: .* is missing. Fix: leave --cpu_engine out"):
        choose_cpu_engine("onednn", built(), "cpu", "fp32")
    with pytest.raises(ValueError, match="--precision bf16 on a CPU: .* is missing. Fix: leave --precision"):
        choose_cpu_engine("auto", built(), "cpu", "bf16")


def test_an_operation_that_onednn_refuses_is_an_obstacle(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("paddleseg_u2net.onednn.operations.POOLING_MAX", 12345)
    assert choose_cpu_engine("auto", built(), "cpu", "fp32") == "paddle"
    assert "dnnl_pooling_forward_primitive_desc_create returned status" in caplog.text


def test_another_device_is_left_to_paddle():
    assert choose_cpu_engine("auto", built(), "gpu", "bf16") == "paddle"
    with pytest.raises(ValueError, match="--cpu_engine onednn: the device is gpu"):
        choose_cpu_engine("onednn", built(), "gpu", "fp32")


@pytest.mark.parametrize(
    ("network", "precision", "units", "reason"),
    [
        (U2Netp, "fp16", True, "training in fp16 needs a GPU"),
        (U2Netp, "bf16", False, "this processor has no units for bfloat16"),
        (TinyNet, "bf16", True, "the oneDNN engine knows U2Net and U2Netp"),
    ],
)
def test_half_precision_without_units_is_refused(network, precision, units, reason, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.training.cpu_engine.has_bf16", lambda: units)
    with pytest.raises(ValueError, match=f"--precision {precision} on a CPU: {reason}.*Fix: leave"):
        choose_cpu_engine("auto", built(network), "cpu", precision)


def test_a_library_that_is_missing_foreign_or_of_another_version_is_refused(tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match=r"libdnnl.so.3 cannot be loaded: .*No such file"):
        open_library(tmp_path / "libdnnl.so.3")
    libc = Path(ctypes.CDLL("libm.so.6")._name)
    with pytest.raises(Unavailable, match="libm.so.6 has no function dnnl_version"):
        open_library(libc)
    monkeypatch.setattr(bindings, "MAJOR", 4)
    with pytest.raises(Unavailable, match="is oneDNN 3, expected 4"):
        open_library(bindings.paddle_library("libdnnl.so.3"))
    bindings._openmp.cache_clear()
    monkeypatch.setattr(bindings, "paddle_library", lambda name: tmp_path / name)
    with pytest.raises(Unavailable, match=r"libiomp5.so cannot be loaded"), bindings.threads(1):
        pass


def test_resume_equals_uninterrupted_training_and_another_engine_is_said(config, tmp_path, caplog):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = {"iters": 2, "save_interval": 1, "use_ema": True, "accumulate": 2}
    trainer(config, whole, ENGINE_OPTS[:3], cpu_engine="onednn", **options).run()
    again = {"resume_model": whole / "iter_1", "seed": 9, **options}
    trainer(config, resumed, ENGINE_OPTS[:3], cpu_engine="onednn", **again).run()
    assert_equal_runs(whole / "iter_2", resumed / "iter_2")
    assert "will differ by rounding" not in caplog.text
    trainer(config, tmp_path / "other", ENGINE_OPTS[:3], cpu_engine="paddle", **again)
    assert "was trained by onednn fp32, and this run goes on with paddle fp32" in caplog.text


@pytest.fixture
def sized_data():
    """A function that makes data of one image of 32x40, given `multi_scale`."""

    def make(*sizes):
        data = UserDict({(0, 0): {"img": np.zeros((3, 32, 40))}})
        data.spec = SimpleNamespace(multi_scale=sizes)
        return data

    return make


@pytest.mark.parametrize(
    ("sizes", "planned"),
    [((), [(32, 40)]), (((16, 99), (64, 40), (48, 48), (16, 99)), [(64, 40), (48, 48), (16, 99)])],
)
def test_all_sizes_are_planned_ahead_the_largest_first(sizes, planned, sized_data, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.onednn.network.Plan", lambda *_: SimpleNamespace(size=0))
    network = OneDnnNetwork(built())
    plan_batches(network, sized_data(*sizes), 5, "auto")
    assert [options.shape for options in network.plans] == [(5, 3, *size) for size in planned]
    plan_batches(TinyNet(1), sized_data(*sizes), 5, "auto")  # Paddle plans nothing


def test_a_size_that_onednn_refuses_leaves_the_run_to_paddle_in_words(sized_data, monkeypatch, caplog):
    def plan(body, shapes, options, arena):
        if options.shape[3] > 9999:
            raise Unavailable("dnnl_primitive_create returned status 5")
        return SimpleNamespace(size=0)

    monkeypatch.setattr("paddleseg_u2net.onednn.network.Plan", plan)
    network, data = OneDnnNetwork(built()), sized_data((16, 12000), (600, 600))
    plan_batches(network, data, 2, "auto")
    assert network.refused
    refusal = "oneDNN: images of 16x12000 in batches of 2 are refused: dnnl_primitive_create returned"
    assert f"{refusal} status 5. Paddle computes all steps from here on, several times slower" in caplog.text
    for precision, wanted in (("fp32", "onednn"), ("bf16", "auto")):
        with pytest.raises(ValueError, match=f"{refusal} status 5. Fix: other sizes, or leave --cpu_engine"):
            plan_batches(OneDnnNetwork(built(), precision), data, 2, wanted)


def test_a_batch_that_does_not_fit_ends_the_run_before_one_is_loaded(config, tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.onednn.network.available_memory", lambda: 16 << 20)
    monkeypatch.setattr("paddleseg_u2net.training.trainer.load_batches", None)
    with pytest.raises(
        ValueError, match=r"a step of 50 images of 32x32 needs .*Fix: --batch_size \d+ or less"
    ):
        trainer(config, tmp_path, ENGINE_OPTS[:3], batch_size=50).run()


def test_evaluation_during_training_has_the_scores_of_paddle(config, tmp_path, monkeypatch):
    run = trainer(config, tmp_path, ENGINE_OPTS[:3], do_eval=True)
    (data,) = open_datasets([build_dataset_spec(run.config, "val_dataset")])
    fast = run.validation.measure(run.validation.predictor(run.network), data).compute()
    monkeypatch.setattr(validation, "has", lambda name: False)
    assert isinstance(validation.evaluation_engine(run.network, {}), PaddleEngine)
    slow = run.validation.measure(run.validation.predictor(run.network), data).compute()
    assert fast.keys() == slow.keys()
    for name, value in slow.items():
        np.testing.assert_allclose(fast[name], value, atol=1e-4, err_msg=name)
