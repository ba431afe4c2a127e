"""What `separate` and `factorize` share: both are truncated singular value decompositions, computed in float64 whatever the dtype, after scaling
by a power of two: a kernel times 1e30 or 1e-30 has the same rank and the same factors, scaled.
"""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from . import dispatch, dtypes
from .problem import integer

_ZERO = 1e-6  # a sum or an entry this small beside the whole vector is zero, when signs are chosen


def finite(name: str, array: Any, axes: range, form: str) -> np.ndarray:
    """A plain ndarray of finite numbers, in native byte order, or TypeError or ValueError."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is {reprlib.repr(array)}; allowed is a numpy.ndarray: convert it with numpy.asarray")
    array = dispatch.admit(name, array)
    array = array.astype(dtypes.check(name, array.dtype), copy=False)
    if array.ndim not in axes or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; allowed is {form}, every size at least 1")
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} is {array[at]} at index {at}; allowed are finite numbers")
    return array


def bounded(name: str, value: Any, most: int, why: str) -> int:
    allowed = f"an int from 1 to {most}, {why}"
    number = integer(name, value, 1, allowed)
    if number > most:
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")
    return number


# --- scale and sign -------------------------------------------------------------------------------------------------


def widened(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.complex128 if array.dtype.kind == "c" else np.float64)


def shifted(array: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """`array` times 2 ** exponent; unlike a product or a quotient of complex numbers it cannot overflow half-way."""
    return np.ldexp(array.view(np.float64), exponent).view(array.dtype)


def exponent_of(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Exponent of two of the largest entry over `axes`, which are kept; any number where all are zero."""
    return np.frexp(np.abs(array.view(np.float64)).max(axis=axes, keepdims=True))[1] - 1


def relative_error(dense: np.ndarray, exact: np.ndarray) -> float:
    """Frobenius norm of the difference over that of `exact`."""
    dense, exact = widened(dense), widened(exact)
    if not exact.any():
        return 0.0
    down = -int(exponent_of(exact, tuple(range(exact.ndim))).item())
    dense, exact = shifted(dense, down), shifted(exact, down)
    return float(np.linalg.norm((dense - exact).ravel()) / np.linalg.norm(exact.ravel()))


def _sums_to_zero(vectors: np.ndarray) -> np.ndarray:
    return np.abs(vectors.sum(-1, keepdims=True)) <= _ZERO * np.abs(vectors).sum(-1, keepdims=True)


def phase_of(vectors: np.ndarray) -> np.ndarray:
    """Sign (a unit complex number, if complex) of each vector's sum or, where that is zero, of its first entry that is not."""
    size = np.abs(vectors)
    first = (size > _ZERO * size.max(-1, keepdims=True)).argmax(-1)[..., None]
    lead = np.where(_sums_to_zero(vectors), np.take_along_axis(vectors, first, -1), vectors.sum(-1, keepdims=True))
    return lead / np.abs(lead)


def signs_of(vectors: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What to multiply the vectors of each term by, (axes, terms, 1), and the axis that carries the term's sign, (terms, 1)."""
    phases = np.stack([phase_of(v) for v in vectors])
    level = np.stack([_sums_to_zero(v) for v in vectors])
    carrier = len(vectors) - 1 - level[::-1].argmax(0)
    axes = np.arange(len(vectors))[:, None, None]
    return phases.conj() * np.where(axes == carrier, phases.prod(0), 1), carrier
