"""The oracle against truths that share no line with it: Python's whole numbers, SciPy, ONNX' reference evaluator, numpy.pad, and the statements
that the library begins with. The numbers worked by hand are in `test_ops.py`, where every backend has to meet them; PyTorch is in `test_torch.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import LAYOUTS, function, values

import sepconv
from sepconv.backends.borders import CODES, source

PADDED = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric", "wrap": "wrap"}
PADDED |= {"zeros": "constant", "replicate": "edge", "circular": "wrap"}


@pytest.fixture(autouse=True)
def by_reference() -> Iterator[None]:
    with sepconv.use_backend("reference"):
        yield


@st.composite
def geometries(draw: Any, most: int = 4) -> dict[str, Any]:
    """Sizes, kernel, strides, dilations and pads of one to three axes, all of them different, that leave at least one output."""
    dims = draw(st.integers(1, 3))
    each = lambda least, most: tuple(draw(st.integers(least, most)) for _ in range(dims))
    kernel, stride, dilation, before, after = each(1, most), each(1, 3), each(1, 3), each(0, 4), each(0, 4)
    size = tuple(max(1, n, d * (k - 1) + 1 - a - b) for n, k, d, a, b in zip(each(1, 7), kernel, dilation, before, after))
    groups = draw(st.integers(1, 3))
    return dict(
        dims=dims, size=size, kernel=kernel, stride=stride, dilation=dilation, pads=tuple(zip(before, after)), groups=groups,
        inputs=groups * draw(st.integers(1, 2)), outputs=groups * draw(st.integers(1, 2)), seed=draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip


def arrays_of(g: dict[str, Any], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(g["seed"])
    x = values(rng, (2, g["inputs"], *g["size"]), dtype)
    return x, values(rng, (g["outputs"], g["inputs"] // g["groups"], *g["kernel"]), dtype)


def options_of(g: dict[str, Any]) -> dict[str, Any]:
    return dict(stride=g["stride"], dilation=g["dilation"], padding=g["pads"], groups=g["groups"])


# --- the definition, in Python's whole numbers -----------------------------------------------------------------------


def by_definition(x: np.ndarray, weight: np.ndarray, g: dict[str, Any], result: np.dtype) -> np.ndarray:
    """Every output by the sum that defines it, over lists of Python ints, which have no last bit; then modulo 2**bits."""
    bits, signed = 8 * result.itemsize, result.kind == "i"
    padded = [n + a + b for n, (a, b) in zip(g["size"], g["pads"])]
    out_size = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded, g["kernel"], g["stride"], g["dilation"])]
    made = np.empty((x.shape[0], g["outputs"], *out_size), result)
    per_group = weight.shape[1]
    for at in np.ndindex(*made.shape):
        n, o, *place = at
        first = o // (g["outputs"] // g["groups"]) * per_group
        total = 0
        for i, *tap in np.ndindex(*weight.shape[1:]):
            where = [p * s + t * d - b for p, s, t, d, (b, _) in zip(place, g["stride"], tap, g["dilation"], g["pads"])]
            if all(0 <= p < size for p, size in zip(where, g["size"])):
                total += int(x[(n, first + i, *where)]) * int(weight[(o, i, *tap)])
        total %= 2**bits
        made[at] = total - 2**bits if signed and total >= 2 ** (bits - 1) else total
    return made


WRAPS = {"int8": "int32", "uint16": "int32", "int32": "int32", "uint32": "uint32", "int64": "int64", "uint64": "uint64"}


@pytest.mark.parametrize("dtype, result", WRAPS.items())
@given(g=geometries(3))
def test_definition(dtype, result, g):
    """Numbers of the whole range of each dtype, so that all the wide ones wrap."""
    g = {**g, "size": tuple(min(n, 4 + d * (k - 1)) for n, d, k in zip(g["size"], g["dilation"], g["kernel"]))}
    x, weight = arrays_of(g, dtype)
    got = function("conv", g["dims"])(x, weight, **options_of(g))
    want = by_definition(x, weight, g, np.dtype(result))
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_definition_of_every_op():
    """Depthwise, pointwise, separable and both layouts through the same definition: filters in groups, and one after the other."""
    rng = np.random.default_rng(5)
    for dims, last in itertools.product((1, 2, 3), (False, True)):
        g = dict(dims=dims, size=(5, 4, 3)[:dims], kernel=(3, 2, 1)[:dims], stride=(2, 1, 1)[:dims], dilation=(1, 2, 1)[:dims])
        g |= dict(pads=((1, 0), (0, 2), (1, 1))[:dims], groups=3, inputs=3, outputs=6)
        one = dict(g, size=None, kernel=(1,) * dims, stride=(1,) * dims, dilation=(1,) * dims, pads=((0, 0),) * dims, groups=1)
        x, d, p = (values(rng, s, np.int16) for s in ((2, 3, *g["size"]), (6, 1, *g["kernel"]), (4, 6)))
        middle = by_definition(x, d, g, np.dtype(np.int32))
        whole = by_definition(middle, p.reshape(4, 6, *(1,) * dims), dict(one, size=middle.shape[2:], inputs=6, outputs=4), np.dtype(np.int32))
        turned = lambda a, last=last: np.moveaxis(a, 1, -1) if last else a
        layout = dict(layout=LAYOUTS[dims][last])
        options = dict(stride=g["stride"], dilation=g["dilation"], padding=g["pads"]) | layout
        np.testing.assert_array_equal(function("depthwise_conv", dims)(turned(x), d, **options), turned(middle))
        np.testing.assert_array_equal(function("pointwise_conv", dims)(turned(middle), p.astype(np.int32), **layout), turned(whole))
        np.testing.assert_array_equal(function("separable_conv", dims)(turned(x), d, p, **options), turned(whole))


# --- SciPy -------------------------------------------------------------------------------------------------------------


def by_scipy(x: np.ndarray, weight: np.ndarray, g: dict[str, Any], mode: str) -> np.ndarray:
    """Padded by NumPy, the kernel spread out with zeros, correlated channel by channel, every s-th result taken."""
    signal = pytest.importorskip("scipy.signal", reason="SciPy is not installed")
    x = np.pad(x, ((0, 0), (0, 0), *g["pads"]), PADDED[mode])
    spread = np.zeros((*weight.shape[:2], *(d * (k - 1) + 1 for d, k in zip(g["dilation"], g["kernel"]))), weight.dtype)
    spread[(..., *(slice(None, None, d) for d in g["dilation"]))] = np.conj(weight)  # SciPy conjugates it once more
    per_group, each = weight.shape[1], g["outputs"] // g["groups"]
    taken = tuple(slice(None, None, s) for s in g["stride"])
    one = lambda image, o: sum(signal.correlate(image[o // each * per_group + i], spread[o, i], "valid", method="direct") for i in range(per_group))
    return np.stack([np.stack([one(image, o)[taken] for o in range(g["outputs"])]) for image in x])


@pytest.mark.parametrize("dtype", (np.float64, np.complex128, np.int64), ids=lambda d: d.__name__)
@given(g=geometries(), mode=st.sampled_from(tuple(PADDED)))
def test_scipy(dtype, g, mode):
    x, weight = arrays_of(g, dtype)
    got = function("conv", g["dims"])(x, weight, **options_of(g), padding_mode=mode)
    want = by_scipy(x, weight, g, mode)
    if dtype is np.int64:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_activations_of_scipy():
    """The formulas in float64 against SciPy's own functions, from far left to far right and at every scale."""
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    scales = 2.0 ** np.arange(-60, 10)
    v = np.concatenate([np.linspace(-40, 40, 4001), scales, -scales, [0.0]])
    truths = {
        "relu": np.clip(v, 0, None), "relu6": np.clip(v, 0, 6), "leaky_relu": np.where(v < 0, v / 100, v), "sigmoid": special.expit(v),
        "silu": v * special.expit(v), "gelu": v * special.ndtr(v), "tanh": np.tanh(v), "hard_sigmoid": np.clip((v + 3) / 6, 0, 1),
        "hard_swish": v * np.clip((v + 3) / 6, 0, 1), ("clip", -1, 2): np.clip(v, -1, 2),
    }  # fmt: skip
    assert set(sepconv.activations.NAMES) <= set(truths)
    for activation, want in truths.items():
        got = sepconv.pointwise_conv1d(v[None], np.ones((1, 1)), activation=activation)[0]
        # erfc magnifies its argument's last bit by v * v, and ndtr gives up early in the far tail; a sum x + 3 near -3 is absolute.
        np.testing.assert_allclose(got, want, rtol=1e-12 if activation == "gelu" else 1e-14, atol=1e-15 if "hard" in activation else 1e-300)


