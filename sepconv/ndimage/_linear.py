"""Correlation, convolution, Gaussian and uniform filters."""

from __future__ import annotations

import numbers as abstract
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..backends.filters import Pass
from . import _arguments as arguments
from . import _arrays as arrays
from . import _running as running
from ._running import filter_function

Array = Any
_ORIGIN_1D = "Invalid origin; origin must satisfy -(len(weights) // 2) <= origin <= (len(weights)-1) // 2"
_ORIGIN = "Invalid origin; origin must satisfy -(weights.shape[k] // 2) <= origin[k] <= (weights.shape[k]-1) // 2"


def _vector(weights: Any, input: Any, cval: Any) -> np.ndarray:
    weights = arrays.array("weights", weights)
    arguments.same_kind(input, weights, cval)
    if weights.ndim != 1 or len(weights) < 1:
        raise RuntimeError(f"no filter weights given: weights have the shape {weights.shape}; allowed is (k,), k at least 1")
    return _wide(weights)


def _wide(weights: np.ndarray) -> np.ndarray:
    return arguments.named("weights", weights, lambda w: w.astype(np.complex128 if w.dtype.kind == "c" else np.float64))


def _correlate1d(input: np.ndarray, weights: np.ndarray, axis: Any, output: Any, mode: Any, cval: Any, origin: Any) -> np.ndarray:
    """weights: float64 or, already conjugated, complex128."""
    input = arguments.numbers("input", input)
    target = arguments.result(output, input, "c" in (input.dtype.kind, weights.dtype.kind))
    number = arguments.axis_number(axis, input.ndim)

    def real(x: np.ndarray, w: np.ndarray, y: np.ndarray, outside: Any) -> None:
        p = arguments.make_pass(number, len(w), np.ascontiguousarray(w), mode, outside, origin, _ORIGIN_1D)
        running.run_passes(x, y, [p])

    running.by_parts(real, input, weights, target, cval)
    return target


@filter_function
def correlate1d(input: Array, weights: Array, axis: int = -1, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
                origin: int = 0) -> Array:  # fmt: skip
    """1-D correlation along an axis: out[i] = sum over j of conj(weights[j]) * input[i + j - k // 2 - origin].

    Parameters
    ----------
    input : array, real or complex, of any shape.
    weights : array (k,).
    axis : int.
    output : dtype of the result, or the array to write, which may be the input; None: a new one of the input's dtype (complex if weights are).
    mode : what lies beyond the edge: "reflect" (d c b a | a b c d | d c b a), "mirror" (d c b | a b c d | c b a), "nearest", "wrap",
        "constant" (cval); "grid-mirror", "grid-wrap" and "grid-constant" are "reflect", "wrap" and "constant".
    cval : number beyond the edge if mode is "constant".
    origin : shift of the filter, from -(k // 2) to (k - 1) // 2; a positive one shifts it to the left.

    Returns
    -------
    `output`, or the new array.

    Raises
    ------
    RuntimeError : no weights, an unknown mode, a dtype that cannot be filtered, an output that does not fit; as SciPy.
    ValueError, TypeError : an origin or axis off the array; arrays that numpy.asarray would strip of their meaning, as masked ones.

    >>> correlate1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    x = arrays.array("input", input)
    return _correlate1d(x, _vector(weights, x, cval).conj(), axis, output, mode, cval, origin)


@filter_function
def convolve1d(input: Array, weights: Array, axis: int = -1, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
               origin: int = 0) -> Array:  # fmt: skip
    """1-D convolution along an axis: `correlate1d` with the weights turned round and not conjugated; arguments and errors as there.

    >>> convolve1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    x = arrays.array("input", input)
    turned = _vector(weights, x, cval)[::-1]
    origin = -arguments.named("origin", origin, operator.index) - (1 - len(turned) % 2)
    return _correlate1d(x, turned, axis, output, mode, cval, origin)


def _one_pass(input: Array, axis: Any, output: Any, make: Callable[[int], Pass]) -> np.ndarray:
    x = arguments.image(input)
    p = make(arguments.axis_number(axis, x.ndim))
    target = arguments.result(output, x, x.dtype.kind == "c")
    running.run_passes(x, target, [p])
    return target


# --- n-D ------------------------------------------------------------------------------------------------------------


def _spread(weights: np.ndarray, origin: Any, axes: tuple[int, ...], ndim: int, flip: bool) -> tuple[np.ndarray, list[int]]:
    """Weights and origins with an entry for each axis of the array, those of a correlation."""
    if weights.ndim != len(axes) or 0 in weights.shape:
        raise RuntimeError(
            f"weights.ndim ({sum(k > 0 for k in weights.shape)}) must match len(axes) ({len(axes)}): weights have shape {weights.shape}"
        )
    origins = [0] * ndim
    for o, axis in zip(arguments.one_each("origin", origin, len(axes)), axes):
        origins[axis] = arguments.named("origin", o, operator.index)
    weights = np.expand_dims(weights, tuple(axis for axis in range(ndim) if axis not in axes))
    if flip:
        weights = weights[(slice(None, None, -1),) * ndim]
        origins = [-o - (1 - k % 2) for o, k in zip(origins, weights.shape)]
    for o, k in zip(origins, weights.shape):
        if not 0 <= k // 2 + o < k:
            raise ValueError(f"{_ORIGIN}; a correlation's is {o}, for {k} taps")
    return weights, origins


