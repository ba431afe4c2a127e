"""The convolutions of well-known networks, layer by layer, as records. What is counted from their sizes is counted by `conv_cost`."""

from __future__ import annotations

import csv
import functools
import importlib.resources
from itertools import pairwise
from typing import Any, NamedTuple

from .cost import Cost, conv_cost
from .problem import flag, one_of

KINDS = {"std": "standard", "dw": "depthwise", "pw": "pointwise"}  # the words of the table, and ours


class Layer(NamedTuple):
    """One convolution of a network, for one image; what `layers` returns. Pairs are (height, width)."""

    net: str
    name: str
    kind: str  # "standard", "depthwise" or "pointwise"
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]  # zeros on each side of both axes
    dilation: int
    multiplier: int  # depthwise filters per input channel
    count: int  # how often the network runs this layer
    note: str

    @property
    def shape_key(self) -> tuple[Any, ...]:
        """All that decides the work, and neither network, name, count nor note: layers with equal keys are the same convolution."""
        return tuple(self[2:11])

    @property
    def cost(self) -> Cost:
        """Weights, multiply-adds, bytes and intensity in float32, as `conv_cost` counts them."""
        return _cost(self)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return self.cost.macs  # type: ignore[return-value]

    @property
    def bytes(self) -> int:
        """Input and weights read once, output written once, in float32."""
        return self.cost.bytes  # type: ignore[return-value]

    @property
    def out_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        axes = zip(self.in_size, self.kernel, self.padding)
        height, width = ((n + 2 * pad - self.dilation * (k - 1) - 1) // self.stride + 1 for n, k, pad in axes)
        return height, width


@functools.cache
def _cost(layer: Layer) -> Cost:
    return conv_cost(
        layer.kind, in_channels=layer.in_channels, out_channels=layer.out_channels, kernel_size=layer.kernel, input_size=layer.in_size,
        stride=layer.stride, padding=layer.padding, dilation=layer.dilation, multiplier=layer.multiplier,
    )  # fmt: skip


@functools.cache
def _table() -> tuple[Layer, ...]:
    """All layers, in the order of the file, which is that of each network."""
    with importlib.resources.files(__package__).joinpath("layers.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_layer(row) for row in csv.DictReader(file))


def _layer(row: dict[str, str]) -> Layer:
    n = lambda *columns: tuple(int(row[c]) for c in columns)
    return Layer(
        row["net"], row["layer"], KINDS[row["kind"]], *n("C", "Cout"), n("H", "W"), n("kh", "kw"), int(row["stride"]), n("pad_h", "pad_w"),
        *n("dil", "mult", "count"), row["note"],
    )  # type: ignore[arg-type]  # fmt: skip


def networks() -> tuple[str, ...]:
    """The names of the networks.

    >>> sepconv.data.networks()[0]
    'mobilenet_v1'
    """
    return tuple(dict.fromkeys(layer.net for layer in _table()))


def layers(net: str | None = None, kind: str | None = None, unique: bool = False) -> list[Layer]:
    """The layers of the networks, in their order.

    Parameters
    ----------
    net : a name of `networks()`, or None for all. replknet_tab1 is the speed table of the RepLKNet paper, deeplabv3p_aspp a part of a network.
    kind : "standard", "depthwise" or "pointwise", or None for all.
    unique : whether a convolution that came before, in this or another network, is left out; `Layer.shape_key` tells.

    Returns
    -------
    list of Layer. Only convolutions are listed, without what lies between them: normalisation, activation, squeeze-and-excitation.

    Raises
    ------
    ValueError, TypeError : naming the argument, its value and what is allowed.

    Source: the papers of the networks, for images of 224 x 224 (Xception 299 x 299), batch 1.

    Example
    -------
    >>> sum(layer.macs * layer.count for layer in sepconv.data.layers("mobilenet_v1"))
    567716352
    """
    for name, value, words in (("net", net, networks()), ("kind", kind, KINDS.values())):
        if value is not None:
            one_of(name, value, words, ", ".join(["None", *words]))
    flag("unique", unique)
    found = [layer for layer in _table() if net in (None, layer.net) and kind in (None, layer.kind)]
    if not unique:
        return found
    first: dict[Any, Layer] = {}
    for layer in found:
        first.setdefault(layer.shape_key, layer)
    return list(first.values())


def separable_pairs(net: str | None = None) -> list[tuple[Layer, Layer]]:
    """The depthwise-separable layers: (depthwise, pointwise) where a depthwise layer is followed by the pointwise one that reads its output.

    `net` is a name of `networks()`, or None for all; ValueError, TypeError if it is neither. What may lie between the two (a normalisation,
    an activation, squeeze-and-excitation) is not in the tables.

    >>> [(first.name, second.name) for first, second in sepconv.data.separable_pairs("mobilenet_v1")][0]
    ('s0.0.dw', 's0.0.project')
    """
    return [(first, second) for first, second in pairwise(layers(net)) if _follows(first, second)]


def _follows(first: Layer, second: Layer) -> bool:
    same_net = first.net == second.net
    fits = first.out_channels == second.in_channels and first.out_size == second.in_size
    return same_net and fits and (first.kind, second.kind) == ("depthwise", "pointwise")
