"""The table of backends and the choice among them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support import environment

from paddleseg_u2net.engines import base
from paddleseg_u2net.engines.base import BACKENDS, choose, engines_for, open_engine
from paddleseg_u2net.export.formats import FORMATS
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.models.weight_files import state_of


@pytest.mark.parametrize(
    ("suffix", "precision", "expected"),
    [
        (".onnx", "fp32", ["onnxruntime", "openvino"]),
        (".onnx", "fp16", ["onnxruntime", "openvino"]),
        (".onnx", "int8", ["openvino", "onnxruntime"]),
        (".onnx", "bf16", ["openvino"]),
        (".xml", "fp32", ["openvino"]),
        (".json", "fp32", ["paddle_inference"]),
        (".json", "bf16", []),
        (".pdparams", "fp32", []),
    ],
)
def test_engines_of_a_model_file_are_listed_fastest_first(suffix, precision, expected):
    assert engines_for(suffix, precision) == expected


def test_every_export_format_has_an_engine_for_each_of_its_precisions():
    for name, row in FORMATS.items():
        for precision in row.precisions:
            assert row.engines(precision), (name, precision)


def test_importing_the_base_loads_no_engine():
    code = (
        "import sys, paddleseg_u2net.engines.base\n"
        "heavy = {'cv2', 'paddle', 'onnxruntime', 'openvino', 'onnx'}\n"
        "own = {name for name in sys.modules if name.startswith('paddleseg_u2net.engines.')}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(own))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert outcome.stdout.strip() == "[] ['paddleseg_u2net.engines.base']", outcome.stderr


@pytest.mark.parametrize("backend", [name for name, row in BACKENDS.items() if row.open])
def test_every_engine_rejects_a_device_it_does_not_have(tmp_path, backend):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="--device npu: .*Fix: "):
        open_engine(backend, tmp_path / "model.onnx", "npu")


def test_auto_takes_the_first_installed_backend(monkeypatch):
    installed = {"openvino"}
    monkeypatch.setattr(base, "find_spec", lambda name: name if name in installed else None)
    assert choose("auto", list(BACKENDS), "it") == "openvino"
    installed.add("onnxruntime")
    assert choose("auto", list(BACKENDS), "it") == "onnxruntime"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_file_that_is_not_a_model_is_named_in_the_message(tmp_path, backend):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="a.onnx: is damaged, or not of this kind. Fix: "):
        open_engine(backend, tmp_path / "a.onnx", "cpu", "fp32")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_size_other_than_the_exported_one_is_rejected(tmp_path, backend):
    model = build_onnx(state_of(U2Netp(1)), (1, 3, 32, 32))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    engine = open_engine(backend, tmp_path / "a.onnx")
    assert engine(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 1, 32, 32)
    with pytest.raises(ValueError, match=r"an input of \(1, 3, 40, 40\)"):
        engine(np.zeros((1, 3, 40, 40), np.float32))
