"""The operations of a training step besides convolutions: pooling, resizing, concatenation, addition."""

from __future__ import annotations

import numpy as np

from paddleseg_u2net.models.architecture import Node
from paddleseg_u2net.onednn import operations as ops
from paddleseg_u2net.onednn.arena import Value
from paddleseg_u2net.onednn.memory import Desc
from paddleseg_u2net.onednn.steps import Backward, Steps

# bilinear weights, from large to small
HALVING = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])


def pool(steps: Steps, node: Node) -> Backward:
    """Append a 2x2 max pooling that rounds up."""
    source = node.inputs[0]
    x = steps.values[source]
    n, c, h, w = x.desc.shape
    y = steps.result(node.name, (n, c, (h + 1) // 2, (w + 1) // 2))
    geometry = (2, 2), (2, 2), (0, 0), (0, 0), (h % 2, w % 2)
    forward = ops.max_pool(x.desc, y.desc, *geometry)
    largest = Value.new(forward.layout("workspace"))
    steps.emit(forward, src=x, dst=y, workspace=largest)

    def back() -> None:
        g = Value.new(x.desc)
        backward = ops.max_pool_backward(x.desc, y.desc, *geometry, hint=forward)
        steps.emit(backward, diff_dst=steps.pending.pop(node.name), workspace=largest, diff_src=g)
        steps.deliver(source, g)

    return back


def resize(steps: Steps, node: Node) -> Backward:
    """Append a bilinear resizing to the height and width of the second input."""
    x, like = (steps.values[name] for name in node.inputs)
    y = steps.result(node.name, (*x.desc.shape[:2], *like.desc.shape[2:]))
    large = y.desc
    forward = ops.resize(x.desc, large)
    steps.emit(forward, src=x, dst=y)

    def back() -> None:
        g = steps.new_gradient(node.inputs[0])
        backward = ops.resize_backward(x.desc, large, hint=forward)
        steps.emit(backward, diff_dst=steps.pending.pop(node.name), diff_src=g)
        steps.deliver(node.inputs[0], g)

    doubled = [2 * size for size in x.desc.shape[2:]] == list(large.shape[2:])
    blocked = node.name not in steps.logits
    return (_halve(steps, node, x.desc, large) if doubled and blocked else None) or back


def _halve(steps: Steps, node: Node, small: Desc, large: Desc) -> Backward | None:
    """The gradient of a resizing to exactly twice the size, as a convolution of each channel alone.

    The gradient is collected in a memory with one more row and column at each side. These get copies of the
    outermost ones, since at the border the large pixels depend on one small pixel alone. oneDNN's own
    operation is several times slower.

    Returns:
        None where oneDNN has no fast convolution for it.
    """
    n, c, h, w = large.shape
    padded = steps.maps((n, c, h + 2, w + 2))
    weights = steps.constant(np.broadcast_to(HALVING, (c, 1, 1, 4, 4)))
    kernel = Desc.any((c, 1, 1, 4, 4), steps.options.data_type)
    operation = ops.convolution(padded, kernel, None, small, (2, 2), (0, 0), (0, 0), (0, 0))
    if operation.is_reference:
        return None
    inside = padded.part((n, c, h, w), (0, 0, 1, 1))
    steps.layouts[node.name] = lambda: Value(inside, Value.new(padded).storage)

    def back() -> None:
        g = steps.pending.pop(node.name)
        assert g.desc is inside  # from `concat`; a gradient of another operation would have no border
        for shape, start, border in (
            ((n, c, 1, w), (1, 1), (0, 1)),
            ((n, c, 1, w), (h, 1), (h + 1, 1)),
            ((n, c, h + 2, 1), (0, 1), (0, 0)),
            ((n, c, h + 2, 1), (0, w), (0, w + 1)),
        ):
            source, target = (padded.part(shape, (0, 0, *corner)) for corner in (start, border))
            copy = ops.reorder(source, target)
            steps.emit(copy, src=Value(source, g.storage), dst=Value(target, g.storage))
        down = Value.new(small)
        steps.emit(operation, src=Value(padded, g.storage), weights=weights, dst=down)
        steps.deliver(node.inputs[0], down)

    return back


def concat(steps: Steps, node: Node) -> Backward:
    """Append a concatenation of channels."""
    parts = [steps.values[name] for name in node.inputs]
    n, _, h, w = parts[0].desc.shape
    counts = [part.desc.shape[1] for part in parts]
    y = steps.result(node.name, (n, sum(counts), h, w))
    views = [y.desc.part((n, count, h, w), (0, sum(counts[:i]), 0, 0)) for i, count in enumerate(counts)]
    for part, view in zip(parts, views, strict=True):
        steps.emit(ops.reorder(part.desc, view), src=part, dst=Value(view, y.storage))

    def back() -> None:
        g = steps.pending.pop(node.name)
        for name, view in zip(node.inputs, views, strict=True):
            if name in steps.needs_gradient:
                part = steps.new_gradient(name)
                steps.emit(ops.reorder(view, part.desc), src=Value(view, g.storage), dst=part)
                steps.deliver(name, part)

    return back


def add(steps: Steps, node: Node) -> Backward:
    """Append the sum of two inputs, in the memory of the first: nothing else reads that one."""
    x, residual = (steps.values[name] for name in node.inputs)
    steps.emit(ops.add(x.desc, residual.desc, x.desc), src=x, src1=residual, dst=x)
    steps.values[node.name] = x

    def back() -> None:
        # one memory for both: the backward of x, which comes first, reads it before the residual's grows
        g = steps.pending.pop(node.name)
        steps.pending |= {name: g for name in node.inputs if name in steps.needs_gradient}

    return back
