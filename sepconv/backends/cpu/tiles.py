"""Which kernel and which register tile carries a problem on this machine: a table, and a reason for each row.

Only speed is decided here. `choose` returns None where no tile fits, and `direct.py` then takes the problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ...problem import Problem
from . import depthwise, pointwise, standard
from .frame import BAND, BANDS, BLOCK, GROUP, STEP, Geometry, three
from .runtime import Machine

# Work (MACs, direct: slower by RATE) under which one thread is faster than waking the others: a parallel launch costs some 4 us.
SERIAL = 150_000
RATE = 16
L2 = 2**19  # bytes that stay in a core's second cache


class Choice(NamedTuple):
    """A kernel to compile, `factory(*cells, parallel)`, how its jobs are cut, and why."""

    factory: Callable[..., Any]
    cells: tuple[Any, ...]
    cut: dict[int, int]  # fields of the record: BANDS, BAND ...
    jobs: int
    reason: str


# Depthwise with pixels in the vectors: (least width in vectors, least height, rows, vectors); the first that fits.
# More rows reuse each loaded input more often, two vectors hide the latency of the few rows that 16 registers leave.
ROWS_FIRST = {
    32: [(2, 5, 7, 2), (2, 1, 4, 2), (0, 8, 14, 1), (0, 5, 7, 1), (0, 1, 4, 1)],
    16: [(2, 2, 4, 2), (2, 1, 2, 2), (0, 5, 7, 1), (0, 1, 4, 1)],
}
# A kernel of one row reuses nothing between rows: then vectors, for the latency of the FMA.
ONE_ROW = [(8, 1, 1, 8), (4, 1, 1, 4), (0, 1, 1, 1)]


def _span(size: int, bands: int, least: int) -> tuple[int, int]:
    """(number of bands, size of one) that cut `size` in about `bands` parts of a multiple of `least`."""
    tiles = -(-size // least)
    band = -(-tiles // max(1, min(bands, tiles))) * least
    return -(-size // band), band


def _parts(jobs: int, workers: int) -> int:
    """In how many parts each of `jobs` equal pieces of work is cut, so that all threads get nearly the same."""
    return 1 if jobs % workers == 0 or jobs >= 16 * workers else workers


def _depthwise_first(p: Problem, machine: Machine, lanes: int, workers: int) -> Choice | None:
    (_, kh, _), (_, sh, sw), (_, dh, _) = three(p.kernel, 1), three(p.stride, 1), three(p.dilation, 1)
    _, oh, ow = three(p.out_size, 1)
    if max(sh, sw) > 2 or (sh > 1 and dh > 1 and kh > 1) or kh > 64:
        return None
    while lanes > 4 and ow <= lanes // 2:
        lanes //= 2  # a narrow map fills a shorter vector
    table = ONE_ROW if kh == 1 and oh == 1 else ROWS_FIRST[machine.registers]
    step = dh if kh > 1 else 1
    height = -(-oh // step)
    wide, high, rows, vectors = next((t for t in table if ow >= t[0] * lanes and height >= t[1]), table[-1])
    if step > 1:
        bands, band = min(step, oh), rows
    else:
        bands, band = _span(oh, _parts(p.batch * p.out_channels, workers), rows)
    cells = (p.dtype.name, p.dtype.itemsize, lanes, kh, sh, sw, rows, vectors)
    reason = f"vectors of {lanes} along the width, {rows} rows x {vectors} vectors a tile: each input row feeds {kh} kernel rows from registers"
    return Choice(depthwise.channels_first, cells, {BANDS: bands, BAND: band, STEP: step}, p.batch * p.out_channels * bands, reason)


def _depthwise_last(p: Problem, machine: Machine, lanes: int, overlap: bool, workers: int) -> Choice | None:
    (_, _, kw), (_, _, sw), (_, _, dw) = three(p.kernel, 1), three(p.stride, 1), three(p.dilation, 1)
    od, oh, _ = three(p.out_size, 1)
    if p.group_out != 1 or (sw > 1 and dw > 1 and kw > 1) or kw > 64 or sw > 2:
        return None
    many = machine.registers == 32
    vectors = 2 if p.in_channels >= 2 * lanes and kw <= 5 else 1
    rows = (7 if vectors == 2 else 8) if many else (3 if vectors == 2 else 6)
    narrow = int(p.in_channels < lanes * vectors or (not overlap and p.in_channels % (lanes * vectors) != 0))
    # Small planes are shared out by channels, so that each thread packs its own weights only; large ones by rows, which lie together.
    small = math.prod(p.in_size) * p.in_channels * p.dtype.itemsize <= L2 and p.in_channels >= 2 * workers * lanes * vectors
    parts = _parts(p.batch * od, workers)
    groups, group = _span(p.in_channels, parts, lanes * vectors)
    if not small or p.in_channels - (groups - 1) * group < lanes * vectors:
        small, groups, group = False, 1, p.in_channels
    bands, band = _span(oh, 1 if small else parts, 1)
    cut = {BANDS: bands, BAND: band, BLOCK: oh if small or p.kernel[0] > 7 else 4, GROUP: group, STEP: dw if kw > 1 else 1}
    cells = (p.dtype.name, p.dtype.itemsize, lanes, kw, sw, rows, vectors, narrow)
    reason = f"vectors of {lanes} channels, {rows} pixels x {vectors} vectors a tile: each input pixel feeds {kw} kernel columns from registers"
    return Choice(depthwise.channels_last, cells, cut, groups * p.batch * od * bands, reason)


def _pointwise(p: Problem, machine: Machine, lanes: int, workers: int, last: bool, out: tuple[int, ...]) -> Choice:
    groups, count = out[0] * out[2] * out[3], out[4]
    lane_size, row_size = (p.out_channels, count) if last else (count, p.out_channels)
    vectors = 2 if lane_size > lanes else 1
    rows = _rows(row_size, vectors, machine)
    width = lanes * vectors
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors)
    if last:
        panels = -(-lane_size // width)
        bands, band = _span(row_size, -(-4 * workers // (panels * groups)), rows)
        reason = f"vectors of {lanes} output channels, {rows} pixels x {vectors} vectors a tile; weights packed in panels of {width}"
        return Choice(pointwise.channels_last, cells, {BANDS: bands, BAND: band}, panels * groups * bands, reason)
    least = max(1, L2 // 2 // max(1, width * p.in_channels * p.dtype.itemsize)) * width  # a block of x that stays in L2
    blocks, block = _span(lane_size, max(-(-lane_size // least), -(-4 * workers // groups)), width)
    bands, band = _span(row_size, -(-2 * workers // (blocks * groups)), rows)
    reason = f"vectors of {lanes} pixels, {rows} output channels x {vectors} vectors a tile, x read in place"
    return Choice(pointwise.channels_first, cells, {BANDS: bands, BAND: band, BLOCK: block}, groups * blocks * bands, reason)


def _rows(size: int, vectors: int, machine: Machine) -> int:
    """Rows of a product's tile: as many as the registers hold, fewer where there are not so many."""
    most = (12 if vectors == 2 else 14) if machine.registers == 32 else (6 if vectors == 2 else 8)
    return next((r for r in (1, 2, 4, 7, 8) if size <= r < most), most)


