"""The U²-Net family as data: one table of nested U-blocks, and the names its weights are stored under.

Pure Python, so that tools which only need the shape of the network start without Paddle.

Source: Qin et al. 2020 (arXiv:2005.09007), figure 5 and table 1; xuebinqin/U-2-Net@ac7e1c8
model/u2net.py:323-354 (U2NET) and :428-459 (U2NETP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Stage:
    """One residual U-block (RSU) of the outer U.

    Args:
        name: attribute and state-dict prefix; a file format, not a matter of taste.
        height: number of levels L of RSU-L.
        in_channels: channels of the input; the first stage takes those of the image instead.
        mid_channels: channels inside the block.
        out_channels: channels of the output.
        dilated: dilation instead of pooling (RSU-4F), all levels at one resolution.
    """

    name: str
    height: int
    in_channels: int
    mid_channels: int
    out_channels: int
    dilated: bool = False

    def convolutions(self) -> Iterator[tuple[str, int, int, int]]:
        """Yield (name, in_channels, out_channels, dilation) of each conv-BN-ReLU, in order of execution."""
        mid, out, height = self.mid_channels, self.out_channels, self.height
        dilation = {
            level: 2 ** (level - 1) if self.dilated else 1 + (level == height)
            for level in range(1, height + 1)
        }
        yield "rebnconvin", self.in_channels, out, 1
        yield "rebnconv1", out, mid, dilation[1]
        for level in range(2, height + 1):
            yield f"rebnconv{level}", mid, mid, dilation[level]
        for level in range(height - 1, 0, -1):
            yield f"rebnconv{level}d", 2 * mid, out if level == 1 else mid, dilation[level]


U2NET = (
    Stage("stage1", 7, 3, 32, 64),
    Stage("stage2", 6, 64, 32, 128),
    Stage("stage3", 5, 128, 64, 256),
    Stage("stage4", 4, 256, 128, 512),
    Stage("stage5", 4, 512, 256, 512, dilated=True),
    Stage("stage6", 4, 512, 256, 512, dilated=True),
    Stage("stage5d", 4, 1024, 256, 512, dilated=True),
    Stage("stage4d", 4, 1024, 128, 256),
    Stage("stage3d", 5, 512, 64, 128),
    Stage("stage2d", 6, 256, 32, 64),
    Stage("stage1d", 7, 128, 16, 64),
)


def _narrow(stage: Stage) -> Stage:
    """The same block in U²-Net†: 16 channels inside, 64 outside; decoder stages take two such maps."""
    in_channels = {"stage1": 3}.get(stage.name, 128 if stage.name.endswith("d") else 64)
    return replace(stage, in_channels=in_channels, mid_channels=16, out_channels=64)


NETWORKS = {"U2Net": U2NET, "U2Netp": tuple(map(_narrow, U2NET))}
ENCODERS = 6
BN_EPSILON = 1e-5
SIDES = tuple(f"side{i}" for i in range(1, ENCODERS + 1))
HEADS = (*SIDES, "outconv")


def side_channels(stages: tuple[Stage, ...]) -> list[int]:
    """Channels that feed `side1` .. `side6`: the decoder from fine to coarse, then the deepest encoder."""
    return [stage.out_channels for stage in reversed(stages[ENCODERS - 1 :])]


def convolution_names(stages: tuple[Stage, ...]) -> list[tuple[str, bool]]:
    """(state-dict prefix, has BatchNorm) of all 119 convolutions, in order of execution."""
    inner = [(f"{s.name}.{name}", True) for s in stages for name, *_ in s.convolutions()]
    return inner + [(name, False) for name in HEADS]


class Node(NamedTuple):
    """One operation of the network in eval mode; its result is called like it.

    Args:
        name: for a convolution its state-dict prefix.
        operation: `conv` (same size), `conv_relu`, `pool` (2x2, rounding up), `resize` (bilinear, the first
            input to the height and width of the second), `concat` or `add`.
        inputs: names of nodes, or `IMAGE`.
        dilation: of a convolution.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    dilation: int = 1


IMAGE = "image"


