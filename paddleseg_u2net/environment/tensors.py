"""Paddle's tensors as arrays of numpy."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from paddle import Tensor


def view(tensor: Tensor) -> np.ndarray:
    """The numbers of a contiguous float32 tensor on the CPU, flattened, in place.

    The array is valid as long as the tensor lives.
    """
    count = int(np.prod(tensor.shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(tensor.data_ptr()))
