"""Tensors of requests and answers in the Open Inference Protocol (KServe v2), as JSON and as binary data.

Names, types and shapes are those of an export with preprocessing (`u2net export --for ovms`), so that a
client of OpenVINO Model Server or Triton need not know which server it asks.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md; binary data:
github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from paddleseg_u2net.bounds import MIB
from paddleseg_u2net.errors import suggest
from paddleseg_u2net.export.onnx_graph import OUTPUTS
from paddleseg_u2net.export.repositories import VERSION
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.models.architecture import IMAGE
from paddleseg_u2net.serving.faults import ApiFault

HEADER = "Inference-Header-Content-Length"  # bytes of JSON before the binary data
PROBABILITIES = OUTPUTS["softmax"]
# JSON takes ten to thirty times its bytes in memory
JSON_BYTES, JSON_CONTAINERS = 8 * MIB, 600_000  # of a request; containers are lists and objects
JSON_VALUES = 1 << 20  # numbers in an answer
MAX_ID = 256  # characters
BINARY = "Fix: send it as binary data"


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Args:
        channels: of the images that the model takes.
        images: in one tensor.
        pixels: of all of them.
    """

    channels: int
    images: int
    pixels: int


@dataclass(frozen=True)
class TensorRequest:
    """A request, after all checks.

    Args:
        images: (N, H, W, C) uint8.
        binary: whether the answer has binary data.
        id: that the answer repeats; None where the request has none.
    """

    images: np.ndarray
    binary: bool
    id: str | None = None


def parse_request(body: bytes, header: str | None, limits: Limits) -> TensorRequest:
    """Read the body of a request for inference.

    Args:
        body: JSON, and after it the binary data where there is any.
        header: of the request, HEADER; None where it is absent, and all of the body is JSON.
        limits: see `Limits`.

    Raises:
        ApiFault: anything else than one tensor `image` of photographs within the limits.
    """
    length = _json_length(header, len(body))
    request = read_json(body[:length], f"JSON, and {HEADER} where binary data follow")
    _check_keys(request, "the request", ("id", "inputs", "outputs", "parameters", "model_name"))
    number = request.get("id")
    if number is not None and (not isinstance(number, str) or len(number) > MAX_ID):
        raise _bad(f"id: expected a text of up to {MAX_ID} characters")
    binary = _wants_binary(request)
    inputs = request.get("inputs")
    if not _is_list_of_objects(inputs) or len(inputs) != 1:
        raise _bad(f"inputs: expected a list of one tensor, '{IMAGE}'")
    return TensorRequest(_read_tensor(inputs[0], body[length:], limits), binary, number)


def _json_length(header: str | None, body: int) -> int:
    """Bytes of the JSON at the start of a body."""
    if header is None:
        length = body
    elif header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= body:
        length = int(header)
    else:
        raise _bad(f"{HEADER}: {header[:40]}: expected a number of bytes from 0 to {body}, those of the body")
    if length > JSON_BYTES:
        raise ApiFault("body_too_large", f"{length} bytes of JSON, expected at most {JSON_BYTES}. {BINARY}")
    return length


