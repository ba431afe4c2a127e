"""Dense filters of images in float32: bands of rows are filled into scratch, as float32 and with the border, and the depthwise tile runs over
them. What it makes goes into the image, or is cut to whole numbers on the way there.
"""

from __future__ import annotations

import numpy as np

from ..filters import GENERAL
from .bands import moved, width
from .digits import LONG
from .dots import SPAN, row_of_dots
from .exact import whole
from .frame import BEGIN, CHUNKS, END, STRANGE  # noqa: F401
from .image import COLS, FREE, PAST, PITCH, ROOM, STEP, XO, XR, YO, YR, X, Y, ends, job_of, row_at, sources
from .intrinsics import copy_line, drain, keep, keep_subnormals, load, prefetch, restore, store, words
from .jit import callee
from .loops import aligned, first_job, placed, strange_run
from .stencil import FIRST, INSIDE, tile

# The record after its first part: taps along a row (those down are the kernel's); taps before the output; addresses of the weights, of a zero
TAPS, BEFORE, BEFORE2, WEIGHTS, ZERO = range(FREE, FREE + 5)
# of what a sum cut to whole numbers needs: how near to one it is unsure; taps that are not 0: how many, weights, (row, place) of each
NEAR, COUNT, EXACT, PLACES = range(FREE + 5, FREE + 9)
# whether an infinity or NaN in the image is to be told; chunks of taps, of `dots`, whose block is then where the weights are, and its levels where
# what is near
CHECK, TOGETHER = FREE + 9, FREE + 10
USED = FREE + 11
PLAIN, CUT, SURE, BYTES = range(4)  # what becomes of sums: float32, or cut with no regard to rounding; cut as float64 would be; by `dots`

ONE = str(INSIDE)  # all that a tile over scratch meets


