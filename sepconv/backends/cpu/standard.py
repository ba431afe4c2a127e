"""Standard convolution, grouped or not: the product of `product.py` summed over the kernel's taps, for both layouts, without im2col."""

from __future__ import annotations

import numpy as np
from numba import njit

from .frame import *
from .loops import first_job, move, placed, snapshot
from .product import taps_tile
from .simd import as_float, keep, keep_subnormals, restore


@njit
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
                    taps_tile(dtype, lanes, rows, vectors, 0, 1, whole,
                              x, q[SW] * q[XW], size, taps, width * size, q[GROUP_IN], q[BIAS] + c * size, added, q[RW],
                              y, q[YW], q[OW] - col, channels, q[KD], q[KH], q[KW],
                              q[DD] * q[XD], q[DH] * q[XH], q[DW] * q[XW], q[KH] * q[KW] * step, q[KW] * step, step,
                              z0, top, left, q[DD], q[DH], q[DW], q[ID], q[IH], q[IW], q[SW], q[ZEROS],
                              q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        keep(packed)
        restore(before)

    return standard_channels_last
