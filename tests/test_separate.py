"""separate and factorize: kernels worked out by hand, ranks that must not depend on scale, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arrays import EPS, FLOATS, SVD, relative
from hypothesis import given
from hypothesis import strategies as st

import sepconv
from sepconv import factorize, separate

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
INTEGERS = [np.dtype(name) for name in ("int8", "int16", "int32", "int64")]


def gaussian(size: int, sigma: float, dtype: Any = np.float64, dims: int = 2) -> np.ndarray:
    """A sampled Gaussian, every step rounded to `dtype`: the kernel as a user computes it."""
    x = np.arange(size).astype(dtype) - size // 2
    squares = sum(np.meshgrid(*[x**2] * dims, indexing="ij"))
    kernel = np.exp(-squares / np.dtype(dtype).type(2 * sigma**2))
    return kernel / kernel.sum()


def outer_sum(factors: tuple[np.ndarray, ...]) -> np.ndarray:
    """Sum of the outer products, one term after another: the meaning of `.factors`."""
    total = np.zeros([f.shape[1] for f in factors], factors[0].dtype)
    for term in zip(*factors):
        product = term[0]
        for vector in term[1:]:
            product = np.multiply.outer(product, vector)
        total = total + product
    return total


# --- separate: by hand --------------------------------------------------------------------------------------------


def test_sobel_is_a_column_times_a_row() -> None:
    got = separate(SOBEL)
    assert got.column.tolist() == [1, 2, 1] and got.row.tolist() == [-1, 0, 1]
    assert (got.rank, got.params, got.error, got.shape) == (1, 6, 0.0, (3, 3))
    assert [f.shape for f in got.factors] == [(1, 3), (1, 3)]
    assert got.dense().dtype == SOBEL.dtype and np.array_equal(got.dense(), SOBEL)


@pytest.mark.parametrize(
    ("kernel", "column", "row"),
    [
        (SOBEL.T, [-1, 0, 1], [1, 2, 1]),
        (-SOBEL, [1, 2, 1], [1, 0, -1]),
        (6 * SOBEL, [1, 2, 1], [-6, 0, 6]),
        (np.ones((2, 3), np.int32), [1, 1], [1, 1, 1]),
        (-np.ones((2, 2), np.int32), [1, 1], [-1, -1]),
        (np.outer([0, 0, 4, 6], [0, 10, 15]), [0, 0, 2, 3], [0, 20, 30]),
        (np.outer([-1, 0, 1], [-1, 0, 1]), [1, 0, -1], [1, 0, -1]),
        (np.array([[7]]), [1], [7]),
        (np.array([[-128]], np.int8), [1], [-128]),
        (np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.uint8), [1, 2, 1], [1, 2, 1]),
        (np.array([[2**63 - 1, 0]]), [1], [2**63 - 1, 0]),
        (np.array([[2**64 - 1]], np.uint64), [1], [2**64 - 1]),
    ],
)
def test_whole_numbers_by_hand(kernel: np.ndarray, column: list[int], row: list[int]) -> None:
    """Signs: sums are positive; the last factor that sums to zero, else the last, carries the kernel's sign and its common divisor."""
    got = separate(kernel)
    assert (got.column.tolist(), got.row.tolist(), got.error) == (column, row, 0.0)
    assert got.column.dtype == got.row.dtype == kernel.dtype
    assert np.array_equal(got.dense(), kernel)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS[:4]], ids=str)
def test_whole_numbers_stay_whole_in_every_dtype(dtype: np.dtype) -> None:
    got = separate(SOBEL.astype(dtype))
    assert got.row.dtype == got.dense().dtype == dtype
    assert got.column.tolist() == [1, 2, 1] and got.row.tolist() == [-1, 0, 1] and got.error == 0.0


def test_whole_numbers_of_rank_two_become_floats() -> None:
    got = separate(np.array([[1, 0], [0, 2]]))
    assert got.rank == 2 and got.dense().dtype == np.float64 and got.error < SVD


