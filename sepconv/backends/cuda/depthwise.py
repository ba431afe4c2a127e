"""Depthwise convolution: what a thread of a block does around the tiles of `stencil.py` and `bands.py`, for both layouts.

A kernel is `factory(*cells)`: a body over (q, shared memory, the block's indices, the thread's), so that tests can run it on the CPU, in a loop.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from .bands import Band, banded, fill
from .product import shared
from .stencil import finish_first, first, registers
from .stencil_last import finish_last, last, pitch_of, stage

# What a kernel is passed, by the names of the record; MAGIC and SHIFT divide by a size that is no constant: (n * MAGIC) >> SHIFT.
FIELDS = (
    "X", "WEIGHT", "BIAS", "OUT", "BIAS_BY", "LO", "HI", "IH", "IW", "OH", "OW", "XN", "XC", "XH", "WO", "WH", "WW", "YN", "YC", "YH",
    "ID", "KD", "OD", "SD", "DD", "PD", "XD", "WD", "YD", "C_OUT", "XW", "YW", "N",
)  # fmt: skip
(X, WEIGHT, BIAS, OUT, BIAS_BY, LO, HI, IH, IW, OH, OW, XN, XC, XH, WO, WH, WW, YN, YC, YH,
 ID, KD, OD, SD, DD, PD, XD, WD, YD, C_OUT, XW, YW, N) = range(len(FIELDS))  # fmt: skip
# JOBS tiles in all, of which SPREAD lie in a plane (an image, channels last) and WIDTH across it.
(MAGIC, SHIFT, DEPTH_MAGIC, DEPTH_SHIFT, JOBS,
 SPREAD, SPREAD_MAGIC, SPREAD_SHIFT, WIDTH, WIDTH_MAGIC, WIDTH_SHIFT) = range(len(FIELDS), len(FIELDS) + 11)  # fmt: skip


def channels_first(shape, sums, outputs, rows, cols, threads, multiplier, flat):  # type: ignore[no-untyped-def]
    """Tile after tile of plane after plane: no thread is idle, whatever the size of a plane. `flat`: one depth, one depth tap."""

    def depthwise_channels_first(q, room, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
        tile = np.int64(bx) * threads + tx
        if tile < q[JOBS]:
            plane = (tile * q[SPREAD_MAGIC]) >> q[SPREAD_SHIFT]
            tile -= plane * q[SPREAD]
            down = (tile * q[WIDTH_MAGIC]) >> q[WIDTH_SHIFT]
            top, left = np.int32(down * rows), np.int32((tile - down * q[WIDTH]) * cols)
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


def channels_last(shape, sums, outputs, size, rows, cols, vec, block, flat, turns, taps):  # type: ignore[no-untyped-def]
    """A block is words of channels by tiles, `turns` times one after the other; images (and depths) follow each other.

    `taps`: of the filters that the block has in shared memory, of all depths; 0: they are read where they are.
    """
    across, each = block
    pitch = pitch_of(across * vec)
    kh, kw = (int(n) for n in shape.split()[1:3])

    def depthwise_channels_last(q, room, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
        c = np.int64(bz * across + tx) * vec
        for turn in range(turns):
            tile = (np.int64(bx) * turns + turn) * each + ty
            if tile < q[JOBS] and c < q[C_OUT]:
                image = (tile * q[SPREAD_MAGIC]) >> q[SPREAD_SHIFT]
                tile -= image * q[SPREAD]
                below = (tile * q[WIDTH_MAGIC]) >> q[WIDTH_SHIFT]
                top, left = np.int32(below * rows), np.int32((tile - below * q[WIDTH]) * cols)
                n = image if flat else (image * q[DEPTH_MAGIC]) >> q[DEPTH_SHIFT]
                z = np.int64(0) if flat else image - n * q[OD]
                x, w = q[X] + n * q[XN] + c * size, q[WEIGHT] + c * q[WO]
                y = q[OUT] + n * q[YN] + z * q[YD] + c * size
                far = (tx * vec, kw * pitch, pitch) if taps else (q[WO], q[WH], q[WW])
                wc, wh, ww = np.int32(far[0]), np.int32(far[1]), np.int32(far[2])
                down, step, height, width = np.int32(q[XH]), np.int32(q[XW]), np.int32(q[IH]), np.int32(q[IW])
                acc = registers(sums, outputs)
                if flat:
                    last(shape, acc, x, down, step, height, width, top, left, w, wc, wh, ww, room)
                else:
                    for d in range(q[KD]):
                        depth = z * q[SD] + d * q[DD] - q[PD]
                        inside = 0 <= depth < q[ID]
                        seen, begin = height if inside else np.int32(0), np.int32(d * kh * kw * pitch) if taps else np.int32(0)
                        last(shape, acc, x + (depth * q[XD] if inside else np.int64(0)), down, step, seen, width, top, left,
                             w + d * q[WD], wc + begin, wh, ww, room)  # fmt: skip
                finish_last(shape, acc, q[BIAS] + c * q[BIAS_BY], np.int32(q[BIAS_BY]), y, np.int32(q[YH]), np.int32(q[YW]), np.int32(q[OH]),
                            np.int32(q[OW]), top, left, q[LO], q[HI])  # fmt: skip

    return depthwise_channels_last


def staging(shape, sums, outputs, size, rows, cols, vec, block, flat, turns, taps):  # type: ignore[no-untyped-def]
    """What the threads of a block do first: its filters go into shared memory."""
    across, each = block
    channels = across * vec
    threads = across * each

    def depthwise_staging(q, room, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
        c = np.int64(bz) * channels
        count = np.int32(min(q[C_OUT] - c, np.int64(channels)) * taps)
        stage(shape, taps, channels, threads, np.int32(ty * across + tx), room, q[WEIGHT] + c * q[WO], count)

    return depthwise_staging


def _by_bands(filling):  # type: ignore[no-untyped-def]
    """A warp takes a tile of 16 rows of a plane, or of `maps` images' whole planes; channels last of eight channels, and a block's warps then have
    channels next to each other. The same places whether the warp copies its pixels or, when that is done, makes its results."""

    def factory(shape, sums, rows, cols, many, maps, warps, multiplier):  # type: ignore[no-untyped-def]
        last = many > 1

        def depthwise_by_bands(q, room, bx, by, bz, tx, ty, tz):  # type: ignore[no-untyped-def]
            tile, c = np.int64(bx) if last else np.int64(bx) * warps + tx // 32, (np.int64(bz) * warps + tx // 32) * many if last else np.int64(0)
            if tile < q[JOBS] and c < q[C_OUT]:
                plane = (tile * q[SPREAD_MAGIC]) >> q[SPREAD_SHIFT]
                tile -= plane * q[SPREAD]
                down = (tile * q[WIDTH_MAGIC]) >> q[WIDTH_SHIFT]
                top, left = np.int32(down * rows), np.int32((tile - down * q[WIDTH]) * cols)
                n = plane if last else (plane * q[MAGIC]) >> q[SHIFT]
                c = c if last else plane - n * q[C_OUT]
                n *= maps
                count = np.int32(min(q[N] - n, np.int64(maps)))
                if filling:
                    x = q[X] + n * q[XN] + c // multiplier * q[XC]
                    fill(shape, np.int32(tx), room, x, q[XN], count, np.int32(q[XH]), np.int32(q[XW]), np.int32(q[IH]), np.int32(q[IW]), top, left)
                else:
                    banded(shape, np.int32(tx), room, q[WEIGHT] + c * q[WO], q[BIAS] + c * q[BIAS_BY], np.int32(q[BIAS_BY]),
                           q[OUT] + n * q[YN] + c * q[YC], q[YN], count, np.int32(q[YH]), np.int32(q[YW]), np.int32(q[OH]), np.int32(q[OW]), top,
                           left, q[LO], q[HI])  # fmt: skip

        return depthwise_by_bands

    factory.__name__ = "by_bands" if not filling else "filling"  # as `explain` shows it
    return factory


by_bands, filling = _by_bands(False), _by_bands(True)


def before(factory):  # type: ignore[no-untyped-def]
    """What the threads of a block do until they meet."""
    return filling if factory is by_bands else staging


def room_of(factory, cells):  # type: ignore[no-untyped-def]
    """Elements of shared memory of a body with these cells."""
    if factory is by_bands:
        return cells[6] * Band.read(cells[0]).size // 2
    if factory is not channels_last:
        return 0
    *_, vec, (across, _), _, _, taps = cells
    return taps * pitch_of(across * vec)


def kernel(factory, *cells):  # type: ignore[no-untyped-def]
    """The CUDA kernel of a body; where it has shared memory, that is filled when it begins."""
    body, sums, count = cuda.jit(device=True, inline="always")(factory(*cells)), cells[1], room_of(factory, cells)
    if count == 0:

        def depthwise(q):  # type: ignore[no-untyped-def]
            room = registers(sums, 1)  # in place of one
            body(q, room, cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z, cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.z)

        return depthwise
    first_of_all = cuda.jit(device=True, inline="always")(before(factory)(*cells))

    def depthwise_staged(q):  # type: ignore[no-untyped-def]
        room = shared(sums, count)
        first_of_all(q, room, cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z, cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.z)
        cuda.syncthreads()
        body(q, room, cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z, cuda.threadIdx.x, cuda.threadIdx.y, cuda.threadIdx.z)

    return depthwise_staged
