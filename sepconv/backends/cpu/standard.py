"""Standard convolution, grouped or not: the product of `product.py`, for both layouts.

channels_first  channels_last    the product summed over the kernel's taps, each read in place, without im2col
gathered_first  gathered_last    a band of rows is filled into scratch, tap by tap, as the matrix that a pointwise convolution reads: for border
                                 modes, strides, and maps that a row's tiles fill badly
"""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import as_float, keep, keep_subnormals, restore
from .jit import callee
from .loops import aligned, first_job, move, placed, snapshot, within
from .panels import copy_room, panel, panel_width
from .pointwise import band_first, band_last, slim_rows
from .product import taps_tile
from .rows import block, blocks, gather_first, gather_last


@callee
def pack(to, q, c, channels, width, size):  # type: ignore[no-untyped-def]
    """The weights of output channels c to c + channels as (taps, input channels, width)."""
    for d in range(q[KD]):
        for i in range(q[KH]):
            for j in range(q[KW]):
                for g in range(q[GROUP_IN]):
                    tap = q[WEIGHT] + c * q[WO] + g * q[WI] + d * q[WD] + i * q[WH] + j * q[WW]
                    move(to, size, tap, q[WO], channels, size)
                    to += width * size


def channels_first(dtype, size, lanes, rows, vectors, lane_stride):  # type: ignore[no-untyped-def]
    """Rows of the tile are output channels, vectors lie along the width; jobs are (image, group, depth, band of rows)."""
    width = lanes * vectors

    def standard_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        groups = q[C_OUT] // q[GROUP_OUT]
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, band = divmod(job, q[BANDS])
            rest, z = divmod(rest, q[OD])
            n, group = divmod(rest, groups)
            z0 = z * q[SD] - q[PD]
            z_inside = z0 >= 0 and z0 + (q[KD] - 1) * q[DD] < q[ID]
            for row in range(band * q[BAND], min(q[OH], (band + 1) * q[BAND])):
                top = row * q[SH] - q[PH]
                row_inside = z_inside and top >= 0 and top + (q[KH] - 1) * q[DH] < q[IH]
                for col0 in range(0, q[OW], width):
                    col = placed(col0, width, q[OW], q[OVERLAP])
                    left = col * q[SW] - q[PW]
                    inside = (
                        row_inside and col + width <= q[OW] and left >= 0
                        and left + (q[KW] - 1) * q[DW] + width * lane_stride <= q[IW]
                    )  # fmt: skip
                    x = q[X] + n * q[XN] + group * q[GROUP_IN] * q[XC] + z0 * q[XD] + top * q[XH] + left * size
                    for c0 in range(0, q[GROUP_OUT], rows):
                        at = placed(c0, rows, q[GROUP_OUT], q[OVERLAP])
                        c = group * q[GROUP_OUT] + at
                        whole = inside and q[GROUP_OUT] - at >= rows
                        y = q[OUT] + n * q[YN] + c * q[YC] + z * q[YD] + row * q[YH] + col * size
                        added = q[RESIDUAL] + n * q[RN] + c * q[RC] + z * q[RD] + row * q[RH] + col * size if q[RESIDUAL] != 0 else 0
                        taps_tile(dtype, lanes, rows, vectors, 1, lane_stride, whole,
                                  q[WEIGHT] + c * q[WO], q[WO], q[WI], x, q[XC], q[GROUP_IN], q[BIAS] + c * size, added, q[RC],
                                  y, q[YC], q[GROUP_OUT] - at, q[OW] - col, q[KD], q[KH], q[KW], q[WD], q[WH], q[WW],
                                  q[DD] * q[XD], q[DH] * q[XH], q[DW] * size, z0, top, left, q[DD], q[DH], q[DW],
                                  q[ID], q[IH], q[IW], 0, q[ZEROS], q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        restore(before)

    return standard_channels_first


def channels_last(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """Rows of the tile are pixels of a row, vectors lie along the output channels; jobs are (panel of channels, image, depth, band of rows)."""
    width = lanes * vectors

    def standard_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        panels, step = (q[GROUP_OUT] + width - 1) // width, q[GROUP_IN] * width * size
        packed, held = np.zeros(q[KD] * q[KH] * q[KW] * step, np.uint8), -1
        taps = packed.ctypes.data
        joined = q[DW] == 1 and q[XW] == q[GROUP_IN] * size  # a row of taps reads a run of the array: one longer sum, in the same order
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, band = divmod(job, q[BANDS])
            rest, z = divmod(rest, q[OD])
            which, n = divmod(rest, q[N])
            group, panel = divmod(which, panels)
            at = placed(panel * width, width, q[GROUP_OUT], q[OVERLAP])
            c, channels = group * q[GROUP_OUT] + at, min(width, q[GROUP_OUT] - at)
            if which != held:
                pack(taps, q, c, channels, width, size)
                held = which
            z0 = z * q[SD] - q[PD]
            z_inside = z0 >= 0 and z0 + (q[KD] - 1) * q[DD] < q[ID]
            for row in range(band * q[BAND], min(q[OH], (band + 1) * q[BAND])):
                top = row * q[SH] - q[PH]
                row_inside = z_inside and channels == width and top >= 0 and top + (q[KH] - 1) * q[DH] < q[IH]
                for col0 in range(0, q[OW], rows):
                    col = placed(col0, rows, q[OW], q[OVERLAP])
                    left = col * q[SW] - q[PW]
                    whole = row_inside and col + rows <= q[OW] and left >= 0 and left + (rows - 1) * q[SW] + (q[KW] - 1) * q[DW] < q[IW]
                    x = q[X] + n * q[XN] + group * q[GROUP_IN] * size + z0 * q[XD] + top * q[XH] + left * q[XW]
                    y = q[OUT] + n * q[YN] + c * size + z * q[YD] + row * q[YH] + col * q[YW]
                    added = q[RESIDUAL] + n * q[RN] + c * size + z * q[RD] + row * q[RH] + col * q[RW] if q[RESIDUAL] != 0 else 0
                    run = q[KW] if whole and joined else 1
                    taps_tile(dtype, lanes, rows, vectors, 0, 1, whole,
                              x, q[SW] * q[XW], size, taps, width * size, q[GROUP_IN] * run, q[BIAS] + c * size, added, q[RW],
                              y, q[YW], q[OW] - col, channels, q[KD], q[KH], q[KW] // run,
                              q[DD] * q[XD], q[DH] * q[XH], q[DW] * q[XW], q[KH] * q[KW] * step, q[KW] * step, step,
                              z0, top, left, q[DD], q[DH], q[DW], q[ID], q[IH], q[IW], q[SW], q[ZEROS],
                              q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        keep(packed)
        restore(before)

    return standard_channels_last


@callee
def _job(q, s, job):  # type: ignore[no-untyped-def]
    """(image, group, depth, first row, rows, first column) of a job: (image, group, depth, band of rows, block of columns)."""
    rest, part = divmod(job, blocks(q, s))
    rest, band = divmod(rest, q[BANDS])
    rest, z = divmod(rest, q[OD])
    n, group = divmod(rest, q[C_OUT] // q[GROUP_OUT])
    row0 = q[OH] * band // q[BANDS]
    return n, group, z, row0, q[OH] * (band + 1) // q[BANDS] - row0, block(q, s, part)


def gathered_first(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """The taps of a band as the second record's input channels; for the jobs see `_job`."""

    slim = slim_rows(rows)

    def standard_gathered_first(p, chunk):  # type: ignore[no-untyped-def]
        before, q, s = keep_subnormals(), snapshot(p, 0), within(p)
        most, table_bytes = (q[OH] + q[BANDS] - 1) // q[BANDS], q[KW] * s[OW] * 8
        pitch = (most * s[OW] * size + 127) // 128 * 128 + 64
        taken, copied = np.empty(s[C_IN] * pitch + table_bytes + 192, np.uint8), np.empty(copy_room(s, rows, size), np.uint8)
        table = aligned(taken.ctypes.data)
        b = aligned(table + table_bytes)
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            n, group, z, row0, count, col0 = _job(q, s, job)
            x = q[X] + n * q[XN] + group * q[GROUP_IN] * q[XC]
            gather_first(b, table, q, x, z, row0, count, col0, s[OW], pitch, dtype, lanes, size)
            begin, end = group * q[GROUP_OUT], (group + 1) * q[GROUP_OUT]
            band_first(dtype, size, lanes, rows, slim, vectors, s, copied, b, pitch, n, z, row0, count, col0, begin, end)
        keep(taken)
        keep(copied)
        restore(before)

    return standard_gathered_first


def gathered_last(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """The same for channels last, of one group; the panels of the weight are packed once a thread."""
    width, slim = lanes * vectors, slim_rows(rows)

    def standard_gathered_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q, s = keep_subnormals(), snapshot(p, 0), within(p)
        most, table_bytes = (q[OH] + q[BANDS] - 1) // q[BANDS], q[KW] * s[OW] * 8
        pitch = (s[C_IN] * size + 63) // 64 * 64
        pitch += 64 if pitch % 4096 == 0 else 0
        panels, panel_bytes = (s[C_OUT] + width - 1) // width, s[C_IN] * width * size
        taken = np.empty(most * s[OW] * pitch + table_bytes + 192, np.uint8)
        packed, have = np.empty(panels * panel_bytes + 64, np.uint8), np.zeros(panels, np.uint8)
        table = aligned(taken.ctypes.data)
        b = aligned(table + table_bytes)
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            n, _, z, row0, count, col0 = _job(q, s, job)
            gather_last(b, table, q, q[X] + n * q[XN], z, row0, count, col0, s[OW], pitch, dtype, lanes, size)
            for number in range(panels):
                at, end, w = number * width, min(s[C_OUT], (number + 1) * width), aligned(packed.ctypes.data) + number * panel_bytes
                while at < end:  # one panel, or the narrow ones of what is left
                    v, kind, at = panel(at, s[C_OUT], lanes, vectors, s[OVERLAP])
                    wide = panel_width(kind, lanes, vectors)
                    if have[number] == 0:
                        pack(w, q, v, min(wide, s[C_OUT] - v), wide, size)
                    band_last(dtype, size, lanes, rows, slim, vectors, s, b, pitch, n, z, row0, count, col0, w, wide * size, v, kind)
                    w += s[C_IN] * wide * size
                have[number] = 1
        keep(taken)
        keep(packed)
        restore(before)

    return standard_gathered_last
