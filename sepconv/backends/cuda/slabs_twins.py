"""The simulator's stand-ins for the pieces of `slabs.py`, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import slabs, tensor_twins
from .matrix import Matrix
from .product_twins import hold, spots
from .stencil import Tile
from .stencil_twins import activated, first, last, memory, wide, write


def _words(m: Matrix, side: str, thread: int, held: Any, most: int, left: int) -> Iterator[tuple[int, int, int, int]]:
    """(slot, elements, row or column, k) of a thread's words that exist; all are zero from here on."""
    slot = m.start(side)
    for r, k, _, vec, _ in spots(m, side, thread):
        held[slot : slot + vec] = 0
        if k >= 0 and r < most and k < left:
            yield slot, vec, int(r), int(k)
        slot += vec


def _kept(m: Matrix, held: Any, slot: int, values: np.ndarray) -> None:
    """What is computed here, into the registers of the next slab."""
    if m.tensor:
        write(tensor_twins.bits(held)[2 * slot : 2 * slot + values.size].view("<u2" if m.dtype == "bfloat16" else "<f2"), values, m.dtype)
    else:
        held[slot : slot + values.size] = values


def filtered(shape: str, stencil: str, multiplier: int, thread: int, held: Any, x: int, x_c: int, pitch: int, height: int, width: int, begin: int,
             cols: int, out_width: int, magic: int, shift: int, w: int, wo: int, wh: int, ww: int, bias: int, by: int, lo: int, hi: int, k0: int,
             depth: int) -> None:  # fmt: skip
    m, tile = Matrix.read(shape), Tile.read(stencil)
    for slot, vec, r, k in _words(m, "B", thread, held, cols, depth - k0):
        row = int(begin + r) * int(magic) >> int(shift)
        c, col = int(k + k0), begin + r - row * out_width
        acc = np.zeros(vec, tile.sums)
        first(stencil, acc, x + c // multiplier * x_c, pitch, height, width, row, col, w + c * wo, wh, ww)
        acc = acc + (wide(memory(bias + c * by, m.dtype, (1,), (by,)), m.dtype) if bias else 0)
        _kept(m, held, slot, activated(tile, acc, lo, hi))


def filtered_last(shape: str, stencil: str, thread: int, held: Any, x: int, pitch: int, step: int, height: int, width: int, begin: int, rows: int,
                  out_width: int, magic: int, shift: int, w: int, wc: int, wh: int, ww: int, bias: int, by: int, lo: int, hi: int, k0: int,
                  depth: int) -> None:  # fmt: skip
    m, tile = Matrix.read(shape), Tile.read(stencil)
    for slot, vec, r, k in _words(m, "A", thread, held, rows, depth - k0):
        row = int(begin + r) * int(magic) >> int(shift)
        c, col = int(k + k0), begin + r - row * out_width
        acc = np.zeros(vec, tile.sums)
        last(stencil, acc, x + c * m.size, pitch, step, height, width, row, col, w + c * int(wc), wc, wh, ww, None)
        acc = acc + (wide(memory(bias + c * by, m.dtype, (vec,), (by,)), m.dtype) if bias else 0)
        _kept(m, held, slot, activated(tile, acc, lo, hi))


def _decoded(count: Any, k: int, channels: int) -> tuple[int, ...]:
    """(channel, depth tap, row tap, column tap)."""
    c, tap = (k % channels, k // channels) if count.inner else divmod(k, count.taps)
    return c, *map(int, np.unravel_index(tap, count.kernel))  # type: ignore[return-value]


def windows(shape: str, count: str, thread: int, held: Any, x: int, xc: int, xd: int, xh: int, xw: int, deep: int, height: int, width: int, z: int,
            top: int, left: int, sh: int, sw: int, dd: int, dh: int, dw: int, begin: int, pixels: int, out_width: int, magic: int, shift: int,
            channels: int, c_magic: int, c_shift: int, k0: int, depth: int) -> None:  # fmt: skip
    m, counted = Matrix.read(shape), slabs.Count.read(count)
    for slot, vec, r, k in _words(m, m.made_side, thread, held, pixels, depth - k0):
        row = int(begin + r) * int(magic) >> int(shift)
        col = int(begin + r) - row * int(out_width)
        c, d, i, j = _decoded(counted, int(k + k0), int(channels))
        at = int(z + d * dd), int(row * sh + top + i * dh), int(col * sw + left + j * dw)
        if all(0 <= n < size for n, size in zip(at, (deep, height, width))):
            hold(m, held, slot, x + c * xc + at[0] * xd + at[1] * int(xh) + at[2] * int(xw), vec)


def taps(shape: str, count: str, thread: int, held: Any, w: int, wo: int, wi: int, wd: int, wh: int, ww: int, outputs: int, channels: int,
         c_magic: int, c_shift: int, k0: int, depth: int) -> None:  # fmt: skip
    m, counted = Matrix.read(shape), slabs.Count.read(count)
    for slot, vec, r, k in _words(m, "B" if m.made_side == "A" else "A", thread, held, outputs, depth - k0):
        c, d, i, j = _decoded(counted, int(k + k0), int(channels))
        at = int(w + r * wo + c * wi + d * wd + i * wh + j * ww)
        hold(m, held, slot, at, vec, m.size if counted.near else int(wi))
