"""Convolutions of a training step: with BatchNorm and ReLU, and those of the side outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleseg_u2net.models.architecture import BN_EPSILON, SIDES, Node
from paddleseg_u2net.onednn import operations as ops
from paddleseg_u2net.onednn.arena import Value
from paddleseg_u2net.onednn.library import Unavailable
from paddleseg_u2net.onednn.memory import Desc
from paddleseg_u2net.onednn.operations import Primitive
from paddleseg_u2net.onednn.statistics import append_statistics, needs_rows
from paddleseg_u2net.onednn.steps import Backward, External, Operand, Steps

TAPS = 9  # of a 3x3 kernel
TAP_MAPS = 16  # TAPS, rounded up to whole blocks of channels


@dataclass
class Convolution:
    """A convolution of stride 1 that keeps height and width.

    Args:
        source: node that it reads.
        weight: (out, in, k, k).
        bias: (out,), or None.
        gradient: receives the gradient of the weight; None if it is not trained.
        bias_gradient: receives the gradient of the bias; None if nobody needs it.
        dilation: of the kernel.
        free: oneDNN chooses the layout of the result.
    """

    source: str
    weight: External
    bias: External | None = None
    gradient: External | None = None
    bias_gradient: External | None = None
    dilation: int = 1
    free: bool = False

    def append(self, steps: Steps, y: Operand, diff: Callable[[], Operand]) -> Backward:
        """Append the forward operation.

        Args:
            steps: receives it.
            y: receives the result.
            diff: returns the gradient of the result, when the backward operations are appended.
        """
        shape = self.weight.desc.shape
        x, weights = steps.values[self.source], Desc.any(shape, steps.data_type(self.source))
        bias = self.bias.desc if self.bias else None
        operands: dict[str, Operand] = {"bias": self.bias} if self.bias else {}
        forward = self._fastest(steps, y, ops.convolution, weights, bias)
        steps.emit(forward, src=x, weights=self.weight, dst=y, **operands)

        def back() -> None:
            g = diff()
            if self.gradient or self.bias_gradient:
                results: dict[str, Operand] = {"diff_weights": self.gradient or Value.new(Desc.plain(shape))}
                bias = None
                if self.bias_gradient:
                    results["diff_bias"], bias = self.bias_gradient, self.bias_gradient.desc
                backward = self._fastest(
                    steps, y, ops.convolution_weights, Desc.any(shape), bias, hint=forward
                )
                steps.emit(backward, src=x, diff_dst=g, **results)
            if self.source in steps.needs_gradient:
                down = Value.new(x.desc)
                backward = self._fastest(steps, y, ops.convolution_data, weights, hint=forward)
                steps.emit(backward, diff_dst=g, weights=self.weight, diff_src=down)
                steps.deliver(self.source, down)

        return back

    def _fastest(
        self, steps: Steps, y: Operand, create: Callable[..., Primitive], *between: Any, **hint: Primitive
    ) -> Primitive:
        """A primitive in the layout of the maps, or in the plain one if oneDNN is slow in that."""
        x, data_type = steps.values[self.source], steps.data_type(self.source)
        pad = self.dilation * (self.weight.desc.shape[2] // 2)
        geometry = (1, 1), (self.dilation - 1,) * 2, (pad, pad), (pad, pad)
        src = Desc.any(x.desc.shape, data_type) if x is steps.image else x.desc
        dst = Desc.any(y.desc.shape, data_type) if self.free else y.desc
        found = create(src, *between, dst, *geometry, **hint)
        if not found.is_reference:
            return found
        src, dst = (Desc.plain(operand.desc.shape, data_type) for operand in (x, y))
        return create(src, *between, dst, *geometry, **hint)


def conv_relu(steps: Steps, node: Node) -> Backward:
    """Append a convolution, BatchNorm and ReLU."""
    name, source = node.name, node.inputs[0]
    conv, bn = f"{name}.conv_s1", f"{name}.bn_s1"
    frozen = name in steps.options.frozen_norms
    n, _, h, w = steps.values[source].desc.shape
    if n * h * w == 1 and not frozen:
        raise Unavailable(f"{bn} gets one value per channel, which Paddle does not normalize")
    maps, vector = steps.maps((n, node.weight[0], h, w)), Desc.plain(node.weight[:1])
    y, z, diff = Value.new(maps), Value.new(maps), Value.new(maps)
    convolve_backward = Convolution(
        source,
        steps.parameter(f"{conv}.weight"),
        steps.parameter(f"{conv}.bias"),
        steps.gradient(f"{conv}.weight"),
        steps.gradient(f"{conv}.bias") if frozen else None,  # else BatchNorm subtracts the bias again
        node.dilation,
    ).append(steps, y, lambda: diff)
    forward = hint = ops.norm_relu(maps, BN_EPSILON)
    if frozen:
        mean, variance = steps.parameter(f"{bn}._mean"), steps.parameter(f"{bn}._variance")
        forward = hint = ops.norm_relu(maps, BN_EPSILON, ops.GLOBAL_STATISTICS)
    elif needs_rows(maps, steps.options.data_type):
        mean, variance = steps.statistics[name] = append_statistics(steps, y)
        forward = ops.norm_relu(maps, BN_EPSILON, ops.GLOBAL_STATISTICS)
    else:
        mean, variance = steps.statistics[name] = Value.new(vector), Value.new(vector)
    common: dict[str, Operand] = {
        "mean": mean,
        "variance": variance,
        "scale": steps.parameter(f"{bn}.weight"),
        "workspace": Value.new(forward.layout("workspace")),
    }
    steps.emit(forward, src=y, dst=z, shift=steps.parameter(f"{bn}.bias"), **common)
    steps.values[name] = z

    def back() -> None:
        results = {
            result: steps.gradient(f"{bn}.{key}") or Value.new(vector)
            for result, key in (("diff_scale", "weight"), ("diff_shift", "bias"))
        }
        flags = ops.GLOBAL_STATISTICS if frozen else 0
        backward = ops.norm_relu_backward(maps, BN_EPSILON, flags, hint=hint)
        g = steps.pending.pop(name)
        steps.emit(backward, src=y, diff_dst=g, diff_src=diff, **common, **results)
        convolve_backward()

    return back


def logits(steps: Steps, node: Node) -> Backward:
    """Append the convolution of a side output, or of the fused one.

    The gradient of a side output leaves the plan: the sum over its pixels is the gradient of the bias.
    """
    name, source, classes = node.name, node.inputs[0], node.weight[0]
    n, _, h, w = steps.values[source].desc.shape
    y = steps.result(name, (n, classes, h, w))
    bias_gradient = None
    if name in SIDES:
        diff = steps.side_gradients[name] = External.plain(y.desc.shape)
        steps.layouts[name] = lambda: diff
        if classes == 1:
            return _one_channel(steps, node, y)
    else:
        bias_gradient = steps.gradient(f"{name}.bias")
    weight, bias = steps.parameter(f"{name}.weight"), steps.parameter(f"{name}.bias")
    gradient = steps.gradient(f"{name}.weight")
    found = Convolution(source, weight, bias, gradient, bias_gradient, free=True)
    return found.append(steps, y, lambda: steps.pending.pop(name))


def _one_channel(steps: Steps, node: Node, y: Operand) -> Backward:
    """Append a 3x3 convolution to one channel: a 1x1 convolution to one map per tap, and their shifted sum.

    A convolution to one channel would leave most of each block of channels empty.
    """
    name, source, channels = node.name, node.inputs[0], node.weight[1]
    weight, gradient = steps.parameter(f"{name}.weight"), steps.gradient(f"{name}.weight")
    n, _, h, w = steps.values[source].desc.shape
    wide = steps.constant(np.zeros((TAP_MAPS, channels, 1, 1)))
    diff_wide = steps.constant(np.zeros((TAP_MAPS, channels, 1, 1))) if gradient else None
    shifts = steps.constant(np.eye(TAP_MAPS, TAPS).reshape(1, TAP_MAPS, 3, 3))
    taps = Desc.strided((TAPS, channels, 1, 1), (1, TAPS, 1, 1))  # how the weight lies in memory
    part = wide.desc.part((TAPS, channels, 1, 1), (0, 0, 0, 0))
    steps.emit(ops.reorder(taps, part), src=weight.seen_as(taps), dst=wide.seen_as(part))
    maps = f"{name}.taps"
    steps.values[maps] = Value.new(steps.maps((n, TAP_MAPS, h, w)))
    steps.needs_gradient.add(maps)
    split = Convolution(source, wide, gradient=diff_wide).append(
        steps, steps.values[maps], lambda: steps.pending.pop(maps)
    )
    join = Convolution(maps, shifts, steps.parameter(f"{name}.bias"), free=True).append(
        steps, y, lambda: steps.pending.pop(name)
    )

    def back() -> None:
        join()
        split()
        if gradient and diff_wide:
            copy = ops.reorder(part, taps)
            steps.emit(copy, src=diff_wide.seen_as(part), dst=gradient.seen_as(taps))

    return back
