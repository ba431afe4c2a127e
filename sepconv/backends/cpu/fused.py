"""Which filters run as band sweeps in float32 or 16-bit integers, and the record that tells `sweep.py` how.

float32 images are summed in float32. uint8 images come out as from float64: sums of whole numbers are exact, as are means of them; other sums
are cut to whole numbers in float32 where that is sure, and taken again in float64 where they lie too near to a whole number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..borders import CONSTANT, EDGE, WRAP
from ..filters import Pass, symmetry
from . import bands, digits, dots, frame, image, runtime, sweep, team
from .choice import SERIAL
from .entry import address
from .image import ran
from .programs import Program, Step, launched

FEW = 2**12  # elements below which starting a sweep costs more than it saves
LONGEST = 128  # taps of a pass
LARGE = 1e25  # of weights and their reciprocals: float32 has these, and their products with pixels of ordinary size
STRIP = 2048  # columns of a strip
FEW_COLUMNS = 256  # beyond an axis, below which a pass along it runs along rows
ROWS = 6  # of a tile down the columns
FOURFOLD = 8  # neighbours along the rows from which their sums are made of sums of 4, 16, ..
MANY = 15  # neighbours down the columns from which their sums are made of those of `blocks`
WHOLE = ("uint8", "int8", "uint16", "int16")


class Way(NamedTuple):
    """How the sums of a pair of passes are taken: their type, and how each pass ends, of `bands`, or for sums of bytes its `digits.sort`."""

    sums: str
    down: int
    across: int


class Half(NamedTuple):
    """One pass of a pair, or none: one tap of weight 1."""

    taps: int
    before: int
    mode: int
    cval: float
    weights: np.ndarray
    mean: bool


IDENTITY = Half(1, 0, WRAP, 0.0, np.ones(1), False)


def _half(p: Pass | None) -> Half:
    if p is None or (p.weights is None and p.size == 1):
        return IDENTITY
    return Half(p.size, p.before, p.mode, p.cval, np.ones(p.size) if p.weights is None else p.weights, p.weights is None)


def _pairs(shape: tuple[int, ...], passes: Sequence[Pass]) -> list[tuple[int, Pass | None, Pass | None]]:
    """Passes along neighbouring axes in pairs: (axis of the columns, pass down them, pass along the rows)."""
    found: list[tuple[int, Pass | None, Pass | None]] = []
    rest = list(passes)
    while rest:
        p = rest.pop(0)
        if rest and rest[0].axis == p.axis + 1:
            found.append((p.axis, p, rest.pop(0)))
        elif rest and rest[0].axis == p.axis - 1:
            found.append((p.axis - 1, rest.pop(0), p))
        elif p.axis > 0 and math.prod(shape[p.axis + 1 :]) < FEW_COLUMNS:
            found.append((p.axis - 1, None, p))
        else:
            found.append((p.axis, p, None))
    return found


def _way(x: str, y: str, down: Half, across: Half, turned: bool, columns: int) -> Way | None:
    """None: no sweep does it as it should be done. `turned`: the pass along the rows was to be the first of two."""
    both = down, across
    if max(h.taps for h in both) > LONGEST or any(not 1 / LARGE < np.abs(h.weights).max() < LARGE for h in both):
        return None
    if any(((h.weights != 0) & (h.weights.astype(np.float32) == 0)).any() for h in both):
        return None  # times an infinity these are infinite, and 0 is not
    outside = [h for h in both if h.mode == CONSTANT and h.taps > 1]
    if turned and any(h.cval != 0 for h in outside):
        return None  # then what lies beyond a corner depends on which pass is the first
    if any(not holds(x, h.cval) for h in outside):
        return None
    means = [h.mean for h in both]
    whole = all(h.mean or (h.weights == np.rint(h.weights)).all() for h in both)
    if y == "float32":
        if any(means) and not all(h.mean or h.taps == 1 for h in both):
            return None
        return Way("float32", _ending(down, bands.SUM), bands.MEAN if any(means) else bands.WEIGHTED)
    if x not in WHOLE or y not in WHOLE:
        return None
    if whole and not any(means):
        most = 2.0 ** (8 * np.dtype(x).itemsize)
        fits = all(np.abs(h.weights).sum() * 2.0**16 < 2**31 for h in both) and most <= 2**16
        return Way("int16", bands.WEIGHTED, bands.WEIGHTED) if fits else None
    if x != "uint8" or y != "uint8" or turned:
        return None
    if whole and all(h.mean or h is IDENTITY for h in both):
        return Way("int16", _ending(down, bands.MEAN), bands.MEAN if across.mean else bands.WEIGHTED)
    if any(means) or any(np.abs(h.weights).sum() * 256 > 2**20 for h in both):
        return None
    if columns >= dots.SPAN and runtime.has(*dots.NEEDED) and all(digits.fits(h.weights, symmetry(h.weights)) for h in both):
        sorts = [digits.sort(h.weights, symmetry(h.weights)) for h in both]
        # By one tile; one tap as the others, so that both axes share a kernel.
        return Way("uint8", *(sort or max(sorts) for sort in sorts)) if min(sorts) >= 0 else Way("uint8", min(sorts), min(sorts))
    return Way("float32", *(bands.WEIGHTED if h is IDENTITY else bands.CUT for h in both))


def _ending(down: Half, few: int) -> int:
    """How the pass down the columns ends that is a mean, or nothing; of `few` neighbours as said."""
    return bands.WEIGHTED if not down.mean else bands.BLOCKS if down.taps >= MANY else few


def holds(name: str, number: float) -> bool:
    """Whether the dtype has the number, or one near it."""
    if name == "float32":
        return abs(number) < LARGE
    info = np.iinfo(name)
    return info.min <= number <= info.max and number == int(number)


def passes(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> tuple[bool, Program | None]:
    """Runs them, if all can be sweeps: whether it did, and what of it can be run again. Between two of them lies the output's dtype, as in SciPy."""
    if output.ndim == 1:
        input, output, passes = input[None], output[None], _of_a_row(passes)
    plan = _planned(output.shape, input.dtype.name, output.dtype.name, passes)
    if not plan:
        return False, None

    def run(x: np.ndarray, y: np.ndarray) -> list[Step]:
        steps = []
        for number, job in enumerate(plan):
            to = y if number + 1 == len(plan) else np.empty(y.shape, y.dtype)
            steps.append(_run(x, to, *job))
            x = to
        return steps

    return ran(input, output, (plan[0][0], plan[-1][0]), run)


