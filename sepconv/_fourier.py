"""Convolution through the frequencies, for kernels so large that sums take longer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

BLOCKS = 8  # length of a block of overlap-add, in lengths of the shorter array: longer ones do not fit the caches, shorter ones repeat more work


def scipy_fft() -> Any:
    """`scipy.fft`, which computes in float32 and lets other threads run; None where SciPy is not installed."""
    try:
        import scipy.fft as module
    except ImportError:
        return None
    return module


def good_size(n: int) -> int:
    """The least product of 2, 3 and 5 from n on."""
    best = 1 << max(0, n - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            two = three << max(0, -(-n // three) - 1).bit_length()
            best = min(best, two)
            three *= 3
        five *= 5
    return best


def convolved(x: np.ndarray, w: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    """The full convolution along `axes`, the others broadcast; float32 and complex64 stay, integers are float64.

    Along the axis where the lengths differ most the longer array is cut in blocks, whose results overlap and are added (T. G. Stockham,
    "High-speed convolution and correlation", 1966).
    """
    axes = list(axes)
    full = {axis: x.shape[axis] + w.shape[axis] - 1 for axis in axes}
    long = max(axes, key=lambda axis: max(x.shape[axis], w.shape[axis]) / min(x.shape[axis], w.shape[axis]))
    if x.shape[long] < w.shape[long]:
        x, w = w, x
    n, k = x.shape[long], w.shape[long]
    size = good_size(BLOCKS * k)
    if size >= full[long]:
        return _once(x, w, axes, full)
    step, result = size - k + 1, None
    for begin in range(0, n, step):
        part = x[(*(slice(None),) * long, slice(begin, begin + step))]
        made = _once(part, w, axes, {**full, long: part.shape[long] + k - 1}, size, long)
        if result is None:
            shape = list(made.shape)
            shape[long] = full[long]
            result = np.zeros(shape, made.dtype)
        result[(*(slice(None),) * long, slice(begin, begin + made.shape[long]))] += made
    assert result is not None
    return result


def _once(x: np.ndarray, w: np.ndarray, axes: list[int], full: dict[int, int], size: int = 0, long: int = -1) -> np.ndarray:
    fft = scipy_fft() or np.fft
    sizes = [size if axis == long else good_size(full[axis]) for axis in axes]
    if x.dtype.kind == "c" or w.dtype.kind == "c":
        product = fft.fftn(x, sizes, axes) * fft.fftn(w, sizes, axes)
        made = fft.ifftn(product, sizes, axes)
    else:
        product = fft.rfftn(x, sizes, axes) * fft.rfftn(w, sizes, axes)
        made = fft.irfftn(product, sizes, axes)
    return made[tuple(slice(0, full[axis]) if axis in full else slice(None) for axis in range(x.ndim))]
