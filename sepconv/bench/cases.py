"""What is measured: the convolutions of `sepconv.data` as cases, the arrays of a case, and the result that every library must give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import data
from ..cost import Cost, conv_cost
from ..data import Layer
from ..problem import one_of

OPS = ("depthwise", "pointwise", "separable", "standard")
EPILOGUES = ("none", "bias", "relu")  # after each half: nothing; a bias; a bias and relu
TOLERANCE = 1e-4  # of the largest value of the result: more than float32 rounds anywhere, less than a border pixel left out or bfloat16 shows


class Case(NamedTuple):
    """One convolution, or the two halves of a separable one, as a network has it. `op` is one of OPS."""

    op: str
    steps: tuple[Layer, ...]

    @property
    def net(self) -> str:
        return self.steps[0].net

    @property
    def name(self) -> str:
        return "+".join(step.name for step in self.steps)

    @property
    def key(self) -> tuple[Any, ...]:
        """Cases with equal keys are the same work."""
        return (self.op, *(step.shape_key for step in self.steps))

    @property
    def stride(self) -> int:
        return self.steps[0].stride

    @property
    def cost(self) -> Cost:
        """As `conv_cost` counts it; the tensor between two halves is not counted."""
        first, last = self.steps[0], self.steps[-1]
        if len(self.steps) == 1:
            return first.cost
        return conv_cost(
            "separable", in_channels=first.in_channels, out_channels=last.out_channels, kernel_size=first.kernel, input_size=first.in_size,
            stride=first.stride, padding=first.padding, dilation=first.dilation, multiplier=first.multiplier,
        )  # fmt: skip

    @property
    def limits(self) -> tuple[int, int]:
        """Operations and bytes that bound it."""
        return self.cost.flops, self.cost.bytes  # type: ignore[return-value]

    @property
    def shape(self) -> str:
        """Its sizes, for people: "64x112x112 k3 s2 -> 128"."""
        first, last = self.steps[0], self.steps[-1]
        (height, width), (kh, kw) = first.in_size, first.kernel
        text = f"{first.in_channels}x{height}x{width}"
        if self.op != "pointwise":
            text += f" k{kh}" if kh == kw else f" k{kh}x{kw}"
            text += f" s{first.stride}" * (first.stride > 1) + f" d{first.dilation}" * (first.dilation > 1)
        return text + f" -> {last.out_channels}" * (last.out_channels != first.in_channels or self.op != "depthwise")


def select(ops: Sequence[str] | None = None, nets: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> list[Case]:
    """The cases of these operations and networks whose "net name" contains one of the texts `layers`; None means all.

    ValueError names what is allowed, or says that nothing is left.
    """
    for name, values, allowed in (("op", ops, OPS), ("net", nets, data.networks())):
        for value in values or ():
            one_of(name, value, allowed)
    found = []
    for op in ops or OPS:
        for net in nets or data.networks():
            steps = data.separable_pairs(net) if op == "separable" else [(layer,) for layer in data.layers(net, op)]
            found += [Case(op, pair) for pair in steps]
    kept = [case for case in found if not layers or any(text in f"{case.net} {case.name}" for text in layers)]
    if not kept:
        raise ValueError(f"no layer is left: op is {ops}, net is {nets}, layers is {layers}; sepconv.data.layers() lists all")
    return kept


def grouped(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases that are the same work together, in the order of the first of each."""
    groups: dict[Any, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.key, []).append(case)
    return list(groups.values())


def aligned(*shape: int, dtype: str | np.dtype = "float32") -> np.ndarray:
    """An empty array that begins on a cache line: else where it lies would differ from library to library and from run to run."""
    count = np.dtype(dtype).itemsize * int(np.prod(shape))
    raw = np.empty(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count].view(dtype).reshape(shape)


