"""What `sepconv.warm` makes kernels for: calls as records, from the layer tables, from EfficientNet-Lite0, from texts and from CSV files."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import data
from .data import Layer
from .problem import one_of

if TYPE_CHECKING:
    from .bench.efficientnet import Record


class Shape(NamedTuple):
    """One 2-D call of which the kernels are wanted. Only what its result depends on counts: no array is made that is ever read."""

    kind: str  # "standard", "depthwise", "pointwise", "separable"
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Any = "same"  # as the functions take it
    dilation: int = 1
    multiplier: int = 1  # depthwise filters an input channel
    activation: Any = None
    depthwise_activation: Any = None
    residual: bool = False
    turned: bool = False  # of the other layout

    def __str__(self) -> str:
        size = "x".join(map(str, (self.in_channels, *self.in_size)))
        more = "" if self.kind == "pointwise" else f" k{'x'.join(map(str, self.kernel))} s{self.stride} d{self.dilation}"
        return f"{self.kind} {size}{more} -> {self.out_channels}"


def models() -> tuple[str, ...]:
    """The networks that `warm` knows by name: those of `sepconv.data`, and EfficientNet-Lite0."""
    return (*data.networks(), "efficientnet_lite0")


def shapes_of(model: str) -> list[Shape]:
    """All calls of a network: each of its layers, and the separable pairs among them as one call.

    ValueError, TypeError: it is no name of `models()`.
    """
    if one_of("model", model, models()) == "efficientnet_lite0":
        from .bench.efficientnet import architecture

        return of_records(architecture())
    return [*map(shape_of, data.layers(model)), *(_pair(shape_of(a), shape_of(b)) for a, b in data.separable_pairs(model))]


def _pair(first: Shape, second: Shape) -> Shape:
    """A depthwise call and the pointwise one after it as one."""
    return first._replace(
        kind="separable",
        out_channels=second.out_channels,
        depthwise_activation=first.activation,
        activation=second.activation,
        residual=second.residual,
    )


def of_records(records: Sequence[Record]) -> list[Shape]:
    """The calls of a network of `bench.efficientnet.Record`s, one by one and in separable pairs."""
    singles = [
        Shape("pointwise", math.prod(r.in_size), 1, (1, r.in_channels), turned=True) if r.kind == "mean" else
        Shape("pointwise" if r.kind == "linear" else r.kind, r.in_channels, r.out_channels, r.in_size, (r.kernel, r.kernel), r.stride, r.pads,
              activation=r.activation, residual=r.residual is not None)
        for r in records
    ]  # fmt: skip
    return [*singles, *(_pair(a, b) for a, b in pairwise(singles) if (a.kind, b.kind) == ("depthwise", "pointwise"))]


def shape_of(layer: Layer | Shape | str) -> Shape:
    """The call of one thing that `warm` takes."""
    if isinstance(layer, str):
        return parse(layer)
    if isinstance(layer, Layer):
        return Shape(layer.kind, *layer[3:7], layer.stride, layer.padding, layer.dilation, layer.multiplier)
    if not isinstance(layer, Shape):
        raise TypeError(f"layers has {layer!r}; allowed are records of sepconv.data.layers, Shapes and texts, or the name of a model for all")
    return layer


_TEXT = re.compile(
    r"(?:(?P<kind>\w+) )?(?P<c>\d+)x(?P<h>\d+)x(?P<w>\d+)(?: k(?P<kh>\d+)(?:x(?P<kw>\d+))?)?(?: s(?P<s>\d+))?(?: p(?P<p>\d+))?(?: d(?P<d>\d+))?"
    r"(?: m(?P<m>\d+))?(?: -> (?P<o>\d+))?"
)
_FORM = '"[KIND] CxHxW [kK or kKHxKW] [sSTRIDE] [pPADDING] [dDILATION] [mMULTIPLIER] [-> CHANNELS]", as in "depthwise 32x112x112 k3 s2"'
_KINDS = ("standard", "depthwise", "pointwise", "separable")


def parse(text: str) -> Shape:
    """A text such as "32x112x112 k3 s2" as a Shape: channels, height and width, kernel, stride.

    Without a kind, a kernel alone is depthwise, output channels alone (`-> 64`) are pointwise. Without p, the padding is "same".

    >>> parse("separable 32x112x112 k3 -> 64").out_channels
    64
    """
    found = _TEXT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"shape is {text!r}; allowed is {_FORM}")
    n = {name: int(value) for name, value in found.groupdict().items() if value is not None and name != "kind"}
    kind = found["kind"] or ("depthwise" if "o" not in n else "pointwise" if "kh" not in n else None)
    if kind not in _KINDS:
        raise ValueError(f"shape is {text!r}; KIND is one of {', '.join(_KINDS)} in {_FORM}")
    if kind != "depthwise" and "o" not in n:
        raise ValueError(f"shape is {text!r}; {kind} needs the output channels, as in {text.strip()!r} -> 64")
    multiplier = n.get("m", 1)
    out = n.get("o", n["c"] * multiplier)
    kernel = (n.get("kh", 1), n.get("kw", n.get("kh", 1)))
    return Shape(kind, n["c"], out, (n["h"], n["w"]), kernel, n.get("s", 1), n.get("p", "same"), n.get("d", 1), multiplier)


def read(path: str | Path) -> list[Shape]:
    """The rows of a CSV file with the columns kind, C, H, W, kh, kw, stride, Cout and, if wanted, pad_h, pad_w, dil, mult, as sepconv/layers.csv.

    OSError: it cannot be read. ValueError: a column is missing or a value is no number.
    """
    with open(path, encoding="utf-8", newline="") as file:
        return [_row(row, f"{path}, row {number}") for number, row in enumerate(csv.DictReader(file), 2)]


def _row(row: dict[str, str], where: str) -> Shape:
    try:
        kind = data.KINDS.get(row["kind"], row["kind"])
        n = {
            name: int(value) for name, value in row.items() if name in ("C", "H", "W", "kh", "kw", "stride", "pad_h", "pad_w", "dil", "Cout", "mult")
        }
        padding = (n["pad_h"], n["pad_w"]) if "pad_h" in n and "pad_w" in n else "same"
        size, kernel = (n["H"], n["W"]), (n["kh"], n["kw"])
        shape = Shape(kind, n["C"], n["Cout"], size, kernel, n["stride"], padding, n.get("dil", 1), n.get("mult", 1))
    except KeyError as error:
        raise ValueError(f"{where}: column {error.args[0]} is missing") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    if kind not in _KINDS:
        raise ValueError(f"{where}: kind is {kind!r}; allowed are {', '.join(_KINDS)}")
    return shape
