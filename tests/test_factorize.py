"""factorize: the nearest depthwise-separable form of a filter bank. What it refuses stands in `test_separate.py`."""

from __future__ import annotations

import numpy as np
import pytest
from arrays import EPS, FLOATS, SVD, relative
from hypothesis import given
from hypothesis import strategies as st

import sepconv
from sepconv import factorize


def test_a_separable_bank_is_found() -> None:
    """3 -> 3 channels, 3x3: 27 + 9 = 36 weights, not 81."""
    rng = np.random.default_rng(6)
    depthwise, pointwise = rng.standard_normal((3, 3, 3)), rng.standard_normal((3, 3))
    weight = np.einsum("cij,oc->ocij", depthwise, pointwise)
    got = factorize(weight)
    assert (got.params, got.terms, got.shape) == (36, 1, (3, 3, 3, 3)) and got.error < SVD
    assert got.depthwise.shape == (3, 1, 3, 3) and got.pointwise.shape == (3, 3)
    assert np.allclose(got.dense(), weight, rtol=0, atol=1e-14)


def test_a_bank_by_hand() -> None:
    """One channel, two outputs: the identity and three times the shift. Two terms, the heavier first, each split evenly."""
    weight = np.array([[[1.0, 0]], [[0, 9.0]]])
    one, two = factorize(weight), factorize(weight, 2)
    assert np.allclose(one.depthwise, [[[0, 3]]]) and np.allclose(one.pointwise, [[0], [3]])
    assert np.allclose(two.depthwise, [[[0, 3]], [[1, 0]]]) and np.allclose(two.pointwise, [[0, 1], [3, 0]])
    assert one.error == pytest.approx(1 / np.sqrt(82)) and two.error < SVD
    assert np.allclose(factorize(-weight).depthwise, [[[0, 3]]]) and np.allclose(factorize(-weight).pointwise, [[0], [-3]])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_halves_are_those_of_separable_conv(dims: int) -> None:
    rng = np.random.default_rng(7)
    x, weight = rng.standard_normal((2, 3, *(7, 6, 5)[:dims])), rng.standard_normal((4, 3, *(3, 2, 2)[:dims]))
    terms = min(4, weight[0, 0].size)
    got = factorize(weight, terms)
    assert got.depthwise.shape == (3 * terms, 1, *weight.shape[2:]) and got.pointwise.shape == (4, 3 * terms)
    with sepconv.use_backend("reference"):
        near = getattr(sepconv, f"separable_conv{dims}d")(x, got.depthwise, got.pointwise, padding=1)
        want = getattr(sepconv, f"conv{dims}d")(x, weight, padding=1)
        few = factorize(weight, 1)
        less = getattr(sepconv, f"separable_conv{dims}d")(x, few.depthwise, few.pointwise)
        dense = getattr(sepconv, f"conv{dims}d")(x, few.dense())
    assert np.allclose(near, want, rtol=0, atol=1e-12) and np.allclose(less, dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_halves_have_the_dtype_of_the_weight(dtype: np.dtype) -> None:
    weight = (np.random.default_rng(8).standard_normal((4, 3, 3, 3)) * (1 + 2j if dtype.kind == "c" else 1)).astype(dtype)
    got = factorize(weight, 4)
    assert got.depthwise.dtype == got.pointwise.dtype == got.dense().dtype == dtype
    assert got.error <= 4 * EPS[dtype.name] + SVD and got.error == pytest.approx(relative(got.dense(), weight), rel=1e-6, abs=1e-16)


def test_integer_banks_become_float64() -> None:
    got = factorize(np.arange(36).reshape(2, 2, 3, 3), 2)
    assert got.depthwise.dtype == got.pointwise.dtype == np.float64 and got.error < SVD


def test_the_nearest_by_channel() -> None:
    """Eckart and Young, channel by channel; channels that are far apart in size do not disturb each other."""
    weight = np.random.default_rng(9).standard_normal((5, 3, 2, 3)) * np.array([1e200, 1.0, 1e-200])[None, :, None, None]
    for terms in (1, 2, 5):
        got = factorize(weight, terms)
        for c in range(3):
            matrix = weight[:, c].reshape(5, 6) / np.abs(weight[:, c]).max()
            s = np.linalg.svd(matrix, compute_uv=False)
            left = np.linalg.norm(got.dense()[:, c].reshape(5, 6) / np.abs(weight[:, c]).max() - matrix)
            assert left == pytest.approx(np.sqrt((s[terms:] ** 2).sum()), abs=1e-14)
            rows = got.depthwise[c * terms : (c + 1) * terms].reshape(terms, -1)
            columns = got.pointwise[:, c * terms : (c + 1) * terms]
            assert np.allclose(np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=0), rtol=1e-13, atol=0)
            assert np.all(rows.sum(axis=1) > 0)


def test_zero_weights_and_one_weight() -> None:
    zero = factorize(np.zeros((2, 3, 3, 3), np.float32), 2)
    assert zero.error == 0.0 and not zero.dense().any() and not zero.depthwise.any() and not zero.pointwise.any()
    half = np.zeros((2, 2, 3))
    half[:, 1] = 1.5
    assert factorize(half).error < SVD
    one = factorize(np.array([[[-0.25]]]))
    assert (one.depthwise.item(), one.pointwise.item(), one.params) == (0.5, -0.5, 2)


@given(st.data())
def test_all_terms_are_the_bank_itself(data: st.DataObject) -> None:
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(data.draw(st.integers(1, 3))))
    c_out, c_in = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(FLOATS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal((c_out, c_in, *kernel)).astype(dtype)
    terms = min(c_out, int(np.prod(kernel)))
    got = factorize(weight, terms)
    assert relative(got.dense(), weight) <= 6 * EPS[dtype.name] + SVD and got.params == c_in * terms * (c_out + np.prod(kernel))
    errors = [factorize(weight, t).error for t in range(1, terms + 1)]
    assert all(a >= b - 4 * EPS[dtype.name] - SVD for a, b in zip(errors, errors[1:]))
    for bad in (0, terms + 1):
        with pytest.raises(ValueError, match=f"terms is {bad}; allowed is an int from 1 to {terms}, "):
            factorize(weight, bad)