def test_whole_factors_that_do_not_fit_become_floats() -> None:
    """[[-128], [-1]] is [128, 1] times [-1], and int8 ends at 127."""
    got = separate(np.array([[-128], [-1]], np.int8))
    assert got.row.dtype == np.float64 and np.allclose(got.dense(), [[-128], [-1]], rtol=1e-14)


def test_balance_and_sign_of_floats() -> None:
    got = separate(gaussian(7, 1.3) * -0.3)
    assert np.all(got.column > 0) and np.all(got.row < 0)
    assert np.linalg.norm(got.column) == pytest.approx(np.linalg.norm(got.row), rel=1e-14)
    assert np.allclose(got.column, -got.row, rtol=1e-13)


def test_one_dimension_is_its_own_factor() -> None:
    for kernel in (np.array([0.1, -0.7, 1e-300]), np.array([0.1 + 1j, -3j]), np.array([2, 4]), np.array([-1.1], np.float32)):
        got = separate(kernel)
        assert got.rank == 1 and got.error == 0.0 and np.array_equal(got.factors[0][0], kernel) and np.array_equal(got.dense(), kernel)
        assert got.factors[0].dtype == kernel.dtype and not np.shares_memory(got.factors[0], kernel)


def test_three_dimensions() -> None:
    sobel = np.multiply.outer(SOBEL, [1, 2, 1]).astype(np.int16)
    got = separate(sobel)
    assert [f.tolist() for f in got.factors] == [[[1, 2, 1]], [[-1, 0, 1]], [[1, 2, 1]]]
    assert got.params == 9 and got.factors[0].dtype == np.int16 and np.array_equal(got.dense(), sobel)
    ball = gaussian(9, 1.7, np.float32, dims=3)
    assert separate(ball).rank == 1 and separate(ball).params == 27 and relative(separate(ball).dense(), ball) < 4 * EPS["float32"]


def test_column_and_row_are_for_rank_one_in_two_dimensions() -> None:
    for kernel, message in ((np.eye(3), "2-D of rank 3"), (np.zeros((3, 3)), "2-D of rank 0"), (np.ones(3), "1-D of rank 1")):
        got = separate(kernel)
        with pytest.raises(ValueError, match="column is there only for a 2-D kernel of rank 1; this one is " + message):
            _ = got.column
        with pytest.raises(ValueError, match="row is there only"):
            _ = got.row


# --- separate: rank -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [3, 7, 31, 63])
def test_a_gaussian_is_of_rank_one_as_users_compute_it(dtype: str, size: int) -> None:
    for sigma in (0.5, 1.0, size / 6, size / 2):
        kernel = gaussian(size, sigma, dtype)
        got = separate(kernel)
        assert got.rank == 1 and got.error <= 4 * EPS[dtype], (sigma, got)


def test_the_gaussian_of_31_in_float32() -> None:
    """Its second singular value is 1e-8 of the first, not zero: an absolute or a float64 tolerance finds more than one term."""
    kernel = gaussian(31, 5.0, np.float32)
    s = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    assert 1e-10 < s[1] / s[0] < 1e-7
    assert separate(kernel).rank == 1 and separate(kernel.astype(np.float64)).rank > 1


@pytest.mark.parametrize(("dtype", "seen", "unseen"), [("float64", 1e-7, 1e-17), ("float64", 1e-14, 1e-17), ("float32", 2e-6, 1e-8)])
def test_a_perturbation_counts_if_it_is_above_rounding(dtype: str, seen: float, unseen: float) -> None:
    first, second = np.outer([1, 2, 1], [1, 2, 1]) / 7, np.outer([1, 0, -1], [1, 0, -1]) / 3
    assert separate((first + seen * second).astype(dtype)).rank == 2
    assert separate((first + unseen * second).astype(dtype)).rank == 1


