"""Depthwise convolution: the plain loops that drive the tile of `stencil.py`, for both layouts.

Both put what is the same for many tiles outside: channels first goes through a block of planes for each place of a tile, channels last
through a block of channels. What a tile meets there, and with which lanes, is then worked out once for all of them.
"""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import as_float, drain, keep, keep_subnormals, prefetch, restore
from .jit import callee
from .loops import aligned, first_job, move, placed, snapshot, strange, within
from .patch import patch
from .rows import block, blocks, copy_last, dense, fill_first, fill_last, room_first, room_last
from .stencil import FIRST, LAST, MASKED, MISSING, tile

FAR = 2**23  # bytes of an image, mostly with its result, that come from memory: the processor foresees rows of it worse than it could


@callee
def pack(to, q, c, channels, pitch, size):  # type: ignore[no-untyped-def]
    """The weights of `channels` channels from c on, at address `to` as (taps, pitch bytes of channels)."""
    for d in range(q[KD]):
        for i in range(q[KH]):
            for j in range(q[KW]):
                tap = q[WEIGHT] + c * q[WO] + d * q[WD] + i * q[WH] + j * q[WW]
                move(to, size, tap, q[WO], channels, size)
                to += pitch


@callee
def existing(at, span, step, taps, size):  # type: ignore[no-untyped-def]
    """(begin, end) of the taps of which some of `span` positions, from at, at + step, ... on, lie in [0, size)."""
    before, after = at + span - 1, size - at  # a tap before `begin` ends before 0, one from `end` on begins beyond the end
    begin = 0 if before >= 0 else min(taps, (step - 1 - before) // step)
    end = taps if after > (taps - 1) * step else max(0, (after + step - 1) // step)
    return begin, max(begin, end)


@callee
def across(q, col0, width, lane_stride):  # type: ignore[no-untyped-def]
    """Of the tiles planned at column col0: (column, that of the first input, whether lanes may not exist, the taps of which some do from, to, rows
    that they spill over)."""
    col = placed(col0, width, q[OW], 1)
    left = col * q[SW] - q[PW]
    sides = left < 0 or left + (q[KW] - 1) * q[DW] + (width - 1) * lane_stride >= q[IW] or col + width > q[OW]
    first, last = existing(left, width * lane_stride, q[DW], q[KW], q[IW])
    # Rows that follow each other in memory take what spills over from the one before; the last ones do not.
    spill = (col + width - 1) // q[OW] if col + width > q[OW] else 0
    return col, left, sides, first, last, spill


@callee
def down(q, at0, rows, count, row0, step, reach, l_step):  # type: ignore[no-untyped-def]
    """Of the tiles planned at row at0 of a band: (row, that of the first input, lines beyond the border as `stencil.MISSING` says)."""
    at = placed(at0, rows, count, 1)
    top = (row0 + at * step) * q[SH] - q[PH]
    return at, top, max(0, -top) * MISSING + max(0, top + (reach - 1) * l_step + 1 - q[IH])


@callee(inline="always")
def planes(dtype, size, lanes, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far,
           q, x0, begin, end, z, row0, step, count, y, y_c, y_h):  # type: ignore[no-untyped-def] # fmt: skip
    """Channels first: `count` output rows, from row0 in steps of `step`, of the output channels begin to end.

    x0 is the image. They go to address y on, y_c bytes from channel to channel and y_h from row to row. There are no fewer rows than the
    tile has. `far`: tiles follow each other along the rows, as memory does, from which the image comes; else down a column, for whose tiles
    more is the same.
    """
    width, reach = lanes * vectors, (rows - 1) * stride + k
    z0 = z * q[SD] - q[PD]
    group, member = divmod(begin, q[GROUP_OUT])
    x0 += group * q[XC] + z0 * q[XD]
    l_step = step if rows > 1 else q[DH]  # the lines of one row are the kernel's
    for outer in range(0, count if far else q[OW], rows if far else width):
        for inner in range(0, q[OW] if far else count, width if far else rows):
            at0, col0 = (outer, inner) if far else (inner, outer)
            col, left, sides, first, last, spill = across(q, col0, width, lane_stride)
            at, top, missing = down(q, at0, rows, count, row0, step, reach, l_step)
            edge = missing + (MASKED if sides or missing != 0 else 0)
            safe = count - at - spill if y_h == q[OW] * size else 0
            x, to, seat = x0 + top * q[XH] + left * size, y + at * y_h + col * size, member
            for c in range(begin, end):  # what a tile meets here is the same of all planes
                tile(dtype, lanes, FIRST, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far, edge,
                     x, top, l_step, q[IH], l_step * q[XH], left, q[DW], q[IW], q[DW] * size, first, last,
                     z0, q[DD], q[ID], q[DD] * q[XD], q[KD], q[WEIGHT] + c * q[WO], q[WH], q[WW], q[WD], q[ZEROS],
                     q[BIAS] + c * size, to, y_h, q[OW] - col, safe, q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                to += y_c
                seat += 1
                if seat == q[GROUP_OUT]:
                    x, seat = x + q[XC], 0


@callee(inline="always")
def pixels(dtype, size, lanes, k, stride, rows, vectors, flat, loose, edges,
           q, x0, here, there, z, row, taps, pitch, y, y_w):  # type: ignore[no-untyped-def] # fmt: skip
    """Channels last: the output row `row` of channels here to there, to address y on, which is channel 0's, y_w bytes from pixel to pixel.

    x0 is the image, at channel 0. Weights lie at `taps` for channel 0, `pitch` bytes from tap to tap. The row has no fewer pixels, STEP
    apart, than the tile.
    """
    width, step, z0 = lanes * vectors, q[STEP], z * q[SD] - q[PD]
    l_step = step if rows > 1 else q[DW]  # the lines of one pixel are the kernel's
    tiles = (there - here + width - 1) // width
    top = row * q[SH] - q[PH]
    low, high = existing(top, 1, q[DH], q[KH], q[IH])
    # With dilation a tile is every STEP-th pixel: its inputs are then neighbours STEP apart, as without.
    for first in range(min(step, q[OW])):
        count = (q[OW] - first + step - 1) // step
        for at0 in range(0, count, rows):
            col = first + placed(at0, rows, count, 1) * step
            left = col * q[SW] - q[PW]
            edge = max(0, -left) * MISSING + max(0, left + ((rows - 1) * stride + k - 1) * l_step + 1 - q[IW])
            x = x0 + z0 * q[XD] + top * q[XH] + left * q[XW]
            to = y + col * y_w
            if q[AHEAD] != 0:  # rows that the next output row reads first
                for line in range(q[SH]):
                    for pixel in range(rows * stride):
                        soon = x + ((q[KH] - 1) * q[DH] + 1 + line) * q[XH] + (pixel + (k + 1 - stride) // 2) * l_step * q[XW]
                        for byte in range(here * size, there * size, 64):
                            prefetch(soon + byte)
            for number in range(tiles):
                c = placed(here + number * width, width, there, 1)
                tile(dtype, lanes, LAST, k, 0, stride, 1, rows, vectors, flat, loose, edges, 0, edge,
                     x + c * size, left, l_step, q[IW], l_step * q[XW], top, q[DH], q[IH], q[DH] * q[XH], low, high,
                     z0, q[DD], q[ID], q[DD] * q[XD], q[KD], taps + c * size, pitch, k * pitch, q[KH] * k * pitch, q[ZEROS],
                     q[BIAS] + c * size, to + c * size, step * y_w, there - c, 0, q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip


@callee(inline="always")
def patches(dtype, size, lanes, k_h, k_w, stride, tall, wide, vectors, margin,
            q, x0, here, there, z, row0, count, taps, pitch, y, y_h, y_w):  # type: ignore[no-untyped-def] # fmt: skip
    """Channels last by the tile of `patch.py`: `count` output rows, from row0 on, of channels here to there, to address y on; the rest as for
    `pixels`. There are no fewer rows, and pixels of a row, than the tile has."""
    width = lanes * vectors
    tiles = (there - here + width - 1) // width
    plane = x0 + (z * q[SD] - q[PD]) * q[XD]
    past = 0 if (y | y_h | y_w) % 64 != 0 else q[PAST]
    for at0 in range(0, count, tall):
        at = placed(at0, tall, count, 1)
        top = (row0 + at) * stride - q[PH]
        level = top >= 0 and top + (tall - 1) * stride + k_h <= q[IH]
        for col0 in range(0, q[OW], wide):
            col = placed(col0, wide, q[OW], 1)
            left = col * stride - q[PW]
            inside = level and left >= 0 and left + (wide - 1) * stride + k_w <= q[IW]
            x, to = plane + top * q[XH] + left * q[XW], y + at * y_h + col * y_w
            if q[AHEAD] != 0:  # rows that the next patches read first
                for line in range(tall * stride):
                    for pixel in range(wide * stride):
                        soon = x + (tall * stride + k_h - stride + line) * q[XH] + (pixel + k_w - stride) * q[XW]
                        for byte in range(here * size, there * size, 64):
                            prefetch(soon + byte)
            for number in range(tiles):
                c = placed(here + number * width, width, there, 1) * size
                patch(dtype, lanes, k_h, k_w, stride, tall, wide, vectors, margin, inside,
                      x + c, q[XH], q[XW], top, q[IH], left, q[IW], taps + c, pitch, q[ZEROS], q[BIAS] + c, to + c, y_h, y_w, past,
                      q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip


@callee
def tap_pitch(q, width, size):  # type: ignore[no-untyped-def]
    """Bytes from tap to tap where the weights lie as rows of channels, a tap each, no less than a tile wide; 0: they have to be packed."""
    pitch = q[WW] if q[KW] > 1 else q[WH] if q[KH] > 1 else q[WD] if q[KD] > 1 else size
    ready = q[WO] == size and (q[KH] == 1 or q[WH] == q[KW] * pitch) and (q[KD] == 1 or q[WD] == q[KH] * q[KW] * pitch)
    return pitch if ready and q[C_OUT] >= width else 0


@callee
def room(q, channels, width, size):  # type: ignore[no-untyped-def]
    """Bytes that `taps_of` needs to pack the weights of so many channels; none where they lie ready."""
    taps = q[KD] * q[KH] * q[KW]
    return 0 if tap_pitch(q, width, size) != 0 else taps * (((channels + width) * size + 63) // 64 * 64) + 64


@callee
def taps_of(q, packed, begin, end, width, size):  # type: ignore[no-untyped-def]
    """(address for channel 0, pitch) of the weights of channels begin to end as rows of channels, a tap each; packed if they are not that."""
    pitch = tap_pitch(q, width, size)
    if pitch != 0:
        return q[WEIGHT], pitch
    pitch = ((end - begin + width) * size + 63) // 64 * 64
    to = aligned(packed.ctypes.data)
    pack(to, q, begin, end - begin, pitch, size)
    return to - begin * size, pitch


def channels_first(dtype, size, lanes, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far, staged):  # type: ignore[no-untyped-def]
    """A kernel for k kernel rows, and for `taps` columns if that is not 0; jobs are (image, strip of BLOCK output channels, band of
    rows, block of columns).

    `staged`: what they read is filled into scratch first, whose geometry is the second record.
    """

    def depthwise_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        s = within(p) if staged else q
        scratch = np.empty(room_first(q, s) if staged else 0, np.uint8)
        strips, step = (q[C_OUT] + q[BLOCK] - 1) // q[BLOCK], q[STEP]
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, part = divmod(job, blocks(q, s))
            rest, band = divmod(rest, q[BANDS])
            n, strip = divmod(rest, strips)
            begin = strip * q[BLOCK]
            end = min(q[C_OUT], begin + q[BLOCK])
            if not staged and band == 0 and strange(q, begin, end - begin, size):
                p[STRANGE] = 1
            # With dilation a band is every STEP-th row: its input rows are then neighbours STEP apart, as without.
            row0 = band if step > 1 else q[OH] * band // q[BANDS]
            count = (q[OH] - band + step - 1) // step if step > 1 else q[OH] * (band + 1) // q[BANDS] - row0
            col0 = block(q, s, part)
            x, y = q[X] + n * q[XN], q[OUT] + n * q[YN] + begin * q[YC] + row0 * q[YH] + col0 * size
            for z in range(q[OD]):
                x_in, z_in, row_in, step_in = x, z, row0, step
                if staged:
                    x_in = fill_first(scratch.ctypes.data, q, s, x, begin, end, z, row0, step, count, col0, dtype, lanes, size)
                    z_in, row_in, step_in = 0, 0, 1
                planes(dtype, size, lanes, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far,
                       s, x_in, begin, end, z_in, row_in, step_in, count, y + z * q[YD], q[YC], step * q[YH])  # fmt: skip
        keep(scratch)
        restore(before)

    return depthwise_channels_first


def channels_last(dtype, size, lanes, k, stride, rows, vectors, flat, loose, edges, staged, taps, tall, margin):  # type: ignore[no-untyped-def]
    """A kernel for k kernel columns; jobs are (group of GROUP channels, image, depth, band of rows, block of columns),
    worked through in BLOCK channels.

    `edges`: what the tile meets, see `stencil.py`; `staged` as for channels first. `tall`: rows of a patch, see `patch.py`, over `taps`
    kernel rows and with so wide a margin; 0: tiles lie along a row.
    """
    width = lanes * vectors

    def depthwise_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        s = within(p) if staged else dense(p, q, size)
        scratch = np.empty(room_last(s) if staged else q[COPIED] * (q[IH] * s[XH] + 128), np.uint8)
        packed, held = np.empty(room(q, q[GROUP], width, size), np.uint8), -1
        w, pitch = q[WEIGHT], 0
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, part = divmod(job, blocks(q, s))
            rest, band = divmod(rest, q[BANDS])
            rest, z = divmod(rest, q[OD])
            group, n = divmod(rest, q[N])
            begin = group * q[GROUP]
            end = min(q[C_OUT], begin + q[GROUP])
            if group != held:
                w, pitch = taps_of(q, packed, begin, end, width, size)
                held = group
                if not staged and strange(q, begin, end - begin, size):
                    p[STRANGE] = 1
            row0, row1, col0 = band * q[BAND], min(q[OH], (band + 1) * q[BAND]), block(q, s, part)
            x, y = q[X] + n * q[XN], q[OUT] + q[TURNED] + n * q[YN] + z * q[YD] + col0 * q[YW]
            for c in range(begin, end, q[BLOCK]):
                # The last block starts early rather than be narrower than a tile.
                here, there = max(begin, min(c, end - width)), min(end, c + q[BLOCK])
                x_in, z_in, row_in = x, z, 0
                if staged:
                    x_in = fill_last(scratch.ctypes.data, q, s, x, here, there, z, row0, row1 - row0, col0, dtype, lanes, size)
                    z_in, row_in = 0, row0
                elif q[COPIED] != 0:
                    x_in = copy_last(scratch.ctypes.data, q, s, x, here, there, row0, row1 - row0, dtype, lanes, size)
                if tall:
                    patches(dtype, size, lanes, taps, k, stride, tall, rows, vectors, margin,
                            s, x_in, here, there, z_in, row0 - row_in, row1 - row0, w, pitch, y + row0 * q[YH], q[YH], q[YW])  # fmt: skip
                else:
                    for row in range(row0, row1):
                        pixels(dtype, size, lanes, k, stride, rows, vectors, flat, loose, edges,
                               s, x_in, here, there, z_in, row - row_in, w, pitch, y + row * q[YH], q[YW])  # fmt: skip
        if q[PAST] != 0:
            drain()
        keep(packed)
        keep(scratch)
        restore(before)

    return depthwise_channels_last
