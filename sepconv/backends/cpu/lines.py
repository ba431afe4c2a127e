"""Filters, whatever the dtype: lines are read into scratch as float64 with the border mode applied, summed there, and cast on the way out.

A line is a run of positions along the filtered axis. Where that is not the axis along which memory runs, a block of neighbouring lines is
taken at once, position after position, so that memory is read in whole cache lines; a tap further is then a whole row of the block further.
"""

from __future__ import annotations

import numpy as np

from ..filters import GENERAL
from .bands import MEAN, SUM, summed
from .convert import read, write
from .exact import exactly
from .frame import BEGIN, CHUNKS, END  # noqa: F401
from .intrinsics import as_float, keep, keep_subnormals, load, restore, store, words
from .jit import callee
from .loops import aligned, border, first_job, move

# The record, besides BEGIN, END, CHUNKS and STRANGE of `frame`. Addresses: arrays, byte offsets of the taps in scratch, their weights.
X, Y, PLACES, WEIGHTS = 0, 1, 2, 3
# the weights' kind, of `filters` or RUNNING; taps along the line, of which so many lie before the output; border mode, cval's bits; dtypes
KIND, SIZE, BEFORE, MODE, CVAL, READ, WRITE = 4, 9, 10, 11, 12, 13, 14
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
def constant(to, count, value):  # type: ignore[no-untyped-def]
    """`count` times the same float64 to address `to` on."""
    for i in range(count):
        store(to + i * 8, value, "float64")


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
def pairs(lanes, vectors, table, first, second, taps, end, divisor, to, count):  # type: ignore[no-untyped-def]
    """Float64 from address `first` on, and those from `second` on besides if `taps` is 2, added up, and divided if `end` is MEAN."""
    store(table, first, "int64")
    store(table + 8, second, "int64")
    for at in range(0, count * 8, lanes * vectors * 8):
        summed("float64", lanes, vectors, 1, "float64", "float64", end, table, at, 0, taps, divisor, to + at, 0, 0)


@callee
def mean(lanes, vectors, to, source, count, size, row, divisor, table):  # type: ignore[no-untyped-def]
    """Means over `size` rows of `row` float64, of the count rows from `source` on; sums of 1, 2, 4 .. rows replace what is there.

    Twice the rows is one addition, so the cost grows with the logarithm of the size. Nothing is ever taken away again: no rounding piles
    up along a line, and what a NaN spoils is its own windows. `table` has room for two addresses.
    """
    span, offset, taps = 1, 0, 1
    while True:
        if size & span:
            pairs(lanes, vectors, table, source + offset * row * 8, to, taps, SUM, 0, to, count * row)
            offset, taps = offset + span, 2
        if 2 * span > size:
            break
        pairs(lanes, vectors, table, source, source + span * row * 8, 2, SUM, 0, source, (count + size - 2 * span) * row)
        span *= 2
    pairs(lanes, vectors, table, to, 0, 1, MEAN, divisor, to, count * row)


@callee
def combine(lanes, vectors, add, kind, to, source, count, places, weights, taps):  # type: ignore[no-untyped-def]
    """Weighted sums for `count` float64 from address `to` on, and for some beyond, up to a whole tile."""
    for at in range(0, count * 8, lanes * vectors * 8):
        exactly(lanes, vectors, "float64", "float64", add, places, source + at, weights, taps, kind, to + at)


@callee
def sweep(lanes, vectors, q, x, y, begin, end, lines, source, to, tail, carry):  # type: ignore[no-untyped-def]
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
            move(source, 8, carry, 8, halo * lines, 8)
            low, at = t + after, source + halo * lines * 8
        high = stop + after
        middle = max(low, min(high, q[N])) if several else high
        gather(at, q, x, low, middle, lines, inside)
        if middle < high:
            move(at + (middle - low) * lines * 8, 8, tail + (middle - q[N]) * lines * 8, 8, (high - middle) * lines, 8)
        if stop < end:
            move(carry, 8, source + band * lines * 8, 8, halo * lines, 8)
        if q[KIND] == RUNNING:
            mean(lanes, vectors, to, source, stop - t, q[SIZE], lines, q[WEIGHTS], carry + q[TAIL] * 8)
        else:  # the last block of a row may be narrower than the others, which have a table of places for themselves
            places = q[PLACES] + (0 if lines == q[BLOCK] else q[SIZE] * 8)
            combine(lanes, vectors, 0, q[KIND], to, source, (stop - t) * lines, places, q[WEIGHTS], q[SIZE])
        scatter(q, y, t, stop, lines, outside, to)


def filtered(lanes, vectors):  # type: ignore[no-untyped-def]
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
            sweep(lanes, vectors, q, x, y, begin, end, lines, source, to, tail, tail + q[TAIL] * 8)
        keep(room)
        restore(before)

    return filter_lines


@callee
def _line_of(q, address, steps, rest, row):  # type: ignore[no-untyped-def]
    """The address of the line numbered `rest` of the array at `address` with these strides, or of the one that a row of taps reads for it: 0 if it
    lies outside. No row: -1."""
    for axis in range(q[AXES] - 1, -1, -1):
        size = load(q[SHAPE] + axis * 8, "int64")
        rest, at = divmod(rest, size)
        if row >= 0:
            at = border(at + load(q[OFFSETS] + (row * q[AXES] + axis) * 8, "int64"), size, load(q[MODES] + axis * 8, "int64"))
        if at < 0:
            return 0
        address += at * load(steps + axis * 8, "int64")
    return address


def dense(lanes, vectors):  # type: ignore[no-untyped-def]
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
                x = _line_of(q, q[X], q[XSTEPS], line, row)
                if x == 0:
                    constant(source, end - begin + q[SIZE] + width, as_float(q[CVAL]))
                else:
                    gather(source, q, x, begin - q[BEFORE], end + after, 1, item(q[READ]))
                combine(lanes, vectors, 1, GENERAL, to, source, end - begin, q[PLACES] + first * 8, q[WEIGHTS] + first * 8, taps)
            scatter(q, _line_of(q, q[Y], q[YSTEPS], line, -1), begin, end, 1, item(q[WRITE]), to)
        keep(room)
        restore(before)

    return filter_dense
