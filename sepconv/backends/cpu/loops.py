"""What the loops of every kernel share."""

from __future__ import annotations

from ..borders import source
from .frame import *
from .frame import LENGTH
from .intrinsics import copy_line, load, store, word, words
from .jit import callee

border = callee(source)
SHARED = 6  # rows of the product's tiles, with 16 registers, of which some may have one less
CALL, REST = CHUNKS + 1, LENGTH - CHUNKS - 1  # fields of a record that belong to a call, and those of its geometry


@callee
def first_job(p, chunk):  # type: ignore[no-untyped-def]
    """Where a thread's share of the jobs begins; the next chunk's beginning is where it ends."""
    return p[BEGIN] + (p[END] - p[BEGIN]) * chunk // p[CHUNKS]


@callee
def placed(at, tile, size, overlap):  # type: ignore[no-untyped-def]
    """Where the tile planned at `at` is put: the last one of a row overlaps the one before, so that no store is masked."""
    if overlap != 0 and at + tile > size and size >= tile:
        return size - tile
    return at


@callee
def shared(at, tile, size, overlap):  # type: ignore[no-untyped-def]
    """(where the tile planned at `at` is put, whether it has one row less). Tiles of SHARED rows may have: as many of the last ones as it takes for
    all to come out even. Others are put as by `placed`."""
    tiles = (size + tile - 1) // tile
    whole = (size - tiles * (tile - 1)) * tile  # rows of those that have all
    if tile != SHARED or whole < 0:
        return placed(at, tile, size, overlap), False
    if at < whole:
        return at, False
    return at - (at - whole) // tile, True


@callee
def snapshot(p, which):  # type: ignore[no-untyped-def]
    """The which-th record of an array as a tuple: after every store LLVM would have to read the array again."""
    return words(p, which * LENGTH, LENGTH)


@callee
def within(p):  # type: ignore[no-untyped-def]
    """The record of a band in scratch, the second of the array, with the addresses of the first, whose input it holds."""
    return words(p, 0, CALL) + words(p, LENGTH + CALL, REST)


@callee
def move(to, to_step, at, at_step, count, size):  # type: ignore[no-untyped-def]
    """Copies `count` elements of 4 or 8 bytes between addresses, with a step in bytes on both sides; as bits, whatever they mean."""
    done = 0
    if to_step == size and at_step == size:
        for done in range(0, count * size // 64 * 64, 64):
            copy_line(to + done, at + done)
        done = count * size // 64 * 64 // size
    if size == 4:
        for i in range(done, count):
            store(to + i * to_step, load(at + i * at_step, "int32"), "int32")
    else:
        for i in range(done, count):
            store(to + i * to_step, load(at + i * at_step, "int64"), "int64")


@callee
def lines_of(s, rows, y_w, r_w):  # type: ignore[no-untyped-def]
    """(lines, pixels of one) of so many rows: rows that follow each other in the result, and in the residual, are one line."""
    dense = rows == 1 or (s[YH] == s[OW] * y_w and (s[RESIDUAL] == 0 or s[RH] == s[OW] * r_w))
    return (1, rows * s[OW]) if dense else (rows, s[OW])


@callee
def aligned(address):  # type: ignore[no-untyped-def]
    """The next multiple of 64 bytes: a vector that lies across two cache lines costs two reads."""
    return (address + 63) // 64 * 64


@callee
def strange_run(at, count, size):  # type: ignore[no-untyped-def]
    """Whether one of so many numbers is infinite or NaN: all bits of its exponent are set."""
    words, exponent, found = size // 4, 0x7F800000 if size == 4 else 0x7FF00000, False
    for i in range(count):
        found |= (word(at, i * words + words - 1) & exponent) == exponent
    return found


@callee
def strange_block(at, by, channels, depth, height, width, by_d, by_h, by_w, size):  # type: ignore[no-untyped-def]
    """The same of the planes of so many channels, `by` bytes apart."""
    row, plane = width * size, height * width * size
    dense = (width == 1 or by_w == size) and (height == 1 or by_h == row) and (depth == 1 or by_d == plane)
    if dense and by == depth * plane:
        return strange_run(at, channels * depth * height * width, size)
    found, run = False, channels if by == size else 1
    for channel in range(0, channels, run):
        for d in range(depth):
            for i in range(height):
                for j in range(width):
                    found |= strange_run(at + channel * by + d * by_d + i * by_h + j * by_w, run, size)
    return found


@callee
def strange(q, c, channels, size):  # type: ignore[no-untyped-def]
    """Whether a depthwise weight of the output channels c to c + channels is infinite or NaN, or x where that is in its place (`frame.turned`)."""
    found = strange_block(q[WEIGHT] + c * q[WO], q[WO], channels, q[KD], q[KH], q[KW], q[WD], q[WH], q[WW], size)
    if q[TURNED] != 0:
        found |= strange_block(q[X] + c * q[XC], q[XC], channels, q[ID], q[IH], q[IW], q[XD], q[XH], q[XW], size)
    return found
