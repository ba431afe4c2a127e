"""Arrays in and out: new ones, on lines of the cache; which ones the kernels can read as they lie, and copies of the others; zeros."""

from __future__ import annotations

import math

import numpy as np

from ...problem import Problem
from . import frame
from .entry import address

ALIGN_FROM = 16384  # bytes of a result
_zeros = np.zeros(0, np.uint8)


def zeros(bytes: int) -> np.ndarray:
    """At least that many zero bytes, shared by all plans and never written."""
    global _zeros
    if _zeros.nbytes < bytes:
        _zeros = np.zeros(max(bytes, 4096), np.uint8)
    return _zeros


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`numpy.empty`, large arrays from a whole cache line on: elsewhere every vector of 64 bytes lies across two lines."""
    return np.empty(shape, dtype) if math.prod(shape) * dtype.itemsize < ALIGN_FROM else on_lines(shape, dtype)


def on_lines(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that begins on a line of the cache."""
    room = np.empty(math.prod(shape) * dtype.itemsize + 63, np.uint8)
    return np.ndarray(shape, dtype, room, -address(room) % 64)


def moved_on_lines(array: np.ndarray) -> np.ndarray:
    """A copy that begins on a line of the cache."""
    copy = on_lines(array.shape, array.dtype)
    copy[...] = array
    return copy


def allocate(p: Problem, x: np.ndarray) -> np.ndarray:
    """A new result, with the channels where x's memory has them."""
    if frame.channels_inner(p, x) == p.channels_last:
        return empty(p.out_shape, p.result)
    lead, at = (p.out_shape[:1], 1) if p.batched else ((), 0)
    if p.channels_last:
        return np.moveaxis(empty((*lead, p.out_channels, *p.out_size), p.result), at, -1)
    return np.moveaxis(empty((*lead, *p.out_size, p.out_channels), p.result), -1, at)


def fits(array: np.ndarray | None, dtype: np.dtype) -> bool:
    """Whether the kernels can read or write an array by its strides: of that dtype in native byte order, on whole elements."""
    return array is None or (array.dtype == dtype and not any(s % dtype.alignment for s in array.strides))


def readable(array: np.ndarray | None, dtype: np.dtype, contiguous: bool) -> np.ndarray | None:
    """The array itself if the kernels can read it as it lies, else a copy that they can; no matter of the layout."""
    if array is None or (fits(array, dtype) and array.flags.aligned and not (contiguous and array.strides != (dtype.itemsize,))):
        return array
    return array.astype(dtype, order="C" if contiguous else "K")
