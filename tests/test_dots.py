"""Blurs of bytes on machines that add four products of bytes at once: identical to SciPy's, where sums lie near whole numbers and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

import sepconv
import sepconv.ndimage as ndi
from sepconv.backends.cpu import digits, dots, runtime
from sepconv.backends.filters import GENERAL, SYMMETRIC_TAPS, symmetry
from sepconv.ndimage._linear import gaussian_kernel

needs_vnni = pytest.mark.skipif(not runtime.has(*dots.NEEDED), reason="no AVX-512 VNNI here: these blurs are float32 sums")
WEIGHTS = {
    "binomials, which float64 sums exactly": ([1, 2, 1], [1, 4, 6, 4, 1], [1, 6, 15, 20, 15, 6, 1], [1, 1], [1, 2, 3, 4, 5, 4, 3, 2]),
    "two pairs whose sums are whole numbers": ([0.01, 0.02, 0.94, 0.02, 0.01], [0.05, 0.25, 0.4, 0.25, 0.05], [0.2, 0.6, 0.2], [0.3, 0.4, 0.3]),
    "no symmetry": ([0.1, 0.2, 0.3], [3, 2, 1, 2, 8], [0.7, 0.1], [1 - 1e-13]),
    "little weight in the middle": ([1, 0, 0, 0, 0, 0, 1], [0.45, 0.1, 0.45], [0, 1, 0]),
}


def images() -> list[np.ndarray]:
    """Flat patches, slopes, noise, and noise of the greatest contrast."""
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(97), 2 * np.arange(270)) % 256
    noise = rng.integers(0, 256, (97, 270))
    return [a.astype(np.uint8) for a in (np.repeat(noise[:, :54], 5, 1), slope, noise, noise % 2 * 255)]


@needs_vnni
@pytest.mark.parametrize("name", WEIGHTS)
def test_identical_to_scipy(name: str) -> None:
    with sepconv.use_backend("cpu"):
        for taps in WEIGHTS[name]:
            weights = np.array(taps, float) / max(sum(taps), 1)
            for x in images():
                for axis in (0, 1):
                    assert np.array_equal(ndi.correlate1d(x, weights, axis), scipy.ndimage.correlate1d(x, weights, axis)), (taps, axis)


@needs_vnni
def test_random_weights() -> None:
    rng = np.random.default_rng(1)
    modes = "reflect", "wrap", "constant", "nearest", "mirror"
    with sepconv.use_backend("cpu"):
        for number in range(40):
            weights = rng.random(rng.integers(1, 40))
            weights *= rng.choice([1, 0.99, 0.5]) / weights.sum()
            weights = (weights + weights[::-1]) / 2 if number % 2 else weights
            for x in images():
                keywords = {"axis": number // 2 % 2, "mode": modes[number % 5], "cval": 200.0}
                assert np.array_equal(ndi.correlate1d(x, weights, **keywords), scipy.ndimage.correlate1d(x, weights, **keywords)), number


@needs_vnni
@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (1, 5), *(pytest.param(shape, marks=pytest.mark.sweep) for shape in ((5, 5), (7, 6)))])
def test_dense(shape: tuple[int, int]) -> None:
    """Drawn weights, equal ones, and such of which a row is of zeros."""
    rng = np.random.default_rng(3)
    drawn, equal, holes = rng.random(shape), np.ones(shape), rng.random(shape)
    holes[0, : shape[1] // 2 + 1] = 0
    with sepconv.use_backend("cpu"):
        for weights in (drawn, equal, holes):
            weights /= weights.sum()
            for x in images():
                for mode in ("reflect", "constant", "wrap"):
                    want = scipy.ndimage.correlate(x, weights, mode=mode, cval=77)
                    assert np.array_equal(ndi.correlate(x, weights, mode=mode, cval=77), want), mode


@needs_vnni
@pytest.mark.parametrize("channels", [1, 3, *(pytest.param(channels, marks=pytest.mark.sweep) for channels in (2, 4, 5))])
def test_pixels_of_several_channels(channels: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 256, (61, 90, channels)).astype(np.uint8)
    with sepconv.use_backend("cpu"):
        for sigma in (0.4, 1.0, 3.0, 9.0, (0.5, 3.0), (1.5, 0.3)):
            want = scipy.ndimage.gaussian_filter(x, sigma, axes=(0, 1))
            assert np.array_equal(ndi.gaussian_filter(x, sigma, axes=(0, 1)), want), sigma


@needs_vnni
@pytest.mark.parametrize("sigma", [0.44, 0.5, 0.65, 0.75, 1.0])
def test_two_pairs(sigma: float) -> None:
    """By words: of weights whose sums are sure, of such that differences of the inner or of the outer pair put in doubt, and of uneven levels."""
    weights = gaussian_kernel(sigma, 0, 2)
    assert digits.sort(weights, SYMMETRIC_TAPS) == 2
    with sepconv.use_backend("cpu"):
        for x in images():
            x[:, 100:200] //= 2
            for shape in (97, 270), (97, 90, 3), (97, 54, 5):
                for mode in ("reflect", "constant"):
                    y, keywords = x.reshape(shape), {"mode": mode, "cval": 9, "radius": 2, "axes": (0, 1)}
                    assert np.array_equal(ndi.gaussian_filter(y, sigma, **keywords), scipy.ndimage.gaussian_filter(y, sigma, **keywords)), shape


def wrong_windows(weights: np.ndarray) -> np.ndarray:
    """Windows of five pixels, one under the other, that weights of 24 bits would put on the other side of a whole number."""
    whole, apart = np.rint(weights[:2] * 2.0**24).astype(np.int64), np.arange(-510, 511)
    kept = []
    for outer in apart:
        wrong = (outer * whole[0] + apart * whole[1] >> 24) != np.floor(outer * weights[0] + apart * weights[1])
        kept += [(outer, inner) for inner in apart[wrong & (apart != 0)] if abs(outer - inner) < 510]
    windows = []
    for pair in kept:
        middle = (510 - max(pair) - min(pair)) // 4
        (a, e), (b, d) = [(min(255, 2 * middle + each), max(0, 2 * middle + each - 255)) for each in pair]
        windows += [a, b, middle, d, e, *[middle] * 3]
    return np.array(windows, np.uint8)


@needs_vnni
@pytest.mark.parametrize("sigma", [0.5, 0.58, 0.65, 0.79, 1.0])
def test_pairs_in_doubt(sigma: float) -> None:
    """The difference that puts a sum in doubt is that of the inner pair, or of the outer one."""
    x = np.repeat(np.resize(wrong_windows(gaussian_kernel(sigma, 0, 2)), (64, 1)), 80, 1)
    with sepconv.use_backend("cpu"):
        want = scipy.ndimage.gaussian_filter(x, sigma, radius=2)
        assert np.array_equal(ndi.gaussian_filter(x, sigma, radius=2), want)


def test_words_make_up_the_weights() -> None:
    for taps in (gaussian_kernel(0.75, 0, 2), gaussian_kernel(0.3, 0, 1)):
        made = digits.block_of_pairs(taps, SYMMETRIC_TAPS)
        high, low = made[digits.WEIGHTS :].view(np.int16).astype(np.int64).reshape(2, 2)
        assert np.abs((high * 2**16 + low)[2 - len(taps) // 2 :] - taps[: len(taps) // 2] * 2**24).max() < 1
        assert not (high + low)[: 2 - len(taps) // 2].any()


def test_what_is_known_of_sums() -> None:
    """Exact weights are never in doubt; of two pairs that make whole numbers nothing is known; of longer ones and of others neither."""
    sort = lambda *taps: digits.sort(np.array(taps), symmetry(np.array(taps)))
    exact = (0.25, 0.5, 0.25), np.array([1, 4, 6, 4, 1]) / 16, (1.0,)
    assert [sort(*taps) for taps in exact] == [1, 2, 0]
    assert [digits.contrasts(np.array(taps), symmetry(np.array(taps))) for taps in exact] == [(digits.NEVER, digits.NEVER)] * 3
    assert sort(0.2, 0.6, 0.2) == 1 and digits.contrasts(np.array([0.2, 0.6, 0.2]), SYMMETRIC_TAPS)[1] < 510
    for taps in ((0.01, 0.02, 0.94, 0.02, 0.01), [1 / 7] * 7, (0.3, 0.7), (0.2, 0.6 + 1e-9, 0.2), (1 - 1e-13,), (0.25, 0.5, 0.1, 0.1, 0.05)):
        assert sort(*taps) == digits.DOUBTFUL
    assert sort(*[1 / 13] * 13) == digits.LONG
    assert not digits.fits(np.array([-0.5, 0.5]), GENERAL) and not digits.fits(np.array([0.2, 0.4, 0.2]), SYMMETRIC_TAPS)


def test_digits_make_up_the_weights() -> None:
    weights = np.array([0.001, 0.2, 0.598, 0.2, 0.001])
    made = digits.block(weights, SYMMETRIC_TAPS, 2, 2)
    planes = made[digits.WEIGHTS :].view(np.int8).astype(np.int64).reshape(2, digits.DIGITS, 8)
    for r in range(2):
        whole = planes[r, 0] * 2**16 + planes[r, 1] * 2**8 + planes[r, 2]
        whole[2 + r] += 2**24 * (made[digits.LIFT] != 0)
        assert np.abs(whole[r : r + 5] - weights * 2**24).max() < 3 and whole.sum() == 2**24


@needs_vnni
def test_explained() -> None:
    x = np.zeros((97, 270), np.uint8)
    dense = np.array([[1.0, 2, 1], [3, 4, 9], [1, 2, 2]]) / 25
    with sepconv.use_backend("cpu"):
        for image, used in ((x, True), (x.astype(np.float32), False)):
            for told in (sepconv.explain(ndi.gaussian_filter, image, 1.0), sepconv.explain(ndi.correlate, image, dense)):
                assert (dots.SAID in str(told)) == used
