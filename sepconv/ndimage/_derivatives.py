"""Edges: filters made of first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dispatch
from ..call import Explanation
from . import _arguments as arguments
from . import _arrays as arrays
from . import _running as running
from ._linear import correlate1d, gaussian_filter
from ._running import Told, filter_function

Array = Any
Derivative = Callable[..., Any]


def _across(input: Array, axis: int, output: Any, mode: Any, cval: Any, smooth: list[int]) -> np.ndarray:
    """A central difference along the axis, then `smooth` along all others."""
    x = arguments.image(input)
    number = arguments.axis_number(axis, x.ndim)
    target = arguments.result(output, x)
    modes = arguments.one_each("mode", mode, x.ndim)
    order = [number, *(other for other in range(x.ndim) if other != number)]
    weights = [np.array([-1.0, 0.0, 1.0]), *[np.array(smooth, np.float64)] * (x.ndim - 1)]
    running.run_passes(x, target, [arguments.make_pass(a, 3, w, modes[a], cval, 0, "") for a, w in zip(order, weights)])
    return target


@filter_function
def prewitt(input: Array, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Array:
    """Prewitt filter: [-1 0 1] along `axis`, [1 1 1] along all others; mode may be a sequence, one per axis. Others as in `correlate1d`.

    >>> prewitt(numpy.tri(3))
    array([[-1., -1.,  0.],
           [-1., -2., -1.],
           [ 0., -1., -1.]])
    """
    return _across(input, axis, output, mode, cval, [1, 1, 1])


@filter_function
def sobel(input: Array, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Array:
    """Sobel filter: [-1 0 1] along `axis`, [1 2 1] along all others; mode may be a sequence, one per axis. Others as in `correlate1d`.

    Unsigned results wrap, as SciPy's do: give output="int16" for edges of a uint8 image.

    >>> sobel(numpy.tri(3))
    array([[-1., -1.,  0.],
           [-2., -3., -1.],
           [-1., -2., -1.]])
    """
    return _across(input, axis, output, mode, cval, [1, 2, 1])


def _summed(input: Array, derivative: Derivative, output: Any, mode: Any, cval: Any, extra_arguments: Any, extra_keywords: Any, axes: Any,
            each: Callable[[np.ndarray], Any]) -> np.ndarray:  # fmt: skip
    """Sum over the axes of each(derivative along it), where `each` works in place."""
    x = arrays.array("input", input)
    target = arguments.result(output, x)
    numbers = arguments.axis_numbers(axes, x.ndim)
    if not numbers:
        running.nothing_to_sum(x)
        arrays.combine("copy", x, target)
        return target
    modes = arguments.one_each("mode", mode, len(numbers))
    if len(numbers) > 1 and arrays.shares(x, target):
        x = arrays.copied(x)  # the later derivatives read it too
    for number, (axis, m) in enumerate(zip(numbers, modes)):
        to = target.dtype if number else arrays.owner(target)
        made = derivative(arrays.owner(x), axis, to, m, cval, *extra_arguments, **(extra_keywords or {}))
        if dispatch.explaining() and isinstance(made, Explanation):
            made.lines.append(f"and so for each of {len(numbers)} axes; the results are summed")
            raise Told(made)
        if number:
            made = made if isinstance(x, np.ndarray) else arrays.array("input", made)
            each(made)
            arrays.combine("add", made, target)
        else:
            each(target)
    return target


@filter_function
def generic_laplace(input: Array, derivative2: Derivative, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, extra_arguments: Any = (),
                    extra_keywords: Any = None, *, axes: Any = None) -> Array:  # fmt: skip
    """Sum over the axes of a second derivative: derivative2(input, axis, output, mode, cval, *extra_arguments, **extra_keywords).

    `derivative2` gets arrays as `input` is one, `output` as an array or a dtype, and returns its result. mode : one, or a sequence, one per axis of
    `axes`.

    >>> generic_laplace(image, lambda x, axis, output, mode, cval: sepconv.ndimage.correlate1d(x, [1, -2, 1], axis, output, mode, cval))
    """
    return _summed(input, derivative2, output, mode, cval, extra_arguments, extra_keywords, axes, lambda values: None)


@filter_function
def laplace(input: Array, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None) -> Array:
    """Laplace filter: the sum over the axes of [1 -2 1]. mode may be a sequence, one per axis of `axes`; others as in `correlate1d`.

    >>> laplace([0.0, 0.0, 1.0, 0.0, 0.0])
    array([ 0.,  1., -2.,  1.,  0.])
    """

    def second(x: Array, axis: int, output: Any, mode: Any, cval: Any) -> Array:
        return correlate1d(x, [1, -2, 1], axis, output, mode, cval, 0)

    x, numbers = arrays.array("input", input), arguments.axis_numbers(axes, np.ndim(input))
    if isinstance(x, np.ndarray) and x.dtype.kind in "iuf" and len(numbers) == 2:
        target = arguments.result(output, x)
        modes = dict(zip(numbers, map(arguments.mode_code, arguments.one_each("mode", mode, 2))))
        if running.run_quick(x, target, _cross(x.ndim, numbers), [modes.get(axis, 0) for axis in range(x.ndim)], cval):
            return target
        input, output = x, target
    return generic_laplace(input, second, output, mode, cval, axes=axes)


def _cross(ndim: int, axes: tuple[int, ...]) -> np.ndarray:
    """The sum of [1 -2 1] along each of the axes as one n-D filter."""
    weights = np.zeros([3 if axis in axes else 1 for axis in range(ndim)])
    centre = tuple(n // 2 for n in weights.shape)
    for axis in axes:
        for at in (0, 2):
            weights[(*centre[:axis], at, *centre[axis + 1 :])] = 1
    weights[centre] = -2 * len(axes)
    return weights


def _derivative(order: int, input: Array, sigma: Any, axes: Any, kwargs: dict[str, Any]) -> Derivative:
    """The Gaussian derivative along one of the axes, smoothed along the others, in the array's order as in SciPy."""
    given = arguments.axis_numbers(axes, np.ndim(input))
    sigmas = arguments.one_each("sigma", sigma, len(given))
    numbers, deviations = zip(*sorted(zip(given, sigmas))) if given else ((), ())

    def along(x: Array, axis: int, output: Any, mode: Any, cval: Any) -> Array:
        orders = [order if other == axis else 0 for other in numbers]
        return gaussian_filter(x, deviations, orders, output, mode, cval, axes=numbers, **kwargs)

    return along


