"""What a convolution costs, counted before anything is computed: weights, multiply-adds, bytes. No array is made."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import dtypes
from .problem import _out_size, integer, pads_of, per_axis

KINDS = ("standard", "depthwise", "pointwise", "separable", "spatial", "grouped")
Sizes = tuple[int, ...]


class Cost(NamedTuple):
    """The cost of one convolution on one image (batch 1). Without an `input_size` only `params` is known, the rest is None."""

    params: int  # weights, and biases if there are any
    macs: int | None  # multiply-adds
    flops: int | None  # two a multiply-add
    bytes: int | None  # least traffic with memory
    intensity: float | None  # flops / bytes


class _Pass(NamedTuple):
    """One sweep over the image: every output channel reads `group_in` input channels, `taps` weights of each."""

    group_in: int
    out_channels: int
    taps: int
    out_size: Sizes | None

    @property
    def weights(self) -> int:
        return self.out_channels * self.group_in * self.taps

    @property
    def macs(self) -> int:
        return self.weights * math.prod(self.out_size or ())


def conv_cost(
    kind: str,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sizes,
    input_size: int | Sizes | None = None,
    stride: int | Sizes = 1,
    padding: Any = 0,
    dilation: int | Sizes = 1,
    multiplier: int = 1,
    groups: int = 1,
    bias: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Weights, multiply-adds and bytes of a convolution of one image.

    Parameters
    ----------
    kind : "standard", every output channel reads every input channel. "grouped", those of its group. "depthwise", one of them.
        "pointwise", all of them at one pixel. "separable", depthwise and then pointwise (Sifre 2014; Howard et al. 2017, MobileNet).
        "spatial", depthwise with a separable kernel, in one 1-D pass an axis, axis 0 first: kh + kw weights a channel, not kh * kw.
        Each pass takes its own axis' stride, padding and dilation, so the middle image has size (out_h, in_w).
    in_channels, out_channels : int. For "depthwise" and "spatial" out_channels is in_channels * multiplier.
    kernel_size : int, or one an axis, 1 to 3 axes. A single int means 2-D, unless `input_size` has one int an axis. 1 for "pointwise".
    input_size : int, or one an axis, in pixels; None if only the weights are asked for.
    stride, padding, dilation : as in `conv2d`, "same" included. For "separable" they are the depthwise half's.
    multiplier : int, depthwise filters an input channel; for "depthwise", "separable" and "spatial".
    groups : int, for "grouped"; it divides both numbers of channels.
    bias : bool, adds one weight per output channel; for "separable" per output channel of each half.
    dtype : name or NumPy dtype of image and weights; result and bias have the dtype that `conv2d` would return (int32 for int8).

    Returns
    -------
    Cost, a named tuple. `macs` counts every weight at every output pixel, those that meet padding included; `flops` is twice that (adding the
    bias is not counted). `bytes` is what has to move if every cache were large enough: the input, the weights and the output, once each. The
    middle image of "separable" and "spatial" is left out: a fused kernel never writes it, two calls write and read it. `intensity` is flops
    per byte, the abscissa of the roofline model (Williams, Waterman and Patterson 2009).

    Raises
    ------
    ValueError, TypeError : naming the argument, its value and what is allowed.

    >>> conv_cost("standard", in_channels=10, out_channels=20, kernel_size=7).params
    9800
    """
    if not isinstance(kind, str):
        raise TypeError(f"kind is {kind!r}; allowed are {', '.join(KINDS)}")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed are {', '.join(KINDS)}")
    if not isinstance(bias, (bool, np.bool_)):
        raise TypeError(f"bias is {bias!r}; allowed are True and False")
    item, result_item = _item_sizes(dtype)
    in_channels, out_channels, multiplier, groups = _channels(kind, in_channels, out_channels, multiplier, groups)
    kernel, size = _sizes(kind, kernel_size, input_size)
    out_size = _geometry(kernel, size, stride, padding, dilation)

    passes = _passes(kind, in_channels, out_channels, multiplier, groups, kernel, size, out_size)
    weights = sum(p.weights for p in passes)
    biased = passes if kind == "separable" else passes[-1:]  # the 1-D passes of "spatial" make one convolution, with one bias
    biases = sum(p.out_channels for p in biased) if bias else 0
    if size is None or out_size is None:
        return Cost(weights + biases, None, None, None, None)
    macs = sum(p.macs for p in passes)
    read = (in_channels * math.prod(size) + weights) * item
    moved = read + (out_channels * math.prod(out_size) + biases) * result_item
    return Cost(weights + biases, macs, 2 * macs, moved, 2 * macs / moved)


