"""Image filters in one sweep, in float32 or 16-bit integers, against SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

import sepconv
import sepconv.ndimage as ndi
from sepconv.backends.cpu import fused, image
from sepconv.ndimage import _recall

MODES = ("reflect", "constant", "nearest", "mirror", "wrap")
CALLS: dict[str, Callable[..., Any]] = {
    "gaussian 1": lambda m, x, mode: m.gaussian_filter(x, 1.0, mode=mode, cval=3, axes=(0, 1)),
    "gaussian 5": lambda m, x, mode: m.gaussian_filter(x, 5.0, mode=mode, cval=3, axes=(0, 1)),
    "derivative": lambda m, x, mode: m.gaussian_filter(x, 1.5, order=(1, 0), mode=mode, axes=(0, 1)),
    "mean 3": lambda m, x, mode: m.uniform_filter(x, 3, mode=mode, cval=3, axes=(0, 1)),
    "mean 31": lambda m, x, mode: m.uniform_filter(x, 31, mode=mode, cval=3, axes=(0, 1)),
    "mean 8, 9": lambda m, x, mode: m.uniform_filter(x, (8, 9), mode=mode, axes=(0, 1)),
    "sobel": lambda m, x, mode: m.sobel(x, 1, mode=mode),
    "one axis": lambda m, x, mode: m.correlate1d(x, [1, 2, 3, 5.5], axis=0, mode=mode, origin=1),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
@pytest.mark.parametrize("shape", ((50, 70), (1, 40), (64, 2500), (40, 50, 3)))
def test_against_scipy(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: str, mode: str) -> None:
    """uint8 to the bit."""
    monkeypatch.setattr(fused, "FEW", 1)
    _recall.clear()
    x = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    for name, call in CALLS.items():
        got, want = call(ndi, x, mode), call(scipy.ndimage, x, mode)
        if dtype == "uint8":
            np.testing.assert_array_equal(got, want, err_msg=name)
        else:
            np.testing.assert_allclose(got, want, atol=1e-3, err_msg=name)
            with ndi.exact():
                again = call(ndi, x, mode)
            np.testing.assert_allclose(again, want, rtol=0 if not name.startswith("mean") else 1e-5, err_msg=name)


def test_factors_divide() -> None:
    for taps in range(2, fused.LONGEST + 1):
        factor, shift = fused._factor(taps)
        v = np.arange(255 * taps + 1)
        assert factor < 2**16 and ((v * factor >> 16) >> shift == v // taps).all(), taps


@pytest.mark.parametrize("size", (fused.MANY, 61, fused.LONGEST))
@pytest.mark.parametrize("mode", ("mirror", "constant"))
def test_means_of_blocks(size: int, mode: str) -> None:
    """Large means: within the bound though some pixels are 1e9 times the others, whatever the threads, and a NaN spoils its own windows alone."""
    rng = np.random.default_rng(0)
    x = rng.random((301, 210, 3)).astype(np.float32)
    x[rng.integers(0, 301, 5), rng.integers(0, 210, 5)] = 1e9
    window = (size, size - 3, 1)
    found = []
    for threads in (1, sepconv.get_num_threads()):
        with sepconv.use_backend("cpu"), sepconv.num_threads(threads):
            found.append(ndi.uniform_filter(x, window, mode=mode))
    assert all(np.array_equal(found[0], each) for each in found[1:])
    exact = x.astype(np.float64)
    for axis in (0, 1):
        exact = scipy.ndimage.correlate1d(exact, np.full(window[axis], 1 / window[axis]), axis, mode=mode)
    assert (np.abs(found[0] - exact) <= (size + 3) * 2.0**-24 * exact).all()
    spoilt = x.copy()
    spoilt[150, 100, 1] = np.nan
    got = ndi.uniform_filter(spoilt, window, mode=mode)
    reached = np.zeros(x.shape, bool)
    reached[150 - (size - 1 - size // 2) :, 100 - (size - 4 - (size - 3) // 2) :, 1][:size, : size - 3] = True
    assert np.array_equal(np.isnan(got), reached) and np.array_equal(got[~reached], found[0][~reached])


@pytest.mark.parametrize("size", (3, 7, 9, 15, 31))
@pytest.mark.parametrize("powers", ((-149, -126), (-126, -100), (-20, 20), (100, 128)))
def test_means_are_quotients(size: int, powers: tuple[int, int]) -> None:
    """A mean of floats is the sum divided, to the last bit, though nothing is divided: of numbers below the normal range, too, and of infinity."""
    rng, x = np.random.default_rng(size), np.zeros((64, 4096), np.float32)
    seats = slice(size, 4096 - size, size)  # one of them in a window: the sum is exact
    drawn = rng.uniform(0.5, 1, x[:, seats].shape).astype(np.float32)
    x[:, seats] = np.ldexp(drawn, rng.integers(*powers, drawn.shape))
    x[5, seats] = np.inf
    got = ndi.uniform_filter1d(x, size, axis=1, mode="constant")[:, seats]
    assert np.array_equal(got, x[:, seats] / np.float32(size))


@pytest.mark.parametrize("shift", (0, 1))
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
@pytest.mark.parametrize("name", ("gaussian 1", "mean 3", "sobel"))
def test_results_past_the_caches(monkeypatch: pytest.MonkeyPatch, name: str, dtype: str, shift: int) -> None:
    """The same bits, and nothing beside them, where rows begin with cache lines and where they do not."""
    x = (np.random.default_rng(0).random((40, 2050)) * 255).astype(dtype)
    filters = {"gaussian 1": ndi.gaussian_filter, "mean 3": ndi.uniform_filter, "sobel": ndi.sobel}
    arguments = {"gaussian 1": {"sigma": 1.0}, "mean 3": {"size": 3}, "sobel": {"axis": 1}}[name]
    want = filters[name](x, **arguments)
    monkeypatch.setattr(image, "FAR", 0)
    room = np.full(42 * 2112 * x.itemsize + 64, 77, np.uint8)
    room = room[-room.ctypes.data % 64 :][: 42 * 2112 * x.itemsize].view(dtype).reshape(42, 2112)
    before = room.copy()
    for _ in range(2):  # the second one from what is kept of the first
        filters[name](x, output=room[1:41, shift : shift + 2050], **arguments)
        assert room[1:41, shift : shift + 2050].tobytes() == want.tobytes()
        room[1:41, shift : shift + 2050] = before[1:41, shift : shift + 2050]
        assert room.tobytes() == before.tobytes()
    _recall.clear()
