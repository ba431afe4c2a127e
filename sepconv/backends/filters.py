"""What a backend is asked for by `sepconv.ndimage` and `sepconv.signal`, and the same in plain NumPy: the meaning, and the oracle of the tests.

A backend that filters has

    passes(input, output, passes)                                   1-D filters one after the other, each along one axis
    dense(input, output, weights, modes, cval, origins)             one n-D filter, for each axis a mode and an origin
    describe(what, input, output, ...)                              the same arguments -> what would run, in lines for people

One that filters arrays other than NumPy's also has

    combined(what, x, y, number)                                    y becomes something of x and y, element by element

`passes` and `dense` may return a callable that does it again, f(input, output) for arrays of the same shapes, strides and dtypes that share no
memory; it returns whether it could.

`input` and `output` are real arrays of one shape and of the dtypes in REAL, in any strides, and may share memory. All is summed in float64; unless
`exact` is set a backend may keep to the bounds that `sepconv.ndimage` states instead. After each pass the values are cast to the output's dtype,
as SciPy does: toward zero for integers, which wrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from .borders import CONSTANT, EDGE, REFLECT, SYMMETRIC, WRAP, source

REAL = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
MODES = {
    "reflect": SYMMETRIC, "grid-mirror": SYMMETRIC, "mirror": REFLECT, "nearest": EDGE, "wrap": WRAP, "grid-wrap": WRAP,
    "constant": CONSTANT, "grid-constant": CONSTANT,
}  # fmt: skip
exact: ContextVar[bool] = ContextVar("sepconv_ndimage_exact", default=False)  # whether sums have to be taken in float64, in SciPy's order
GENERAL, SYMMETRIC_TAPS, ANTISYMMETRIC_TAPS = range(3)


class Pass(NamedTuple):
    """One 1-D correlation: out[i] = sum over j of weights[j] * in[i + j - size // 2 - origin], or the mean of those if weights is None."""

    axis: int
    size: int
    weights: np.ndarray | None  # float64, contiguous
    mode: int  # of `borders`
    cval: float
    origin: int

    @property
    def before(self) -> int:
        """How far the first tap lies before the output."""
        return self.size // 2 + self.origin


def symmetry(weights: np.ndarray) -> int:
    """Whether taps can share a product: a mirrored pair counts as equal if it is to the rounding of the largest tap.

    SciPy compares with 2.2e-16 whatever the weights, and takes small ones for symmetric that are not.
    """
    if len(weights) % 2 == 0 or len(weights) == 1:
        return GENERAL
    half = len(weights) // 2
    left, right = weights[:half], weights[:half:-1]
    near = np.finfo(np.float64).eps * np.abs(weights).max()
    if (np.abs(left - right) <= near).all():
        return SYMMETRIC_TAPS
    if (np.abs(left + right) <= near).all():
        return ANTISYMMETRIC_TAPS
    return GENERAL


def order(taps: int, kind: int) -> list[tuple[int, ...]]:
    """Which taps are multiplied by one weight, in the order of the sum: SciPy's, so that the last bit agrees."""
    if kind == GENERAL:
        return [(taps - 1,), *((j,) for j in range(taps - 1))]
    return [(taps // 2,), *((j, taps - 1 - j) for j in range(taps // 2))]


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 to the output's dtype. Integers are cut toward zero and wrap; what does not fit int64 (int32 for the narrow ones), and NaN,
    becomes some number."""
    if dtype.kind == "f":
        return values.astype(dtype)
    if dtype.kind == "b":
        return np.trunc(values) != 0
    with np.errstate(invalid="ignore"):
        if dtype == np.uint64:
            high = values >= 2.0**63
            return np.where(high, values - 2.0**63, values).astype(np.int64).view(np.uint64) + (high.astype(np.uint64) << np.uint64(63))
        return values.astype(np.int32 if dtype.itemsize < 4 or dtype == np.int32 else np.int64).astype(dtype)


def padded(x: np.ndarray, axis: int, before: int, after: int, mode: int, cval: Any) -> np.ndarray:
    """x with more positions before and after it on one axis, filled by a border mode of `borders`."""
    n = x.shape[axis]
    if n == 0:
        return np.full((*x.shape[:axis], before + after, *x.shape[axis + 1 :]), cval, x.dtype)
    places = np.array([source(i, n, mode) for i in range(-before, n + after)], np.int64)
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.where((places < 0).reshape(shape), cval, x.take(places, axis))


def passes(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> None:
    """The passes, the first from input to output, the others on output."""
    x = input
    for p in passes if output.size else ():
        n = x.shape[p.axis]
        wide = padded(x.astype(np.float64), p.axis, p.before, p.size - 1 - p.before, p.mode, p.cval)
        taps = [wide.take(range(j, j + n), p.axis) for j in range(p.size)]
        with np.errstate(all="ignore"):
            if p.weights is None:
                total = sum(taps[1:], taps[0]) / p.size
            else:
                kind = symmetry(p.weights)
                terms = order(p.size, kind)
                total = taps[terms[0][0]] * p.weights[terms[0][0]]
                for first, *second in terms[1:]:
                    pair = taps[first]
                    if second:
                        pair = pair + taps[second[0]] if kind == SYMMETRIC_TAPS else pair - taps[second[0]]
                    total = total + pair * p.weights[first]
            output[...] = cast(total, output.dtype)
        x = output


def dense(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]) -> None:
    """One n-D correlation; weights, modes and origins have an entry for each axis. Taps of zero are left out, as in SciPy."""
    if not output.size:
        return
    wide, total = input.astype(np.float64), np.zeros(input.shape)
    for axis, (k, mode, origin) in enumerate(zip(weights.shape, modes, origins)):
        before = k // 2 + origin
        wide = padded(wide, axis, before, k - 1 - before, mode, cval)
    with np.errstate(all="ignore"):
        for at in np.argwhere(weights != 0):
            total += weights[tuple(at)] * wide[tuple(slice(i, i + n) for i, n in zip(at, input.shape))]
        output[...] = cast(total, output.dtype)


def describe(what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> list[str]:
    return [*said(what, arguments), "plain NumPy in float64"]


def said(what: str, arguments: Sequence[Any]) -> list[str]:
    """The filter in words; a note may follow its arguments."""
    if what == "dense":
        return [f"n-D filter of {'x'.join(map(str, arguments[0].shape))} taps, of which {np.count_nonzero(arguments[0])} are not zero"]
    each = [f"{'mean of' if p.weights is None else 'filter of'} {p.size} along axis {p.axis}" for p in arguments[0]]
    return [*arguments[1:], ", then ".join(each)]
