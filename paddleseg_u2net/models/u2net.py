"""U²-Net and U²-Net† built from their table of stages.

State-dict keys and outputs equal those of paddleseg 2.8.0 (models/u2net.py) and of the official code
(xuebinqin/U-2-Net@ac7e1c8 model/u2net.py), except that no sigmoid is applied: the outputs are logits.
"""

from __future__ import annotations

from dataclasses import replace

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from paddleseg_u2net.models.architecture import BN_EPSILON, ENCODERS, NETWORKS, SIDES, Stage, side_channels
from paddleseg_u2net.models.pretrained import load_pretrained
from paddleseg_u2net.registry import MODELS


def _resize_like(x: Tensor, target: Tensor) -> Tensor:
    """Bilinear, half-pixel centres, to the height and width of `target`."""
    return F.interpolate(x, size=paddle.shape(target)[2:], mode="bilinear")


def _pool(x: Tensor) -> Tensor:
    """Halve height and width, rounding up, so that any size is legal."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


class ConvBNReLU(nn.Layer):
    """3x3 convolution, batch normalisation, ReLU; height and width are kept."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1):
        super().__init__()
        self.conv_s1 = nn.Conv2D(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2D(out_channels, epsilon=BN_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


class RSU(nn.Layer):
    """Residual U-block: a small U-Net whose output is added to its first convolution's.

    Source: Qin et al. 2020, section 3.1, figure 2(e).
    """

    def __init__(self, stage: Stage):
        super().__init__()
        self.dilated = stage.dilated
        layers = [
            self.add_sublayer(name, ConvBNReLU(in_channels, out_channels, dilation))
            for name, in_channels, out_channels, dilation in stage.convolutions()
        ]
        self.down, self.up = layers[1 : stage.height + 1], layers[stage.height + 1 :]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        first, *middle, last = self.down
        residual = self.rebnconvin(x)
        skips = [first(residual)]
        for layer in middle:
            skips.append(layer(skips[-1] if self.dilated else _pool(skips[-1])))
        x = last(skips[-1])
        smaller = False  # the bottom pair shares one size, as do all levels of a dilated block
        for layer in self.up:
            skip = skips.pop()
            x = _resize_like(x, skip) if smaller else x
            x = layer(paddle.concat([x, skip], axis=1))  # (N, 2·mid, h, w)
            smaller = not self.dilated
        return x + residual


@MODELS.register
class U2Net(nn.Layer):
    """U²-Net: a U-Net of residual U-blocks with seven supervised outputs.

    Args:
        num_classes: channels of each output; 1 is saliency.
        in_channels: channels of the image.
        pretrained: name of known weights or a weight file to start from; see `weights.load_pretrained`.

    Source: Qin et al. 2020 (arXiv:2005.09007), section 3.2.
    """

    stages = NETWORKS["U2Net"]

    def __init__(self, num_classes: int, in_channels: int = 3, pretrained: str | None = None):
        super().__init__()
        self.num_classes, self.in_channels = num_classes, in_channels
        stages = (replace(self.stages[0], in_channels=in_channels), *self.stages[1:])
        blocks = [self.add_sublayer(stage.name, RSU(stage)) for stage in stages]
        self.encoders, self.decoders = blocks[:ENCODERS], blocks[ENCODERS:]
        self.sides = [
            self.add_sublayer(name, nn.Conv2D(channels, num_classes, 3, padding=1))
            for name, channels in zip(SIDES, side_channels(stages), strict=True)
        ]
        self.outconv = nn.Conv2D(len(SIDES) * num_classes, num_classes, 1)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) -> seven logits (N, num_classes, H, W): fused, then from fine to coarse."""
        skips = [self.encoders[0](x)]
        for encode in self.encoders[1:]:
            skips.append(encode(_pool(skips[-1])))
        maps = [skips.pop()]  # from coarse to fine
        for decode in self.decoders:
            skip = skips.pop()
            maps.append(decode(paddle.concat([_resize_like(maps[-1], skip), skip], axis=1)))

        sides = [side(maps[-1 - i]) for i, side in enumerate(self.sides)]
        sides[1:] = [_resize_like(side, sides[0]) for side in sides[1:]]
        return [self.outconv(paddle.concat(sides, axis=1)), *sides]


@MODELS.register
class U2Netp(U2Net):
    """U²-Net†: the same network with narrow stages, 1.1 million parameters instead of 44."""

    stages = NETWORKS["U2Netp"]
