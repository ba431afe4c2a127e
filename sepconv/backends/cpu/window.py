"""Dense filters of images in float32: bands of rows are filled into scratch, as float32 and with the border, and the depthwise tile runs over
them. What it makes goes into the image, or is cut to whole numbers on the way there.

Jobs are (plane, band of rows, strip of columns). A row is one run of elements, in which a pixel's neighbour is STEP elements further, so that
colour images are filtered as they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..filters import GENERAL
from .bands import Lanes, cut, exactly, width
from .digits import LONG
from .dots import SPAN, row_of_dots
from .frame import BEGIN, CHUNKS, END, STRANGE  # noqa: F401
from .intrinsics import as_float, copy_line, drain, keep, keep_subnormals, load, prefetch, restore, store, words
from .jit import callee
from .loops import aligned, border, first_job, placed, strange_run
from .simd import past_caches
from .stencil import FIRST, INSIDE, tile

# The record, besides BEGIN, END, CHUNKS and STRANGE of `frame`. Addresses of the images; byte strides of planes and rows
X, Y = 0, 1
OUTER, ROWS, COLS, STEP, XO, XR, YO, YR = range(9, 17)
# taps along a row (those down are the kernel's); taps before the output, border modes; cval's bits; addresses of the weights, of a zero
TAPS, BEFORE, BEFORE2, MODE, MODE2, CVAL, WEIGHTS, ZERO = range(17, 25)
# of what a sum cut to whole numbers needs: how near to one it is unsure; taps that are not 0: how many, weights, (row, place) of each
NEAR, COUNT, EXACT, PLACES = range(25, 29)
# how it is cut: bands, strips; bytes of a line of scratch and of all scratch; whether an infinity or NaN in the image is to be told
BANDS, STRIPS, PITCH, ROOM, CHECK = range(29, 34)
TOGETHER = 34  # chunks of taps, of `dots`, whose block is then where the weights are, and its levels where what is near
PAST = 35  # whether images and results are more than caches hold: then rows are asked for early, and whole cache lines go past the caches
USED, LENGTH = 36, 64
PLAIN, CUT, SURE, BYTES = range(4)  # what becomes of sums: float32, or cut with no regard to rounding; cut as float64 would be; by `dots`

ONE = str(INSIDE)  # all that a tile over scratch meets


@intrinsic(prefer_literal=True)
def widened(typing: Any, lanes: Any, read: Any, x: Any, to: Any) -> Any:
    """`lanes` elements of the dtype `read` as float32."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float32", lanes.literal_value)
        m.store(m.load(args[2], 0, read.literal_value), args[3])
        return context.get_dummy_value()

    return types.void(lanes, read, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def narrowed(typing: Any, lanes: Any, write: Any, x: Any, to: Any) -> Any:
    """`lanes` float32 as elements of the dtype `write`."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float32", lanes.literal_value)
        m.store(m.load(args[2]), args[3], 0, write.literal_value)
        return context.get_dummy_value()

    return types.void(lanes, write, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def past(typing: Any, lanes: Any, x: Any, to: Any) -> Any:
    """`lanes` float32, all of a vector, to a multiple of its bytes, past the caches."""
    size = 4 * lanes.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(8), size).as_pointer()
        past_caches(b, b.load(b.inttoptr(args[1], kind), align=1), b.inttoptr(args[2], kind), size)
        return context.get_dummy_value()

    return types.void(lanes, types.int64, types.int64), codegen


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
        widened(lanes, read, x + at * inside, to + at * 4)
    widened(lanes, read, x + (count - lanes) * inside, to + (count - lanes) * 4)


@callee
def put(kept, place, value):  # type: ignore[no-untyped-def]
    if kept == "uint8":
        store(place, np.uint8(value), "uint8")
    else:
        store(place, np.float32(value), "float32")


@callee
def ends(read, kept, inside, size, q, x, line, left, begin, end):  # type: ignore[no-untyped-def]
    """The elements begin to end of a row at address x, which lie beyond the image, in a line whose first one is `left`."""
    step, pixels = q[STEP], q[COLS] // q[STEP]
    for at in range(begin, end):
        pixel = border(at // step, pixels, q[MODE2])
        value = np.float32(as_float(q[CVAL])) if pixel < 0 else np.float32(load(x + (pixel * step + at % step) * inside, read))
        put(kept, line + (at - left) * size, value)


@callee
def fill(lanes, read, kept, inside, size, q, x, row0, count, left, right, lines):  # type: ignore[no-untyped-def]
    """The elements left to right of `count` rows, from row0 on, inside the image at address x or not, in lines of scratch. Whether one is
    infinite or NaN, if that is asked."""
    begin, end, found = max(left, 0), min(right, q[COLS]), False
    for r in range(count):
        row, line = border(row0 + r, q[ROWS], q[MODE]), lines + r * q[PITCH]
        if row < 0:
            for at in range(right - left):
                put(kept, line + at * size, as_float(q[CVAL]))
            continue
        at = x + row * q[XR]
        ends(read, kept, inside, size, q, at, line, left, left, begin)
        run(lanes, read, kept, inside, at + begin * inside, line + (begin - left) * size, end - begin)
        ends(read, kept, inside, size, q, at, line, left, end, right)
        if q[CHECK] != 0:
            found |= strange_run(line, right - left, 4)
    return found


@callee
def edge(q, strip):  # type: ignore[no-untyped-def]
    """The column where a strip begins, and the one before it ends."""
    at = q[COLS] * strip // q[STRIPS]
    return at if strip == q[STRIPS] else at // 16 * 16


@callee
def upper_left(q, job, inside):  # type: ignore[no-untyped-def]
    """The address of a job's first pixel, in the image or before it."""
    rest, strip = divmod(job, q[STRIPS])
    plane, band = divmod(rest, q[BANDS])
    return q[X] + plane * q[XO] + (q[ROWS] * band // q[BANDS] - q[BEFORE]) * q[XR] + edge(q, strip) * inside


@callee
def finish(lanes, rows, vectors, write, outside, how, q, made, table, near, at, y):  # type: ignore[no-untyped-def]
    """A tile of sums as whole numbers to address y on; `at`: bytes from the first line's beginning to the window of the first sum."""
    for r in range(rows):
        for v in range(vectors):
            source, to = made + (r * vectors + v) * lanes * 4, y + r * q[YR] + v * lanes * outside
            if how == CUT:
                narrowed(lanes, write, source, to)
            elif cut(lanes, write, source, near, to):
                exactly(lanes, "float32", write, table, at + r * q[PITCH] + v * lanes * 4, q[EXACT], q[COUNT], GENERAL, to)


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
        lines = aligned(table + (q[COUNT] + 16) * 8)
        if how >= SURE:
            tables(q, lines, table, size)
        lead, tail, by = q[BEFORE2] * q[STEP], (q[TAPS] - 1 - q[BEFORE2]) * q[STEP], q[STEP] * 4
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            rest, strip = divmod(job, q[STRIPS])
            plane, band = divmod(rest, q[BANDS])
            row0, stop = q[ROWS] * band // q[BANDS], q[ROWS] * (band + 1) // q[BANDS]
            c0, count = edge(q, strip), edge(q, strip + 1) - edge(q, strip)
            x, y = q[X] + plane * q[XO], q[Y] + plane * q[YO] + row0 * q[YR] + c0 * outside
            if fill(lanes, read, kept, inside, size, q, x, row0 - q[BEFORE], stop - row0 + k - 1, c0 - lead, c0 + count + tail, lines):
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
                                past(lanes, made + r * span * 4 + byte, to + r * q[YR] + byte)
                    if not direct:
                        finish(lanes, rows, vectors, write, outside, how, q, made, table, q[NEAR], place, to)
        drain()
        keep(room)
        restore(before)

    return window
