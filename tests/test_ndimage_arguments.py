"""Unusual arguments of `sepconv.ndimage` mean what SciPy makes of them; what SciPy refuses is an error of the same type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage

import sepconv.ndimage as ndi

IMAGE, COMPLEX = np.arange(30.0).reshape(5, 6), np.ones((5, 6), np.complex64)
REFUSED: list[tuple[str, np.ndarray, dict[str, Any]]] = [
    *((name, IMAGE, {"axis": axis}) for name in ("sobel", "prewitt") for axis in (None, "a", 1.0, 2, -3)),
    *(("gaussian_filter1d", IMAGE, {"sigma": 1, "axis": axis}) for axis in (None, 0.0, 2)),
    *(("gaussian_filter", IMAGE, {"sigma": 1, "axes": axes}) for axes in ("a", 1.0, (0.0,), 2, (0, -3), (0, 0), (0, -2), (None,))),
    *(("uniform_filter", IMAGE, {"size": 3, "axes": axes}) for axes in ("a", -3, (1, -1))),
    *(("gaussian_filter", IMAGE, {"sigma": 1, "truncate": t, "radius": 2}) for t in ("a", None, np.nan, np.inf)),
    ("gaussian_filter1d", IMAGE, {"sigma": np.inf, "radius": 2}),
    ("gaussian_filter1d", IMAGE, {"sigma": 1, "radius": 1.0}),
    ("gaussian_filter1d", IMAGE, {"sigma": 1, "order": -1}),
    ("correlate1d", IMAGE, {"weights": [1, 2], "origin": 1}),
    ("correlate1d", IMAGE, {"weights": [1, 2, 1], "origin": 1.0}),
    ("correlate", IMAGE, {"weights": np.ones((3, 3)), "origin": [0, 2]}),
    ("correlate", IMAGE, {"weights": np.ones((3, 3)), "origin": [0, 0, 0]}),
    ("correlate", IMAGE, {"weights": np.ones((3, 3)), "mode": ["wrap", "reflect"]}),
    ("correlate", IMAGE, {"weights": np.ones(3)}),
    ("correlate", IMAGE, {"weights": np.ones((3, 0))}),
    *((name, COMPLEX, {"output": output}) for name in ("sobel", "prewitt") for output in (np.float32, "float64", np.empty((5, 6)))),
    ("sobel", IMAGE, {"output": np.empty((6, 5))}),
    ("sobel", IMAGE, {"output": "bogus"}),
    ("sobel", IMAGE, {"mode": ["wrap"]}),
    ("sobel", IMAGE, {"mode": "bogus"}),
    ("laplace", IMAGE, {"cval": 1j}),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refused_as_scipy_refuses(number: int) -> None:
    name, x, keywords = REFUSED[number]
    with pytest.raises(Exception) as want:  # noqa: PT011
        getattr(scipy.ndimage, name)(x, **keywords)
    with pytest.raises(want.type):
        getattr(ndi, name)(x, **keywords)


@pytest.mark.parametrize("name", ["correlate", "convolve"])
def test_no_axes(name: str) -> None:
    """A filter of numbers: one tap, real or complex."""
    for x in (np.array(7, np.uint16), np.array(2 - 1j)):
        for tap in (np.array(0.5), np.array(1 + 2j)):
            got, want = getattr(ndi, name)(x, tap), getattr(scipy.ndimage, name)(x, tap)
            assert got == want and got.dtype == want.dtype and got.shape == ()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_sigma_of_single_precision(order: int) -> None:
    """Its square is of single precision, too."""
    for name in ("gaussian_filter", "gaussian_filter1d"):
        made, want = (getattr(module, name)(IMAGE, np.float32(0.7), order=order) for module in (ndi, scipy.ndimage))
        assert np.array_equal(made, want)
