"""Numbers: NaN and Inf, the activations, 16-bit rounding, wrapping integers, tolerances, magnitudes, complex; on every backend."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import oracle
import pytest
from arrays import rng
from oracle import BFLOAT16, LAYOUTS, OPS, check, function, values

import sepconv
from sepconv import activations

HALVES = (np.dtype(np.float16), BFLOAT16)
REAL = (*HALVES, np.dtype(np.float32), np.dtype(np.float64))
CURVED = [name for name, chosen in activations.NAMES.items() if chosen.code > activations.CLIP]
ACTIVATIONS = (*activations.NAMES, ("clip", -2, 3.5))
# of the weights, for 3 channels; with images of 6 x 37 and a padding of 1 they run kernels of the shared table (cells.py)
SHAPES = {"conv": [(3, 3, 3, 3)], "depthwise_conv": [(3, 3, 3)], "pointwise_conv": [(3, 3)], "separable_conv": [(3, 3, 3), (3, 3)]}


def moved(array: np.ndarray, last: bool) -> np.ndarray:
    """Channels first as it is, or the same image in channels-last memory."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array


def single(x: Any, dtype: Any, **options: Any) -> np.ndarray:
    """Each number alone through a convolution with the weight 1, one channel."""
    x = np.asarray(x, dtype).reshape(1, 1, -1)
    return sepconv.conv1d(x, np.ones((1, 1, 1), dtype), **options).ravel()


