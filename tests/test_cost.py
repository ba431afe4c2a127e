"""conv_cost: counts worked out by hand, the table of kinds against a slow count, and every argument refused by name."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sepconv
from sepconv.cost import KINDS, Cost, conv_cost
from sepconv.problem import resolve


def cost(kind: str, c_in: int, c_out: int, k: Any, n: Any = None, **options: Any) -> Cost:
    return conv_cost(kind, in_channels=c_in, out_channels=c_out, kernel_size=k, input_size=n, **options)


# --- weights, counted by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "params"),
    [
        (("standard", 10, 20, 7), 9_800),  # an article prints 2,800
        (("standard", 3, 3, 3), 81),
        (("separable", 3, 3, 3), 27 + 9),
        (("depthwise", 3, 3, 3), 27),
        (("pointwise", 3, 3, 1), 9),
        (("standard", 1, 1, 3), 9),
        (("spatial", 1, 1, 3), 6),  # Sobel
        (("spatial", 5, 5, (3, 7)), 5 * 10),
        (("standard", 4, 6, (3,)), 72),
        (("standard", 4, 6, (2, 3, 5)), 720),
        (("spatial", 4, 4, (2, 3, 5)), 40),
        (("spatial", 4, 4, (5,)), 20),
    ],
)
def test_weights_by_hand(given: tuple[Any, ...], params: int) -> None:
    assert cost(*given) == Cost(params, None, None, None, None)


@pytest.mark.parametrize(
    ("given", "options", "params"),
    [
        (("grouped", 10, 20, 7), dict(groups=5), 9_800 // 5),
        (("grouped", 10, 20, 7), dict(groups=1), 9_800),
        (("grouped", 6, 6, 3), dict(groups=6), 54),  # depthwise by another name
        (("depthwise", 5, 15, 3), dict(multiplier=3), 135),
        (("spatial", 5, 15, 3), dict(multiplier=3), 90),
        (("separable", 5, 8, 3), dict(multiplier=3), 135 + 15 * 8),
        (("standard", 10, 20, 7), dict(bias=True), 9_820),
        (("pointwise", 4, 6, (1, 1)), dict(bias=np.True_), 30),
        (("spatial", 1, 1, 3), dict(bias=True), 7),
        (("separable", 3, 4, 3), dict(bias=True, multiplier=2), 54 + 6 + 24 + 4),
    ],
)
def test_groups_multiplier_and_bias(given: tuple[Any, ...], options: dict[str, Any], params: int) -> None:
    assert cost(*given, **options).params == params


# --- work and traffic, counted by hand ------------------------------------------------------------------------------


def test_standard_counts_output_pixels() -> None:
    """3x3 on 8x8: 6x6 outputs without padding; with padding 1 all 64, the taps that lie on zeros included."""
    assert cost("standard", 3, 16, 3, 8).macs == 3 * 16 * 9 * 36
    assert cost("standard", 3, 16, 3, 8, padding=1).macs == 3 * 16 * 9 * 64
    assert cost("standard", 3, 16, 3, 8, padding=2).macs == 3 * 16 * 9 * 100  # more outputs than inputs
    assert cost("standard", 3, 16, 3, 8, padding="same", stride=3).macs == 3 * 16 * 9 * 9
    assert cost("standard", 3, 16, 3, (8, 11), stride=(1, 2), dilation=(3, 1), padding=((0, 1), (2, 0))).macs == 3 * 16 * 9 * 3 * 6


def test_a_whole_record() -> None:
    """First depthwise layer of MobileNet V1, 32x112x112, 3x3, float32."""
    got = cost("depthwise", 32, 32, 3, 112, padding=1)
    assert got == Cost(params=288, macs=3_612_672, flops=7_225_344, bytes=3_212_416, intensity=7_225_344 / 3_212_416)
    assert round(got.intensity or 0, 2) == 2.25


def test_separable_is_the_sum_of_its_halves() -> None:
    whole, sizes = cost("separable", 32, 64, 3, 28, multiplier=2, stride=2, padding=1), dict(stride=2, padding=1)
    first, second = cost("depthwise", 32, 64, 3, 28, multiplier=2, **sizes), cost("pointwise", 64, 64, 1, 14)
    assert whole.params == first.params + second.params
    assert (whole.macs, whole.flops) == (first.macs + second.macs, first.flops + second.flops)
    middle = 4 * 64 * 14 * 14  # written by the first, read by the second, in neither count of the whole
    assert whole.bytes == first.bytes + second.bytes - 2 * middle


def test_spatial_counts_the_middle_size() -> None:
    """The column runs first: 5 taps on 6x12 pixels; then the row: 3 taps on 6x10. With stride (2, 1) the column makes 3x12."""
    assert cost("spatial", 1, 1, (5, 3), (10, 12)).macs == 5 * 6 * 12 + 3 * 6 * 10
    assert cost("spatial", 7, 14, (5, 3), (10, 12), multiplier=2, stride=(2, 1)).macs == 14 * (5 * 3 * 12 + 3 * 3 * 10)
    assert cost("spatial", 1, 1, (2, 3, 4), (5, 6, 7)).macs == 2 * (4 * 6 * 7) + 3 * (4 * 4 * 7) + 4 * (4 * 4 * 4)
    assert cost("spatial", 2, 2, (5,), 9).macs == cost("depthwise", 2, 2, (5,), 9).macs


def test_the_middle_size_is_that_of_the_passes_themselves() -> None:
    """Two 1-D passes over an image, each with its own stride and padding, run as they are counted."""
    x, column, row = np.ones((1, 3, 10, 12)), np.ones((3, 5, 1)), np.ones((3, 1, 3))
    with sepconv.use_backend("reference"):
        middle = sepconv.depthwise_conv2d(x, column, stride=(2, 1), padding=(1, 0))
        out = sepconv.depthwise_conv2d(middle, row, stride=(1, 2), padding=(0, 1))
    got = cost("spatial", 3, 3, (5, 3), (10, 12), stride=2, padding=1)
    assert got.macs == 5 * middle.size + 3 * out.size
    assert got.bytes == 4 * (x.size + column.size + row.size + out.size)


@pytest.mark.parametrize(
    ("dtype", "item", "out_item"),
    [("float32", 4, 4), ("float64", 8, 8), ("float16", 2, 2), ("bfloat16", 2, 2), (np.float64, 8, 8), (np.dtype(">f4"), 4, 4),
     ("complex64", 8, 8), ("int8", 1, 4), (np.uint16, 2, 4), ("int64", 8, 8)],
)  # fmt: skip
def test_bytes_by_dtype(dtype: Any, item: int, out_item: int) -> None:
    """2 channels of 6 in, 3 of 4 out, 18 weights, 3 biases."""
    got = cost("standard", 2, 3, (3,), 6, bias=True, dtype=dtype)
    assert got.bytes == item * (12 + 18) + out_item * (12 + 3)
    assert got.intensity == 2 * 72 / got.bytes


def test_number_of_axes() -> None:
    """A tuple decides, the kernel's before the input's; two ints are 2-D. Lists and NumPy integers are as good."""
    assert cost("standard", 1, 1, 3, 8).macs == 9 * 36
    assert cost("standard", 1, 1, 3, (8,)).macs == 3 * 6
    assert cost("standard", 1, 1, 3, [8, 8, 8]).macs == 27 * 216
    assert cost("standard", 1, 1, (3,), 8).macs == 3 * 6
    assert cost("standard", np.int16(1), np.uint8(1), [np.int64(3), 3], np.int32(8), stride=[1, 1]).macs == 9 * 36
    assert cost("standard", 1, 1, (3,), 8, padding="causal").macs == 3 * 8


def test_an_empty_image_costs_its_weights() -> None:
    assert cost("standard", 2, 2, 3, 0, padding="same") == Cost(36, 0, 0, 144, 0.0)


def test_sizes_that_no_array_could_have() -> None:
    assert cost("standard", 2**40, 2**40, 1, 2**31).macs == 2**142


# --- against the slow way -----------------------------------------------------------------------------------------


@given(st.data())
def test_macs_and_bytes_are_those_of_the_problem(data: st.DataObject) -> None:
    """The Problem that the convolutions themselves build counts the same."""
    dims = data.draw(st.integers(1, 3))
    axis = lambda least, most: tuple(data.draw(st.integers(least, most)) for _ in range(dims))
    kernel, stride, dilation, size = axis(1, 4), axis(1, 3), axis(1, 2), axis(7, 12)
    padding = data.draw(st.sampled_from(["same", "same_lower", "valid", 0, 3]))
    kind = data.draw(st.sampled_from(["standard", "grouped", "depthwise", "pointwise"]))
    groups = data.draw(st.integers(1, 3)) if kind == "grouped" else 1
    c_in, c_out, m = 2 * groups, 3 * groups, data.draw(st.integers(1, 3)) if kind == "depthwise" else 1
    shape = (c_out, c_in // groups, *kernel)
    if kind == "depthwise":
        c_out, shape = c_in * m, (c_in * m, 1, *kernel)
    if kind == "pointwise":
        kernel, shape = (1,) * dims, (c_out, c_in)
    options: dict[str, Any] = dict(stride=stride, dilation=dilation, padding=padding)
    f4 = np.dtype(np.float32)
    p = resolve("standard" if kind == "grouped" else kind, dims, ((1, c_in, *size), f4), (shape, f4), groups=groups, **options)
    got = cost(kind, c_in, c_out, kernel, size, groups=groups, multiplier=m, **options)
    assert (got.params, got.macs) == (math.prod(shape), p.macs)
    assert got.bytes == 4 * (math.prod(shape) + c_in * math.prod(size) + math.prod(p.out_shape))


# --- the record, the signature ------------------------------------------------------------------------------------


def test_cost_is_a_plain_record() -> None:
    got = cost("separable", 3, 8, 3, 8)
    assert pickle.loads(pickle.dumps(got)) == copy.deepcopy(got) == copy.copy(got) == got
    assert list(dataclasses.asdict(got)) == ["params", "macs", "flops", "bytes", "intensity"]
    assert repr(got).startswith("Cost(params=51, macs=1836, flops=3672, ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        got.params = 1  # type: ignore[misc]


def test_signature() -> None:
    parameters = inspect.signature(conv_cost).parameters
    assert list(parameters) == ["kind", "in_channels", "out_channels", "kernel_size", "input_size", "stride", "padding", "dilation",
                                "multiplier", "groups", "bias", "dtype"]  # fmt: skip
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "kind")
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert defaults == dict(input_size=None, stride=1, padding=0, dilation=1, multiplier=1, groups=1, bias=False, dtype="float32")


# --- bad arguments ------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    (dict(kind="dense"), ValueError, "kind is 'dense'; allowed are standard, depthwise"),
    (dict(kind=None), TypeError, "kind is None"),
    (dict(in_channels=0), ValueError, "in_channels is 0; allowed is a positive int"),
    (dict(in_channels=2.0), TypeError, "in_channels is 2.0"),
    (dict(in_channels=True), TypeError, "in_channels is True"),
    (dict(in_channels=None), TypeError, "in_channels is None"),
    (dict(in_channels=2**63), ValueError, "in_channels is 9223372036854775808, which does not fit"),
    (dict(out_channels=-4), ValueError, "out_channels is -4"),
    (dict(out_channels="4"), TypeError, "out_channels is '4'"),
    (dict(kernel_size=0), ValueError, "kernel_size is 0"),
    (dict(kernel_size=(3, 0)), ValueError, "kernel_size is 0"),
    (dict(kernel_size=()), ValueError, r"kernel_size is \(\); allowed is .* one to three"),
    (dict(kernel_size=(3, 3, 3, 3)), ValueError, r"kernel_size is \(3, 3, 3, 3\)"),
    (dict(kernel_size=3.0), TypeError, "kernel_size is 3.0"),
    (dict(kernel_size="3"), TypeError, "kernel_size is '3'"),
    (dict(kernel_size=np.array([3, 3])), TypeError, r"kernel_size is array\(\[3, 3\]\)"),
    (dict(kernel_size=(9, 3)), ValueError, r"kernel_size is \(9, 3\) and input_size is \(8, 8\).*reach of 9"),
    (dict(kernel_size=3, dilation=4), ValueError, "kernel size 3 with dilation 4 on axis 0, a reach of 9"),
    (dict(input_size=-1), ValueError, "input_size is -1"),
    (dict(input_size=(8, 8, 8), kernel_size=(3, 3)), ValueError, r"input_size is \(8, 8, 8\); allowed is .* 2 of them"),
    (dict(input_size=8.0), TypeError, "input_size is 8.0"),
    (dict(input_size=0), ValueError, r"input_size is \(0, 0\)"),
    (dict(stride=0), ValueError, "stride is 0"),
    (dict(stride=(1, 1, 1)), ValueError, r"stride is \(1, 1, 1\)"),
    (dict(stride=False), TypeError, "stride is False"),
    (dict(dilation=0), ValueError, "dilation is 0"),
    (dict(dilation=1.5), TypeError, "dilation is 1.5"),
    (dict(padding=-1), ValueError, "padding is -1"),
    (dict(padding=-1, input_size=None), ValueError, "padding is -1"),
    (dict(padding="full"), ValueError, "padding is 'full'"),
    (dict(padding="causal"), ValueError, "padding is 'causal'"),
    (dict(padding=(1, 1, 1), input_size=None), ValueError, r"padding is \(1, 1, 1\)"),
    (dict(padding=1.0), TypeError, "padding is 1.0"),
    (dict(multiplier=0), ValueError, "multiplier is 0"),
    (dict(multiplier=0, out_channels=0, kind="depthwise"), ValueError, "multiplier is 0"),  # as the command line multiplies
    (dict(multiplier=2), ValueError, "multiplier is 2; allowed is 1 for kind 'standard'"),
    (dict(multiplier=2.0, kind="separable"), TypeError, "multiplier is 2.0"),
    (dict(groups=2), ValueError, "groups is 2; allowed is 1 for kind 'standard'"),
    (dict(groups=0, kind="grouped"), ValueError, "groups is 0"),
    (dict(groups=3, kind="grouped"), ValueError, "groups is 3 and does not divide in_channels = 4"),
    (dict(groups=4, kind="grouped"), ValueError, "groups is 4 and does not divide out_channels = 6"),
    (dict(kind="depthwise"), ValueError, r"out_channels is 6; allowed is in_channels \* multiplier = 4"),
    (dict(kind="spatial", multiplier=2), ValueError, r"out_channels is 6; allowed is in_channels \* multiplier = 8"),
    (dict(kind="pointwise"), ValueError, r"kernel_size is \(3, 3\); allowed is 1"),
    (dict(bias=1), TypeError, "bias is 1"),
    (dict(bias=None), TypeError, "bias is None"),
    (dict(dtype="float8"), TypeError, "dtype is 'float8'; allowed are float16"),
    (dict(dtype=None), TypeError, "dtype is None"),
    (dict(dtype=bool), TypeError, "dtype has dtype bool"),
    (dict(dtype=object), TypeError, "dtype has dtype object"),
    (dict(dtype=3), TypeError, "dtype is 3"),
]


@pytest.mark.parametrize(("changed", "error", "message"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_refused(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = dict(kind="standard", in_channels=4, out_channels=6, kernel_size=3, input_size=8)
    conv_cost(**good)
    with pytest.raises(error, match=message):
        conv_cost(**{**good, **changed})


def test_every_kind_is_counted() -> None:
    for kind in KINDS:
        assert cost(kind, 4, 4, 1 if kind == "pointwise" else 3, 8).macs > 0  # type: ignore[operator]
