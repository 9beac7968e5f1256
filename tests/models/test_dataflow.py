"""The list of operations that the Paddle network, the ONNX graph and quantization share."""

from __future__ import annotations

import paddle
import pytest
from paddleseg.models import u2net as stock
from support import few_random_numbers

from paddleseg_u2net.models.architecture import IMAGE, NETWORKS, OUTPUTS, dataflow, last_uses
from paddleseg_u2net.models.u2net import U2Netp


def weights_of(name: str, in_channels: int, num_classes: int) -> dict[str, list[int]]:
    """Shapes of all convolution weights of a network, by state-dict key."""
    nodes = dataflow(NETWORKS[name], in_channels, num_classes)
    suffix = {"conv": "weight", "conv_relu": "conv_s1.weight"}
    return {f"{node.name}.{suffix[node.operation]}": list(node.weight) for node in nodes if node.weight}


@pytest.mark.parametrize(
    ("name", "in_channels", "num_classes"), [("U2Net", 4, 5), ("U2Netp", 4, 5), ("U2Netp", 3, 1)]
)
def test_convolutions_have_names_order_and_shapes_of_paddleseg(name, in_channels, num_classes):
    with few_random_numbers():
        state = getattr(stock, name)(num_classes, in_channels=in_channels).state_dict()
    expected = {key: value.shape for key, value in state.items() if len(value.shape) == 4}
    assert len(expected) == 119
    assert list(weights_of(name, in_channels, num_classes).items()) == list(expected.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operation_reads_earlier_results_and_is_read_or_an_output(name):
    known, read = {IMAGE}, set()
    for node in dataflow(NETWORKS[name]):
        assert known.issuperset(node.inputs), node
        assert node.name not in known, node
        known.add(node.name)
        read.update(node.inputs)
    assert known - read == {"outconv"}
    assert set(OUTPUTS) <= known


def test_each_result_is_released_once_and_after_its_last_use():
    flow = dataflow(NETWORKS["U2Net"])
    released = set()
    uses = last_uses(flow, OUTPUTS)
    for node in flow:
        assert released.isdisjoint(node.inputs), node
        assert released.isdisjoint(uses[node.name])
        released.update(uses[node.name])
    assert released == {IMAGE, *(node.name for node in flow)} - set(OUTPUTS)


@pytest.mark.slow
def test_static_network_gives_all_outputs_of_the_dynamic_one(tmp_path):
    network = U2Netp(2)
    network.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32")
    paddle.jit.save(paddle.jit.to_static(network, [spec], full_graph=True), str(tmp_path / "model"))
    static = paddle.jit.load(str(tmp_path / "model"))
    image = paddle.randn([2, 3, 37, 50])
    for found, expected in zip(static(image), network(image), strict=True):
        assert found.shape == expected.shape
        assert bool(paddle.allclose(found, expected, atol=1e-5))
