"""The meaning of every operation: plain NumPy, wide arithmetic, slow, obviously right. The oracle of every test.

Decisions that the peers take differently, taken once, here:

- "same" is ONNX SAME_UPPER and TensorFlow SAME: output ceil(n / stride), the smaller half of the padding before, never a negative
  pad (a stride larger than the kernel crops nothing). "same_lower" has the larger half before.
- In 1-D `padding=(1, 2)` is the pair (before, after); in 2-D and 3-D a flat tuple has one int an axis.
- A padded zero is multiplied like any other value: an infinite or NaN weight over the padding gives NaN.
- A spatial size of 0 is legal where constant padding makes it as long as the kernel; with another border mode it is a ValueError.
  With "same" and "causal" it gives size 0. No input channels: the sum is empty, the result is the bias. Batch 0: an empty result.
- The epilogue: convolution, + bias, + residual, activation, then one rounding to the result's dtype.
- The activations are their formulas: silu, gelu, hard_swish of -inf are NaN (-inf * 0), of +inf +inf. NaN stays NaN everywhere.
  gelu is x * erfc(-x / sqrt 2) / 2, exact where 1 + erf would cancel. hard_sigmoid has slope 1/6, leaky_relu 0.01.
- A sum starts at +0.0; the sign of a zero result is not part of the meaning.
- 16-bit floats are exact sums rounded once, to nearest even; values past the largest are inf.
- Integers wrap modulo 2**bits of the result's dtype.
- Subnormals are kept, whatever flush-to-zero bit the caller has set.
- Complex numbers are never conjugated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations, dtypes
from ..problem import Problem
from . import filters
from .borders import CODES

Maybe = np.ndarray | None
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _hard_sigmoid(v: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(v + 3, 0), 6) / 6


def _sigmoid(v: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(v))
    return np.where(v < 0, small, 1) / (1 + small)


ACTIVATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    activations.NONE: lambda v: v,
    activations.LEAKY_RELU: lambda v: np.where(v < 0, v * activations.LEAKY_SLOPE, v),
    activations.HARD_SIGMOID: _hard_sigmoid,
    activations.HARD_SWISH: lambda v: v * _hard_sigmoid(v),
    activations.SIGMOID: _sigmoid,
    activations.SILU: lambda v: v * _sigmoid(v),
    activations.TANH: np.tanh,
    activations.GELU: lambda v: v * (_erfc(-v / math.sqrt(2)) / 2),
}


def activate(values: np.ndarray, chosen: activations.Activation, result: np.dtype) -> np.ndarray:
    """The activation of wide values."""
    if chosen.code == activations.CLIP:
        lo, hi = activations.bounds(chosen, result)
        return np.minimum(np.maximum(values, lo), hi)
    return ACTIVATIONS[chosen.code](values)


def sums(problem: Problem, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The convolution alone, (N, C_out, *out_size), in the dtype of x and weight."""
    p = problem
    for axis, pads in enumerate(p.pads):
        x = filters.padded(x, 2 + axis, *pads, CODES[p.mode], x.dtype.type(0))
    x = x.reshape(p.batch, p.groups, p.group_in, *x.shape[2:])
    weight = weight.reshape(p.groups, p.group_out, p.group_in, *p.kernel)
    total = np.zeros((p.batch, p.groups, p.group_out, *p.out_size), x.dtype)
    for tap in np.ndindex(*p.kernel):
        window = tuple(slice(t * d, t * d + (o - 1) * s + 1 if o else 0, s) for t, d, o, s in zip(tap, p.dilation, p.out_size, p.stride))
        seen, taps = x[(slice(None),) * 3 + window], weight[(slice(None),) * 3 + tap]
        for channel in range(p.group_in):
            spread = taps[:, :, channel].reshape(1, p.groups, p.group_out, *(1,) * p.dims)
            total += seen[:, :, channel, None] * spread
    return total.reshape(p.batch, p.out_channels, *p.out_size)


def exact(problem: Problem, x: np.ndarray, weight: np.ndarray, bias: Maybe = None, residual: Maybe = None) -> np.ndarray:
    """The result in the user's layout, in wide arithmetic, before the rounding to the result's dtype."""
    p = problem
    np.empty(p.out_shape, p.result)  # a result that cannot be had is a MemoryError now, not after the padding
    wide = dtypes.KINDS[p.dtype.name].wide
    with np.errstate(all="ignore"):
        x = np.asarray(x).astype(p.dtype).astype(wide)
        x = x if p.batched else x[None]
        x = np.moveaxis(x, -1, 1) if p.channels_last else x
        total = sums(p, x, np.asarray(weight).astype(p.dtype).astype(wide))
        total = np.moveaxis(total, 1, -1) if p.channels_last else total
        total = total if p.batched else total[0]
        if bias is not None:
            values = np.asarray(bias).astype(p.result).astype(wide)
            total = total + (values if p.channels_last else values.reshape(-1, *(1,) * p.dims))
        if residual is not None:
            total = total + np.asarray(residual).astype(p.result).astype(wide)
        if p.result.kind in "iu":
            total = total.astype(p.result).astype(wide)  # the wrap comes before the activation
        return activate(total, p.activation, p.result)


def run(problem: Problem, x: np.ndarray, weight: np.ndarray, bias: Maybe, residual: Maybe, out: Maybe) -> np.ndarray:
    """The result rounded to its dtype, in `out` if that is given."""
    wide = exact(problem, x, weight, bias, residual)
    with np.errstate(all="ignore"):
        result = np.ascontiguousarray(wide.astype(problem.result))
    if out is None:
        return result
    out[...] = result
    return out


def bind(problems: list[Problem], arrays: list[Maybe], out: Maybe) -> Callable[..., np.ndarray]:
    """The backend's entry. A separable convolution is a depthwise one, rounded to the result's dtype, and a pointwise one."""
    if len(problems) == 1:
        return functools.partial(run, problems[0])
    first, second = problems

    def separable(x, depthwise, depthwise_bias, pointwise, bias, residual, out):  # type: ignore[no-untyped-def]
        return run(second, run(first, x, depthwise, depthwise_bias, None, None), pointwise, bias, residual, out)

    return separable


def explain(problems: list[Problem], arrays: list[Maybe], out: Maybe) -> list[str]:
    return ["plain NumPy in wide arithmetic, one tap at a time: the oracle, for checks and not for speed"]


def filter_engine() -> Any:
    """What computes the filters of `sepconv.ndimage`."""
    return filters


def info() -> dict[str, object]:
    return {}
