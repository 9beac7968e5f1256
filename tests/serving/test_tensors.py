"""Requests and answers in the Open Inference Protocol, without a server."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.tensors import (
    HEADER,
    JSON_BYTES,
    JSON_CONTAINERS,
    JSON_VALUES,
    Limits,
    TensorRequest,
    parse_request,
    write_answer,
)

RNG = np.random.default_rng(0)
LIMITS = Limits(channels=3, images=4, pixels=4000)
PHOTOS = RNG.integers(0, 256, (2, 21, 34, 3), dtype=np.uint8)
TENSOR = {"name": "image", "shape": [1, 1, 2, 3], "datatype": "UINT8", "data": [0, 255, 7, 8, 9, 10]}
BINARY = {"name": "image", "shape": [1, 1, 2, 3], "datatype": "UINT8"}
SIX = {"binary_data_size": 6}


def written(binary: bool, outputs=None, request_id=""):
    """What the client of Triton sends: body, and bytes of JSON."""
    tensor = InferInput("image", list(PHOTOS.shape), "UINT8")
    tensor.set_data_from_numpy(PHOTOS, binary_data=binary)
    return InferenceServerClient.generate_request_body([tensor], outputs=outputs, request_id=request_id)


def body_of(*tensors, **more) -> bytes:
    return json.dumps({"inputs": list(tensors), **more}).encode()


def fault_of(body: bytes, header=None, limits=LIMITS) -> ApiFault:
    with pytest.raises(ApiFault) as caught:
        parse_request(body, header, limits)
    return caught.value


@pytest.mark.parametrize("binary", [True, False])
def test_what_the_client_of_triton_writes_is_read(binary):
    body, length = written(binary, request_id="a1")
    found = parse_request(body, None if length is None else str(length), LIMITS)
    np.testing.assert_array_equal(found.images, PHOTOS)
    assert (found.binary, found.id) == (True, "a1")


@pytest.mark.parametrize("shape", [(-1,), (1, 1, 2, 3)], ids=["flat", "nested"])
def test_values_in_json_are_flat_or_nested(shape):
    data = np.reshape(TENSOR["data"], shape).tolist()
    found = parse_request(body_of(TENSOR | {"data": data}), None, LIMITS)
    assert found.images.tolist() == [[[[0, 255, 7], [8, 9, 10]]]]
    assert (found.images.dtype, found.binary, found.id) == (np.uint8, False, None)


def test_an_output_decides_whether_it_is_binary():
    for wanted in (True, False):
        outputs = [InferRequestedOutput("probabilities", binary_data=wanted)]
        body, length = written(True, outputs)
        assert parse_request(body, str(length), LIMITS).binary is wanted
    named = [{"name": "probabilities"}]
    for value in (True, False):
        body = body_of(TENSOR, outputs=named, parameters={"binary_data_output": value})
        assert parse_request(body, None, LIMITS).binary is value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("binary", [True, False])
def test_the_client_of_triton_reads_answers_exactly(binary, channels):
    maps = RNG.random((2, channels, 5, 7), dtype=np.float32)
    request = TensorRequest(PHOTOS, binary, "a1")
    content, length = write_answer("u2netp", request, [Prediction(one) for one in maps])
    assert (length is not None) is binary
    result = InferResult.from_response_body(content, header_length=length)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), maps)
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("u2netp", "1", "a1")


def test_maps_that_are_not_contiguous_are_written_in_order():
    maps = RNG.random((1, 7, 5), dtype=np.float32).transpose(0, 2, 1)
    content, length = write_answer("m", TensorRequest(PHOTOS, True), [Prediction(maps)])
    result = InferResult.from_response_body(content, header_length=length)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), maps[None])
    assert "id" not in result.get_response()


BAD = {
    "nothing": (b"", "not JSON"),
    "text": (b"hello", "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not JSON"),
    "deep lists": (b"[" * 200_000, "lists in too many lists"),
    "a number of 5,000 digits": (b"9" * 5000, "not JSON"),
    "a list": (b"[]", "the body is JSON, but no object"),
    "no input": (b"{}", "inputs: expected a list of one tensor, 'image'"),
    "two inputs": (body_of(TENSOR, TENSOR), "inputs: expected a list of one tensor"),
    "an input that is text": (body_of("image"), "inputs: expected a list of one tensor"),
    "another name": (body_of(TENSOR | {"name": "x"}), "inputs: 'x': expected 'image'"),
    "no name": (body_of(TENSOR | {"name": None}), "inputs: null: expected 'image'"),
    "floats": (body_of(TENSOR | {"datatype": "FP32"}), "datatype 'FP32': expected UINT8"),
    "texts": (body_of(TENSOR | {"datatype": "BYTES"}), "datatype 'BYTES': expected UINT8"),
    "three axes": (body_of(TENSOR | {"shape": [1, 2, 3]}), "shape [1, 2, 3]: expected [N, H, W, 3]"),
    "channels first": (body_of(TENSOR | {"shape": [1, 3, 1, 2]}), "expected [N, H, W, 3], each above 0"),
    "no pixel": (body_of(TENSOR | {"shape": [1, 0, 2, 3]}), "expected [N, H, W, 3], each above 0"),
    "a negative side": (body_of(TENSOR | {"shape": [1, -1, -2, 3]}), "shape [1, -1, -2, 3]: expected"),
    "true as a side": (body_of(TENSOR | {"shape": [1, True, 2, 3]}), "shape [1, True, 2, 3]: expected"),
    "2.0 as a side": (body_of(TENSOR | {"shape": [1, 1, 2.0, 3]}), "shape [1, 1, 2.0, 3]: expected"),
    "a long shape": (body_of(TENSOR | {"shape": [1] * 9}), "shape [1, 1, 1, 1, 1, 1, …]: expected"),
    "a value too many": (body_of(TENSOR | {"data": [0] * 7}), "data: expected 6 whole numbers"),
    "a value above": (body_of(TENSOR | {"data": [0, 0, 0, 0, 0, 256]}), "data from 0 to 256: expected 0 to"),
    "a value below": (
        body_of(TENSOR | {"data": [0, 0, 0, 0, 0, -1]}),
        "data from -1 to 0: expected 0 to 255",
    ),
    "a value of 70 bits": (
        body_of(TENSOR | {"data": [0, 0, 0, 0, 0, 1 << 70]}),
        "data from 0 to a huge number",
    ),
    "fractions": (body_of(TENSOR | {"data": [0.5] * 6}), "data: expected 6 whole numbers"),
    "truth values": (body_of(TENSOR | {"data": [True] * 6}), "data: expected 6 whole numbers"),
    "digits": (body_of(TENSOR | {"data": ["1"] * 6}), "data: expected 6 whole numbers"),
    "texts of which one is long": (
        body_of(TENSOR | {"data": [""] * 5 + ["a" * 9]}),
        "expected 6 whole numbers",
    ),
    "lists in 70 lists": (
        body_of(TENSOR | {"data": json.loads("[" * 70 + "]" * 70)}),
        "expected 6 whole numbers",
    ),
    "uneven lists": (body_of(TENSOR | {"data": [[0, 0], [0]]}), "data: expected 6 whole numbers"),
    "no list": (body_of(TENSOR | {"data": None}), "data: expected 6 whole numbers"),
    "another nesting": (
        body_of(TENSOR | {"data": [[0] * 3] * 2}),
        "data of shape [2, 3]: expected [1, 1, 2, 3]",
    ),
    "no values": (body_of(BINARY), "expected either data or parameters.binary_data_size"),
    "values twice": (body_of(TENSOR | {"parameters": SIX}), "expected either data or"),
    "binary data without a header": (body_of(BINARY | {"parameters": SIX}) + b"123456", "not JSON"),
    "an id that is a number": (body_of(TENSOR, id=3), "id: expected a text"),
    "a long id": (body_of(TENSOR, id="a" * 257), "id: expected a text of up to 256 characters"),
    "another output": (body_of(TENSOR, outputs=[{"name": "d0"}]), "outputs: 'd0': expected 'probabilities'"),
    "outputs that are text": (body_of(TENSOR, outputs="d0"), "outputs: expected a list of one output"),
    "two outputs": (body_of(TENSOR, outputs=[{}, {}]), "outputs: expected a list of one output"),
    "parameters in a list": (body_of(TENSOR, parameters=[]), "parameters: expected an object"),
    "yes as a truth value": (
        body_of(TENSOR, parameters={"binary_data_output": "yes"}),
        "expected true or false",
    ),
}


@pytest.mark.parametrize(("body", "message"), BAD.values(), ids=BAD)
def test_a_bad_request_is_named(body, message):
    fault = fault_of(body)
    assert (fault.code, fault.status) == ("bad_request", 400)
    assert message in fault.message
    assert len(fault.message) < 400


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"timeout": 3}, "timeout"),
        ({"parameters": {"sequence_id": 3}}, "sequence_id"),
        ({"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "probabilities", "datatype": "FP32"}]}, "datatype"),
    ],
)
def test_what_is_not_done_is_refused_and_not_ignored(more, name):
    fault = fault_of(body_of(TENSOR, **more))
    assert fault.code == "unknown_parameter"
    assert f"'{name}': unknown." in fault.message
    assert "inputs: 'layout': unknown." in fault_of(body_of(TENSOR | {"layout": "NHWC"})).message
    shared = TENSOR | {"parameters": {"shared_memory_region": "a"}}
    assert "'shared_memory_region': unknown." in fault_of(body_of(shared)).message


@pytest.mark.parametrize("header", ["", "-1", "1e1", "+5", " 5", "٥", "9" * 30, "1000"])
def test_a_wrong_length_of_the_json_is_named(header):
    assert f"{HEADER}: {header[:40]}: expected a number of bytes from 0 to" in fault_of(b"{}", header).message


@pytest.mark.parametrize(
    ("size", "sent"), [(6, 5), (6, 7), (6, 0), (5, 5), (7, 7), (-6, 6), (True, 1), ("6", 6)]
)
def test_binary_data_of_another_size_than_the_shape_are_named(size, sent):
    text = body_of(BINARY | {"parameters": {"binary_data_size": size}})
    message = fault_of(text + bytes(sent), str(len(text))).message
    assert f"{sent} bytes after the JSON: expected 6 for shape [1, 1, 2, 3]" in message
    assert (
        "6 bytes after the JSON, expected 0"
        in fault_of(body_of(TENSOR) + bytes(6), str(len(body_of(TENSOR)))).message
    )


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ([5, 1, 2, 3], "too_many_files"),
        ([1, 4001, 1, 3], "image_too_large"),
        ([2, 1, 2001, 3], "image_too_large"),
        ([1, 1 << 62, 1 << 62, 3], "image_too_large"),
        ([1, int("9" * 4000), 1, 3], "image_too_large"),
    ],
)
def test_a_shape_beyond_the_limits_is_refused_before_its_data_are_read(shape, code):
    fault = fault_of(body_of(BINARY | {"shape": shape, "parameters": SIX}))
    assert fault.code == code
    assert len(fault.message) < 200


def test_json_beyond_its_bounds_is_refused_before_it_is_read_and_the_fix_works():
    fault = fault_of(b" " * (JSON_BYTES + 1))
    assert (fault.code, fault.status) == ("body_too_large", 413)
    assert "Fix: send it as binary data" in fault.message
    tracemalloc.start()
    fault = fault_of(b"[" + b"[]," * (JSON_CONTAINERS + 1) + b"]")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * JSON_BYTES
    assert "lists and objects, expected at most" in fault.message
    image = np.zeros((1, 800, 800, 3), np.uint8)
    tensor = {"name": "image", "shape": list(image.shape), "datatype": "UINT8"}
    limits = Limits(3, 1, 1 << 20)
    assert fault_of(body_of(tensor | {"data": image.tolist()}), limits=limits).code == "body_too_large"
    text = body_of(tensor | {"parameters": {"binary_data_size": image.size}})
    assert parse_request(text + image.tobytes(), str(len(text)), limits).images.shape == image.shape
    assert parse_request(body_of(tensor | {"data": image.ravel().tolist()}), None, limits).images.sum() == 0


def test_a_long_text_among_many_takes_no_memory():
    texts = [""] * 300_000 + ["a" * 300_000]  # as an array of texts 360 GB
    tensor = TENSOR | {"shape": [1, 1, 100_000, 3], "data": texts}
    assert "whole numbers" in fault_of(body_of(tensor), limits=Limits(3, 1, 1 << 20)).message


def test_a_large_answer_is_not_written_as_json_and_the_fix_works():
    large = [Prediction(np.zeros((1, JSON_VALUES + 1, 1), np.float32))]
    with pytest.raises(
        ApiFault, match='1048577 values, expected at most 1048576 as JSON. Fix: "parameters"'
    ) as fault:
        write_answer("m", TensorRequest(PHOTOS, False), large)
    fix = json.loads("{" + fault.value.message.partition("Fix: ")[2] + "}")
    assert parse_request(body_of(TENSOR, **fix), None, LIMITS).binary
    content, length = write_answer("m", TensorRequest(PHOTOS, True), large)
    assert len(content) == length + 4 * (JSON_VALUES + 1)
