"""sepconv.signal against SciPy: random calls, hand-worked cases, and what is refused."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

import sepconv
import sepconv.signal as sig
from sepconv import _fourier
from sepconv.signal import _convolutions, _sums

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
DTYPES = (*INTEGERS, "float32", "float64", "complex64", "complex128")
LARGE = ("uint8", "int16", "int32", "float32", "float64", "complex64")
BOUNDARIES = ("fill", "wrap", "symm", "circular", "symmetric")


def values(draw: st.DrawFn, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    x = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.startswith("c") else 0)
    return x.astype(dtype)


def assert_close(got: np.ndarray, want: np.ndarray, *arrays: np.ndarray) -> None:
    """Integers to the bit; others to the rounding of a sum of products, in the result's dtype."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind in "iub":
        np.testing.assert_array_equal(got, want)
        return
    most = np.prod([np.abs(a).max(initial=1) for a in arrays]) * min(a.size for a in arrays)
    assert np.abs(got - want).max(initial=0) <= 8 * np.finfo(want.dtype).eps * most


@given(st.data())
def test_any_dimension(backend: str, data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 4))
    shape = st.tuples(*[st.integers(1, 12 if ndim < 3 else 4)] * ndim)
    taps = st.tuples(*[st.sampled_from((1, 3, 8) if ndim < 3 else (1, 3))] * ndim)  # few of the sizes that a kernel is compiled for
    x, w = (values(data.draw, data.draw(sizes), data.draw(st.sampled_from(DTYPES))) for sizes in (shape, taps))
    name, mode = data.draw(st.sampled_from(("convolve", "correlate"))), data.draw(st.sampled_from(_convolutions.MODES))
    try:
        want = getattr(scipy.signal, name)(x, w, mode, method="direct")
    except ValueError as error:
        with pytest.raises(ValueError, match="For 'valid' mode"):
            getattr(sig, name)(x, w, mode)
        assert "valid" in str(error)
        return
    assert_close(getattr(sig, name)(x, w, mode), want, x, w)
    if want.dtype.kind in "fc":
        got = getattr(sig, name)(x, w, mode, method="fft")
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=1e-3 if want.dtype.name in ("float32", "complex64") else 1e-9)


@given(st.data())
def test_two_dimensions_with_a_border(backend: str, data: st.DataObject) -> None:
    x = values(data.draw, data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9))), data.draw(st.sampled_from(DTYPES)))
    mode, boundary = data.draw(st.sampled_from(_convolutions.MODES)), data.draw(st.sampled_from(BOUNDARIES))
    sizes = [(1, 3, 8) if boundary == "fill" else range(1, n + 1) for n in x.shape]  # SciPy mirrors once and no more
    w = values(data.draw, tuple(data.draw(st.sampled_from(some)) for some in sizes), data.draw(st.sampled_from(DTYPES)))
    fill, name = data.draw(st.sampled_from((0, 3))), data.draw(st.sampled_from(("convolve2d", "correlate2d")))
    if mode == "valid" and any(k > n for n, k in zip(x.shape, w.shape)) and any(k < n for n, k in zip(x.shape, w.shape)):
        return
    want = getattr(scipy.signal, name)(x, w, mode, boundary, fill)
    if name == "correlate2d" and mode == "valid" and w.size > x.size:
        want = want.conj()  # SciPy conjugates the first then, and means the second
    got = getattr(sig, name)(x, w, mode, boundary, fill)
    if want.dtype.kind in "iub":
        assert_close(got, want, x, w)
        return
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    # Every tap is a product here, of the fill too: each output to the rounding of its own sum.
    sums = getattr(scipy.signal, name)(np.abs(x).astype(np.float64), np.abs(w).astype(np.float64), mode, boundary, fill)
    assert (np.abs(got - want) <= 4 * w.size * np.finfo(want.dtype).eps * sums).all()


