"""Pointwise convolution: the matrix product of `product.py`, for both layouts.

channels first   rows of the tile are output channels, vectors lie along the pixels; x is read in place
channels last    rows of the tile are pixels, vectors lie along the output channels; a panel of the weight is packed, x read in place

What is left after the last whole panel goes to narrower tiles, of one vector and of half of one, so that few lanes are computed twice.
"""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import as_float, keep, keep_subnormals, restore, transpose
from .jit import callee
from .loops import aligned, first_job, lines_of, move, placed, snapshot
from .product import tile

MOST_COPIED = 2**20  # bytes of a second cache
WIDE, ONE, HALF = range(3)  # a panel of all the tile's vectors, of one, of half a vector


@callee
def panel(at, size, lanes, vectors, overlap):  # type: ignore[no-untyped-def]
    """(position, kind, where the next one begins) of the panel planned at `at`; narrow ones overlap those before, if they may, rather than be
    masked."""
    width, half, left = lanes * vectors, lanes // 2 if lanes > 2 else 0, size - at
    if left >= width or size < lanes:
        return at, WIDE, at + width
    if overlap == 0:
        kind = HALF if left <= half else ONE if left <= lanes else WIDE
        return at, kind, size
    if left > half and vectors > 1 and left <= lanes + half:
        position = min(at, size - lanes)
        return position, ONE, position + lanes
    if left <= half:
        return size - half, HALF, size
    if size < width:
        return at, WIDE, size
    return size - width, WIDE, size


@callee
def panel_width(kind, lanes, vectors):  # type: ignore[no-untyped-def]
    return lanes * vectors if kind == WIDE else lanes if kind == ONE else lanes // 2


@callee
def pack(to, q, v, channels, width, lanes, dtype, size):  # type: ignore[no-untyped-def]
    """A panel of the weight's transpose, (C_in, width), with the output channels v to v + channels innermost."""
    depth = 0
    if q[WI] == size and channels == width and width % lanes == 0:
        while depth + lanes <= q[C_IN]:
            for lane in range(0, width, lanes):
                transpose(dtype, lanes, q[WEIGHT] + (v + lane) * q[WO] + depth * size, q[WO], to + (depth * width + lane) * size, width * size)
            depth += lanes
    for lane in range(channels):
        move(to + (depth * width + lane) * size, width * size, q[WEIGHT] + (v + lane) * q[WO] + depth * q[WI], q[WI], q[C_IN] - depth, size)


