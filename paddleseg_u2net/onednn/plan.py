"""A training step for one shape of images: a list of oneDNN operations over one block of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from paddleseg_u2net.models.architecture import OUTPUTS, Node
from paddleseg_u2net.onednn import convolutions, resampling
from paddleseg_u2net.onednn.arena import Arena, Storage, Value, aligned, place
from paddleseg_u2net.onednn.library import threads
from paddleseg_u2net.onednn.memory import Memory
from paddleseg_u2net.onednn.steps import Backward, Operand, Options, Steps

OPERATIONS: dict[str, Callable[[Steps, Node], Backward]] = {
    "conv": convolutions.logits,
    "conv_relu": convolutions.conv_relu,
    "pool": resampling.pool,
    "resize": resampling.resize,
    "concat": resampling.concat,
    "add": resampling.add,
}


class Plan:
    """The forward and backward operations of a network for one shape of images.

    Forward reads the image (N, C, H, W) and the parameters and writes the logits (N, classes, H, W) of the
    seven outputs; backward reads the gradients of these and writes those of the parameters and of the side
    outputs (N, classes, h, w) at their own sizes. All of these are float32.

    Args:
        flow: operations of the network, in order of execution.
        shapes: of the parameters and statistics, by state-dict name.
        options: see `Options`.
        arena: memory for all values.

    Raises:
        Unavailable: oneDNN refuses an operation.
    """

    def __init__(
        self, flow: Sequence[Node], shapes: dict[str, tuple[int, ...]], options: Options, arena: Arena
    ):
        self.options, self.arena = options, arena
        self.steps = steps = Steps(flow, shapes, options)
        with threads(options.threads):  # each primitive is made for a number of threads
            backward = [(node, OPERATIONS[node.operation](steps, node)) for node in flow]
            self.forward_count = len(steps.operations)
            for node, append_gradients in reversed(backward):
                if node.name not in steps.needs_gradient:
                    continue
                if node.name in OUTPUTS:
                    steps.deliver(node.name, steps.output_gradients[node.name])
                append_gradients()
        self._place()

    def _place(self) -> None:
        """Lay out the arena and bind each operation to its memories."""
        operations = self.steps.operations
        used = [[v.storage for v in operands.values() if isinstance(v, Value)] for _, operands in operations]
        kept = [value.storage for pair in self.steps.statistics.values() for value in pair]
        scratch = Storage(max(primitive.layout("scratchpad").size for primitive, _ in operations))
        scratch.offset = place(used, kept)
        self.size = scratch.offset + aligned(scratch.size)
        self.address = 0
        self.inside: list[tuple[Memory, int]] = []  # memories in the arena and their offsets
        memories: dict[Operand, Memory] = {}
        self.runs: list[Callable[[], None]] = []
        for primitive, operands in operations:
            bound = {}
            for name, operand in operands.items():
                if operand not in memories:
                    memories[operand] = self._memory(operand)
                bound[name] = memories[operand]
            pad = primitive.layout("scratchpad")
            if pad.size:
                bound["scratchpad"] = self._memory(Value(pad, scratch))
            self.runs.append(primitive.bind(bound))
        for external, array in self.steps.constants:
            external.move(array.ctypes.data)

    def _memory(self, operand: Operand) -> Memory:
        memory = Memory(operand.desc)
        if isinstance(operand, Value):
            self.inside.append((memory, operand.storage.offset))
        else:
            operand.memories.append(memory)
        return memory

    def forward(self) -> int:
        """Run the forward operations; returns the number of this use of the arena."""
        self.arena.reserve(self.size)
        if self.address != self.arena.address:
            self.address = self.arena.address
            for memory, offset in self.inside:
                memory.move(self.address + offset)
        self.arena.uses += 1
        self._run(self.runs[: self.forward_count])
        return self.arena.uses

    def backward(self, use: int) -> None:
        """Run the backward operations of the forward numbered `use`.

        Raises:
            RuntimeError: another forward has overwritten what they read.
        """
        if use != self.arena.uses:
            raise RuntimeError("the oneDNN engine runs one forward before each backward, not several")
        self._run(self.runs[self.forward_count :])

    def _run(self, runs: Sequence[Callable[[], None]]) -> None:
        with threads(self.options.threads):  # Paddle sets its own number before its operations
            for run in runs:
                run()

    def batch_statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and biased variance, (C,) float32, of the last forward by node; views of the arena."""

        def read(value: Value) -> np.ndarray:
            return self.arena.floats(value.storage.offset, value.desc.shape[0])

        return {name: (read(mean), read(var)) for name, (mean, var) in self.steps.statistics.items()}
