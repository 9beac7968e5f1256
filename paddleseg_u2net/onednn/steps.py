"""Collects the oneDNN operations of one training step, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paddleseg_u2net.models.architecture import IMAGE, OUTPUTS, SIDES, Node
from paddleseg_u2net.onednn import operations as ops
from paddleseg_u2net.onednn.arena import Value
from paddleseg_u2net.onednn.memory import F32, Desc, Memory
from paddleseg_u2net.onednn.operations import Primitive

CONVOLUTION_OPERANDS = ("src", "weights", "dst", "diff_src", "diff_weights", "diff_dst")
CONVOLUTION_RESULTS = ("dst", "diff_src", "diff_weights")

Backward = Callable[[], None]  # appends the operations that compute the gradients of a node


class External:
    """An array outside the arena, at an address that may change from step to step.

    Args:
        desc: how operations see it.
        memories: all memories over this array; those of another view are shared.
    """

    def __init__(self, desc: Desc, memories: list[Memory] | None = None):
        self.desc, self.memories = desc, [] if memories is None else memories

    @classmethod
    def plain(cls, shape: Sequence[int]) -> External:
        """A row-major float32 array of a shape."""
        return cls(Desc.plain(shape))

    def seen_as(self, desc: Desc) -> External:
        """The same array under another description."""
        return External(desc, self.memories)

    def move(self, address: int) -> None:
        """Use the array at an address."""
        for memory in self.memories:
            memory.move(address)


Operand = Value | External


@dataclass(frozen=True)
class Options:
    """What a plan is built for.

    Args:
        shape: of the images, (N, C, H, W).
        trainable: state-dict names of the parameters that need gradients.
        frozen_norms: names of the nodes whose BatchNorm uses its running statistics.
        data_type: of the feature maps, `memory.F32` or `BF16`; logits, parameters, their gradients and all
            sums are float32.
        threads: number of threads.
    """

    shape: tuple[int, ...]
    trainable: frozenset[str]
    frozen_norms: frozenset[str] = frozenset()
    data_type: int = F32
    threads: int = 1


class Steps:
    """The operations so far, and the values between them.

    Args:
        flow: operations of the network.
        shapes: of the parameters and statistics, by state-dict name.
        options: see `Options`.
    """

    def __init__(self, flow: Sequence[Node], shapes: dict[str, tuple[int, ...]], options: Options):
        self.shapes, self.options = shapes, options
        self.image = External.plain(options.shape)
        self.values: dict[str, Operand] = {IMAGE: self.image}  # results by node
        self.pending: dict[str, Operand] = {}  # gradients of results, by node, as far as they are summed
        # make the memory for the gradient of a node's result, where that has a layout of its own
        self.layouts: dict[str, Callable[[], Operand]] = {}
        self.parameters: dict[str, External] = {}
        self.gradients: dict[str, External] = {}  # of the parameters
        self.outputs: dict[str, External] = {}
        self.output_gradients: dict[str, External] = {}
        self.side_gradients: dict[str, External] = {}
        self.statistics: dict[str, tuple[Value, Value]] = {}  # batch mean and variance by node
        self.constants: list[tuple[External, np.ndarray]] = []
        self.needs_gradient = self._nodes_to_train(flow)
        self.logits = _nodes_of_logits(flow)
        self.operations: list[tuple[Primitive, dict[str, Operand]]] = []

    def _nodes_to_train(self, flow: Sequence[Node]) -> set[str]:
        """Nodes with a trainable parameter in them or before them."""
        found: set[str] = set()
        for node in flow:
            own = f"{node.name}."
            if found & set(node.inputs) or any(name.startswith(own) for name in self.options.trainable):
                found.add(node.name)
        return found

    def data_type(self, name: str) -> int:
        """Data type of a node's result."""
        return F32 if name in self.logits else self.options.data_type

    def maps(self, shape: Sequence[int]) -> Desc:
        """The layout of feature maps (N, C, H, W)."""
        return Desc.maps(shape, self.options.data_type)

    def result(self, name: str, shape: Sequence[int]) -> Operand:
        """Memory for the result (N, C, H, W) of a node; that of an output lies outside the arena."""
        if name in OUTPUTS:
            self.values[name] = self.outputs[name] = External.plain(shape)
            self.output_gradients[name] = External.plain(shape)
        else:
            desc = Desc.plain(shape) if name in self.logits else self.maps(shape)
            self.values[name] = Value.new(desc)
        return self.values[name]

    def parameter(self, name: str) -> External:
        """A parameter or running statistic, by its state-dict name."""
        return self.parameters.setdefault(name, External.plain(self.shapes[name]))

    def gradient(self, name: str) -> External | None:
        """Where the gradient of a parameter goes; None if it is not trained."""
        if name not in self.options.trainable:
            return None
        return self.gradients.setdefault(name, External.plain(self.shapes[name]))

    def constant(self, array: np.ndarray) -> External:
        """An array of the plan, which keeps its contents from step to step."""
        found = External.plain(array.shape)
        self.constants.append((found, np.ascontiguousarray(array, np.float32)))
        return found

    def new_gradient(self, name: str) -> Operand:
        """Memory for the gradient of a node's result."""
        make = self.layouts.get(name)
        return make() if make else Value.new(self.values[name].desc)

    def deliver(self, name: str, gradient: Operand) -> None:
        """Add to the gradient of a node's result; `gradient` has its shape."""
        known = self.pending.setdefault(name, gradient)
        if known is not gradient:
            addition = ops.add(known.desc, gradient.desc, known.desc)
            self.emit(addition, src=known, src1=gradient, dst=known)

    def emit(self, primitive: Primitive, **operands: Operand) -> None:
        """Append an operation, and the reorders between the layouts of a convolution and ours."""
        after = []
        if primitive.kind.startswith("convolution"):
            for name in filter(operands.__contains__, CONVOLUTION_OPERANDS):
                ours = operands[name]
                wanted = primitive.layout(name, ours.desc.shape)
                if wanted.equals(ours.desc):
                    continue
                theirs = operands[name] = Value.new(wanted)
                if name in CONVOLUTION_RESULTS:
                    after.append((ops.reorder(wanted, ours.desc), {"src": theirs, "dst": ours}))
                else:
                    self.operations.append((ops.reorder(ours.desc, wanted), {"src": ours, "dst": theirs}))
        self.operations += [(primitive, operands), *after]


def _nodes_of_logits(flow: Sequence[Node]) -> set[str]:
    """The side outputs, and what is computed from them."""
    found = set(SIDES)
    for node in flow:
        if found & set(node.inputs):
            found.add(node.name)
    return found
