"""Filters, whatever the dtype: lines are read into scratch as float64 with the border mode applied, summed there, and cast on the way out.

A line is a run of positions along the filtered axis. Where that is not the axis along which memory runs, a block of neighbouring lines is
taken at once, position after position, so that memory is read in whole cache lines; a tap further is then a whole row of the block further.
"""

from __future__ import annotations

import numpy as np

from ..filters import ANTISYMMETRIC_TAPS, GENERAL, SYMMETRIC_TAPS
from .convert import constant, copy, read, write
from .frame import BEGIN, CHUNKS, END  # noqa: F401
from .intrinsics import as_float, keep, keep_subnormals, load, restore, words
from .jit import callee
from .loops import aligned, border, first_job
from .taps import ADD, joined, weighted

# The record, besides BEGIN, END, CHUNKS and STRANGE of `frame`. Addresses: arrays, byte offsets of the taps in scratch, their weights.
X, Y, PLACES, WEIGHTS = 0, 1, 2, 3
# places, whose kind is of `filters` or RUNNING; taps along the line, of which so many lie before the output; border mode, cval's bits; dtypes
COUNT, KIND, SIZE, BEFORE, MODE, CVAL, READ, WRITE = 4, 5, 9, 10, 11, 12, 13, 14
# sizes: two outer axes, positions along a line, lines beside each other in memory; byte strides of input and output over these four
A, B, N, LINES, XA, XB, XN, XL, YA, YB, YN, YL = range(15, 27)
# how it is cut: lines in a block, positions in a band; parts of a line for jobs; float64 of scratch: for reading, for results, for the end
BLOCK, BAND, PARTS, ROOM, RESULT, TAIL = range(27, 33)
# a dense filter: axes before the last; addresses of int64 arrays: their sizes, byte strides of input and output, border modes; rows of
# taps, for each the offsets along those axes, and where its places begin and end
AXES, SHAPE, XSTEPS, YSTEPS, MODES, ROWS, OFFSETS, STARTS = range(33, 41)
USED, LENGTH = 41, 64
RUNNING = -1  # the mean


@callee
def _piece(to, q, x, at, lines):  # type: ignore[no-untyped-def]
    """One position of a block of lines, inside the array or not."""
    place = border(at, q[N], q[MODE])
    if place < 0:
        constant(to, lines, as_float(q[CVAL]))
    else:
        read(to, x + place * q[XN], q[XL], lines, q[READ])


@callee
def gather(to, q, x, begin, end, lines, size):  # type: ignore[no-untyped-def]
    """The positions begin to end, which may lie outside, of a block of lines from address x on."""
    low = max(begin, min(end, 0))
    high = max(low, min(end, q[N]))
    for at in range(begin, low):
        _piece(to + (at - begin) * lines * 8, q, x, at, lines)
    if lines == 1:
        read(to + (low - begin) * 8, x + low * q[XN], q[XN], high - low, q[READ])
    elif q[XL] == size and q[XN] == lines * size:
        read(to + (low - begin) * lines * 8, x + low * q[XN], size, (high - low) * lines, q[READ])
    else:
        for at in range(low, high):
            read(to + (at - begin) * lines * 8, x + at * q[XN], q[XL], lines, q[READ])
    for at in range(high, end):
        _piece(to + (at - begin) * lines * 8, q, x, at, lines)


@callee
def scatter(q, y, begin, end, lines, size, source):  # type: ignore[no-untyped-def]
    """Results of the positions begin to end to a block of lines from address y on."""
    if lines == 1:
        write(y + begin * q[YN], q[YN], source, end - begin, q[WRITE])
    elif q[YL] == size and q[YN] == lines * size:
        write(y + begin * q[YN], size, source, (end - begin) * lines, q[WRITE])
    else:
        for at in range(begin, end):
            write(y + at * q[YN], q[YL], source + (at - begin) * lines * 8, lines, q[WRITE])


