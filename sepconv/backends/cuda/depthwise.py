"""Depthwise convolution: what a thread of a block does around the tiles of `stencil.py`, for both layouts.

A kernel is `factory(*cells)`: a body over (q, the block's indices, the thread's), so that tests can run it on the CPU, a loop over the grid.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from .stencil import finish_first, finish_last, first, last, registers

# What a kernel is passed, by the names of the record; MAGIC and SHIFT divide by a size that is no constant: (n * MAGIC) >> SHIFT.
FIELDS = (
    "X", "WEIGHT", "BIAS", "OUT", "BIAS_BY", "LO", "HI", "IH", "IW", "OH", "OW", "XN", "XC", "XH", "WO", "WH", "WW", "YN", "YC", "YH",
    "ID", "KD", "OD", "SD", "DD", "PD", "XD", "WD", "YD", "C_OUT", "XW", "YW", "N",
)  # fmt: skip
(X, WEIGHT, BIAS, OUT, BIAS_BY, LO, HI, IH, IW, OH, OW, XN, XC, XH, WO, WH, WW, YN, YC, YH,
 ID, KD, OD, SD, DD, PD, XD, WD, YD, C_OUT, XW, YW, N) = range(len(FIELDS))  # fmt: skip
MAGIC, SHIFT, DEPTH_MAGIC, DEPTH_SHIFT, JOBS = range(len(FIELDS), len(FIELDS) + 5)
WORDS = len(FIELDS) + 5


def channels_first(shape, sums, outputs, rows, cols, block, multiplier, flat):  # type: ignore[no-untyped-def]
    """A block is a rectangle of tiles, of several planes where those are small; planes lie along the grid's x. `flat`: one depth, one depth tap."""
    across, down, planes = block

    def depthwise_channels_first(q, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
        plane = np.int64(bx) * planes + tz
        top, left = np.int32((by * down + ty) * rows), np.int32((bz * across + tx) * cols)
        if plane < q[JOBS] and top < q[OH] and left < q[OW]:
            whole = plane if flat else (plane * q[DEPTH_MAGIC]) >> q[DEPTH_SHIFT]
            n = (whole * q[MAGIC]) >> q[SHIFT]
            c = whole - n * q[C_OUT]
            z = np.int64(0) if flat else plane - whole * q[OD]
            x, w = q[X] + n * q[XN] + c // multiplier * q[XC], q[WEIGHT] + c * q[WO]
            y = q[OUT] + n * q[YN] + c * q[YC] + z * q[YD]
            bias = q[BIAS] + c * q[BIAS_BY]
            pitch, height, width = np.int32(q[XH]), np.int32(q[IH]), np.int32(q[IW])
            wh, ww = np.int32(q[WH]), np.int32(q[WW])
            acc = registers(sums, outputs)
            if flat:
                first(shape, acc, x, pitch, height, width, top, left, w, wh, ww)
            else:
                for d in range(q[KD]):
                    depth = z * q[SD] + d * q[DD] - q[PD]
                    inside = 0 <= depth < q[ID]  # outside all rows are: a height of 0 makes every value a zero, and is multiplied
                    seen = height if inside else np.int32(0)
                    first(shape, acc, x + (depth * q[XD] if inside else np.int64(0)), pitch, seen, width, top, left, w + d * q[WD], wh, ww)
            finish_first(shape, acc, bias, y, np.int32(q[YH]), np.int32(q[OH]), np.int32(q[OW]), top, left, q[LO], q[HI])

    return depthwise_channels_first


def channels_last(shape, sums, outputs, size, rows, cols, vec, block, flat):  # type: ignore[no-untyped-def]
    """A block is words of channels by columns of tiles by rows of tiles; images (and depths) lie along the grid's x, with the rows."""
    across, wide, down = block

    def depthwise_channels_last(q, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
        strip = np.int64(bx) * down + tz  # of all images, depths and rows of tiles
        image = (strip * q[MAGIC]) >> q[SHIFT]
        tile_rows = (q[OH] + rows - 1) // rows
        top, left = np.int32((strip - image * tile_rows) * rows), np.int32((by * wide + ty) * cols)
        c = np.int64(bz * across + tx) * vec
        if strip < q[JOBS] and left < q[OW] and c < q[C_OUT]:
            n = image if flat else (image * q[DEPTH_MAGIC]) >> q[DEPTH_SHIFT]
            z = np.int64(0) if flat else image - n * q[OD]
            x, w = q[X] + n * q[XN] + c * size, q[WEIGHT] + c * q[WO]
            y = q[OUT] + n * q[YN] + z * q[YD] + c * size
            pitch, step, height, width = np.int32(q[XH]), np.int32(q[XW]), np.int32(q[IH]), np.int32(q[IW])
            wc, wh, ww = np.int32(q[WO]), np.int32(q[WH]), np.int32(q[WW])
            acc = registers(sums, outputs)
            if flat:
                last(shape, acc, x, pitch, step, height, width, top, left, w, wc, wh, ww)
            else:
                for d in range(q[KD]):
                    depth = z * q[SD] + d * q[DD] - q[PD]
                    inside = 0 <= depth < q[ID]
                    seen = height if inside else np.int32(0)
                    last(shape, acc, x + (depth * q[XD] if inside else np.int64(0)), pitch, step, seen, width, top, left,
                         w + d * q[WD], wc, wh, ww)  # fmt: skip
            finish_last(shape, acc, q[BIAS] + c * q[BIAS_BY], np.int32(q[BIAS_BY]), y, np.int32(q[YH]), np.int32(q[YW]), np.int32(q[OH]),
                        np.int32(q[OW]), top, left, q[LO], q[HI])  # fmt: skip

    return depthwise_channels_last


def kernel(factory, *cells):  # type: ignore[no-untyped-def]
    """The CUDA kernel of a body."""
    body = cuda.jit(device=True, inline="always")(factory(*cells))

    def depthwise(q):  # type: ignore[no-untyped-def]
        body(q, cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z, cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.z)

    return depthwise