@callee
def run(lanes, read, kept, inside, x, to, count):  # type: ignore[no-untyped-def]
    """`count` neighbours as `kept`, float32 or the bytes that they are; no fewer than `lanes`, or one by one."""
    if kept == "uint8":
        for at in range(0, count - SPAN + 1, SPAN):
            copy_line(to + at, x + at)
        for at in range(count // SPAN * SPAN, count):
            store(to + at, load(x + at, "uint8"), "uint8")
        return
    if count < lanes:
        for i in range(count):
            store(to + i * 4, np.float32(load(x + i * inside, read)), "float32")
        return
    for at in range(0, count - lanes + 1, lanes):
        moved(lanes, read, "float32", x + at * inside, to + at * 4, 0)
    moved(lanes, read, "float32", x + (count - lanes) * inside, to + (count - lanes) * 4, 0)


@callee
def fill(lanes, read, kept, inside, size, q, x, row0, count, left, right, lines, known):  # type: ignore[no-untyped-def]
    """The elements left to right of `count` rows, from row0 on, inside the image at address x or not, in lines of scratch. Whether one is
    infinite or NaN, if that is asked."""
    begin, end, found = max(left, 0), min(right, q[COLS]), False
    sources(q, known, left, right, size)
    for r in range(count):
        line = lines + r * q[PITCH]
        run(lanes, read, kept, inside, row_at(q, x, row0 + r) + begin * inside, line + (begin - left) * size, end - begin)
        ends(q, line, left, right, known, size)
        if q[CHECK] != 0:
            found |= strange_run(line, right - left, 4)
    return found


@callee
def upper_left(q, job, inside):  # type: ignore[no-untyped-def]
    """The address of a job's first pixel, in the image or before it."""
    plane, row0, _, c0, _ = job_of(q, job)
    return q[X] + plane * q[XO] + (row0 - q[BEFORE]) * q[XR] + c0 * inside


@callee
def finish(lanes, rows, vectors, write, outside, how, q, made, table, near, at, y):  # type: ignore[no-untyped-def]
    """A tile of sums as whole numbers to address y on; `at`: bytes from the first line's beginning to the window of the first sum."""
    span = lanes * vectors
    for r in range(rows):
        source, to = made + r * span * 4, y + r * q[YR]
        if how == SURE:
            whole(lanes, "float32", write, 4, outside, source, table, at + r * q[PITCH], 0, span, near, q[EXACT], q[COUNT], GENERAL, to)
        else:
            for v in range(0, span, lanes):
                moved(lanes, "float32", write, source + v * 4, to + v * outside, 0)


@callee
def tables(q, lines, table, size):  # type: ignore[no-untyped-def]
    """Where the taps that are not 0 lie of the window at the beginning of scratch, of elements of that size."""
    for t in range(q[COUNT]):
        row, place = load(q[PLACES] + t * 16, "int64"), load(q[PLACES] + t * 16 + 8, "int64")
        store(table + t * 8, lines + row * q[PITCH] + place * q[STEP] * size, "int64")


@callee
def bytes_of_rows(groups, q, table, rows, count, y):  # type: ignore[no-untyped-def]
    """The rows of a strip by the tile of `dots`; its last group of taps is filled up with some of no weight."""
    for t in range(q[COUNT], 4 * groups * q[TOGETHER]):
        store(table + t * 8, load(table, "int64"), "int64")
    for r in range(rows):
        at = r * q[PITCH]
        row_of_dots(groups, 1, 0, LONG, table, at, at + count, q[WEIGHTS], q[TOGETHER], q[COUNT], q[NEAR], q[EXACT], GENERAL, y + r * q[YR], 0,
                    0, 0)  # fmt: skip


def windowed(lanes, k, taps, rows, vectors, read, write, how):  # type: ignore[no-untyped-def]
    """A kernel for k rows of taps, and for `taps` along a row if that is not 0; tiles of rows x vectors; dtypes of the images; `how` as above."""
    inside, outside, span = width(read), width(write), lanes * vectors
    direct, kept = write == "float32", "uint8" if how == BYTES else "float32"
    size = width(kept)

    def window(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), words(p, 0, USED)
        room = np.empty(q[ROOM], np.uint8)
        made = aligned(room.ctypes.data)
        table = made + rows * span * 4
        known = table + (q[COUNT] + 16) * 8
        lines = aligned(known + q[TAPS] * q[STEP] * 8)
        if how >= SURE:
            tables(q, lines, table, size)
        lead, tail, by = q[BEFORE2] * q[STEP], (q[TAPS] - 1 - q[BEFORE2]) * q[STEP], q[STEP] * 4
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            plane, row0, stop, c0, c1 = job_of(q, job)
            count = c1 - c0
            x, y = q[X] + plane * q[XO], q[Y] + plane * q[YO] + row0 * q[YR] + c0 * outside
            if fill(lanes, read, kept, inside, size, q, x, row0 - q[BEFORE], stop - row0 + k - 1, c0 - lead, c1 + tail, lines, known):
                p[STRANGE] = 1
            ahead = upper_left(q, job + 1, inside)
            if how == BYTES:
                bytes_of_rows(vectors, q, table, stop - row0, count, y)
            for at0 in range(0, 0 if how == BYTES else stop - row0, rows):
                at = placed(at0, rows, stop - row0, 1)
                for col0 in range(0, count, span):
                    col = placed(col0, span, count, 1)
                    place, to = at * q[PITCH] + col * 4, y + at * q[YR] + col * outside
                    sums, sums_by = made, span * 4
                    beside = direct and q[PAST] != 0 and to % 64 == 0 and q[YR] % 64 == 0
                    if direct and not beside:
                        sums, sums_by = to, q[YR]
                    tile("float32", lanes, FIRST, k, taps, 1, 1, rows, vectors, 1, 0, ONE, 0, INSIDE,
                         lines + place, 0, 1, k, q[PITCH], 0, 1, 0, by, 0, q[TAPS], 0, 1, 1, 0, 1, q[WEIGHTS], q[TAPS] * 4, 4, 0, q[ZERO],
                         q[ZERO], sums, sums_by, span, rows, 0, 0.0, 0.0)  # fmt: skip
                    for r in range(rows if q[PAST] != 0 else 0):  # what the next job is filled with comes from memory while this one is summed
                        soon = ahead + (at + r) * q[XR] + col * inside
                        for byte in range(0, span * inside, 64):
                            prefetch(soon + byte)
                    if beside:
                        for r in range(rows):
                            for byte in range(0, span * 4, lanes * 4):
                                moved(lanes, "float32", "float32", made + r * span * 4 + byte, to + r * q[YR] + byte, 1)
                    if not direct:
                        finish(lanes, rows, vectors, write, outside, how, q, made, table, q[NEAR], place, to)
        drain()
        keep(room)
        restore(before)

    return window
