"""U²-Net and U²-Net† as Paddle networks that run the operations of `architecture.dataflow`.

State-dict keys and outputs equal those of paddleseg 2.8.0 (models/u2net.py) and of the official code
(xuebinqin/U-2-Net@ac7e1c8 model/u2net.py), except that no sigmoid is applied: the outputs are logits.
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddleseg_u2net.models.architecture import (
    BN_EPSILON,
    IMAGE,
    NETWORKS,
    OUTPUTS,
    Node,
    dataflow,
    last_uses,
)
from paddleseg_u2net.models.pretrained import load_pretrained
from paddleseg_u2net.registry import MODELS


def pool(x: Tensor) -> Tensor:
    """Halve height and width, rounding up, so that any size is legal."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize(x: Tensor, target: Tensor) -> Tensor:
    """Resize to the height and width of `target`, bilinear with half-pixel centres."""
    return F.interpolate(x, size=paddle.shape(target)[2:], mode="bilinear")


def concat(*inputs: Tensor) -> Tensor:
    """Concatenate channels."""
    return paddle.concat(inputs, axis=1)


class ConvBNReLU(nn.Layer):
    """Convolution, batch normalization, ReLU; the attributes' names are part of the checkpoint format."""

    def __init__(self, conv: nn.Conv2D, channels: int):
        super().__init__()
        self.conv_s1 = conv
        self.bn_s1 = nn.BatchNorm2D(channels, epsilon=BN_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


def convolution(node: Node) -> nn.Layer:
    """The layer of a `conv` or `conv_relu` node; height and width are kept."""
    out_channels, in_channels, kernel, _ = node.weight
    padding = node.dilation * (kernel // 2)
    conv = nn.Conv2D(in_channels, out_channels, kernel, padding=padding, dilation=node.dilation)
    return conv if node.operation == "conv" else ConvBNReLU(conv, out_channels)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "pool": pool,
    "resize": resize,
    "concat": concat,
    "add": paddle.add,
}


@MODELS.register
class U2Net(nn.Layer):
    """U²-Net: a U-Net of residual U-blocks with seven supervised outputs.

    Args:
        num_classes: channels of each output; 1 is saliency.
        in_channels: channels of the image.
        pretrained: known name, weight file or run folder to start from; see `pretrained.load_pretrained`.

    Source: Qin et al. 2020 (arXiv:2005.09007), section 3.2.
    """

    stages = NETWORKS["U2Net"]

    def __init__(self, num_classes: int, in_channels: int = 3, pretrained: str | None = None):
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        self.flow = dataflow(self.stages, in_channels, num_classes)
        self.last_uses = last_uses(self.flow, OUTPUTS)
        self.operations: dict[str, Callable[..., Tensor]] = {}
        blocks = {stage.name: self.add_sublayer(stage.name, nn.Layer()) for stage in self.stages}
        for node in self.flow:
            if node.weight:
                block, _, name = node.name.rpartition(".")
                layer = blocks.get(block, self).add_sublayer(name, convolution(node))
                self.operations[node.name] = layer
            else:
                self.operations[node.name] = OPERATIONS[node.operation]
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) -> seven logits (N, num_classes, H, W): fused, then from fine to coarse."""
        results = {IMAGE: image}
        for node in self.flow:
            inputs = [results[name] for name in node.inputs]
            results[node.name] = self.operations[node.name](*inputs)
            for name in self.last_uses[node.name]:  # frees their memory where no gradient needs it
                results.pop(name)
        return [results[name] for name in OUTPUTS]


@MODELS.register
class U2Netp(U2Net):
    """U²-Net†: the same network with narrow stages, 1.1 million parameters instead of 44."""

    stages = NETWORKS["U2Netp"]
