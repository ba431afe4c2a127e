"""conv_cost: weights, multiply-adds and memory traffic of a convolution, counted from its sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dtypes
from .problem import flag, integer, one_of, out_size, pads_of, per_axis

KINDS = ("standard", "depthwise", "pointwise", "separable", "spatial", "grouped")


@dataclass(frozen=True)
class Cost:
    """What a convolution costs, batch 1; what `conv_cost` returns. Without an input size everything but `params` is None."""

    params: int  # weights, and biases if any
    macs: int | None  # multiply-adds
    flops: int | None  # floating-point operations, two per multiply-add
    bytes: int | None  # input and weights read once, output written once
    intensity: float | None  # flops per byte


# --- arguments ----------------------------------------------------------------------------------------------------


def _item_sizes(dtype: Any) -> tuple[int, int]:
    """Bytes of an element of the input and the weights, and of the result."""
    if isinstance(dtype, str) and dtype == "bfloat16":
        return 2, 2  # NumPy knows the name only after ml_dtypes is imported
    try:
        given = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        given = None
    if given is None:
        raise TypeError(f"dtype is {dtype!r}; allowed are {dtypes.ALLOWED}")
    given = dtypes.check("dtype", given)
    return given.itemsize, dtypes.result(given).itemsize


def _dims(kernel_size: Any, input_size: Any) -> int:
    """Number of axes, from the kernel or the input, whichever is a tuple; 2 if neither is."""
    for name, value in (("kernel_size", kernel_size), ("input_size", input_size)):
        if isinstance(value, (tuple, list)):
            if len(value) not in (1, 2, 3):
                raise ValueError(f"{name} is {value!r}; allowed is a positive int, or one to three of them, one per axis")
            return len(value)
    return 2


def _check_channels(kind: str, c_in: int, c_out: int, kernel: tuple[int, ...], multiplier: int, groups: int) -> None:
    """ValueError if the kind does not go with the channels, or is given a number it has no use for."""
    if groups != 1 and kind != "grouped":
        raise ValueError(f'groups is {groups}; allowed is 1 for kind {kind!r}, any divisor of both channels for "grouped"')
    if c_in % groups:
        raise ValueError(f"groups is {groups} and does not divide in_channels = {c_in}")
    if c_out % groups:
        raise ValueError(f"groups is {groups} and does not divide out_channels = {c_out}")
    if multiplier != 1 and kind not in ("depthwise", "separable", "spatial"):
        raise ValueError(f'multiplier is {multiplier}; allowed is 1 for kind {kind!r}, more for "depthwise", "separable" and "spatial"')
    if kind in ("depthwise", "spatial") and c_out != c_in * multiplier:
        raise ValueError(f"out_channels is {c_out}; allowed is in_channels * multiplier = {c_in * multiplier} for kind {kind!r}")
    if kind == "pointwise" and any(k != 1 for k in kernel):
        raise ValueError(f'kernel_size is {kernel}; allowed is 1 for kind "pointwise"')


# --- counts -------------------------------------------------------------------------------------------------------


def _out_sizes(size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], padding: Any) -> tuple[int, ...]:
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    pads = pads_of(padding, len(size), size, stride, reach)
    automatic = isinstance(padding, str) and padding != "valid"
    try:
        return tuple(out_size(*each, axis, automatic) for axis, each in enumerate(zip(size, kernel, stride, dilation, pads)))
    except ValueError as error:
        raise ValueError(f"kernel_size is {kernel} and input_size is {size}: {error}") from None


def _weights(kind: str, c_in: int, c_out: int, kernel: tuple[int, ...], multiplier: int, groups: int) -> list[int]:
    """Number of weights of each pass, in the order in which the passes run."""
    taps = math.prod(kernel)
    if kind == "depthwise":
        return [c_out * taps]
    if kind == "separable":
        return [c_in * multiplier * taps, c_in * multiplier * c_out]
    if kind == "spatial":
        return [c_out * k for k in kernel]
    return [c_in // groups * c_out * taps]


def _positions(kind: str, size: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """Number of positions at which each pass applies its weights: the size of the tensor it produces, without the channels."""
    if kind == "spatial":
        return [math.prod(out[: axis + 1] + size[axis + 1 :]) for axis in range(len(out))]
    return [math.prod(out)] * 2


def conv_cost(
    kind: str,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, ...],
    input_size: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: Any = 0,
    dilation: int | tuple[int, ...] = 1,
    multiplier: int = 1,
    groups: int = 1,
    bias: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Weights, multiply-adds and memory traffic of one convolution of one image, in 1-D to 3-D.

    Parameters
    ----------
    kind : with C_in channels in, C_out channels out, and k[0] to k[-1] the kernel sizes,
        "standard"   C_in * C_out * prod(k) weights
        "grouped"    those, divided by `groups`, which divides both channels
        "depthwise"  C_out * prod(k) weights; C_out = C_in * multiplier
        "pointwise"  C_in * C_out weights; kernel_size is 1
        "separable"  depthwise with `multiplier` filters per channel, then pointwise: C_in * multiplier * (prod(k) + C_out) weights
        "spatial"    depthwise, with filters that are outer products of vectors, one per axis, and run as 1-D passes: C_out * sum(k)
                     weights; C_out = C_in * multiplier. Sobel's 3x3 is 6 weights instead of 9.
    in_channels, out_channels : positive ints.
    kernel_size, stride, dilation : a positive int, or one per axis.
    input_size : non-negative int, or one per axis, without batch and channels. None: only `params` are counted.
        The number of axes is that of kernel_size or else of input_size, if one is a tuple or list; two ints mean 2-D.
    padding : as in the convolutions; an int, one per axis, (before, after) pairs, "valid", "same", "same_lower", in 1-D "causal".
    multiplier : filters an input channel, for "depthwise", "separable" and "spatial".
    groups : for "grouped".
    bias : whether every output channel has a bias; of "separable", every channel of both halves: C_in * multiplier + C_out of them.
    dtype : of input and weights, as a name or a NumPy dtype; the output has the dtype that the convolutions return (int32 for int8).

    Returns
    -------
    Cost with
        params     weights and biases
        macs       multiply-adds, over the positions of the output, those on padding included. The pass of "spatial" along axis a runs
                   over the output sizes of axes 0 to a and the input sizes of the others: kh * out_h * in_w + kw * out_h * out_w a channel.
        flops      2 * macs; adding the bias is not counted
        bytes      input and weights read once, output written once: the least traffic. The tensor between two passes is not counted, as if
                   it never left the cache.
        intensity  flops / bytes

    Raises
    ------
    TypeError, ValueError : naming the argument, its value and what is allowed; also where an argument has no meaning for the kind
        (groups for "standard", multiplier for "pointwise"), and where the kernel is larger than the padded input.

    Source: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, section 3.1;
    S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual Performance Model", 2009, for the intensity.

    Example
    -------
    >>> sepconv.conv_cost("standard", in_channels=10, out_channels=20, kernel_size=7).params
    9800
    """
    kind = one_of("kind", kind, KINDS)
    c_in = integer("in_channels", in_channels, 1, "a positive int")
    multiplier = integer("multiplier", multiplier, 1, "a positive int")
    c_out = integer("out_channels", out_channels, 1, "a positive int")
    groups = integer("groups", groups, 1, "a positive int")
    bias = flag("bias", bias)
    item, out_item = _item_sizes(dtype)
    dims = _dims(kernel_size, input_size)
    kernel, stride, dilation = per_axis("kernel_size", kernel_size, dims), per_axis("stride", stride, dims), per_axis("dilation", dilation, dims)
    _check_channels(kind, c_in, c_out, kernel, multiplier, groups)

    weights = _weights(kind, c_in, c_out, kernel, multiplier, groups)
    biases = bias * (c_out + c_in * multiplier * (kind == "separable"))
    params = sum(weights) + biases
    if input_size is None:
        pads_of(padding, dims, (0,) * dims, stride, kernel)  # for its errors
        return Cost(params, None, None, None, None)
    size = per_axis("input_size", input_size, dims, 0)
    out = _out_sizes(size, kernel, stride, dilation, padding)
    macs = sum(count * positions for count, positions in zip(weights, _positions(kind, size, out)))
    traffic = item * (c_in * math.prod(size) + sum(weights)) + out_item * (c_out * math.prod(out) + biases)
    return Cost(params, macs, 2 * macs, traffic, 2 * macs / traffic)
