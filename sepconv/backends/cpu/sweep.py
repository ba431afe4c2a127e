"""Two 1-D filters of an image in one sweep: sums down the columns go into scratch lines, the border is put at their ends, sums along these go
into the image. No image lies between, and each row is read from memory once.

An image is `outer` planes of rows; a row is one run of elements, in which a pixel's neighbour is STEP elements further: the channels of a colour
image are columns as any. Jobs are (plane, band of rows, strip of columns); a strip's lines stay in the caches.
"""

from __future__ import annotations

import numpy as np

from .bands import BLOCKS, CUT, along, columns, cut, exactly, fourfold, width
from .blocks import begun, continued
from .dots import row_of_dots
from .frame import BEGIN, CHUNKS, END  # noqa: F401
from .intrinsics import drain, keep, keep_subnormals, load, prefetch, restore, store, words
from .jit import callee
from .loops import aligned, border, first_job

# The record, besides BEGIN, END, CHUNKS and STRANGE of `frame`. Addresses of the images; byte strides of planes and rows
X, Y = 0, 1
OUTER, ROWS, COLS, STEP, XO, XR, YO, YR = range(9, 17)
# down the columns, and along the rows: taps, taps before the output, border mode; addresses of the weights in the type of the sums and as
# float64, of the divisor, of how near to a whole number a sum is unsure; symmetry
TAPS, BEFORE, MODE, WEIGHTS, EXACT, DIVISOR, NEAR, KIND = range(17, 25)
TAPS2, BEFORE2, MODE2, WEIGHTS2, EXACT2, DIVISOR2, NEAR2, KIND2 = range(25, 33)
# a row of what lies beyond the image, and one pixel of what lies beyond a line; vectors that a sum along a line takes, and
# their byte offsets, for each line of a tile; lines of sums of 4, 16, .. neighbours that they may come from
OUTSIDE, OUTSIDE2, SUMS2, PLACES2, LEVELS = range(33, 38)
BANDS, STRIPS, PITCH, ROOM = range(38, 42)  # bytes of a line, and of all scratch
PAST = 42  # whether results go past the caches where they lie in whole cache lines: of more bytes than these hold
USED, LENGTH = 43, 64


@callee
def table_of(to, q, x, first, count):  # type: ignore[no-untyped-def]
    """Addresses of `count` rows, from row `first` on, inside the image or not."""
    for i in range(count):
        at = border(first + i, q[ROWS], q[MODE])
        store(to + i * 8, x + at * q[XR] if at >= 0 else q[OUTSIDE], "int64")


@callee
def piece(to, source, size):  # type: ignore[no-untyped-def]
    if size == 4:
        store(to, load(source, "int32"), "int32")
    elif size == 1:
        store(to, load(source, "uint8"), "uint8")
    else:
        store(to, load(source, "int16"), "int16")