@callee
def item(code):  # type: ignore[no-untyped-def]
    """Bytes of an element of the dtype with that place in `filters.REAL`."""
    return 1 if code <= 2 else 2 if code <= 4 else 4 if code <= 6 or code == 9 else 8


@callee
def mean(lanes, vectors, to, source, count, size, row, divisor):  # type: ignore[no-untyped-def]
    """Means over `size` rows of `row` float64, of the count rows from `source` on; sums of 1, 2, 4 .. rows replace what is there.

    Twice the rows is one addition, so the cost grows with the logarithm of the size. Nothing is ever taken away again: no rounding piles
    up along a line, and what a NaN spoils is its own windows.
    """
    width, span, offset, done = lanes * vectors, 1, 0, False
    while True:
        if size & span:
            for at in range(0, count * row, width):
                other = source + (at + offset * row) * 8
                if done:
                    joined("float64", lanes, vectors, 0, to + at * 8, other, to + at * 8)
                else:
                    copy(to + at * 8, other, width)
            offset, done = offset + span, True
        if 2 * span > size:
            break
        for at in range(0, (count + size - 2 * span) * row, width):
            joined("float64", lanes, vectors, 0, source + at * 8, source + (at + span * row) * 8, source + at * 8)
        span *= 2
    for at in range(0, count * row, width):
        joined("float64", lanes, vectors, 1, to + at * 8, divisor, to + at * 8)


@callee
def combine(lanes, vectors, fused, kind, to, source, count, places, weights, taps):  # type: ignore[no-untyped-def]
    """Weighted sums for `count` float64 from address `to` on, and for some beyond, up to a whole tile."""
    for at in range(0, count * 8, lanes * vectors * 8):
        if kind == SYMMETRIC_TAPS:
            weighted("float64", lanes, vectors, SYMMETRIC_TAPS, fused, source + at, places, weights, taps, to + at)
        elif kind == ANTISYMMETRIC_TAPS:
            weighted("float64", lanes, vectors, ANTISYMMETRIC_TAPS, fused, source + at, places, weights, taps, to + at)
        else:
            weighted("float64", lanes, vectors, GENERAL, fused, source + at, places, weights, taps, to + at)


@callee
def sweep(lanes, vectors, fused, q, x, y, begin, end, lines, source, to, tail, carry):  # type: ignore[no-untyped-def]
    """Results begin to end of a block of lines, band after band. The output may be the input: positions are read before they are written."""
    halo, after, band = q[SIZE] - 1, q[SIZE] - 1 - q[BEFORE], q[BAND]
    inside, outside = item(q[READ]), item(q[WRITE])
    several = begin + band < end
    if several:  # what lies beyond the end repeats what may be overwritten by then
        gather(tail, q, x, q[N], q[N] + after, lines, inside)
    for t in range(begin, end, band):
        stop = min(end, t + band)
        low, at = t - q[BEFORE], source
        if t > begin:
            copy(source, carry, halo * lines)
            low, at = t + after, source + halo * lines * 8
        high = stop + after
        middle = max(low, min(high, q[N])) if several else high
        gather(at, q, x, low, middle, lines, inside)
        if middle < high:
            copy(at + (middle - low) * lines * 8, tail + (middle - q[N]) * lines * 8, (high - middle) * lines)
        if stop < end:
            copy(carry, source + band * lines * 8, halo * lines)
        if q[KIND] == RUNNING:
            mean(lanes, vectors, to, source, stop - t, q[SIZE], lines, q[WEIGHTS])
        else:
            combine(lanes, vectors, fused, q[KIND], to, source, (stop - t) * lines, q[PLACES] + place_row(q, lines), q[WEIGHTS], q[COUNT])
        scatter(q, y, t, stop, lines, outside, to)


@callee
def place_row(q, lines):  # type: ignore[no-untyped-def]
    """Where the byte offsets of the taps begin for a block of so many lines: the last block of a row may be narrower than the others."""
    return 0 if lines == q[BLOCK] or q[KIND] == RUNNING else (2 * q[COUNT] - 1 if q[KIND] != GENERAL else q[COUNT]) * 8


