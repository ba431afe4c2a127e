"""Layers: the same results as the functions, from weights that are their own, made again from a pickle, and refusals in the function's words.

A layer knows no backend: what is about its weights and arguments runs on plain NumPy, which compiles nothing.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import oracle
import pytest
from arrays import assert_bits

import sepconv
from sepconv import layers
from sepconv.backends.cpu import products
from sepconv.layers import KINDS
from sepconv.problem import LAYOUTS

NAMES = [(kind, dims, layout) for kind in KINDS for dims in LAYOUTS for layout in LAYOUTS[dims]]
PLAIN = pytest.mark.usefixtures("plain")
IDS = [f"{kind}{dims}d-{layout}" for kind, dims, layout in NAMES]


@pytest.fixture
def plain() -> Iterator[None]:
    with sepconv.use_backend("reference"):
        yield


def drawn(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    made = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (8 * made).astype(dtype) if np.dtype(dtype).kind in "iu" else made.astype(dtype)


class Example:
    """The layer, the function and the arrays of one kind in small."""

    def __init__(self, kind: str, dims: int, layout: str, dtype: Any = np.float32) -> None:
        operation, self.names = KINDS[kind]
        self.layer, self.function = getattr(layers, f"{kind}{dims}d"), getattr(sepconv, f"{operation}{dims}d")
        size, taps, spatial, last = (9, 18, 4)[:dims], (3,) * dims, kind != "PointwiseConv", layout == LAYOUTS[dims][1]
        shapes = {
            "Conv": {"weight": (5, 6, *taps), "bias": (5,)},
            "DepthwiseConv": {"weight": (6, 1, *taps), "bias": (6,)},
            "PointwiseConv": {"weight": (5, 6), "bias": (5,)},
            "SeparableConv": {"depthwise": (6, *taps), "pointwise": (5, 6), "bias": (5,), "depthwise_bias": (6,)},
        }[kind]
        self.arrays = {name: drawn(*shape, dtype=dtype) for name, shape in shapes.items()}
        self.options: dict[str, Any] = {"layout": layout, **({"padding": 1} if spatial else {})}
        if kind == "SeparableConv" and np.dtype(dtype).kind != "c":
            self.options["depthwise_activation"] = "relu"
        self.x = drawn(2, *size, 6, dtype=dtype) if last else drawn(2, 6, *size, dtype=dtype)

    def made(self, **options: Any) -> Any:
        return self.layer(**self.arrays, **self.options, **options)

    def expected(self, **options: Any) -> np.ndarray:
        return self.function(self.x, **self.arrays, **self.options, **options)


# --- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, dims, layout", [n for n in NAMES if n[1] == 2], ids=[i for i in IDS if "2d" in i])
def test_kernels_read_the_weights_as_they_are_held(kind: str, dims: int, layout: str) -> None:
    test_equals_the_function(kind, dims, layout)


@PLAIN
@pytest.mark.parametrize("kind, dims, layout", NAMES, ids=IDS)
def test_equals_the_function(kind: str, dims: int, layout: str) -> None:
    one = Example(kind, dims, layout)
    layer, want = one.made(activation="relu"), one.expected(activation="relu")
    assert_bits(layer(one.x), want)
    out = np.full_like(want, np.nan)
    assert layer(one.x, out=out) is out
    assert_bits(out, want)
    assert_bits(layer(one.x[0]), want[0])
    if "residual" in inspect.signature(one.function).parameters:
        other = drawn(*want.shape)
        assert_bits(layer(one.x, residual=other), one.expected(activation="relu", residual=other))
        out[...] = other
        assert layer(one.x, residual=out, out=out) is out
        assert_bits(out, layer(one.x, residual=other))


@PLAIN
@pytest.mark.parametrize("kind, dims, layout", [n for n in NAMES if n[1] == 2], ids=[i for i in IDS if "2d" in i])
@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "complex64"])
def test_every_sort_of_number(kind: str, dims: int, layout: str, dtype: str) -> None:
    one = Example(kind, dims, layout, dtype)
    assert_bits(one.made()(one.x), one.expected())


@PLAIN
@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_stride_groups_and_multiplier(layout: str) -> None:
    x = drawn(1, 9, 8, 4) if layout == "NHWC" else drawn(1, 4, 9, 8)
    weight, filters, mix = drawn(6, 2, 3, 3), drawn(8, 1, 3, 3), drawn(6, 8)
    options = dict(layout=layout, stride=2, padding="same")
    assert_bits(layers.Conv2d(weight, groups=2, **options)(x), sepconv.conv2d(x, weight, groups=2, **options))
    assert_bits(layers.DepthwiseConv2d(filters, **options)(x), sepconv.depthwise_conv2d(x, filters, **options))
    assert_bits(layers.SeparableConv2d(filters, mix, **options)(x), sepconv.separable_conv2d(x, filters, mix, **options))


@pytest.mark.parametrize("channels", [17, 1024])
def test_any_number_of_channels(channels: int) -> None:
    """1024 of float32 are rows 4 KiB apart, which are held further apart."""
    x, weight = drawn(1, 3, 5, 2), drawn(channels, 2)
    assert_bits(layers.PointwiseConv2d(weight, layout="NHWC")(x), sepconv.pointwise_conv2d(x, weight, layout="NHWC"))


def test_large_maps_go_by_bands_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a third cache does not keep is read once, by all panels of the weight."""
    x, weight = drawn(1, 61, 47, 48), drawn(40, 48)
    want = oracle.check(sepconv.pointwise_conv2d, x, weight, layout="NHWC")
    monkeypatch.setattr(products, "FAR", 2**18)
    x, want = x[:, :60], want[:, :60]
    assert_bits(layers.PointwiseConv2d(weight, layout="NHWC")(x), want)
    assert_bits(sepconv.pointwise_conv2d(x, weight, layout="NHWC"), want)


