"""Which dense filters run on the depthwise tile in float32, and the record that tells `window.py` how.

float32 images are summed in float32. Sums of narrow integers by whole weights are exact; by others, those of uint8 images into uint8 are taken
again in float64 where float32 leaves it in doubt to which whole number they are cut, and those of other integers are right to within 1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..borders import CONSTANT, WRAP
from ..filters import GENERAL
from . import bands, digits, dots, image, runtime, team, tiles, window
from .choice import SERIAL
from .entry import address
from .fused import FEW, LARGE, WHOLE, holds
from .image import ran
from .programs import Program, Step, launched

MOST = 64  # rows of taps, for each number of which a kernel is compiled
TAPS = 512  # in all
DEEP = 56  # rows of a band
WIDE = 1024  # columns of a strip


def _frame(shape: tuple[int, ...]) -> int | None:
    """The axis of the rows of an image that a filter of this shape runs over, which are neighbours; None: it has more than two axes."""
    along = [axis for axis, k in enumerate(shape) if k > 1]
    if not along or along[-1] - along[0] > 1:
        return None
    return min(along[0], len(shape) - 2)


def _exact(x: str, weights: np.ndarray) -> bool:
    """Whether float32 holds all sums: whole numbers of some unit, less than 2**24 of it."""
    unit = 2.0 ** (int(np.frexp(np.abs(weights).sum())[1]) + 8 * np.dtype(x).itemsize - 24)
    scaled = weights / unit
    return bool((scaled == np.rint(scaled)).all())


def _how(x: str, y: str, weights: np.ndarray, columns: int) -> int | None:
    """What becomes of the sums of a row of so many; None: float32 does not do."""
    if y == "float32":
        return window.PLAIN
    if x not in WHOLE or y not in WHOLE:
        return None
    total, whole = float(np.abs(weights).sum()), 8 * np.dtype(x).itemsize
    if total * 2.0**whole >= 2.0**31:
        return None
    if _exact(x, weights):
        return window.CUT
    if x == y == "uint8":
        quick = columns >= dots.SPAN and runtime.has(*dots.NEEDED) and digits.fits(weights[weights != 0], GENERAL)
        return window.BYTES if quick else window.SURE
    return window.CUT if (weights.size + 3) * total * 2.0**whole < 2.0**24 else None


def fits(output: np.ndarray, read: str, weights: np.ndarray, modes: Sequence[int], cval: float) -> tuple[int, int] | None:
    """(axis of the rows, what becomes of the sums), or None. Nothing is asked about strides: bits do not depend on them."""
    axis, largest = _frame(weights.shape), float(np.abs(weights).max(initial=0))
    if axis is None or output.size < FEW or not {read, output.dtype.name} <= {*bands.READS} or not 1 / LARGE < largest < LARGE:
        return None
    taps = weights.shape[axis : axis + 2]
    if max(taps[0], weights.size / TAPS * MOST) > MOST or np.prod(output.shape[axis + 1 :]) < runtime.machine().lanes("float32"):
        return None
    if any(mode == CONSTANT and k > 1 for mode, k in zip(modes[axis:], taps)) and not holds(read, cval):
        return None
    how = _how(read, output.dtype.name, weights, int(np.prod(output.shape[axis + 1 :])))
    return None if how is None else (axis, how)


def dense(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]
) -> tuple[bool, Program | None]:  # fmt: skip
    """Runs it as `filters.dense` says, if it can be done here: whether it did, and what can be run again; else `output` may hold anything."""
    if output.ndim == 1:
        input, output, weights, modes, origins = input[None], output[None], weights[None], [WRAP, *modes], [0, *origins]
    chosen = fits(output, input.dtype.name, weights, modes, cval)
    if chosen is None:
        return False, None
    axis, how = chosen
    return ran(input, output, (axis, axis), lambda x, y: [_run(x, y, axis, how, weights, modes, cval, origins)])


def _run(x: np.ndarray, y: np.ndarray, axis: int, how: int, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]) -> Step:
    taps = weights.reshape(weights.shape[axis], -1)
    (k, across), machine, workers = taps.shape, runtime.machine(), team.workers()
    beyond = cval if CONSTANT in [mode for mode, n in zip(modes[axis:], taps.shape) if n > 1] else 0
    pixel = np.full(1, beyond).astype(np.uint8 if how == window.BYTES else np.float32)
    record, kept = image.recorded(x, y, axis, (modes[axis], modes[axis + 1]), beyond, pixel)
    planes, rows, cols, step = record[image.OUTER : image.STEP + 1].tolist()
    workers = workers if taps.size * x.size > SERIAL else 1
    strips = 1 if modes[axis + 1] == WRAP and across > 1 else max(1, cols // max(WIDE, 4 * across * step))
    deep = max(8, DEEP * 2 * WIDE // max(2 * WIDE, cols // strips))
    cut = max(-(-rows // deep), min(rows, -(-workers // (planes * strips))))
    lanes, high, vectors = _tile(rows // cut, cols if strips == 1 else cols // strips - 63, k, across)
    pitch = (-(-(-(-cols // strips) + 128 + (across - 1) * step) * 4 // 64) | 1) * 64
    places = np.ascontiguousarray(np.roll(np.argwhere(taps), -1, 0))  # `exactly` begins with the last one
    known = taps[tuple(places.T)]
    near = np.array([2.0**-24 * (taps.size + 5) * 255 * float(np.abs(taps).sum())], np.float32)
    held = [np.zeros(4, np.float32), taps.astype(np.float32), known, places, near]
    record[[window.ZERO, window.WEIGHTS, window.EXACT, window.PLACES, window.NEAR]] = [address(each) for each in held]
    record[window.TAPS : window.BEFORE2 + 1] = across, *(taps.shape[i] // 2 + origins[axis + i] for i in (0, 1))
    record[[window.COUNT, window.CHECK]] = len(places), x.dtype.name == "float32" and len(places) < taps.size
    if how == window.BYTES:
        vectors = digits.groups([(len(places), 1)])
        held += [digits.block(known, GENERAL, 1, vectors), digits.level(known, GENERAL)]
        record[[window.WEIGHTS, window.NEAR, window.TOGETHER]] = address(held[-2]), address(held[-1]), digits.chunks(len(places), 1, vectors)
    room = high * vectors * lanes * 4 + (len(places) + across * step) * 8 + (-(-rows // cut) + k) * pitch + 4096
    record[image.BANDS : image.ROOM + 1] = cut, strips, pitch, room
    written_out = across if machine.registers == 32 and taps.size <= 9 else 0
    kernel = runtime.kernel(window.windowed, lanes, k, written_out, high, vectors, x.dtype.name, y.dtype.name, how)
    jobs = planes * cut * strips
    return launched(kernel, record, jobs, min(workers, jobs), kept + held)


@functools.lru_cache(256)
def _tile(height: int, columns: int, k: int, across: int) -> tuple[int, int, int]:
    """(lanes, rows, vectors) of the tile for a band so high and a strip so wide: the least cycles for an output, of which a vector's load takes
    two, since most lie across two cache lines."""
    machine = runtime.machine()
    lanes = machine.lanes("float32")

    def cycles(shape: tuple[int, int]) -> float:
        high, vectors = shape
        loads = 2 * (high + k - 1) * vectors * across
        return -(-height // high) * (max(max(high * vectors, 8) * k * across, loads) + 20 + 2 * high * vectors) / vectors

    shapes = tiles.ROWS_FIRST[machine.registers]
    fitting = (each for each in shapes if each[0] <= height and each[1] * lanes <= columns and each[0] * each[1] <= 16)
    return lanes, *min(fitting, key=cycles)


def how(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float) -> str:
    """What `dense` would do, in words; "" if it would not."""
    if output.ndim == 1:
        output, weights, modes = output[None], weights[None], [WRAP, *modes]
    chosen = fits(output, input.dtype.name, weights, modes, cval)
    if chosen is None:
        return ""
    if chosen[1] == window.BYTES:
        return f"rows of bytes in scratch ({input.dtype} -> {output.dtype}), {dots.SAID}"
    ending = ("", ", cut to whole numbers", ", cut to whole numbers, again in float64 where that is in doubt")[chosen[1]]
    return f"the depthwise tile over rows in scratch, in float32 ({input.dtype} -> {output.dtype}{ending})"
