"""The choice of what computes the training steps on a CPU."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

import pytest
from support import TinyNet

from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.onednn import library as bindings
from paddleseg_u2net.onednn.library import Unavailable, open_library
from paddleseg_u2net.training.cpu_engine import choose_cpu_engine


def without(reason):
    """A `library` that raises."""

    def library():
        raise Unavailable(reason)

    return library


def test_networks_of_this_family_are_trained_by_onednn(caplog):
    caplog.set_level(logging.INFO)
    assert choose_cpu_engine("auto", U2Netp(1), "cpu", "fp32") == "onednn"
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
    assert choose_cpu_engine(wanted, network(1), "cpu", "fp32") == "paddle"
    assert f"computed by Paddle: {reason}" in caplog.text


def test_without_a_usable_library_paddle_computes_and_onednn_is_refused(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("paddleseg_u2net.training.cpu_engine.library", without("libdnnl.so.3 is missing"))
    assert choose_cpu_engine("auto", U2Netp(1), "cpu", "fp32") == "paddle"
    assert "oneDNN does not work here: libdnnl.so.3 is missing" in caplog.text
    with pytest.raises(ValueError, match="--cpu_engine onednn: .* is missing. Fix: leave --cpu_engine out"):
        choose_cpu_engine("onednn", U2Netp(1), "cpu", "fp32")


def test_an_operation_that_onednn_refuses_is_an_obstacle(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("paddleseg_u2net.onednn.operations.POOLING_MAX", 12345)
    assert choose_cpu_engine("auto", U2Netp(1), "cpu", "fp32") == "paddle"
    assert "dnnl_pooling_forward_primitive_desc_create returned status" in caplog.text


def test_another_device_is_left_to_paddle():
    assert choose_cpu_engine("auto", U2Netp(1), "gpu", "bf16") == "paddle"
    with pytest.raises(ValueError, match="--cpu_engine onednn: the device is gpu"):
        choose_cpu_engine("onednn", U2Netp(1), "gpu", "fp32")


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
        choose_cpu_engine("auto", network(1), "cpu", precision)


def test_a_library_that_is_missing_foreign_or_of_another_version_is_refused(tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match=r"libdnnl.so.3 cannot be loaded: .*No such file"):
        open_library(tmp_path / "libdnnl.so.3")
    libc = Path(ctypes.CDLL("libm.so.6")._name)
    with pytest.raises(Unavailable, match="libm.so.6 has no function dnnl_version"):
        open_library(libc)
    monkeypatch.setattr(bindings, "MAJOR", 4)
    with pytest.raises(Unavailable, match="is oneDNN 3, expected 4"):
        open_library(bindings.paddle_library("libdnnl.so.3"))
