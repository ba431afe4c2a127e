"""What `scipy.ndimage` means by its arguments."""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from ..backends import filters
from ..backends.filters import MODES, REAL, Pass
from . import _arrays as arrays

NUMBERS = (*REAL, *arrays.PARTS)  # dtypes that filters read
MOST = 2**40  # taps, whose scratch no machine has
T = TypeVar("T")


def numbers(name: str, x: np.ndarray) -> np.ndarray:
    """The array, if it is of a dtype that filters read; RuntimeError with SciPy's words if not."""
    if x.dtype.name not in NUMBERS:
        raise RuntimeError(f"array type {x.dtype!r} not supported for {name}; allowed are {', '.join(NUMBERS)}")
    return x


def image(input: Any) -> np.ndarray:
    """The argument `input`, checked."""
    return numbers("input", arrays.array("input", input))


def result(output: Any, input: np.ndarray, complex_result: bool | None = None) -> np.ndarray:
    """The array to write: a new one, of the input's dtype or of the dtype `output`, or `output` itself.

    complex_result: whether values are complex, if that is decided; then the dtype has to be. RuntimeError, as in SciPy, for one that does
    not fit.
    """
    promoted = np.promote_types(input.dtype, np.complex64) if complex_result else input.dtype
    if output is None:
        return new(input, promoted.newbyteorder("="))
    if isinstance(output, (str, type, np.dtype)):
        dtype = np.dtype(output)
        if isinstance(output, str) and not issubclass(dtype.type, np.number):
            raise RuntimeError(f"output must have numeric dtype, but is {output!r}")
        if complex_result and dtype.kind != "c":
            if isinstance(output, str):
                raise RuntimeError(f"output must have complex dtype, but is {output!r}")
            warnings.warn("promoting specified output dtype to complex", stacklevel=4)
            dtype = np.promote_types(dtype, np.complex64)
        return new(input, dtype)
    target = arrays.output(output, input)
    if target.shape != input.shape:
        raise RuntimeError(f"output shape not correct: it is {target.shape}, and the input's is {input.shape}")
    if complex_result and target.dtype.kind != "c":
        raise RuntimeError(f"output must have complex dtype, but is of {target.dtype}")
    if target.size and any(step == 0 and n > 1 for step, n in zip(target.strides, target.shape)):
        raise ValueError(f"output has the strides {target.strides} for the shape {target.shape}; its elements have to be apart")
    return numbers("output", target)


def new(input: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array for the result, of input's library."""
    numbers("output", np.empty(0, dtype))
    return arrays.like(input, dtype)


# --- the rest -------------------------------------------------------------------------------------------------------


def one_each(name: str, value: Any, count: int) -> list[Any]:
    """A list of `count`: the sequence itself, or the scalar repeated."""
    if isinstance(value, str) or not np.iterable(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise RuntimeError(f"sequence argument must have length equal to input rank: {name} is {value!r}, for {count} axes")
    return values


def named(name: str, value: Any, make: Callable[[Any], T]) -> T:
    """make(value); what it raises, as in SciPy, also tells the argument's name."""
    try:
        return make(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = next(kind for kind in (TypeError, ValueError, OverflowError) if isinstance(error, kind))
        raise kind(f"{name} is {value!r}: {error}") from None


def axis_number(axis: Any, ndim: int) -> int:
    number = named("axis", axis, operator.index)
    if not -ndim <= number < ndim:
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds for array of dimension {ndim}")
    return number % ndim


def axis_numbers(axes: Any, ndim: int) -> tuple[int, ...]:
    """All axes, or the given ones, from 0 on; ValueError for those that are not there or come twice."""
    if axes is None:
        return tuple(range(ndim))
    if not isinstance(axes, Iterable) or np.ndim(axes) == 0:
        if not np.isscalar(axes):
            raise ValueError(f"axes must be an integer, iterable of integers, or None, but is {axes!r}")
        axes = (axes,)
    found = [named("axes", axis, operator.index) for axis in axes]
    for axis in found:
        if not -ndim <= axis < ndim:
            raise np.exceptions.AxisError(f"specified axis: {axis} is out of range for {ndim} dimensions")
    found = [axis % ndim for axis in found]
    if len(set(found)) != len(found):
        raise ValueError(f"axes must be unique, but are {axes!r}")
    return tuple(found)


def mode_code(mode: Any) -> int:
    if not isinstance(mode, str) or mode not in MODES:
        raise RuntimeError(f"boundary mode not supported: {mode!r}; allowed are {', '.join(MODES)}")
    return MODES[mode]


def same_kind(input: Any, weights: np.ndarray, cval: Any) -> None:
    if weights.dtype.kind == "c" and not np.iscomplexobj(input) and np.iscomplexobj(cval):
        raise ValueError(f"Cannot provide a complex-valued cval when the input is real: cval is {cval!r}")


def real_number(cval: Any) -> float:
    if isinstance(cval, (complex, np.complexfloating)) or (isinstance(cval, np.ndarray) and cval.dtype.kind == "c"):
        raise TypeError(f"cval must be real number, not complex: {cval!r}, since the input is real")
    if isinstance(cval, str) or cval is None:
        raise TypeError(f"cval must be real number, not {type(cval).__name__}")
    return named("cval", cval, float)


def make_pass(axis: int, size: int, weights: np.ndarray | None, mode: Any, cval: Any, origin: Any, text: str) -> Pass:
    """A pass of the checked arguments; `text` is the error for an origin off the filter."""
    if size >= MOST:
        raise ValueError(f"size is {size}; allowed are filters of fewer than 2**40 taps")
    origin = named("origin", origin, operator.index)
    if not 0 <= size // 2 + origin < size:
        raise ValueError(f"{text}; it is {origin}, for {size} taps")
    return Pass(axis, size, weights, mode_code(mode), cval, origin)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Inside the block, filters of this thread (or task) sum in float64 and in SciPy's order, float32 images too: the same bits as SciPy's.

    >>> with sepconv.ndimage.exact(): sepconv.ndimage.gaussian_filter(image, 2)
    """
    token = filters.exact.set(True)
    try:
        yield
    finally:
        filters.exact.reset(token)
