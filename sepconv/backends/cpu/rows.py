"""Rows of the input in scratch, as they lie on past the border: what the tuned kernels read where the array itself will not do.

Border modes other than zeros, strides that no shuffle serves, and input channels that several output channels read are all gone from what
lies in scratch: a second record has its sizes and pitches, and the kernels' loops run over it as over an array without a border. A band of
rows is filled at a time, of long rows a block of columns, so that it stays in a core's caches: the second record's OW is such a block. The last
block of a row overlaps the one before. Padding with zeros is written out too, and multiplied as it should be.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .frame import *
from .frame import LENGTH
from .intrinsics import copy_vectors, load, store, words
from .jit import callee
from .loops import aligned, border, move

AFTER = LENGTH - XW - 1  # fields behind x's strides


def _pitch(bytes: int) -> int:
    """Whole cache lines, but no multiple of 4 KiB, which would put all rows in the same places of the first cache."""
    lines = -(-bytes // 64)
    return (lines + (lines % 64 == 0)) * 64


def pixel_bytes(block: int, channels: int, size: int) -> int:
    """What a pixel of a block of so many output channels takes: whole cache lines."""
    return -(-min(block, channels) * size // 64) * 64


def _inner(record: np.ndarray, cut: Mapping[int, int], columns: int) -> tuple[np.ndarray, int]:
    """A copy of the record that begins where a band's first output reads, and how many rows a band reads at most."""
    s = record.copy()
    s[OW] = columns
    s[XN] = s[PD] = s[PH] = s[PW] = s[MODE] = 0
    s[ID], s[DD] = s[KD], 1  # just the planes that the kernel's taps read
    if cut.get(STEP, 1) > 1:
        s[DH] = 1  # just the rows that the band reads
    most = -(-s[OH] // cut[BANDS])
    s[IH] = (most - 1) * s[SH] + (s[KH] - 1) * s[DH] + 1
    return s, int(s[IH])


def first(record: np.ndarray, cut: Mapping[int, int], columns: int, size: int, width: int, lane_stride: int) -> np.ndarray:
    """The record of a channels-first band in scratch, for tiles of `width` lanes. Where the lanes' stride is not the problem's, each tap
    has a row of its own, which is as good as a dilation."""
    s, rows = _inner(record, cut, columns)
    if lane_stride != s[SW]:
        tap = -(-max(s[OW], width) // 16) * 16
        s[SW], s[DW], s[IW] = 1, tap, s[KW] * tap
    else:
        s[IW] = max(s[OW] * s[SW], width * s[SW]) + (s[KW] - 1) * s[DW] + s[SW]
    s[XW], s[XH] = size, _pitch(int(s[IW]) * size)
    s[XD] = rows * s[XH]
    s[XC] = s[KD] * s[XD]
    return s


def last(record: np.ndarray, cut: Mapping[int, int], columns: int, size: int) -> np.ndarray:
    """The record of a channels-last band in scratch, a block of BLOCK output channels to each pixel."""
    s, rows = _inner(record, {**cut, STEP: 1}, columns)  # there the step is along the width
    s[IW] = (s[OW] - 1) * s[SW] + (s[KW] - 1) * s[DW] + 1
    s[XC], s[XW] = size, pixel_bytes(cut[BLOCK], int(s[C_OUT]), size)
    s[XH] = _pitch(int(s[IW] * s[XW]))
    s[XD] = rows * s[XH]
    return s


@callee
def blocks(q, s):  # type: ignore[no-untyped-def]
    """How many blocks of columns a row is cut in."""
    return (q[OW] + s[OW] - 1) // s[OW]


@callee
def block(q, s, number):  # type: ignore[no-untyped-def]
    """The first column of a block."""
    return min(number * s[OW], q[OW] - s[OW])


@callee
def _tables(s):  # type: ignore[no-untyped-def]
    """Bytes for the tables of `_positions`, of the rows and of the columns of a band."""
    return (s[IH] + s[IW]) * 8 + 128


def gathered(record: np.ndarray, columns: int, size: int) -> np.ndarray:
    """The record of a standard convolution as a pointwise one: its input channels are the taps of each input channel."""
    s = record.copy()
    s[OW] = columns
    taps = s[KD] * s[KH] * s[KW]
    s[C_IN] = s[GROUP_IN] * taps
    if taps > 1:  # else the weight lies as any pointwise one may
        s[WI] = size
    return s


@callee
def room_first(q, s):  # type: ignore[no-untyped-def]
    """Bytes that `fill_first` needs for a block of BLOCK output channels."""
    return _tables(s) + ((q[BLOCK] - 1) // q[GROUP_OUT] + 2) * s[XC] + 4096


@callee
def room_last(s):  # type: ignore[no-untyped-def]
    return _tables(s) + s[KD] * s[XD] + 4096


@callee
def _positions(to, first, step, count, length, mode):  # type: ignore[no-untyped-def]
    """A table of what the positions first, first + step, ... of an axis copy; -1 is a zero."""
    for i in range(count):
        store(to + i * 8, border(first + i * step, length, mode), "int64")


@callee
def _gather(to, line, table, begin, end, by, size):  # type: ignore[no-untyped-def]
    """The begin-th to the end-th element of a row, as a table says where they are."""
    for i in range(begin, end):
        at = load(table + i * 8, "int64")
        if size == 4:
            store(to + i * 4, load(line + at * by, "int32") if at >= 0 else 0, "int32")
        else:
            store(to + i * 8, load(line + at * by, "int64") if at >= 0 else 0, "int64")


@callee
def _clear(to, count, size):  # type: ignore[no-untyped-def]
    for at in range(to, to + count * size, 4):
        store(at, 0, "int32")


@callee
def _inside(first, count, length):  # type: ignore[no-untyped-def]
    """(begin, end) of the positions first, first + 1, ... that lie in [0, length)."""
    begin = min(count, max(0, -first))
    return begin, min(count, max(begin, length - first))


@callee
def fill_first(to, q, s, x, begin, end, z, row0, step, count, col0, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """Fills scratch with what `count` output rows, from row0 in steps of `step`, of a block of columns from col0 on, of the output channels
    begin to end read.

    Returns where input channel 0 would begin, as `planes` takes it; x is its address in the array. A vector may be written past a row.
    """
    heights, length, by = aligned(to), q[IW], q[XW]
    across, base = heights + s[IH] * 8, aligned(heights + _tables(s) - 64)
    lines, taps, columns = (count - 1) * q[SH] + (q[KH] - 1) * s[DH] + 1, 1, (s[OW] - 1) * q[SW] + (q[KW] - 1) * q[DW] + 1
    left = col0 * q[SW] - q[PW]
    low, high = _inside(left, columns, length) if by == size else (0, 0)
    if s[SW] == q[SW]:
        _positions(across, left, 1, columns, length, q[MODE])
    else:  # a row for each tap: nothing of it is a run in the array
        taps, columns, low, high = q[KW], s[OW], 0, 0
        for j in range(taps):
            _positions(across + j * columns * 8, left + j * q[DW], q[SW], columns, length, q[MODE])
    _positions(heights, row0 * q[SH] - q[PH], step, lines, q[IH], q[MODE])
    c0 = begin // q[GROUP_OUT]
    for c in range(c0, (end - 1) // q[GROUP_OUT] + 1):
        for d in range(q[KD]):
            depth = border(z * q[SD] - q[PD] + d * q[DD], q[ID], q[MODE])
            for r in range(lines):
                height = load(heights + r * 8, "int64")
                line, at = x + c * q[XC] + depth * q[XD] + height * q[XH], base + (c - c0) * s[XC] + d * s[XD] + r * s[XH]
                if depth < 0 or height < 0:
                    _clear(at, s[IW], size)
                    continue
                copy_vectors(at + low * size, line + (left + low) * size, high - low, dtype, lanes, 1)
                for j in range(taps):
                    _gather(at + j * s[DW] * size, line, across + j * columns * 8, 0, low, by, size)
                    _gather(at + j * s[DW] * size, line, across + j * columns * 8, high, columns, by, size)
    return base - c0 * s[XC]


@callee
def _pixel(to, at, begin, end, times, by, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """What the output channels begin to end read, `times` of them an input channel, of the pixel at an address. A vector may be written past them."""
    if times == 1 and by == size:
        copy_vectors(to, at + begin * size, end - begin, dtype, lanes, 1)
    elif size == 4:
        for c in range(begin, end):
            store(to + (c - begin) * 4, load(at + c // times * by, "int32"), "int32")
    else:
        for c in range(begin, end):
            store(to + (c - begin) * 8, load(at + c // times * by, "int64"), "int64")


@callee
def fill_last(to, q, s, x, begin, end, z, row0, count, col0, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """The same for channels last, as `pixels` takes it."""
    heights, by, times, channel = aligned(to), q[XW], q[GROUP_OUT], q[XC]
    across, base = heights + s[IH] * 8, aligned(heights + _tables(s) - 64)
    lines, left, columns = (count - 1) * q[SH] + (q[KH] - 1) * q[DH] + 1, col0 * q[SW] - q[PW], s[IW]
    _positions(heights, row0 * q[SH] - q[PH], 1, lines, q[IH], q[MODE])
    _positions(across, left, 1, columns, q[IW], q[MODE])
    dense = times == 1 and s[XW] == by and (end - begin) * size == by and channel == size
    low, high = _inside(left, columns, q[IW]) if dense else (0, 0)
    for d in range(q[KD]):
        depth = border(z * q[SD] - q[PD] + d * q[DD], q[ID], q[MODE])
        for r in range(lines):
            height = load(heights + r * 8, "int64")
            line, to = x + depth * q[XD] + height * q[XH], base + d * s[XD] + r * s[XH]
            if depth < 0 or height < 0:
                _clear(to, columns * s[XW] // size, size)
                continue
            copy_vectors(to + low * by, line + (left + low) * by, (high - low) * (end - begin), dtype, lanes, 1)
            for i in range(columns):
                if low <= i < high:
                    continue
                at = load(across + i * 8, "int64")
                if at < 0:
                    _clear(to + i * s[XW], end - begin, size)
                else:
                    _pixel(to + i * s[XW], line + at * by, begin, end, times, channel, dtype, lanes, size)
    return base - begin * size


@callee
def dense(p, q, size):  # type: ignore[no-untyped-def]
    """The record of a channels-last problem of which a block of channels is copied, its pixels next to each other; q itself where it is not."""
    pixel, row = q[XW], q[XH]
    if q[COPIED] != 0:
        pixel = (min(q[BLOCK], q[GROUP]) * size + 63) // 64 * 64
        row = q[IW] * pixel + 64  # no multiple of 4 KiB here either
    return words(p, 0, XH) + (row, pixel) + words(p, XW + 1, AFTER)


@callee
def copy_last(to, q, s, x, begin, end, row0, count, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """Copies what `count` output rows, from row0 on, read of the channels begin to end, and nothing of the border. Returns where the image would
    begin. A vector may be written past it."""
    top, to = row0 * q[SH] - q[PH], aligned(to)
    low, high = max(0, top), min(q[IH], top + (count - 1) * q[SH] + (q[KH] - 1) * q[DH] + 1)
    for row in range(low, high):
        at, line = to + (row - low) * s[XH], x + row * q[XH] + begin * size
        for _ in range(q[IW]):
            copy_vectors(at, line, end - begin, dtype, lanes, 1)
            at, line = at + s[XW], line + q[XW]
    return to - low * s[XH] - begin * size


@callee
def gather_first(to, table, q, x, z, row0, count, col0, width, pitch, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """Fills scratch with the taps of `count` output rows, from row0 on, of `width` columns, from col0 on: for each input channel and tap, which
    lie `pitch` bytes apart as in the weight, what it reads for each output. x is the group's first channel; `table` has room for KW * width
    numbers.

    This is im2col (Chellapilla et al., 2006), for as much as stays in the second cache.
    """
    length, by, step, left = q[IW], q[XW], q[SW], col0 * q[SW] - q[PW]
    run = step <= 2 and by == size
    up = q[SH] // q[DH] if q[SH] % q[DH] == 0 else q[KH]  # taps to the one that has read a row for the output before
    for j in range(q[KW]):
        _positions(table + j * width * 8, left + j * q[DW], step, width, length, q[MODE])
    for c in range(q[GROUP_IN]):
        for d in range(q[KD]):
            depth = border(z * q[SD] - q[PD] + d * q[DD], q[ID], q[MODE])
            for i in range(q[KH]):
                for j in range(q[KW]):
                    first, across = left + j * q[DW], table + j * width * 8
                    low = min(width, max(0, (step - 1 - first) // step)) if run else 0
                    high = min(width, max(low, (length - 1 - first) // step + 1)) if run else 0
                    begin = count - 1 if i >= up else 0
                    move(to, size, to - up * q[KW] * pitch + width * size, size, begin * width, size)
                    for r in range(begin, count):
                        height = (row0 + r) * q[SH] - q[PH] + i * q[DH]
                        height = height if 0 <= height < q[IH] else border(height, q[IH], q[MODE])
                        at, line = to + r * width * size, x + c * q[XC] + depth * q[XD] + height * q[XH]
                        if depth < 0 or height < 0:
                            _clear(at, width, size)
                            continue
                        if step == 1:
                            copy_vectors(at + low * size, line + (first + low) * size, high - low, dtype, lanes, 1)
                        else:
                            copy_vectors(at + low * size, line + (first + 2 * low) * size, high - low, dtype, lanes, 2)
                        if low > 0:  # a call takes as long as two vectors
                            _gather(at, line, across, 0, low, by, size)
                        if high < width:
                            _gather(at, line, across, high, width, by, size)
                    to += pitch


@callee
def gather_last(to, table, q, x, z, row0, count, col0, width, pitch, dtype, lanes, size):  # type: ignore[no-untyped-def]
    """The same for channels last: for each output, which lie `pitch` bytes apart, its taps, and for each the input channels."""
    channels, by = q[GROUP_IN], q[XW]
    row = q[KW] * channels  # what a row of taps reads is a run in the array, away from the border
    dense = by == channels * size and q[XC] == size and q[DW] == 1
    for j in range(q[KW]):
        _positions(table + j * width * 8, col0 * q[SW] - q[PW] + j * q[DW], q[SW], width, q[IW], q[MODE])
    for r in range(count):
        for o in range(width):
            at = to + (r * width + o) * pitch
            for d in range(q[KD]):
                depth = border(z * q[SD] - q[PD] + d * q[DD], q[ID], q[MODE])
                for i in range(q[KH]):
                    height = border((row0 + r) * q[SH] - q[PH] + i * q[DH], q[IH], q[MODE])
                    left = (col0 + o) * q[SW] - q[PW]
                    if dense and depth >= 0 and height >= 0 and left >= 0 and left + q[KW] <= q[IW]:
                        copy_vectors(at, x + depth * q[XD] + height * q[XH] + left * by, row, dtype, lanes, 1)
                        at += row * size
                        continue
                    for j in range(q[KW]):
                        col = load(table + (j * width + o) * 8, "int64")
                        if depth < 0 or height < 0 or col < 0:
                            _clear(at, channels, size)
                        else:
                            _pixel(at, x + depth * q[XD] + height * q[XH] + col * by, 0, channels, 1, q[XC], dtype, lanes, size)
                        at += channels * size