# --- NaN and Inf --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("dtype", REAL, ids=str)
@pytest.mark.parametrize("last", (False, True))
def test_under_zero_weights(backend, dtype, last, value):
    """N1: NaN or Inf under a weight of zero is NaN there, and only there: in the corners, at the ends of vectors, in the body."""
    h, w = 6, 37
    weight = np.zeros((3, 3, 3), dtype)
    for y, x in ((0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1), (2, 15), (3, 16), (4, 32), (2, 35)):
        image = np.ones((2, 3, h, w), dtype)
        image[0, 1, y, x] = value
        spoilt = np.zeros((3, h, w), bool)
        spoilt[1, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
        for op, more, where in (
            ("depthwise_conv", {"weight": weight}, spoilt),
            ("conv", {"weight": np.zeros((3, 3, 3, 3), dtype)}, np.broadcast_to(spoilt[1], spoilt.shape)),
            ("separable_conv", {"depthwise": weight, "pointwise": np.zeros((3, 3), dtype)}, np.broadcast_to(spoilt[1], spoilt.shape)),
        ):
            result = function(op, 2)(moved(image, last), **more, padding=1, layout=LAYOUTS[2][last])
            np.testing.assert_array_equal(np.isnan(np.moveaxis(result, -1, 1) if last else result), [where, np.zeros_like(where)])
            assert (np.nan_to_num(result.astype(np.float64)) == 0).all()


@pytest.mark.parametrize("value", (np.inf, -np.inf, np.nan))
@pytest.mark.parametrize("op, dims", [*itertools.product(("conv", "depthwise_conv"), (1, 2, 3)), ("separable_conv", 2)])
@pytest.mark.parametrize("last", (False, True))
def test_infinite_weights_over_the_padding(backend, op, dims, last, value):
    """N2, D3: a padded zero is multiplied like any other value: NaN on every side that the infinite tap looks over, and nowhere else."""
    x = np.ones((2, 6, *{1: (21,), 2: (9, 19), 3: (3, 6, 21)}[dims]), np.float32)
    for tap in itertools.product((0, 1, 2), repeat=dims):
        taps = np.ones((6, *(3,) * dims), np.float32)
        taps[(slice(None), *tap)] = value
        weight = np.stack([taps] * 5) if op == "conv" else taps
        arrays = {"depthwise": weight, "pointwise": np.ones((5, 6), np.float32)} if op == "separable_conv" else {"weight": weight}
        result = check(function(op, dims), moved(x, last), **arrays, padding=1, layout=LAYOUTS[dims][last])
        outside = np.ones(x.shape[2:], bool)
        outside[tuple(slice(max(0, 1 - t), n - max(0, t - 1)) for t, n in zip(tap, x.shape[2:]))] = False
        wrong = np.isnan(result[0, ..., 0] if last else result[0, 0])
        np.testing.assert_array_equal(wrong, outside if math.isinf(value) else np.ones_like(outside))


# --- activations --------------------------------------------------------------------------------------------------

SPECIAL = [
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 0.5, -0.5, 1e-3, -1e-3, 2.9, -2.9, 5.0, -5.0, 9.0, -9.0, 20.0, -20.0,
    88.0, -88.0, 104.0, -104.0, 710.0, -750.0, 1e4, -1e4,
]  # fmt: skip


def special(dtype: np.dtype) -> np.ndarray:
    """SPECIAL, the least subnormal and the ends of the range."""
    info = ml_dtypes.finfo(dtype)
    ends = [float(v) for v in (info.smallest_subnormal, info.tiny, info.max)]
    return np.array(SPECIAL + ends + [-v for v in ends]).astype(dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_activations_on_special_values(backend, activation, dtype):
    """N3, N4, D4, D7: one answer for each value, in the body of a vector and in its tail, in either axis, in every operation."""
    x = special(dtype)
    n, width = len(x), 37
    want = oracle.expected(sepconv.conv1d, x[None, None], np.ones((1, 1, 1), dtype), activation=activation)
    assert (np.isnan(want.wide) == (np.isnan(x) | (x == -np.inf) * (activation in ("silu", "gelu", "hard_swish")))).all()  # the oracle's own rule
    wide, error = (np.repeat(a.reshape(1, n, 1, 1), width, 3) for a in (want.wide, want.error))
    want = oracle.Expected(wide, error, want.dtype)
    image = np.repeat(x.reshape(1, n, 1, 1), width, 3)
    one = np.ones((width, 1), dtype)
    for result in (
        sepconv.depthwise_conv2d(image, np.ones((n, 1, 1), dtype), activation=activation),
        np.moveaxis(sepconv.depthwise_conv2d(moved(image, True), np.ones((n, 1, 1), dtype), activation=activation, layout="NHWC"), -1, 1),
        np.moveaxis(sepconv.pointwise_conv2d(x.reshape(1, 1, 1, n), one, activation=activation), 1, -1).transpose(0, 2, 1, 3),
        np.moveaxis(sepconv.pointwise_conv2d(x.reshape(1, n, 1, 1), one, activation=activation, layout="NHWC"), 1, 1),
        sepconv.conv2d(image, np.ones((n, 1, 1, 1), dtype), groups=n, activation=activation),
    ):
        result = np.ascontiguousarray(result)
        oracle.compare(result, want)
        same = (result == result[..., :1]) | np.isnan(result) & np.isnan(result[..., :1])
        assert same.all(), f"body and tail differ for x = {x[np.argwhere(~same)[:, 1]]}"


def test_activations_by_hand(backend):
    """N6, D4, D5: slopes 1/6 and 0.01; the formulas at -Inf are NaN where they multiply by zero."""
    for name, x, want in (
        ("hard_sigmoid", 1, 4 / 6), ("hard_sigmoid", -3, 0), ("hard_sigmoid", 3, 1), ("hard_swish", 1, 4 / 6), ("hard_swish", -4, 0),
        ("leaky_relu", -1, -0.01), ("leaky_relu", 2, 2), ("relu6", 7, 6), ("relu", -1, 0), (("clip", -1, 1), 3, 1), ("sigmoid", 0, 0.5),
        ("silu", np.inf, np.inf), ("gelu", np.inf, np.inf), ("hard_swish", np.inf, np.inf), ("silu", -np.inf, np.nan), ("gelu", -np.inf, np.nan),
        ("hard_swish", -np.inf, np.nan), ("leaky_relu", -np.inf, -np.inf), ("tanh", -np.inf, -1), ("sigmoid", -np.inf, 0),
    ):  # fmt: skip
        for dtype in (np.float32, np.float64):
            np.testing.assert_allclose(single(x, dtype, activation=name), [want], rtol=4 * np.finfo(dtype).eps, err_msg=f"{name} of {x}")


@pytest.mark.parametrize("dtype", (np.float32, np.float64), ids=str)
def test_gelu_is_erf(backend, dtype):
    """N5: the tanh formula is 4.7e-4 off; 0.5 * (1 + erf) is 4 % off at -5 in float32, for erfc is small there."""
    x = np.linspace(-5, 5, 101).astype(dtype)
    want = np.array([float(v) * math.erfc(-float(v) / math.sqrt(2)) / 2 for v in x])
    np.testing.assert_allclose(single(x, dtype, activation="gelu"), want, rtol=60 * np.finfo(dtype).eps, atol=1e-300)
    assert abs(single(2.0, dtype, activation="gelu")[0] - 1.9544997) < 1e-6  # the tanh formula has 1.9545977


@pytest.mark.parametrize("dtype", (np.float32, np.float64), ids=str)
@pytest.mark.parametrize("name", CURVED)
def test_activations_are_accurate(backend, name, dtype):
    """Relative to the result, not only to the sum: a few units in the last place wherever the result is a normal number."""
    x = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 80, 400), -np.geomspace(1e-30, 80, 400)]).astype(dtype)
    want = oracle.expected(sepconv.conv1d, x[None, None], np.ones((1, 1, 1), dtype), activation=name).wide.ravel()
    off = np.abs(single(x, dtype, activation=name) - want) / np.maximum(np.abs(want), np.finfo(dtype).tiny)
    # Where the result is an exponential of x (or x * x / 2), the rounding of the exponent is a rounding of the result times its size (the
    # oracle's as well, which is no wider for float64);
    # hard_sigmoid and hard_swish lose the low bits of x + 3 next to -3.
    room = {"gelu": 4 + 2 * x.astype(np.float64) ** 2, "hard_sigmoid": 4 + 6 / np.maximum(np.abs(x + 3.0), 1e-30)}
    room["hard_swish"] = room["hard_sigmoid"]
    worst = off / np.finfo(dtype).eps / room.get(name, 4 + np.abs(x.astype(np.float64)))
    assert worst.max() <= 1, f"{name}({x[worst.argmax()]}) is {worst.max()} times the bound off"