def filtered(lanes, vectors, fused):  # type: ignore[no-untyped-def]
    """A kernel for one pass; jobs are (two outer axes, block of lines, part of them)."""

    def filter_lines(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), words(p, 0, USED)
        room = np.empty(q[ROOM] + q[RESULT] + 2 * q[TAIL] + 32, np.float64)
        source = aligned(room.ctypes.data)
        to = aligned(source + q[ROOM] * 8)
        tail = to + q[RESULT] * 8
        blocks = (q[LINES] + q[BLOCK] - 1) // q[BLOCK]
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            rest, part = divmod(job, q[PARTS])
            rest, block = divmod(rest, blocks)
            a, b = divmod(rest, q[B])
            first = block * q[BLOCK]
            x = q[X] + a * q[XA] + b * q[XB] + first * q[XL]
            y = q[Y] + a * q[YA] + b * q[YB] + first * q[YL]
            begin, end = q[N] * part // q[PARTS], q[N] * (part + 1) // q[PARTS]
            lines = min(q[BLOCK], q[LINES] - first)
            sweep(lanes, vectors, fused, q, x, y, begin, end, lines, source, to, tail, tail + q[TAIL] * 8)
        keep(room)
        restore(before)

    return filter_lines


@callee
def _row_of(q, rest, row):  # type: ignore[no-untyped-def]
    """Address of the input line that a row of taps reads for the output line numbered `rest`; 0 if it lies outside."""
    x = q[X]
    for axis in range(q[AXES] - 1, -1, -1):
        size = load(q[SHAPE] + axis * 8, "int64")
        rest, at = divmod(rest, size)
        place = border(at + load(q[OFFSETS] + (row * q[AXES] + axis) * 8, "int64"), size, load(q[MODES] + axis * 8, "int64"))
        if place < 0:
            return 0
        x += place * load(q[XSTEPS] + axis * 8, "int64")
    return x


@callee
def _line_of(q, rest):  # type: ignore[no-untyped-def]
    """Address of the output line numbered `rest`."""
    y = q[Y]
    for axis in range(q[AXES] - 1, -1, -1):
        rest, at = divmod(rest, load(q[SHAPE] + axis * 8, "int64"))
        y += at * load(q[YSTEPS] + axis * 8, "int64")
    return y


def dense(lanes, vectors, fused):  # type: ignore[no-untyped-def]
    """A kernel for one n-D filter; jobs are (line along the last axis, part of it)."""
    width = lanes * vectors

    def filter_dense(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), words(p, 0, USED)
        room = np.empty(q[ROOM] + q[RESULT] + 32, np.float64)
        source = aligned(room.ctypes.data)
        to = aligned(source + q[ROOM] * 8)
        after = q[SIZE] - 1 - q[BEFORE]
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            line, part = divmod(job, q[PARTS])
            begin, end = q[N] * part // q[PARTS], q[N] * (part + 1) // q[PARTS]
            constant(to, end - begin + width, 0.0)
            for row in range(q[ROWS]):
                first = load(q[STARTS] + row * 8, "int64")
                taps = load(q[STARTS] + (row + 1) * 8, "int64") - first
                x = _row_of(q, line, row)
                if x == 0:
                    constant(source, end - begin + q[SIZE] + width, as_float(q[CVAL]))
                else:
                    gather(source, q, x, begin - q[BEFORE], end + after, 1, item(q[READ]))
                for at in range(0, (end - begin) * 8, width * 8):
                    weighted("float64", lanes, vectors, ADD, fused, source + at, q[PLACES] + first * 8, q[WEIGHTS] + first * 8, taps, to + at)
            scatter(q, _line_of(q, line), begin, end, 1, item(q[WRITE]), to)
        keep(room)
        restore(before)

    return filter_dense
