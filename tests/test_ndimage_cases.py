"""What is easily got wrong in image filters, a test each: casts, border modes, origins, axes, radii, outputs, infinities.

Where a small image takes another way than a large one, both are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import filter_calls
import numpy as np
import pytest
import scipy.ndimage
from filter_calls import FilterCall, bits
from hypothesis import given, settings
from hypothesis import strategies as st

import sepconv
import sepconv.ndimage as ndi

SIZES = ((9, 11), (70, 75))  # summed line by line; and in one sweep where the dtypes allow it
both_sizes = pytest.mark.parametrize("size", SIZES, ids=("small", "large"))


def image(size: tuple[int, ...], dtype: Any, most: int = 250) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, size).astype(dtype)


# --- casts ----------------------------------------------------------------------------------------------------------


@both_sizes
@pytest.mark.parametrize("dtype", ("uint8", "int16", "int32", "uint64"))
def test_floats_do_not_promote(backend: str, size: tuple[int, int], dtype: str) -> None:
    """S4: float weights and a float cval leave an integer image what it is, and results are cut toward zero."""
    x = image(size, dtype)
    got = ndi.correlate1d(x, [0.25, 0.25], mode="constant", cval=0.75)
    bits(got, scipy.ndimage.correlate1d(x, [0.25, 0.25], mode="constant", cval=0.75))
    assert got.dtype == x.dtype and got[0, 1] == int(0.25 * (float(x[0, 0]) + float(x[0, 1])))
    assert ndi.correlate1d(x, [-0.3], output="int64").tolist() == np.trunc(-0.3 * x.astype(float)).astype(int).tolist()


@both_sizes
def test_every_pass_is_cast(backend: str, size: tuple[int, int]) -> None:
    """S5: a Gaussian of bytes is a grey level too dark on average, and a mean of means is not the mean: as SciPy's."""
    x = image(size, np.uint8)
    got, exact = ndi.gaussian_filter(x, 1.5), ndi.gaussian_filter(x, 1.5, output=float)
    bits(got, scipy.ndimage.gaussian_filter(x, 1.5))
    assert 0.8 < (exact - got).mean() < 1.2
    box, dense = ndi.uniform_filter(x, 5), ndi.correlate(x, np.full((5, 5), 1 / 25))
    bits(box, scipy.ndimage.uniform_filter(x, 5))
    assert set(np.unique(dense.astype(int) - box)) <= {-1, 0, 1} and (dense != box).any()


@both_sizes
@pytest.mark.filterwarnings("ignore:invalid value")
def test_numbers_that_an_integer_has_not(backend: str, size: tuple[int, int]) -> None:
    """S7: what they become is left open, and differs between processors; they hurt no other pixel."""
    x = np.ones(size, np.float32)
    x[4, 1], x[4, 5], x[4, 9] = np.nan, 1e10, -np.inf
    for output in (*filter_calls.INTEGERS, bool):
        for got in (
            ndi.correlate1d(x, [1, 1, 1], output=output),
            ndi.gaussian_filter(x, 0.5, radius=1, output=output),
            ndi.correlate(x, np.ones((3, 3)), output=output),
            ndi.uniform_filter(x, 3, output=output),
        ):
            assert got.shape == size and got.dtype == output
            assert len(np.unique(got[:3])) == 1


def test_all_is_float64(backend: str) -> None:
    """S8: what float64 does not have is rounded to what it has."""
    x = np.array([2**53 + 1, -(2**53) - 1], np.int64)
    assert ndi.correlate1d(x, [1.0]).tolist() == [2**53, -(2**53)]
    assert ndi.correlate1d(np.array([2**63 + 2**12], np.uint64), [1.0]).tolist() == [2**63 + 2**12]
    assert ndi.correlate1d(np.array([2**64 - 1], np.uint64), [1.0]).shape == (1,)  # 2**64 is no uint64


@both_sizes
def test_no_product_is_fused(backend: str, size: tuple[int, int]) -> None:
    """S6, N25: a * b - a * b is 0, and a NaN stays one; with fused multiply-adds or fast-math neither is so."""
    a, b = 1 / 3, 1 / 7
    x = np.full(size, a)
    for fn in (ndi.correlate1d, ndi.convolve1d):
        assert (fn(x, [b, -b]) == 0).all()
    assert (ndi.correlate(x, [[b, -b]]) == 0).all()
    x[2, 3] = np.nan
    for got in (ndi.correlate1d(x, [b, -b]), ndi.correlate(x, [[b, -b]]), ndi.correlate1d(x.astype(np.float32), [b, -b])):
        assert np.argwhere(np.isnan(got)).tolist() == [[2, 3], [2, 4]]


