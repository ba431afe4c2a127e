"""Which kernel and which register tile carries a problem on this machine: a table, and a reason for each row.

Only speed is decided here. `choose` returns None where no tile fits, and `direct.py` then takes the problem. `products.py` has the rows of products.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from ...problem import Problem
from . import choice, depthwise, edges, pointwise, products, rows, separable
from .choice import COPY, L1, L2, STAGED, TABLE, Choice
from .edges import ANYWHERE
from .frame import AHEAD, BAND, BANDS, BLOCK, COPIED, FIRST_WIDTH, GROUP, PAST, SECOND_WIDTH, STEP, Geometry, three
from .patch import by_tap
from .runtime import Machine
from .stencil import NARROW, SKIP

# Depthwise, channels first: tiles of rows x vectors along the width. Many rows reuse each loaded input often; two vectors serve low bands.
ROWS_FIRST = {
    32: [(7, 4), (7, 2), (14, 1), (8, 2), (8, 1), (7, 1), (4, 2), (4, 1), (2, 2), (2, 1), (1, 8), (1, 4), (1, 1)],
    16: [(4, 2), (8, 1), (7, 1), (6, 1), (5, 1), (4, 1), (2, 2), (2, 1), (1, 8), (1, 4), (1, 1)],
}
# Of vectors half as wide, where those take half the time, and kernels of 3x3: rows of 33 to 40 columns have fewer lanes over, low bands fewer sums.
HALVES = [(5, 5), (3, 5), (2, 5), (1, 5)]
LONG = [(1, 5)]  # where tiles have one row, though there are more: 33 columns are as many pixels as ASPP has of 513
FEW = 3  # rows of a band of every so many rows, or more, that are worth tiles of several of them
WHOLE = [(5, 5)]  # only as wide as a row, and of maps that some cache holds: such tiles are in the order of memory by themselves
BEYOND = 3 * L2  # bytes of an image that the second cache does not hold
# Bytes of an image and its result that are read in the order of memory, with 16 registers, where second caches are small: down a column each line of
# a row comes from afar by itself, and where other machines' work has the third cache as well, planes took up to five times as long.
AWAY = 2**21
# And bytes of both that leave nothing of the result in any cache: to store it past them all saves reading what it is written over.
PAST_CACHES = 2**24


def _nearly_least(shapes: list[tuple[int, ...]], cycles: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """The first of those that take little longer than the best one: so sizes share a kernel."""
    most = 1.08 * min(map(cycles, shapes))
    return next(shape for shape in shapes if cycles(shape) <= most)


def _rows_first(
    height: int, width: int, lanes: int, k: int, taps: int, lane_stride: int, machine: Machine, most: int, halved: bool, near: bool
) -> tuple[int, ...]:
    """(rows, vectors, lanes) of the tile with the least estimated cycles over an output of height x width: multiply-adds, no fewer than hide their
    latency, and what a tile costs besides. `most`: rows that may be in one; `halved`: vectors half as wide take half the time; `near`: see WHOLE."""
    accumulators = 28 if machine.bytes == 64 else 16  # with 32 registers; on NEON no operand lies in memory, each takes a register
    fused = machine.isa == "AVX2"
    hidden = 7 if fused and k <= SKIP else 8  # sums that hide the latency of a multiply-add; there those of 7 rows, with the next tile's first ones

    def cycles(shape: tuple[int, ...]) -> float:
        rows, vectors, wide = shape
        tiles = -(-height // rows) * -(-width // (wide * vectors))
        loads = (rows + k - 1) * vectors * taps
        sums = max(rows * vectors, hidden) + (fused and rows == 8 and 3 < k <= SKIP)  # a vector is on the stack there
        return tiles * ((max(sums * k * taps, loads) + 2 * rows * vectors) * wide / lanes + 20)

    # Of kernels of many lines, the weights leave no registers for tall tiles of several vectors: a tile has as many of them in use as rows. With
    # 16 registers that is one vector of 7 or 8 rows: 4 x 2 took up to twice as long, and with few lines a tenth, as masks and what spills over the
    # last row of narrow maps are for two vectors then. What a stride of 2 shuffles takes some as well.
    most = min(most, 7 if 3 < k <= SKIP and not fused else 8) if machine.registers == 16 else most
    few = machine.registers == 16 and (k > 3 or lane_stride == 2 or (fused and min(height, most) > 4))
    room = lambda rows, vectors: vectors == 1 or (min(height, most) == 1 if few else k <= 3 or rows <= 4)
    fits = lambda rows, vectors: rows * vectors <= accumulators and rows <= min(height, most) and room(rows, vectors)
    halved = halved and k == taps == 3 and lane_stride == 1 and width <= 5 * (lanes // 2)
    halves = [(*shape, lanes // 2) for shape in HALVES if halved and fits(*shape)]
    whole = [shape for shape in WHOLE if near and machine.registers == 32 and width <= lanes * shape[1]]
    long = LONG if machine.registers == 16 and most == 1 < height else []
    return _nearly_least([(*shape, lanes) for shape in long + ROWS_FIRST[machine.registers] + whole if fits(*shape)] + halves, cycles)


def _moved(first: Problem, last: Problem) -> int:
    """The bytes of the first problem's input and of the last one's result."""
    return (first.in_channels * math.prod(first.in_size) + last.out_channels * math.prod(last.out_size)) * first.dtype.itemsize


def _loose(p: Problem, axis: int) -> int:
    """Whether an axis is padded wider than the kernel reaches, so that whole windows lie outside."""
    (before, after), reach = three(p.pads, (0, 0))[axis], (three(p.kernel, 1)[axis] - 1) * three(p.dilation, 1)[axis]
    return int(max(before, after) > reach)


def _tap_lanes(columns: int, length: int, taps: int, before: int, lanes: int) -> int:
    """Lanes that the taps of a row of outputs are multiplied in: a tap is left out where all lanes of a vector meet the border."""
    total = 0
    for col in range(0, columns, lanes):
        left = min(col, max(0, columns - lanes)) - before
        total += lanes * (min(taps, length - left) - max(0, 1 - left - lanes))
    return total


def _depthwise_first(p: Problem, machine: Machine, lanes: int, workers: int, cuts: int, astray: bool) -> Choice | None:
    """`cuts`: how many bands there are, if that is decided already; `astray`: x does not lie as the kernel reads it."""
    (kd, kh, kw), (_, sh, sw), (_, dh, dw) = three(p.kernel, 1), three(p.stride, 1), three(p.dilation, 1)
    (_, oh, ow), (_, ih, iw), size = three(p.out_size, 1), three(p.in_size, 1), p.dtype.itemsize
    if kh > 64:
        return None
    apart = sw > 2 or (sw == 2 and dw > 1 and kw > 1)  # the lanes of a vector, by more than a shuffle can tell
    # With few registers, masks and lines that may not exist cost large kernels more than a copy with the border, but of maps that are mostly border.
    copied = machine.isa == "AVX2" and kh > SKIP and ow > 2 * lanes
    staged, lane_stride = int(apart or astray or p.mode != "constant" or copied), 1 if apart else sw
    while lanes > 4 and ow <= lanes // 2:
        lanes //= 2  # a narrow map fills a shorter vector
    before = three(p.pads, (0, 0))[2][0]
    if machine.halved and lanes * size == 64 and sw == dw == 1 and kh <= 7 < kw:  # of more lines, half the weights a load would cost more
        if _tap_lanes(ow, iw, kw, before, lanes // 2) < 0.9 * _tap_lanes(ow, iw, kw, before, lanes):
            lanes //= 2
    planes = max(1, min(16, L1 // max(1, (ih * iw + oh * ow) * size), p.batch * p.out_channels // (4 * workers)))
    blocks = -(-p.out_channels // planes)
    # With few registers, bands of one or two rows waste most of a tile. Tiles of one row may spill over into the next, where those of such bands mask
    # what they store, which is slow on AMD.
    step = dh if kh > 1 and sh == 1 and not cuts and (machine.registers == 32 or oh >= FEW * dh) else 1
    if step > oh:
        return None
    bands = cuts or (step if step > 1 else min(oh, choice.parts(p.batch * blocks, workers)))
    columns, column = ow, kd * size * planes * (kw if apart else sw)  # bytes of a row that a column of the output adds
    if staged and not cuts:
        columns = choice.columns(ow, 8 * lanes, column * kh + TABLE * (kw if apart else sw))
        bands = bands if step > 1 else choice.bands(oh, bands, column * sh * columns)
    # The lines of a tile are its kernel's and its rows' alike: with strides and dilations that do not fit each other it has one row.
    joint = sh <= 2 and (kh == 1 or dh == step)
    halved = machine.halved and lanes * size == 64
    moved = _moved(p, p)
    near = moved <= (depthwise.FAR if machine.registers == 32 else AWAY)
    tall, vectors, lanes = _rows_first(oh // bands, ow, lanes, kh, kw, lane_stride, machine, oh if joint else 1, halved, near)
    # Written out where the registers hold all weights, or where they hold those of a tap, which `stencil.py` loads as it comes to it; with a
    # stride of two on AVX-512 up to 5x5, as pairs of taps share their loads.
    taps = kw if kh * kw <= 9 and machine.isa != "SSE2" or (machine.bytes == 64 and lane_stride == 2 and max(kh, kw) <= 5) else 0
    flat = int(kd == 1 and (staged or three(p.pads, (0, 0))[0] == (0, 0)))
    loose, stride = _loose(p, 1) * (1 - staged), sh if tall > 1 else 1
    met = ANYWHERE if staged or loose or step > 1 else edges.first(p, bands, tall, lanes * vectors, lane_stride, machine.isa == "AVX2")
    # Planes that the first cache does not hold, of rows that begin anywhere in its lines: down a column, each tile reads its neighbours' lines again.
    # Tiles as wide as a row are in the order of memory by themselves. With a stride of two, as few lanes as on AVX2 ask for new lines in every row.
    again = taps > 0 and (iw * size % 64 != 0 if lane_stride == 1 else machine.registers == 16)
    again = again and ow > lanes * vectors and (ih * iw + oh * ow) * size > 2**15 and moved > depthwise.FAR // 4
    far = int((again or not near) and not staged and not cuts)
    cells = (p.dtype.name, size, lanes, kh, taps, stride, lane_stride, tall, vectors, flat, loose, met, far, staged)
    reason = f"vectors of {lanes} along the width, {tall} rows x {vectors} vectors a tile: each input row feeds {kh} kernel rows from registers"
    cut = {BANDS: bands, BLOCK: planes, STEP: step}
    stage = functools.partial(rows.first, cut=cut, columns=columns, size=size, width=lanes * vectors, lane_stride=lane_stride) if staged else None
    return Choice(depthwise.channels_first, cells, cut, p.batch * blocks * bands * -(-ow // columns), reason + STAGED * staged, stage)


# The same, channels last: pixels x vectors of channels, of those that take nearly as long the first. Beyond 7 columns weights take registers.
PIXELS_LAST = {
    32: [(7, 2), (8, 2), (14, 1), (6, 2), (5, 2), (4, 2), (3, 2), (2, 2), (1, 2), *((n, 1) for n in (8, 7, 10, 6, 5, 4, 3, 2, 1))],
    16: [(4, 2), (3, 2), (2, 2), (1, 2), *((n, 1) for n in (8, 7, 6, 4, 3, 2, 1))],
}


def _pixels_last(width: int, channels: int, lanes: int, k: int, taps: int, stride: int, machine: Machine) -> tuple[int, int]:
    """(pixels, vectors) of the tile with the least estimated cycles over a row of so many pixels: see `_rows_first`."""
    # On AVX2, 8 sums hide the latency of a multiply-add whose weight is an operand in memory; pixels two apart are as many loads again.
    fused = machine.isa == "AVX2" and stride == 1
    most, sums, short = (14 if k <= 7 else 8, 16 if k <= 3 else 14, 5) if machine.registers == 32 else (8, 8, 11) if fused else (6, 6, 5)

    def cycles(shape: tuple[int, int]) -> float:
        pixels, vectors = shape
        tiles = -(-width // pixels) * -(-channels // (lanes * vectors))
        loads = ((pixels - 1) * stride + 2 * k) * vectors * taps
        return tiles * (max(max(pixels * vectors, 8 * fused) * k * taps, loads) + 20 + 2 * pixels * vectors)

    wide = lambda pixels, vectors: vectors == 1 or (channels >= 2 * lanes and k <= short)
    fits = lambda pixels, vectors: pixels <= min(width, most) and pixels * vectors <= sums and wide(pixels, vectors)
    return _nearly_least([shape for shape in PIXELS_LAST[machine.registers] if fits(*shape)], cycles)


# Depthwise, channels last, rows x pixels of a patch: with 16 registers of one vector, or of two; with 32 of one, by the stride.
PATCHES = {1: [(2, 4), (3, 3), (2, 5), (1, 7), (2, 3), (1, 4), (2, 2), (1, 2)], 2: [(2, 2), (1, 4), (1, 2)]}
WIDE_PATCHES = {1: [(2, 7), (2, 8), (1, 7)], 2: [(2, 4), (1, 4)]}


def _patch(p: Problem, rows_out: int, copied: bool, flat: int, lanes: int, machine: Machine, past: bool) -> tuple[int, int, int]:
    """(rows, pixels, vectors) of the patch that takes the fewest cycles over bands of no fewer rows than given: multiply-adds, no fewer than hide
    their latency, and what a patch costs besides. (0, 0, 0) where none fits. `past`: lines of the result are to be stored whole."""
    taps, oh, ow, apart = math.prod(p.kernel), p.out_size[-2:][0], p.out_size[-1], p.out_channels * p.dtype.itemsize
    even = p.dims == 2 and flat and len({*p.stride}) == 1 and {*p.dilation} == {1} and all(max(pair) < min(p.kernel) for pair in p.pads)
    large = machine.isa == "AVX2" and taps > 25 and apart * math.prod(p.in_size) > BEYOND  # tiles along a row were 1.2 to 1.8 times as fast
    if large or machine.isa != "AVX2" and machine.bytes != 64 or p.out_channels < lanes or not even or not 4 <= taps <= 49 or ow < 2:
        return 0, 0, 0
    if machine.bytes == 64:
        # Tiles along a row read each row of inputs from the second cache as often as the kernel has rows; those of two rows less often. Narrow
        # maps are better off with tiles that know their border, and of more taps there is no room for the weights.
        if taps * p.stride[0] > 25 or p.stride[0] > 2 or ow < max(21, 6 * p.kernel[-1]):
            return 0, 0, 0
        vectors, shapes = 1, WIDE_PATCHES[p.stride[0]]
    else:
        # Pixels that lie some KiB apart share few sets of the first cache: fewer of them then, and whole lines at once. Where taps go by while the
        # pixels move on, few are needed at a time.
        read = [by + k for by, k in zip((p.stride[0], 3 * p.stride[0]), p.kernel)]
        sets = 8 * 4096 // max(64, math.gcd(apart, 4096))
        vectors = 2 if math.prod(read) > (5 * sets // 2 if by_tap(p.kernel[1], machine.registers) else sets) and not copied else 1
        vectors = 2 if past else vectors
        shapes = PATCHES[vectors]
    cycles = lambda rows, pixels: -(-oh // rows) * -(-ow // pixels) * (max(rows * pixels * vectors, 7) * taps / 2 + 10)
    fits = [shape for shape in shapes if shape[0] <= rows_out and shape[1] <= ow]
    return (*min(fits, key=lambda shape: cycles(*shape)), vectors)


def depthwise_last(p: Problem, machine: Machine, lanes: int, workers: int, cuts: int, astray: bool, apart: int) -> Choice | None:
    """The arguments as for channels first; `apart`: bytes from pixel to pixel of x."""
    (kd, kh, kw), (_, sh, sw), (_, _, dw) = three(p.kernel, 1), three(p.stride, 1), three(p.dilation, 1)
    (od, oh, ow), iw, size, channels = three(p.out_size, 1), p.in_size[-1], p.dtype.itemsize, p.out_channels
    if kw > 64:
        return None
    joint = sw <= 2 and (kw == 1 or sw == 1 or dw == 1)
    staged = int(p.group_out != 1 or astray or p.mode != "constant")
    flat = int(kd == 1 and (staged or three(p.pads, (0, 0))[0] == (0, 0)))
    # Pixels that all lie in the same sets of the first cache stay there to be read again only if they are copied: four lines of channels at a time,
    # since the second cache is slow to give lines that lie 4 KiB apart. Few pixels are not worth it, and of many the copy leaves the first cache.
    some, plane = 256 // size, math.prod(p.in_size)
    copied = apart != 0 and apart % 4096 == 0 and p.dims <= 2 and kh > sh and 36 < plane <= 256 and not (staged or cuts)
    past = machine.isa == "AVX2" and math.prod(p.kernel) <= 9 and not (staged or cuts) and channels * size % 64 == 0 and _moved(p, p) > PAST_CACHES
    *_, patched = _patch(p, 1, staged or copied, flat, lanes, machine, past)
    if patched == 2 and channels * size % 4096 == 0:
        staged = patched = 1  # pixels that all lie in the same sets of the first cache are better copied
    step = dw if kw > 1 and joint else 1
    if ow < step:
        step, joint = 1, False
    tall, vectors = _pixels_last(ow // step if joint else 1, channels, lanes, kw, kh, sw, machine)
    vectors = patched or vectors
    width = lanes * vectors
    # Small planes are shared out by channels, so that each thread packs its own weights only; large ones by rows, which lie together.
    image = math.prod(p.in_size) * channels * size
    small = image <= L2 and channels >= 2 * workers * width
    parts = choice.parts(p.batch * od, workers)
    groups, group = choice.span(channels, parts, width)
    if not small or channels - (groups - 1) * group < width:
        small, groups, group = False, 1, channels
    # Rows of all channels lie in memory one after the other; of an image that stays in the second cache, few channels stay in the first. Of a
    # larger one, as many as keep the rows that one of the output reads in the second: all, but of kernels of many rows.
    far, lines = image > BEYOND and not staged, max(1, kh * iw * size)
    near = channels if lines * channels <= L2 else L2 // 2 // lines // width * width
    block = max(width, some if copied else near if far else L1 // lines // width * width)
    bands, columns, column = 1 if small else parts, ow, kd * sw * rows.pixel_bytes(block, channels, size)
    if staged and not cuts:
        columns = choice.columns(ow, max(8, tall) * step, column * kh + TABLE * sw)  # no fewer than a tile's, of each phase
        bands = choice.bands(oh, bands, column * sh * columns)
    bands, band = choice.span(oh, bands, 1)
    cut = {BANDS: bands, BAND: band, BLOCK: block, GROUP: group, STEP: step, FIRST_WIDTH: width, COPIED: int(copied)}
    cut[AHEAD] = int(image > depthwise.FAR and not staged)
    cut[PAST] = int(past and patched == 2 and not staged)
    high, long, _ = _patch(p, oh // cuts if cuts else oh - (bands - 1) * band, staged or copied, flat, lanes, machine, past)
    tall, taps, margin = (long, kh, 0 if staged else max(map(max, p.pads))) if patched else (tall, 0, 0)
    loose, stride = _loose(p, 2) * (1 - staged), sw if tall > 1 else 1
    met = str(NARROW) if channels < width else ANYWHERE if staged or loose or patched else edges.last(p, tall)
    cells = (p.dtype.name, size, lanes, kw, stride, tall, vectors, flat, loose, met, staged, taps, high, margin)
    shape = f"{high} x {tall} pixels x {vectors} vectors a tile" if patched else f"{tall} pixels x {vectors} vectors a tile"
    reason = f"vectors of {lanes} channels, {shape}: each input pixel feeds {kw} kernel columns{f' and {high} rows' * (high > 1)} from registers"
    stage = functools.partial(rows.last, cut=cut, columns=columns, size=size) if staged else None
    return Choice(
        depthwise.channels_last, cells, cut, groups * p.batch * od * bands * -(-ow // columns), reason + STAGED * staged + COPY * copied, stage
    )


def _depthwise(
    p: Problem, machine: Machine, lanes: int, workers: int, lies: tuple[bool, ...], apart: int, cuts: int = 0
) -> tuple[Choice | None, bool]:
    """(kernel, whether channels first) by how x and the result lie: where x lies otherwise than the result, it is staged. `apart` as below."""
    x_wide, _, x_deep, deep = lies
    if choice.first(p, lies):
        return _depthwise_first(p, machine, lanes, workers, cuts, not x_wide), True
    return (depthwise_last(p, machine, lanes, workers, cuts, not x_deep, apart) if deep else None), False


def choose(p: Problem, g: Geometry, machine: Machine, overlap: bool, workers: int) -> Choice | None:
    """The tuned kernel for a problem with these strides, or None; for a pointwise problem the geometry is `frame.flat`'s."""
    if not choice.tunable(p):
        return None
    size, lanes = p.dtype.itemsize, machine.lanes(p.dtype.name)
    (x_wide, wide), (x_deep, deep) = (choice.unit(g, axis, size, p.residual) for axis in (4, 1))
    if p.kind == "pointwise":
        if x_wide and wide and (g.out_size[4] > 1 or not deep):
            return products.choose_pointwise(p, machine, lanes, workers, False, g.out_size, overlap)
        return products.choose_pointwise(p, machine, lanes, workers, True, g.out_size, overlap) if deep else None
    if p.kind == "depthwise":
        return _depthwise(p, machine, lanes, workers, (x_wide, wide, x_deep, deep), g.x[4])[0]
    return products.choose_standard(p, g, machine, lanes, workers, (x_wide, wide, x_deep, deep))


