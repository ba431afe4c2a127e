"""What every wrong argument of every function says: one table, and the signatures of the public functions."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import oracle
import pytest
from oracle import OPS, function

import sepconv
from sepconv import dtypes

DIMS = (1, 2, 3)
SIZE, TAPS = (5, 8, 23), (3, 3, 3)  # results of 3 x 6 x 21: kernels of the shared table (cells.py)


class PerDim(NamedTuple):
    """A value that depends on the number of dimensions: one for 1-D, 2-D, 3-D; `...` where there is none."""

    one: Any
    two: Any
    three: Any


class Number:
    """An index whose text says nothing of it."""

    value = 1

    def __index__(self) -> int:
        return self.value


def arrays_of(op: str, dims: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """A correct call: 6 channels, and 6 outputs; kernel 3 on every axis."""
    size, taps = SIZE[3 - dims :], TAPS[:dims]
    weights = {
        "conv": {"weight": (6, 6, *taps)},
        "depthwise_conv": {"weight": (6, 1, *taps)},
        "pointwise_conv": {"weight": (6, 6)},
        "separable_conv": {"depthwise": (6, 1, *taps), "pointwise": (6, 6)},
    }[op]
    return {name: np.ones(shape, dtype) for name, shape in {"x": (2, 6, *size), **weights}.items()}


def result_shape(op: str, dims: int) -> tuple[int, ...]:
    return (2, 6, *(n if op == "pointwise_conv" else n - 2 for n in SIZE[3 - dims :]))


def parameters(op: str, dims: int) -> list[str]:
    return list(inspect.signature(function(op, dims)).parameters)


# --- options ------------------------------------------------------------------------------------------------------

# Each line: the argument, a wrong value, the error, and what its text must hold besides the argument's name and the value.
NO_INT = [True, np.True_, 2.0, np.float32(2), "2", None, 1j, np.array([1, 2]), object, {1}]
PER_AXIS = (
    [(value, TypeError, "int") for value in (*NO_INT, {"a": 1})]
    + [(value, ValueError, "positive") for value in (0, -1, np.int64(-1), -(2**70))]
    + [(value, ValueError, "64 bits") for value in (2**63, 2**100)]
    + [(value, ValueError, "one per axis") for value in ((), [], (1, 1, 1, 1), PerDim((1, 1), (1,), (1, 1)))]
    + [
        (PerDim((0,), (1, 0), (1, 1, 0)), ValueError, "positive"),
        (PerDim([-1], [1, -1], [1, 1, -1]), ValueError, "positive"),
        (PerDim((True,), (1, True), (1, 1, True)), TypeError, "int"),
        (PerDim((1.0,), (1.0, 1), (1, 1, 1.0)), TypeError, "int"),
        (PerDim(((1,),), ((1, 1), 1), (1, 1, (1, 1))), TypeError, "int"),
    ]
)
PADDING = (
    [(value, TypeError, "int") for value in (*NO_INT[:4], *NO_INT[5:])]
    + [(value, ValueError, "non-negative") for value in (-1, np.int8(-1), -(2**70))]
    + [(value, ValueError, "64 bits") for value in (2**63, 2**100, 2**62, PerDim((2**63 - 1, 0), (2**62, 1), (1, 1, 2**62)))]
    + [(value, ValueError, "valid") for value in ("sam", "SAME", "2", "", "causal ", PerDim(..., "causal", "causal"))]
    + [(value, ValueError, "(before, after)") for value in ((), [], (1, 1, 1, 1), PerDim((1, 2, 3), (1,), (1, 1)))]
    + [
        (PerDim((-1, 0), (0, -1), (0, 0, -1)), ValueError, "non-negative"),
        (PerDim(((0, -1),), ((0, 0), (0, -1)), ((-1, 0), (0, 0), (0, 0))), ValueError, "non-negative"),
        (PerDim((True, 1), (1, True), (1, 1, True)), TypeError, "int"),
        (PerDim(((1, 2.0),), ((1, 2.0), (1, 1)), ((1, 1), (1, 1), (1.0, 1))), TypeError, "int"),
        (PerDim((1, "1"), (1, "1"), (1, 1, "1")), TypeError, "int"),
        (PerDim(((1, 2, 3),), ((1, 2, 3), (1, 2)), ((1,), (1, 1), (1, 1))), ValueError, "(before, after)"),
        (PerDim(((1, 2), (1, 2)), ((1, 2), 1), (1, (1, 2), 1)), ValueError, "(before, after)"),
        (PerDim((1, (1, 2)), ((1, 2),), ((1, 2), (1, 2))), ValueError, "(before, after)"),
    ]
)
NAME = [(value, TypeError, "allowed are") for value in (0, 1.0, b"constant", ("constant",), object)]
ACTIVATION = (
    [(value, ValueError, "leaky_relu") for value in ("swish", "ReLU", "", "clip", (), ("relu", 0, 1), ("clip", 1), ("clip", 1, 2, 3), ["silu"])]
    + [(value, TypeError, "leaky_relu") for value in (0, True, 1.0, b"relu", np.tanh, {"clip": 1})]
    + [
        (("clip", 0, 10**400), ValueError, "float64"),
        (("clip", 2, 1), ValueError, "lower bound"),
        (("clip", np.nan, 1), ValueError, "NaN"),
        (("clip", 0, np.float32("nan")), ValueError, "NaN"),
    ]
    + [(("clip", *bounds), TypeError, "real numbers") for bounds in ((True, 2), (0, "1"), (None, 1), (0, 1j), (0, [1]), (0, np.True_))]
)
GROUPS = (
    [(value, TypeError, "positive int") for value in (*NO_INT, (1,), [2])]
    + [(value, ValueError, "positive int") for value in (0, -1, np.int8(-2))]
    + [(value, ValueError, "64 bits") for value in (2**63, 2**90)]
    + [(value, ValueError, "does not divide the 6 channels of x") for value in (4, 5, 7, 12, 2**62)]
)
OPTIONS: dict[str, list[tuple[Any, ...]]] = {
    "stride": PER_AXIS,
    "dilation": PER_AXIS,
    "padding": PADDING,
    "groups": GROUPS,
    "padding_mode": [*NAME, (None, TypeError, "allowed are")]
    + [(value, ValueError, "constant", "edge", "reflect", "symmetric", "wrap", "circular") for value in ("mirror", "Constant", "", "same")],
    "layout": NAME
    + [(value, ValueError, "None") for value in ("nchw", "NC", "", "NHCW", "constant")]
    + [(PerDim("NCHW", "NCW", "NCHW"), ValueError, "None"), (PerDim("NHWC", "NDHWC", "NWC"), ValueError, "None")],
    "activation": ACTIVATION,
    "depthwise_activation": ACTIVATION,
}
OPTION_ROWS = [(op, name) for op in OPS for name in OPTIONS if name in parameters(op, 2)]


def raises(error: type[Exception], fragments: tuple[str, ...], call: Any) -> None:
    """The exact type of error, and all the fragments in its text."""
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error, caught.type
    missing = [fragment for fragment in fragments if fragment not in str(caught.value)]
    assert not missing, f"{missing} not in {str(caught.value)!r}"


def attempt(op: str, dims: int, error: type[Exception], fragments: tuple[str, ...], **wrong: Any) -> None:
    """A call that is right but for `wrong`; `out` keeps its sentinel."""
    out = np.full(result_shape(op, dims), 7, np.float32)
    raises(error, fragments, lambda: function(op, dims)(**{**arrays_of(op, dims), "out": out, **wrong}))
    assert (out == 7).all()


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op, name", OPTION_ROWS)
def test_options(backend, op, name, dims):
    """Every option of every function, each way it can be wrong: the text has its name, its value and what is allowed (G11, N24, P9)."""
    function(op, dims)(**arrays_of(op, dims))  # the same call made right, and remembered: the errors are not lost in a cache
    for value, error, *fragments in OPTIONS[name]:
        value = value[dims - 1] if isinstance(value, PerDim) else value
        if value is not ...:
            one = isinstance(value, (tuple, list)) and error is TypeError and name not in ("activation", "depthwise_activation")
            shown = () if one or "64 bits" in fragments or isinstance(value, (tuple, list)) else (repr(value),)
            attempt(op, dims, error, (name, *shown, *fragments), **{name: value})


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op", OPS)
def test_options_that_equal_right_ones(backend, op, dims):
    """True and 1.0 equal 1, and must not meet it in a cache; NumPy integers, and lists for tuples, are right."""
    if op == "pointwise_conv":
        return
    arrays = arrays_of(op, dims, np.int16)  # of which one kernel does everything
    for name in ("stride", "dilation", "groups") if op == "conv" else ("stride", "dilation"):
        want = function(op, dims)(**arrays, **{name: 1})
        for wrong in (True, 1.0, np.True_, np.float64(1)):
            attempt(op, dims, TypeError, (name,), **{name: wrong})
        for right in (np.int8(1), np.uint64(1), np.array(1)) + (() if name == "groups" else ([1] * dims, (np.int64(1),) * dims)):
            np.testing.assert_array_equal(function(op, dims)(**arrays, **{name: right}), want)
    number, shapes = Number(), set()
    for number.value in (1, 2):
        shapes.add(function(op, dims)(**arrays, padding=number).shape)
    assert len(shapes) == 2
    want = function(op, dims)(**arrays, padding=1)
    for right in (np.int8(1), [(1, 1)] * dims, [[np.int64(1), 1]] * dims, *(([1] * dims, (np.uint8(1),) * dims) if dims > 1 else ([1, 1],))):
        np.testing.assert_array_equal(function(op, dims)(**arrays, padding=right), want)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", ("activation", "depthwise_activation"))
def test_activations_for_the_dtype(backend, op, name):
    """N24: complex has none, integers have those that are bounds, and the bounds are whole."""
    if name not in parameters(op, 2):
        return
    for dtype, given, error, fragment in (
        (np.complex64, "relu", TypeError, "complex64"),
        (np.complex128, ("clip", 0, 1), TypeError, "complex128"),
        (np.int8, "gelu", TypeError, "int32"),
        (np.uint64, "leaky_relu", TypeError, "uint64"),
        (np.int32, ("clip", 0.5, 1), ValueError, "whole numbers"),
        (np.int64, ("clip", 0, 2**54), ValueError, "whole numbers"),
    ):
        arrays = arrays_of(op, 2, dtype)
        raises(error, (name, repr(given), fragment), lambda: function(op, 2)(**arrays, **{name: given}))  # noqa: B023


# --- arrays: their kind, dtype and shape --------------------------------------------------------------------------

ARRAYS = ("x", "weight", "depthwise", "pointwise", "bias", "depthwise_bias", "residual", "out")
ARRAY_ROWS = [(op, name) for op in OPS for name in ARRAYS if name in parameters(op, 2)]
BAD_DTYPES = [
    object, "S3", "U3", bool, "M8[s]", "m8[s]", "V4", [("a", "f4")], [("a", "f4"), ("b", "i2")], ml_dtypes.float8_e4m3fn, ml_dtypes.int4,
    *(t for t in (np.longdouble, np.clongdouble) if np.dtype(t).name not in dtypes.KINDS),
]  # fmt: skip


def shape_of(op: str, name: str, dims: int = 2) -> tuple[int, ...]:
    known = {n: a.shape for n, a in arrays_of(op, dims).items()}
    return {"bias": (6,), "depthwise_bias": (6,), "residual": result_shape(op, dims), "out": result_shape(op, dims), **known}[name]


@pytest.mark.parametrize("op, name", ARRAY_ROWS)
def test_no_arrays(backend, op, name):
    """Lists, scalars, text and other containers: convert first."""
    right = np.ones(shape_of(op, name))
    wrong = [right.tolist(), tuple(right.tolist()), 1.0, 3, np.float32(1), "weights", memoryview(right), {}, object(), np.ndarray]
    for value in [*wrong, None] if name in ("x", "weight", "depthwise", "pointwise") else wrong:
        attempt(op, 2, TypeError, (name, "numpy"), **{name: value})


@pytest.mark.parametrize("op, name", ARRAY_ROWS)
@pytest.mark.parametrize("dtype", BAD_DTYPES, ids=str)
def test_dtypes(backend, op, name, dtype):
    """M12: the text names the argument, its dtype and, for inputs, the dtypes there are; for out, the one that the result has."""
    array = np.zeros(shape_of(op, name), dtype)
    error, allowed = (ValueError, "float32") if name == "out" else (TypeError, "bfloat16, float32")
    attempt(op, 2, error, (name, str(array.dtype), allowed), **{name: array})


@pytest.mark.parametrize("op", OPS)
def test_dtypes_that_do_not_mix(backend, op):
    """D8: where numpy.result_type raises, so do we; bias and residual must cast by the rule same_kind."""
    weight = [name for name in arrays_of(op, 2) if name != "x"]
    for x, w in (("bfloat16", "float16"), ("bfloat16", "int16"), ("int32", "bfloat16"), ("uint64", "bfloat16")):
        arrays = {n: a.astype(oracle.NAMED[x if n == "x" else w]) for n, a in arrays_of(op, 2).items()}
        raises(TypeError, ("x " + x, weight[0], w), lambda: function(op, 2)(**arrays))  # noqa: B023
    for name in {"bias", "depthwise_bias", "residual"} & set(parameters(op, 2)):
        for result, given in (("float32", "complex64"), ("int32", "float32"), ("int32", "uint64"), ("uint8", "float16"), ("bfloat16", "complex64")):
            if np.can_cast(oracle.NAMED[given], dtypes.result(oracle.NAMED[result]), "same_kind"):
                continue
            arrays = arrays_of(op, 2, oracle.NAMED[result]) | {name: np.zeros(shape_of(op, name), given)}
            raises(TypeError, (name, given, "same_kind"), lambda: function(op, 2)(**arrays))  # noqa: B023


SHAPES: dict[str, list[PerDim | tuple[int, ...]]] = {
    "x": [(), (6,), (2, 2, 2, 2, 2, 6, 7), PerDim((1, 1, 6, 9), (6, 9), (6, 9, 9)), PerDim((2, 5, 9), (2, 5, 9, 9), (2, 5, 9, 9, 9))],
    "weight": [(), (6,), (1,) * 7, (0, 6), (7, 5)],
    "bias": [(), (5,), (7,), (1,), (0,), (6, 1), (1, 6)],
    "out": [(), (6,), (2, 6), (2, 6, 7, 8, 9, 1), PerDim((2, 6, 4), (2, 6, 5, 5), (2, 6, 5, 6, 8)), PerDim((6, 5), (6, 5, 6), (6, 5, 6, 7))],
}
SHAPES |= {"residual": SHAPES["out"], "depthwise_bias": SHAPES["bias"], "pointwise": SHAPES["weight"], "depthwise": SHAPES["weight"]}
WEIGHTS: dict[str, dict[str, list[PerDim]]] = {
    "conv": {"weight": [PerDim((6, 3, 3), (6, 3, 3, 3), (6, 3, 3, 3, 3)), PerDim((0, 6, 3), (0, 6, 3, 3), (0, 6, 3, 3, 3))]},
    "depthwise_conv": {"weight": [PerDim((6, 2, 3), (6, 2, 3, 3), (6, 2, 3, 3, 3)), PerDim((8, 1, 3), (8, 1, 3, 3), (8, 1, 3, 3, 3))]},
    "pointwise_conv": {"weight": [PerDim((6, 6, 3), (6, 6, 1, 3), (6, 6, 1, 1, 3)), PerDim((6, 6, 1, 1), (6, 6, 1), (6, 6, 1, 1))]},
    "separable_conv": {
        "depthwise": [PerDim((5, 3), (5, 3, 3), (5, 3, 3, 3)), PerDim((0, 1, 3), (0, 1, 3, 3), (0, 1, 3, 3, 3))],
        "pointwise": [PerDim((6, 12), (6, 12), (6, 12)), PerDim((6, 6, 2), (6, 6, 2, 2), (6, 6, 1, 1, 2))],
    },
}
WEIGHTS["depthwise_conv"]["weight"] += WEIGHTS["separable_conv"]["depthwise"]
for op, half, second in (("conv", "weight", 6), ("depthwise_conv", "weight", 1), ("separable_conv", "depthwise", 1)):
    WEIGHTS[op][half].append(PerDim((6, second, 0), (6, second, 3, 0), (6, second, 0, 3, 3)))  # a kernel size of 0
for op, half in (("pointwise_conv", "weight"), ("separable_conv", "pointwise")):
    WEIGHTS[op][half].append(PerDim((0, 6), (0, 6, 1, 1), (0, 6, 1, 1, 1)))  # no outputs


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op, name", ARRAY_ROWS)
def test_shapes(backend, op, name, dims):
    """The text names the argument and its shape; a wrong number of channels in x is seen in the weight, which is named then."""
    for shape in [*SHAPES[name], *WEIGHTS[op].get(name, [])]:
        shape = shape[dims - 1] if isinstance(shape, PerDim) else shape
        channels = name == "x" and len(shape) == dims + 2
        named = ("channels" if op != "pointwise_conv" else "input channels",) if channels else (name, str(shape))
        attempt(op, dims, ValueError, named, **{name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize("dims", DIMS)
def test_groups_have_two_messages(backend, dims):
    """G12: groups that do not divide C_in, those that do not divide C_out, and a weight for another number of groups."""
    x, fn = np.ones((2, 6, *SIZE[:dims]), np.float32), function("conv", dims)
    weight = lambda outputs, inputs: np.ones((outputs, inputs, *TAPS[:dims]), np.float32)
    raises(ValueError, ("groups is 4", "does not divide the 6 channels of x"), lambda: fn(x, weight(8, 2), groups=4))
    raises(ValueError, ("groups is 3", "does not divide C_out = 7"), lambda: fn(x, weight(7, 2), groups=3))
    raises(ValueError, ("weight has shape", "groups = 3", "second axis is 2"), lambda: fn(x, weight(6, 6), groups=3))


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op", ("conv", "depthwise_conv", "separable_conv"))
def test_kernel_larger_than_input(backend, op, dims):
    """G8: the text has the kernel's size and reach, and x's size without and with padding; the weight is named as the user did."""
    arrays, weight = arrays_of(op, dims), "depthwise" if op == "separable_conv" else "weight"
    axis = dims - 1
    for size, options, fragments in (
        (2, {}, ("kernel size 3", "a reach of 3", "x is 2 there, 2 with padding")),
        (2, {"dilation": 3, "padding": 2}, ("kernel size 3 with dilation 3", "a reach of 7", "x is 2 there, 6 with padding")),
        (0, {"padding": "valid"}, ("a reach of 3", "x is 0 there, 0 with padding")),
        (1, {"dilation": 2**62}, ("a reach of", "x is 1 there")),
    ):
        short = arrays | {"x": np.ones((2, 6, *(9,) * axis, size), np.float32)}
        if "dilation" in options:
            options = options | {"dilation": (1,) * axis + (options["dilation"],)}
        raises(ValueError, (weight, f"axis {axis}", *fragments), lambda: function(op, dims)(**short, **options))  # noqa: B023


@pytest.mark.parametrize("op", OPS)
def test_out_that_cannot_be(backend, op):
    """M13, M6: read-only, another dtype, its own cells twice, an input's memory; the text says which."""
    arrays, shape = arrays_of(op, 2), result_shape(op, 2)
    locked = np.zeros(shape, np.float32)
    locked.flags.writeable = False
    attempt(op, 2, ValueError, ("out is read-only",), out=locked)
    for dtype in ("float64", "float16", "int32", "complex64"):
        attempt(op, 2, ValueError, ("out has dtype", dtype, "float32"), out=np.zeros(shape, dtype))
    folded = np.lib.stride_tricks.as_strided(np.zeros(shape, np.float32), shape, (0, 4, 4, 4))
    attempt(op, 2, ValueError, ("out has strides", "overlap"), out=folded)
    for name in arrays:
        size, needed = arrays[name].size, int(np.prod(shape))
        memory = np.ones(max(size, needed), np.float32)
        shared = {name: memory[:size].reshape(arrays[name].shape), "out": memory[:needed].reshape(shape)}
        raises(ValueError, ("out overlaps", name), lambda: function(op, 2)(**arrays | shared))  # noqa: B023
        assert (memory == 1).all()