@given(st.data())
def test_blocks_through_the_frequencies(data: st.DataObject) -> None:
    """Overlap-add itself, whatever the sizes; then the function, which may sum instead, on a kernel for each number of taps."""
    n, k = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 60))
    x, w = (values(data.draw, (length,), data.draw(st.sampled_from(("float64", "complex128")))) for length in (n, k))
    np.testing.assert_allclose(_fourier.convolved(x, w, (0,)), np.convolve(x, w), atol=1e-9)
    w = np.resize(w, data.draw(st.sampled_from((1, 3, 8, 40))))
    mode = data.draw(st.sampled_from(_convolutions.MODES))
    np.testing.assert_allclose(sig.oaconvolve(x, w, mode), scipy.signal.oaconvolve(x, w, mode), atol=1e-9)


def sums(x: np.ndarray, w: np.ndarray, mode: str) -> np.ndarray:
    """What the rounding of each output is measured by: the sum of the magnitudes of its products."""
    return scipy.signal.fftconvolve(np.abs(x).astype(np.float64), np.abs(w).astype(np.float64), mode) + 1e-12


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # SciPy's own
@given(st.data())
def test_large_arrays(data: st.DataObject) -> None:
    """Images and signals of thousands of points, where kernels are tuned and sums are shared out; either may be the larger."""
    one = data.draw(st.sampled_from(((5000,), (64, 90), (1, 4200), (300, 20), (18, 20, 16))))
    two = (data.draw(st.sampled_from((1, 3, 8))), *(3,) * (len(one) - 1))
    x, w = (values(data.draw, shape, data.draw(st.sampled_from(LARGE))) for shape in (one, two))
    mode, name = data.draw(st.sampled_from(_convolutions.MODES)), data.draw(st.sampled_from(("convolve", "correlate")))
    if mode == "valid" and any(k > n for n, k in zip(one, two)):
        w = w[tuple(slice(0, n) for n in one)]
    if data.draw(st.booleans()):
        x, w = w, x
    want, got = (getattr(m, name)(x, w, mode, method="direct") for m in (scipy.signal, sig))
    if want.dtype.kind in "iu":
        assert_close(got, want, x, w)
        return
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    most = sums(x, w if name == "convolve" else w[(slice(None, None, -1),) * w.ndim], mode)
    assert (np.abs(got - want) <= 2 * min(x.size, w.size) * np.finfo(want.dtype).eps * most).all()


@given(st.data())
def test_the_way_that_is_chosen(data: st.DataObject) -> None:
    """method="auto" with an FFT from few taps on: whichever way it goes, SciPy's result; an array that is not finite is never transformed."""
    ndim = data.draw(st.integers(1, 3))
    sizes = st.integers(1, 9), st.sampled_from((1, 3, 8) if ndim < 3 else (1, 3))
    x, w = (values(data.draw, data.draw(st.tuples(*[size] * ndim)), data.draw(st.sampled_from(DTYPES))) for size in sizes)
    name = data.draw(st.sampled_from(("convolve", "correlate")))
    if data.draw(st.booleans()) and x.dtype.kind in "fc" and x.size > w.size:  # else SciPy turns them round, and multiplies it by zeros around w
        x.reshape(-1)[0] = data.draw(st.sampled_from((np.nan, np.inf)))
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(_sums, "LARGE", 4)
        got, want = getattr(sig, name)(x, w), getattr(scipy.signal, name)(x, w, method="direct")
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind in "iu":
        assert_close(got, want, x, w)
        return
    finite = np.isfinite(want)
    assert (np.isfinite(got) == finite).all()
    scale = np.abs(want[finite]).max(initial=0) + np.abs(x[np.isfinite(x)]).max(initial=0) * np.abs(w).max(initial=0) * min(x.size, w.size)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=16 * np.finfo(want.dtype).eps * scale)


@given(st.data())
def test_long_signals_along_axes(data: st.DataObject) -> None:
    """oaconvolve along some axes, the others broadcast."""
    ndim = data.draw(st.integers(1, 3))
    axes = sorted(data.draw(st.permutations(range(ndim)))[: data.draw(st.integers(1, ndim))])
    one = [data.draw(st.integers(1, 40)) for _ in range(ndim)]
    two = [data.draw(st.sampled_from((1, 3, 8) if ndim < 3 else (1, 3))) if axis in axes else n for axis, n in enumerate(one)]
    x, w = (values(data.draw, tuple(shape), data.draw(st.sampled_from(("float32", "float64", "complex128")))) for shape in (one, two))
    mode = data.draw(st.sampled_from(("full", "same")))  # SciPy's "valid" wants one to be the larger along all axes
    got, want = (m.oaconvolve(x, w, mode, axes=axes) for m in (sig, scipy.signal))
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    scale = np.abs(x).max() * np.abs(w).max() * min(x.size, w.size)
    eps = max(np.finfo(a.dtype).eps for a in (x, w))  # SciPy transforms each in its own precision
    np.testing.assert_allclose(got, want, rtol=0, atol=32 * eps * scale)


