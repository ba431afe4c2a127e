"""Problem: one convolution, resolved and checked once.

Everything that can be wrong with the arguments of a convolution is found here, from shapes and dtypes alone, before any work starts.
A Problem holds no arrays; it is immutable and hashable, and the key of every cache. Spatial tuples have one entry per axis (1 to 3).
"""

from __future__ import annotations

import math
import operator
import zlib
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from . import activations, dtypes
from .activations import Activation
from .backends import borders

LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
MODES = tuple(borders.CODES) + tuple(borders.ALIASES)
LARGEST = 2**63 - 1
ARRAYS = {  # of a call, in the order in which backends get them, by the number of its problems
    1: ("x", "weight", "bias", "residual"),
    2: ("x", "depthwise", "depthwise_bias", "pointwise", "bias", "residual"),
}


@dataclass(frozen=True, eq=True)
class Problem:
    """One convolution: sizes, borders, steps, dtypes and epilogue. `kind` is "standard", "depthwise" or "pointwise"."""

    kind: str
    dims: int
    channels_last: bool
    batched: bool
    batch: int
    in_channels: int
    out_channels: int
    groups: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    out_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # (before, after) per axis
    mode: str
    dtype: np.dtype  # what x and weight are read as
    result: np.dtype
    bias: bool
    residual: bool
    activation: Activation

    def __post_init__(self) -> None:
        text = repr(tuple(getattr(self, f.name) for f in fields(self)))
        object.__setattr__(self, "_hash", zlib.crc32(text.encode()))

    def __hash__(self) -> int:  # the same in every process, unlike the hash of a string
        return self._hash  # type: ignore[attr-defined]

    @property
    def accumulate(self) -> np.dtype:
        return np.dtype(dtypes.KINDS[self.dtype.name].accumulate)

    @property
    def group_in(self) -> int:
        """Input channels that one output channel reads."""
        return self.in_channels // self.groups

    @property
    def group_out(self) -> int:
        """Output channels of one group; the channel multiplier of a depthwise convolution."""
        return self.out_channels // self.groups

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The result's shape, as the user sees it."""
        inner = (*self.out_size, self.out_channels) if self.channels_last else (self.out_channels, *self.out_size)
        return (self.batch, *inner) if self.batched else inner

    @property
    def macs(self) -> int:
        """Multiply-adds, counted over output pixels, borders included."""
        return self.batch * self.out_channels * self.group_in * math.prod(self.kernel) * math.prod(self.out_size)


# --- arguments of the user's, one function each -----------------------------------------------------------------


def integer(name: str, value: Any, least: int, allowed: str) -> int:
    """A Python int from a Python or NumPy integer; TypeError or ValueError names the argument."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; allowed is {allowed}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; allowed is {allowed}") from None
    if number < least:
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")
    if number > LARGEST:
        raise ValueError(f"{name} is {value!r}, which does not fit 64 bits; allowed is {allowed}")
    return number


def per_axis(name: str, value: Any, dims: int, least: int = 1) -> tuple[int, ...]:
    """One int per axis, from an int or from a tuple or list of `dims` ints."""
    sort = "a positive int" if least == 1 else "a non-negative int"
    allowed = f"{sort}, or {dims} of them, one per axis"
    if isinstance(value, (tuple, list)):
        if len(value) != dims:
            raise ValueError(f"{name} is {value!r}; allowed is {allowed}")
        return tuple(integer(name, v, least, allowed) for v in value)
    return (integer(name, value, least, allowed),) * dims


def one_of(name: str, value: Any, words: Collection[str], allowed: str = "") -> str:
    """The value, if it is one of the words; TypeError or ValueError names the argument and them, or what else is `allowed`."""
    if isinstance(value, str) and value in words:
        return value
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name} is {value!r}; allowed are {allowed or ', '.join(words)}")


def flag(name: str, value: Any) -> bool:
    """A Python bool from a Python or NumPy one; TypeError names the argument."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; allowed are True and False")
    return bool(value)


def layout_of(value: Any, dims: int) -> bool:
    """Whether a layout argument means channels last; None means channels first."""
    first, last = LAYOUTS[dims]
    return value is not None and one_of("layout", value, LAYOUTS[dims], f"None, {first!r} and {last!r}") == last


def mode_of(value: Any) -> str:
    """The border mode by NumPy's name."""
    mode = one_of("padding_mode", value, MODES)
    return borders.ALIASES.get(mode, mode)


