"""Checkpoints of MindSpore; the file in `golden/` was written by MindSpore 2.10 with a checksum."""

from __future__ import annotations

import lzma
from dataclasses import replace

import numpy as np
import pytest
from support import GOLDEN

from paddleseg_u2net.models.architecture import NETWORKS, U2NET, Identity, state_shapes
from paddleseg_u2net.models.mindspore_files import read_mindspore
from paddleseg_u2net.models.weight_files import read_state

GAMMAS = {"weight": "gamma", "bias": "beta", "_mean": "moving_mean", "_variance": "moving_variance"}
TINY = tuple(replace(stage, mid_channels=2, out_channels=3) for stage in U2NET)


@pytest.fixture
def golden(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "Tiny", TINY)
    path = tmp_path / "mindspore.ckpt"
    path.write_bytes(lzma.decompress((GOLDEN / "mindspore.ckpt.xz").read_bytes()))
    return path


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def record(name: str, array: np.ndarray, kind: str = "Float32", dims=None) -> bytes:
    """One parameter, by hand from the definition of Protocol Buffers."""
    sizes = b"".join(b"\x08" + varint(n) for n in (array.shape if dims is None else dims))
    tensor = sizes + field(2, kind.encode()) + field(3, array.tobytes())
    return field(1, field(1, name.encode()) + field(2, tensor))


def test_file_of_mindspore_holds_the_weights_and_no_extras(golden):
    state = read_state(golden)
    assert {key: value.shape for key, value in state.items()} == state_shapes(Identity("Tiny", 3, 1))
    assert {"epoch_num", "lr", "ok"} <= set(read_mindspore(golden))


def test_moments_of_the_optimizer_are_left_out_and_named(tmp_path, golden, caplog):
    caplog.set_level("INFO")
    state, records = read_state(golden), b""
    for key, value in state.items():
        layer, _, part = key.rpartition(".")
        name = f"{layer}.{GAMMAS[part]}" if layer.endswith("bn_s1") else key
        records += record(name, value)
        records += record(f"moment1.{name}", value * 0) + record(f"moment2.{name}", value * 0)
    (tmp_path / "a.ckpt").write_bytes(records + record("learning_rate", np.float32([0.1]), dims=[0]))
    found = read_state(tmp_path / "a.ckpt")
    assert set(found) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)
    assert f"left out {2 * len(state) + 1} tensors beside the weights: moment1." in caplog.text


def test_large_tensor_in_parts_scalar_and_half_precision_are_read(tmp_path):
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    bits = (whole.view(np.uint32) >> 16).astype(np.uint16)
    parts = [record("w", part, dims=(2, 3)) for part in (whole.ravel()[:2], whole.ravel()[2:])]
    one = record("s", np.float64([7]), "Float64", dims=[0])
    (tmp_path / "a").write_bytes(b"".join(parts) + one + record("b", bits, "BFloat16"))
    found = read_mindspore(tmp_path / "a")
    np.testing.assert_array_equal(found["w"], whole)
    np.testing.assert_array_equal(found["b"], whole)
    assert found["s"].shape == ()
    assert found["s"] == 7


def test_damage_is_found_by_the_checksum(golden):
    data = bytearray(golden.read_bytes())
    data[len(data) // 2] ^= 1
    golden.write_bytes(data)
    with pytest.raises(ValueError, match="weights of MindSpore: damaged: its checksum is another one"):
        read_state(golden)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (record("w", np.zeros(3, np.float32), dims=(2, 2)), "w has 12 bytes, which does not fit its shape"),
        (record("w", np.zeros(3, np.float32), dims=(1 << 40,)), "w has 12 bytes, which does not fit"),
        (
            record("w", np.zeros(3, np.float32), "Complex64"),
            "w has type 'Complex64', expected one of Float64",
        ),
        (record("w", np.zeros(0, np.float32), dims=[1 << 62] * 9999), "w has 9999 axes, or negative sizes"),
        (record("w", np.zeros(99, np.float32))[:-7], "cannot be read as weights of MindSpore"),
        (b"\n\xff\xff\xff\xff\xff\xff", "cannot be read as weights of MindSpore"),
    ],
)
def test_broken_file_is_named(tmp_path, content, message):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / "a.ckpt")