def dataflow(stages: tuple[Stage, ...]) -> list[Node]:
    """The whole network as a list of operations in order of execution; the last one is the fused logits."""
    nodes: list[Node] = []

    def add(name: str, operation: str, *inputs: str, dilation: int = 1) -> str:
        nodes.append(Node(name, operation, inputs, dilation))
        return name

    def join(name: str, deep: str, skip: str, resized: bool) -> str:
        deep = add(f"{name}.resize", "resize", deep, skip) if resized else deep
        return add(f"{name}.concat", "concat", deep, skip)

    def block(stage: Stage, x: str) -> str:
        dilations = {name: dilation for name, _, _, dilation in stage.convolutions()}

        def conv(level: str, source: str) -> str:
            name = f"{stage.name}.{level}"
            return add(name, "conv_relu", source, dilation=dilations[level])

        residual = conv("rebnconvin", x)
        skips = [conv("rebnconv1", residual)]
        for level in range(2, stage.height):
            source = skips[-1]
            if not stage.dilated:
                source = add(f"{stage.name}.pool{level}", "pool", source)
            skips.append(conv(f"rebnconv{level}", source))
        x = conv(f"rebnconv{stage.height}", skips[-1])
        for level in range(stage.height - 1, 0, -1):
            # the bottom pair shares one size, as do all levels of a dilated block
            resized = not stage.dilated and level < stage.height - 1
            x = conv(f"rebnconv{level}d", join(f"{stage.name}.level{level}", x, skips[level - 1], resized))
        return add(stage.name, "add", x, residual)

    skips = [block(stages[0], IMAGE)]
    for stage in stages[1:ENCODERS]:
        skips.append(block(stage, add(f"{stage.name}.pool", "pool", skips[-1])))
    maps = [skips.pop()]  # from coarse to fine
    for stage in stages[ENCODERS:]:
        maps.append(block(stage, join(stage.name + ".skip", maps[-1], skips.pop(), resized=True)))

    sides = [add(name, "conv", x) for name, x in zip(SIDES, reversed(maps), strict=True)]
    sides[1:] = [add(f"{side}.resize", "resize", side, sides[0]) for side in sides[1:]]
    add("outconv", "conv", add("sides", "concat", *sides))
    return nodes


@dataclass(frozen=True)
class Identity:
    """Which network a set of weights belongs to."""

    network: str
    in_channels: int
    num_classes: int

    def __str__(self) -> str:
        """As the lines of a config."""
        return f"type: {self.network}, num_classes: {self.num_classes}, in_channels: {self.in_channels}"


def identify(shapes: Mapping[str, tuple[int, ...]]) -> Identity | None:
    """Recognise the network from the shapes of its weights; None where they are not of this family."""
    try:
        mid, _ = shapes["stage1.rebnconv1.conv_s1.weight"][:2]
        in_channels = shapes["stage1.rebnconvin.conv_s1.weight"][1]
        num_classes = shapes["outconv.weight"][0]
    except KeyError:
        return None
    by_width = {stages[0].mid_channels: name for name, stages in NETWORKS.items()}
    return Identity(by_width[mid], in_channels, num_classes) if mid in by_width else None


def state_shapes(identity: Identity) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of a network, by state-dict key, as its Paddle network has them."""
    shapes: dict[str, tuple[int, ...]] = {}
    stages, classes = NETWORKS[identity.network], identity.num_classes
    for stage in (replace(stages[0], in_channels=identity.in_channels), *stages[1:]):
        for name, channels, out, _ in stage.convolutions():
            prefix = f"{stage.name}.{name}"
            shapes[f"{prefix}.conv_s1.weight"] = (out, channels, 3, 3)
            vectors = ("conv_s1.bias", "bn_s1.weight", "bn_s1.bias", "bn_s1._mean", "bn_s1._variance")
            shapes |= {f"{prefix}.{vector}": (out,) for vector in vectors}
    for name, channels in zip(SIDES, side_channels(stages), strict=True):
        shapes |= {f"{name}.weight": (classes, channels, 3, 3), f"{name}.bias": (classes,)}
    return shapes | {"outconv.weight": (classes, len(SIDES) * classes, 1, 1), "outconv.bias": (classes,)}