def _same(size: int, stride: int, reach: int, lower: bool) -> tuple[int, int]:
    """ONNX SAME_UPPER, TensorFlow SAME: output ceil(size / stride), never a negative pad, the smaller half before (after, if lower)."""
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def pads_of(value: Any, dims: int, size: tuple[int, ...], stride: tuple[int, ...], reach: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from any form that `padding` takes; `reach` is dilation * (kernel - 1) + 1."""
    names = '"valid", "same", "same_lower"' + (' or "causal"' if dims == 1 else "")
    pair = ", a (before, after) pair" if dims == 1 else f", {dims} of them, one per axis, {dims} (before, after) pairs"
    allowed = f"a non-negative int{pair}, {names}"
    if isinstance(value, str):
        if value == "valid":
            return ((0, 0),) * dims
        if value in ("same", "same_lower"):
            return tuple(_same(n, s, r, value == "same_lower") for n, s, r in zip(size, stride, reach))
        if value == "causal" and dims == 1:
            return ((reach[0] - 1, 0),)
        raise ValueError(f"padding is {value!r}; allowed is {allowed}")
    if not isinstance(value, (tuple, list)):
        return ((integer("padding", value, 0, allowed),) * 2,) * dims
    parts = list(value)
    if dims == 1 and len(parts) == 2 and not any(isinstance(v, (tuple, list)) for v in parts):
        parts = [parts]  # in 1-D two ints can only be (before, after)
    if len(parts) != dims:
        raise ValueError(f"padding is {value!r}; allowed is {allowed}")
    pairs = [isinstance(v, (tuple, list)) for v in parts]
    if any(pairs) and not (all(pairs) and all(len(v) == 2 for v in parts)):
        raise ValueError(f"padding is {value!r}; allowed is {allowed}")
    whole = [v if p else (v, v) for v, p in zip(parts, pairs)]
    return tuple((integer("padding", a, 0, allowed), integer("padding", b, 0, allowed)) for a, b in whole)


# --- shapes -----------------------------------------------------------------------------------------------------


def _split(shape: tuple[int, ...], dims: int, channels_last: bool) -> tuple[bool, int, int, tuple[int, ...]]:
    """(batched, batch, channels, spatial size) of x."""
    if len(shape) not in (dims + 1, dims + 2):
        first, last = LAYOUTS[dims]
        name = last if channels_last else first
        raise ValueError(f"x has shape {shape}; allowed are {dims + 2} axes, {name}, or {dims + 1}, {name[1:]}")
    batched = len(shape) == dims + 2
    inner = shape[1:] if batched else shape
    channels, size = (inner[-1], inner[:-1]) if channels_last else (inner[0], inner[1:])
    return batched, shape[0] if batched else 1, channels, tuple(size)


def _depthwise(shape: tuple[int, ...], dims: int, channels: int, name: str) -> tuple[int, int, tuple[int, ...]]:
    """(out_channels, groups, kernel) of a depthwise weight, (C * m, 1, *k) or (C, *k)."""
    form = f"(C * m, 1, *k) or (C, *k) with C = {channels}, the channels of x, and {dims} kernel sizes"
    if len(shape) == dims + 2:
        if shape[1] != 1:
            raise ValueError(f"{name} has shape {shape}; allowed is {form}")
    elif len(shape) != dims + 1:
        raise ValueError(f"{name} has shape {shape}; allowed is {form}")
    elif shape[0] != channels:
        raise ValueError(f"{name} has shape {shape} and x has {channels} channels; as (C, *k) its first axis is C = {channels}")
    if channels == 0 or shape[0] == 0 or shape[0] % channels:
        raise ValueError(f"{name} has shape {shape} and x has {channels} channels; allowed is {form}, m at least 1")
    return shape[0], channels, tuple(shape[len(shape) - dims :])


def _pointwise(shape: tuple[int, ...], dims: int, channels: int, name: str) -> tuple[int, int, tuple[int, ...]]:
    """(out_channels, groups, kernel) of a pointwise weight, (C_out, C_in) or with trailing ones."""
    form = f"(C_out, C_in) or (C_out, C_in{', 1' * dims}) with C_in = {channels}"
    if len(shape) not in (2, dims + 2) or any(n != 1 for n in shape[2:]):
        raise ValueError(f"{name} has shape {shape}; allowed is {form}")
    if shape[1] != channels:
        raise ValueError(f"{name} has shape {shape}, for {shape[1]} input channels, and there are {channels}; allowed is {form}")
    if shape[0] == 0:
        raise ValueError(f"{name} has shape {shape}; C_out is at least 1")
    return shape[0], 1, (1,) * dims


def _standard(shape: tuple[int, ...], dims: int, channels: int, groups: int) -> tuple[int, int, tuple[int, ...]]:
    """(out_channels, groups, kernel) of a standard weight, (C_out, C_in / groups, *k)."""
    form = f"(C_out, C_in / groups, *k) with {dims} kernel sizes"
    if len(shape) != dims + 2:
        raise ValueError(f"weight has shape {shape}; allowed is {form}")
    if channels % groups:
        raise ValueError(f"groups is {groups} and does not divide the {channels} channels of x")
    if shape[0] == 0:
        raise ValueError(f"weight has shape {shape}; C_out is at least 1")
    if shape[0] % groups:
        raise ValueError(f"groups is {groups} and does not divide C_out = {shape[0]} of weight {shape}")
    if shape[1] * groups != channels:
        raise ValueError(f"weight has shape {shape}; with groups = {groups} and {channels} channels in x, its second axis is {channels // groups}")
    return shape[0], groups, tuple(shape[2:])


def out_size(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], axis: int, automatic: bool, name: str = "weight") -> int:
    """Positions of the output on one axis. `automatic`: the padding fits by itself, and a size of 0 gives 0."""
    reach = dilation * (kernel - 1) + 1
    padded = size + sum(pads)
    if padded > LARGEST:
        raise ValueError(f"padding is {pads} on axis {axis}, and the padded size does not fit 64 bits")
    if automatic and size == 0:
        return 0
    if padded < reach:
        dilated = f" with dilation {dilation}" if dilation > 1 else ""
        raise ValueError(f"{name} has kernel size {kernel}{dilated} on axis {axis}, a reach of {reach}, but x is {size} there, {padded} with padding")
    return (padded - reach) // stride + 1


# --- the whole --------------------------------------------------------------------------------------------------


def settings(
    dims: int, stride: Any = 1, dilation: Any = 1, groups: Any = 1, padding_mode: Any = "constant", layout: Any = None
) -> tuple[bool, str, tuple[int, ...], tuple[int, ...], int]:
    """(channels_last, mode, stride, dilation, groups) of the user's options, and their errors: what no array is needed for."""
    last, mode = layout_of(layout, dims), mode_of(padding_mode)
    steps, dilations = per_axis("stride", stride, dims), per_axis("dilation", dilation, dims)
    return last, mode, steps, dilations, integer("groups", groups, 1, "a positive int")


def resolve(
    kind: str,
    dims: int,
    x: tuple[tuple[int, ...], np.dtype],
    weight: tuple[tuple[int, ...], np.dtype],
    bias: tuple[tuple[int, ...], np.dtype] | None = None,
    residual: tuple[tuple[int, ...], np.dtype] | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    padding_mode: Any = "constant",
    layout: Any = None,
    activation: Any = None,
    names: tuple[str, str, str] = ("weight", "bias", "activation"),
    others: dict[str, np.dtype] | None = None,
) -> Problem:
    """A checked Problem from (shape, dtype) of each array and the user's options.

    `names` are what the user calls the weight, the bias and the activation; `others` are further dtypes that the common one must cover.
    ValueError or TypeError, naming the argument, its value and what is allowed.
    """
    channels_last, mode, stride, dilation, groups = settings(dims, stride, dilation, groups, padding_mode, layout)
    given = {"x": x[1], names[0]: weight[1], **(others or {})}
    dtype = dtypes.common({name: dtypes.check(name, d) for name, d in given.items()})
    result = dtypes.result(dtype)

    batched, batch, channels, size = _split(x[0], dims, channels_last)
    if kind == "depthwise":
        out_channels, groups, kernel = _depthwise(weight[0], dims, channels, names[0])
    elif kind == "pointwise":
        out_channels, groups, kernel = _pointwise(weight[0], dims, channels, names[0])
    else:
        out_channels, groups, kernel = _standard(weight[0], dims, channels, groups)
    if 0 in kernel:
        raise ValueError(f"{names[0]} has shape {weight[0]}; kernel sizes are at least 1")

    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    pads = pads_of(padding, dims, size, stride, reach)
    automatic = isinstance(padding, str) and padding != "valid"
    out = tuple(out_size(*each, axis, automatic, names[0]) for axis, each in enumerate(zip(size, kernel, stride, dilation, pads)))
    if mode != "constant":
        for axis, (n, p) in enumerate(zip(size, pads)):
            if n == 0 and sum(p):
                raise ValueError(f"padding_mode is {padding_mode!r} and x has size 0 on axis {axis}: there is nothing to repeat")

    problem = Problem(
        kind=kind, dims=dims, channels_last=channels_last, batched=batched, batch=batch, in_channels=channels,
        out_channels=out_channels, groups=groups, in_size=size, kernel=kernel, out_size=out, stride=stride, dilation=dilation,
        pads=pads, mode=mode if any(map(any, pads)) else "constant", dtype=dtype, result=result, bias=bias is not None,
        residual=residual is not None, activation=activations.resolve(names[2], activation, result),
    )  # fmt: skip
    _check_like(names[1], bias, (out_channels,), "(C_out,)", result)
    _check_like("residual", residual, problem.out_shape, "the result's shape", result)
    if math.prod(problem.out_shape) * result.itemsize > LARGEST:
        raise MemoryError(f"the result has shape {problem.out_shape} and dtype {result}, more than 64 bits can address")
    return problem


def _check_like(name: str, given: tuple[tuple[int, ...], np.dtype] | None, shape: tuple[int, ...], what: str, result: np.dtype) -> None:
    if given is None:
        return
    if given[0] != shape:
        raise ValueError(f"{name} has shape {given[0]}; allowed is {what}, {shape}")
    if not np.can_cast(dtypes.check(name, given[1]), result, "same_kind"):
        raise TypeError(f"{name} has dtype {given[1]}, which does not cast to the result's {result} by the rule same_kind")