@pytest.mark.parametrize("scale", [1e-30, 1e30, 2.0**-100])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_rank_does_not_depend_on_scale(dtype: str, scale: float) -> None:
    rng = np.random.default_rng(3)
    for rank in (1, 2, 3):
        kernel = (rng.standard_normal((5, rank)) @ rng.standard_normal((rank, 7))).astype(dtype)
        scaled = kernel * np.dtype(dtype).type(scale)
        assert separate(kernel, rtol=1e-5).rank == separate(scaled, rtol=1e-5).rank == rank
        assert relative(separate(scaled, rtol=1e-5).dense() / scaled.max(), scaled / scaled.max()) < 1e-6
    assert separate(gaussian(31, 5, dtype) * np.dtype(dtype).type(scale)).rank == 1


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e307, 1.7e308])
def test_the_ends_of_float64(scale: float) -> None:
    got, factor = separate(SOBEL * 0.5 * scale), separate(np.array([[1, 0.3], [0.6, 0.18]]) * scale)
    assert got.rank == 1 and got.error < 1e-14
    assert factor.rank == 1  # 5e-324 has whole multiples only: there, [[1, 0], [1, 0]] is left
    spread = np.array([[1e150, 1.0], [1.0, 1e-150]])
    assert separate(spread).rank == 1 and separate(spread).error < SVD
    assert separate(np.full((2, 2), 1.7e308 * (1 + 1j))).rank == 1


def test_the_zero_kernel_is_of_rank_zero() -> None:
    for dtype in (np.float32, np.int16, np.complex64):
        got = separate(np.zeros((3, 5), dtype))
        assert (got.rank, got.params, got.error, got.shape) == (0, 0, 0.0, (3, 5))
        assert got.dense().dtype == dtype and got.dense().shape == (3, 5) and not got.dense().any()
    assert separate(np.zeros(4)).rank == 0 and separate(np.zeros((2, 3, 4))).dense().shape == (2, 3, 4)
    assert separate(np.zeros((3, 3)), rank=2).rank == 2 and separate(np.zeros((3, 3)), rank=2).error == 0.0


def test_a_given_rank_is_the_nearest_of_that_rank() -> None:
    kernel = np.random.default_rng(0).standard_normal((6, 4))
    s = np.linalg.svd(kernel, compute_uv=False)
    for rank in (1, 2, 3, 4):
        got = separate(kernel, rank)
        assert got.rank == rank and got.params == 10 * rank and np.linalg.matrix_rank(got.dense()) == rank
        assert got.error == pytest.approx(np.sqrt((s[rank:] ** 2).sum() / (s**2).sum()), abs=SVD)
        assert got.error == pytest.approx(relative(got.dense(), kernel), abs=SVD)
        norms = np.linalg.norm(got.factors[0], axis=1)
        assert np.allclose(norms**2, s[:rank]) and np.allclose(norms, np.linalg.norm(got.factors[1], axis=1))


def test_rtol_picks_the_rank() -> None:
    kernel = np.diag([1.0, 1e-2, 1e-4, 1e-6])
    ranks = [separate(kernel, rtol=rtol).rank for rtol in (0.5, 1e-3, np.float32(1e-5), 0)]
    assert ranks == [1, 2, 3, 4]
    assert all(separate(kernel, rtol=rtol).error <= rtol for rtol in (0.5, 1e-3, 1e-5))


