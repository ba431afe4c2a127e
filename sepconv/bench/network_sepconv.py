"""A whole network by sepconv: the records of `efficientnet.py` as layers over a few buffers that every run uses again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import sepconv

from .. import layers as packed
from .cases import aligned
from .efficientnet import Record

LAYOUTS = ("NCHW", "NHWC")
LayerCall = Callable[..., np.ndarray]  # layer(x, out=..., residual=...)


class Functions:
    """The functions of sepconv in the form of layers: weights held, nothing packed. `sepconv.layers` has the same names and arguments."""

    @staticmethod
    def _layer(function: Callable[..., np.ndarray]) -> Callable[..., LayerCall]:
        return lambda *weights, **options: lambda x, **call: function(x, *weights, **options, **call)

    Conv2d = _layer(sepconv.conv2d)
    DepthwiseConv2d = _layer(sepconv.depthwise_conv2d)
    PointwiseConv2d = _layer(sepconv.pointwise_conv2d)
    SeparableConv2d = _layer(sepconv.separable_conv2d)


class _Step(NamedTuple):
    layer: LayerCall
    source: int  # the place of its input among the outputs; -1 is the image
    residual: int | None
    output: int
    shape: tuple[int, int, int]  # of the output: (channels, height, width)


class SepconvNetwork:
    """A network of `efficientnet.Record`s with weights, for one image.

    Parameters
    ----------
    records : list of Record, each with weight and bias in float32 or float64.
    layout : "NCHW" or "NHWC", of the image and of all between.
    fused : whether a depthwise convolution and the 1x1 after it are one call, `separable_conv2d`.
    layers : where the layers come from: anything with Conv2d, DepthwiseConv2d, PointwiseConv2d and SeparableConv2d; by default the module
        `sepconv.layers`. `Functions` packs nothing.

    Example
    -------
    >>> network = SepconvNetwork(efficientnet.lite0(), "NHWC")
    >>> network(numpy.zeros((1, 224, 224, 3), numpy.float32)).shape
    (1, 1000)
    """

    def __init__(self, records: Sequence[Record], layout: str = "NCHW", fused: bool = True, layers: Any = packed) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; allowed are {', '.join(map(repr, LAYOUTS))}")
        bare = next((r.name for r in records if r.weight_shape and (r.weight is None or r.bias is None)), None)
        if bare is not None:
            raise ValueError(f"records has no weight or bias for {bare!r}; allowed are records with weights")
        self.records, self.layout = list(records), layout
        self._steps = _steps(self.records, layout, fused, layers)
        self._outputs = _buffers(self._steps, layout, records[0].weight.dtype)  # type: ignore[union-attr]
        self._rest = packed.Chain(*map(self._call, self._steps[1:]))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The logits, (1, classes), of an image (1, 3, height, width) or (1, height, width, 3): a new array."""
        first = self._steps[0]
        first.layer(x, out=self._outputs[first.output])
        return self._rest().reshape(1, -1).copy()

    def _call(self, step: _Step) -> tuple[Any, ...]:
        """A step as `layers.Chain` takes it."""
        x, out = self._outputs[step.source], self._outputs[step.output]
        kind = self.records[step.output].kind
        if kind == "linear":
            x, out = x.reshape(1, 1, 1, -1), out.reshape(1, 1, 1, -1)
        elif kind == "mean":  # channels are the pixels of the other layout
            pixels, first = math.prod(self.records[step.output].in_size), self.layout == "NCHW"
            x = x.reshape((1, 1, -1, pixels) if first else (1, pixels, 1, -1))
            out = out.reshape((1, 1, -1, 1) if first else (1, 1, 1, -1))
        return step.layer, x, out, None if step.residual is None else self._outputs[step.residual]


# --- the layers ---------------------------------------------------------------------------------------------------


def _steps(records: list[Record], layout: str, fused: bool, layers: Any) -> list[_Step]:
    """What runs one after the other; with `fused`, a depthwise record and the pointwise one after it are one step."""
    steps, index = [], 0
    while index < len(records):
        record, source = records[index], index - 1
        following = records[index + 1] if index + 1 < len(records) else None
        if fused and record.kind == "depthwise" and following is not None and following.kind == "pointwise":
            index += 1
            layer, record = _separable(record, following, layout, layers), following
        elif record.kind == "mean":
            layer = _mean(record, records[0].weight.dtype, layout, layers)  # type: ignore[union-attr]
        else:
            layer = _single(record, layout, layers)
        steps.append(_Step(layer, source, record.residual, index, (record.out_channels, *record.out_size)))
        index += 1
    return steps


def _single(record: Record, layout: str, layers: Any) -> LayerCall:
    options = dict(layout=layout, activation=record.activation)
    if record.kind == "linear":
        return _linear(record, layers)
    if record.kind == "pointwise":
        return layers.PointwiseConv2d(record.weight, record.bias, **options)
    make = layers.DepthwiseConv2d if record.kind == "depthwise" else layers.Conv2d
    return make(record.weight, record.bias, stride=record.stride, padding=record.pads, **options)


def _separable(first: Record, second: Record, layout: str, layers: Any) -> LayerCall:
    return layers.SeparableConv2d(
        first.weight, second.weight, second.bias, stride=first.stride, padding=first.pads, layout=layout, depthwise_bias=first.bias,
        depthwise_activation=first.activation, activation=second.activation,
    )  # fmt: skip


def _mean(record: Record, dtype: np.dtype, layout: str, layers: Any) -> LayerCall:
    """The mean over the pixels: a 1x1 convolution that mixes them, each channel a pixel of the other layout. NumPy's own takes as long alone, and
    five times as long where a network has driven it out of the caches."""
    pixels = math.prod(record.in_size)
    weight = np.full((1, pixels), 1 / pixels, dtype)
    return layers.PointwiseConv2d(weight, layout=LAYOUTS[layout == "NCHW"])


def _linear(record: Record, layers: Any) -> LayerCall:
    """A matrix times a vector, as a 1x1 convolution of one pixel: a product of BLAS would wake a second pool of threads, which spins on our cores."""
    return layers.PointwiseConv2d(record.weight, record.bias, layout="NHWC")


# --- the buffers --------------------------------------------------------------------------------------------------


def _buffers(steps: list[_Step], layout: str, dtype: np.dtype) -> dict[int, np.ndarray]:
    """The output of each step, in as few pieces of memory as can be: one is used again when its last reader is done."""
    last = {number: at for at, step in enumerate(steps) for number in (step.source, step.residual) if number is not None}
    busy: list[int] = []  # for each piece of memory, the last step that reads what lies in it
    sizes: list[int] = []
    places = {}
    for at, step in enumerate(steps):
        piece = next((i for i, until in enumerate(busy) if until < at), len(busy))
        if piece == len(busy):
            busy.append(0)
            sizes.append(0)
        busy[piece] = last.get(step.output, len(steps))
        sizes[piece] = max(sizes[piece], math.prod(step.shape))
        places[step.output] = piece
    memory = [aligned(size, dtype=dtype) for size in sizes]
    return {step.output: _shaped(memory[places[step.output]], step.shape, layout) for step in steps}


def _shaped(memory: np.ndarray, shape: tuple[int, int, int], layout: str) -> np.ndarray:
    channels, height, width = shape
    shape = (channels, height, width) if layout == "NCHW" else (height, width, channels)
    return memory[: math.prod(shape)].reshape(1, *shape)