def test_no_overflow_warnings(backend):
    """N7: sigmoid, silu and tanh of 1e4 and -1e4: 0, 1 and no warning."""
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        for dtype in (np.float16, np.float32, np.float64):
            assert single([-1e4, 1e4], dtype, activation="sigmoid").tolist() == [0, 1]
            assert single([-1e4, 1e4], dtype, activation="silu").tolist() == [0, float(np.array(1e4, dtype))]
            assert single([-1e4, 1e4], dtype, activation="tanh").tolist() == [-1, 1]
            for activation in ACTIVATIONS:
                single(special(np.dtype(dtype)), dtype, activation=activation)
        for dtype in (np.int8, np.int32, np.uint64, np.complex64, BFLOAT16):
            sepconv.conv1d(np.full((1, 1, 9), 100).astype(dtype), np.full((1, 1, 3), 100).astype(dtype))


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_scalars_do_not_promote(backend, dtype):
    """N17: bounds that are Python floats, or wider NumPy scalars, keep the dtype."""
    for bounds in ((0, 6), (0.0, 6.5), (np.float64(-1), np.float32(2)), (np.int64(0), 7), (-math.inf, 3.0), (-1e300, 1e300)):
        assert single([-9, 0.25, 9], dtype, activation=("clip", *bounds)).dtype == dtype


# --- 16-bit floats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype, count", ((np.float16, 3000), (BFLOAT16, 400)), ids=str)
@pytest.mark.parametrize("last", (False, True))
def test_halves_sum_in_float32(backend, op, dtype, count, last):
    """N11: so many ones are so many; a sum in the half itself would stop at 2048 and at 256."""
    if op in ("depthwise_conv", "separable_conv"):
        x, taps = np.ones((1, 1, 1, count), dtype), np.ones((1, 1, 1, count), dtype)
        arrays = {"weight": taps} if op == "depthwise_conv" else {"depthwise": taps, "pointwise": np.ones((1, 1), dtype)}
    else:
        x, arrays = np.ones((1, count, 1, 1), dtype), {"weight": np.ones((1, count, 1, 1), dtype)}
    result = check(function(op, 2), moved(x, last), **arrays, layout=LAYOUTS[2][last])
    assert result.ravel().tolist() == [count]


