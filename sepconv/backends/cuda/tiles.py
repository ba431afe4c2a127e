"""Which kernel and which tile carries a problem: a table, and a reason for each row.

Only speed is decided here. `choose` returns None where no tile fits, and `direct.py` then takes the problem. `products.py` has the rows of products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...problem import Problem
from ..cpu.frame import Geometry, three
from . import bands, blocks, depthwise, products, stencil
from .arrays import View
from .bands import Band
from .choice import INSIDE, TUNED, Choice, filters_packed, fits, inside, is_flat, magic, packed, power, weights_of, word
from .products import choose_separable, folded, planes
from .runtime import MOST_SHARED, SIMULATED
from .stencil_last import pitch_of

THREADS = 8 if SIMULATED else 128  # of a block: four warps, one for each scheduler; simulated ones take long to start
MOST_TURNS, ENOUGH = 8, 4 if SIMULATED else 1000  # tiles one after the other by a block with filters of its own, where so many blocks are left
# Depthwise, channels last: instructions for a word of x (its address, whether it exists, what it is if not, the load, two conversions), and blocks of
# tall tiles from which on a large GPU has enough to do
LOADED, PLENTY = 7, 0 if SIMULATED else 160
WARPS = 0 if SIMULATED else 528  # by bands of taps: four for each multiprocessor of a large GPU, each with much to do


def _depthwise_first(p: Problem, g: Geometry, x: int, y: int) -> Choice | None:
    """x and y are addresses: words of memory have to be aligned."""
    size, (_, kh, kw) = p.dtype.itemsize, three(p.kernel, 1)
    (_, sh, sw), (_, dh, dw) = three(p.stride, 1), three(p.dilation, 1)
    (od, oh, ow), iw = three(p.out_size, 1), p.in_size[-1]
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    vec = word(size, x, iw * size, *(g.x[a] for a in (0, 1, 2, 3)))
    out_vec = word(size, y, ow * size, *(g.out[a] for a in (0, 1, 2, 3)))
    large = max(kh, kw) > stencil.UNROLLED
    cols = 8 if large and ow > 4 or size == 2 else 4
    vec, out_vec = min(vec, cols), min(out_vec, cols)
    rows = min(4 if large or kw > 5 else 8 if cols == 4 and sh == 1 else 4, power(oh, 8))
    if 9 < kh * kw and not large and {*p.stride, *p.dilation} == {1} and size <= 4:  # narrow maps, of whose tiles of four rows one is not full
        rows = 7 if (kw if size == 4 else ow) == 7 and oh > 4 and -(-oh // 7) * 7 < -(-oh // 4) * 4 else rows
        cols = 7 if rows == 7 == ow else cols
        vec, out_vec = (1, 1) if cols == 7 else (vec, out_vec)
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), rows, cols, vec, out_vec, p.activation.code, weights_of(p, g, 1))
    across, jobs = -(-ow // cols), p.batch * p.out_channels * od
    spread = -(-oh // rows) * across
    # Few blocks of threads with much to do each: a warp each, so that all multiprocessors have as many.
    threads, flat = power(jobs * spread, min(32, THREADS) if tile.outputs > 32 else THREADS), is_flat(p)
    if jobs * spread > INSIDE:
        return None
    cells = (tile.text, tile.sums, tile.outputs, rows, cols, threads, p.group_out, flat)
    reason = f"{rows} x {cols} outputs a thread in registers, loads of {vec * size} bytes and stores of {out_vec * size} along the width"
    more = (*magic(p.out_channels), *magic(od), jobs * spread, spread, *magic(spread), across, *magic(across))
    grid = (-(-jobs * spread // threads), 1, 1)
    return Choice(depthwise.kernel, depthwise.channels_first, cells, depthwise.FIELDS, more, grid, (threads, 1, 1), reason)


def _depthwise_last(p: Problem, g: Geometry, x: int, y: int) -> Choice | None:
    if p.group_out != 1:
        return None
    size, (_, kh, kw) = p.dtype.itemsize, three(p.kernel, 1)
    (_, sh, sw), (_, dh, dw), (od, oh, ow) = three(p.stride, 1), three(p.dilation, 1), three(p.out_size, 1)
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    vec = word(size, x, y, p.in_channels * size, *(s[a] for s in (g.x, g.out) for a in (0, 2, 3, 4)))
    # The larger the kernel, the more pixels and the fewer channels: what is read of x serves more outputs. Seven divides the sizes of many networks.
    # Of those that are loops it serves one tap, and whole words are the fewest instructions.
    looped = max(kh, kw) > stencil.UNROLLED
    vec = min(vec, 4 if looped or kh * kw <= 9 else 8 // max(4, size))
    rows, cols = power(oh, 2), power(ow, 2 if looped or vec == 4 else 4)
    rows, cols = (1, 7) if size == 2 and kh * kw <= 25 and ow == 7 else (rows, cols)  # 2 x 2 would leave a quarter empty
    parts = -(-p.in_channels // vec)
    # Lanes side by side read 8 words of channels or more; of those that leave the fewest threads idle, within a twentieth, the most.
    busy = lambda n: parts * (THREADS // n * n) / (-(-parts // n) * n * THREADS)
    some = range(min(32, THREADS, parts), min(8, THREADS, parts) - 1, -1)
    lanes = next(n for n in some if busy(n) > max(map(busy, some)) - 0.05)
    if kh * kw > (25 if size * sh * sw > 2 else 9) and ow > 6 and not looped:
        cols = min((8, 7), key=lambda n: -(-ow // n) * (n * sw + kw))
        # Four rows read less for an output than two do, and convert fewer values of 16 bits; where a GPU stays busy with half the threads, and where
        # not memory decides, as it does for float64 and strides.
        each = lambda n: -(-oh // n) * (n * cols * kh * kw + LOADED * ((n - 1) * sh + kh) * ((cols - 1) * sw + kw) / vec)
        blocks = p.batch * od * -(-oh // 4) * -(-ow // cols) * -(-p.in_channels // vec) / THREADS
        rows = 4 if size * sh * sw <= 4 and blocks > PLENTY and each(4) < each(2) else rows
    weights, taps = weights_of(p, g, vec), math.prod(p.kernel)
    across = -(-ow // cols)
    spread, jobs = -(-oh // rows) * across, p.batch * od * -(-oh // rows) * across
    each, words = min(jobs, THREADS // lanes), -(-p.in_channels // (vec * lanes))
    # Of small kernels: the room is small then, and so is a thread's share of the copy, which is written out.
    room, copies = taps * pitch_of(lanes * vec) * max(4, size), -(-taps * vec // each)
    taps = taps if filters_packed(p, g) and room <= MOST_SHARED and copies <= 100 else 0
    weights = stencil.STAGED if taps else weights
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), rows, cols, vec, 0, p.activation.code, weights)
    turns = max(1, min(MOST_TURNS, -(-jobs // each) * words // ENOUGH)) if taps else 1
    grid = (-(-jobs // (each * turns)), 1, words)
    if not fits(grid) or jobs > INSIDE - each * MOST_TURNS:
        return None
    cells = (tile.text, tile.sums, tile.outputs, size, rows, cols, vec, (lanes, each), is_flat(p), turns, taps)
    reason = f"{rows} x {cols} pixels x {vec} channels a thread in registers, loads and stores of {vec * size} bytes along the channels"
    reason += "; a block's filters in shared memory" if taps else ""
    more = (*magic(p.out_channels), *magic(od), jobs, spread, *magic(spread), across, *magic(across))
    return Choice(depthwise.kernel, depthwise.channels_last, cells, depthwise.FIELDS, more, grid, (lanes, each, 1), reason)


def _band(p: Problem, last: bool, vec: int, out_vec: int, before: int, groups: int, tiles: int, across: int = 1, down: int = bands.SIDE) -> Band:
    (_, kh, kw), (_, ph, pw) = three(p.kernel, 1), three(tuple(a for a, _ in p.pads), 0)
    stores, many = (vec, vec) if last else (min(out_vec, 2), 1)
    return Band(p.dtype.name, kh, kw, ph, before, before - pw, groups, tiles, vec, stores, many, p.activation.code, across, down)


def _beside(p: Problem, last: bool, widths: Sequence[int], out_vec: int) -> Iterator[Band]:
    """Bands with columns of x on either side of the results: a load begins at a multiple of its width, which may be before the first tap; 16 columns
    then hold the windows of 8 results."""
    kw, pw, ow = p.kernel[-1], p.pads[-1][0], p.out_size[-1]
    before = {v: pw if last else -(-pw // v) * v for v in widths}
    vec = next((v for v, at in before.items() if at - pw + kw - 1 <= bands.SIDE), 0)
    for groups in ((2, 4) if vec == 1 else (2, 4, 8)) if vec else ():
        across = -(-ow // (bands.SIDE * (groups - 1)))
        yield _band(p, last, vec, out_vec, before[vec], groups, -(-ow // (bands.SIDE * across)))


def _whole(p: Problem, last: bool, widths: Sequence[int], out_vec: int) -> Iterator[Band]:
    """Bands of maps as wide as they are, several of them side by side."""
    kw, (_, ih, iw), (_, oh, ow) = p.kernel[-1], three(p.in_size, 1), three(p.out_size, 1)
    (ph, below), (pw, _) = three(p.pads, (0, 0))[1:]
    own = power(-(-max(iw, ow) // bands.SIDE), 8)
    if not widths or max(iw, ow) > own * bands.SIDE or max(pw, kw - 1 - pw) >= bands.SIDE:
        return
    for groups in (2, 4) if widths[0] == 1 else (2, 4, 8):
        tiles = -(-ow // bands.SIDE)
        if groups < own or groups // own > power(p.batch, 8) or last and tiles * (groups // own) > 7:  # whose registers would not be enough
            continue
        each = 32 * (2 if last else widths[0]) // (bands.SIDE * groups)  # lines that a warp copies at a time
        down = -(-(ih + max(ph, below)) // each) * each if oh <= bands.SIDE and p.batch > 1 else bands.SIDE
        yield _band(p, last, widths[0], out_vec, 0, groups, tiles, groups // own, down)


def _depthwise_by_bands(p: Problem, g: Geometry, x: int, y: int, cc: tuple[int, int], last: bool) -> Choice | None:
    """16-bit floats on tensor cores, where that takes fewer instructions than multiply-adds one by one; of up to 9 taps memory decides."""
    size, (_, kh, kw), (_, oh, ow) = p.dtype.itemsize, three(p.kernel, 1), three(p.out_size, 1)
    steps = {*p.stride, *p.dilation}
    if blocks.of(p.dtype, cc) is not blocks.TENSOR or steps != {1} or not is_flat(p) or weights_of(p, g, 1) != stencil.PACKED:
        return None
    if not 9 < kh * kw <= 81 or max(kh, kw) > 9 or last and p.group_out > 1:
        return None
    axes, extent = ((0, 2, 3, 4), p.in_channels) if last else ((0, 1, 3), p.in_size[-1])
    vec, out_vec = word(size, x, extent * size, *(g.x[a] for a in axes)), word(size, y, (extent if last else ow) * size, *(g.out[a] for a in axes))
    widths = [v for v in ((8,) if last else (4, 2, 1)) if v <= min(vec, out_vec if last else vec)]
    units = lambda band: -(-oh // bands.ROWS) * -(-ow // band.cols) * -(-p.batch // band.maps)
    cost = lambda band: units(band) * band.instructions * 32 / band.many
    most = 1.5 * kh * kw * -(-oh // 4) * 4 * -(-ow // 8) * 8 * p.batch  # of tiles of 4 x 8 results
    found = [band for band in (*_beside(p, last, widths, out_vec), *_whole(p, last, widths, out_vec)) if cost(band) <= most]
    if not found:
        return None
    band = min(found, key=lambda band: cost(band) * max(1, WARPS * band.many / (units(band) * p.out_channels)))
    across, jobs = -(-ow // band.cols), units(band) * (1 if last else p.out_channels)
    spread = -(-oh // bands.ROWS) * across
    words = p.out_channels // band.many if last else 1
    warps = 1 if SIMULATED else power(words if last else jobs, 2 if last else 4)
    grid = (jobs if last else -(-jobs // warps), 1, -(-words // warps))
    if jobs > INSIDE or not fits(grid):
        return None
    cells = (band.text, "float32", bands.ROWS, band.cols, band.many, band.maps, warps, p.group_out)
    reason = f"{bands.ROWS} x {band.cols * band.across} outputs a warp" + ", of 8 channels," * last + f" from {band.maps} images" * (band.maps > 1)
    reason += " by bands of taps on tensor cores (mma.m16n8k8, summed in float32); x in shared memory"
    more = (*magic(p.out_channels), *magic(1), jobs, spread, *magic(spread), across, *magic(across))
    return Choice(depthwise.kernel, depthwise.by_bands, cells, depthwise.FIELDS, more, grid, (32 * warps, 1, 1), reason)


def choose(p: Problem, g: Geometry, given: Sequence[View | None], target: View, cc: tuple[int, int]) -> Choice | None:
    """The tuned kernel for a problem with these arrays on a GPU of a compute capability, or None."""
    x, weight, bias, residual = given
    size = p.dtype.itemsize
    kinds = {v.dtype for v in (x, weight) if v is not None} | {v.dtype for v in (bias, residual) if v is not None}
    whole = all(v is None or v.address % size == 0 and not any(s % size for s in v.strides) for v in (*given, target))
    if 0 in g.in_size or p.dtype.name not in TUNED or p.mode != "constant" or kinds != {p.dtype} or not whole:
        return None
    if p.kind == "pointwise":
        return None if min(*g.x, *g.out, *g.residual) < 0 else products.product_of(p, folded(g), given, target, cc)
    if not inside(p, g):
        return None
    if p.kind == "standard":
        return products.windows_of(p, g, given, target, cc)
    if p.kind == "depthwise" and max(math.prod(p.kernel[-2:]), *p.kernel) <= 63 * 63:
        addresses = x.address, target.address
        if packed(g, 4, size):
            return _depthwise_by_bands(p, g, *addresses, cc, False) or _depthwise_first(p, g, *addresses)
        if packed(g, 1, size):
            return _depthwise_by_bands(p, g, *addresses, cc, True) or _depthwise_last(p, g, *addresses)
    return None


__all__ = ["Choice", "choose", "choose_separable", "folded", "magic", "planes"]
