"""A training step as one list of oneDNN operations, forward and backward, for one shape of the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleseg_u2net.models.architecture import BN_EPSILON, IMAGE, Node
from paddleseg_u2net.onednn import operations as ops
from paddleseg_u2net.onednn.arena import Arena, Storage, Value, aligned, place
from paddleseg_u2net.onednn.library import channel_block, threads
from paddleseg_u2net.onednn.operations import Desc, Memory, Primitive

CONVOLUTION_OPERANDS = ("src", "weights", "dst", "diff_src", "diff_weights", "diff_dst")
CONVOLUTION_RESULTS = ("dst", "diff_src", "diff_weights")
TAPS = 9  # of a 3x3 kernel

Backward = Callable[[], None]


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
        """A row-major float32 array."""
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
        data_type: of the feature maps, `operations.F32` or `BF16`; parameters, their gradients and all sums
            are float32.
        threads: number of threads.
    """

    shape: tuple[int, ...]
    trainable: frozenset[str]
    frozen_norms: frozenset[str] = frozenset()
    data_type: int = ops.F32
    threads: int = 1


class Plan:
    """The forward and backward operations of a network for one shape of images.

    Forward reads the image and the parameters and writes the logits of the six side outputs at their own
    sizes; backward reads the gradients of these and writes those of the parameters.

    Args:
        flow: operations of the network up to the side outputs, in order of execution.
        shapes: of the parameters and statistics, by state-dict name.
        options: see `Options`.
        arena: memory for all values.

    Raises:
        Unavailable: oneDNN refuses an operation.
    """

    def __init__(
        self, flow: Sequence[Node], shapes: dict[str, tuple[int, ...]], options: Options, arena: Arena
    ):
        self.options, self.shapes, self.arena = options, shapes, arena
        self.image = External.plain(options.shape)
        self.values: dict[str, Operand] = {IMAGE: self.image}
        self.parameters: dict[str, External] = {}
        self.gradients: dict[str, External] = {}  # of the parameters
        self.sides: dict[str, External] = {}
        self.side_gradients: dict[str, External] = {}
        self.statistics: dict[str, tuple[Value, Value]] = {}  # batch mean and variance by node
        self.constants: list[tuple[External, np.ndarray]] = []
        self.pending: dict[str, Value] = {}  # gradients of values, by node
        self.sums: dict[str, Operand] = {}  # values whose gradient is that of another one
        self.steps: list[tuple[Primitive, dict[str, Operand]]] = []
        self.needs_gradient = self._needs_gradient(flow)
        with threads(options.threads):  # each primitive is made for a number of threads
            self._build(flow)
        self._place()

    def _needs_gradient(self, flow: Sequence[Node]) -> set[str]:
        """Nodes with a trainable parameter in them or before them."""
        owners = {name.rsplit(".", 2 if ".conv_s1." in name or ".bn_s1." in name else 1)[0]
                  for name in self.options.trainable}
        found: set[str] = set()
        for node in flow:
            if node.name in owners or found & set(node.inputs):
                found.add(node.name)
        return found

    def _build(self, flow: Sequence[Node]) -> None:
        builders = {
            "conv": self._side,
            "conv_relu": self._conv_relu,
            "pool": self._pool,
            "resize": self._resize,
            "concat": self._concat,
            "add": self._add,
        }
        backward = [(node, builders[node.operation](node)) for node in flow]
        self.forward_count = len(self.steps)
        for node, back in reversed(backward):
            if node.name in self.needs_gradient:
                back()

    def _maps(self, shape: Sequence[int]) -> Desc:
        return Desc.maps(shape, self.options.data_type)

    def _parameter(self, name: str) -> External:
        return self.parameters.setdefault(name, External.plain(self.shapes[name]))

    def _gradient(self, name: str) -> External | None:
        """Where the gradient of a parameter goes; None if it is not trained."""
        if name not in self.options.trainable:
            return None
        return self.gradients.setdefault(name, External.plain(self.shapes[name]))

    # -- one method per operation of the network: appends it, and returns what appends its gradient ----------

    def _side(self, node: Node) -> Backward:
        """A side output, whose logits leave the plan."""
        name, source = node.name, node.inputs[0]
        weight, bias = self._parameter(f"{name}.weight"), self._parameter(f"{name}.bias")
        gradient, classes = self._gradient(f"{name}.weight"), node.weight[0]
        n, _, h, w = self.values[source].desc.shape
        side = self.sides[name] = External.plain((n, classes, h, w))
        diff = self.side_gradients[name] = External.plain((n, classes, h, w))
        if classes == 1:
            return self._one_channel(node, weight, bias, gradient, side, diff)
        return self._convolve(source, weight, gradient, bias, None, side, lambda: diff, free=True)

    def _one_channel(
        self, node: Node, weight: External, bias: External, gradient: External | None, side: External,
        diff: External,
    ) -> Backward:
        """A 3x3 convolution to one channel, as 1x1 convolutions to one map per tap and their shifted sum.

        A convolution to one channel would leave most of each block of channels empty.
        """
        source, channels, block = node.inputs[0], node.weight[1], 16
        n, _, h, w = self.values[source].desc.shape
        taps = Desc.strided((TAPS, channels, 1, 1), (1, TAPS, 1, 1))
        wide = self._constant(np.zeros((block, channels, 1, 1)))
        shifts = self._constant(np.eye(block, TAPS).reshape(1, block, 3, 3))
        part = wide.desc.part((TAPS, channels, 1, 1), (0, 0, 0, 0))
        self._emit(ops.reorder(taps, part), src=weight.seen_as(taps), dst=wide.seen_as(part))
        maps = f"{node.name}.taps"
        self.values[maps] = y = Value.new(self._maps((n, block, h, w)))
        if gradient:
            diff_wide = self._constant(np.zeros((block, channels, 1, 1)))
        else:
            diff_wide = None
        self.needs_gradient.add(maps)
        split = self._convolve(source, wide, diff_wide, None, None, y, lambda: self.pending.pop(maps))
        join = self._convolve(maps, shifts, None, bias, None, side, lambda: diff, free=True)

        def back() -> None:
            join()
            split()
            if gradient and diff_wide:
                self._emit(
                    ops.reorder(part, taps), src=diff_wide.seen_as(part), dst=gradient.seen_as(taps)
                )

        return back

    def _conv_relu(self, node: Node) -> Backward:
        name, source = node.name, node.inputs[0]
        conv, bn = f"{name}.conv_s1", f"{name}.bn_s1"
        frozen = name in self.options.frozen_norms
        n, _, h, w = self.values[source].desc.shape
        maps, vector = self._maps((n, node.weight[0], h, w)), Desc.plain(node.weight[:1])
        y, z, diff = Value.new(maps), Value.new(maps), Value.new(maps)
        convolve_backward = self._convolve(
            source,
            self._parameter(f"{conv}.weight"),
            self._gradient(f"{conv}.weight"),
            self._parameter(f"{conv}.bias"),
            self._gradient(f"{conv}.bias") if frozen else None,  # else it has no influence
            y,
            lambda: diff,
            node.dilation,
        )
        flags = ops.GLOBAL_STATISTICS if frozen else 0
        forward = ops.norm_relu(maps, BN_EPSILON, flags)
        common: dict[str, Operand] = {
            "scale": self._parameter(f"{bn}.weight"),
            "workspace": Value.new(forward.layout("workspace")),
        }
        if frozen:
            common |= {"mean": self._parameter(f"{bn}._mean"), "variance": self._parameter(f"{bn}._variance")}
        else:
            mean, variance = Value.new(vector), Value.new(vector)
            self.statistics[name] = mean, variance
            common |= {"mean": mean, "variance": variance}
        self._emit(forward, src=y, dst=z, shift=self._parameter(f"{bn}.bias"), **common)
        self.values[name] = z

        def back() -> None:
            results = {
                result: self._gradient(f"{bn}.{key}") or Value.new(vector)
                for result, key in (("diff_scale", "weight"), ("diff_shift", "bias"))
            }
            backward = ops.norm_relu_backward(maps, BN_EPSILON, flags, hint=forward)
            self._emit(
                backward, src=y, diff_dst=self.pending.pop(name), diff_src=diff, **common, **results
            )
            convolve_backward()

        return back

    def _convolve(
        self,
        source: str,
        weight: External,
        gradient: External | None,
        bias: External | None,
        bias_gradient: External | None,
        y: Operand,
        diff: Callable[[], Operand],
        dilation: int = 1,
        free: bool = False,
    ) -> Backward:
        """Append a convolution that keeps height and width.

        Args:
            source: name of its input.
            weight: (out, in, k, k).
            gradient: of the weight; None if nobody needs it.
            bias: (out,), or None.
            bias_gradient: of the bias; None if nobody needs it.
            y: receives the result.
            diff: returns the gradient of the result, when the backward operation is appended.
            dilation: of the kernel.
            free: let oneDNN choose the layout of the result.
        """
        x, data_type = self.values[source], self.options.data_type
        pad = dilation * (weight.desc.shape[2] // 2)
        geometry = (1, 1), (dilation - 1,) * 2, (pad, pad), (pad, pad)
        weights = Desc.any(weight.desc.shape, data_type)

        def fastest(create: Callable[..., Primitive], *between: Any, **hint: Primitive) -> Primitive:
            """In the layout of the maps, or in the plain one if oneDNN is slow in that."""
            outer = x.desc.shape, y.desc.shape
            src = Desc.any(outer[0], data_type) if x is self.image else x.desc
            dst = Desc.any(outer[1], data_type) if free else y.desc
            found = create(src, *between, dst, *geometry, **hint)
            if not found.is_reference:
                return found
            plain = (Desc.plain(shape, data_type) for shape in outer)
            return create(next(plain), *between, next(plain), *geometry, **hint)

        operands: dict[str, Operand] = {"bias": bias} if bias else {}
        forward = fastest(ops.convolution, weights, bias.desc if bias else None)
        self._emit(forward, src=x, weights=weight, dst=y, **operands)

        def back() -> None:
            g = diff()
            if gradient or bias_gradient:
                results: dict[str, Operand] = {"diff_bias": bias_gradient} if bias_gradient else {}
                results["diff_weights"] = gradient or Value.new(Desc.plain(weight.desc.shape))
                bias_desc = bias_gradient.desc if bias_gradient else None
                backward = fastest(
                    ops.convolution_weights, Desc.any(weight.desc.shape), bias_desc, hint=forward
                )
                self._emit(backward, src=x, diff_dst=g, **results)
            if source in self.needs_gradient:
                down = Value.new(x.desc)
                backward = fastest(ops.convolution_data, weights, hint=forward)
                self._emit(backward, diff_dst=g, weights=weight, diff_src=down)
                self._deliver(source, down)

        return back

    def _pool(self, node: Node) -> Backward:
        x = self.values[node.inputs[0]]
        n, c, h, w = x.desc.shape
        small = self._maps((n, c, (h + 1) // 2, (w + 1) // 2))
        geometry = (2, 2), (2, 2), (0, 0), (0, 0), (h % 2, w % 2)
        forward = ops.max_pool(x.desc, small, *geometry)
        y, largest = Value.new(small), Value.new(forward.layout("workspace"))
        self._emit(forward, src=x, dst=y, workspace=largest)
        self.values[node.name] = y

        def back() -> None:
            g = Value.new(x.desc)
            backward = ops.max_pool_backward(x.desc, small, *geometry, hint=forward)
            self._emit(backward, diff_dst=self.pending.pop(node.name), workspace=largest, diff_src=g)
            self._deliver(node.inputs[0], g)

        return back

    def _resize(self, node: Node) -> Backward:
        x, like = (self.values[name] for name in node.inputs)
        large = self._maps((*x.desc.shape[:2], *like.desc.shape[2:]))
        forward, y = ops.resize(x.desc, large), Value.new(large)
        self._emit(forward, src=x, dst=y)
        self.values[node.name] = y

        def back() -> None:
            g = Value.new(x.desc)
            backward = ops.resize_backward(x.desc, large, hint=forward)
            self._emit(backward, diff_dst=self.pending.pop(node.name), diff_src=g)
            self._deliver(node.inputs[0], g)

        return back

    def _concat(self, node: Node) -> Backward:
        parts = [self.values[name] for name in node.inputs]
        n, _, h, w = parts[0].desc.shape
        counts = [part.desc.shape[1] for part in parts]
        whole = self._maps((n, sum(counts), h, w))
        y = self.values[node.name] = Value.new(whole)
        views = [
            whole.part((n, count, h, w), (0, sum(counts[:i]), 0, 0)) for i, count in enumerate(counts)
        ]
        for part, view in zip(parts, views, strict=True):
            self._emit(ops.reorder(part.desc, view), src=part, dst=Value(view, y.storage))

        def back() -> None:
            g = self.pending.pop(node.name)
            for name, part, view in zip(node.inputs, parts, views, strict=True):
                if name not in self.needs_gradient:
                    continue
                known = self.pending.get(name)
                target = known or Value.new(part.desc)
                copy = ops.reorder(view, part.desc, accumulate=known is not None)
                self._emit(copy, src=Value(view, g.storage), dst=target)
                self.pending[name] = target

        return back

    def _add(self, node: Node) -> Backward:
        x, residual = (self.values[name] for name in node.inputs)
        # in place, as nothing else reads x, not even its own backward
        self._emit(ops.add(x.desc, residual.desc, x.desc), src=x, src1=residual, dst=x)
        self.values[node.name] = x

        def back() -> None:
            # one memory for both: that of x is read before anything is added to that of the residual
            g = self.pending.pop(node.name)
            self.pending |= {name: g for name in node.inputs if name in self.needs_gradient}

        return back

    # -- building ---------------------------------------------------------------------------------------------

    def _constant(self, array: np.ndarray) -> External:
        """An array of our own, which keeps its contents from step to step."""
        found = External.plain(array.shape)
        self.constants.append((found, np.ascontiguousarray(array, np.float32)))
        return found

    def _deliver(self, name: str, gradient: Value) -> None:
        """Add to the gradient of a value."""
        known = self.pending.setdefault(name, gradient)
        if known is not gradient:
            desc = gradient.desc
            self._emit(ops.add(desc, desc, desc), src=known, src1=gradient, dst=known)

    def _emit(self, primitive: Primitive, **operands: Operand) -> None:
        """Append an operation, and the reorders between its layouts and ours."""
        after = []
        if primitive.kind.startswith("convolution"):
            for name in operands.keys() & set(CONVOLUTION_OPERANDS):
                ours = operands[name]
                wanted = primitive.layout(name, ours.desc.shape)
                if wanted.equals(ours.desc):
                    continue
                theirs = operands[name] = Value.new(wanted)
                if name in CONVOLUTION_RESULTS:
                    after.append((ops.reorder(wanted, ours.desc), {"src": theirs, "dst": ours}))
                else:
                    self.steps.append((ops.reorder(ours.desc, wanted), {"src": ours, "dst": theirs}))
        self.steps += [(primitive, operands), *after]

    def _place(self) -> None:
        """Lay out the arena and bind each operation to its memories."""
        used = [[v.storage for v in operands.values() if isinstance(v, Value)] for _, operands in self.steps]
        kept = {value.storage for pair in self.statistics.values() for value in pair}
        scratch = Storage(max(primitive.layout("scratchpad").size for primitive, _ in self.steps))
        scratch.offset = place(used, kept)
        self.size = scratch.offset + aligned(scratch.size)
        memories: dict[Operand, Memory] = {}
        self.inside: list[tuple[Memory, int]] = []
        self.runs: list[Callable[[], None]] = []
        for primitive, operands in self.steps:
            bound = {}
            for name, operand in operands.items():
                if operand not in memories:
                    memories[operand] = self._memory(operand)
                bound[name] = memories[operand]
            pad = primitive.layout("scratchpad")
            if pad.size:
                bound["scratchpad"] = self._memory(Value(pad, scratch))
            self.runs.append(primitive.bind(bound))
        for external, array in self.constants:
            external.move(array.ctypes.data)
        self.address = 0

    def _memory(self, operand: Operand) -> Memory:
        memory = Memory(operand.desc)
        if isinstance(operand, Value):
            self.inside.append((memory, operand.storage.offset))
        else:
            operand.memories.append(memory)
        return memory

    # -- running ----------------------------------------------------------------------------------------------

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
        """Mean and biased variance (C,) of the last forward by node, as views."""
        return {
            name: tuple(self.arena.floats(v.storage.offset, v.desc.shape[0]) for v in pair)
            for name, pair in self.statistics.items()
        }
