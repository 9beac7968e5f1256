"""The digest of a graph; see test_onnx_network.py for graphs with random weights."""

from __future__ import annotations

import numpy as np
import onnx
import paddle
import pytest
from onnx import numpy_helper
from support import SHARED, few_random_numbers

from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine
from paddleseg_u2net.engines.openvino import OpenVinoEngine
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.export.cache import drawn_object, network_on_cpu
from paddleseg_u2net.export.graph_digest import graph_digest, verify_graph
from paddleseg_u2net.export.onnx_network import build_onnx
from paddleseg_u2net.export.quantization import read_calibration
from paddleseg_u2net.export.verify import TOLERANCES
from paddleseg_u2net.models.architecture import Identity, state_shapes
from paddleseg_u2net.models.known_weights import CALIBRATIONS, KNOWN
from paddleseg_u2net.models.pretrained import resolve
from paddleseg_u2net.models.u2net import U2Net, U2Netp
from paddleseg_u2net.models.weight_files import read_state, state_of

MODEL = {"type": "U2Netp", "num_classes": 1}


@pytest.fixture(scope="module")
def random_weights() -> dict[str, np.ndarray]:
    paddle.seed(2)
    return state_of(U2Netp(1))


def published_graph(weights, precision: str):
    calibration = CALIBRATIONS / "u2netp.yaml" if precision == "int8" else None
    return build_onnx(read_state(weights), quantization=calibration and read_calibration(calibration))


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """The image on which exports are compared, and what Paddle computes for it with the published weights."""
    weights = SHARED / "weights" / "u2netp.onnx"
    if not weights.is_file():
        pytest.skip("needs ../shared")
    image = drawn_object(3)[:, :, ::2, ::2]  # Paddle takes a second for all pixels
    return image, PaddleEngine(network_on_cpu(weights, MODEL))(image)


@pytest.mark.parametrize(("precision", "engine"), [("fp32", OnnxRuntimeEngine), ("int8", OpenVinoEngine)])
def test_graph_with_the_published_digest_computes_what_paddle_does(
    drawn, official_weights, tmp_path, precision, engine
):
    """If the digest differs and the output does not: update `KNOWN` and increase `GRAPH_VERSION`."""
    image, expected = drawn
    graph = published_graph(official_weights, precision)
    (tmp_path / "a.onnx").write_bytes(graph.SerializeToString())
    difference = np.abs(engine(tmp_path / "a.onnx")(image) - expected)
    assert difference.max() <= TOLERANCES[precision].max_difference
    assert difference.mean() <= TOLERANCES[precision].mean_difference
    assert graph_digest(graph) == KNOWN["u2netp"].graphs[precision]
    verify_graph(graph, "sigmoid", KNOWN["u2netp"].graphs[precision])


def test_packaged_weights_compute_what_paddle_does(tmp_path):
    """Without the network; if the digest differs, see above."""
    (row,) = [row for row in KNOWN.values() if not row.addresses]
    image, weights = drawn_object(3)[:, :, ::2, ::2], resolve(row.name)
    graph = build_onnx(read_state(weights))
    (tmp_path / "a.onnx").write_bytes(graph.SerializeToString())
    difference = np.abs(
        OnnxRuntimeEngine(tmp_path / "a.onnx")(image) - PaddleEngine(network_on_cpu(weights, MODEL))(image)
    )
    assert difference.max() <= TOLERANCES["fp32"].max_difference
    assert graph_digest(graph) == row.graphs["fp32"]


def with_another_pad(graph):
    (pads,) = [a for node in graph.node if node.name == "side1" for a in node.attribute if a.name == "pads"]
    pads.ints[0] = 2


def with_another_operation(graph):
    graph.node[-1].op_type = "HardSigmoid"


def with_another_input(graph):
    (add,) = [node for node in graph.node if node.name == "stage1"]
    add.input[1] = add.input[0]


def with_another_type(graph):
    values = numpy_helper.to_array(graph.initializer[0])
    graph.initializer[0].CopyFrom(
        numpy_helper.from_array(values.astype(np.float16), graph.initializer[0].name)
    )


@pytest.mark.parametrize(
    "change", [with_another_pad, with_another_operation, with_another_input, with_another_type]
)
def test_changed_structure_has_another_digest(random_weights, change):
    model = build_onnx(random_weights)
    change(model.graph)
    with pytest.raises(VerificationError, match="differs from the one that was tested. It is not kept. Fix"):
        verify_graph(model, "sigmoid")


def test_one_changed_weight_has_another_digest_but_the_same_structure(random_weights):
    model = build_onnx(random_weights)
    bias = np.nextafter(random_weights["outconv.bias"], np.float32(1))
    changed = build_onnx({**random_weights, "outconv.bias": bias})
    verify_graph(changed, "sigmoid")
    with pytest.raises(VerificationError):
        verify_graph(changed, "sigmoid", graph_digest(model))


def test_digest_does_not_depend_on_the_bytes_of_the_file(random_weights):
    """Other versions of onnx write tensors as numbers instead of bytes, add comments, or sort tensors."""
    model = build_onnx(random_weights)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.producer_version, other.graph.doc_string = "9", "written by another version"
    tensors = sorted(other.graph.initializer, key=lambda tensor: tensor.name, reverse=True)
    del other.graph.initializer[:]
    for tensor in tensors:
        values = numpy_helper.to_array(tensor)
        other.graph.initializer.append(
            onnx.helper.make_tensor(tensor.name, tensor.data_type, values.shape, values.ravel().tolist())
        )
    assert other.SerializeToString() != model.SerializeToString()
    assert graph_digest(other) == graph_digest(model)


@pytest.mark.parametrize(("make", "classes", "channels"), [(U2Net, 4, 5), (U2Netp, 4, 5), (U2Netp, 1, 3)])
def test_shapes_of_the_weights_are_those_of_the_paddle_network(make, classes, channels):
    with few_random_numbers():
        network = make(classes, channels)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert state_shapes(Identity(make.__name__, channels, classes)) == expected