def test_what_is_not_finite_meets_zero_taps(backend: str) -> None:
    """0 * inf is NaN, whatever the dtype, the number of taps and of axes."""
    x = np.ones((12, 12))
    x[5, 5], x[0, 3] = np.nan, np.inf
    deep = np.ones((5, 5, 5, 5))
    deep[2, 2, 2, 2] = np.inf
    for k in (3, 8):
        w = np.ones((k, k))
        w[1, 1] = w[0] = 0
        for boundary in ("fill", "symm", "wrap"):
            got, want = (m.convolve2d(x, w, boundary=boundary) for m in (sig, scipy.signal))
            np.testing.assert_array_equal(got, want)
        for image in (x, x + 0j, x.astype(np.float32)):
            with np.errstate(invalid="ignore"):
                got, want = (m.convolve(image, w, method="direct") for m in (sig, scipy.signal))
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))  # SciPy multiplies real taps as complex ones
    w = np.zeros((2, 2, 2, 2))
    w[0, 0, 0, 0] = 1
    np.testing.assert_array_equal(*(np.isnan(m.convolve(deep, w, method="direct")) for m in (sig, scipy.signal)))


def test_convolution_along_some_axes() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.random((3, 200, 2)), rng.random((1, 7, 2))
    for mode in _convolutions.MODES:
        np.testing.assert_allclose(sig.oaconvolve(x, w, mode, axes=1), scipy.signal.oaconvolve(x, w, mode, axes=1), atol=1e-12)
        if mode == "same":  # SciPy crops the axis that it broadcast, too
            continue
        np.testing.assert_allclose(sig.oaconvolve(w, x, mode, axes=[-2]), scipy.signal.oaconvolve(w, x, mode, axes=[-2]), atol=1e-12)
    for one, two, axes in (((6,), (1,), None), ((1, 6), (5, 1), None), ((1, 1, 3), (4, 1, 3), [0, 1])):  # a product of numbers along each axis
        x, w = np.arange(np.prod(one)).reshape(one).astype(np.uint8), np.arange(np.prod(two)).reshape(two).astype(np.int16)
        for mode in ("full", "same"):
            got, want = (m.oaconvolve(x, w, mode, axes=axes) for m in (sig, scipy.signal))
            assert got.dtype == want.dtype and np.array_equal(got, want), (one, mode)
    for one, other in (("uint8", "int64"), ("float32", "float64"), ("uint8", "float32"), ("complex64", "bool"), ("float16", "complex64")):
        got, want = (m.oaconvolve(np.ones(4, one), np.ones(2, other)) for m in (sig, scipy.signal))
        assert got.dtype == want.dtype, (one, other)


def test_large_kernels_go_through_the_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((200, 150)), rng.standard_normal((70, 60))
    used: list[int] = []
    monkeypatch.setattr(_sums, "convolved", lambda *args: used.append(1) or _fourier.convolved(*args))
    for mode in _convolutions.MODES:
        np.testing.assert_allclose(sig.convolve(x, w, mode), scipy.signal.convolve(x, w, mode), atol=1e-9)
        np.testing.assert_allclose(sig.correlate(x, w, mode), scipy.signal.correlate(x, w, mode), atol=1e-9)
    assert len(used) == 6
    x[3, 3] = np.nan  # an FFT would spread it over everything
    assert np.isnan(sig.convolve(x, w)).sum() == w.size and len(used) == 6
    assert np.array_equal(sig.convolve(np.ones((80, 80), int), np.ones((70, 70), int)).max(), 4900) and len(used) == 6