@pytest.mark.parametrize("op", ("conv", "depthwise_conv", "pointwise_conv"))
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_round_once(backend, op, dtype):
    """N11: sums that float32 holds exactly come out rounded to nearest even once; a product rounded before its sum would show."""
    r = rng(3)
    x = (r.integers(-90, 90, (2, 9, 8, 35)) / 8).astype(dtype)
    weight = (r.integers(-90, 90, {"conv": (4, 9, 3, 3), "depthwise_conv": (9, 1, 3, 3), "pointwise_conv": (4, 9)}[op]) / 16).astype(dtype)
    want = oracle.expected(function(op, 2), x, weight).wide
    np.testing.assert_array_equal(function(op, 2)(x, weight), want.astype(dtype))


@pytest.mark.large
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half(backend, dtype):
    """N12, N13: all 65,536 of them times one are themselves: every NaN a NaN, subnormals kept, Inf Inf."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    result = single(x, dtype)
    assert result.dtype == dtype
    with np.errstate(invalid="ignore"):  # the signalling ones among the NaNs
        np.testing.assert_array_equal(result.astype(np.float32), x.astype(np.float32))  # NaN where x is, and zeros by value


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_ties_to_even(backend, dtype):
    """N12: a half, and a little more or less than a half, of the last place, on numbers of every size up to the largest, which rounds to Inf."""
    info = ml_dtypes.finfo(dtype)
    bits = np.arange(1, np.array(float(info.max), dtype).view(np.uint16) + 1, 37, dtype=np.uint16)
    high = bits[(bits >> info.nmant) > info.nmant + 2].view(dtype)
    ulp = np.spacing(high.astype(np.float32)) * np.float32(2 ** (23 - info.nmant))
    for share in (0.5, 0.375, 0.625, -0.5, -0.25):
        x = np.stack([high, (ulp * np.float32(share)).astype(dtype)])[None]  # their sum is exact in float32
        want = x.astype(np.float64).sum(1).astype(dtype)
        for sign in (1, -1):
            result = sepconv.conv1d(x, np.full((1, 2, 1), sign, dtype))[0, 0]
            np.testing.assert_array_equal(result, want[0] * np.array(sign, dtype))
    top = float(info.max)
    last = top - float(np.nextafter(np.array(top, dtype), np.array(0, dtype)).astype(np.float64))
    for extra, want in ((last / 2, np.inf), (last / 4, top)):
        x = np.array([top, extra]).astype(dtype).reshape(1, 2, 1)
        assert sepconv.conv1d(x, np.ones((1, 2, 1), dtype)).item() == want
        assert sepconv.conv1d(x, -np.ones((1, 2, 1), dtype)).item() == -want


# --- integers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("x, w", ((-128, -128), (127, -128), (-128, 127)))
def test_int8_extremes(backend, op, x, w):
    """N14: exact in int32 for the largest sums there are here, and no pair is saturated in 16 bits."""
    channels, taps = (1, 49) if op in ("depthwise_conv", "separable_conv") else (600, 1) if op == "pointwise_conv" else (64, 49)
    image, weights = np.full((1, channels, 9, 20), x, np.int8), np.int8(w)
    shapes = {"conv": (5, channels, 7, 7), "pointwise_conv": (5, channels)}.get(op, (1, 7, 7))
    arrays = {"weight": np.full(shapes, weights)}
    if op == "separable_conv":
        arrays = {"depthwise": arrays["weight"], "pointwise": np.ones((5, 1), np.int8)}
    result = check(function(op, 2), image, **arrays)
    assert result.dtype == np.int32 and (result == x * w * channels * taps).all()


def test_integers_by_hand(backend):
    """N14, N15, N18: pairs of uint8 and int8, the wraps of int32, uint16, int64, uint32 and uint64."""
    for x, w, want, dtype in (
        (np.full(3, 255, np.uint8), np.full(3, 127, np.int8), 3 * 255 * 127, np.int32),
        (np.full(3, 255, np.uint8), np.full(3, -128, np.int8), -3 * 255 * 128, np.int32),
        (np.full(2, 65535, np.uint16), np.full(2, 65535, np.uint16), (2 * 65535**2 + 2**31) % 2**32 - 2**31, np.int32),
        (np.full(1, 65535, np.uint16), np.full(1, 65535, np.uint16), 65535**2 - 2**32, np.int32),
        (np.full(5, -32768, np.int16), np.full(5, -32768, np.int16), (5 * 2**30 + 2**31) % 2**32 - 2**31, np.int32),
        (np.full(2, 2**31 - 1, np.int32), np.full(2, 2**31 - 1, np.int32), 2, np.int32),
        (np.full(2, 2**63 - 1, np.int64), np.full(2, 3, np.int64), -6, np.int64),
        (np.full(2, 2**32 - 1, np.uint32), np.full(2, 2**32 - 1, np.uint32), 2, np.uint32),
        (np.full(2, 2**64 - 1, np.uint64), np.full(2, 2**64 - 1, np.uint64), 2, np.uint64),
        (np.full(1, 2**31 - 1, np.int32), np.full(1, 2, np.int64), 2**32 - 2, np.int64),
        (np.full(1, -1, np.int8), np.full(1, 2**32 - 1, np.uint32), 1 - 2**32, np.int64),
        (np.full(1, 2**53 + 1, np.int64), np.full(1, 1, np.int64), 2**53 + 1, np.int64),
    ):
        arrays = {1: x[None, :, None], 2: w[None, :, None]}  # summed over channels, then over taps
        for result in (sepconv.conv1d(arrays[1], arrays[2]), sepconv.depthwise_conv1d(x[None, None], w[None, None])):
            assert result.dtype == dtype and result.tolist() == [[[want]]]


@pytest.mark.parametrize("name", ("int32", "int64", "uint32", "uint64", "uint16"))
def test_clip_after_the_wrap(backend, name):
    """N15: bias and residual wrap as well, and the activation sees the wrapped sum."""
    dtype = np.dtype(name)
    x = np.array([np.iinfo(dtype).max, 1, 0], dtype).reshape(1, 1, 3)
    bias = np.array([2], oracle.dtypes.result(dtype))
    for activation in (None, "relu", ("clip", -5, 1)):
        check(
            sepconv.pointwise_conv1d,
            x,
            np.array([[np.iinfo(dtype).max]], dtype),
            bias,
            activation=activation,
            residual=np.full((1, 1, 3), 3, bias.dtype),
        )


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("x, w", oracle.MIXES, ids=str)
def test_mixed_dtypes(backend, op, x, w):
    """N18, D8: the result's dtype is numpy.result_type's (narrow integers int32), and `explain` says what is computed in."""
    shapes, options = SHAPES[op], {} if op == "pointwise_conv" else {"padding": 1}
    image, *weights = [values(rng(i), s, oracle.NAMED[w if i else x], small=True) for i, s in enumerate([(2, 3, 6, 37), *shapes])]
    common = np.result_type(oracle.NAMED[x], oracle.NAMED[w])
    result = check(function(op, 2), image, *weights, **options)
    assert result.dtype == (np.int32 if common.kind in "iu" and common.itemsize < 4 else common)
    assert str(common) in str(sepconv.explain(function(op, 2), image, *weights, **options))


# --- how exact ----------------------------------------------------------------------------------------------------


@pytest.mark.large
@pytest.mark.parametrize("kernel", (3, 7, *(pytest.param(kernel, marks=pytest.mark.sweep) for kernel in (31, 63))))
@pytest.mark.parametrize("sort", ("positive", "cancelling", "normal"))
@pytest.mark.parametrize("last", (False, True))
def test_tolerance_of_large_kernels(backend, kernel, sort, last):
    """N19: all-positive sums, and sums that cancel to nearly nothing, within sqrt(terms) + 1 eps of sum|x||w|, and not the worst case, terms / 2."""
    r, shape = rng(kernel), (1, 5, kernel + 2, kernel + 20)
    x, weight = r.random(shape) + 0.5, r.random((5, 1, kernel, kernel)) + 0.5
    if sort == "cancelling":
        x *= np.where(np.arange(shape[3]) % 2, 1.0, -1.0)
        weight = weight * 0.001 + 1
    elif sort == "normal":
        x, weight = r.standard_normal(shape), r.standard_normal(weight.shape)
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    check(sepconv.depthwise_conv2d, moved(x, last), weight, layout=LAYOUTS[2][last], c=math.sqrt(kernel * kernel) + 1)


@pytest.mark.parametrize("op", ("conv", "pointwise_conv"))
@pytest.mark.parametrize("last", (False, True))
def test_tolerance_of_many_channels(backend, op, last):
    """N19: the same for sums over a thousand channels."""
    r = rng(1)
    x = (r.random((1, 1024, 3, 19)) + 0.5).astype(np.float32)
    weight = (r.random((9, 1024, 1, 1)) + 0.5).astype(np.float32)
    check(function(op, 2), moved(x, last), weight, layout=LAYOUTS[2][last], c=math.sqrt(1024) + 1)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("x_size, w_size", ((3e37, 0.5), (1e-38, 1e-3), (1e-38, 1e37), (1e30, 1e-38), (1e-44, 1.0), (3.3e38, 1e-2)))
def test_magnitudes(backend, op, last, x_size, w_size):
    """N20, D12: sums that fit do not overflow on the way, subnormals are kept, small and large side by side."""
    r = rng(7)
    x = (x_size * r.uniform(0.5, 1, (2, 2, 9, 21)) * r.choice([-1, 1], (2, 2, 9, 21))).astype(np.float32)
    x[0, :, :, ::3] = np.float32(1e-38)
    weight = lambda *shape: (w_size * r.uniform(0.5, 1, shape)).astype(np.float32)
    arrays = {
        "conv": {"weight": weight(3, 2, 3, 1)},
        "depthwise_conv": {"weight": weight(2, 3, 3)},
        "pointwise_conv": {"weight": weight(5, 2)},
        "separable_conv": {"depthwise": weight(2, 3, 3), "pointwise": np.full((3, 2), 0.25, np.float32)},
    }[op]
    result = check(function(op, 2), moved(x, last), **arrays, layout=LAYOUTS[2][last])
    assert np.isfinite(result).all() and (result != 0).any()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", (np.float32, np.float64, np.complex64, BFLOAT16), ids=str)
def test_negative_zero(backend, op, dtype):
    """D7: zeros are compared by value; no sign of a zero makes another number."""
    x, options = np.full((2, 3, 6, 37), -0.0).astype(dtype), {} if op == "pointwise_conv" else {"padding": 1}
    for sign in (1, -1):
        assert (check(function(op, 2), x, *[np.full(shape, sign).astype(dtype) for shape in SHAPES[op]], **options) == 0).all()


# --- complex ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("x, w", (("complex64", "complex64"), ("complex128", "complex64"), ("float32", "complex64"), ("complex64", "float64")))
def test_complex(backend, op, x, w):
    """N24: no conjugation, real times complex, NaN and Inf in one part."""
    shapes = {"conv": [(3, 2, 3, 3)], "depthwise_conv": [(2, 3, 3)], "pointwise_conv": [(3, 2)], "separable_conv": [(2, 3, 3), (3, 2)]}[op]
    image, *weights = [values(rng(i), s, w if i else x) for i, s in enumerate([(2, 2, 6, 19), *shapes])]
    options: dict[str, Any] = {} if op == "pointwise_conv" else {"padding": 1}
    check(function(op, 2), image, *weights, **options)
    for number in (complex(np.nan, 1), complex(1, np.nan), complex(np.inf, 0), complex(0, -np.inf)):
        spoilt = image.copy()
        spoilt[0, 1, 3, 4] = number if spoilt.dtype.kind == "c" else number.real
        check(function(op, 2), spoilt, *weights, **options)


def test_no_conjugation(backend):
    """N24: i times i is -1, in x and weight."""
    i = np.array([[[1j]]], np.complex64)
    assert sepconv.conv1d(i, i).tolist() == sepconv.depthwise_conv1d(i, i).tolist() == [[[-1]]]
    assert sepconv.pointwise_conv1d(i, i[0]).tolist() == [[[-1]]]
