"""The simulator's stand-ins for the pieces of `product.py`, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import cuda

from . import matrix, tensor_twins
from .stencil_twins import activated, elements, memory, wide, write


def spots(m: Any, side: str, thread: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(row or column, k, form, vec, extent) of each word of a thread's that its slab has; -1 in place of k where it has not."""
    for word in m.spots(side):
        number = thread + word.number * m.threads
        major, minor = number // word.across, number % word.across * word.vec
        major = major if word.order == matrix.PLAIN else matrix.spread(major)
        major = matrix.fold(major) if word.order == matrix.FOLDED else major
        r, k = (major, minor) if word.form == matrix.DEEP else (minor, major)
        yield r, k if number < word.extent * m.deep // word.vec else -1, word.form, word.vec, word.extent


def hold(m: Any, held: Any, slot: int, address: int, vec: int, step: int = 0) -> None:
    """A word of memory into the registers of the next slab; of elements that lie `step` bytes apart."""
    assert step not in (0, m.size) or address % (vec * m.size) == 0, "a word is not aligned"
    bits = np.ascontiguousarray(memory(address, m.dtype, (vec,), (step or m.size,)))
    if m.tensor:
        tensor_twins.bits(held)[2 * slot : 2 * slot + vec] = bits.view(np.uint16)
    else:
        held[slot : slot + vec] = wide(bits, m.dtype)


def fetch(shape: str, thread: int, held: Any, a: int, a_far: int, rows: int, b: int, b_far: int, cols: int, k0: int, depth: int) -> None:
    m = matrix.Matrix.read(shape)
    for side, address, far, most in (("A", a, a_far, rows), ("B", b, b_far, cols)):
        if side == m.made_side:
            continue
        slot = m.start(side)
        for r, k, form, vec, _ in spots(m, side, thread):
            held[slot : slot + vec] = 0
            if k >= 0 and r < most and k < depth - k0:
                major, minor = (r, k + k0) if form == matrix.DEEP else (k + k0, r)
                hold(m, held, slot, address + major * far + minor * m.size, vec)
            slot += vec


def put(shape: str, thread: int, held: Any, room: Any, buffer: int) -> None:
    m, slot = matrix.Matrix.read(shape), 0
    if m.tensor:
        return tensor_twins.put(m, thread, held, room, buffer)
    for side in "AB":
        for r, k, form, vec, extent in spots(m, side, thread):
            step = 1 if form == matrix.WIDE else extent + matrix.PAD
            at = buffer * m.slab + m.base(side) + k * (extent + matrix.PAD) + r
            for n in range(vec if k >= 0 else 0):
                room[at + n * step] = held[slot + n]
            slot += vec


@cuda.jit(device=True)  # where the simulator puts the block's own module in the place of `cuda`
def shared(dtype: str, count: int) -> Any:
    return cuda.shared.array(count, getattr(np, dtype))


def _places(own: int, threads: int, count: int) -> np.ndarray:
    n, g = np.arange(count), matrix.GROUP
    return own * g + n // g * threads * g + n % g


def multiply(shape: str, thread: int, acc: Any, room: Any, buffer: int) -> None:
    m = matrix.Matrix.read(shape)
    if m.tensor:
        return tensor_twins.multiply(m, thread, acc, room, buffer)
    values = elements(room)
    factors = []
    for side, own, threads, count in (("A", thread // m.across, m.down, m.tall), ("B", thread % m.across, m.across, m.long)):
        start, pitch = buffer * m.slab + m.base(side), threads * count + matrix.PAD
        slab = values[start : start + m.deep * pitch].reshape(m.deep, pitch)
        factors.append(slab[:, _places(own, threads, count)])
    for left, right in zip(*factors):
        acc += np.outer(left, right).ravel()


def conclude(
    shape: str, thread: int, acc: Any, y: int, y_far: int, rows: int, cols: int, bias: int, by: int, r: int, r_far: int, lo: int, hi: int
) -> None:
    m = matrix.Matrix.read(shape)
    if m.tensor:
        rows_at, cols_at, sums = tensor_twins.sums(m, thread, acc)
    else:
        rows_at, cols_at = _places(thread // m.across, m.down, m.tall), _places(thread % m.across, m.across, m.long)
        sums = acc.reshape(m.tall, m.long)
    for i, row in enumerate(rows_at):
        for j in range(0, len(cols_at), m.out_vec):
            col = cols_at[j]
            if row >= rows or col >= cols:
                continue
            values = sums[i, j : j + m.out_vec]
            if bias:
                at = bias + (row if m.bias_rows else col) * by
                count = 1 if m.bias_rows else m.out_vec
                values = values + wide(memory(at, m.dtype, (count,), (by,)), m.dtype)
            if r:
                values = values + wide(memory(r + row * r_far + col * m.size, m.dtype, (m.out_vec,), (m.size,)), m.dtype)
            at = y + row * y_far + col * m.size
            assert at % (m.out_vec * m.size) == 0, "a word is not aligned"
            write(memory(at, m.dtype, (m.out_vec,), (m.size,)), activated(m, values, lo, hi), m.dtype)
