"""Large dense filters of images through the frequencies, in float32, by `scipy.fft` where SciPy is installed.

Overlap-save (T. G. Stockham, "High-speed convolution and correlation", 1966): squares of the image that overlap by the filter are transformed,
multiplied and transformed back; of each result the part that no square's edge has spoilt is kept. A square and its spectrum stay in the caches.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..._fourier import good_size, scipy_fft
from ..borders import CODES, CONSTANT
from . import bands, fused, team

FEWEST = 400  # taps up to which the tile of `window.py` is as fast
SIDES = 216, 324  # pixels along the side of a square, so that it stays in the caches; more for wide filters
TOGETHER = 2  # squares transformed at a time
NAMES = {code: name for name, code in CODES.items()}


def axes(output: np.ndarray, read: str, weights: np.ndarray, modes: Sequence[int], cval: float) -> tuple[int, ...]:
    """The two axes that are filtered; none: it is to be done otherwise."""
    along = tuple(axis for axis, k in enumerate(weights.shape) if k > 1)
    if len(along) != 2 or weights.size <= FEWEST or not {read, output.dtype.name} <= {*bands.READS} or not np.isfinite(weights).all():
        return ()
    if modes[along[0]] != modes[along[1]] or (modes[along[0]] == CONSTANT and not fused.holds(read, cval)):
        return ()
    large = output.size >= fused.FEW and all(weights.shape[axis] <= output.shape[axis] for axis in along)
    total = float(np.abs(weights).sum())
    if not large or not 1 / fused.LARGE < total < fused.LARGE or scipy_fft() is None:
        return ()
    if output.dtype.kind != "f":  # whole numbers stay whole: their sums are taken elsewhere; others are to be right to within 1
        most = 2.0 ** (8 * np.dtype(read).itemsize)
        if read == "float32" or (weights == np.rint(weights)).all() or _unsure(read, weights) > 0.25 or total * most >= 2.0**31:
            return ()
    return along


def _unsure(read: str, weights: np.ndarray) -> float:
    """How far from the exact sum of integers one in float32 may be."""
    return 2.0 ** (8 * np.dtype(read).itemsize - 20) * float(np.abs(weights).sum())


@functools.lru_cache(256)
def _side(pixels: int, taps: int) -> int:
    """The side of squares of which the fewest pixels are transformed: so that a whole number of them just covers the image."""
    least, most = (max(side, by * taps) for side, by in zip(SIDES, (4, 5)))
    return min({good_size(n) for n in range(least, most + 1)}, key=lambda side: (-(-pixels // (side - taps + 1)) * side, side))


def filtered(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]) -> bool:
    """Runs it as `filters.dense` says, if it can be done here; else `output` may hold anything."""
    along = axes(output, input.dtype.name, weights, modes, cval)
    if not along:
        return False
    x = np.moveaxis(input, along, (-2, -1))
    y = np.moveaxis(output, along, (-2, -1))
    if np.may_share_memory(input, output):
        x = x.copy()
    taps = weights.reshape([weights.shape[axis] for axis in along])
    before = [k // 2 + origins[axis] for k, axis in zip(taps.shape, along)]
    keywords = {"constant_values": cval} if modes[along[0]] == CONSTANT else {}
    sides = [_side(n, k) for n, k in zip(x.shape[-2:], taps.shape)]
    steps = [side - k + 1 for side, k in zip(sides, taps.shape)]
    # What lies beyond the edge, and zeros up to a whole number of squares.
    margins = [(b, k - 1 - b) for k, b in zip(taps.shape, before)]
    spare = [(0, -n % step) for n, step in zip(x.shape[-2:], steps)]
    spectrum = np.conj(scipy_fft().rfft2(taps.astype(np.float32), sides))
    nudge = 0.0 if output.dtype.kind == "f" else _unsure(input.dtype.name, weights)
    for at in np.ndindex(x.shape[:-2]):
        padded = np.pad(np.pad(x[at].astype(np.float32, copy=False), margins, NAMES[modes[along[0]]], **keywords), spare)
        if not _plane(padded, y[at], spectrum, sides, steps, nudge):
            return False
    return True


def _plane(x: np.ndarray, y: np.ndarray, spectrum: np.ndarray, sides: Sequence[int], steps: Sequence[int], nudge: float) -> bool:
    """One image, its border around it; whether all that it holds is finite. Rows of squares are shared out to threads, which SciPy lets run."""
    work = functools.partial(_row, x, y, spectrum, sides, steps, nudge)
    parts, workers = range(0, y.shape[0], steps[0]), team.workers()
    if workers == 1:
        return all(map(work, parts))
    with ThreadPoolExecutor(workers) as pool:
        return all(pool.map(work, parts))


def _row(x: np.ndarray, y: np.ndarray, spectrum: np.ndarray, sides: Sequence[int], steps: Sequence[int], nudge: float, row: int) -> bool:
    fft, columns = scipy_fft(), y.shape[1]
    for col in range(0, columns, TOGETHER * steps[1]):
        count = min(TOGETHER, -(-(columns - col) // steps[1]))
        part = x[row : row + sides[0], col:]
        squares = np.lib.stride_tricks.as_strided(part, (count, *sides), (steps[1] * x.strides[1], *x.strides), writeable=False)
        product = fft.rfft2(squares)
        product *= spectrum
        product = fft.ifft(product, axis=1, overwrite_x=True)[:, : steps[0]]  # in place, and of the rows only those that are kept go on
        made = fft.irfft(product, sides[1], overwrite_x=True)[:, :, : steps[1]]
        if not np.isfinite(made[:, 0, 0].sum()):
            return False  # one NaN or infinity spoils all of a square
        to = y[row : row + steps[0], col : col + count * steps[1]]
        for number, square in enumerate(made):
            place = to[:, number * steps[1] : (number + 1) * steps[1]]
            values = square[: place.shape[0], : place.shape[1]]
            if to.dtype.kind != "f":  # what is a whole number but for rounding is not cut to the one below
                values = np.trunc(values + np.copysign(np.float32(nudge), values)).astype(np.int32)
            place[...] = values
    return True
