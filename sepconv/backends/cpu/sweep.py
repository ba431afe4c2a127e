"""Two 1-D filters of an image in one sweep: sums down the columns go into scratch lines, the border is put at their ends, sums along these go
into the image. No image lies between, and each row is read from memory once.
"""

from __future__ import annotations

import numpy as np

from .bands import BLOCKS, CUT, SUM, summed, width
from .blocks import begun, continued
from .dots import row_of_dots
from .exact import whole
from .frame import BEGIN, CHUNKS, END  # noqa: F401
from .image import COLS, FREE, PAST, PITCH, ROOM, STEP, XO, XR, YO, YR, X, Y, ends, job_of, row_at, sources
from .intrinsics import drain, keep, keep_subnormals, prefetch, restore, store, words
from .jit import callee
from .loops import aligned, first_job

# The record after its first part. Down the columns, and along the rows: taps, taps before the output; addresses of the weights in the type of the
# sums and as float64, of the divisor, of how near to a whole number a sum is unsure; symmetry
TAPS, BEFORE, WEIGHTS, EXACT, DIVISOR, NEAR, KIND = range(FREE, FREE + 7)
TAPS2, BEFORE2, WEIGHTS2, EXACT2, DIVISOR2, NEAR2, KIND2 = range(FREE + 7, FREE + 14)
# vectors that a sum along a line takes, and their byte offsets, for each line of a tile; lines of sums of 4, 16, .. neighbours that they come from
SUMS2, PLACES2, LEVELS = range(FREE + 14, FREE + 17)
USED = FREE + 17


@callee
def table_of(to, q, x, first, count):  # type: ignore[no-untyped-def]
    """Addresses of `count` rows, from row `first` on."""
    for i in range(count):
        store(to + i * 8, row_at(q, x, first + i), "int64")


@callee
def run_of_sums(sums, lanes, vectors, rows, read, write, end, inside, outside, table, base, low, stop, weights, taps, divisor, to, pitch, past,
                ahead, by):  # type: ignore[no-untyped-def]  # fmt: skip
    """`summed` for the outputs low to stop of `rows` rows, to address `to` on: tiles of so many vectors, then of one, of which the last overlaps the
    one before. Meanwhile `by` bytes an output are asked for, from the address `ahead` on."""
    at, span = low, lanes * vectors
    while at + span <= stop:
        for byte in range(0, span * by, 64):
            prefetch(ahead + (at - low) * by + byte)
        place = to + (at - low) * outside
        summed(sums, lanes, vectors, rows, read, write, end, table, base + at * inside, weights, taps, divisor, place, pitch, past)
        at += span
    while at < stop:
        at = min(at, stop - lanes)
        place = to + (at - low) * outside
        summed(sums, lanes, 1, rows, read, write, end, table, base + at * inside, weights, taps, divisor, place, pitch, 0)
        at += lanes


@callee
def blocks_down(sums, lanes, many, read, size, inside, q, table, x, row, end, begin, low, stop, line, kept):  # type: ignore[no-untyped-def]
    """As `run_of_sums` down the columns, of means, of the rows `row` to `end` of a band that begins at `begin`. Lines are kept from tile to
    tile."""
    taps, pitch = q[TAPS], q[PITCH]
    while row < end:
        place = row % taps
        if place == 0 or row == begin:
            table_of(table, q, x, row - place - q[BEFORE], taps + place - 1)
            begun(sums, lanes, many, read, size, inside, table, place, taps, low, stop, kept, pitch)
        count, known = min(end - row, taps - place), kept + place * pitch
        table_of(table, q, x, row - q[BEFORE] + taps - 1, count)
        continued(sums, lanes, many, read, size, inside, table, count, low, stop, known, kept + taps * pitch, q[DIVISOR], line, pitch)
        row, line = row + count, line + count * pitch


@callee
def levels(sums, lanes, vectors, size, q, table, line, to, count):  # type: ignore[no-untyped-def]
    """Sums of 4, 16, .. neighbours, each in a line of its own: few, so that they stay in the first cache."""
    for level in range(q[LEVELS]):
        for i in range(4):
            store(table + i * 8, line + i * (q[STEP] * size << 2 * level), "int64")
        for at in range(0, count * size, lanes * vectors * size):
            summed(sums, lanes, vectors, 1, sums, sums, SUM, table, at, 0, 4, 0, to + at, 0, 0)
        line, to = to, to + q[PITCH]


@callee
def bytes_down(groups, high, kind, q, table, x, row, low, stop, line):  # type: ignore[no-untyped-def]
    """As `run_of_sums` down the columns, of bytes; taps of no weight fill up the last group."""
    table_of(table, q, x, row, q[TAPS] + high - 1 if kind >= 0 else 4 * groups * q[NEAR])
    row_of_dots(groups, high, 0, kind, table, low, stop, q[WEIGHTS], q[NEAR], q[TAPS], q[DIVISOR], q[EXACT], q[KIND], line, q[PITCH], 0,
                line)  # fmt: skip