def _standard_first(p: Problem, machine: Machine, lanes: int, workers: int) -> Choice | None:
    (_, _, sw), (od, oh, ow) = three(p.stride, 1), three(p.out_size, 1)
    if sw > 2:
        return None
    while lanes > 4 and ow <= lanes // 2:
        lanes //= 2
    vectors = 2 if ow >= 2 * lanes else 1
    rows = _rows(p.group_out, vectors, machine)
    bands, band = _span(oh, _parts(p.batch * p.groups * od, workers), 1)
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors, sw)
    reason = f"vectors of {lanes} along the width, {rows} output channels x {vectors} vectors a tile, summed over taps and channels in registers"
    return Choice(standard.channels_first, cells, {BANDS: bands, BAND: band}, p.batch * p.groups * od * bands, reason)


def _standard_last(p: Problem, machine: Machine, lanes: int, workers: int) -> Choice:
    od, oh, ow = three(p.out_size, 1)
    vectors = 2 if p.group_out > lanes else 1
    rows, width = _rows(ow, vectors, machine), lanes * vectors
    jobs = p.groups * -(-p.group_out // width) * p.batch * od
    bands, band = _span(oh, _parts(jobs, workers), 1)
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors)
    reason = f"vectors of {lanes} output channels, {rows} pixels x {vectors} vectors a tile, summed over taps and channels in registers"
    return Choice(standard.channels_last, cells, {BANDS: bands, BAND: band}, jobs * bands, reason)


def choose(p: Problem, g: Geometry, machine: Machine, overlap: bool, workers: int) -> Choice | None:
    """The tuned kernel for a problem with these strides, or None; for a pointwise problem the geometry is `frame.flat`'s."""
    if p.dtype.name not in ("float32", "float64") or p.mode != "constant":
        return None
    size, lanes = p.dtype.itemsize, machine.lanes(p.dtype.name)
    written = (g.out, g.residual) if p.residual else (g.out,)
    unit = lambda axis: all(s[axis] == size or g.out_size[axis] == 1 for s in written)
    x_unit = lambda axis: g.x[axis] == size or g.in_size[axis] == 1
    if p.kind == "pointwise":
        if unit(4) and x_unit(4) and (g.out_size[4] > 1 or not unit(1)):
            return _pointwise(p, machine, lanes, workers, False, g.out_size)
        return _pointwise(p, machine, lanes, workers, True, g.out_size) if unit(1) else None
    first = unit(4) and x_unit(4) and not (p.channels_last and g.out_size[4] == 1 and unit(1) and x_unit(1))
    if p.kind == "depthwise":
        chosen = _depthwise_first(p, machine, lanes, workers) if first else None
        return chosen or (_depthwise_last(p, machine, lanes, overlap, workers) if unit(1) and x_unit(1) else None)
    chosen = _standard_first(p, machine, lanes, workers) if first else None
    return chosen or (_standard_last(p, machine, lanes, workers) if unit(1) and x_unit(1) else None)
