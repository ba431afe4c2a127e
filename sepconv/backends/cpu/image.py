"""What the two sweeps over images, of `sweep.py` and `window.py`, share: which arrays they take, the first part of their records, how lines of
scratch get their border.

An image is `outer` planes of rows; a row is one run of elements, in which a pixel's neighbour is STEP elements further: the channels of a colour
image are columns as any. Jobs are (plane, band of rows, strip of columns), so that a strip's lines stay in the caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .entry import address
from .frame import STRANGE
from .intrinsics import load, store
from .jit import callee
from .loops import border
from .programs import Program, Step

# The record, besides BEGIN, END, CHUNKS and STRANGE of `frame`. Addresses of the images; byte strides of planes and rows
X, Y = 0, 1
OUTER, ROWS, COLS, STEP, XO, XR, YO, YR = range(9, 17)
# border modes of columns and rows; addresses of a row of what lies beyond the image, and of one pixel of what lies beyond a line
MODE, MODE2, OUTSIDE, OUTSIDE2 = range(17, 21)
# how it is cut: bytes of a line of scratch and of all scratch; whether results go past the caches where they lie in whole cache lines
BANDS, STRIPS, PITCH, ROOM, PAST = range(21, 26)
FREE, LENGTH = 26, 64
FAR = 3 * 2**23  # bytes of input and result that no cache holds: then results go past the caches


def planes_of(array: np.ndarray, axis: int) -> tuple[int, int, int, int, int, int] | None:
    """(planes, bytes from one to the next, rows, bytes, elements of a row, elements of a pixel) with rows along `axis`; None: it has no such."""
    shape, strides = array.shape, array.strides
    run = array.itemsize
    for n, s in zip(shape[:axis:-1], strides[:axis:-1]):
        if n > 1 and s != run:
            return None
        run *= n
    count, step = 1, 0
    for n, s in zip(shape[:axis][::-1], strides[:axis][::-1]):
        if n > 1:
            if count > 1 and s != step * count:
                return None
            count, step = count * n, step if count > 1 else s
    return count, step, shape[axis], strides[axis], run // array.itemsize, math.prod(shape[axis + 2 :])


def lies_in_rows(array: np.ndarray, axis: int) -> bool:
    """Whether a sweep can read, or write, the array where it lies."""
    return array.dtype.isnative and array.flags.aligned and planes_of(array, axis) is not None


def ran(input: np.ndarray, output: np.ndarray, axes: tuple[int, int], run: Callable[[np.ndarray, np.ndarray], list[Step]]
) -> tuple[bool, Program | None]:  # fmt: skip
    """Runs the steps that `run` makes of input and output, or of copies of which rows lie along these axes: whether they did it, and what can be run
    again; if they did not, `output` may hold anything."""
    x, y = input, output
    if np.may_share_memory(input, output) or not lies_in_rows(input, axes[0]):
        x = np.array(input, input.dtype.newbyteorder("="), order="C")
    if not lies_in_rows(output, axes[1]):
        y = np.empty(output.shape, output.dtype.newbyteorder("="))
    steps = run(x, y)
    if steps[-1].record[STRANGE]:
        return False, None
    if y is not output:
        output[...] = y
    return True, Program(steps, (y.shape, y.dtype)) if x is input and y is output else None


def recorded(x: np.ndarray, y: np.ndarray, axis: int, modes: tuple[int, int], row: float, pixel: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A record's first part but for how it is cut, and arrays that it has the addresses of; `row`, `pixel`: what lies beyond columns and lines."""
    planes, xo, rows, xr, cols, step = planes_of(x, axis)  # type: ignore[misc]
    _, yo, _, yr, _, _ = planes_of(y, axis)  # type: ignore[misc]
    record, kept = np.zeros(LENGTH, np.int64), [np.full(cols, row).astype(x.dtype), pixel]
    record[[X, Y]] = address(x), address(y)
    record[OUTER : YR + 1] = planes, rows, cols, step, xo, xr, yo, yr
    record[MODE : OUTSIDE2 + 1] = *modes, address(kept[0]), address(pixel)
    record[PAST] = x.nbytes + y.nbytes > FAR
    return record, kept


# --- in the kernels -------------------------------------------------------------------------------------------------


@callee
def job_of(q, job):  # type: ignore[no-untyped-def]
    """(plane, its first row, the row after the last one, the first column, the column after the last one)."""
    rest, strip = divmod(job, q[STRIPS])
    plane, band = divmod(rest, q[BANDS])
    return plane, q[ROWS] * band // q[BANDS], q[ROWS] * (band + 1) // q[BANDS], edge(q, strip), edge(q, strip + 1)


@callee
def edge(q, strip):  # type: ignore[no-untyped-def]
    """The column where a strip begins, and the one before it ends."""
    at = q[COLS] * strip // q[STRIPS]
    return at if strip == q[STRIPS] else at // 64 * 64


@callee
def row_at(q, x, row):  # type: ignore[no-untyped-def]
    """The address of a row of the plane at address x, inside the image or not."""
    at = border(row, q[ROWS], q[MODE])
    return x + at * q[XR] if at >= 0 else q[OUTSIDE]


@callee
def sources(q, known, left, right, size):  # type: ignore[no-untyped-def]
    """For each of the elements left to right that lies beyond the image: bytes from the first of them to what it copies, or -1."""
    step, pixels = q[STEP], q[COLS] // q[STEP]
    for begin, end in ((left, min(right, 0)), (max(left, q[COLS]), right)):
        for at in range(begin, end):
            pixel = border(at // step, pixels, q[MODE2])
            store(known, (pixel * step + at % step - left) * size if pixel >= 0 else -1, "int64")
            known += 8


@callee
def ends(q, line, left, right, known, size):  # type: ignore[no-untyped-def]
    """Fills what lies beyond the image of the elements left to right in a line of scratch, from the line itself, as `sources` knows."""
    for begin, end in ((left, min(right, 0)), (max(left, q[COLS]), right)):
        for to in range(line + (begin - left) * size, line + (end - left) * size, size):
            source = load(known, "int64")
            at = line + source if source >= 0 else q[OUTSIDE2]
            if size == 4:
                store(to, load(at, "int32"), "int32")
            elif size == 1:
                store(to, load(at, "uint8"), "uint8")
            else:
                store(to, load(at, "int16"), "int16")
            known += 8