def _correlate(input: Array, weights: Array, output: Any, mode: Any, cval: Any, origin: Any, axes: Any, convolution: bool) -> np.ndarray:
    x, w = arguments.image(input), arrays.array("weights", weights)
    arguments.same_kind(x, w, cval)
    w = _wide(w)
    target = arguments.result(output, x, "c" in (x.dtype.kind, w.dtype.kind))
    w, origins = _spread(w, origin, arguments.axis_numbers(axes, x.ndim), x.ndim, convolution)
    if not isinstance(mode, str) and isinstance(mode, Iterable):
        raise RuntimeError(f"A sequence of modes is not supported: mode is {mode!r}")
    code = arguments.mode_code(mode)

    def real(x: np.ndarray, w: np.ndarray, y: np.ndarray, outside: Any) -> None:
        running.run_dense(x, y, np.ascontiguousarray(w), code, outside, origins)

    running.by_parts(real, x, w if convolution else w.conj(), target, cval)
    return target


@filter_function
def correlate(input: Array, weights: Array, output: Any = None, mode: str = "reflect", cval: Any = 0.0, origin: Any = 0, *,
              axes: Any = None) -> Array:  # fmt: skip
    """n-D correlation: out[i] = sum over j of conj(weights[j]) * input[i + j - k // 2 - origin], i and j running over all axes.

    Parameters
    ----------
    weights : array with as many axes as `axes` names.
    axes : axes that are filtered; None: all. The weights' axes are those of the input in its order, whatever the order here; the origins' are these.
    origin : an int, or one for each of those axes.
    others : as in `correlate1d`. Taps of zero are left out: what a NaN under them would do is not done.

    >>> correlate(numpy.eye(3), [[1, 0], [0, 2]], mode="constant")
    array([[2., 0., 0.],
           [0., 3., 0.],
           [0., 0., 3.]])
    """
    return _correlate(input, weights, output, mode, cval, origin, axes, False)


@filter_function
def convolve(input: Array, weights: Array, output: Any = None, mode: str = "reflect", cval: Any = 0.0, origin: Any = 0, *,
             axes: Any = None) -> Array:  # fmt: skip
    """n-D convolution: `correlate` with the weights turned round along every axis and not conjugated; arguments and errors as there.

    >>> convolve(numpy.eye(3), [[1, 0], [0, 2]], mode="constant")
    array([[1., 0., 0.],
           [0., 3., 0.],
           [0., 0., 3.]])
    """
    return _correlate(input, weights, output, mode, cval, origin, axes, True)


# --- Gaussians ------------------------------------------------------------------------------------------------------


def gaussian_kernel(sigma: float, order: int, radius: int) -> np.ndarray:
    """Derivative of `order` of a Gaussian whose samples sum to 1, at -radius to radius: phi(x) times a polynomial q(x).

    Each derivative makes q' - x / sigma^2 * q of q: the product rule, since phi' = -x / sigma^2 * phi.
    """
    x = np.arange(-radius, radius + 1)
    phi = np.exp(-0.5 / (sigma * sigma) * x**2)
    phi /= phi.sum()
    if order == 0:
        return phi
    powers = np.arange(order + 1)
    step = np.diag(powers[1:].astype(np.float64), 1) + np.diag(np.ones(order) / -(sigma * sigma), -1)
    q = np.zeros(order + 1)
    q[0] = 1.0
    for _ in range(order):
        q = step @ q
    return (x[:, None] ** powers) @ q * phi


def _gaussian_pass(sigma: Any, axis: int, order: Any, mode: Any, cval: Any, truncate: Any, radius: Any) -> Pass:
    deviation = arguments.named("sigma", sigma, float)
    # An error here is one with a radius, too.
    reach = arguments.named("(sigma, truncate)", (sigma, truncate), lambda _: int(truncate * deviation + 0.5))
    reach = reach if radius is None else radius
    if not isinstance(reach, abstract.Integral) or reach < 0:
        raise ValueError(f"Radius must be a nonnegative integer, but is {reach!r} (sigma is {sigma!r}, truncate {truncate!r}, radius {radius!r})")
    if deviation == 0:
        raise ZeroDivisionError("sigma is 0; a 1-D Gaussian filter needs another")
    degree = arguments.named("order", order, operator.index)
    if degree < 0:
        raise ValueError(f"order must be non-negative, but is {order!r}")
    # The square of a float32 sigma is a float32, as in SciPy.
    weights = np.ascontiguousarray(arguments.named("radius", int(reach), lambda r: gaussian_kernel(sigma, degree, r))[::-1])
    return arguments.make_pass(axis, len(weights), weights, mode, cval, 0, _ORIGIN_1D)


