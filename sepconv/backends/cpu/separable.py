"""Depthwise-separable convolution, fused: a band of depthwise rows, all channels of it, stays in the second cache and is at once what the
1x1 product reads. The middle tensor exists nowhere else.

The tiles are those of the kernels of `depthwise.py` and `pointwise.py`, which are called by their addresses, for a band at a time: what is here
is compiled once for all pairs. A thread has a record for each of the two, in which a band is the whole image.

The array of a call holds two records: the depthwise half's, and the pointwise half's; if the depthwise half is staged, a third, that of the
scratch which it reads (see `rows.py`).
"""

from __future__ import annotations

import numpy as np

from .depthwise import room, taps_of
from .frame import *
from .frame import LENGTH
from .intrinsics import keep
from .jit import callee
from .loops import aligned, first_job, lines_of, snapshot
from .panels import pack, panel, panel_width
from .runtime import enter


@callee
def band_of(q, place):  # type: ignore[no-untyped-def]
    """(image, depth, first row, rows) of the place-th band."""
    rest, band = divmod(place, q[BANDS])
    n, z = divmod(rest, q[OD])
    row0 = q[OH] * band // q[BANDS]
    return n, z, row0, q[OH] * (band + 1) // q[BANDS] - row0


@callee
def pixels_of(q, place):  # type: ignore[no-untyped-def]
    """(image, depth, first row, rows, pixels of the first row that are not its, pixels) of the place-th band. Where BAND is not 0, bands are of
    equally many tiles of BAND pixels, not of rows: no tile overlaps another, and threads that share out few rows get as much work."""
    n, z, row0, count = band_of(q, place)
    if q[BAND] == 0:
        return n, z, row0, count, 0, 0
    band, all_pixels = place % q[BANDS], q[OH] * q[OW]
    tiles = (all_pixels + q[BAND] - 1) // q[BAND]
    begin, end = tiles * band // q[BANDS] * q[BAND], min(all_pixels, tiles * (band + 1) // q[BANDS] * q[BAND])
    row0 = begin // q[OW]
    return n, z, row0, (end + q[OW] - 1) // q[OW] - row0, begin - row0 * q[OW], end - begin


@callee
def records(p):  # type: ignore[no-untyped-def]
    """This thread's records of the two halves: of one image and one plane, and of one job or as many as its caller says."""
    both = np.empty(3 * LENGTH, np.int64)
    first, second = both[LENGTH:], both[:LENGTH]
    for i in range(LENGTH):
        first[i], second[i] = p[i], p[LENGTH + i]
    for i in range(2 * LENGTH, p.size):
        first[i - LENGTH] = p[i]
    first[BEGIN] = second[BEGIN] = 0
    first[CHUNKS] = first[BANDS] = first[OD] = second[CHUNKS] = second[BANDS] = second[N] = second[ID] = 1
    return first, second


@callee
def depthwise_band(first, q, n, z, row0, count):  # type: ignore[no-untyped-def]
    """The depthwise half of `count` rows, from row0 on, to where the record says."""
    first[X] = q[X] + n * q[XN]
    first[PD], first[PH] = q[PD] - z * q[SD], q[PH] - row0 * q[SH]  # to whom these are the first there are
    first[OH] = first[BAND] = count
    if not enter(q[FIRST_KERNEL], first, 0):
        raise MemoryError


@callee
def product_band(second, q, s, n, c0, z, row0, col0, lines, length):  # type: ignore[no-untyped-def]
    """The jobs of the pointwise half's record, for so many lines of so many pixels, to the result from channel c0, row0 and col0 on."""
    second[OUT] = s[OUT] + n * s[YN] + c0 * s[YC] + z * s[YD] + row0 * s[YH] + col0 * s[YW]
    if s[RESIDUAL] != 0:
        second[RESIDUAL] = s[RESIDUAL] + n * s[RN] + c0 * s[RC] + z * s[RD] + row0 * s[RH] + col0 * s[RW]
    second[IH], second[IW] = lines, length
    if not enter(q[SECOND_KERNEL], second, 0):
        raise MemoryError