def _dense_rows(g: Geometry, residual: bool) -> bool:
    """Whether rows of the result, and of the residual, follow each other."""
    return all(by[3] == g.out_size[4] * by[4] for by in ((g.out, g.residual) if residual else (g.out,)))


def choose_separable(p: Problem, s: Problem, g: Geometry, after: Geometry, machine: Machine, workers: int) -> Choice | None:
    """The fused kernel for the two halves, p and s, of a separable convolution, or None: then they run one after the other.

    `g` has the strides of x, `after` those of the result.
    """
    if not (choice.tunable(p) and choice.tunable(s)):
        return None
    size, lanes = p.dtype.itemsize, machine.lanes(p.dtype.name)
    (_, wide), (_, deep) = (choice.unit(after, axis, size, s.residual) for axis in (4, 1))
    x_wide, x_deep = (g.x[axis] == size or g.in_size[axis] == 1 for axis in (4, 1))
    od, oh, ow = three(p.out_size, 1)
    row = p.out_channels * ow * size  # bytes of the middle tensor that a row takes
    if row > 2 * L2:
        return None
    places = p.batch * od
    heavy = products.heavy(p, s)
    bands = max(1, -(-oh // max(1, (3 * L2 // 2 if heavy else L2) // row)))
    bands = bands if heavy else choice.evenly(bands, places, oh, workers)
    half, first = _depthwise(p, machine, lanes, 1, (x_wide, wide, x_deep, deep), g.x[4], bands)
    # Channels first, a band of one row has few pixels for what it takes to read all weights: the halves apart took two thirds of the time.
    if half is None or (first and 2 * row > L2):
        return None
    if first:
        vectors = 2 if oh // bands * ow > lanes else 1
        tall, count, unit = products.product_rows(s.out_channels, vectors, machine), s.out_channels, 0
        factory, cells, product = separable.channels_first, (size,), pointwise.channels_first
    else:
        vectors = products.panel_vectors(s.out_channels, oh // bands * ow, lanes, machine)
        room = 2 * L2 // row if half.stage is None and _dense_rows(after, s.residual) else 0  # rows of a band that may be cut anywhere
        tall, unit = products.band_rows(p, s, bands, room, vectors, machine, workers if bands % workers == 0 else 1)
        count = -(-s.out_channels // (lanes * vectors))
        factory, cells, product = separable.channels_last, (p.dtype.name, size, lanes), pointwise.channels_last
    # Few bands are shared out by output channels as well; each thread then computes the depthwise half for itself.
    groups = 1 if places * bands % workers == 0 or places * bands >= 4 * workers else min(workers, count)
    cut = {**half.cut, BANDS: bands, GROUP: -(-count // groups), BAND: unit, SECOND_WIDTH: lanes * vectors}
    # The result drives the image out of the caches as well; of bands of one row, what they ask for is driven out before the next one.
    cut[AHEAD] = int(_moved(p, s) > depthwise.FAR and bands < oh and half.stage is None)
    jobs = places * bands * -(-count // cut[GROUP])
    kept = f"{bands} bands of {round(oh / bands, 2) if unit else oh // bands} rows of the depthwise half stay in the second cache"
    stage = half.stage and functools.partial(half.stage, cut=cut)
    reason = f"fused, {kept}; {half.reason}; then a product of {tall} rows x {vectors} vectors"
    halves = (half.factory, half.cells), (product, (p.dtype.name, size, lanes, tall, vectors))
    return Choice(factory, cells, cut, jobs, reason, stage, None if first else (lanes, vectors), halves)