@filter_function
def gaussian_filter1d(input: Array, sigma: float, axis: int = -1, order: int = 0, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
                      truncate: float = 4.0, *, radius: int | None = None) -> Array:  # fmt: skip
    """Gaussian filter along an axis, or one of its derivatives.

    Parameters
    ----------
    sigma : standard deviation, in pixels, not 0.
    order : 0 for the Gaussian, n for its n-th derivative.
    truncate : standard deviations at which it is cut off.
    radius : of the filter, in pixels; then `truncate` is not used. None: int(truncate * sigma + 0.5).
    others : as in `correlate1d`.

    >>> gaussian_filter1d([0.0, 0.0, 1.0, 0.0, 0.0], 1).round(2)
    array([0.06, 0.24, 0.4 , 0.24, 0.06])
    """
    return _one_pass(input, axis, output, lambda number: _gaussian_pass(sigma, number, order, mode, cval, truncate, radius))


@filter_function
def gaussian_filter(input: Array, sigma: Any, order: Any = 0, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, truncate: float = 4.0,
                    *, radius: Any = None, axes: Any = None) -> Array:  # fmt: skip
    """Gaussian filter along several axes, one after the other; between them values are cast to the result's dtype.

    Parameters
    ----------
    sigma, order, mode, radius : as in `gaussian_filter1d`; one for all axes, or a sequence. An axis with a sigma of 0 or less is left as it is.
    axes : axes that are filtered; None: all. An image (H, W, C) of several channels: axes=(0, 1).

    >>> gaussian_filter(numpy.ones((480, 640, 3), "uint8"), 2, axes=(0, 1)).shape
    (480, 640, 3)
    """
    x = arguments.image(input)
    target = arguments.result(output, x)
    numbers = arguments.axis_numbers(axes, x.ndim)
    each = zip(*(arguments.one_each(name, value, len(numbers))
                 for name, value in (("sigma", sigma), ("order", order), ("mode", mode), ("radius", radius))))  # fmt: skip
    passes = [_gaussian_pass(s, axis, o, m, cval, truncate, r) for axis, (s, o, m, r) in zip(numbers, each)
              if arguments.named("sigma", s, lambda s: bool(s > 1e-15))]  # fmt: skip
    return _passes_or_copy(x, target, passes)


def _passes_or_copy(x: np.ndarray, target: np.ndarray, passes: list[Pass]) -> np.ndarray:
    if not passes:
        running.nothing_to_sum(x)
    if passes or not isinstance(x, np.ndarray):
        running.run_passes(x, target, passes)
    else:
        target[...] = x
    return target


# --- means ----------------------------------------------------------------------------------------------------------


def _uniform_pass(size: Any, axis: int, mode: Any, cval: Any, origin: Any) -> Pass:
    if arguments.named("size", size, lambda s: bool(s < 1)):
        raise RuntimeError(f"incorrect filter size: {size!r}; allowed is an int of at least 1")
    return arguments.make_pass(axis, arguments.named("size", size, operator.index), None, mode, cval, origin, "invalid origin")


@filter_function
def uniform_filter1d(input: Array, size: int, axis: int = -1, output: Any = None, mode: str = "reflect", cval: Any = 0.0,
                     origin: int = 0) -> Array:  # fmt: skip
    """Mean of `size` neighbours along an axis; other arguments as in `correlate1d`. Integers are summed exactly, up to 2**53.

    The cost hardly grows with size: sums of 1, 2, 4, ... neighbours are made of each other. Nothing is subtracted, so no rounding piles up along
    a line, and a NaN spoils its own windows alone.

    >>> uniform_filter1d([2, 8, 0, 4, 1, 9, 9, 0], size=3)
    array([4, 3, 4, 1, 4, 6, 6, 3])
    """
    return _one_pass(input, axis, output, lambda number: _uniform_pass(size, number, mode, cval, origin))


@filter_function
def uniform_filter(input: Array, size: Any = 3, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *,
                   axes: Any = None) -> Array:  # fmt: skip
    """Mean over a box, one axis after the other; between them values are cast to the result's dtype.

    size, mode, origin : one for all axes, or a sequence; axes : those filtered, None: all. An axis with a size of 1 or less is left as it is.

    >>> uniform_filter(numpy.eye(3), 3)[1, 1].round(3)
    np.float64(0.333)
    """
    x = arguments.image(input)
    target = arguments.result(output, x, x.dtype.kind == "c")
    numbers = arguments.axis_numbers(axes, x.ndim)
    each = zip(*(arguments.one_each(name, value, len(numbers)) for name, value in (("size", size), ("mode", mode), ("origin", origin))))
    passes = [_uniform_pass(int(s), axis, m, cval, o) for axis, (s, m, o) in zip(numbers, each)
              if arguments.named("size", s, lambda s: bool(s > 1))]  # fmt: skip
    return _passes_or_copy(x, target, passes)