def test_no_pixels(backend):
    """An empty map with padding "same" is an empty result of both halves of a separable convolution; without padding no kernel fits, of either."""
    x, y = np.zeros((2, 6, 0, 8), np.float32), np.zeros((2, 5, 0, 8), np.float32)
    mix, filters = np.ones((5, 6), np.float32), np.ones((6, 3, 3), np.float32)
    for got in (
        sepconv.separable_conv2d(x, filters, mix, np.ones(5, np.float32), padding="same", residual=y),
        sepconv.separable_conv2d(x.transpose(0, 2, 3, 1), filters, mix, padding="same", layout="NHWC").transpose(0, 3, 1, 2),
    ):
        assert got.shape == y.shape and got.dtype == y.dtype
    for call in (
        lambda: sepconv.separable_conv2d(x, filters, mix),
        lambda: sepconv.pointwise_conv2d(x, mix),
        lambda: sepconv.conv_cost("pointwise", in_channels=6, out_channels=5, kernel_size=1, input_size=(0, 8)),
    ):
        with pytest.raises(ValueError, match="kernel"):
            call()


def test_steps_without_end():
    """Taps that lie far outside of x are zeros or copies however far that is, and no memory is asked for so many."""
    x, filters, mix = np.arange(36, dtype=np.float32).reshape(1, 2, 18), np.full((2, 3), 2, np.float32), np.eye(2, dtype=np.float32)
    for far in (2**40, 2**61):
        np.testing.assert_array_equal(sepconv.depthwise_conv1d(x, filters, padding="same", dilation=far), 2 * x)
        np.testing.assert_array_equal(sepconv.separable_conv1d(x, filters, mix, padding="same", dilation=far), 2 * x)
        want = 2 * sum(x[..., [(tap - far) % 18, tap, (tap + far) % 18]] for tap in range(3))
        options = {"stride": (far, 1), "padding": ((far, far), (0, 0)), "padding_mode": "wrap"}
        np.testing.assert_array_equal(sepconv.separable_conv2d(x[..., None], filters[..., None], mix, **options)[..., 0], want)
        options = {"stride": far, "padding": far, "padding_mode": "wrap", "layout": "NWC"}
        got = sepconv.depthwise_conv1d(np.ascontiguousarray(x.swapaxes(1, 2)), filters, **options)
        np.testing.assert_array_equal(got.swapaxes(1, 2), want)


