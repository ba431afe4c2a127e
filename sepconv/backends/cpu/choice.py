"""What the tables of tiles share: a choice, and how work is cut for threads and caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...problem import Problem
from .frame import Geometry

# Work (MACs, direct: slower by RATE) under which one thread is faster than waking the others: a parallel launch costs some 4 us.
SERIAL = 150_000
RATE = 16
L1 = 24 * 2**10  # bytes that stay in a core's first cache
L2 = 2**19  # bytes that stay in a core's second cache
TABLE = 8  # bytes of a number that says where a staged element is from
STAGED = "; rows are filled into scratch first, with the border"
COPY = "; pixels so far apart that they share lines of the first cache are copied next to each other first"


class Choice(NamedTuple):
    """A kernel to compile, `factory(*cells)`, how its jobs are cut, and why."""

    factory: Callable[..., Any]
    cells: tuple[Any, ...]
    cut: dict[int, int]  # fields of the record: BANDS, BAND ...
    jobs: int
    reason: str
    stage: Callable[[np.ndarray], np.ndarray] | None = None  # the record of a band in scratch, from the problem's: see rows.py
    panel: tuple[int, int] | None = None  # (lanes, vectors) of the panels that the kernel reads a weight in, if it can be given them
    halves: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()  # the kernels that this one calls, in place of tiles of its own


def span(size: int, bands: int, least: int) -> tuple[int, int]:
    """(number of bands, size of one) that cut `size` in about `bands` parts of a multiple of `least`."""
    tiles = -(-size // least)
    band = -(-tiles // max(1, min(bands, tiles))) * least
    return -(-size // band), band


def parts(jobs: int, workers: int) -> int:
    """In how many parts each of `jobs` equal pieces of work is cut, so that all threads get nearly the same."""
    return 1 if jobs % workers == 0 or jobs >= 16 * workers else workers


def evenly(bands: int, places: int, rows_out: int, workers: int) -> int:
    """At least `bands` bands in each of `places` places: as many as give all threads equally many."""
    return bands if places * bands % workers == 0 or rows_out < workers else min(rows_out, -(-bands // workers) * workers)


def bands(rows_out: int, bands: int, row_bytes: int) -> int:
    """At least `bands` bands: as many as keep what one reads, once it is staged, in half of the second cache."""
    return min(rows_out, max(bands, rows_out * row_bytes // (L2 // 2)))


def columns(columns: int, least: int, column_bytes: int) -> int:
    """How many columns of the output are staged at a time: all, or, where rows are long, as many as the second cache holds."""
    if columns * column_bytes <= L2:
        return columns
    return min(columns, max(least, L2 // column_bytes // 64 * 64))


def unit(g: Geometry, axis: int, size: int, residual: bool) -> tuple[bool, bool]:
    """Whether (x, everything that is written) has its elements next to each other on an axis."""
    written = all(s[axis] == size or g.out_size[axis] == 1 for s in ((g.out, g.residual) if residual else (g.out,)))
    return g.x[axis] == size or g.in_size[axis] == 1, written


def tunable(p: Problem) -> bool:
    return p.dtype.name in ("float32", "float64")


def first(p: Problem, lies: tuple[bool, ...]) -> bool:
    """Whether the channels-first kernel runs; where both could, how x lies decides."""
    x_wide, wide, x_deep, deep = lies
    return wide and not (deep and (not x_wide or (p.channels_last and p.out_size[-1] == 1 and x_deep)))