def channels_first(size):  # type: ignore[no-untyped-def]
    """Jobs are (image, depth, band of rows, group of GROUP output channels); the groups of a band share its depthwise rows."""

    def separable_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        q, s = snapshot(p, 0), snapshot(p, 1)
        first, second = records(p)
        most = (q[OH] + q[BANDS] - 1) // q[BANDS]  # rows of a band
        pitch = (most * q[OW] * size + 127) // 128 * 128 + 64
        middle, held = np.empty(q[C_OUT] * pitch + 4096, np.uint8), -1
        first[OUT] = second[X] = aligned(middle.ctypes.data)
        first[YC] = second[XC] = pitch
        first[YH] = second[XH] = q[OW] * size
        first[END] = (q[C_OUT] + q[BLOCK] - 1) // q[BLOCK]
        second[GROUP] = 1
        groups = (s[C_OUT] + q[GROUP] - 1) // q[GROUP]
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            place, group = divmod(job, groups)
            n, z, row0, count = band_of(q, place)
            if place != held:
                depthwise_band(first, q, n, z, row0, count)
                held = place
            begin = group * q[GROUP]
            second[C_OUT] = second[BAND] = min(s[C_OUT], begin + q[GROUP]) - begin
            second[WEIGHT], second[BIAS] = s[WEIGHT] + begin * s[WO], s[BIAS] + begin * size
            lines, length = lines_of(s, count, size, size)
            second[END], second[BLOCK] = lines, length
            product_band(second, q, s, n, begin, z, row0, 0, lines, length)
        keep(middle)
        if first[STRANGE] != 0:
            p[STRANGE] = 1

    return separable_channels_first


def channels_last(dtype, size, lanes):  # type: ignore[no-untyped-def]
    """Jobs are (image, depth, band of rows, group of GROUP panels of output channels); the groups of a band share its depthwise rows.

    The panels of a thread's groups are packed once, each of them, unless the pointwise weight is a transpose already.
    """

    def separable_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        q, s = snapshot(p, 0), snapshot(p, 1)
        first, second = records(p)
        pitch = (q[C_OUT] * size + 63) // 64 * 64
        pitch += 64 if pitch % 4096 == 0 else 0
        most = 0  # rows of a band
        for band in range(q[BANDS]):
            most = max(most, pixels_of(q, band)[3])
        ready, width = s[WO] == size or s[C_OUT] == 1 or s[PANEL] != 0, q[SECOND_WIDTH]
        panels = (s[C_OUT] + width - 1) // width
        groups = (panels + q[GROUP] - 1) // q[GROUP]
        panel_bytes, missing = s[C_IN] * width * size, 0 if ready else panels
        taps, band_bytes = room(q, q[C_OUT], q[FIRST_WIDTH], size), most * q[OW] * pitch + 4096
        scratch, held = np.empty(band_bytes + missing * panel_bytes + 64 + taps, np.uint8), -1
        b = aligned(scratch.ctypes.data)
        if not ready:
            second[WEIGHT], second[PANEL] = b + band_bytes // 64 * 64, panel_bytes
        first[WEIGHT], tap = taps_of(q, scratch[scratch.size - taps :], 0, q[C_OUT], q[FIRST_WIDTH], size)
        first[WO], first[WW], first[WH], first[WD] = size, tap, q[KW] * tap, q[KH] * q[KW] * tap
        first[OUT], first[YC], first[YW] = b, size, pitch
        first[YH] = second[XH] = q[OW] * pitch
        first[GROUP], first[END] = q[C_OUT], 1
        second[XC], second[XW], second[GROUP] = size, pitch, 0
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            place, group = divmod(job, groups)
            n, z, row0, count, skip, pixels = pixels_of(q, place)
            if place != held:
                depthwise_band(first, q, n, z, row0, count)
                held = place
            begin, end = group * q[GROUP], min(panels, (group + 1) * q[GROUP])
            for number in range(begin, min(end, begin + missing)):  # a thread's jobs come to all of them before they come to one again
                at, to = number * width, second[WEIGHT] + number * panel_bytes
                while at < min(s[C_OUT], (number + 1) * width):  # one panel, or the narrow ones of what is left
                    v, kind, at = panel(at, s[C_OUT], lanes, width // lanes, s[OVERLAP])
                    wide = panel_width(kind, lanes, width // lanes)
                    pack(to, s, v, min(wide, s[C_OUT] - v), wide, lanes, dtype, size)
                    to += s[C_IN] * wide * size
                missing -= 1
            lines, length = lines_of(s, count, s[YW], s[RW]) if pixels == 0 else (1, pixels)
            second[X], second[BAND] = b + skip * pitch, length
            second[BEGIN], second[END] = begin * lines, end * lines
            product_band(second, q, s, n, 0, z, row0, skip, lines, length)
        if first[STRANGE] != 0:
            p[STRANGE] = 1
        keep(scratch)

    return separable_channels_last