@pytest.mark.parametrize("op", OPS)
def test_empty_border(backend, op):
    """D9: nothing can be repeated around an axis of size 0."""
    if op == "pointwise_conv":
        return
    arrays = arrays_of(op, 2) | {"x": np.zeros((2, 6, 0, 8), np.float32)}
    for mode in ("edge", "reflect", "symmetric", "wrap", "replicate", "circular"):
        raises(ValueError, ("padding_mode", mode, "axis 0"), lambda: function(op, 2)(**arrays, padding=2, padding_mode=mode))  # noqa: B023


# --- the other functions ------------------------------------------------------------------------------------------


def test_use_backend():
    for wrong in ("gpu", "", 3, None):
        raises(ValueError, ("name", repr(wrong), "cpu", "reference"), lambda: sepconv.use_backend(wrong).__enter__())  # noqa: B023
    with sepconv.use_backend("reference"):
        raises(TypeError, ("x is a builtins.list", "numpy.ndarray"), lambda: sepconv.conv1d([[1.0]], np.ones((1, 1, 1))))


def test_register_backend():
    for name in (3, "", None):
        raises(TypeError, ("name",), lambda: sepconv.register_backend(name, object(), ["a.B"]))  # noqa: B023
    for types in ((), ["Array"], [3], "", None, 3):
        raises(ValueError, ("types", "package.module.Type"), lambda: sepconv.register_backend("mine", object(), types))  # noqa: B023
    assert "mine" not in sepconv.backends()


def test_explain(backend):
    """Wrong arguments are errors as in the call itself; what is no convolution of ours is a TypeError."""
    arrays = arrays_of("conv", 2)
    for wrong in (3, None, np.convolve, len, "conv2d", sepconv.backends):
        raises(TypeError, ("fn is", "sepconv.conv2d"), lambda: sepconv.explain(wrong))  # noqa: B023
    raises(ValueError, ("stride is 0",), lambda: sepconv.explain(sepconv.conv2d, **arrays, stride=0))
    assert isinstance(sepconv.conv2d(**arrays), np.ndarray)  # and calls compute again


def test_threads():
    before = sepconv.get_num_threads()
    for setter in (sepconv.set_num_threads, lambda n: sepconv.num_threads(n).__enter__()):
        for wrong in (True, 1.0, "1", None, (1,)):
            raises(TypeError, ("n is", repr(wrong), "an int from 1 to"), lambda: setter(wrong))  # noqa: B023
        for wrong in (0, -1, 10**6, 2**70):
            raises(ValueError, ("n is", repr(wrong)), lambda: setter(wrong))  # noqa: B023
    assert sepconv.get_num_threads() == before