def panels(weight: np.ndarray, lanes: int, vectors: int) -> np.ndarray:
    """A weight (C_out, C_in, ...) as the kernels of channels last read it, one panel after another: long streams, where its own rows lie a
    page and more apart."""
    table, width = weight.reshape(weight.shape[0], -1), lanes * vectors
    size, depth = table.shape
    room = np.zeros((-(-size // width), depth * width), weight.dtype)
    for group, place in enumerate(room):
        at, end, begin = group * width, min(size, (group + 1) * width), 0
        while at < end:
            v, kind, at = panel.py_func(at, size, lanes, vectors, 1)
            wide = panel_width.py_func(kind, lanes, vectors)
            part = table[v : v + wide].T
            place[begin : begin + depth * wide].reshape(depth, wide)[:, : part.shape[1]] = part
            begin += depth * wide
    return room


@callee
def crowded(step):  # type: ignore[no-untyped-def]
    """Whether the rows that a tile splats from lie a multiple of 4 KiB apart, so that they drive each other out of the first cache."""
    return step != 0 and step % 4096 == 0


@callee
def spread(to, at, step, inner, rows, depth, size):  # type: ignore[no-untyped-def]
    """Copies so many rows, `inner` bytes between their elements, to rows that are not crowded; returns their pitch."""
    pitch = spread_pitch(depth, size)
    for row in range(rows):
        move(to + row * pitch, size, at + row * step, inner, depth, size)
    return pitch


@callee
def spread_pitch(depth, size):  # type: ignore[no-untyped-def]
    return (depth * size + 127) // 128 * 128 + 64


@callee
def copy_room(q, rows, size):  # type: ignore[no-untyped-def]
    """Bytes of scratch that `product_first` copies a tile's crowded weights to; none where they are not."""
    return rows * spread_pitch(q[C_IN], size) + 64 if crowded(q[WO]) else 0


@callee(inline="always")
def product_first(dtype, size, lanes, rows, vectors, q, copied, x, x_step, y, r, begin, end, pixels):  # type: ignore[no-untyped-def]
    """Output channels begin to end of so many pixels: x, with x_step bytes from channel to channel, to y; r is the residual or 0.

    `copied` has `copy_room` bytes; y and r are the addresses of channel 0. Crowded weights go by a tile's rows at a time, copied.
    """
    close = crowded(q[WO])
    strip = rows if close else max(1, end - begin)
    for from_c in range(begin, end, strip):
        first, last = begin + placed(from_c - begin, strip, end - begin, q[OVERLAP]), min(end, from_c + strip)
        w, w_row = q[WEIGHT], q[WO]
        if close:
            to = aligned(copied.ctypes.data)
            w_row = spread(to, q[WEIGHT] + first * q[WO], q[WO], q[WI], last - first, q[C_IN], size)
            w = to - first * w_row
        at = 0
        while at < pixels:
            v, kind, at = panel(at, pixels, lanes, vectors, q[OVERLAP])
            for c0 in range(first, last, rows):
                c = first + placed(c0 - first, rows, last - first, q[OVERLAP])
                added = r + c * q[RC] + v * size if r != 0 else 0
                if kind == WIDE:
                    whole = last - c >= rows and pixels - v >= lanes * vectors
                    tile(dtype, lanes, rows, vectors, 1, whole, w + c * w_row, w_row, q[WI], x + v * size, x_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], last - c, pixels - v,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                elif kind == ONE:
                    whole = last - c >= rows and pixels - v >= lanes
                    tile(dtype, lanes, rows, 1, 1, whole, w + c * w_row, w_row, q[WI], x + v * size, x_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], last - c, pixels - v,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                else:
                    whole = last - c >= rows and pixels - v >= lanes // 2
                    tile(dtype, lanes, rows, 0, 1, whole, w + c * w_row, w_row, q[WI], x + v * size, x_step, q[C_IN],
                         q[BIAS] + c * size, added, q[RC], y + c * q[YC] + v * size, q[YC], last - c, pixels - v,
                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip


@callee(inline="always")
def product_last(dtype, size, lanes, rows, vectors, q, x, x_row, x_step, w, w_step, v, kind, y, y_row, r, pixels):  # type: ignore[no-untyped-def]
    """A panel of output channels, from v on, of so many pixels: x, x_row bytes from pixel to pixel, to y; r is the residual or 0.

    w is the panel, w_step bytes from one input channel to the next; y and r are the addresses of channel 0 of the first pixel.
    """
    for at0 in range(0, pixels, rows):
        at = placed(at0, rows, pixels, q[OVERLAP])
        added = r + at * q[RW] + v * size if r != 0 else 0
        if kind == WIDE:
            whole = pixels - at >= rows and q[C_OUT] - v >= lanes * vectors
            tile(dtype, lanes, rows, vectors, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, pixels - at, q[C_OUT] - v,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        elif kind == ONE:
            whole = pixels - at >= rows and q[C_OUT] - v >= lanes
            tile(dtype, lanes, rows, 1, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, pixels - at, q[C_OUT] - v,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
        else:
            whole = pixels - at >= rows and q[C_OUT] - v >= lanes // 2
            tile(dtype, lanes, rows, 0, 0, whole, x + at * x_row, x_row, x_step, w, w_step, q[C_IN],
                 q[BIAS] + v * size, added, q[RW], y + at * y_row + v * size, y_row, pixels - at, q[C_OUT] - v,
                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip


@callee(inline="always")
def band_first(dtype, size, lanes, rows, vectors, s, copied, b, pitch, n, z, row0, count, col0, begin, end):  # type: ignore[no-untyped-def]
    """Output channels begin to end of `count` rows, from row0 and col0 on, of a matrix in scratch: b, `pitch` bytes from channel to channel,
    with rows of s[OW] pixels."""
    lines, length = lines_of(s, count, size, size)
    for line in range(lines):
        row = row0 + line
        y = s[OUT] + n * s[YN] + z * s[YD] + row * s[YH] + col0 * size
        r = s[RESIDUAL] + n * s[RN] + z * s[RD] + row * s[RH] + col0 * size if s[RESIDUAL] != 0 else 0
        product_first(dtype, size, lanes, rows, vectors, s, copied, b + line * s[OW] * size, pitch, y, r, begin, end, length)


@callee(inline="always")
def band_last(dtype, size, lanes, rows, vectors, s, b, pitch, n, z, row0, count, col0, w, w_step, v, kind):  # type: ignore[no-untyped-def]
    """The same for a panel of output channels, as `product_last` takes it; `pitch` bytes from pixel to pixel of b."""
    lines, length = lines_of(s, count, s[YW], s[RW])
    for line in range(lines):
        row = row0 + line
        y = s[OUT] + n * s[YN] + z * s[YD] + row * s[YH] + col0 * s[YW]
        r = s[RESIDUAL] + n * s[RN] + z * s[RD] + row * s[RH] + col0 * s[RW] if s[RESIDUAL] != 0 else 0
        product_last(dtype, size, lanes, rows, vectors, s, b + line * s[OW] * pitch, pitch, size, w, w_step, v, kind, y, s[YW], r, length)


def channels_first(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """Vectors lie along the pixels. Here all pixels of an image lie along W, or groups of them along D and H (see `frame.flat`).

    Jobs are (image, group, block of BLOCK pixels, band of BAND output channels).
    """

    def pointwise_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        blocks = (p[IW] + p[BLOCK] - 1) // p[BLOCK]
        before, q = keep_subnormals(), snapshot(p, 0)
        copied = np.empty(copy_room(q, rows, size), np.uint8)
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, band = divmod(job, q[BANDS])
            rest, block = divmod(rest, blocks)
            rest, h = divmod(rest, q[IH])
            n, d = divmod(rest, q[ID])
            v = block * q[BLOCK]
            x = q[X] + n * q[XN] + d * q[XD] + h * q[XH] + v * size
            y = q[OUT] + n * q[YN] + d * q[YD] + h * q[YH] + v * size
            r = q[RESIDUAL] + n * q[RN] + d * q[RD] + h * q[RH] + v * size if q[RESIDUAL] != 0 else 0
            begin, pixels = band * q[BAND], min(q[BLOCK], q[IW] - v)
            end = min(q[C_OUT], begin + q[BAND])
            product_first(dtype, size, lanes, rows, vectors, q, copied, x, q[XC], y, r, begin, end, pixels)
        keep(copied)
        restore(before)

    return pointwise_channels_first


def channels_last(dtype, size, lanes, rows, vectors):  # type: ignore[no-untyped-def]
    """Vectors lie along the output channels, rows are pixels along W, in groups along D and H.

    Jobs are (panel of one tile's channels, image, group, band of BAND pixels): a thread's next job mostly finds its panel packed. Or, where
    GROUP is the number of panels, (image, group, band of BAND pixels, panel): threads share out the pixels.
    """
    width = lanes * vectors

    def pointwise_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        ready = q[WO] == size or q[C_OUT] == 1 or q[PANEL] != 0  # the weight is a transpose already
        packed, held = np.empty(0 if ready else q[C_IN] * width * size + 64, np.uint8), -1
        close = crowded(q[XW]) and q[BAND] * q[C_IN] * size <= MOST_COPIED
        copied, here = np.empty(q[BAND] * spread_pitch(q[C_IN], size) + 64 if close else 0, np.uint8), -1
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
                if here != x:
                    spread(apart, x, x_row, x_step, pixels, q[C_IN], size)
                    here = x
                x, x_row, x_step = apart, spread_pitch(q[C_IN], size), size
            at, end, to = group * width, min(q[C_OUT], (group + 1) * width), q[WEIGHT] + group * q[PANEL]
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
                product_last(dtype, size, lanes, rows, vectors, q, x, x_row, x_step, w, w_step, v, kind, y, q[YW], r, pixels)
        keep(packed)
        keep(copied)
        restore(before)

    return pointwise_channels_last
