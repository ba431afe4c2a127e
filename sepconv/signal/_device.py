"""The convolutions of `sepconv.signal` on a GPU: arrays with their border around them, filtered by the engine of `sepconv.ndimage`.

Sums are taken in float64, of integers too: exact below 2**53. in2, the taps, may lie on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..backends.borders import SYMMETRIC, WRAP, source
from ..dispatch import explaining
from ..ndimage import _arrays as arrays
from ..ndimage import _running as running

BORDERS = {"wrap": WRAP, "symmetric": SYMMETRIC}


def _part(x: Any, axis: int, start: int, count: int) -> Any:
    """The places start to start + count along an axis, in x's memory."""
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return replace(x, address=x.address + start * x.strides[axis], shape=shape)


def _within(x: Any, starts: Sequence[int], counts: Sequence[int]) -> Any:
    for axis, (start, count) in enumerate(zip(starts, counts)):
        x = _part(x, axis, start, count)
    return x


def padded(x: Any, pads: Sequence[tuple[int, int]], border: str, dtype: np.dtype, fill: complex = 0.0) -> Any:
    """A new array of x with what lies beyond its edge: `fill`, or what `border` says."""
    made = arrays.like(replace(x, shape=tuple(n + a + b for n, (a, b) in zip(x.shape, pads))), dtype)
    starts = [a for a, _ in pads]
    arrays.combine("fill", made, made, fill)
    inside = _within(made, starts, x.shape)
    if dtype.kind == "c" and x.dtype.kind != "c":
        arrays.combine("fill", inside, inside)
    arrays.combine("copy", x, inside)
    for axis, (n, (a, b)) in enumerate(zip(x.shape, pads) if border != "constant" else ()):
        for at in (*range(-a, 0), *range(n, n + b)):
            arrays.combine("copy", _part(made, axis, a + source(at, n, BORDERS[border]), 1), _part(made, axis, a + at, 1))
    return made


def correlated(x: Any, w: np.ndarray, pads: Sequence[tuple[int, int]], border: str, dtype: np.dtype, fill: complex = 0.0) -> Any:
    """The correlation of a device's array with taps of the host, not conjugated."""
    if explaining():
        running.explain_dense(x, w)
    if any(n + a + b < k for n, (a, b), k in zip(x.shape, pads, w.shape)):
        raise ValueError(f"in2 has the shape {w.shape}; it is larger than in1, {x.shape}, and what is around it")
    wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    x = padded(x, pads, border, wide, fill)
    sums = arrays.like(x, wide)

    def real(part: Any, taps: np.ndarray, to: Any, cval: Any) -> None:
        running.run_dense(part, to, np.ascontiguousarray(taps, np.float64), 0, 0.0, [-(k // 2) for k in taps.shape])

    running.by_parts(real, x, w.astype(wide), sums, 0.0)
    return finished(_within(sums, [0] * w.ndim, [n - k + 1 for n, k in zip(x.shape, w.shape)]), dtype)


def finished(sums: Any, dtype: np.dtype) -> Any:
    """A new array of sums in the dtype of the result; integers wrap."""
    result = arrays.like(sums, dtype)
    if dtype.kind in "iu" and dtype.itemsize < 8:
        wide = arrays.like(sums, np.dtype(np.int64))
        arrays.combine("copy", sums, wide)
        sums = replace(wide, dtype=dtype)  # its lower bytes
    arrays.combine("copy", sums, result)
    return result


def spread(x: Any, shape: tuple[int, ...]) -> Any:
    """`numpy.broadcast_to`, of as many axes."""
    return replace(x, shape=shape, strides=tuple(0 if n == 1 else step for n, step in zip(x.shape, x.strides)))


def along(x: Any, taps: int, axis: int, dtype: np.dtype, state: Any, run: Callable[[Any, Any], None]) -> Any:
    """`lfilter` of a device's array: `run` filters from the first array to the second. With a state, (y, the state after)."""
    after = 0 if state is None else taps - 1
    if after or (dtype.kind == "c" and x.dtype.kind != "c"):
        x = padded(x, [(0, after * (a == axis)) for a in range(x.ndim)], "constant", dtype)
    y, n = arrays.like(x, dtype), x.shape[axis] - after
    run(x, y)
    if state is None:
        return y.owner
    arrays.combine("add", state, _part(y, axis, 0, after))
    return finished(_part(y, axis, 0, n), dtype).owner, finished(_part(y, axis, n, after), dtype).owner