def _passes(
    kind: str, in_channels: int, out_channels: int, multiplier: int, groups: int, kernel: Sizes, size: Sizes | None, out_size: Sizes | None
) -> list[_Pass]:
    """The sweeps that a convolution of this kind is made of, first to last."""
    taps = math.prod(kernel)
    middle = in_channels * multiplier
    if kind == "depthwise":
        return [_Pass(1, out_channels, taps, out_size)]
    if kind == "separable":
        return [_Pass(1, middle, taps, out_size), _Pass(middle, out_channels, 1, out_size)]
    if kind == "spatial":  # after the pass along an axis, that axis and those before it have their final size
        after = [None if size is None or out_size is None else out_size[: axis + 1] + size[axis + 1 :] for axis in range(len(kernel))]
        return [_Pass(1, out_channels, k, shape) for k, shape in zip(kernel, after)]
    return [_Pass(in_channels // groups, out_channels, taps, out_size)]


# --- arguments of the user's --------------------------------------------------------------------------------------


def _item_sizes(dtype: Any) -> tuple[int, int]:
    """Bytes of one element of the image and of the result."""
    if isinstance(dtype, str) and dtype == "bfloat16":  # NumPy knows the name only once ml_dtypes is imported
        return 2, 2
    try:
        if dtype is None:  # NumPy would read it as float64
            raise TypeError
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"dtype is {dtype!r}; allowed are {dtypes.ALLOWED}") from None
    found = dtypes.check("dtype", found)
    return found.itemsize, dtypes.result(found).itemsize


def _channels(kind: str, in_channels: Any, out_channels: Any, multiplier: Any, groups: Any) -> tuple[int, int, int, int]:
    """The four counts, checked one by one and against each other."""
    in_channels = integer("in_channels", in_channels, 1, "a positive int")
    out_channels = integer("out_channels", out_channels, 1, "a positive int")
    multiplier = integer("multiplier", multiplier, 1, "a positive int")
    groups = integer("groups", groups, 1, "a positive int")
    if multiplier != 1 and kind not in ("depthwise", "separable", "spatial"):
        raise ValueError(f'multiplier is {multiplier}; allowed is 1 for kind "{kind}": only the depthwise kinds multiply channels')
    if groups != 1 and kind != "grouped":
        raise ValueError(f'groups is {groups}; allowed is 1 for kind "{kind}": take kind "grouped"')
    if kind in ("depthwise", "spatial") and out_channels != in_channels * multiplier:
        needed = in_channels * multiplier
        raise ValueError(f'out_channels is {out_channels}; allowed is in_channels * multiplier = {needed} for kind "{kind}"')
    if in_channels % groups:
        raise ValueError(f"groups is {groups} and does not divide in_channels = {in_channels}")
    if out_channels % groups:
        raise ValueError(f"groups is {groups} and does not divide out_channels = {out_channels}")
    return in_channels, out_channels, multiplier, groups


def _sizes(kind: str, kernel_size: Any, input_size: Any) -> tuple[Sizes, Sizes | None]:
    """Kernel and image size, one int an axis; whichever is a tuple says how many axes there are."""
    dims = 2
    for name, value in (("input_size", input_size), ("kernel_size", kernel_size)):
        if isinstance(value, (tuple, list)):
            if not 1 <= len(value) <= 3:
                raise ValueError(f"{name} is {value!r}; allowed is a positive int, or 1 to 3 of them, one an axis")
            dims = len(value)
    kernel = per_axis("kernel_size", kernel_size, dims)
    if kind == "pointwise" and math.prod(kernel) != 1:
        raise ValueError(f'kernel_size is {kernel_size!r}; allowed is 1 for kind "pointwise"')
    return kernel, None if input_size is None else per_axis("input_size", input_size, dims)


def _geometry(kernel: Sizes, size: Sizes | None, stride: Any, padding: Any, dilation: Any) -> Sizes | None:
    """The output's size; without an image the options are checked all the same, and the answer is None."""
    dims = len(kernel)
    stride = per_axis("stride", stride, dims)
    dilation = per_axis("dilation", dilation, dims)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    pads = pads_of(padding, dims, reach if size is None else size, stride, reach)
    if size is None:
        return None
    for axis, (n, r, p) in enumerate(zip(size, reach, pads)):
        if n + sum(p) < r:
            raise ValueError(
                f"kernel_size is {kernel} with dilation {dilation}, a reach of {r} on axis {axis}, "
                f"but input_size is {size}, {n + sum(p)} there with padding; allowed is a reach up to that"
            )
    return tuple(_out_size(*each, axis, False) for axis, each in enumerate(zip(size, kernel, stride, dilation, pads)))
