"""The simulator's stand-ins for the pieces of `bands.py`, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import bands, tensor
from .matrix import WARP
from .stencil import Tile
from .stencil_twins import activated, memory, wide, write
from .tensor_twins import bits


def _pixels(band: Any, thread: int, room: Any) -> np.ndarray:
    """A warp's: [channel, line, place]."""
    start = thread // WARP * band.size
    return bits(room)[start : start + band.size].reshape(band.many, band.lines, band.pitch)


def fill(shape: str, thread: int, room: Any, x: int, apart: int, count: int, pitch: int, step: int, height: int, width: int, top: int,
         left: int) -> None:  # fmt: skip
    band = bands.Band.read(shape)
    pixels, images = _pixels(band, thread, room), memory(x, "uint16", (count, height, width, band.many), (apart, pitch, step, 2))
    assert band.many > 1 or (x % (band.vec * 2), pitch % (band.vec * 2), width % band.vec) == (0, 0, 0), "a word is not aligned"
    each = band.vec if band.many == 1 else 2
    for line in range(thread % WARP // band.words, band.lines, WARP // band.words):
        for place in range(thread % band.words * each, thread % band.words * each + each):
            other = band.stacked and line >= band.down
            image, within = place // (8 * band.own) + band.across * other, place % (8 * band.own)
            row, col = top + line - band.down * other - band.above, left + within - band.before
            inside = image < count and 0 <= row < height and 0 <= col < width
            pixels[:, line, place] = images[image, row, col] if inside else 0


def banded(shape: str, thread: int, room: Any, w: int, bias: int, by: int, y: int, apart: int, count: int, pitch: int, step: int, height: int,
           width: int, top: int, left: int, lo: int, hi: int) -> None:  # fmt: skip
    band, lane = bands.Band.read(shape), thread % WARP
    tile = Tile(band.dtype, (1, 1), (1, 1), (1, 1), (0, 0), 1, 1, 1, 1, band.activation)
    weights = wide(memory(w, band.dtype, (band.many, band.kh, band.kw), (2 * band.kh * band.kw, 2 * band.kw, 2)), band.dtype)
    pixels = _pixels(band, thread, room)
    pixels = wide(pixels if band.dtype == "bfloat16" else pixels.view("<f2"), band.dtype)
    more = wide(memory(bias, band.dtype, (band.many,), (by,)), band.dtype) if bias else 0
    for t, c in np.ndindex(band.sums // 4, 4):
        row, col = tensor.sum_at(lane, c)
        line, side, col = row + row // 8 * (band.down - 8), t // band.tiles, col + 8 * (t % band.tiles)
        image, row = (side + band.across * (row // 8), row % 8) if band.stacked else (side, row)
        if image < count and top + row < height and left + col < width:
            begin = side * 8 * band.own
            own = np.pad(pixels[:, line : line + band.kh, begin : begin + 8 * band.own], ((0, 0), (0, 0), (8, 8)))
            first = 8 + col + band.slack
            value = activated(tile, (own[..., first : first + band.kw] * weights).sum((1, 2), dtype=np.float32) + more, lo, hi)
            write(memory(y + image * apart + (top + row) * pitch + (left + col) * step, band.dtype, (band.many,), (2,)), value, band.dtype)