@callee
def bytes_along(groups, step, kind, q, line, table, count, y, past, ahead):  # type: ignore[no-untyped-def]
    """The same along a row; pixels next to each other of more than four channels are rows as any."""
    for j in range(q[TAPS2] if kind >= 0 else 4 * groups * q[NEAR2]):
        store(table + j * 8, line + j * q[STEP], "int64")
    row_of_dots(groups, 1, step, kind, table, 0, count, q[WEIGHTS2], q[NEAR2], q[TAPS2], q[DIVISOR2], q[EXACT2], q[KIND2], y, 0, past,
                ahead)  # fmt: skip


def swept(sums, lanes, vectors, many, high, read, write, down, across):  # type: ignore[no-untyped-def]
    """A kernel: `sums` float32, int16 or, by the tile of `dots`, uint8; vectors of a tile along the rows, and down the columns, of so many rows, or
    its groups and step; dtypes of the images; how each pass ends, of `bands`, or its `digits.sort`."""
    size, inside, outside = width(sums), width(read), width(write)

    def sweep(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), words(p, 0, USED)
        room = np.empty(q[ROOM] // 8, np.int64)
        lines = aligned(room.ctypes.data)
        spare = lines + high * q[PITCH]
        kept = spare + (q[LEVELS] + 1) * q[PITCH]
        known = kept + (q[TAPS] + 1) * q[PITCH] if down == BLOCKS else kept
        table = known + q[TAPS2] * q[STEP] * 8
        unit = 64 // size  # a line's first output is at the beginning of a cache line, and so is what is stored of sums down the columns
        wide = (q[BEFORE2] * q[STEP] + unit - 1) // unit * unit
        lead, tail = q[BEFORE2] * q[STEP], (q[TAPS2] - 1 - q[BEFORE2]) * q[STEP]
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            plane, row0, stop, c0, c1 = job_of(q, job)
            x, y = q[X] + plane * q[XO], q[Y] + plane * q[YO]
            past = int(q[PAST] != 0 and y % 64 == 0 and q[YR] % 64 == 0)
            left, right, origin = c0 - lead, c1 + tail, c0 - wide
            begin, end = max(origin, 0), min(right, q[COLS])
            sources(q, known, left, right, size)
            for r0 in range(row0, stop, high):
                first = lines + (begin - origin) * size
                if sums == "uint8":
                    bytes_down(vectors, high, down, q, table, x, r0 - q[BEFORE], begin, end, first)
                elif down == BLOCKS:
                    rows = min(r0 + high, stop)
                    blocks_down(sums, lanes, many, read, size, inside, q, table, x, r0, rows, row0, begin, end, first, kept)
                else:
                    table_of(table, q, x, r0 - q[BEFORE], high + q[TAPS] - 1)
                    run_of_sums(sums, lanes, many, high, read, sums, down, inside, size, table, 0, begin, end, q[WEIGHTS], q[TAPS], q[DIVISOR],
                                first, q[PITCH], 0, 0, 0)  # fmt: skip
                if sums != "uint8" and down == CUT:
                    for r in range(high):
                        line = first + r * q[PITCH]
                        whole(lanes, read, sums, inside, size, line, table + r * 8, 0, begin, end, q[NEAR], q[EXACT], q[TAPS], q[KIND], line)
                ahead = x + (r0 + high - q[BEFORE] + q[TAPS] - 1) * q[XR] + c0 * inside  # rows that the next tile reads first
                for r in range(min(high, stop - r0)):
                    line, to = lines + r * q[PITCH] + (left - origin) * size, y + (r0 + r) * q[YR] + c0 * outside
                    places = q[PLACES2] + r * q[SUMS2] * 8
                    ends(q, line, left, right, known, size)
                    if sums == "uint8":
                        bytes_along(vectors, many, across, q, line, table, c1 - c0, to, past, ahead + r * q[XR])
                    elif across == CUT:
                        run_of_sums(sums, lanes, vectors, 1, sums, sums, across, size, size, places, line, 0, c1 - c0, q[WEIGHTS2], q[SUMS2],
                                    q[DIVISOR2], spare, 0, 0, ahead + r * q[XR], inside)  # fmt: skip
                        for j in range(q[TAPS2]):
                            store(table + j * 8, line + j * q[STEP] * 4, "int64")
                        whole(lanes, sums, write, size, outside, spare, table, 0, 0, c1 - c0, q[NEAR2], q[EXACT2], q[TAPS2], q[KIND2], to)
                    else:
                        levels(sums, lanes, vectors, size, q, table, line, spare + (left - origin) * size, right - left)
                        run_of_sums(sums, lanes, vectors, 1, sums, write, across, size, outside, places, line, 0, c1 - c0, q[WEIGHTS2], q[SUMS2],
                                    q[DIVISOR2], to, 0, past, ahead + r * q[XR], inside)  # fmt: skip
        drain()
        keep(room)
        restore(before)

    return sweep
