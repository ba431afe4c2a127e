"""Depthwise convolution of many taps over copies: a block of channels of x, and its weights, are copied into scratch as channels last, each pixel
beside the next, where the kernel of `depthwise.py` reads them; and results that lie channels first are copied back. Against hundreds of products a
pixel that is little. Channels first, vectors along the rows leave lanes over and multiply the border's zeros; channels last, pixels of many channels
lie far apart, in the same few sets of the first cache.

The kernel is called by its address, a band of rows of a block at a time. The second record of a call is that of the scratch.
"""

from __future__ import annotations

import numpy as np

from .frame import *
from .frame import LENGTH
from .intrinsics import copy_vectors, keep, transpose
from .jit import callee
from .loops import aligned, first_job, placed, snapshot
from .runtime import enter


@callee
def gather(dtype, lanes, size, channels, to, at, step, by, count):  # type: ignore[no-untyped-def]
    """`count` pixels, `by` bytes apart, of channels that are `step` bytes apart, to address `to`. Of either one or the other are neighbours."""
    pixel = channels * size
    if step == size:
        for i in range(count):
            copy_vectors(to + i * pixel, at + i * by, channels, dtype, lanes, 1)
        return
    for i in range(0, count, lanes):
        col = placed(i, lanes, count, 1)
        for c in range(0, channels, lanes):
            transpose(dtype, lanes, at + c * step + col * size, step, to + col * pixel + c * size, pixel)


@callee
def scatter(dtype, lanes, size, channels, to, step, at, count):  # type: ignore[no-untyped-def]
    """The same from scratch back to channels whose pixels are neighbours."""
    pixel = channels * size
    for c in range(0, channels, lanes):
        for i in range(0, count, lanes):
            col = placed(i, lanes, count, 1)
            transpose(dtype, lanes, at + col * pixel + c * size, pixel, to + c * step + col * size, step)


@callee
def rows_read(q, row0, count):  # type: ignore[no-untyped-def]
    """(begin, end) of the rows of x that `count` rows of the output read, from row0 on."""
    top = row0 * q[SH] - q[PH]
    return max(0, min(q[IH], top)), max(0, min(q[IH], top + (count - 1) * q[SH] + (q[KH] - 1) * q[DH] + 1))


def blocks(dtype, size, lanes, channels, turned):  # type: ignore[no-untyped-def]
    """Jobs are (block of `channels`, image, band of rows). `turned`: x and the weight are in each other's place in the second record."""
    pixel = channels * size

    def depthwise_blocks(p, chunk):  # type: ignore[no-untyped-def]
        q, s = snapshot(p, 0), np.empty(LENGTH, np.int64)
        for i in range(LENGTH):
            s[i] = p[LENGTH + i]
        most, high = (q[OH] + q[BANDS] - 1) // q[BANDS], 0  # rows of a band, written and read
        for band in range(q[BANDS]):
            begin, end = rows_read(q, q[OH] * band // q[BANDS], most)
            high = max(high, end - begin)
        taps, back = q[KH] * q[KW], q[YC] != size
        x_bytes, weight_bytes = high * q[IW] * pixel, taps * pixel
        scratch = np.empty(x_bytes + weight_bytes + (most * q[OW] * pixel if back else 0) + 256, np.uint8)
        x = aligned(scratch.ctypes.data)
        weight = aligned(x + x_bytes)
        made, held = aligned(weight + weight_bytes), -1
        s[BEGIN], s[END], s[CHUNKS], s[ZEROS] = 0, 1, 1, q[ZEROS]
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, band = divmod(job, q[BANDS])
            block, n = divmod(rest, q[N])
            c, row0 = placed(block * channels, channels, q[C_OUT], 1), q[OH] * band // q[BANDS]
            count = q[OH] * (band + 1) // q[BANDS] - row0
            begin, end = rows_read(q, row0, count)
            gather(dtype, lanes, size, channels, x, q[X] + n * q[XN] + c * q[XC] + begin * q[XH], q[XC], q[XW], (end - begin) * q[IW])
            if block != held:
                gather(dtype, lanes, size, channels, weight, q[WEIGHT] + c * q[WO], q[WO], q[WW], taps)
                held = block
            y = q[OUT] + n * q[YN] + c * q[YC] + row0 * q[YH]
            s[X], s[WEIGHT] = x - begin * q[IW] * pixel, weight
            if turned:
                s[X], s[WEIGHT] = weight, x
            else:
                s[PH], s[OH], s[BAND] = q[PH] - row0 * q[SH], count, count
            s[BIAS], s[OUT] = q[BIAS] + c * size, made if back else y
            if not enter(q[FIRST_KERNEL], s, 0):
                raise MemoryError
            if back:
                scatter(dtype, lanes, size, channels, y, q[YC], made, count * q[OW])
        keep(scratch)
        if s[STRANGE] != 0:
            p[STRANGE] = 1

    return depthwise_blocks