@given(st.data())
def test_separable_with_mirrored_edges(backend: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(("uint8", "int16", "int64", "float32", "float64", "complex64", "complex128")))
    x = values(data.draw, data.draw(st.tuples(st.integers(5, 12), st.integers(5, 12))), dtype)
    row, col = (values(data.draw, (2 * data.draw(st.integers(0, 2)) + 1,), "float64") for _ in range(2))
    want = scipy.signal.sepfir2d(x, row.tolist(), col.tolist())
    got = sig.sepfir2d(x, row, col)
    assert got.dtype == want.dtype
    eps = np.finfo(want.dtype).eps
    np.testing.assert_allclose(got, want, atol=32 * eps * np.abs(x).max() * np.abs(row).sum() * np.abs(col).sum())


@pytest.mark.parametrize("dtype", ("uint8", "float32", "float64"))
def test_separable_with_mirrored_edges_in_one_sweep(dtype: str) -> None:
    rng = np.random.default_rng(3)
    x = (rng.random((70, 80)) * 200).astype(dtype)
    for row, col in (
        ([1.0, 4, 6, 4, 1], [0.25, 0.5, 0.25]),
        ([1.0], [1, 0, -1.0]),
        (rng.standard_normal(31), rng.standard_normal(9)),
        ([2.0], [3.0]),
    ):
        want, got = scipy.signal.sepfir2d(x, list(row), list(col)), sig.sepfir2d(x, row, col)
        assert got.dtype == want.dtype
        atol = (len(row) + len(col) + 6) * np.finfo(want.dtype).eps * 200 * np.abs(row).sum() * np.abs(col).sum()
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@given(st.data())
def test_fir_filters(backend: str, data: st.DataObject) -> None:
    x = values(data.draw, data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)), data.draw(st.sampled_from(DTYPES)))
    b = values(data.draw, (data.draw(st.integers(1, 12)),), data.draw(st.sampled_from(("float64", "complex128"))))
    axis, a = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.sampled_from((1, 2.0, [4.0], -0.5, [2.0, 0.0])))
    zi = None
    if data.draw(st.booleans()):
        shape = list(x.shape)
        shape[axis] = max(len(b), np.size(a)) - 1
        zi = values(data.draw, tuple(shape), "float64")
    want, got = scipy.signal.lfilter(b, a, x, axis, zi), sig.lfilter(b, a, x, axis, zi)
    for one, other in ((want, got),) if zi is None else zip(want, got):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-10)


def test_a_filter_in_pieces() -> None:
    """The state carries over."""
    rng = np.random.default_rng(2)
    b, x = rng.standard_normal(9), rng.standard_normal((2, 40))
    state, parts = np.zeros((2, 8)), []
    for begin, end in ((0, 3), (3, 3), (3, 20), (20, 40)):
        if begin == end:
            continue
        y, state = sig.lfilter(b, 1, x[:, begin:end], zi=state)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts, 1), sig.lfilter(b, 1, x), atol=1e-13)


def test_worked_by_hand(backend: str) -> None:
    assert sig.convolve([1, 2, 3], [0, 1, 0.5]).tolist() == [0.0, 1.0, 2.5, 4.0, 1.5]
    assert sig.convolve(np.full(4, 200, np.uint8), np.full(3, 200, np.uint8)).tolist() == [64, 128, 192, 192, 128, 64]  # wraps
    assert sig.correlate([1, 2j], [1, 2, 3], "full").tolist() == [3, 2 + 6j, 1 + 4j, 2j]
    assert sig.convolve([True, False], [True, True]).tolist() == [True, True, False]
    assert sig.convolve(3, 4) == 12 and sig.correlate(2, 3j) == -6j
    assert sig.convolve(np.ones(4, np.float16), np.ones(3, np.float16)).dtype == np.float16
    x = np.array([1.0, np.inf, 0, 0, 0])
    assert np.isinf(sig.convolve(x, [1.0, 1.0])).tolist() == [False, True, True, False, False, False]


