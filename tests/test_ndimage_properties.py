"""sepconv.ndimage against SciPy: random calls of all its functions, on images of a few pixels and on such as run in one sweep.

Modes of every name and per axis, cval, origins, axes in any order, orders, radii, every dtype, output as dtype and as array, any strides.
"""

from __future__ import annotations

import filter_calls
import numpy as np
import pytest
import scipy.ndimage
from filter_calls import FilterCall
from hypothesis import given, settings

import sepconv
import sepconv.ndimage as ndi


@settings(max_examples=250)
@given(call=filter_calls.small())
def test_small_images(backend: str, call: FilterCall) -> None:
    """To the last bit, but for means of floats."""
    filter_calls.check(call)


@settings(max_examples=250)
@given(call=filter_calls.large())
def test_large_images(call: FilterCall) -> None:
    """Integers to the last bit, float32 within the bound that is stated; inside exact() all to the last bit."""
    with sepconv.use_backend("cpu"):
        filter_calls.check(call)


@pytest.mark.sweep
@settings(max_examples=400)
@given(call=filter_calls.small())
def test_small_images_sweep(backend: str, call: FilterCall) -> None:
    filter_calls.check(call)


@pytest.mark.sweep
@settings(max_examples=400)
@given(call=filter_calls.large(free=True))
def test_large_images_sweep(call: FilterCall) -> None:
    """Any dtypes and taps: some hundred kernels are compiled."""
    with sepconv.use_backend("cpu"):
        filter_calls.check(call)


def test_the_bound_is_a_bound() -> None:
    """What the comparison would not let pass: a tap that is off by a few units of float32, and the sum of a smaller image in float32."""
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    call = FilterCall("correlate1d", x, {"weights": np.array([1.0, 2.0, 3.0]), "output": None})
    filter_calls.check(call)
    wide = scipy.ndimage.correlate1d(x.astype(np.float64), [1.0, 2.0, 3.0])
    off = scipy.ndimage.correlate1d(x.astype(np.float64), [1.0, 2.0, 3.0 * (1 + 2.0**-19)])
    assert call.bounded and (np.abs(off - wide) > call.bound()).any()
    assert not FilterCall("correlate1d", x[:63], call.options).bounded and not FilterCall("sobel", x, {"output": "float64"}).bounded
    with ndi.exact():
        assert np.array_equal(call.run(), call.run(scipy.ndimage))
