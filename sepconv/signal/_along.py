"""Filters along one axis, or along the rows and then the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.borders import CONSTANT
from ..backends.filters import Pass
from ..ndimage import _arguments as arguments
from ..ndimage import _arrays as arrays
from ..ndimage import _running as running
from ..ndimage._running import filter_function
from . import _device as device

Array = Any


def _numbers(name: str, value: Any) -> np.ndarray:
    x = arrays.array(name, value)
    if x.dtype.name not in arguments.NUMBERS:
        raise TypeError(f"{name} has dtype {x.dtype}; allowed are {', '.join(arguments.NUMBERS)}")
    return x


@filter_function
def sepfir2d(input: Array, hrow: Array, hcol: Array) -> Array:
    """Convolution of the rows of an image (H, W) with hrow and of its columns with hcol, the image mirrored at its edges (d c b a | a b c d).

    hrow, hcol : arrays (k,), k odd, no longer than 2 * W + 1 and 2 * H + 1. Returns float32 for narrow integers and float32, else float64, or
    complex as the input is. ValueError, TypeError : even or longer filters (which write outside memory in SciPy), complex filters, an empty image.

    >>> sepfir2d(numpy.eye(3), [1, 2, 1], [0, 1, 0])
    array([[3., 1., 0.],
           [1., 2., 1.],
           [0., 1., 3.]])
    """
    x = _numbers("input", input)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"input has the shape {x.shape}; allowed is (H, W), both at least 1")
    passes = []
    for name, taps, axis in (("hrow", hrow, 1), ("hcol", hcol, 0)):
        h = _numbers(name, taps)
        if h.dtype.kind == "c":
            raise TypeError(f"{name} has dtype {h.dtype}; allowed are real filters")
        if h.ndim != 1 or len(h) % 2 == 0 or len(h) // 2 > x.shape[axis]:
            raise ValueError(f"{name} has the shape {h.shape}; hrow and hcol must be odd length, 1-D, and at most {2 * x.shape[axis] + 1} long here")
        weights = np.ascontiguousarray(h[::-1], np.float64)
        passes.append(arguments.make_pass(axis, len(h), weights, "reflect", 0.0, 0, ""))
    narrow = x.dtype.name in ("float32", "complex64") or (x.dtype.kind in "iub" and x.dtype.itemsize <= 2)
    dtype = np.dtype(("c" if x.dtype.kind == "c" else "f") + str((4 if narrow else 8) * (1 + (x.dtype.kind == "c"))))
    output = arguments.new(x, dtype)
    running.run_passes(x, output, passes)
    return arrays.owner(output)


@filter_function
def lfilter(b: Array, a: Array, x: Array, axis: int = -1, zi: Array | None = None) -> Any:
    """FIR filter along an axis: y[n] = (b[0] x[n] + b[1] x[n - 1] + ...) / a.

    Parameters
    ----------
    b : array (k,); a : number, or array (1,), or one whose other entries are 0. Recursive filters are a ValueError naming a.
    x : array of one axis or more.
    zi : state, what is added to the first k - 1 outputs: x's shape with k - 1 along `axis` (ones are broadcast); None: 0.

    Returns
    -------
    y, of x's shape and the common dtype, at least float32; with zi, (y, the state after).

    >>> lfilter([1, 2], 1, [1.0, 0.0, 0.0])
    array([1., 2., 0.])
    """
    b, a, x = _numbers("b", b), np.atleast_1d(_numbers("a", a)), _numbers("x", x)
    b = np.atleast_1d(b)
    if x.ndim == 0:
        raise ValueError("x must be at least 1-D, but is a number")
    for name, taps in (("b", b), ("a", a)):
        if taps.ndim != 1 or taps.size == 0:
            raise ValueError(f"Parameter {name} is not a non-empty 1d array, since {name}.shape={taps.shape}!")
    if a[0] == 0 or a[1:].any():
        raise ValueError(f"a is {a!r}; allowed is a number that is not 0, or an array whose other entries are: recursive filters are not here")
    b = np.concatenate([b, np.zeros(max(0, len(a) - len(b)), b.dtype)])
    number, k = arguments.axis_number(axis, x.ndim), len(b)
    zi = None if zi is None else _numbers("zi", zi)
    if zi is not None and isinstance(x, np.ndarray) != isinstance(zi, np.ndarray):
        raise TypeError(f"zi lies on {'the host' if isinstance(zi, np.ndarray) else 'a GPU'} and x does not; allowed are both on a GPU, or neither")
    dtype = np.result_type(b, a, x.dtype) if zi is None else np.result_type(b, a, x.dtype, zi.dtype)
    dtype = dtype if dtype.kind in "fc" else np.dtype(np.float64)
    taps = (b / a[0]).astype(np.complex128 if dtype.kind == "c" and b.dtype.kind == "c" or a.dtype.kind == "c" else np.float64)
    state = None if zi is None else _state(zi, x.shape, number, k)

    def real(part: np.ndarray, w: np.ndarray, to: np.ndarray, cval: Any) -> None:
        turned = np.ascontiguousarray(w[::-1])
        running.run_passes(part, to, [Pass(number, k, turned, CONSTANT, 0.0, (k - 1) // 2)])

    def run(x: np.ndarray, y: np.ndarray) -> None:
        running.by_parts(real, x, taps, y, 0.0)

    if not isinstance(x, np.ndarray):
        return device.along(x, k, number, dtype, state, run)
    if state is not None:
        x = np.concatenate([x, np.zeros(state.shape, x.dtype)], number)
    y = np.empty(x.shape, dtype)
    run(x.astype(dtype, copy=False) if dtype.kind == "c" else x, y)
    if state is None:
        return y
    head = (slice(None),) * number
    y[(*head, slice(0, k - 1))] += state
    n = y.shape[number] - (k - 1)
    return y[(*head, slice(0, n))], y[(*head, slice(n, None))].copy()


def _state(zi: np.ndarray, shape: tuple[int, ...], axis: int, taps: int) -> np.ndarray:
    wanted = (*shape[:axis], taps - 1, *shape[axis + 1 :])
    if zi.ndim != len(shape) or any(n not in (m, 1) for n, m in zip(zi.shape, wanted)) or zi.shape[axis] != taps - 1:
        raise ValueError(f"Unexpected shape for zi: expected {wanted}, found {zi.shape}.")
    return np.broadcast_to(zi, wanted) if isinstance(zi, np.ndarray) else device.spread(zi, wanted)
