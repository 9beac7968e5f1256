"""oneDNN's C API through ctypes, in the library that Paddle's wheel carries; nothing is compiled.

The constants are those of oneDNN 3 (dnnl_types.h), whose ABI is stable within a major version.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator
from ctypes import byref, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

from paddleseg_u2net.environment.optional_imports import need

MAJOR = 3
FUNCTIONS = """
version engine_create stream_create memory_create memory_destroy memory_set_data_handle
memory_desc_create_with_tag memory_desc_create_with_strides memory_desc_create_submemory memory_desc_get_size
memory_desc_equal memory_desc_destroy primitive_attr_create primitive_attr_set_scratchpad_mode
primitive_attr_destroy primitive_create primitive_destroy primitive_execute primitive_desc_destroy
primitive_desc_query primitive_desc_query_md reorder_primitive_desc_create binary_primitive_desc_create
convolution_forward_primitive_desc_create convolution_backward_data_primitive_desc_create
convolution_backward_weights_primitive_desc_create batch_normalization_forward_primitive_desc_create
batch_normalization_backward_primitive_desc_create pooling_forward_primitive_desc_create
pooling_backward_primitive_desc_create resampling_forward_primitive_desc_create
resampling_backward_primitive_desc_create get_effective_cpu_isa
""".split()  # noqa: SIM905
# Bits of dnnl_cpu_isa_t that stand for one set of instructions alone
AVX512, AVX512_BF16 = 1 << 5, 1 << 7


class Unavailable(ValueError):
    """oneDNN cannot be used in this installation, or refuses an operation."""


def paddle_library(name: str) -> Path:
    """Path of a shared library in Paddle's wheel."""
    return Path(str(need("paddle").__file__)).with_name("libs") / name


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"{path.name} cannot be loaded: {error}") from error


def open_library(path: Path) -> ctypes.CDLL:
    """Load oneDNN.

    Args:
        path: of the shared library.

    Raises:
        Unavailable: it cannot be loaded, is of another major version, or lacks a function.
    """
    found = _load(path)
    missing = [name for name in FUNCTIONS if not hasattr(found, f"dnnl_{name}")]
    if missing:
        raise Unavailable(f"{path.name} has no function dnnl_{missing[0]}")
    found.dnnl_version.restype = ctypes.POINTER(c_int * 3)
    found.dnnl_memory_desc_get_size.restype = c_size_t
    found.dnnl_primitive_desc_query_md.restype = c_void_p
    major = found.dnnl_version().contents[0]
    if major != MAJOR:
        raise Unavailable(f"{path.name} is oneDNN {major}, expected {MAJOR}")
    return found


@functools.cache
def library() -> ctypes.CDLL:
    """The oneDNN that Paddle's wheel carries; see `open_library`."""
    if not sys.platform.startswith("linux"):
        raise Unavailable("only Paddle's wheel for Linux carries a oneDNN that can be called")
    return open_library(paddle_library("libdnnl.so.3"))


def version() -> str:
    """Version of oneDNN, as 3.6.2."""
    return ".".join(map(str, library().dnnl_version().contents))


def call(name: str, *arguments: Any) -> None:
    """Call `dnnl_<name>`; raises Unavailable if oneDNN refuses."""
    status = getattr(library(), f"dnnl_{name}")(*arguments)
    if status:
        raise Unavailable(f"dnnl_{name} returned status {status}")


def create(name: str, *arguments: Any) -> c_void_p:
    """Call `dnnl_<name>`, whose first argument receives the new object; returns its handle."""
    handle = c_void_p()
    call(name, byref(handle), *arguments)
    return handle


@functools.cache
def engine() -> c_void_p:
    """The CPU, as oneDNN's engine."""
    return create("engine_create", c_int(1), c_size_t(0))


@functools.cache
def stream() -> c_void_p:
    """A stream that executes in order."""
    return create("stream_create", engine(), c_int(1))


@functools.cache
def _openmp() -> ctypes.CDLL:
    # oneDNN asks for libgomp, but Paddle loads Intel's OpenMP first, whose symbols of the same names win
    return _load(paddle_library("libiomp5.so"))


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with a number of threads inside the block; Paddle sets its own number before its operations."""
    before = _openmp().omp_get_max_threads()
    _openmp().omp_set_num_threads(c_int(count))
    try:
        yield
    finally:
        _openmp().omp_set_num_threads(c_int(before))


@functools.cache
def channel_block() -> int:
    """Number of channels in a block of the memory layout that is fastest on this processor."""
    return 16 if library().dnnl_get_effective_cpu_isa() & AVX512 else 8


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 numbers."""
    return bool(library().dnnl_get_effective_cpu_isa() & AVX512_BF16)