X = np.arange(6.0).reshape(2, 3)
REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "mode": (lambda: sig.convolve([1], [1], "middle"), ValueError, "mode is 'middle'; Acceptable mode flags are full, same, valid"),
    "method": (lambda: sig.correlate([1], [1], method="slow"), ValueError, "method is 'slow'"),
    "dimensions": (lambda: sig.convolve(X, [1]), ValueError, "same dimensionality"),
    "empty": (lambda: sig.convolve([], [1]), ValueError, "in1 has the shape \\(0,\\)"),
    "valid": (lambda: sig.convolve(X, np.ones((3, 2)), "valid"), ValueError, "For 'valid' mode"),
    "object": (lambda: sig.convolve(X, X.astype(object)), TypeError, "in2 has dtype object"),
    "2-D": (lambda: sig.convolve2d([1], [1]), ValueError, "must both be 2-D"),
    "boundary": (lambda: sig.convolve2d(X, X, boundary="edge"), ValueError, "boundary is 'edge'"),
    "fillvalue": (lambda: sig.convolve2d(X, X, fillvalue=[1, 2]), ValueError, "must be scalar"),
    "fillvalue that is a word": (lambda: sig.convolve2d(X, X, fillvalue="a"), ValueError, "could not cast `fillvalue`.*'a'"),
    "no fillvalue": (lambda: sig.convolve2d([[1]], [[1]], fillvalue=None), ValueError, "could not cast `fillvalue`.*None"),
    "fillvalue that no integer is": (lambda: sig.convolve2d([[1]], [[1]], fillvalue=np.inf), ValueError, "could not cast `fillvalue`.*inf"),
    "complex fillvalue": (lambda: sig.correlate2d(X, X, fillvalue=1j), ValueError, "could not cast `fillvalue`"),
    "broadcast": (lambda: sig.oaconvolve(X, np.ones((2, 2)), axes=0), ValueError, "incompatible shapes"),
    "no axes": (lambda: sig.oaconvolve(X, X, axes=()), ValueError, "axes is \\(\\); .* cannot be empty"),
    "recursive": (lambda: sig.lfilter([1], [1, 0.5], X), ValueError, "^a is array"),
    "a of 0": (lambda: sig.lfilter([1], 0, X), ValueError, "^a is array"),
    "no b": (lambda: sig.lfilter([], 1, X), ValueError, "Parameter b is not a non-empty 1d array"),
    "zi": (lambda: sig.lfilter([1, 2], 1, X, zi=np.ones((2, 2))), ValueError, "Unexpected shape for zi"),
    "a number": (lambda: sig.lfilter([1], 1, 3.0), ValueError, "x must be at least 1-D"),
    "even": (lambda: sig.sepfir2d(X, [1, 2], [1]), ValueError, "hrow and hcol must be odd length"),
    "longer than the image": (lambda: sig.sepfir2d(X, [1], np.ones(7)), ValueError, "hcol has the shape \\(7,\\).*at most 5 long"),  # SciPy crashes
    "no filter": (lambda: sig.sepfir2d(X, [], [1]), ValueError, "hrow has the shape"),
    "2-D filter": (lambda: sig.sepfir2d(X, [[1]], [1]), ValueError, "hrow has the shape"),
    "complex filter": (lambda: sig.sepfir2d(X, [1j], [1]), TypeError, "hrow has dtype complex128"),
    "no image": (lambda: sig.sepfir2d(np.zeros((0, 3)), [1], [1]), ValueError, "input has the shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


def test_names() -> None:
    for name in sig.__all__:
        if name != "sepfir2d":  # which has no signature in SciPy
            ours, theirs = (inspect.signature(getattr(module, name)) for module in (sig, scipy.signal))
            assert [(p.name, p.default) for p in ours.parameters.values()] == [(p.name, p.default) for p in theirs.parameters.values()]
    with pytest.raises(AttributeError, match="sepconv.signal has no 'firwin'; it has convolve"):
        sig.firwin  # noqa: B018


def test_explained() -> None:
    told = sepconv.explain(sig.convolve2d, np.ones((20, 20), np.float32), np.ones((3, 3), np.float32), mode="same")
    assert "depthwise" in str(told)
    assert "backend cpu" in str(sepconv.explain(sig.lfilter, [1.0, 2], 1, np.ones(50)))