# --- ONNX ----------------------------------------------------------------------------------------------------------------


def by_onnx(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, **attributes: Any) -> np.ndarray:
    helper = pytest.importorskip("onnx", reason="onnx is not installed").helper
    from onnx.reference import ReferenceEvaluator

    number = helper.np_dtype_to_tensor_dtype(x.dtype)
    named = [helper.make_tensor_value_info(name, number, None) for name in ("x", "w", "b", "y")]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
    graph = helper.make_graph([node], "one", named[:3], named[3:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {"x": x, "w": weight, "b": bias})[0]


@given(g=geometries(), automatic=st.sampled_from((None, None, "VALID", "SAME_UPPER", "SAME_LOWER")))
def test_onnx_reference(g, automatic):
    """Explicit pads and the automatic ones, which ONNX defines and we name after it."""
    if automatic == "VALID" and any(n < d * (k - 1) + 1 for n, d, k in zip(g["size"], g["dilation"], g["kernel"])):
        automatic = "SAME_UPPER"
    x, weight = arrays_of(g, np.float64)
    bias = np.arange(g["outputs"], dtype=np.float64)
    attributes = dict(strides=g["stride"], dilations=g["dilation"], group=g["groups"], kernel_shape=g["kernel"])
    attributes |= dict(auto_pad=automatic) if automatic else dict(pads=[a for a, _ in g["pads"]] + [b for _, b in g["pads"]])
    padding = {None: g["pads"], "VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}[automatic]
    got = function("conv", g["dims"])(x, weight, bias, **(options_of(g) | {"padding": padding}))
    np.testing.assert_allclose(got, by_onnx(x, weight, bias, **attributes), rtol=1e-11, atol=1e-11)


# --- borders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ("edge", "reflect", "symmetric", "wrap", "constant"))
def test_every_border_is_that_of_numpy(mode):
    """G19: every length below 9, every pad below 30 on both sides; the oracle itself has the formula and not numpy.pad."""
    for n in range(1, 9):
        line = np.arange(1, n + 1)
        want = {pads: np.pad(line, pads, mode) for pads in itertools.product((*range(30), 5 * n), (0, 1, 7, 29, 3 * n + 1))}
        for (before, after), padded in want.items():
            at = [source(p, n, CODES[mode]) for p in range(-before, n + after)]
            assert [0 if p < 0 else int(line[p]) for p in at] == padded.tolist(), (n, before, after)
        got = sepconv.depthwise_conv1d(line[None], np.array([[1]]), padding=(29, 23), padding_mode=mode)[0]
        assert got.tolist() == np.pad(line, (29, 23), mode).tolist()


# --- where the library begins (design, section 2) ----------------------------------------------------------------------


def test_weights_of_a_standard_convolution():
    """10 -> 20 channels with 7x7 are 9,800 weights; the product that a known article prints as 2,800."""
    weight = np.ones((20, 10, 7, 7))
    assert weight.size == math.prod((10, 20, 7, 7)) == 9800
    assert sepconv.conv_cost("standard", in_channels=10, out_channels=20, kernel_size=7).params == 9800
    assert sepconv.conv2d(np.ones((1, 10, 7, 7)), weight).ravel().tolist() == [490.0] * 20


def test_depthwise_of_an_image():
    """3x8x8 with a 3x3x3 filter: split into channels, each with its own, and stacked; and as C standard filters that are zero elsewhere."""
    rng = np.random.default_rng(6)
    x, weight = rng.standard_normal((3, 8, 8)), rng.standard_normal((3, 3, 3))
    result = sepconv.depthwise_conv2d(x, weight)
    assert result.shape == (3, 6, 6)
    stacked = np.concatenate([sepconv.conv2d(x[c : c + 1], weight[c][None, None]) for c in range(3)])
    alone = np.zeros((3, 3, 3, 3))
    for c in range(3):
        alone[c, c] = weight[c]
    np.testing.assert_array_equal(result, stacked)
    np.testing.assert_allclose(result, sepconv.conv2d(x, alone), rtol=1e-14, atol=1e-14)


def test_sobel_in_two_passes():
    """Gx = [1 2 1]^T [-1 0 1]: 9 weights become 6, and whole numbers stay the same to the last."""
    gx = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    found = sepconv.separate(gx)
    assert (gx.size, found.params) == (9, 6)
    x = values(np.random.default_rng(7), (1, 1, 9, 11), np.int32, small=True)
    column, row = (np.asarray(v).astype(np.int32) for v in (found.column, found.row))
    down = sepconv.conv2d(x, column.reshape(1, 1, 3, 1))
    np.testing.assert_array_equal(sepconv.conv2d(down, row.reshape(1, 1, 1, 3)), sepconv.conv2d(x, gx.astype(np.int32)[None, None]))


def test_separable_is_36_weights_and_not_81():
    sizes = {"depthwise": 3, "pointwise": 1, "separable": 3, "standard": 3}
    found = [sepconv.conv_cost(kind, in_channels=3, out_channels=3, kernel_size=k).params for kind, k in sizes.items()]
    assert found == [27, 9, 36, 81]


def test_factorized_bank_is_exact_at_full_terms():
    """As one separable convolution whose channels are repeated `terms` times; with fewer terms the error is what `factorize` says."""
    rng = np.random.default_rng(8)
    x, weight = rng.standard_normal((2, 3, 10, 9)), rng.standard_normal((5, 3, 3, 2))
    dense = sepconv.conv2d(x, weight)
    errors = []
    for terms in range(1, min(5, 3 * 2) + 1):
        found = sepconv.factorize(weight, terms)
        errors.append(np.linalg.norm(sepconv.separable_conv2d(x, found.depthwise, found.pointwise) - dense) / np.linalg.norm(dense))
        assert found.error == pytest.approx(np.linalg.norm(found.dense() - weight) / np.linalg.norm(weight), abs=1e-12)
    assert errors[-1] < 1e-13 and errors == sorted(errors, reverse=True)


def test_oracle_and_backend_are_the_same_function():
    """What `oracle.expected` compares with is what the reference backend returns, rounded once."""
    rng = np.random.default_rng(9)
    x, weight = values(rng, (2, 3, 9), np.float32), values(rng, (4, 3, 3), np.float32)
    want = oracle.expected(sepconv.conv1d, x, weight, activation="gelu")
    np.testing.assert_array_equal(sepconv.conv1d(x, weight, activation="gelu"), want.wide.astype(np.float32))
