"""Pointwise convolution: the matrix product of `product.py`, for both layouts.

channels first   rows of the tile are output channels, vectors lie along the pixels; x is read in place or, where its vectors lie across cache
                 lines, copied in panels, a block of pixels at a time
channels last    rows of the tile are pixels, vectors lie along the output channels; a panel of the weight is packed, x read in place; of a pixel
                 alone, weights that are not packed yet are read in place too: see `vector.py`

What is left after the last whole panel goes to narrower tiles, of one vector and of half of one, so that few lanes are computed twice.
"""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import as_float, keep, keep_subnormals, prefetch, restore
from .jit import callee
from .loops import aligned, first_job, lines_of, placed, shared, snapshot
from .panels import ONE, WIDE, astride, copies, copy_room, crowded, gather_panels, pack, panel, panel_width, spread, spread_pitch
from .product import TURNS, tile
from .vector import LANES, vector_panel

MOST_COPIED = 2**20  # bytes of a second cache
STRIP = 2**17  # bytes of weights that stay in it beside what they are multiplied with
FAR = 2**20  # bytes of a result that the second cache does not hold: the lines of a tile are asked for before its sums
MANY = 48  # output channels of a thread, for which reading x in any other way costs more than a copy


def slim_rows(rows: int) -> int:
    """Rows of the tiles of one vector or of half of one, where two vectors' have 6: no fewer than hide the latency of a multiply-add."""
    return 8 if rows == 6 else rows