@callee
def sources(q, to, begin, end, size):  # type: ignore[no-untyped-def]
    """For each pixel of the elements begin to end, which lie beyond the image: bytes from the row's first element to what it copies, or -1."""
    step, pixels = q[STEP], q[COLS] // q[STEP]
    for pixel in range(begin // step, -(-end // step)):
        source = border(pixel, pixels, q[MODE2])
        store(to, source * step * size if source >= 0 else -1, "int64")
        to += 8


@callee
def ends(q, line, left, at, end, pixel, known, size):  # type: ignore[no-untyped-def]
    """Fills what lies beyond the image, of the elements at to end, from `pixel` on, whose sources are `known`, in a scratch line whose first
    element is `left`."""
    while at < end:
        stop, source = min(end, (pixel + 1) * q[STEP]), load(known, "int64")
        by = line + source - (pixel * q[STEP] + left) * size
        for each in range(at, stop):
            piece(line + (each - left) * size, q[OUTSIDE2] if source < 0 else by + each * size, size)
        at, pixel, known = stop, pixel + 1, known + 8


@callee
def edge(q, strip):  # type: ignore[no-untyped-def]
    """The column where a strip begins, and the one before it ends."""
    at = q[COLS] * strip // q[STRIPS]
    return at if strip == q[STRIPS] else at // 64 * 64


@callee
def down_columns(sums, lanes, many, high, read, end, size, inside, q, table, low, stop, line):  # type: ignore[no-untyped-def]
    """Sums of a tile of rows into scratch lines, whose first element is column `low`."""
    span, at = many * lanes, low
    while at + span <= stop:
        to = line + (at - low) * size
        columns(sums, lanes, many, high, read, end, table, at * inside, q[WEIGHTS], q[TAPS], q[DIVISOR], to, q[PITCH])
        at += span
    while at < stop:
        at = min(at, stop - lanes)  # the last one overlaps the one before
        to = line + (at - low) * size
        columns(sums, lanes, 1, high, read, end, table, at * inside, q[WEIGHTS], q[TAPS], q[DIVISOR], to, q[PITCH])
        at += lanes


@callee
def blocks_down(sums, lanes, many, read, size, inside, q, table, x, row, end, begin, low, stop, line, kept):  # type: ignore[no-untyped-def]
    """As `down_columns`, of means, of the rows `row` to `end` of a band that begins at `begin`; from one tile to the next lines are kept."""
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
def whole_columns(lanes, high, read, inside, q, table, low, stop, line):  # type: ignore[no-untyped-def]
    """Sums in scratch lines become whole numbers."""
    for r in range(high):
        at = low
        while at < stop:
            at = min(at, stop - lanes)
            place = line + r * q[PITCH] + (at - low) * 4
            if cut(lanes, "float32", place, q[NEAR], place):
                exactly(lanes, read, "float32", table + r * 8, at * inside, q[EXACT], q[TAPS], q[KIND], place)
            at += lanes


@callee
def levels(sums, lanes, vectors, size, q, line, to, count):  # type: ignore[no-untyped-def]
    """Sums of 4, 16, .. neighbours, each in a line of its own: few, so that they stay in the first cache."""
    span = lanes * vectors * size
    for level in range(q[LEVELS]):
        distance = q[STEP] * size << 2 * level
        for at in range(0, count * size, span):
            fourfold(sums, lanes, vectors, line + at, distance, to + at)
        line, to = to, to + q[PITCH]


@callee
def along_row(sums, lanes, vectors, write, end, size, outside, q, line, places, count, y, past, ahead, inside):  # type: ignore[no-untyped-def]
    """Sums along a line to address y on; elements of `inside` bytes from the address `ahead` on are asked for meanwhile."""
    at, span = 0, lanes * vectors
    while at + span <= count:
        for byte in range(0, span * inside, 64):
            prefetch(ahead + at * inside + byte)
        along(sums, lanes, vectors, write, end, line + at * size, places, q[WEIGHTS2], q[SUMS2], q[DIVISOR2], y + at * outside, past)
        at += span
    while at < count:
        at = min(at, count - lanes)
        along(sums, lanes, 1, write, end, line + at * size, places, q[WEIGHTS2], q[SUMS2], q[DIVISOR2], y + at * outside, 0)
        at += lanes


@callee
def whole_row(lanes, write, outside, q, line, done, table, count, y):  # type: ignore[no-untyped-def]
    """The sums `done` of a line as whole numbers to address y on; `table` has room for the taps."""
    for j in range(q[TAPS2]):
        store(table + j * 8, line + j * q[STEP] * 4, "int64")
    at = 0
    while at < count:
        at = min(at, count - lanes)
        if cut(lanes, write, done + at * 4, q[NEAR2], y + at * outside):
            exactly(lanes, "float32", write, table, at * 4, q[EXACT2], q[TAPS2], q[KIND2], y + at * outside)
        at += lanes


@callee
def bytes_down(groups, high, certain, q, table, x, row, low, stop, line):  # type: ignore[no-untyped-def]
    """As `down_columns`, of bytes; taps of no weight fill up the last group. No groups: by `pairs`."""
    table_of(table, q, x, row, 4 * groups * q[NEAR] if groups else q[TAPS] + high - 1)
    row_of_dots(groups, high, 0, certain, table, low, stop, q[WEIGHTS], q[NEAR], q[TAPS], q[DIVISOR], q[EXACT], q[KIND], line, q[PITCH],
                0, line)  # fmt: skip


@callee
def bytes_along(groups, step, certain, q, line, table, count, y, past, ahead):  # type: ignore[no-untyped-def]
    """As `along_row`, of bytes; pixels next to each other of more than four channels are rows as any."""
    for j in range(4 * groups * q[NEAR2] if groups else q[TAPS2]):
        store(table + j * 8, line + j * q[STEP], "int64")
    row_of_dots(groups, 1, step, certain, table, 0, count, q[WEIGHTS2], q[NEAR2], q[TAPS2], q[DIVISOR2], q[EXACT2], q[KIND2], y, 0,
                past, ahead)  # fmt: skip


def swept(sums, lanes, vectors, many, high, read, write, down, across):  # type: ignore[no-untyped-def]
    """A kernel: `sums` float32, int16 or, by the tile of `dots`, uint8; vectors of a tile along the rows, and down the columns, of so many rows, or
    its groups and step; dtypes of the images; how each pass ends, of `bands`."""
    size, inside, outside = width(sums), width(read), width(write)

    def sweep(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), words(p, 0, USED)
        room = np.empty(q[ROOM] // 8, np.int64)
        lines = aligned(room.ctypes.data)
        spare = lines + high * q[PITCH]
        kept = spare + (q[LEVELS] + 1) * q[PITCH]
        known = kept + (q[TAPS] + 1) * q[PITCH] if down == BLOCKS else kept
        table = known + (q[TAPS2] + 1) * 8
        unit = 64 // size  # a line's first output is at the beginning of a cache line, and so is what is stored of sums down the columns
        wide = (q[BEFORE2] * q[STEP] + unit - 1) // unit * unit
        lead, tail = q[BEFORE2] * q[STEP], (q[TAPS2] - 1 - q[BEFORE2]) * q[STEP]
        for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
            rest, strip = divmod(job, q[STRIPS])
            plane, band = divmod(rest, q[BANDS])
            x, y = q[X] + plane * q[XO], q[Y] + plane * q[YO]
            c0, c1 = edge(q, strip), edge(q, strip + 1)
            past = int(q[PAST] != 0 and y % 64 == 0 and q[YR] % 64 == 0)
            left, right, origin = c0 - lead, c1 + tail, c0 - wide
            begin, end = max(origin, 0), min(right, q[COLS])
            row0, stop = q[ROWS] * band // q[BANDS], q[ROWS] * (band + 1) // q[BANDS]
            first_pixel, last_pixel = left // q[STEP], end // q[STEP]
            known_last = known + max(0, -first_pixel) * 8
            sources(q, known, left, begin, size)
            sources(q, known_last, end, right, size)
            for r0 in range(row0, stop, high):
                first = lines + (begin - origin) * size
                if sums == "uint8":
                    bytes_down(vectors, high, down, q, table, x, r0 - q[BEFORE], begin, end, first)
                elif down == BLOCKS:
                    rows = min(r0 + high, stop)
                    blocks_down(sums, lanes, many, read, size, inside, q, table, x, r0, rows, row0, begin, end, first, kept)
                else:
                    table_of(table, q, x, r0 - q[BEFORE], high + q[TAPS] - 1)
                    down_columns(sums, lanes, many, high, read, down, size, inside, q, table, begin, end, first)
                if sums != "uint8" and down == CUT:
                    whole_columns(lanes, high, read, inside, q, table, begin, end, first)
                ahead = x + (r0 + high - q[BEFORE] + q[TAPS] - 1) * q[XR] + c0 * inside  # rows that the next tile reads first
                for r in range(min(high, stop - r0)):
                    line, to = lines + r * q[PITCH] + (left - origin) * size, y + (r0 + r) * q[YR] + c0 * outside
                    places = q[PLACES2] + r * q[SUMS2] * 8
                    ends(q, line, left, left, begin, first_pixel, known, size)
                    ends(q, line, left, end, right, last_pixel, known_last, size)
                    if sums == "uint8":
                        bytes_along(vectors, many, across, q, line, table, c1 - c0, to, past, ahead + r * q[XR])
                    elif across == CUT:
                        along_row(sums, lanes, vectors, "float32", across, size, 4, q, line, places, c1 - c0, spare, 0, ahead + r * q[XR], inside)
                        whole_row(lanes, write, outside, q, line, spare, table, c1 - c0, to)
                    else:
                        levels(sums, lanes, vectors, size, q, line, spare + (left - origin) * size, right - left)
                        along_row(sums, lanes, vectors, write, across, size, outside, q, line, places, c1 - c0, to, past, ahead + r * q[XR], inside)
        drain()
        keep(room)
        restore(before)

    return sweep
