"""Which product carries a pointwise or a standard convolution: the rows of the table in `tiles.py` that are matrix products."""

from __future__ import annotations

import functools
import math

from ...problem import Problem
from . import choice, pointwise, rows, standard
from .choice import L2, TABLE, Choice
from .frame import BAND, BANDS, BLOCK, GROUP, Geometry, three
from .loops import SHARED
from .runtime import Machine

FAR = 15 * 2**20  # bytes of x and the result that a third cache does not keep from one panel to the next
PIXELS = 96  # of a thread, which make packing all panels worth it
UNEVEN = 1.05  # how much more than its share the busiest thread may have


def choose_pointwise(p: Problem, machine: Machine, lanes: int, workers: int, last: bool, out: tuple[int, ...], overlap: bool) -> Choice:
    groups, count = out[0] * out[2] * out[3], out[4]
    lane_size, row_size = (p.out_channels, count) if last else (count, p.out_channels)
    vectors = panel_vectors(lane_size, row_size, lanes, machine) if last else 2 if lane_size > lanes else 1
    rows = product_rows(row_size, vectors, machine)
    if last and row_size == 1 and lane_size >= 8 * lanes:
        vectors = 8  # a matrix times a vector: long pieces of the matrix's rows, as they come from memory
    width = lanes * vectors
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors)
    if last:
        pixel = p.in_channels * p.dtype.itemsize
        columns = min(count, max(1, L2 // 2 // max(1, pixel) // rows) * rows)
        # Pixels 4 KiB apart drive each other out of the first cache, and so many are too many for the kernel's own copy. The last block of
        # columns overlaps the one before, which is not for a result that is its own residual.
        if pixel and pixel % 4096 == 0 and row_size * pixel > 2 * L2 and (overlap or count % columns == 0):
            return _gathered(p, machine, lanes, workers, True, (*out[:4], count), columns)
        panels = -(-lane_size // width)
        # Threads share out the panels, or the pixels where a narrow last one would give one of them more, or where few weights meet large maps.
        parts, inner = workers // math.gcd(panels * groups, workers), 0
        uneven = panels * width > UNEVEN * lane_size and pixel * lane_size <= L2
        few, moved = pixel * lane_size <= L2 // 4, row_size * (pixel + lane_size * p.dtype.itemsize)
        large = moved > FAR if machine.registers == 32 else row_size * pixel > 2 * L2 and p.in_channels >= p.out_channels
        if few and large:  # all panels go by what stays in the second cache of x and the result
            parts, inner = -(-moved // (L2 // 2 * workers)) * workers, panels
        elif row_size >= PIXELS * workers and (uneven or (few and (lane_size % (workers * width) or moved > 2 * L2))):
            parts, inner = workers, panels
        bands, band = choice.span(row_size, parts, _unit(rows))
        cut = {BANDS: bands, BAND: band, GROUP: inner}
        packed = f"weights packed in panels of {width}" + ("" if rows > 1 else ", or, if a call would have to, read where they lie")
        reason = f"vectors of {lanes} output channels, {rows} pixels x {vectors} vectors a tile; {packed}"
        return Choice(pointwise.channels_last, cells, cut, panels * groups * bands, reason, panel=(lanes, vectors))
    panel = max(1, width * p.in_channels * p.dtype.itemsize)
    pixels = max(1, L2 // 2 // panel, min(4, L2 // panel))  # panels of x that stay in L2: of few, the weights come by too often
    panels, parts = max(1, lane_size // width), -(-4 * workers // groups) if workers > 1 else 1
    # A block takes few panels of pixels only where there are not as many of output channels: the last one has what is left over.
    least = -(-panels // max(-(-panels // pixels), min(parts, panels // 4), 1))
    blocks = -(-panels // least)
    bands, band = choice.span(row_size, -(-2 * workers // (blocks * groups)) if workers > 1 else 1, rows)
    reason = f"vectors of {lanes} pixels, {rows} output channels x {vectors} vectors a tile, x read in place"
    return Choice(pointwise.channels_first, cells, {BANDS: bands, BAND: band, BLOCK: least * width, GROUP: blocks}, groups * blocks * bands, reason)


# Rows of a product's tile: as many as the registers hold beside a line of vectors and a splat, or fewer that divide the size better.
PRODUCT_ROWS = {
    32: {2: (14, 12, 10, 8, 7, 4, 2, 1), 1: (14, 12, 10, 8, 7, 4, 2, 1)},
    16: {3: (4,), 2: (6, 4, 2, 1), 1: (8, 6, 4, 2, 1)},
}


def panel_vectors(channels: int, pixels: int, lanes: int, machine: Machine) -> int:
    """The vectors of a panel of output channels: three, on AVX2, where two would leave a panel of one over, whose tiles load more."""
    three = machine.isa == "AVX2" and pixels >= 4 and channels % (2 * lanes) != 0 and channels % (3 * lanes) == 0
    return 3 if three else 2 if channels > lanes else 1


def product_rows(size: int, vectors: int, machine: Machine, more: tuple[int, ...] = (), even: bool = True) -> int:
    """The rows of a tile that take the fewest cycles."""
    most = 14 if machine.bytes == 64 or vectors == 1 else 12  # a splat takes a register where it is no operand of the multiplication
    fit = (r for r in (*PRODUCT_ROWS[machine.registers][vectors], *more) if r <= min(most, max(1, size)))
    return min(fit, key=lambda rows: _cycles(size, rows, even))


def _cycles(size: int, rows: int, even: bool = True) -> int:
    """Of all tiles, an overlapping last one included: one a row, and one a tile for its vectors' loads. `even`: some may have a row less
    (`loops.shared`)."""
    tiles = -(-size // rows)
    return size + tiles if even and rows == SHARED and size >= tiles * (rows - 1) else tiles * (rows + 1)


def _unit(rows: int) -> int:
    """What pixels are cut by for threads: whole tiles, but for those of which some may have a row less."""
    return 1 if rows == SHARED else rows


AGAIN = 3  # how much longer a depthwise multiply-add takes than one of the product


def band_rows(p: Problem, s: Problem, bands: int, room: int, vectors: int, machine: Machine, threads: int) -> tuple[int, int]:
    """The rows of a tile over the pixels of bands of the map between two halves, and what bands are cut by: 0 for whole rows of the map, else so many
    pixels, where no tile overlaps another. That is where it gives the busiest thread less to do, with the rows that two bands share, which are
    made twice, and no band touches more than `room` rows, or fewer than if they were of whole rows, which is what the depthwise half's tiles are
    chosen for."""
    (_, height, width), each = three(p.out_size, 1), bands // threads
    row, pixels = AGAIN * math.prod(p.kernel) / s.out_channels * width, height * width
    by_row = product_rows(height // bands * width, vectors, machine, (11,) if machine.bytes == 64 else ())
    by_tile = product_rows(-(-pixels // threads), vectors, machine, (13,) if machine.bytes == 64 and bands > 1 else ())
    unit = _unit(by_tile)
    whole = -(-pixels // unit)
    even = [height * band // bands * width for band in range(bands + 1)]
    fair = [min(pixels, whole * band // bands * unit) for band in range(bands + 1)]
    touched = lambda cuts: [-(-end // width) - begin // width for begin, end in zip(cuts, cuts[1:])]

    def busiest(cuts: list[int], tall: int) -> float:
        cycles = [_cycles(end - begin, tall) + row * rows for begin, end, rows in zip(cuts, cuts[1:], touched(cuts))]
        return max(sum(cycles[at : at + each]) for at in range(0, bands, each))

    fits = whole >= bands and height // bands <= min(touched(fair)) and max(touched(fair)) <= room
    return (by_tile, unit) if fits and busiest(even, by_row) >= 1.02 * busiest(fair, by_tile) else (by_row, 0)


STREAM = 4  # pixels whose products take as much longer as it takes that a 1x1's weights come from the third cache


def heavy(p: Problem, s: Problem) -> bool:
    """Whether the weights of a separable layer's 1x1, which each band of its map reads anew, cost more than what it takes to have as few bands as
    can be: more of the second cache for the rows between the halves, and threads that share out the output channels, each with the depthwise
    half to itself."""
    weights = s.in_channels * s.out_channels * s.dtype.itemsize
    return weights > 2 * L2 and AGAIN * math.prod(p.kernel) * math.prod(p.out_size) < STREAM * s.out_channels


# How much longer products take of x in place than of taps in scratch, by registers and the stride of the lanes: 16 hold short tiles, which read x
# more often, and lanes that lie every second place are shuffled out of two vectors.
PLACE = {32: {1: 1.0, 2: 1.3}, 16: {1: 1.4, 2: 2.2}}
GATHER = 7  # output channels whose products take as long as filling scratch with their taps


def _gathered(p: Problem, machine: Machine, lanes: int, workers: int, last: bool, out: tuple[int, ...] = (), columns: int = 0) -> Choice:
    """A standard convolution as a pointwise one over a band of its taps in scratch; or a pointwise one, whose result has the sizes `out`, over
    so many pixels at a time."""
    batch, _, od, oh, ow = out or (p.batch, 0, *three(p.out_size, 1))
    size, depth, places = p.dtype.itemsize, p.group_in * math.prod(p.kernel), batch * p.groups * od
    what = f"{columns} pixels at a time in scratch, further apart" if columns else "the taps of {bands} bands of rows in scratch"
    columns = columns or choice.columns(ow, 4 * lanes, depth * size + TABLE * p.kernel[-1])
    parts = places * -(-ow // columns)
    bands = choice.evenly(choice.bands(oh, choice.parts(parts, workers), columns * depth * size), parts, oh, workers)
    pixels = oh // bands * columns
    vectors = 2 if (p.group_out if last else pixels) > lanes else 1
    tall = product_rows(pixels if last else p.group_out, vectors, machine)
    reason = f"{what.format(bands=bands)}, then a product of {tall} rows x {vectors} vectors of {lanes}"
    stage = functools.partial(rows.gathered, columns=columns, size=size)
    factory = standard.gathered_last if last else standard.gathered_first
    return Choice(factory, (p.dtype.name, size, lanes, tall, vectors), {BANDS: bands}, parts * bands, reason, stage)


def _dense(p: Problem, g: Geometry, size: int) -> bool:
    """Whether a standard weight lies as a matrix, (C_out, taps of all input channels)."""
    step = size
    for n, by in zip(reversed((p.group_in, *three(p.kernel, 1))), reversed(g.weight[1:])):
        if n > 1 and by != step:
            return False
        step *= n
    return True


def choose_standard(p: Problem, g: Geometry, machine: Machine, lanes: int, workers: int, lies: tuple[bool, ...]) -> Choice | None:
    x_wide, _, x_deep, deep = lies
    plain = p.mode == "constant"
    if not choice.first(p, lies):
        if deep and plain and x_deep:
            return _standard_last(p, machine, lanes, workers)
        return _gathered(p, machine, lanes, workers, True) if deep and p.groups == 1 else None
    dense, found = _dense(p, g, p.dtype.itemsize), None
    if plain and x_wide and p.stride[-1] <= 2:
        found = _standard_first(p, machine, lanes, workers)
        _, _, lanes_, _, vectors, _ = found.cells
        computed = -(-p.out_size[-1] // (lanes_ * vectors)) * lanes_ * vectors  # lanes of a row's tiles, which overlap
        if computed * PLACE[machine.registers][p.stride[-1]] < p.out_size[-1] * (1 + GATHER / p.group_out):
            return found
    return _gathered(p, machine, lanes, workers, False) if dense else found


def _standard_first(p: Problem, machine: Machine, lanes: int, workers: int) -> Choice:
    (_, _, sw), (od, oh, ow) = three(p.stride, 1), three(p.out_size, 1)
    while lanes > 4 and ow <= lanes // 2:
        lanes //= 2
    vectors = 2 if ow >= 2 * lanes else 1
    rows = product_rows(p.group_out, vectors, machine, even=False)
    bands, band = choice.span(oh, choice.parts(p.batch * p.groups * od, workers), 1)
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors, sw)
    reason = f"vectors of {lanes} along the width, {rows} output channels x {vectors} vectors a tile, summed over taps and channels in registers"
    return Choice(standard.channels_first, cells, {BANDS: bands, BAND: band}, p.batch * p.groups * od * bands, reason)


def _standard_last(p: Problem, machine: Machine, lanes: int, workers: int) -> Choice:
    od, oh, ow = three(p.out_size, 1)
    vectors = 2 if p.group_out > lanes else 1
    rows, width = product_rows(ow, vectors, machine, even=False), lanes * vectors
    jobs = p.groups * -(-p.group_out // width) * p.batch * od
    bands, band = choice.span(oh, choice.parts(jobs, workers), 1)
    cells = (p.dtype.name, p.dtype.itemsize, lanes, rows, vectors)
    reason = f"vectors of {lanes} output channels, {rows} pixels x {vectors} vectors a tile, summed over taps and channels in registers"
    return Choice(standard.channels_last, cells, {BANDS: bands, BAND: band}, jobs * bands, reason)