def read_json(text: bytes, fix: str) -> dict[str, Any]:
    """The object that a body holds.

    Args:
        text: the body.
        fix: what is expected, for messages.

    Raises:
        ApiFault: no JSON, no object, or too many lists and objects in it.
    """
    containers = text.count(b"[") + text.count(b"{")
    if containers > JSON_CONTAINERS:
        found = f"JSON of {containers} lists and objects, expected at most {JSON_CONTAINERS}"
        raise ApiFault("body_too_large", f"{found}. Fix: {fix}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also of UTF-8, and of numbers of 5,000 digits
        why = "lists in too many lists" if isinstance(error, RecursionError) else str(error)[:200]
        raise _bad(f"the body is not JSON: {why}. Fix: {fix}") from error
    if not isinstance(found, dict):
        raise _bad(f"the body is JSON, but no object. Fix: {fix}")
    return found


def _check_keys(found: Mapping[str, Any], where: str, known: Sequence[str]) -> None:
    """Nothing that a client asks for is left out silently."""
    for key in found:
        if key not in known:
            raise ApiFault("unknown_parameter", f"{where}: '{key[:80]}': unknown.{suggest(key[:80], known)}")


def _parameters(found: Mapping[str, Any], where: str, known: Sequence[str]) -> Mapping[str, Any]:
    parameters = found.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _bad(f"{where}: parameters: expected an object")
    _check_keys(parameters, f"{where}: parameters", known)
    return parameters


def _is_list_of_objects(found: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(found, list) and all(isinstance(row, dict) for row in found)


def _wants_binary(request: Mapping[str, Any]) -> bool:
    """Whether the answer is to have binary data; an output that is named decides for itself."""
    wanted = _parameters(request, "the request", ("binary_data_output",)).get("binary_data_output", False)
    outputs = request.get("outputs", [])
    if not _is_list_of_objects(outputs) or len(outputs) > 1:
        raise _bad(f"outputs: expected a list of one output, '{PROBABILITIES}', or none")
    for output in outputs:
        _check_keys(output, "outputs", ("name", "parameters"))
        if output.get("name") != PROBABILITIES:
            raise _bad(f"outputs: {_short(output.get('name'))}: expected '{PROBABILITIES}'")
        wanted = _parameters(output, PROBABILITIES, ("binary_data",)).get("binary_data", wanted)
    if not isinstance(wanted, bool):
        raise _bad(f"binary_data: {_short(wanted)}: expected true or false")
    return wanted


def _read_tensor(tensor: Mapping[str, Any], binary: bytes, limits: Limits) -> np.ndarray:
    """The images (N, H, W, C) uint8 of the tensor of a request, and the binary data after its JSON."""
    _check_keys(tensor, "inputs", ("name", "shape", "datatype", "parameters", "data"))
    if tensor.get("name") != IMAGE:
        raise _bad(f"inputs: {_short(tensor.get('name'))}: expected '{IMAGE}'")
    if tensor.get("datatype") != "UINT8":
        raise _bad(
            f"{IMAGE}: datatype {_short(tensor.get('datatype'))}: expected UINT8, photographs as decoded"
        )
    shape = _check_shape(tensor.get("shape"), limits)
    size = _parameters(tensor, IMAGE, ("binary_data_size",)).get("binary_data_size")
    if (size is None) == ("data" not in tensor):
        raise _bad(f"{IMAGE}: expected either data or parameters.binary_data_size")
    if size is None:
        if binary:
            raise _bad(f"{len(binary)} bytes after the JSON, expected 0: {IMAGE} has its values in it")
        return _from_json(tensor["data"], shape)
    expected = math.prod(shape)
    if size != expected or len(binary) != expected:
        found = f"binary_data_size {_short(size)}, and {len(binary)} bytes after the JSON"
        raise _bad(f"{IMAGE}: {found}: expected {expected} for shape {shape}")
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _check_shape(shape: Any, limits: Limits) -> list[int]:
    valid = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int and n > 0 for n in shape)
    if not valid or shape[3] != limits.channels:
        raise _bad(f"{IMAGE}: shape {_short(shape)}: expected [N, H, W, {limits.channels}], each above 0")
    if shape[0] > limits.images:
        raise ApiFault("too_many_files", f"{_short(shape[0])} images, expected at most {limits.images}")
    if math.prod(shape[:3]) > limits.pixels:
        found = f"{IMAGE}: shape {_short(shape)}: more than {limits.pixels} pixels"
        raise ApiFault("image_too_large", f"{found}. Fix: fewer or smaller images")
    return shape


def _from_json(data: Any, shape: list[int]) -> np.ndarray:
    """The values of a tensor, which may be nested lists or one flat list."""
    # as objects: numpy would give each text the room of the longest, and round fractions
    nested = np.array(data, dtype=object)
    values = nested.ravel().tolist()
    if len(values) != math.prod(shape) or set(map(type, values)) != {int}:
        raise _bad(f"{IMAGE}: data: expected {math.prod(shape)} whole numbers, for shape {shape}")
    if nested.ndim != 1 and list(nested.shape) != shape:
        raise _bad(f"{IMAGE}: data of shape {list(nested.shape)}: expected {shape}, or one flat list")
    least, most = min(values), max(values)
    if least < 0 or most > 255:
        found = f"data from {_short(least)} to {_short(most)}"
        raise _bad(f"{IMAGE}: {found}: expected 0 to 255, as of UINT8")
    return np.array(values, np.uint8).reshape(shape)


def write_answer(model: str, request: TensorRequest, found: Sequence[Prediction]) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of JSON in it where binary data follow.

    Args:
        model: its name.
        request: that is answered.
        found: a prediction for each image.

    Raises:
        ApiFault: more values than are written as JSON.
    """
    maps = [np.ascontiguousarray(prediction.probabilities, "<f4") for prediction in found]
    shape = [len(maps), *maps[0].shape]
    output: dict[str, Any] = {"name": PROBABILITIES, "shape": shape, "datatype": "FP32"}
    answer = {"model_name": model, "model_version": VERSION}
    answer |= {"id": request.id} if request.id is not None else {}
    if request.binary:
        output["parameters"] = {"binary_data_size": 4 * math.prod(shape)}
        text = json.dumps(answer | {"outputs": [output]}).encode()
        return b"".join([text, *(values.data for values in maps)]), len(text)
    if math.prod(shape) > JSON_VALUES:
        message = f"an answer of {math.prod(shape)} values, expected at most {JSON_VALUES} as JSON"
        raise ApiFault("image_too_large", f'{message}. Fix: "parameters": {{"binary_data_output": true}}')
    output["data"] = np.concatenate([values.ravel() for values in maps]).tolist()
    return json.dumps(answer | {"outputs": [output]}).encode(), None


def describe(model: str, channels: int, classes: int) -> dict[str, Any]:
    """The metadata of a model.

    Args:
        model: its name.
        channels: of its images.
        classes: channels of its probabilities.
    """
    image = {"name": IMAGE, "datatype": "UINT8", "shape": [-1, -1, -1, channels]}
    output = {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes, -1, -1]}
    row = {"name": model, "versions": [VERSION], "platform": "paddleseg_u2net"}
    return row | {"inputs": [image], "outputs": [output]}


def _bad(message: str) -> ApiFault:
    return ApiFault("bad_request", message)


def _short(value: Any) -> str:
    """A value of a request, for a message; `repr` of a huge number or list would cost time."""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a huge number"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value[:6]))}{', …' if len(value) > 6 else ''}]"
    if isinstance(value, (dict, float)) or value is None:
        return "an object" if isinstance(value, dict) else json.dumps(value)
    return f"'{value[:80]}'" if isinstance(value, str) else str(value)
