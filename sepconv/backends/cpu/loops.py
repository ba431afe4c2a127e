"""What the loops of every kernel share."""

from __future__ import annotations

from numba import njit

from ..borders import source
from .frame import BEGIN, CHUNKS, END

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
