"""Convolutions and correlations of two arrays: what `scipy.signal` means by their modes, boundaries and methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._fourier import convolved
from ..ndimage import _arguments as arguments
from ..ndimage import _arrays as arrays
from ..ndimage._running import filter_function
from . import _device as device
from ._sums import either, flip, pads_of, sums, transformed

Array = Any
MODES = ("full", "same", "valid")
BOUNDARIES = {
    "fill": "constant", "wrap": "wrap", "circular": "wrap", "symm": "symmetric", "symmetric": "symmetric",
}  # fmt: skip
METHODS = ("auto", "direct", "fft")


def _choice(name: str, value: Any, allowed: Any) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}; Acceptable {name} flags are {', '.join(allowed)}")
    return value


def _pair(in1: Any, in2: Any, ndim: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    if arrays.on_device(in2) and not arrays.on_device(in1):
        raise TypeError(f"in1 is a {type(in1).__name__}; allowed is an array on a GPU, as in2 is one")
    x, w = arrays.array("in1", in1), arrays.array("in2", in2)
    if ndim is not None and not x.ndim == w.ndim == ndim:
        raise ValueError(f"inputs must both be {ndim}-D arrays; in1 has the shape {x.shape}, in2 {w.shape}")
    if x.ndim != w.ndim:
        raise ValueError(f"in1 and in2 should have the same dimensionality; they have the shapes {x.shape} and {w.shape}")
    for name, array in (("in1", x), ("in2", w)):
        if array.dtype.name not in (*arguments.NUMBERS, "float16"):
            raise TypeError(f"{name} has dtype {array.dtype}; allowed are float16, {', '.join(arguments.NUMBERS)}")
        if array.size == 0:
            raise ValueError(f"{name} has the shape {array.shape}; every size has to be at least 1")
    if not isinstance(x, np.ndarray) and "float16" in (x.dtype.name, w.dtype.name):
        raise TypeError(f"in1 has dtype {x.dtype}, in2 {w.dtype}; float16 is not summed on a GPU here")
    return x, w


def _swapped(mode: str, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether "valid" has to slide the first over the second; ValueError if neither fits into the other."""
    if mode != "valid" or all(n >= k for n, k in zip(x.shape, w.shape)):
        return False
    if all(n <= k for n, k in zip(x.shape, w.shape)):
        if not isinstance(x, np.ndarray):
            raise ValueError(f"in2 has the shape {w.shape}; allowed is, on a GPU with mode 'valid', one no larger than in1, {x.shape}")
        return True
    raise ValueError(f"For 'valid' mode, one must be at least as large as the other in every dimension; in1 has the shape {x.shape}, in2 {w.shape}")


def _shorter_first(mode: str, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether the two change places where that is left to us: "full" is the same either way, and fewer sums a result are more exact."""
    return _swapped(mode, x, w) or (mode == "full" and w.size > x.size)


def _there(mode: str, x: Any, w: np.ndarray, dtype: np.dtype | None = None) -> Any:
    """The correlation, not conjugated, on a GPU."""
    _swapped(mode, x, w)
    return device.correlated(x, w, pads_of(mode, w.shape), "constant", dtype or np.result_type(x.dtype, w)).owner


@filter_function
def convolve(in1: Array, in2: Array, mode: str = "full", method: str = "auto") -> Array:
    """n-D convolution of two arrays with as many axes.

    Parameters
    ----------
    in1, in2 : arrays, real or complex.
    mode : "full": wherever they overlap, n + k - 1 outputs per axis; "same": the middle of that, as large as in1; "valid": where one lies
        in the other, n - k + 1.
    method : "direct": sums; "fft": through the frequencies; "auto": the faster one, and sums where the other would not be exact enough.

    Returns
    -------
    array of the common dtype of both.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.

    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES), _choice("method", method, METHODS)
    if not isinstance(x, np.ndarray):
        return _there(mode, x, flip(w))
    if not x.ndim:
        return x * w
    if _shorter_first(mode, x, w):
        x, w = w, x
    return either(x, flip(w), pads_of(mode, w.shape), method)


