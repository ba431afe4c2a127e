"""Depthwise-separable convolution, fused: a band of depthwise rows, all channels of it, stays in the second cache and is at once what the
1x1 product reads. The middle tensor exists nowhere else.

The array of a call holds two records: the depthwise half's, and the pointwise half's over the pixels of a band; `staged`, a third, that of
the scratch which the depthwise half reads (see `rows.py`).
"""

from __future__ import annotations

import numpy as np

from .depthwise import patches, pixels, planes, room, taps_of
from .frame import *
from .intrinsics import keep, keep_subnormals, restore
from .jit import callee
from .loops import aligned, first_job, snapshot, strange, within
from .panels import copy_room, pack, panel, panel_width
from .pointwise import band_first, band_last, slim_rows
from .rows import fill_first, fill_last, room_first, room_last


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


def channels_first(dtype, size, lanes, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, staged,
                   out_lanes, out_rows, out_vectors):  # type: ignore[no-untyped-def] # fmt: skip
    """Jobs are (image, depth, band of rows, group of GROUP output channels); the groups of a band share its depthwise rows."""

    out_slim = slim_rows(out_rows)

    def separable_channels_first(p, chunk):  # type: ignore[no-untyped-def]
        before, q, s = keep_subnormals(), snapshot(p, 0), snapshot(p, 1)
        t = within(p, 0, 2) if staged else q
        scratch = np.empty(room_first(q, t) if staged else 0, np.uint8)
        most = (q[OH] + q[BANDS] - 1) // q[BANDS]  # rows of a band
        pitch = (most * q[OW] * size + 127) // 128 * 128 + 64
        middle, held = np.empty(q[C_OUT] * pitch + 4096, np.uint8), -1
        b = aligned(middle.ctypes.data)
        groups = (s[C_OUT] + q[GROUP] - 1) // q[GROUP]
        copied = np.empty(copy_room(s, out_rows, size), np.uint8)
        if not staged and chunk == 0 and strange(q, 0, q[C_OUT], size):
            p[STRANGE] = 1
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            place, group = divmod(job, groups)
            n, z, row0, count = band_of(q, place)
            if place != held:
                for c in range(0, q[C_OUT], q[BLOCK]):
                    end = min(q[C_OUT], c + q[BLOCK])
                    x_in, z_in, row_in = q[X] + n * q[XN], z, row0
                    if staged:
                        x_in = fill_first(scratch.ctypes.data, q, t, x_in, c, end, z, row0, 1, count, 0, dtype, lanes, size)
                        z_in, row_in = 0, 0
                    planes(dtype, size, lanes, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges,
                           t, x_in, c, end, z_in, row_in, 1, count, b + c * pitch, pitch, q[OW] * size)  # fmt: skip
                held = place
            begin = group * q[GROUP]
            end = min(s[C_OUT], begin + q[GROUP])
            band_first(dtype, size, out_lanes, out_rows, out_slim, out_vectors, s, copied, b, pitch, n, z, row0, count, 0, begin, end)
        keep(middle)
        keep(copied)
        keep(scratch)
        restore(before)

    return separable_channels_first


def channels_last(dtype, size, lanes, k, stride, rows, vectors, flat, loose, edges, staged, taps, tall, margin,
                  out_rows, out_vectors):  # type: ignore[no-untyped-def] # fmt: skip
    """Jobs are (image, depth, band of rows, group of GROUP panels of output channels); the groups of a band share its depthwise rows.

    The panels of a thread's groups are packed once, all of them, unless the pointwise weight is a transpose already.
    """
    width = lanes * vectors
    out_width, out_slim = lanes * out_vectors, slim_rows(out_rows)

    def separable_channels_last(p, chunk):  # type: ignore[no-untyped-def]
        before, q, s = keep_subnormals(), snapshot(p, 0), snapshot(p, 1)
        t = within(p, 0, 2) if staged else q
        scratch = np.empty(room_last(t) if staged else 0, np.uint8)
        packed = np.empty(room(q, q[C_OUT], width, size), np.uint8)
        depthwise, tap_by = taps_of(q, packed, 0, q[C_OUT], width, size)
        pitch = (q[C_OUT] * size + 63) // 64 * 64
        pitch += 64 if pitch % 4096 == 0 else 0
        most = 0  # rows of a band
        for band in range(q[BANDS]):
            most = max(most, pixels_of(q, band)[3])
        middle, held = np.empty(most * q[OW] * pitch + 4096, np.uint8), -1
        b = aligned(middle.ctypes.data)
        ready = s[WO] == size or s[C_OUT] == 1 or s[PANEL] != 0
        panels = (s[C_OUT] + out_width - 1) // out_width
        groups = (panels + q[GROUP] - 1) // q[GROUP]
        panel_bytes = s[C_IN] * out_width * size
        weights, have = np.empty(0 if ready else panels * panel_bytes + 64, np.uint8), np.zeros(panels, np.uint8)
        if not staged and chunk == 0 and strange(q, 0, q[C_OUT], size):
            p[STRANGE] = 1
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            place, group = divmod(job, groups)
            n, z, row0, count, skip, number_of = pixels_of(q, place)
            if place != held:
                for c in range(0, q[C_OUT], q[BLOCK]):
                    here, there = max(0, min(c, q[C_OUT] - width)), min(q[C_OUT], c + q[BLOCK])
                    x_in, z_in, row_in = q[X] + n * q[XN], z, row0
                    if staged:
                        x_in = fill_last(scratch.ctypes.data, q, t, x_in, here, there, z, row0, count, 0, dtype, lanes, size)
                        z_in, row_in = 0, 0
                    if tall:
                        patches(dtype, size, lanes, taps, k, stride, tall, rows, vectors, margin,
                                t, x_in, here, there, z_in, row_in, count, depthwise, tap_by, b, q[OW] * pitch, pitch)  # fmt: skip
                    else:
                        for row in range(count):
                            pixels(dtype, size, lanes, k, stride, rows, vectors, flat, loose, edges,
                                   t, x_in, here, there, z_in, row_in + row, depthwise, tap_by, b + row * q[OW] * pitch, pitch)  # fmt: skip
                held = place
            for number in range(group * q[GROUP], min(panels, (group + 1) * q[GROUP])):
                at, end = number * out_width, min(s[C_OUT], (number + 1) * out_width)
                to = s[WEIGHT] if s[PANEL] != 0 else aligned(weights.ctypes.data)
                to += number * panel_bytes
                while at < end:  # one panel, or the narrow ones of what is left
                    v, kind, at = panel(at, s[C_OUT], lanes, out_vectors, s[OVERLAP])
                    wide = panel_width(kind, lanes, out_vectors)
                    w, w_step = s[WEIGHT] + v * size, s[WI]
                    if s[PANEL] != 0 or not ready:
                        w, w_step = to, wide * size
                        if not ready and have[number] == 0:
                            pack(w, s, v, min(wide, s[C_OUT] - v), wide, lanes, dtype, size)
                        to += s[C_IN] * w_step
                    band_last(dtype, size, lanes, out_rows, out_slim, out_vectors, s, b + skip * pitch, pitch, n, z, row0, count, skip,
                              w, w_step, v, kind, number_of)  # fmt: skip
                have[number] = 1
        keep(middle)
        keep(packed)
        keep(weights)
        keep(scratch)
        restore(before)

    return separable_channels_last
