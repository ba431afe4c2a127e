"""Copies that a product reads in place of an array: panels of the weight or of the pixels, as wide as a tile, and rows at a pitch at which they
do not drive each other out of the first cache."""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import copy_line, transpose
from .jit import callee
from .loops import move

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
def copies(q, rows):  # type: ignore[no-untyped-def]
    """Whether `product_first` copies a tile's weights: those that are crowded, but for as few rows as the first cache keeps all the same."""
    return rows > 6 and crowded(q[WO])


@callee
def copy_room(q, rows, size):  # type: ignore[no-untyped-def]
    """Bytes of scratch that it copies them to."""
    return rows * spread_pitch(q[C_IN], size) + 64 if copies(q, rows) else 0


@callee
def astride(at, step):  # type: ignore[no-untyped-def]
    """Whether the vectors of rows that begin at `at`, so many bytes apart, lie across cache lines, or in the same few of them."""
    return step % 64 != 0 or at % 64 != 0 or crowded(step)


@callee
def gather_panels(to, q, x, pixels, lanes, vectors, size):  # type: ignore[no-untyped-def]
    """Copies so many pixels of all channels as panels, one after the other, each (C_in, its width): whole rows are read, and what a tile reads
    lies together."""
    width = lanes * vectors
    many = pixels // width if width * size % 64 == 0 else 0  # panels of whole width, side by side
    for c in range(q[C_IN]):
        line, place = x + c * q[XC], to + c * width * size
        for _ in range(many):
            for byte in range(0, width * size, 64):
                copy_line(place + byte, line + byte)
            line += width * size
            place += q[C_IN] * width * size
    to += many * q[C_IN] * width * size
    at = many * width
    while at < pixels:
        v, kind, at = panel(at, pixels, lanes, vectors, q[OVERLAP])
        wide = panel_width(kind, lanes, vectors)
        for c in range(q[C_IN]):
            move(to + c * wide * size, size, x + c * q[XC] + v * size, size, min(wide, pixels - v), size)
        to += q[C_IN] * wide * size
