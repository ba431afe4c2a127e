"""Unusual arguments of `sepconv.ndimage` mean what SciPy makes of them; what SciPy refuses is an error of the same type."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

import sepconv
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


def test_signatures_are_scipys() -> None:
    for name in ndi.__all__:
        ours, theirs = (inspect.signature(getattr(module, name)) for module in (ndi, scipy.ndimage))
        assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [(p.name, p.kind, p.default) for p in theirs.parameters.values()]
        assert "Parameters" in inspect.getdoc(getattr(ndi, name)) or len(inspect.getdoc(getattr(ndi, name))) > 100


X = np.arange(6.0).reshape(2, 3)
REFUSALS: dict[str, tuple[Any, type[Exception], str]] = {
    "no weights": (lambda: ndi.correlate1d(X, []), RuntimeError, "no filter weights given"),
    "too many axes": (lambda: ndi.correlate(X, [1, 2]), RuntimeError, r"weights.ndim \(1\) must match len\(axes\) \(2\)"),
    "mode": (lambda: ndi.correlate1d(X, [1], mode="edge"), RuntimeError, "boundary mode not supported: 'edge'; allowed are reflect"),
    "modes": (lambda: ndi.correlate(X, np.eye(2), mode=["wrap", "wrap"]), RuntimeError, "sequence of modes is not supported"),
    "number of modes": (lambda: ndi.gaussian_filter(X, 1, mode=["wrap"]), RuntimeError, "sequence argument must have length equal to input rank"),
    "origin": (lambda: ndi.correlate1d(X, [1, 2, 3], origin=2), ValueError, "Invalid origin"),
    "a convolution's origin": (lambda: ndi.convolve1d(X, [1, 2], origin=1), ValueError, "Invalid origin"),
    "origin of a mean": (lambda: ndi.uniform_filter1d(X, 3, origin=-2), ValueError, "invalid origin"),
    "float origin": (lambda: ndi.correlate1d(X, [1, 2], origin=0.5), TypeError, "origin is 0.5: .*integer"),
    "float origins": (lambda: ndi.convolve(X, np.eye(2), origin=[0, 0.5]), TypeError, "origin is 0.5: .*integer"),
    "origin that is a word": (lambda: ndi.convolve1d(X, [1, 2], origin="left"), TypeError, "origin is 'left': .*integer"),
    "axis that is none": (lambda: ndi.sobel(X, None), TypeError, "axis is None: .*integer"),
    "axes that are none": (lambda: ndi.gaussian_filter(X, 1, axes=(0.5,)), TypeError, "axes is 0.5: .*integer"),
    "several cvals": (lambda: ndi.correlate1d(X, [1], cval=[1, 2]), TypeError, r"cval is \[1, 2\]: "),
    "weights that are words": (lambda: ndi.correlate1d(X, ["a"]), ValueError, "weights is array.*could not convert"),
    "sigma that is a word": (lambda: ndi.gaussian_filter(X, "a"), TypeError, "sigma is 'a': "),
    "no end": (lambda: ndi.gaussian_filter(X, np.inf), OverflowError, r"\(sigma, truncate\) is \(inf, 4.0\): cannot convert"),
    "too wide": (lambda: ndi.gaussian_filter(X, 1e30), ValueError, "radius is 4.*: Maximum allowed size exceeded"),
    "order that is none": (lambda: ndi.gaussian_filter1d(X, 1, order=0.5), TypeError, "order is 0.5: .*integer"),
    "size that is a word": (lambda: ndi.uniform_filter(X, "a"), TypeError, "size is 'a': "),
    "size of the world": (lambda: ndi.uniform_filter(X, 2**62), ValueError, r"size is 4611686018427387904; allowed are .* fewer than 2\*\*40"),
    "axis": (lambda: ndi.sobel(X, 2), np.exceptions.AxisError, "axis 2 is out of bounds"),
    "axes": (lambda: ndi.gaussian_filter(X, 1, axes=(0, 2)), ValueError, "specified axis: 2 is out of range"),
    "axes twice": (lambda: ndi.uniform_filter(X, 3, axes=(0, -2)), ValueError, "axes must be unique"),
    "dtype": (lambda: ndi.gaussian_filter(X.astype("f2"), 1), RuntimeError, "array type dtype\\('float16'\\) not supported"),
    "longdouble": (lambda: ndi.correlate(X.astype("g"), np.eye(2)), RuntimeError, "not supported"),
    "object": (lambda: ndi.uniform_filter(X.astype(object), 3), RuntimeError, "not supported"),
    "output dtype": (lambda: ndi.correlate1d(X, [1], output="U3"), RuntimeError, "output must have numeric dtype"),
    "output shape": (lambda: ndi.correlate1d(X, [1], output=np.zeros(3)), RuntimeError, "output shape not correct"),
    "complex result": (lambda: ndi.correlate1d(X, [1j], output=np.zeros((2, 3))), RuntimeError, "output must have complex dtype"),
    "complex result by name": (lambda: ndi.correlate1d(X, [1j], output="f8"), RuntimeError, "output must have complex dtype"),
    "complex output": (lambda: ndi.gaussian_filter(X, 1, output=complex), RuntimeError, "not supported"),
    "read-only": (lambda: ndi.correlate1d(X, [1], output=np.broadcast_to(np.zeros(3), (2, 3))), ValueError, "read-only"),
    "complex cval": (lambda: ndi.correlate1d(X, [1], cval=1j), TypeError, "must be real number"),
    "complex cval, complex weights": (lambda: ndi.correlate(X, np.eye(2) * 1j, cval=1j), ValueError, "complex-valued cval"),
    "cval": (lambda: ndi.correlate1d(X, [1], cval="0"), TypeError, "must be real number, not str"),
    "size": (lambda: ndi.uniform_filter1d(X, 0), RuntimeError, "incorrect filter size"),
    "float size": (lambda: ndi.uniform_filter1d(X, 2.5), TypeError, "size is 2.5: .*integer"),
    "sigma": (lambda: ndi.gaussian_filter1d(X, -1.0), ValueError, "Radius must be a nonnegative integer"),
    "no sigma": (lambda: ndi.gaussian_filter1d(X, 0.0), ZeroDivisionError, "sigma is 0"),
    "radius": (lambda: ndi.gaussian_filter1d(X, 1, radius=1.5), ValueError, "Radius must be a nonnegative integer"),
    "order": (lambda: ndi.gaussian_filter1d(X, 1, order=-1), ValueError, "order must be non-negative"),
    "masked": (lambda: ndi.sobel(np.ma.masked_array(X, X > 2)), TypeError, "input is a numpy.ma.MaskedArray"),
    "matrix": (lambda: ndi.correlate(X, np.asmatrix(np.eye(2))), TypeError, "weights is a numpy.matrix"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_refusals(name: str) -> None:
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()


def test_filters_that_are_not_here() -> None:
    with pytest.raises(AttributeError, match="sepconv.ndimage has no 'median_filter'; it has the linear filters.*scipy.ndimage"):
        ndi.median_filter  # noqa: B018


def test_nothing_to_do(backend: str) -> None:
    for shape in ((0,), (0, 3), (3, 0)):
        x = np.zeros(shape, np.float32)
        for fn in (
            lambda x: ndi.correlate1d(x, [1, 2], axis=0),
            lambda x: ndi.gaussian_filter(x, 1),
            lambda x: ndi.uniform_filter(x, 3),
            ndi.laplace,
        ):
            assert fn(x).shape == shape and fn(x).dtype == np.float32
        assert ndi.correlate(x, np.ones((2,) * x.ndim)).shape == shape
    scalar = np.array(3.0)
    assert ndi.gaussian_filter(scalar, 1) == 3 and ndi.correlate(scalar, np.array(2.0)) == 6 and ndi.laplace(scalar) == 3
    assert ndi.gaussian_filter(X, 0).tolist() == X.tolist() and ndi.uniform_filter(X, 1).tolist() == X.tolist()


def test_explained() -> None:
    x = np.zeros((20, 20), np.float32)
    for told in (sepconv.explain(ndi.gaussian_filter, x, 2.0), sepconv.explain(ndi.correlate, x, np.eye(3)), sepconv.explain(ndi.laplace, x)):
        assert "backend cpu" in str(told) and len(told.lines) >= 1
    for fn, options in ((ndi.gaussian_filter, {"sigma": 0}), (ndi.uniform_filter, {"size": 1}), (ndi.laplace, {"axes": ()})):
        output = np.full_like(x, 7)
        assert "a copy" in str(sepconv.explain(fn, x, output=output, **options)) and (output == 7).all()
    assert "each of 2 axes" in str(sepconv.explain(ndi.gaussian_gradient_magnitude, x, 1.0))