def how(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> str:
    """What `passes` would do, in words; "" if it would not run them."""
    shape, passes = ((1, *output.shape), _of_a_row(passes)) if output.ndim == 1 else (output.shape, passes)
    ways = [way for *_, way in _planned(shape, input.dtype.name, output.dtype.name, passes)]
    if not ways:
        return ""
    sums = "; ".join(dict.fromkeys(map(_summed, ways)))
    said = f"rows and columns in one sweep, {sums} ({input.dtype} -> {output.dtype})"
    return said + (", columns from sums of blocks" if any(way.down == bands.BLOCKS for way in ways) else "")


def _summed(way: Way) -> str:
    if way.sums == "uint8":
        return dots.SAID
    return f"summed in {way.sums}" + (", again in float64 where that is in doubt" if bands.CUT in (way.down, way.across) else "")


def _of_a_row(passes: Sequence[Pass]) -> list[Pass]:
    """Passes over the one axis of an array, as passes along the row of an image."""
    return [p._replace(axis=1) for p in passes]


def _planned(shape: tuple[int, ...], read: str, write: str, passes: Sequence[Pass]) -> list[tuple[int, Half, Half, Way]]:
    """(axis of the columns, pass down them, pass along the rows, way) of each sweep; none if not all can be sweeps.

    Nothing is asked about strides: bits do not depend on them.
    """
    if math.prod(shape) < FEW or not {read, write} <= {*bands.READS}:
        return []
    found, rest = [], list(passes)
    for axis, down, across in _pairs(shape, passes):
        halves = _half(down), _half(across)
        columns = math.prod(shape[axis + 1 :])
        way = _way(read, write, *halves, down is not None and across is rest[0], columns)
        if way is None or columns < _lanes(way.sums):
            return []
        if way.sums == "uint8":
            halves = tuple(_widened(half, sort) for half, sort in zip(halves, (way.down, way.across)))
        found.append((axis, *halves, way))
        rest, read = rest[(down is not None) + (across is not None) :], write
    return found


def _widened(half: Half, pairs: int) -> Half:
    """One tap as the middle one of so many pairs that have no weight."""
    if half.taps > 1 or pairs < 0:
        return half
    return half._replace(taps=2 * pairs + 1, before=pairs, mode=EDGE, weights=np.eye(1, 2 * pairs + 1, pairs)[0])


def _lanes(sums: str) -> int:
    return runtime.machine().bytes // bands.width(sums)


def _rounded(weights: np.ndarray) -> np.ndarray:
    """Weights in float32; the largest makes up for the others' rounding, so that the mean of an image does not drift."""
    rounded = weights.astype(np.float32)
    at = np.abs(weights).argmax()
    rounded[at] += np.float32(weights.sum() - rounded.sum(dtype=np.float64))
    return rounded


def _factor(taps: int) -> tuple[int, int]:
    """m and s such that v // taps == (v * m >> 16) >> s for all sums v of so many uint8."""
    shift = (taps - 1).bit_length() - 1
    return -(-(2 ** (16 + shift)) // taps), shift


def _run(x: np.ndarray, y: np.ndarray, axis: int, down: Half, across: Half, way: Way) -> Step:
    outside = across.cval * (down.taps if down.mean and way.sums == "float32" else 1)
    pixel = np.array([outside if across.mode == CONSTANT else 0], np.float64).astype(way.sums)
    record, kept = image.recorded(x, y, axis, (down.mode, across.mode), down.cval if down.mode == CONSTANT else 0, pixel)
    planes, rows, cols, step = record[image.OUTER : image.STEP + 1].tolist()
    size, lanes, many = bands.width(way.sums), _lanes(way.sums), 4 if runtime.machine().registers > 16 else 2
    tile = min(ROWS if many == 4 else 4, down.taps)
    vectors, bytewise = 8, way.sums == "uint8"
    if bytewise:
        tile, many = 2, step if step <= 4 and way.across < 0 else 0
        vectors = digits.groups([(down.taps, tile), (across.taps, 1)]) if way.across < 0 else 0
    strips = 1 if across.mode == WRAP and across.taps > 1 else max(1, cols // max(STRIP, 2 * across.taps * step))
    widest = -(-cols // strips) + 128 + (across.taps - 1) * step
    beyond = digits.chunks(across.taps, 1, max(1, vectors)) * 4 * max(1, vectors) * step + 16 if bytewise else vectors * lanes
    pitch = (-(-(widest + beyond) * size // 64) | 1) * 64
    height = 0 if across.mean is False or across.taps < FOURFOLD else (across.taps.bit_length() - 1) // 2
    kept += _weighed(record, down, across, way, tile, vectors)
    kept.append(places := _places(across.taps, step * size, height, tile, pitch))
    record[[sweep.PLACES2, sweep.SUMS2, sweep.LEVELS]] = address(places), places.shape[1], height
    workers = team.workers() if x.size * (down.taps + across.taps) > SERIAL else 1
    cut = min(-(-rows // tile), max(1, -(-workers // planes) if strips == 1 else workers)) if planes < 4 * workers else 1
    lines = tile + height + 3 + (down.taps + 1) * (way.down == bands.BLOCKS)
    record[image.BANDS : image.ROOM + 1] = cut, strips, pitch, lines * pitch + (tile + 2 * down.taps + (step + 1) * across.taps + 64) * 8 + 4096
    kernel = runtime.kernel(sweep.swept, way.sums, lanes, vectors, many, tile, x.dtype.name, y.dtype.name, way.down, way.across)
    jobs = planes * cut * strips
    return launched(kernel, record, jobs, min(workers, jobs), kept)


def _weighed(record: np.ndarray, down: Half, across: Half, way: Way, tile: int, vectors: int) -> list[np.ndarray]:
    """The halves' entries of the record; arrays that it has the addresses of."""
    kept: list[np.ndarray] = []

    def held(array: np.ndarray) -> int:
        kept.append(array)
        return address(array)

    for half, sort, begin, high in ((down, way.down, sweep.TAPS, tile), (across, way.across, sweep.TAPS2, 1)):
        exact, kind = np.ascontiguousarray(half.weights, np.float64), symmetry(half.weights)
        record[[begin, begin + 1, begin + 3, begin + 6]] = half.taps, half.before, held(exact), kind
        if way.sums == "uint8":
            block = digits.block(exact, kind, high, vectors) if sort < 0 else digits.block_of_pairs(exact, kind)
            record[[begin + 2, begin + 4]] = held(block), held(digits.level(exact, kind))
            record[begin + 5] = digits.chunks(half.taps, high, vectors) if sort < 0 else 0
            continue
        near = 2.0**-24 * (half.taps + 5) * 255 * float(np.abs(half.weights).sum())
        divisor = np.array(_factor(half.taps) if half.mean and way.sums == "int16" else [frame.bits(down.taps * across.taps)] * 2, np.int64)
        weights = _rounded(exact) if way.sums == "float32" else exact.astype(np.int64).astype(way.sums)
        record[[begin + 2, begin + 4, begin + 5]] = held(weights), held(divisor), held(np.array([near], np.float32))
    return kept


def _places(taps: int, step: int, height: int, tile: int, pitch: int) -> np.ndarray:
    """For each line of a tile, byte offsets of what is summed: each tap, or sums of 4**level taps, `height` of whose lines follow the tile's."""
    if not height:
        return np.tile(np.arange(taps) * step, (tile, 1))
    found, offset = [], 0
    for level in range(height + 1):
        for _ in range(taps >> 2 * level & 3):
            found.append([offset * step + ((tile - r + level - 1) * pitch if level else 0) for r in range(tile)])
            offset += 4**level
    return np.array(found, np.int64).T.copy()