def test_three_dimensions_in_several_terms() -> None:
    """The terms are orthogonal, so errors fall with the rank, and the bound (all sizes but the largest) is exact."""
    kernel = np.random.default_rng(1).standard_normal((4, 2, 3))
    errors = [separate(kernel, rank).error for rank in range(1, 7)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < SVD < errors[-2]
    assert separate(kernel).rank == 6
    one, other = (np.multiply.outer(np.outer(*v[:2]), v[2]) for v in (([1, 0], [1, 1], [1.5, 2]), ([0, 1], [1, -1], [2, -1.5])))
    assert separate(one + 0.1 * other).rank == 2


def test_the_same_kernel_gives_the_same_factors() -> None:
    """Signs and order do not hang on memory layout, sign or what LAPACK makes of it."""
    kernel = np.random.default_rng(2).standard_normal((5, 5))
    want = separate(kernel, 3)
    for other in (np.asfortranarray(kernel), kernel.astype(">f8"), np.repeat(kernel, 2, axis=0)[::2], kernel[::-1, ::-1].copy()[::-1, ::-1]):
        assert all(np.array_equal(a, b) for a, b in zip(separate(other, 3).factors, want.factors))
    assert all(np.all(f.sum(axis=1) > 0) for f in want.factors[:1])
    assert np.allclose(separate(-kernel, 3).factors[0], want.factors[0]) and np.allclose(separate(-kernel, 3).factors[1], -want.factors[1])
    transposed = separate(kernel.T, 3)
    assert np.allclose(np.abs(transposed.factors[0]), np.abs(want.factors[1]))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_factors_have_the_dtype_of_the_kernel(dtype: np.dtype) -> None:
    kernel = (np.random.default_rng(4).standard_normal((4, 3)) * (1 + 1j if dtype.kind == "c" else 1)).astype(dtype)
    got = separate(kernel)
    assert all(f.dtype == dtype for f in got.factors) and got.dense().dtype == dtype
    assert got.error <= 4 * EPS[dtype.name] + SVD and relative(got.dense(), kernel) == pytest.approx(got.error, rel=1e-6, abs=1e-16)


def test_complex_kernels() -> None:
    u, v = np.array([1 + 1j, 2, 1 - 1j]), np.array([1j, 3, -1j, 0.5 + 2j])
    got = separate(np.outer(u, v))
    assert got.rank == 1 and got.error < SVD and got.column.sum().imag == pytest.approx(0, abs=1e-14) and got.column.sum().real > 0
    assert separate(np.outer(u, v) + 1e-6 * np.eye(3, 4)).rank == 3
    assert separate(np.outer(u, v) * 1e-30).rank == 1


@given(st.data())
def test_a_sum_of_outer_products_is_found(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 6)) for _ in range(dims))
    dtype = data.draw(st.sampled_from(FLOATS))
    rank = data.draw(st.integers(1, 3)) if dims == 2 else 1
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    parts = [rng.standard_normal((rank, k)) + (1j * rng.standard_normal((rank, k)) if dtype.kind == "c" else 0) for k in shape]
    kernel = outer_sum(tuple(parts)).astype(dtype)
    got, eps = separate(kernel), EPS[dtype.name]
    assert got.rank <= min(rank, np.prod(shape) // max(shape)) and got.dense().dtype == dtype
    assert got.error <= 4 * dims * rank * eps + SVD
    assert got.params == sum(f.size for f in got.factors) == got.rank * sum(shape)
    assert relative(outer_sum(got.factors), got.dense()) <= 8 * eps * rank + SVD


@given(st.data())
def test_whole_rank_one_kernels_are_exact(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    entries = st.lists(st.integers(-5, 5), min_size=1, max_size=5)
    vectors = [np.array(data.draw(entries)) for _ in range(dims)]
    dtype = data.draw(st.sampled_from([np.int8, np.int64, np.float32, np.float64]))
    kernel = outer_sum(tuple(v[None] for v in vectors)).astype(dtype)
    got = separate(kernel)
    assert got.rank == int(kernel.any()) and got.error == 0.0
    assert all(f.dtype == dtype for f in got.factors) and np.array_equal(got.dense(), kernel)


@given(st.data())
def test_every_rank_up_to_the_bound(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 5)) for _ in range(data.draw(st.integers(1, 3))))
    kernel = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).integers(-9, 10, shape)
    bound = int(np.prod(shape)) // max(shape)
    exact = separate(kernel, bound)
    assert exact.rank == bound and exact.error < SVD
    with pytest.raises(ValueError, match=f"rank is {bound + 1}; allowed is an int from 1 to {bound}"):
        separate(kernel, bound + 1)
    assert separate(kernel).error < SVD