@filter_function
def gaussian_laplace(input: Array, sigma: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None,
                     **kwargs: Any) -> Array:  # fmt: skip
    """Laplace filter of Gaussian second derivatives. sigma, mode : one, or a sequence, one per axis of `axes`; `kwargs` go to `gaussian_filter`.

    >>> gaussian_laplace(numpy.eye(5), 1).shape
    (5, 5)
    """
    return generic_laplace(input, _derivative(2, input, sigma, axes, kwargs), output, mode, cval, axes=axes)


@filter_function
def generic_gradient_magnitude(input: Array, derivative: Derivative, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
                               extra_arguments: Any = (), extra_keywords: Any = None, *, axes: Any = None) -> Array:  # fmt: skip
    """Root of the sum over the axes of a squared derivative: derivative(input, axis, output, mode, cval, *extra_arguments, **extra_keywords).

    `derivative` gets arrays as `input` is one, `output` as an array or a dtype, and returns its result, which is then changed in place.

    >>> generic_gradient_magnitude(image, sepconv.ndimage.sobel)
    """
    target = _summed(
        input, derivative, output, mode, cval, extra_arguments, extra_keywords, axes, lambda values: arrays.combine("square", values, values)
    )
    if arguments.axis_numbers(axes, target.ndim):
        arrays.combine("root", target, target)
    return target


@filter_function
def gaussian_gradient_magnitude(input: Array, sigma: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None,
                                **kwargs: Any) -> Array:  # fmt: skip
    """Length of the gradient, of Gaussian derivatives. sigma, mode : one, or a sequence, one per axis of `axes`; `kwargs` go to `gaussian_filter`.

    >>> gaussian_gradient_magnitude(numpy.eye(5), 1).shape
    (5, 5)
    """
    return generic_gradient_magnitude(input, _derivative(1, input, sigma, axes, kwargs), output, mode, cval, axes=axes)