@callee(inline="always")
def product_first(dtype, size, lanes, rows, slim, vectors, q, copied, x, x_step, apart, y, r, begin, end, pixels):  # type: ignore[no-untyped-def]
    """Output channels begin to end of so many pixels: x, with x_step bytes from channel to channel or, if they are `apart`, in panels
    as `gather_panels` leaves them, to y; r is the residual or 0.

    `copied` has `copy_room` bytes; y and r are the addresses of channel 0. Crowded weights go by a tile's rows at a time, copied; others by as
    many as stay in the second cache, while all pixels go by.
    """
    close = copies(q, rows)
    unit = rows if slim == rows else rows * slim // 2  # rows that both sorts of tiles divide
    strip = rows if close else max(1, STRIP // max(1, unit * q[C_IN] * size)) * unit
    for from_c in range(begin, end, strip):
        first = begin + placed(from_c - begin, rows, end - begin, q[OVERLAP]) if close else from_c
        last, w, w_row = min(end, first + strip), q[WEIGHT], q[WO]
        if close:
            to = aligned(copied.ctypes.data)
            w_row = spread(to, q[WEIGHT] + first * q[WO], q[WO], q[WI], last - first, q[C_IN], size)
            w = to - first * w_row
        at, b, b_step = 0, x, x_step
        while at < pixels:
            v, kind, at = panel(at, pixels, lanes, vectors, q[OVERLAP])
            if apart:
                b_step = panel_width(kind, lanes, vectors) * size
            else:
                b = x + v * size
            tall = rows if kind == WIDE else slim
            for c0 in range(first, last, tall):
                at_c, less = shared(c0 - begin, tall, end - begin, q[OVERLAP])
                c = begin + at_c
                left = tall - 1 if less else end - c
                added = r + c * q[RC] + v * size if r != 0 else 0
                if kind == WIDE:
                    whole = left >= tall and pixels - v >= lanes * vectors
                    tile(dtype, lanes, rows, vectors, 1, whole, w + c * w_row, w_row, q[WI], b, b_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], left, pixels - v, 0,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                elif kind == ONE:
                    whole = left >= tall and pixels - v >= lanes
                    tile(dtype, lanes, slim, 1, 1, whole, w + c * w_row, w_row, q[WI], b, b_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], left, pixels - v, 0,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                else:
                    whole = left >= tall and pixels - v >= lanes // 2
                    tile(dtype, lanes, slim, 0, 1, whole, w + c * w_row, w_row, q[WI], b, b_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], left, pixels - v, 0,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
            b += q[C_IN] * b_step


@callee(inline="always")
def product_last(dtype, size, lanes, rows, slim, vectors, q, x, x_row, x_step, w, w_step, v, kind, y, y_row, r, pixels):  # type: ignore[no-untyped-def]
    """A panel of output channels, from v on, of so many pixels: x, x_row bytes from pixel to pixel, to y; r is the residual or 0.

    w is the panel, w_step bytes from one input channel to the next; y and r are the addresses of channel 0 of the first pixel.
    """
    tall = rows if kind == WIDE else slim
    far = q[OD] * q[OH] * q[OW] * y_row >= FAR
    for at0 in range(0, pixels, tall):
        at, less = shared(at0, tall, pixels, q[OVERLAP])
        left = tall - 1 if less else pixels - at
        if far:
            for pixel in range(at, at + tall):
                for byte in range(0, lanes * vectors * size, 64):
                    prefetch(y + pixel * y_row + v * size + byte)
        added = r + at * q[RW] + v * size if r != 0 else 0
        ahead = q[C_IN] * w_step + at0 // tall % TURNS * w_step  # the next panel, a part of it by each of these tiles
        if kind == WIDE:
            whole = left >= tall and q[C_OUT] - v >= lanes * vectors
            tile(dtype, lanes, rows, vectors, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, left, q[C_OUT] - v, ahead,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        elif kind == ONE:
            whole = left >= tall and q[C_OUT] - v >= lanes
            tile(dtype, lanes, slim, 1, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, left, q[C_OUT] - v, ahead,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        else:
            whole = left >= tall and q[C_OUT] - v >= lanes // 2
            tile(dtype, lanes, slim, 0, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, left, q[C_OUT] - v, ahead,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip


@callee(inline="always")
def band_first(dtype, size, lanes, rows, slim, vectors, s, copied, b, pitch, n, z, row0, count, col0, begin, end):  # type: ignore[no-untyped-def]
    """Output channels begin to end of `count` rows, from row0 and col0 on, of a matrix in scratch: b, `pitch` bytes from channel to channel,
    with rows of s[OW] pixels."""
    lines, length = lines_of(s, count, size, size)
    for line in range(lines):
        row = row0 + line
        y = s[OUT] + n * s[YN] + z * s[YD] + row * s[YH] + col0 * size
        r = s[RESIDUAL] + n * s[RN] + z * s[RD] + row * s[RH] + col0 * size if s[RESIDUAL] != 0 else 0
        product_first(dtype, size, lanes, rows, slim, vectors, s, copied, b + line * s[OW] * size, pitch, False, y, r, begin, end, length)


@callee(inline="always")
def band_last(dtype, size, lanes, rows, slim, vectors, s, b, pitch, n, z, row0, count, col0, w, w_step, v, kind):  # type: ignore[no-untyped-def]
    """The same for a panel of output channels, as `product_last` takes it; `pitch` bytes from pixel to pixel of b."""
    lines, length = lines_of(s, count, s[YW], s[RW])
    for line in range(lines):
        row = row0 + line
        y = s[OUT] + n * s[YN] + z * s[YD] + row * s[YH] + col0 * s[YW]
        r = s[RESIDUAL] + n * s[RN] + z * s[RD] + row * s[RH] + col0 * s[RW] if s[RESIDUAL] != 0 else 0
        product_last(dtype, size, lanes, rows, slim, vectors, s, b + line * s[OW] * pitch, pitch, size, w, w_step, v, kind, y, s[YW], r, length)


def channels_first(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """Vectors lie along the pixels. Here all pixels of an image lie along W, or groups of them along D and H (see `frame.flat`).

    Jobs are (image, group, block of BLOCK pixels, band of BAND output channels).
    """

    width, slim = lanes * vectors, slim_rows(rows)

    def pointwise_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        blocks, most = q[GROUP], q[IW] - (q[GROUP] - 1) * q[BLOCK]  # the last block has what is left over
        copied = np.empty(copy_room(q, rows, size), np.uint8)
        apart = q[C_OUT] >= MANY * min(q[BANDS], q[CHUNKS]) and most >= width and astride(q[X], q[XC])
        gather_room = q[C_IN] * (-(-max(q[BLOCK], most) // width) * width) * size + 64
        apart = apart and gather_room + copied.size <= MOST_COPIED
        gathered, here, held = np.empty(gather_room if apart else 0, np.uint8), -1, 0  # a view's rows may begin inside others
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, band = divmod(job, q[BANDS])
            rest, block = divmod(rest, blocks)
            rest, h = divmod(rest, q[IH])
            n, d = divmod(rest, q[ID])
            v = block * q[BLOCK]
            x, x_step = q[X] + n * q[XN] + d * q[XD] + h * q[XH] + v * size, q[XC]
            y = q[OUT] + n * q[YN] + d * q[YD] + h * q[YH] + v * size
            r = q[RESIDUAL] + n * q[RN] + d * q[RD] + h * q[RH] + v * size if q[RESIDUAL] != 0 else 0
            begin, pixels = band * q[BAND], most if block == blocks - 1 else q[BLOCK]
            end = min(q[C_OUT], begin + q[BAND])
            if apart:
                to = aligned(gathered.ctypes.data)
                if here != x or held != pixels:
                    here, held = x, pixels
                    gather_panels(to, q, x, pixels, lanes, vectors, size)
                x = to
            product_first(dtype, size, lanes, rows, slim, vectors, q, copied, x, x_step, apart, y, r, begin, end, pixels)
        keep(copied)
        keep(gathered)
        restore(before)

    return pointwise_channels_first


def channels_last(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """Vectors lie along the output channels, rows are pixels along W, in groups along D and H.

    Jobs are (panel of one tile's channels, image, group, band of BAND pixels): a thread's next job mostly finds its panel packed. Or, where
    GROUP is the number of panels, (image, group, band of BAND pixels, panel): threads share out the pixels.
    """
    width, slim, square = lanes * vectors, slim_rows(rows), min(lanes, LANES)

    def pointwise_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        ready = q[WO] == size or q[C_OUT] == 1 or q[PANEL] != 0  # the weight is a transpose already
        alone = rows == 1 and not ready and q[WI] == size and q[XC] == size
        packed, held = np.empty(0 if ready or alone else q[C_IN] * width * size + 64, np.uint8), -1
        close = crowded(q[XW]) and q[BAND] * q[C_IN] * size <= MOST_COPIED
        copied, here, many = np.empty(q[BAND] * spread_pitch(q[C_IN], size) + 64 if close else 0, np.uint8), -1, 0  # as above
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, inner = (job, 0) if q[GROUP] == 0 else divmod(job, q[GROUP])
            rest, band = divmod(rest, q[BANDS])
            rest, h = divmod(rest, q[IH])
            rest, d = divmod(rest, q[ID])
            outer, n = divmod(rest, q[N])
            group = outer + inner
            x = q[X] + n * q[XN] + d * q[XD] + h * q[XH] + band * q[BAND] * q[XW]
            y = q[OUT] + n * q[YN] + d * q[YD] + h * q[YH] + band * q[BAND] * q[YW]
            r = q[RESIDUAL] + n * q[RN] + d * q[RD] + h * q[RH] + band * q[BAND] * q[RW] if q[RESIDUAL] != 0 else 0
            pixels, x_row, x_step = min(q[BAND], q[IW] - band * q[BAND]), q[XW], q[XC]
            if close:
                apart = aligned(copied.ctypes.data)
                if here != x or many != pixels:
                    spread(apart, x, x_row, x_step, pixels, q[C_IN], size)
                    here, many = x, pixels
                x, x_row, x_step = apart, spread_pitch(q[C_IN], size), size
            at, end, to = group * width, min(q[C_OUT], (group + 1) * width), q[WEIGHT] + group * q[PANEL]
            if rows == 1 and alone:
                for pixel in range(pixels):
                    added = r + pixel * q[RW] if r != 0 else 0
                    vector_panel(dtype, size, square, q, x + pixel * x_row, y + pixel * q[YW], added, at, end)
                at = end
            while at < end:  # one panel, or the narrow ones of what is left
                v, kind, at = panel(at, q[C_OUT], lanes, vectors, q[OVERLAP])
                wide = panel_width(kind, lanes, vectors)
                w, w_step = q[WEIGHT] + v * size, q[WI]
                if q[PANEL] != 0:
                    w, w_step = to, wide * size
                    to += q[C_IN] * w_step
                elif not ready:
                    w, w_step = aligned(packed.ctypes.data), wide * size
                    if held != v:
                        pack(w, q, v, min(wide, q[C_OUT] - v), wide, lanes, dtype, size)
                        held = v
                product_last(dtype, size, lanes, rows, slim, vectors, q, x, x_row, x_step, w, w_step, v, kind, y, q[YW], r, pixels)
        keep(packed)
        keep(copied)
        restore(before)

    return pointwise_channels_last