# --- borders --------------------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[int, int], int]] = {
    "reflect": lambda i, n: min(i % (2 * n), 2 * n - 1 - i % (2 * n)),
    "mirror": lambda i, n: 0 if n == 1 else min(i % (2 * n - 2), 2 * n - 2 - i % (2 * n - 2)),
    "nearest": lambda i, n: min(max(i, 0), n - 1),
    "wrap": lambda i, n: i % n,
}
ALIAS = {"grid-mirror": "reflect", "grid-wrap": "wrap", "grid-constant": "constant"}


@pytest.mark.parametrize("mode", filter_calls.MODES)
def test_modes_by_their_formula(backend: str, mode: str) -> None:
    """S10: along axes of 1 to 5 pixels and far beyond; the grid modes are the others by another name."""
    place = PLACES.get(ALIAS.get(mode, mode))
    for n in range(1, 6):
        x = np.arange(1.0, n + 1)
        for shift in range(-7, 8):
            w = np.zeros(15)
            w[shift + 7] = 1
            want = [x[place(i + shift, n)] if place else x[i + shift] if 0 <= i + shift < n else -4.0 for i in range(n)]
            assert ndi.correlate1d(x, w, mode=mode, cval=-4).tolist() == want
            assert ndi.correlate(x[None], w[None], mode=mode, cval=-4).tolist() == [want]


@pytest.mark.parametrize("mode", filter_calls.MODES)
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
@pytest.mark.parametrize("shape", ((1, 4200), (4200, 1), (2, 2100), (2100, 2), (4096,)), ids=str)
def test_thin_images_in_one_sweep(mode: str, dtype: str, shape: tuple[int, ...]) -> None:
    """S10, S21: one or two pixels wide, with filters of more taps."""
    x = image(shape, dtype)
    for axis in range(len(shape)):
        w = [1, 2, -3, 4, 5, 0, 1, 2, 3]
        bits(ndi.correlate1d(x, w, axis, mode=mode, cval=3), scipy.ndimage.correlate1d(x, w, axis, mode=mode, cval=3))
    got, want = (m.gaussian_filter(x, 3.0, mode=mode, cval=3) for m in (ndi, scipy.ndimage))
    np.testing.assert_allclose(got, want, rtol=2e-6 if dtype == "float32" else 0)


@both_sizes
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
def test_a_mode_for_each_axis(backend: str, size: tuple[int, int], dtype: str) -> None:
    """S12."""
    x = image(size, dtype)
    for fn in (lambda m, x, mode: m.gaussian_filter(x, 2.0, mode=mode, cval=7), lambda m, x, mode: m.sobel(x, 0, mode=mode, cval=7),
               lambda m, x, mode: m.uniform_filter(x, 7, mode=mode, cval=7)):  # fmt: skip
        for mode in (("constant", "wrap"), ("wrap", "constant"), ["mirror", "nearest"], ("constant", "grid-constant")):
            np.testing.assert_allclose(fn(ndi, x, mode), fn(scipy.ndimage, x, mode), rtol=1e-5 if dtype == "float32" else 0, atol=1e-3)


@both_sizes
@pytest.mark.parametrize("cval", (np.nan, np.inf, -np.inf, 1e30, 1e300))
def test_any_number_beyond_the_edge(backend: str, size: tuple[int, int], cval: float) -> None:
    """S12: NaN, infinities, and numbers that float32 or the result has not."""
    for dtype in ("float32", "float64", "uint8"):
        x = image(size, dtype)
        for fn in (
            lambda m, x, **o: m.gaussian_filter(x, 1.0, mode="constant", cval=cval, **o),
            lambda m, x, **o: m.sobel(x, 1, None, "constant", cval),
        ):
            with np.errstate(all="ignore"):
                got, want = fn(ndi, x), fn(scipy.ndimage, x)
            inner = (slice(9, -9),) * 2 if size[0] > 20 else (slice(4, -4),) * 2
            where = inner if dtype == "uint8" else ()  # what no integer is becomes any
            np.testing.assert_allclose(got[where], want[where], rtol=1e-5)


def test_complex_beyond_the_edge(backend: str) -> None:
    """S12: a complex cval goes with complex input."""
    x = image((7, 8), np.complex64) * (1 - 2j)
    for call in (
        lambda m: m.correlate(x, np.ones((3, 3)) * 1j, mode="constant", cval=2 - 3j),
        lambda m: m.convolve1d(x, [1, 2j, 3], mode="constant", cval=1j),
        lambda m: m.gaussian_filter(x, 1.0, mode="constant", cval=5j),
    ):
        bits(call(ndi), call(scipy.ndimage))