# --- the weights are its own ------------------------------------------------------------------------------------------


@PLAIN
@pytest.mark.parametrize("kind, dims, layout", [n for n in NAMES if n[1] == 2], ids=[i for i in IDS if "2d" in i])
def test_changing_the_arrays_afterwards_has_no_effect(kind: str, dims: int, layout: str) -> None:
    one = Example(kind, dims, layout)
    if "padding" in one.options:
        one.options["padding"] = [[1, 1], [1, 1]]
    layer, want = one.made(), one.expected()
    for array in one.arrays.values():
        array[...] = np.nan
    for pair in one.options.get("padding", ()):
        pair[0] = 0
    assert_bits(layer(one.x), want)


@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_made_and_deleted_again_and_again(layout: str) -> None:
    """M19: new weights may come to lie where old ones did, in the same order of memory; nothing is remembered by address."""
    x = drawn(1, 9, 18, 6) if layout == "NHWC" else drawn(1, 6, 9, 18)
    options = {"layout": layout, "padding": 1}
    for number in range(40):
        filters, mix = np.full((6, 3, 3), number, np.float32), np.full((5, 6), number + 1, np.float32)
        layer = layers.SeparableConv2d(filters, mix, **options)
        del filters, mix
        got = layer(x)
        del layer
        kept = sepconv.separable_conv2d(x, np.full((6, 3, 3), number, np.float32), np.full((5, 6), number + 1, np.float32), **options)
        assert_bits(got, kept)


@PLAIN
@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda a: a[::-1], lambda a: a.astype(">f4"), lambda a: np.broadcast_to(a[:1], a.shape)])
def test_weights_as_they_lie(arrange: Any) -> None:
    x, weight = drawn(1, 6, 5, 4), arrange(drawn(7, 4, 3, 3))
    for layout in LAYOUTS[2]:
        image = x if layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        assert_bits(layers.Conv2d(weight, layout=layout)(image), sepconv.conv2d(image, np.ascontiguousarray(weight), layout=layout))


# --- pickles and copies -----------------------------------------------------------------------------------------------