def test_the_passes_are_the_dense_filter() -> None:
    """What it is for: a column pass, then a row pass, one pair a term."""
    rng = np.random.default_rng(5)
    x, kernel = rng.standard_normal((1, 1, 9, 11)), rng.standard_normal((3, 2)) @ rng.standard_normal((2, 5))
    got = separate(kernel)
    with sepconv.use_backend("reference"):
        want = sepconv.conv2d(x, kernel[None, None])
        passes = [sepconv.conv2d(sepconv.conv2d(x, c[None, None, :, None]), r[None, None, None]) for c, r in zip(*got.factors)]
    assert got.rank == 2 and np.allclose(sum(passes), want, rtol=0, atol=1e-13)


# --- the records, the signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [separate(gaussian(3, 1.0)), factorize(np.ones((2, 3, 3, 3)))], ids=["separate", "factorize"])
@pytest.mark.parametrize("again", [lambda r: pickle.loads(pickle.dumps(r)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_records_survive_pickle_and_copy(made: Any, again: Callable[[Any], Any]) -> None:
    other = again(made)
    assert type(other) is type(made) and np.array_equal(other.dense(), made.dense()) and repr(other) == repr(made)
    assert other != made and hash(made) == hash(made)  # records of arrays are compared by identity
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.error = 0.0


def test_repr() -> None:
    assert repr(separate(SOBEL)) == "SeparableKernel(shape=(3, 3), rank=1, dtype=int64, params=6, error=0)"
    assert repr(factorize(np.zeros((4, 3, 3)))) == "FactorizedKernel(shape=(4, 3, 3), terms=1, dtype=float64, params=21, error=0)"


def test_signatures() -> None:
    assert str(inspect.signature(separate)).startswith("(kernel: 'np.ndarray', rank: 'int | None' = None, rtol: 'float | None' = None)")
    assert str(inspect.signature(factorize)).startswith("(weight: 'np.ndarray', terms: 'int' = 1)")


def test_arguments_are_not_written_and_results_own_their_memory() -> None:
    for kernel in (SOBEL.copy(), gaussian(5, 1.0)):
        kernel.flags.writeable = False
        got = separate(kernel)
        assert all(f.flags.writeable and not np.shares_memory(f, kernel) for f in got.factors)
    weight = np.ones((2, 2, 3))
    weight.flags.writeable = False
    assert factorize(weight).depthwise.flags.writeable


def test_rank_and_terms_take_numpy_integers() -> None:
    assert separate(np.eye(3), np.int16(2)).rank == 2 and factorize(np.ones((3, 2, 3)), np.uint8(2)).terms == 2


# --- bad arguments ------------------------------------------------------------------------------------------------

GOOD = np.eye(3)
BANK = np.ones((4, 2, 3, 3))
HOLED = np.array([[1.0, 2.0], [np.nan, 1.0]])
REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: separate([[1.0, 2.0]]), TypeError, r"kernel is \[\[1.0, 2.0\]\]; allowed is a numpy.ndarray"),
    (lambda: separate(3.0), TypeError, "kernel is 3.0"),
    (lambda: separate(None), TypeError, "kernel is None"),
    (lambda: separate(np.float64(3)), TypeError, r"kernel is np.float64\(3.0\)"),
    (lambda: separate(np.ma.masked_array(GOOD)), TypeError, "kernel is a numpy.*MaskedArray"),
    (lambda: separate(np.matrix(GOOD)), TypeError, "kernel is a numpy.*matrix"),
    (lambda: separate(GOOD.astype(object)), TypeError, "kernel has dtype object; allowed are float16"),
    (lambda: separate(GOOD.astype(bool)), TypeError, "kernel has dtype bool"),
    (lambda: separate(GOOD.astype(str)), TypeError, "kernel has dtype <U32"),
    (lambda: separate(np.zeros((2, 2), "f4,f4")), TypeError, "kernel has dtype"),
    (lambda: separate(np.array(3.0)), ValueError, r"kernel has shape \(\); allowed is one axis or more"),
    (lambda: separate(np.ones((3, 0))), ValueError, r"kernel has shape \(3, 0\)"),
    (lambda: separate(HOLED), ValueError, r"kernel is nan at index \(1, 0\); allowed are finite numbers"),
    (lambda: separate(np.array([[1.0, -np.inf]], np.float16)), ValueError, r"kernel is -inf at index \(0, 1\)"),
    (lambda: separate(np.array([[1.0, complex(0, np.nan)]])), ValueError, r"kernel is .*nanj\)? at index \(0, 1\)"),
    (lambda: separate(np.array([np.nan])), ValueError, "kernel is nan"),
    (lambda: separate(GOOD, 0), ValueError, r"rank is 0; allowed is an int from 1 to 3, .*shape \(3, 3\), or None"),
    (lambda: separate(GOOD, 4), ValueError, "rank is 4; allowed is an int from 1 to 3"),
    (lambda: separate(GOOD, -1), ValueError, "rank is -1"),
    (lambda: separate(np.zeros((2, 2)), 3), ValueError, "rank is 3"),
    (lambda: separate(np.ones((2, 3, 4)), 7), ValueError, "rank is 7; allowed is an int from 1 to 6"),
    (lambda: separate(np.ones(3), 2), ValueError, "rank is 2; allowed is an int from 1 to 1"),
    (lambda: separate(GOOD, 1.0), TypeError, "rank is 1.0"),
    (lambda: separate(GOOD, True), TypeError, "rank is True"),
    (lambda: separate(GOOD, "1"), TypeError, "rank is '1'"),
    (lambda: separate(GOOD, rtol=-1e-9), ValueError, "rtol is -1e-09; allowed is None, or a number"),
    (lambda: separate(GOOD, rtol=1.0), ValueError, "rtol is 1.0"),
    (lambda: separate(GOOD, rtol=float("nan")), ValueError, "rtol is nan"),
    (lambda: separate(GOOD, 1, rtol=2), ValueError, "rtol is 2"),
    (lambda: separate(GOOD, rtol="1e-3"), TypeError, "rtol is '1e-3'"),
    (lambda: separate(GOOD, rtol=False), TypeError, "rtol is False"),
    (lambda: separate(GOOD, rtol=1j), TypeError, "rtol is 1j"),
    (lambda: factorize(BANK.tolist()), TypeError, r"weight is \[\[.*allowed is a numpy.ndarray"),
    (lambda: factorize(np.ma.masked_array(BANK)), TypeError, "weight is a numpy.*MaskedArray"),
    (lambda: factorize(np.zeros((2, 2, 2), "M8[s]")), TypeError, "weight has dtype datetime64"),
    (lambda: factorize(BANK.astype(object)), TypeError, "weight has dtype object"),
    (lambda: factorize(BANK > 0), TypeError, "weight has dtype bool"),
    (lambda: factorize(BANK[0, 0]), ValueError, r"weight has shape \(3, 3\); allowed is \(C_out, C_in, \*k\) with one to three"),
    (lambda: factorize(np.ones((2,) * 6)), ValueError, "weight has shape"),
    (lambda: factorize(np.ones((2, 0, 3))), ValueError, r"weight has shape \(2, 0, 3\)"),
    (lambda: factorize(BANK * np.nan), ValueError, r"weight is nan at index \(0, 0, 0, 0\)"),
    (lambda: factorize(np.array([[[np.inf]]])), ValueError, "weight is inf"),
    (lambda: factorize(BANK, 0), ValueError, "terms is 0; allowed is an int from 1 to 4, the smaller of C_out = 4 and the 9 taps"),
    (lambda: factorize(BANK, 5), ValueError, "terms is 5"),
    (lambda: factorize(BANK, 2.0), TypeError, "terms is 2.0"),
    (lambda: factorize(BANK, None), TypeError, "terms is None"),
    (lambda: factorize(BANK, True), TypeError, "terms is True"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@given(st.data())
def test_one_bad_number_anywhere_is_found(dtype: str, data: st.DataObject) -> None:
    at = tuple(data.draw(st.integers(0, 3)) for _ in range(3))
    array = np.ones((4, 4, 4), dtype)
    array[at] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    for name, call in (("kernel", separate), ("weight", factorize)):
        with pytest.raises(ValueError, match=f"{name} is .* at index"):
            call(array)
