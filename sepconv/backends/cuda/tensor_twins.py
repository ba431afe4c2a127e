"""The simulator's stand-ins for the pieces of `tensor.py`, in NumPy: a thread does its lane's part, of what all lanes of its warp would hold."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import matrix, tensor
from .stencil_twins import elements, wide


def bits(values: Any) -> np.ndarray:
    """Numbers of 32 bits as halves."""
    return elements(values).view(np.uint16)


def put(m: Any, thread: int, held: Any, room: Any, buffer: int) -> None:
    slot, slab = 0, bits(room)[2 * buffer * m.slab :]
    for side in "AB":
        for word in m.spots(side):
            number = thread + word.number * m.threads
            line, place = number // word.across, number % word.across * word.vec
            line = line if word.order == matrix.PLAIN else matrix.spread(line)
            if number < word.extent * m.deep // word.vec:
                at = m.base(side) + line * m.pitch(side) + place
                assert at * 2 % (2 * word.vec) == 0, "a word is not aligned"
                slab[at : at + word.vec] = bits(held)[2 * slot : 2 * slot + word.vec]
            slot += word.vec


@functools.lru_cache(256)
def _seen(shape: str, side: str, warp: int) -> np.ndarray:
    """The element of a slab that a warp's tensor core takes for (row, k) of a tile of 16 x 16, of all tiles: [tile, tile of k, row, k]."""
    m = matrix.Matrix.read(shape)
    deep = m.words(side)[1] == matrix.DEEP
    n, k = (m.tall if side == "A" else m.long) // tensor.SIDE, m.deep // tensor.SIDE
    own = warp // m.across * m.tall if side == "A" else warp % m.across * m.long
    found = np.full((n, k, tensor.SIDE, tensor.SIDE), -1)
    for i, j in np.ndindex(n, k):
        lines = []  # where the line of eight begins that each lane names for ldmatrix
        for lane in range(matrix.WARP):
            within, odd, high = lane % 8, lane // 8 % 2, lane // 16
            half, pick = (odd, high) if side == "A" else (high, odd)
            along, deeper = own + 16 * i + 8 * half, 16 * j + 8 * pick
            at = (along + within) * m.pitch(side) + deeper if deep else (deeper + within) * m.pitch(side) + along
            lines.append(m.base(side) + at)
        for lane in range(matrix.WARP):
            for number in range(4):  # the register: matrix `number`, of which a lane gets two neighbours of a line, or, turned, of a column
                for odd in range(2):
                    pair = lane % 4 * 2 + odd
                    at = lines[8 * number + lane // 4] + pair if deep else lines[8 * number + pair] + lane // 4
                    if side == "A":
                        row, depth = tensor.first_at(lane, 2 * number + odd)
                    else:
                        depth, row = tensor.second_at(lane, 2 * (number % 2) + odd)
                        row += 8 * (number // 2)  # a tile of columns is two of instructions
                    found[i, j, row, depth] = at
    return found


def multiply(m: Any, thread: int, acc: Any, room: Any, buffer: int) -> None:
    lane, warp = thread % matrix.WARP, thread // matrix.WARP
    slab = bits(room)[2 * buffer * m.slab :]
    a, b = (wide(slab[_seen(m.text, side, warp)].view("<u2" if m.dtype == "bfloat16" else "<f2"), m.dtype) for side in "AB")
    total = acc.reshape(m.tall // tensor.SIDE, m.long // tensor.COLUMNS, 4)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            for c in range(4):
                row, col = tensor.sum_at(lane, c)
                total[i, j, c] += (a[i, :, row] * b[j // 2, :, col + j % 2 * 8]).sum(dtype=np.float32)


def sums(m: Any, thread: int, acc: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, columns, sums) of a thread, neighbouring columns next to each other."""
    lane, warp = thread % matrix.WARP, thread // matrix.WARP
    values = acc.reshape(m.tall // tensor.SIDE, m.long // tensor.COLUMNS, 2, 2).transpose(0, 2, 1, 3).reshape(m.tall // 8, -1)
    rows = warp // m.across * m.tall + lane // 4 + 8 * np.arange(m.tall // 8)
    n = np.arange(m.long // 4)
    cols = n // 8 * 32 + lane % 4 * 8 + n % 8 if m.b_form == matrix.DEEP else n // 2 * 8 + lane % 4 * 2 + n % 2
    return rows, warp % m.across * m.long + cols, values