@PLAIN
@pytest.mark.parametrize("kind, dims, layout", NAMES, ids=IDS)
@pytest.mark.parametrize("again", [lambda a: pickle.loads(pickle.dumps(a)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_made_again(again: Any, kind: str, dims: int, layout: str) -> None:
    one = Example(kind, dims, layout)
    layer = one.made(activation=("clip", -1, 1))
    twin = again(layer)
    assert type(twin) is type(layer) and repr(twin) == repr(layer)
    assert_bits(twin(one.x), layer(one.x))
    for name, held in layer._given.items():  # held in the same order of memory, so that the same kernels run
        assert twin._given[name].strides == held.strides


def test_repr_is_what_it_holds() -> None:
    layer = layers.SeparableConv2d(drawn(5, 3, 3), drawn(6, 5), padding="same", layout="NHWC")
    assert repr(layer) == "SeparableConv2d(depthwise=(5, 3, 3), pointwise=(6, 5), padding='same', layout='NHWC')"
    assert repr(layers.Conv1d(drawn(6, 5, 3), None)) == "Conv1d(weight=(6, 5, 3), bias=None)"


def test_docstrings_name_the_function() -> None:
    for kind, dims, _ in NAMES:
        layer = getattr(layers, f"{kind}{dims}d")
        assert f"`sepconv.{KINDS[kind][0]}{dims}d`" in layer.__doc__ and layer.__name__ in layers.__all__


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda w: layers.Conv2d(), "Conv2d needs weight"),
        (lambda w: layers.Conv2d(None), "Conv2d needs weight"),
        (lambda w: layers.DepthwiseConv1d(bias=w), "DepthwiseConv1d needs weight"),
        (lambda w: layers.SeparableConv2d(w), "SeparableConv2d needs pointwise"),
        (lambda w: layers.SeparableConv2d(pointwise=w), "SeparableConv2d needs depthwise"),
        (lambda w: layers.Conv2d(w, weight=w), "Conv2d got weight twice"),
        (lambda w: layers.SeparableConv3d(w, w, None, bias=w), "SeparableConv3d got bias twice"),
        (lambda w: layers.Conv2d(w, w, w), "Conv2d takes weight, bias and keywords; 3 arrays were given"),
        (lambda w: layers.Conv2d(w, out=w), "out belongs to a call"),
        (lambda w: layers.PointwiseConv2d(w, residual=w), "residual belongs to a call"),
        (lambda w: layers.Conv2d(w.tolist()), "weight is a builtins.list"),
        (lambda w: layers.Conv2d(w, 1.0), "bias is a builtins.float"),
        (lambda w: layers.Conv2d(w)(w, residual=w), "residual"),
        (lambda w: layers.Conv2d(w, color=1)(w), "color"),
        (lambda w: layers.Conv2d(w, layout=w)(w), "layout is"),
    ],
)
def test_refusals(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make(drawn(4, 4, 3, 3))


WRONG = [  # a layer of 2-D and an option of its, which no array can make right
    ("Conv2d", dict(padding="x"), ValueError), ("Conv2d", dict(padding=-1), ValueError), ("Conv2d", dict(groups=0), ValueError),
    ("Conv2d", dict(layout="NCWH"), ValueError), ("DepthwiseConv2d", dict(stride=1.5), TypeError), ("DepthwiseConv2d", dict(dilation=0), ValueError),
    ("DepthwiseConv2d", dict(padding_mode="mirror"), ValueError), ("PointwiseConv2d", dict(activation="swish"), ValueError),
    ("PointwiseConv2d", dict(layout="NCW"), ValueError), ("SeparableConv2d", dict(padding="causal"), ValueError),
    ("SeparableConv2d", dict(depthwise_activation=max), TypeError),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "option", "error"), WRONG, ids=str)
def test_what_no_call_can_take_is_refused_at_once(layer: str, option: dict[str, Any], error: type[Exception]) -> None:
    weights = [drawn(4, 4)] * (2 if layer == "SeparableConv2d" else 1)
    ((name, value),) = option.items()
    with pytest.raises(error, match=f"^{name} is {re.escape(repr(value))}; allowed"):
        getattr(layers, layer)(*weights, **option)


@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_what_the_function_refuses_the_call_refuses(layout: str) -> None:
    x, weight = drawn(1, 4, 4, 4), drawn(4, 4, 3, 3)
    masked = np.ma.masked_array(weight, mask=weight > 0)
    for wrong in (masked, [[1.0]], weight.astype(object)):
        with pytest.raises(TypeError, match="weight"):
            layers.Conv2d(wrong, layout=layout)(x)
    with pytest.raises(ValueError, match="weight has shape"):
        layers.Conv2d(weight[0], layout=layout)(x)
    with pytest.raises(ValueError, match="layout is 'NCWH'"):
        layers.Conv2d(weight, layout="NCWH")(x)
