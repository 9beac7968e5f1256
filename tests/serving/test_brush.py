"""The code of Label Studio's brush masks, against the encoder and decoder of label_studio_sdk 2.1.2.

Its bytes were recorded by

    pip install label-studio-sdk==2.1.2
    PYTHONPATH=. python -m tests.serving.test_brush
"""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from paddleseg_u2net.serving.brush import decode_brush, encode_brush


def stripes(*lengths: int) -> np.ndarray:
    """One row of runs that take turns, background first."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)[None]


MASKS = {
    "one pixel": np.ones((1, 1), bool),
    "one empty pixel": np.zeros((1, 1), bool),
    "checkerboard": np.indices((3, 5)).sum(axis=0) % 2 == 0,
    "all counters": stripes(1, 2, 3, 4, 5, 64, 65, 16384, 16385),
    "empty, longer than the longest run": np.zeros((200, 200), bool),
    "full, of the longest run exactly": np.ones((128, 128), bool),
}
RECORDED = {
    "one pixel": "00000004391bfc7fe0",
    "one empty pixel": "00000004391bfc6000",
    "checkerboard": "0000003c391bfc7ff18047ff18047ff18047ff18047ff18047ff18047ff18047fe",
    "all counters": "00020244391bfc6013ffdb00bfff84c037ffff010300fffffffffffc0380018000",
    "empty, longer than the longest run": "00027100391bffffff00ffffe01dc3fc00",
    "full, of the longest run exactly": "00010000391bffffffff00",
}


def sdk():
    """The independent encoder and decoder."""
    return pytest.importorskip("label_studio_sdk.converter.brush", reason="needs label-studio-sdk")


@pytest.mark.parametrize("name", MASKS)
def test_code_is_what_the_sdk_wrote(name):
    assert encode_brush(MASKS[name]).hex() == RECORDED[name]


@pytest.mark.parametrize("name", MASKS)
def test_recorded_code_is_decoded(name):
    mask = MASKS[name]
    assert (decode_brush(bytes.fromhex(RECORDED[name]), *mask.shape) == 255 * mask).all()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_sdk_reads_and_writes_the_same(share):
    brush, mask = sdk(), np.random.default_rng(16).random((67, 129)) < share
    code = encode_brush(mask)
    assert list(code) == brush.mask2rle(mask.astype(np.uint8) * 255)
    assert (brush.decode_rle(list(code)).reshape(67, 129, 4)[..., 3] == 255 * mask).all()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_decoding_restores_random_masks(share):
    mask = np.random.default_rng(16).random((67, 129)) < share
    assert (decode_brush(encode_brush(mask), 67, 129) == 255 * mask).all()


def test_code_of_the_editor_is_decoded():
    """The editor writes values that differ one by one, and chooses other counters."""
    opacity = [0, 7, 255, 9, 9]
    values = [value for level in opacity for value in (1, 2, 3, level)]
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (1, 2, 5, 9))
    bits += "0" + "10" + f"{12 - 1:05b}" + "".join(f"{value:08b}" for value in values[:12])  # one by one
    bits += "0" + "11" + f"{8 - 1:09b}" + "".join(f"{value:08b}" for value in values[12:])
    bits += "0" * (-len(bits) % 8)
    code = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert decode_brush(code, 1, 5).tolist() == [opacity]


def test_mask_may_be_a_view_of_another_array():
    mask = np.random.default_rng(1).random((40, 60)) < 0.5
    assert encode_brush(mask.T) == encode_brush(np.ascontiguousarray(mask.T))


@pytest.mark.parametrize("kept", [0, 1, 5, 8, 9, 20])
def test_truncated_code_is_rejected(kept):
    mask = np.random.default_rng(2).random((9, 9)) < 0.5
    with pytest.raises(ValueError, match=rf"brush mask of {kept} bytes: .*Fix:"):
        decode_brush(encode_brush(mask)[:kept], 9, 9)


@pytest.mark.parametrize("size", [(9, 8), (0, 0), (18, 9)])
def test_code_of_another_size_is_rejected(size):
    with pytest.raises(ValueError, match="holds 324 values of 8 bits, expected 4 of 8 bits for each of"):
        decode_brush(encode_brush(np.ones((9, 9), bool)), *size)


def test_header_that_promises_too_much_is_rejected():
    code = b"\xff\xff\xff\xfc" + encode_brush(np.ones((1, 1), bool))[4:]
    with pytest.raises(ValueError, match="holds 4294967292 values"):
        decode_brush(code, 1, 0xFFFFFFFC // 4)


def test_run_beyond_the_end_is_rejected():
    code = bytearray(encode_brush(np.ones((3, 1), bool)))
    code[3] = 4  # values in the header; the run has 12
    with pytest.raises(ValueError, match="ends after 0 of 4 values"):
        decode_brush(bytes(code), 1, 1)


def test_twelve_megapixels_are_fast():
    mask = np.zeros((3000, 4000), np.uint8)
    cv2.circle(mask, (2000, 1500), 1200, 1, -1)
    start = time.process_time()
    code = encode_brush(mask.astype(bool))
    assert time.process_time() - start < 1  # about 0.05 s; the SDK takes seconds
    assert (decode_brush(code, 3000, 4000) == 255 * mask).all()


if __name__ == "__main__":
    for name, mask in MASKS.items():
        print(f'    "{name}": "{bytes(sdk().mask2rle(mask.astype(np.uint8) * 255)).hex()}",')
