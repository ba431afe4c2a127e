"""What the loops of every kernel share."""

from __future__ import annotations

from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple

from ..borders import source
from .frame import BEGIN, CHUNKS, END, LENGTH
from .simd import load, store

border = njit(source)


@njit
def first_job(p, chunk):  # type: ignore[no-untyped-def]
    """Where a thread's share of the jobs begins; the next chunk's beginning is where it ends."""
    return p[BEGIN] + (p[END] - p[BEGIN]) * chunk // p[CHUNKS]


@njit
def placed(at, tile, size, overlap):  # type: ignore[no-untyped-def]
    """Where the tile planned at `at` is put: the last one of a row overlaps the one before, so that no store is masked."""
    if overlap != 0 and at + tile > size and size >= tile:
        return size - tile
    return at


@njit
def snapshot(p):  # type: ignore[no-untyped-def]
    """The record as a tuple: after every store LLVM would have to read the array again."""
    return to_fixed_tuple(p, LENGTH)


@njit
def move(to, to_step, at, at_step, count, size):  # type: ignore[no-untyped-def]
    """Copies `count` elements of 4 or 8 bytes between addresses, with a step in bytes on both sides; as bits, whatever they mean."""
    if size == 4:
        for i in range(count):
            store(to + i * to_step, load(at + i * at_step, "int32"), "int32")
    else:
        for i in range(count):
            store(to + i * to_step, load(at + i * at_step, "int64"), "int64")
