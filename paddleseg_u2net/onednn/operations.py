"""The operations of a training step as oneDNN primitives."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping, Sequence
from ctypes import byref, c_float, c_int, c_void_p
from typing import Any

from paddleseg_u2net.onednn.library import call, create, engine, library, stream
from paddleseg_u2net.onednn.memory import Desc, Memory, dimensions

# From dnnl_types.h: kinds of propagation, algorithms, flags, queries, arguments
FORWARD_TRAINING, BACKWARD = 64, 128
CONVOLUTION_DIRECT, POOLING_MAX, RESAMPLING_LINEAR, BINARY_ADD = 1, 0x1FF, 0x2FFF1, 0x1FFF0
GLOBAL_STATISTICS, SCALE, SHIFT, RELU = 1, 2, 4, 8
QUERY_IMPLEMENTATION = 8
QUERIES = {
    "src": 129,
    "diff_src": 130,
    "weights": 131,
    "diff_weights": 132,
    "dst": 133,
    "diff_dst": 134,
    "workspace": 135,
    "scratchpad": 136,
}
ARGUMENTS = {
    "src": 1,
    "src1": 2,
    "dst": 17,
    "weights": 33,
    "bias": 41,
    "mean": 49,
    "variance": 50,
    "scale": 51,
    "shift": 52,
    "workspace": 64,
    "scratchpad": 80,
    "diff_src": 129,
    "diff_dst": 145,
    "diff_weights": 161,
    "diff_bias": 169,
    "diff_scale": 255,
    "diff_shift": 256,
}


class _Argument(ctypes.Structure):
    _fields_ = [("index", c_int), ("memory", c_void_p)]


class Primitive:
    """One operation on fixed shapes.

    Args:
        kind: `dnnl_<kind>_primitive_desc_create` describes it.
        arguments: of that function, without the attributes.

    Raises:
        Unavailable: oneDNN has no implementation.
    """

    def __init__(self, kind: str, *arguments: Any):
        self.kind = kind
        attributes = create("primitive_attr_create")
        call("primitive_attr_set_scratchpad_mode", attributes, c_int(1))  # one of ours for all operations
        try:
            self.desc = create(f"{kind}_primitive_desc_create", *arguments, attributes)
        finally:
            call("primitive_attr_destroy", attributes)
        weakref.finalize(self, library().dnnl_primitive_desc_destroy, self.desc)
        self.handle = create("primitive_create", self.desc)
        weakref.finalize(self, library().dnnl_primitive_destroy, self.handle)

    def layout(self, name: str, shape: Sequence[int] = ()) -> Desc:
        """The layout that the operation has chosen for an operand, a key of QUERIES."""
        handle = library().dnnl_primitive_desc_query_md(self.desc, c_int(QUERIES[name]), c_int(0))
        return Desc(c_void_p(handle), shape, owner=self)

    @property
    def implementation(self) -> str:
        """Name of the kernel, as `jit:avx2`."""
        text = ctypes.c_char_p()
        call("primitive_desc_query", self.desc, c_int(QUERY_IMPLEMENTATION), c_int(0), byref(text))
        return (text.value or b"").decode()

    @property
    def is_reference(self) -> bool:
        """Whether oneDNN has only its slow reference implementation for it."""
        return self.implementation.startswith("ref")

    def bind(self, memories: Mapping[str, Memory]) -> Callable[[], None]:
        """A function that executes the operation on some memories, by their names in ARGUMENTS."""
        table = (_Argument * len(memories))(
            *((ARGUMENTS[name], memory.handle) for name, memory in memories.items())
        )
        execute, where, count = library().dnnl_primitive_execute, stream(), c_int(len(memories))
        operation, kept = self, tuple(memories.values())  # both live as long as the function

        def run() -> None:
            if execute(operation.handle, where, count, table):
                raise RuntimeError(f"oneDNN: {operation.kind} of {len(kept)} operands failed")

        return run


def convolution(
    src: Desc, weights: Desc, bias: Desc | None, dst: Desc, *geometry: Sequence[int]
) -> Primitive:
    """Convolution, dense or of each channel alone.

    Args:
        src: (N, in, H, W).
        weights: (out, in, k, k); (C, 1, 1, k, k) for each channel alone.
        bias: (out,) float32, or None.
        dst: (N, out, h, w).
        geometry: strides, dilations from 0, padding before, padding after; two numbers of pixels each.
    """
    return Primitive(
        "convolution_forward",
        engine(),
        c_int(FORWARD_TRAINING),
        c_int(CONVOLUTION_DIRECT),
        src.handle,
        weights.handle,
        bias.handle if bias else None,
        dst.handle,
        *map(dimensions, geometry),
    )


def convolution_data(
    diff_src: Desc, weights: Desc, diff_dst: Desc, *geometry: Sequence[int], hint: Primitive
) -> Primitive:
    """Gradient of a convolution by its input; `hint` is the forward operation."""
    return Primitive(
        "convolution_backward_data",
        engine(),
        c_int(CONVOLUTION_DIRECT),
        diff_src.handle,
        weights.handle,
        diff_dst.handle,
        *map(dimensions, geometry),
        hint.desc,
    )


def convolution_weights(
    src: Desc,
    diff_weights: Desc,
    diff_bias: Desc | None,
    diff_dst: Desc,
    *geometry: Sequence[int],
    hint: Primitive,
) -> Primitive:
    """Gradient of a convolution by its weights and bias; `hint` is the forward operation."""
    return Primitive(
        "convolution_backward_weights",
        engine(),
        c_int(CONVOLUTION_DIRECT),
        src.handle,
        diff_weights.handle,
        diff_bias.handle if diff_bias else None,
        diff_dst.handle,
        *map(dimensions, geometry),
        hint.desc,
    )


def norm(maps: Desc, epsilon: float, flags: int = 0) -> Primitive:
    """BatchNorm of maps (N, C, H, W); its statistics are (C,) float32; `flags` are those of oneDNN."""
    return Primitive(
        "batch_normalization_forward",
        engine(),
        c_int(FORWARD_TRAINING),
        maps.handle,
        maps.handle,
        c_float(epsilon),
        c_int(flags),
    )


def norm_relu(maps: Desc, epsilon: float, flags: int = 0) -> Primitive:
    """BatchNorm with scale and shift (C,) float32, and ReLU; `flags` is 0 or GLOBAL_STATISTICS."""
    return norm(maps, epsilon, SCALE | SHIFT | RELU | flags)


def norm_relu_backward(maps: Desc, epsilon: float, flags: int = 0, *, hint: Primitive) -> Primitive:
    """Gradients of `norm_relu` by its input, scale and shift; `hint` is the forward operation."""
    return Primitive(
        "batch_normalization_backward",
        engine(),
        c_int(BACKWARD),
        maps.handle,
        maps.handle,
        maps.handle,
        c_float(epsilon),
        c_int(SCALE | SHIFT | RELU | flags),
        hint.desc,
    )


def max_pool(src: Desc, dst: Desc, *geometry: Sequence[int]) -> Primitive:
    """Max pooling of (N, C, H, W); `geometry` is strides, kernel, dilations from 0, padding before, after."""
    return Primitive(
        "pooling_forward",
        engine(),
        c_int(FORWARD_TRAINING),
        c_int(POOLING_MAX),
        src.handle,
        dst.handle,
        *map(dimensions, geometry),
    )


def max_pool_backward(diff_src: Desc, diff_dst: Desc, *geometry: Sequence[int], hint: Primitive) -> Primitive:
    """Gradient of `max_pool`; `hint` is the forward operation."""
    return Primitive(
        "pooling_backward",
        engine(),
        c_int(POOLING_MAX),
        diff_src.handle,
        diff_dst.handle,
        *map(dimensions, geometry),
        hint.desc,
    )


def resize(src: Desc, dst: Desc) -> Primitive:
    """Bilinear resizing of (N, C, H, W) to (N, C, h, w), with half-pixel centres."""
    return Primitive(
        "resampling_forward",
        engine(),
        c_int(FORWARD_TRAINING),
        c_int(RESAMPLING_LINEAR),
        None,
        src.handle,
        dst.handle,
    )


def resize_backward(diff_src: Desc, diff_dst: Desc, hint: Primitive) -> Primitive:
    """Gradient of `resize`; `hint` is the forward operation."""
    return Primitive(
        "resampling_backward",
        engine(),
        c_int(RESAMPLING_LINEAR),
        None,
        diff_src.handle,
        diff_dst.handle,
        hint.desc,
    )


def add(a: Desc, b: Desc, dst: Desc) -> Primitive:
    """Sum of two memories of one shape, element by element."""
    return Primitive("binary", engine(), c_int(BINARY_ADD), a.handle, b.handle, dst.handle)


def reorder(src: Desc, dst: Desc) -> Primitive:
    """Copy into another layout or data type."""
    return Primitive("reorder", src.handle, engine(), dst.handle, engine())