@filter_function
def correlate(in1: Array, in2: Array, mode: str = "full", method: str = "auto") -> Array:
    """n-D cross-correlation: `convolve` with in2 turned round and conjugated; arguments and errors as there.

    >>> correlate([1, 2, 3], [0, 1, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES), _choice("method", method, METHODS)
    if not isinstance(x, np.ndarray):
        return _there(mode, x, w.conj())
    if not x.ndim:
        return x * w.conj()
    if _shorter_first(mode, x, w):
        return flip(either(w, x.conj(), pads_of(mode, x.shape), method).conj()).copy()
    return either(x, w.conj(), pads_of(mode, w.shape), method)


def _plane(in1: Array, in2: Array, mode: Any, boundary: Any, fillvalue: Any, turn: bool) -> np.ndarray:
    x, w = _pair(in1, in2, 2)
    border = BOUNDARIES[_choice("boundary", boundary, BOUNDARIES)]
    _choice("mode", mode, MODES)
    swap = _swapped(mode, x, w)
    if swap:
        x, w = w, x
    fill = np.asarray(fillvalue)
    if fill.size != 1:
        raise ValueError(f"fillvalue is {fillvalue!r}; `fillvalue` must be scalar or an array with one element.")
    dtype = np.result_type(x.dtype, w)
    if not np.can_cast(fill.dtype, dtype, "same_kind") and fill.dtype.kind not in "iub":
        if fill.dtype.kind != "f" or dtype.kind in "iub" and not fill.item().is_integer():
            raise ValueError(f"could not cast `fillvalue` directly to the output type: it is {fillvalue!r}, for {dtype}")
    pads = pads_of(mode, w.shape, late=not turn)
    if not isinstance(x, np.ndarray):
        return device.correlated(x, flip(w) if turn else w.conj(), pads, border, dtype, fill.item()).owner
    if border == "constant" and fill.item() != 0:
        x = np.pad(x.astype(dtype), pads, constant_values=fill.item())
        pads = pads_of("valid", w.shape)
    if turn:
        return sums(x, flip(w), pads, border)
    if swap:  # in2 was the larger: what slides is in1
        return flip(sums(x.conj(), w, pads, border)).copy()
    return sums(x, w.conj(), pads, border)


@filter_function
def convolve2d(in1: Array, in2: Array, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """2-D convolution of arrays (H, W) and (kh, kw), with a border.

    mode : as in `convolve`.
    boundary : what lies beyond the edge of in1: "fill" (fillvalue), "wrap" or "circular", "symm" or "symmetric".
    fillvalue : number.

    >>> convolve2d(numpy.eye(3), [[1, 2]], mode="same", boundary="wrap")
    array([[2., 0., 1.],
           [1., 2., 0.],
           [0., 1., 2.]])
    """
    return _plane(in1, in2, mode, boundary, fillvalue, True)


@filter_function
def correlate2d(in1: Array, in2: Array, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """2-D cross-correlation: `convolve2d` with in2 turned round and conjugated; arguments and errors as there.

    "same" with an even number of taps begins one later than `correlate` does, as in SciPy.

    >>> correlate2d(numpy.eye(3), [[1, 2]], mode="valid")
    array([[1., 0.],
           [2., 1.],
           [0., 2.]])
    """
    return _plane(in1, in2, mode, boundary, fillvalue, False)


def _broadcast(x: np.ndarray, w: np.ndarray, axes: Any) -> tuple[int, ...]:
    """The axes to convolve along; on the others the shapes have to go together."""
    found = arguments.axis_numbers(axes, x.ndim)
    if x.ndim and not found:
        raise ValueError(f"axes is {axes!r}; when provided, axes cannot be empty")
    for axis in range(x.ndim):
        if axis not in found and x.shape[axis] != w.shape[axis] and 1 not in (x.shape[axis], w.shape[axis]):
            raise ValueError(f"incompatible shapes for in1 and in2: {x.shape} and {w.shape} differ along the axis {axis}, which is not in axes")
    return found


@filter_function
def oaconvolve(in1: Array, in2: Array, mode: str = "full", axes: Any = None) -> Array:
    """Convolution along `axes` (None: all) of arrays of which one is much longer, with the other axes broadcast; mode as in `convolve`.

    Blocks of the longer one go through the frequencies (overlap-add); sums are taken where that is as fast. Integers give float64, but
    stay integers where along each of the axes one of the two has a single number.

    >>> oaconvolve(numpy.ones(100_000), numpy.ones(1_000), mode="same").shape
    (100000,)
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES)
    if isinstance(x, np.ndarray) and not x.ndim:
        return x * w
    along = _broadcast(x, w, axes)
    product = all(1 in (x.shape[axis], w.shape[axis]) for axis in along)
    floats = [np.float32, *(a.dtype if a.dtype.kind in "fc" else np.float64 for a in (x, w))]
    dtype = np.result_type(x.dtype, w.dtype) if product else np.result_type(*floats)
    if not isinstance(x, np.ndarray):
        if any(w.shape[axis] > 1 for axis in range(x.ndim) if axis not in along):
            raise ValueError(f"in2 has the shape {w.shape}; allowed is, on a GPU, 1 along the axes that are not in axes: {axes!r}")
        return _there(mode, x, flip(w), dtype)
    x, w = x.astype(dtype, copy=False), w.astype(dtype, copy=False)
    if mode == "valid" and _swapped(mode, *(np.empty([a.shape[axis] for axis in along]) for a in (x, w))):
        x, w = w, x
    if not product and len(along) == x.ndim and not transformed(x, w, "auto"):
        return sums(x, flip(w), pads_of(mode, w.shape))
    whole = x * w if product else convolved(x, w, along)
    pads = pads_of(mode, w.shape)
    parts = tuple(slice(w.shape[axis] - 1 - pads[axis][0], x.shape[axis] + pads[axis][1]) if axis in along else slice(None) for axis in range(x.ndim))
    return np.ascontiguousarray(whole[parts])