@dataclass
class Arrays:
    """The inputs of a case, the same for every library: x (1, C, H, W); a weight (C_out, C_in / groups, kh, kw) and a bias for each half."""

    case: Case
    epilogue: str = "none"
    x: np.ndarray = field(init=False)
    weights: list[np.ndarray] = field(init=False)
    biases: list[np.ndarray | None] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        first = self.case.steps[0]
        self.x = _normal(rng, 1, first.in_channels, *first.in_size)
        self.weights, self.biases = [], []
        for step in self.case.steps:
            inputs = 1 if step.kind == "depthwise" else step.in_channels
            weight = _normal(rng, step.out_channels, inputs, *step.kernel)
            weight /= np.float32(np.sqrt(weight[0].size))
            self.weights.append(weight)
            self.biases.append(None if self.epilogue == "none" else _normal(rng, step.out_channels))

    @property
    def relu(self) -> bool:
        return self.epilogue == "relu"

    rounding = 0.0  # of results that are whole numbers

    @cached_property
    def x_last(self) -> np.ndarray:
        """x as (1, H, W, C)."""
        made = aligned(1, *self.x.shape[2:], self.x.shape[1])
        made[...] = np.moveaxis(self.x, 1, -1)
        return made

    def out(self, layout: str = "NCHW", step: int = -1) -> np.ndarray:
        """A new array for the result of a half."""
        layer = self.case.steps[step]
        return aligned(1, layer.out_channels, *layer.out_size) if layout == "NCHW" else aligned(1, *layer.out_size, layer.out_channels)

    def expected(self) -> np.ndarray:
        """The result by plain NumPy in float64, (1, C_out, H_out, W_out)."""
        y = self.x.astype(np.float64)
        for step, weight, bias in zip(self.case.steps, self.weights, self.biases):
            y = convolved(step, y, weight.astype(np.float64))
            y = y if bias is None else y + bias[:, None, None]
            y = np.maximum(y, 0) if self.relu else y
        return y


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    made = aligned(*shape)
    rng.standard_normal(out=made, dtype=np.float32)
    return made


def convolved(step: Layer, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One layer by plain NumPy, in x's dtype."""
    (top, left), (height, width), s, d = step.padding, step.out_size, step.stride, step.dilation
    wide = np.pad(x[0], ((0, 0), (top, top), (left, left)))
    if step.kind == "depthwise" and weight[0].size > FEW_TAPS and d == 1 and x.dtype == np.float64:
        return _by_fourier(wide, weight[:, 0], step.multiplier)[:, ::s, ::s][None]
    shape = (step.in_channels, step.multiplier) if step.kind == "depthwise" else (step.out_channels,)
    total = np.zeros((*shape, height, width), x.dtype)
    for i in range(step.kernel[0]):
        for j in range(step.kernel[1]):
            window = wide[:, i * d : i * d + (height - 1) * s + 1 : s, j * d : j * d + (width - 1) * s + 1 : s]
            if step.kind == "depthwise":
                total += weight[:, 0, i, j].reshape(-1, step.multiplier, 1, 1) * window[:, None]
            else:
                total += np.tensordot(weight[:, :, i, j], window, 1)
    return total.reshape(1, step.out_channels, height, width)


FEW_TAPS = 25  # of a depthwise filter; for more a Fourier transform is faster than a sum over the taps, and in float64 as good


def _by_fourier(wide: np.ndarray, filters: np.ndarray, multiplier: int) -> np.ndarray:
    """The correlation of each channel with its filters, where they lie inside; what wraps around lies outside of that."""
    size, (kh, kw) = wide.shape[1:], filters.shape[1:]
    spectrum = np.repeat(np.fft.rfft2(wide), multiplier, axis=0) * np.conj(np.fft.rfft2(filters, size))
    return np.fft.irfft2(spectrum, size)[:, : size[0] - kh + 1, : size[1] - kw + 1]


def error_of(result: np.ndarray, expected: np.ndarray, rounding: float = 0.0) -> str | None:
    """Why a result is not the expected one, or None if it is; `rounding`: how much further it may be off, being whole numbers."""
    if result.shape != expected.shape:
        return f"its shape is {result.shape} and not {expected.shape}"
    worst, scale = float(np.abs(result - expected).max(initial=0)), float(np.abs(expected).max(initial=0))
    if not worst <= TOLERANCE * scale + rounding:  # a NaN is wrong too
        return f"it is off by {worst:.2g}, where the largest value is {scale:.2g}"
    return None
