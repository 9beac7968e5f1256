"""Values of `deploy.yaml` that no export writes."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from paddleseg_u2net.engines.deploy_config import read_record
from paddleseg_u2net.errors import ConfigError

RIGHT = {
    "model": "model.onnx",
    "precision": "fp32",
    "input_shape": [1, 3, -1, -1],
    "output_op": "sigmoid",
    "labels": ["background", "object"],
    "sha256": {"model.onnx": hashlib.sha256(b"x").hexdigest()},
    "num_classes": 1,
}
MODEL = {"type": "U2Netp", "num_classes": 1}


def write(folder, **changes):
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": {**RIGHT, **changes}, "model": MODEL}))
    return folder / "deploy.yaml"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("input_shape", value) for value in ([1], None, [1, 3, 320], [1, 3, "a", 1], [1, 3, -2, 1], {})],
        *[("sha256", value) for value in ({1: 2}, {"model.onnx": None})],
        *[("labels", value) for value in ("ab", [1], None)],
        *[("num_classes", value) for value in (-1, 1.5, None, 2)],
        *[("precision", value) for value in ([1], "fp31")],
    ],
)
def test_wrong_values_name_the_file_and_the_key(tmp_path, key, value):
    with pytest.raises(ConfigError, match=rf"deploy.yaml: Deploy: {key}: .*Fix: export the model again"):
        read_record(write(tmp_path, **{key: value}))


def test_right_values_are_read(tmp_path):
    assert read_record(write(tmp_path)).model == "model.onnx"