# --- origins, axes, radii -------------------------------------------------------------------------------------------


@both_sizes
@pytest.mark.parametrize("taps", (1, 2, 3, 4, 7))
def test_origins_reach_to_both_ends(backend: str, size: tuple[int, int], taps: int) -> None:
    """S13, S14: every legal one, odd and even kernels; those a step further are refused."""
    x, w = image(size, np.float32), np.arange(1.0, taps + 1)
    for origin in range(-(taps // 2), (taps - 1) // 2 + 1):
        for name in ("correlate1d", "uniform_filter1d"):
            given_ = (w,) if name == "correlate1d" else (taps,)
            got, want = (getattr(m, name)(x, *given_, axis=0, origin=origin) for m in (ndi, scipy.ndimage))
            np.testing.assert_allclose(got, want, rtol=1e-5)
        np.testing.assert_array_equal(ndi.convolve1d(x, w[::-1], 0, origin=-origin - (1 - taps % 2)), ndi.correlate1d(x, w, 0, origin=origin))
    for origin in (-(taps // 2) - 1, (taps - 1) // 2 + 1):
        with pytest.raises(ValueError, match="origin"):
            ndi.correlate1d(x, w, origin=origin)
        with pytest.raises(ValueError, match="origin"):
            ndi.uniform_filter1d(x, taps, origin=origin)


def test_radii(backend: str) -> None:
    """S15: int(truncate * sigma + 0.5); `radius` wins; an axis without a sigma is left as it is."""
    unit = np.zeros(41)
    unit[20] = 1
    reach = lambda **options: int((ndi.gaussian_filter1d(unit, **options) != 0).sum()) // 2
    assert reach(sigma=0.124) == 0 and reach(sigma=0.125) == 1  # 4 * sigma + 0.5 is 0.996, and 1
    assert reach(sigma=2, truncate=3) == 6 and reach(sigma=2, radius=3) == 3 and reach(sigma=2, truncate=9, radius=4) == 4
    x = image((9, 8), float)
    np.testing.assert_array_equal(ndi.gaussian_filter(x, (0, 1.5)), ndi.gaussian_filter1d(x, 1.5, axis=1))
    np.testing.assert_array_equal(ndi.gaussian_filter(x, (-1, 0)), x)
    for sigma, error in ((0, ZeroDivisionError), (-1, ValueError)):
        with pytest.raises(error):
            ndi.gaussian_filter1d(x, sigma)


@both_sizes
def test_axes_in_any_order(backend: str, size: tuple[int, int]) -> None:
    """S16: sizes, sigmas, modes, radii and origins go with them; negative ones too."""
    for dtype in ("float32", "uint8"):
        x = image((*size, 3), dtype)
        one, sized = dict(order=(0, 1), mode=("wrap", "mirror")), dict(origin=(1, -2), axes=(1, 0))
        turned = {name: value[::-1] for name, value in one.items()}
        want = ndi.gaussian_filter(x, (1.0, 2.0), axes=(0, 1), output=np.float64, **one)
        for axes in ((1, 0), (-2, -3)):
            np.testing.assert_allclose(ndi.gaussian_filter(x, (2.0, 1.0), axes=axes, output=np.float64, **turned), want, atol=1e-10)
            bits(*(m.gaussian_filter(x, (2.0, 1.0), axes=axes, output=np.float64, **turned) for m in (ndi, scipy.ndimage)))
        np.testing.assert_allclose(*(m.uniform_filter(x, (4, 6), **sized) for m in (ndi, scipy.ndimage)), rtol=1e-5 if dtype == "float32" else 0)
        w = np.arange(12.0).reshape(3, 4)
        some = ndi.correlate(x, w, axes=(0, 1), origin=(1, -2))
        np.testing.assert_array_equal(ndi.correlate(x, w, axes=(1, 0), origin=(-2, 1)), some)
        np.testing.assert_allclose(some, scipy.ndimage.correlate(x, w[..., None], origin=(1, -2, 0)), rtol=1e-6 if dtype == "float32" else 0)


# --- outputs --------------------------------------------------------------------------------------------------------


@both_sizes
def test_outputs(backend: str, size: tuple[int, int]) -> None:
    """S17: a dtype by any name; an array, which is returned, whatever its order and byte order."""
    x = image(size, np.float32)
    want = ndi.correlate1d(x, [1, 2, 4], output=np.float64)
    for output in ("float64", "f8", "d", float, np.float64, np.dtype("f8")):
        bits(ndi.correlate1d(x, [1, 2, 4], output=output), want)
    for out in (np.zeros(size), np.zeros(size, ">f8"), np.zeros(size, order="F"), np.zeros((2 * size[0], size[1]))[::2]):
        assert ndi.correlate1d(x, [1, 2, 4], output=out) is out and (out == want).all()
    for out in (np.zeros(size[::-1]), np.zeros((1, *size)), np.zeros(size[0])):
        with pytest.raises(RuntimeError, match="output shape not correct"):
            ndi.gaussian_filter(x, 1.0, output=out)


def test_what_is_no_image(backend: str) -> None:
    """S19: numbers and empty arrays come back; float16 and longdouble are refused, lists are taken."""
    for fn in (lambda x: ndi.gaussian_filter(x, 1.0), ndi.laplace, lambda x: ndi.uniform_filter(x, 3)):
        assert fn(np.float32(3)).shape == () and fn(np.zeros((0, 4))).shape == (0, 4) and fn([[1.0, 2.0]]).shape == (1, 2)
        for dtype in (np.float16, np.longdouble, object, "U1"):
            with pytest.raises(RuntimeError, match="not supported"):
                fn(np.zeros((3, 3)).astype(dtype))


@pytest.mark.parametrize("name", ("sobel", "prewitt"))
def test_derivatives_of_small_integers_are_exact(backend: str, name: str) -> None:
    """S21: in any number of axes, one pixel and none among them, whatever the dtype."""
    for shape in ((1,), (1, 1), (5,), (1, 7), (6, 5), (3, 4, 5), (2, 3, 4, 5), (64, 80), (16, 18, 20), (0, 3)):
        for dtype in ("int16", "float32", "float64"):
            x = image(shape, dtype, 100)
            for axis in range(len(shape)):
                got = getattr(ndi, name)(x, axis)
                bits(got, getattr(scipy.ndimage, name)(x, axis))
                smooth = [1.0, 2, 1] if name == "sobel" else [1.0, 1, 1]
                kernel = np.ones(())
                for other in range(len(shape)):
                    kernel = np.multiply.outer(kernel, [-1.0, 0, 1] if other == axis else smooth)
                if x.size:
                    np.testing.assert_array_equal(got, ndi.correlate(x, kernel))


# --- what is not finite ---------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(call=filter_calls.large(), seed=st.integers(0, 2**32))
def test_what_is_not_finite_stays_where_it_is(call: FilterCall, seed: int) -> None:
    """N22: NaN and infinities in an image that is summed in float32 come out where they would from float64."""
    if call.x.dtype != np.float32:
        return
    rng = np.random.default_rng(seed)
    x = call.x.copy()
    x.reshape(-1)[rng.integers(0, x.size, 4)] = rng.choice([np.nan, np.inf, -np.inf, 1e30], 4)
    with np.errstate(all="ignore"), sepconv.use_backend("cpu"):
        got = call.run(x=x)
        with sepconv.use_backend("reference"):
            want = call.run(x=x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    largest = 1e18 if "magnitude" in call.name else 1e37  # the squares are float32 there too, as SciPy's
    finite = np.isfinite(want) & (np.abs(want) < largest)
    assert np.isfinite(got[finite]).all()
    assert (got[np.isinf(want) & (call.name not in filter_calls.GRADIENTS)] == want[np.isinf(want) & (call.name not in filter_calls.GRADIENTS)]).all()


@both_sizes
def test_a_separable_kernel_spreads_nothing(backend: str, size: tuple[int, int]) -> None:
    """N22: run as its factors or not, a kernel gives NaN and infinity to the same pixels; inside exact() it is run as it is."""
    line = np.array([1.0, -2, 3, 0.5, 1, 1, 2, -1, 1])
    w = np.outer(line, line[::-1])
    for bad in (np.nan, np.inf, 1e300, 0.0):
        x = image(size, float)
        x[4, 5] = bad
        with np.errstate(all="ignore"):
            got, want = ndi.correlate(x, w), scipy.ndimage.correlate(x, w)
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-10 * np.abs(np.where(np.isfinite(want), want, 0)).max())
            with ndi.exact():
                bits(ndi.correlate(x, w), want)
                assert "outer product" not in str(sepconv.explain(ndi.correlate, x, w))


def test_weights_that_float32_has_not() -> None:
    """An infinity times a weight of 1e-60 is infinite; times the 0 that float32 makes of it, it is not."""
    x = np.ones((70, 70), np.float32)
    x[30, 30] = np.inf
    got, want = (m.gaussian_filter1d(x, 0.5, 0, radius=8) for m in (ndi, scipy.ndimage))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
