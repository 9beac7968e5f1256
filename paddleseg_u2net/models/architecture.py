"""The U²-Net family as data: a table of nested U-blocks, and the list of operations that follows from it.

Pure Python: what only needs the structure of the network does not load Paddle.

Source: Qin et al. 2020 (arXiv:2005.09007), figure 5 and table 1; xuebinqin/U-2-Net@ac7e1c8
model/u2net.py:323-354 (U2NET) and :428-459 (U2NETP).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Stage:
    """One residual U-block (RSU) of the outer U.

    Args:
        name: attribute and state-dict prefix; part of the checkpoint format.
        height: number of levels L of RSU-L.
        mid_channels: channels inside the block.
        out_channels: channels of the output.
        dilated: dilation instead of pooling (RSU-4F); all levels have one resolution.
    """

    name: str
    height: int
    mid_channels: int
    out_channels: int
    dilated: bool = False

    def dilation(self, level: int) -> int:
        """Dilation of the convolutions of one level, counted from 1 at the top."""
        if self.dilated:
            return 2 ** (level - 1)
        return 2 if level == self.height else 1


U2NET = (
    Stage("stage1", 7, 32, 64),
    Stage("stage2", 6, 32, 128),
    Stage("stage3", 5, 64, 256),
    Stage("stage4", 4, 128, 512),
    Stage("stage5", 4, 256, 512, dilated=True),
    Stage("stage6", 4, 256, 512, dilated=True),
    Stage("stage5d", 4, 256, 512, dilated=True),
    Stage("stage4d", 4, 128, 256),
    Stage("stage3d", 5, 64, 128),
    Stage("stage2d", 6, 32, 64),
    Stage("stage1d", 7, 16, 64),
)
NETWORKS = {
    "U2Net": U2NET,
    "U2Netp": tuple(replace(stage, mid_channels=16, out_channels=64) for stage in U2NET),
}
ENCODERS = 6
BN_EPSILON = 1e-5
IMAGE = "image"
SIDES = tuple(f"side{i}" for i in range(1, ENCODERS + 1))
HEADS = (*SIDES, "outconv")
# the nodes whose results are the seven outputs: fused, then from fine to coarse
OUTPUTS = ("outconv", "side1", *(f"{side}.resize" for side in SIDES[1:]))


class Node(NamedTuple):
    """One operation of the network; its result has the same name.

    Args:
        name: for a convolution its state-dict prefix.
        operation: `conv`, `conv_relu` (convolution, BatchNorm, ReLU), `pool` (2x2 maximum, rounding up),
            `resize` (bilinear, the first input to the height and width of the second), `concat` (of
            channels) or `add`. Convolutions keep height and width.
        inputs: names of nodes, or `IMAGE`.
        weight: shape (out, in, k, k) of a convolution's weight; empty for other operations.
        dilation: of a convolution.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    weight: tuple[int, ...] = ()
    dilation: int = 1


class _Flow:
    """Collects nodes in order of execution and counts the channels of each result."""

    def __init__(self, in_channels: int):
        self.nodes: list[Node] = []
        self.channels = {IMAGE: in_channels}

    def add(
        self, name: str, operation: str, *inputs: str, out: int = 0, kernel: int = 3, dilation: int = 1
    ) -> str:
        """Append a node, a convolution to `out` channels where that is given; returns its name."""
        channels = [self.channels[x] for x in inputs]
        weight = (out, channels[0], kernel, kernel) if out else ()
        self.nodes.append(Node(name, operation, inputs, weight, dilation))
        self.channels[name] = out or (sum(channels) if operation == "concat" else channels[0])
        return name

    def join(self, name: str, deep: str, skip: str, resized: bool) -> str:
        """Concatenate a deeper map and a skip connection of its size, or of a larger one."""
        deep = self.add(f"{name}.resize", "resize", deep, skip) if resized else deep
        return self.add(f"{name}.concat", "concat", deep, skip)

    def block(self, stage: Stage, x: str) -> str:
        """Append a residual U-block: a small U-Net whose output is added to its first convolution's.

        Source: Qin et al. 2020, section 3.1, figure 2(e).
        """
        mid, height = stage.mid_channels, stage.height

        def conv(suffix: str, x: str, out: int, level: int) -> str:
            name, dilation = f"{stage.name}.rebnconv{suffix}", stage.dilation(level) if level else 1
            return self.add(name, "conv_relu", x, out=out, dilation=dilation)

        residual = conv("in", x, stage.out_channels, level=0)
        skips = [conv("1", residual, mid, level=1)]
        for level in range(2, height):
            x = skips[-1] if stage.dilated else self.add(f"{stage.name}.pool{level}", "pool", skips[-1])
            skips.append(conv(f"{level}", x, mid, level))
        x = conv(f"{height}", skips[-1], mid, height)
        for level in range(height - 1, 0, -1):
            # the two deepest levels have one size, as do all levels of a dilated block
            resized = not stage.dilated and level < height - 1
            x = self.join(f"{stage.name}.level{level}", x, skips[level - 1], resized)
            x = conv(f"{level}d", x, mid if level > 1 else stage.out_channels, level)
        return self.add(stage.name, "add", x, residual)


def dataflow(stages: tuple[Stage, ...], in_channels: int = 3, num_classes: int = 1) -> list[Node]:
    """List the operations of a network in order of execution; the last one gives the fused logits.

    This is the only description of the topology: the Paddle network runs it, the ONNX graph is written from
    it, and quantization reads it.

    Args:
        stages: a value of NETWORKS.
        in_channels: channels of the image.
        num_classes: channels of each output.
    """
    flow = _Flow(in_channels)
    skips = [flow.block(stages[0], IMAGE)]
    for stage in stages[1:ENCODERS]:
        skips.append(flow.block(stage, flow.add(f"{stage.name}.pool", "pool", skips[-1])))
    maps = [skips.pop()]  # from coarse to fine
    for stage in stages[ENCODERS:]:
        joined = flow.join(f"{stage.name}.skip", maps[-1], skips.pop(), resized=True)
        maps.append(flow.block(stage, joined))

    sides = [
        flow.add(name, "conv", x, out=num_classes) for name, x in zip(SIDES, reversed(maps), strict=True)
    ]
    sides[1:] = [flow.add(f"{side}.resize", "resize", side, sides[0]) for side in sides[1:]]
    flow.add("outconv", "conv", flow.add("sides", "concat", *sides), out=num_classes, kernel=1)
    return flow.nodes


def last_uses(flow: Sequence[Node], outputs: Collection[str]) -> dict[str, list[str]]:
    """Results that each node, by its name, is the last to read; those of `outputs` are never listed."""
    reader = {name: node.name for node in flow for name in node.inputs}
    uses: dict[str, list[str]] = {node.name: [] for node in flow}
    for name in reader.keys() - set(outputs):
        uses[reader[name]].append(name)
    return uses


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
    for node in dataflow(NETWORKS[identity.network], identity.in_channels, identity.num_classes):
        if node.operation == "conv":
            shapes |= {f"{node.name}.weight": node.weight, f"{node.name}.bias": node.weight[:1]}
        elif node.operation == "conv_relu":
            shapes[f"{node.name}.conv_s1.weight"] = node.weight
            vectors = ("conv_s1.bias", "bn_s1.weight", "bn_s1.bias", "bn_s1._mean", "bn_s1._variance")
            shapes |= {f"{node.name}.{vector}": node.weight[:1] for vector in vectors}
    return shapes
