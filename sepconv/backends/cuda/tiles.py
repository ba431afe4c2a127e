"""Which kernel and which tile carries a problem: a table, and a reason for each row.

Only speed is decided here. `choose` returns None where no tile fits, and `direct.py` then takes the problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ... import dtypes
from ...problem import Problem
from ..cpu.frame import Geometry, flat, three
from . import depthwise, pointwise, product, separable, slabs, standard, stencil
from .arrays import View
from .runtime import MOST_SHARED, MOST_X, MOST_YZ, SIMULATED
from .stencil_last import pitch_of

THREADS = 8 if SIMULATED else 128  # of a block: four warps, one for each scheduler; simulated ones take long to start
MOST_TURNS, ENOUGH = 8, 4 if SIMULATED else 1000  # tiles one after the other by a block with filters of its own, where so many blocks are left
# Depthwise, channels last: instructions for a word of x (its address, whether it exists, what it is if not, the load, two conversions), and blocks of
# tall tiles from which on a large GPU has enough to do
LOADED, PLENTY = 7, 0 if SIMULATED else 160
INSIDE = 2**31 - 1  # bytes of a plane (an image, channels last), so that 32 bits count inside it
TUNED = ("float32", "float64", "float16", "bfloat16")


class Choice(NamedTuple):
    """A kernel to compile, `factory(*cells)` in `kernel`, what it is passed besides the record, its grid and block, and why."""

    kernel: Callable[..., Any]
    factory: Callable[..., Any]
    cells: tuple[Any, ...]
    fields: tuple[Any, ...]  # of the record; two tuples, of the two records of a separable convolution
    more: tuple[int, ...]  # after them
    grid: tuple[int, ...]
    block: tuple[int, ...]
    reason: str

    @property
    def registers(self) -> int | None:
        """The most registers that a thread of a large block may have, so that two blocks fit a multiprocessor."""
        return 128 if math.prod(self.block) == 256 else None


def magic(divisor: int) -> tuple[int, int]:
    """(m, s) with n // divisor == (n * m) >> s for 0 <= n < 2**31: T. Granlund, P. Montgomery, "Division by Invariant Integers", 1994."""
    s = 31 + max(0, (divisor - 1).bit_length())
    return -(-(1 << s) // divisor), s


def _word(size: int, *numbers: int) -> int:
    """How many elements of `size` bytes one load takes: up to 16 bytes, as far as addresses, strides and extents are multiples of it."""
    count = 16 // size
    while count > 1 and any(n % (count * size) for n in numbers):
        count //= 2
    return count


def _fits(grid: tuple[int, ...]) -> bool:
    return grid[0] <= MOST_X and max(grid[1:]) <= MOST_YZ


def _power(least: int, most: int) -> int:
    """The smallest power of two that is at least `least`, but no more than `most`."""
    return min(most, 1 << max(0, least - 1).bit_length())


def _filters(p: Problem, g: Geometry) -> bool:
    """Whether a depthwise weight is filter after filter, packed, of all its depths."""
    size, (wo, _, wd, wh, ww), (kd, kh, kw) = p.dtype.itemsize, g.weight, three(p.kernel, 1)
    return wo == kd * kh * kw * size and (kw == 1 or ww == size) and (kh == 1 or wh == kw * size) and (kd == 1 or wd == kh * kw * size)


def _weights(p: Problem, g: Geometry, w: int, vec: int) -> int:
    """How a depthwise weight lies."""
    size, (wo, _, wd, wh, ww), (kd, *_) = p.dtype.itemsize, g.weight, three(p.kernel, 1)
    if (kd == 1 or vec == 1) and _filters(p, g):
        return stencil.PACKED
    if wo == size and not any(n % (vec * size) for n in (w, wd, wh, ww)):
        return stencil.INNER
    return stencil.LOOSE


def _depthwise_first(p: Problem, g: Geometry, x: int, w: int, y: int) -> Choice | None:
    """x, w and y are addresses: words of memory have to be aligned."""
    size, (_, kh, kw) = p.dtype.itemsize, three(p.kernel, 1)
    (_, sh, sw), (_, dh, dw) = three(p.stride, 1), three(p.dilation, 1)
    (_, oh, ow), (od, *_), iw = three(p.out_size, 1), three(p.out_size, 1), p.in_size[-1]
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    vec = _word(size, x, iw * size, *(g.x[a] for a in (0, 1, 2, 3)))
    out_vec = _word(size, y, ow * size, *(g.out[a] for a in (0, 1, 2, 3)))
    large = max(kh, kw) > stencil.UNROLLED
    cols = 8 if large and ow > 4 or size == 2 else 4
    vec, out_vec = min(vec, cols), min(out_vec, cols)
    rows = min(4 if large or kw > 5 else 8 if cols == 4 and sh == 1 else 4, _power(oh, 8))
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), rows, cols, vec, out_vec, p.activation.code, _weights(p, g, w, 1))
    across, jobs = -(-ow // cols), p.batch * p.out_channels * od
    spread = -(-oh // rows) * across
    threads, flat = _power(jobs * spread, THREADS), _flat(p)
    if jobs * spread > INSIDE:
        return None
    cells = (tile.text, tile.sums, tile.outputs, rows, cols, threads, p.group_out, flat)
    reason = f"{rows} x {cols} outputs a thread in registers, loads of {vec * size} bytes and stores of {out_vec * size} along the width"
    more = (*magic(p.out_channels), *magic(od), jobs * spread, spread, *magic(spread), across, *magic(across))
    grid = (-(-jobs * spread // threads), 1, 1)
    return Choice(depthwise.kernel, depthwise.channels_first, cells, depthwise.FIELDS, more, grid, (threads, 1, 1), reason)


def _depthwise_last(p: Problem, g: Geometry, x: int, w: int, y: int) -> Choice | None:
    if p.group_out != 1:
        return None
    size, (_, kh, kw) = p.dtype.itemsize, three(p.kernel, 1)
    (_, sh, sw), (_, dh, dw), (od, oh, ow) = three(p.stride, 1), three(p.dilation, 1), three(p.out_size, 1)
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    vec = _word(size, x, y, p.in_channels * size, *(s[a] for s in (g.x, g.out) for a in (0, 2, 3, 4)))
    # The larger the kernel, the more pixels and the fewer channels: what is read of x serves more outputs. Seven divides the sizes of many networks.
    # Of those that are loops it serves one tap, and whole words are the fewest instructions.
    looped = max(kh, kw) > stencil.UNROLLED
    vec = min(vec, 4 if looped or kh * kw <= 9 else 8 // max(4, size))
    rows, cols = _power(oh, 2), _power(ow, 2 if looped or vec == 4 else 4)
    lanes = _power(-(-p.in_channels // vec), min(32, THREADS))
    if kh * kw > (25 if size * sh * sw > 2 else 9) and ow > 6 and not looped:
        cols = min((8, 7), key=lambda n: -(-ow // n) * (n * sw + kw))
        # Four rows read less for an output than two do, and convert fewer values of 16 bits; where a GPU stays busy with half the threads, and where
        # not memory decides, as it does for float64 and strides.
        each = lambda n: -(-oh // n) * (n * cols * kh * kw + LOADED * ((n - 1) * sh + kh) * ((cols - 1) * sw + kw) / vec)
        blocks = p.batch * od * -(-oh // 4) * -(-ow // cols) * -(-p.in_channels // vec) / THREADS
        rows = 4 if size * sh * sw <= 4 and blocks > PLENTY and each(4) < each(2) else rows
    weights, taps = _weights(p, g, w, vec), math.prod(p.kernel)
    across = -(-ow // cols)
    spread, jobs = -(-oh // rows) * across, p.batch * od * -(-oh // rows) * across
    each, words = _power(jobs, THREADS // lanes), -(-p.in_channels // (vec * lanes))
    # Of small kernels: the room is small then, and so is a thread's share of the copy, which is written out.
    room, copies = taps * pitch_of(lanes * vec) * max(4, size), -(-taps * vec // each)
    taps = taps if weights != stencil.INNER and _filters(p, g) and room <= MOST_SHARED and copies <= 100 else 0
    weights = stencil.STAGED if taps else weights
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), rows, cols, vec, 0, p.activation.code, weights)
    turns = max(1, min(MOST_TURNS, -(-jobs // each) * words // ENOUGH)) if taps else 1
    grid = (-(-jobs // (each * turns)), 1, words)
    if not _fits(grid) or jobs > INSIDE - each * MOST_TURNS:
        return None
    cells = (tile.text, tile.sums, tile.outputs, size, rows, cols, vec, (lanes, each), _flat(p), turns, taps)
    reason = f"{rows} x {cols} pixels x {vec} channels a thread in registers, loads and stores of {vec * size} bytes along the channels"
    reason += "; a block's filters in shared memory" if taps else ""
    more = (*magic(p.out_channels), *magic(od), jobs, spread, *magic(spread), across, *magic(across))
    return Choice(depthwise.kernel, depthwise.channels_last, cells, depthwise.FIELDS, more, grid, (lanes, each, 1), reason)


class Block(NamedTuple):
    """A block of a product: threads down and across, sums a thread down and across, k of a slab."""

    down: int
    across: int
    tall: int
    long: int
    deep: int

    rows, cols = property(lambda self: self.down * self.tall), property(lambda self: self.across * self.long)


SMALL = [Block(8, 16, 8, 4, 8), Block(8, 8, 4, 4, 16)]
PRODUCTS = [Block(16, 16, 8, 8, 8), Block(4, 32, 8, 8, 8), Block(32, 4, 8, 8, 8), *SMALL]
# What else fills registers leaves few for sums.
FUSED, FUSED_LAST = [Block(32, 8, 8, 4, 16), *SMALL], [Block(8, 32, 8, 4, 16), *SMALL]
LOOKED_UP = [Block(32, 8, 4, 8, 8), Block(4, 64, 8, 4, 8), Block(64, 4, 4, 8, 8), *SMALL]
if SIMULATED:
    SMALL = PRODUCTS = FUSED = FUSED_LAST = LOOKED_UP = [Block(2, 2, 8, 8, 8)]
SPEED = {64: 1.0, 32: 0.8, 16: 0.6}  # by sums a thread: the more, the fewer loads from shared memory there are for a multiply-add
# Of a large GPU: blocks that keep its multiprocessors at work; multiply-adds, and bytes of memory, a cycle; cycles that a launch costs; and
# multiply-adds in the time of a byte from the second cache
BUSY, MULTIPLY_ADDS, BYTES, LAUNCH, SECOND = 160, 132 * 128, 1900, 5000, 6
LOOK_UP = 25  # instructions for an element of the windows of x


def _block(shapes: Sequence[Block], size: int, extents: tuple[int, int], batch: int, beside: Callable[[Block], int] = lambda block: 0) -> Block:
    """The block that should be done first: by what all blocks do for a k, or one where there are few: products, bytes read, and what is `beside`."""
    blocks = lambda t: -(-extents[0] // t.rows) * -(-extents[1] // t.cols) * batch
    each = lambda t: t.rows * t.cols / SPEED[t.tall * t.long] + (t.rows + t.cols) * size * SECOND + beside(t)
    return min(shapes, key=lambda t: max(1, blocks(t) / BUSY) * each(t))


def folded(g: Geometry) -> Geometry:
    """A pointwise problem's geometry with as many pixels along w as the strides allow, and what is left over them along n, if that is one axis."""
    g = flat(g)
    outer = [a for a in (0, 2, 3) if g.out_size[a] != 1]
    if len(outer) != 1 or outer == [0]:
        return g
    order = [outer[0], 1, *[a for a in (0, 2, 3) if a != outer[0]], 4]
    turned = lambda values: tuple(values[a] for a in order)
    return Geometry(turned(g.in_size), turned(g.out_size), turned(g.x), g.weight, turned(g.residual), turned(g.out))


def planes(g: Geometry) -> Geometry:
    """A geometry whose images' pixels are one row, along w, if the strides allow it."""
    (n, c, d, h, w), out, rest = g.out_size, g.out, g.residual
    if d != 1 or h == 1 or not (w == 1 or all(s[3] == w * s[4] for s in (out, rest))):
        return g
    row = lambda s: (s[0], s[1], 0, 0, s[4] if w > 1 else s[3])
    return Geometry((n, g.in_size[1], 1, 1, h * w), (n, c, 1, 1, h * w), row(g.x), g.weight, row(rest), row(out))


def _form(near: int, far: int, size: int, address: int, extents: tuple[int, int], others: tuple[int, ...]) -> tuple[int, int] | None:
    """(form, elements a load) of a factor with strides `near` along k and `far` along its own axis; None if neither is its memory's."""
    depth, extent = extents
    if near == size or depth == 1:
        return product.DEEP, min(4, _word(size, address, far, depth * size, *others))
    if far == size or extent == 1:
        return product.WIDE, min(4, _word(size, address, near, extent * size, *others))
    return None


def _pointwise(p: Problem, g: Geometry, given: Sequence[View | None], target: View) -> Choice | None:
    x, weight, _, residual = given
    size, (batch, _, od, oh, pixels) = p.dtype.itemsize, g.out_size
    if od != 1 or oh != 1 or batch > MOST_YZ or p.in_channels == 0 or max(p.in_channels, p.out_channels) > INSIDE // 64:
        return None
    rest = (g.residual,) if p.residual else ()
    deep = all(s[1] == size for s in (g.out, *rest)) or p.out_channels == 1
    wide = all(s[4] == size for s in (g.out, *rest)) or pixels == 1
    if not (deep or wide):
        return None
    last = deep and not (wide and pixels > 1)
    a = _form(g.x[1], g.x[4], size, x.address, (p.in_channels, pixels), (g.x[0],))
    w = _form(g.weight[1], g.weight[0], size, weight.address, (p.in_channels, p.out_channels), ())
    if a is None or w is None:
        return None
    long, far = (p.out_channels, 4) if last else (pixels, 1)
    steps = [n for s in (g.out, *rest) for n in (s[0], s[far])]
    addresses = [v.address for v in (target, residual) if v is not None]
    out_vec = min(4, _word(size, *addresses, long * size, *steps))
    row_count, col_count = (pixels, p.out_channels) if last else (p.out_channels, pixels)
    block = _block(SMALL if size == 8 else PRODUCTS, size, (row_count, col_count), batch)
    (a_form, a_vec), (b_form, b_vec) = (a, w) if last else (w, a)
    m = product.Matrix(p.dtype.name, *block, a_form, a_vec, b_form, b_vec, out_vec, p.activation.code, int(not last))
    cells = (*m.cells, size, m.rows, m.cols, m.deep, last, a_form == product.WIDE, b_form == product.WIDE)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-p.out_channels // per[1]), batch)
    if not _fits(grid):
        return None
    what = "pixels x output channels" if last else "output channels x pixels"
    reason = f"a block makes {m.rows} x {m.cols} {what}, {m.tall} x {m.long} a thread, from slabs of {m.deep} channels in shared memory"
    reason += "; no tensor cores"
    return Choice(pointwise.kernel, pointwise.product, cells, pointwise.FIELDS, (), grid, (m.threads, 1, 1), reason)


def _fused_block(p: Problem, s: Problem, pixels: int, last: bool) -> Block | None:
    """The block of a fused kernel, or None where the middle tensor is cheaper."""
    size, each = p.dtype.itemsize, 2 * math.prod(p.kernel) + 20  # bytes, and instructions that filter a pixel
    counts = (pixels, s.out_channels) if last else (s.out_channels, pixels)
    block = _block(FUSED_LAST if last else FUSED, size, counts, p.batch, lambda t: (t.rows if last else t.cols) * each)
    again = -(-s.out_channels // (block.cols if last else block.rows)) - 1
    middle = p.batch * pixels * s.in_channels
    return None if again * middle * each / MULTIPLY_ADDS > 2 * middle * size / BYTES + LAUNCH else block


def choose_separable(p: Problem, s: Problem, g: Geometry, after: Geometry, given: Sequence[View | None], target: View) -> Choice | None:
    """The fused kernel for the two halves, p and s, of a separable convolution, s's geometry being of `planes`; or None: one after the other."""
    x, depthwise, depthwise_bias, pointwise_, bias, residual = given
    size = p.dtype.itemsize
    views = [v for v in (*given, target) if v is not None]
    whole = all(v.dtype == p.dtype and v.address % size == 0 and not any(n % size for n in v.strides) for v in views)
    (_, kh, kw), (_, oh, ow) = three(p.kernel, 1), three(p.out_size, 1)
    if p.dtype.name not in TUNED or p.mode != "constant" or 0 in (*g.in_size, *s.out_shape) or not whole or not _inside(p, g):
        return None
    if not _flat(p) or max(kh, kw) > stencil.UNROLLED or min(*after.out, *after.residual) < 0:
        return None
    pixels, batch = after.out_size[4], after.out_size[0]
    rest = (after.residual,) if s.residual else ()
    near = lambda x_axis, y_axis: (g.x[x_axis] == size or g.in_size[x_axis] == 1) and all(steps[y_axis] == size for steps in (after.out, *rest))
    last = p.group_out == 1 and near(1, 1) and not (near(4, 4) and pixels > 1)
    if pixels != oh * ow or after.out_size[2:4] != (1, 1) or batch != p.batch or batch > MOST_YZ or not (last or near(4, 4)):
        return None  # the pixels of the result are not one row
    w = _form(after.weight[1], after.weight[0], size, pointwise_.address, (s.in_channels, s.out_channels), ())
    if w is None:
        return None
    if last:
        word = vec = min(4, _word(size, x.address, s.in_channels * size, *(g.x[a] for a in (0, 3, 4))))
    else:
        word = next(n for n in (4, 2, 1) if ow % n == 0)
        vec = min(_word(size, x.address, p.in_size[-1] * size, *(g.x[a] for a in (0, 1, 3))), word)
    addresses = [v.address for v in (target, residual) if v is not None]
    long, far = (s.out_channels, 4) if last else (pixels, 1)
    out_vec = min(4, _word(size, *addresses, long * size, *(n for steps in (after.out, *rest) for n in (steps[0], steps[far]))))
    block = _fused_block(p, s, pixels, last)
    if block is None:
        return None  # too many blocks would compute the same depthwise half: to write and to read it costs less
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    (_, sh, sw), (_, dh, dw) = three(p.stride, 1), three(p.dilation, 1)
    lies = _weights(p, g, depthwise.address, vec if last else 1)
    cols, stored = (1, 0) if last else (word, word)
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), 1, cols, vec, stored, p.activation.code, lies)
    factors = (product.DEEP, word, *w) if last else (*w, product.WIDE, word)
    made = product.A_MADE if last else product.B_MADE
    m = product.Matrix(p.dtype.name, *block, *factors, out_vec, s.activation.code, int(not last), made)
    cells = (*m.cells, tile.text, p.group_out, m.rows, m.cols, last, w[0] == product.WIDE)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-s.out_channels // per[1]), batch)
    if not _fits(grid) or pixels > INSIDE // 2 or s.in_channels > INSIDE // 64:
        return None
    fields = separable.FIELDS, separable.AFTER
    reason = f"fused: a block filters {per[0]} pixels, slabs of {m.deep} channels, into shared memory and multiplies them there for {per[1]} "
    reason += "output channels"
    return Choice(separable.kernel, separable.product, cells, fields, magic(ow), grid, (m.threads, 1, 1), reason)


def _standard(p: Problem, g: Geometry, given: Sequence[View | None], target: View) -> Choice | None:
    """Windows of x are one factor of a product, the weights the other; where a group has few outputs, a block would do little but zeros."""
    x, weight, *_ = given
    size, groups = p.dtype.itemsize, p.out_channels // p.group_out
    kernel, (od, oh, ow) = three(p.kernel, 1), three(p.out_size, 1)
    depth, pixels, batch = p.group_in * math.prod(kernel), oh * ow, p.batch * groups * od
    rows_follow = oh == 1 or g.out[3] == ow * g.out[4]
    if depth == 0 or batch > MOST_YZ or not rows_follow or min(p.group_out, pixels) < 4 < groups or max(depth, pixels) > INSIDE // 64:
        return None
    if g.x[4] == size or g.in_size[4] == 1 and g.x[1] != size:
        last, y_far, y_long = False, (1,), pixels
    elif g.x[1] == size or g.in_size[1] == 1:
        last, y_far, y_long = True, (4,), p.group_out
    else:
        return None
    if g.out[1 if last else 4] != size and (p.out_channels if last else pixels) != 1:
        return None
    out_vec = min(4, _word(size, target.address, y_long * size, *(g.out[a] for a in (0, 2, *y_far))))
    count = slabs.Count(kernel, int(last))
    wo, wi, wd, wh, ww = g.weight
    kd, kh, kw = kernel
    taps = kd * kh * kw
    if last:
        near = wi == size or p.group_in == 1
        matrix = near and (taps == 1 or (kw == 1 or ww == p.group_in * size) and (kh == 1 or wh == kw * p.group_in * size) and kd == 1)
        w_vec = min(4, _word(size, weight.address, wo, p.group_in * size, wd, wh, ww)) if near else 1
        x_vec = min(4, _word(size, x.address, p.group_in * size, *(g.x[a] for a in (0, 2, 3, 4))))
    else:
        matrix = (kw == 1 or ww == size) and (kh == 1 or wh == kw * size) and (kd == 1 or wd == kh * kw * size)
        matrix = matrix and (p.group_in == 1 or wi == taps * size)
        w_vec = min(4, _word(size, weight.address, wo, depth * size)) if matrix else 1
        x_vec = 1
    counts = (pixels, p.group_out) if last else (p.group_out, pixels)
    shapes = SMALL if size == 8 else LOOKED_UP
    looked_up = lambda t: (t.rows if last else t.cols) if matrix else t.rows + t.cols  # of a slab's k
    block = _block(shapes, size, counts, batch, lambda t: looked_up(t) * LOOK_UP)
    sides = (product.DEEP, x_vec, product.DEEP, w_vec) if last else (product.DEEP, w_vec, product.WIDE, 1)
    made = product.A_MADE if last else product.B_MADE
    m = product.Matrix(p.dtype.name, *block, *sides, out_vec, p.activation.code, int(not last), made)
    cells = (*m.cells, count.text, m.rows, m.cols, last, matrix)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-p.group_out // per[1]), batch)
    if not _fits(grid):
        return None
    what = "pixels x output channels" if last else "output channels x pixels"
    reason = f"a block makes {m.rows} x {m.cols} {what}, {m.tall} x {m.long} a thread, from slabs of {m.deep} taps and channels in shared memory; "
    reason += "the windows of x are looked up on their way there; no tensor cores"
    more = (*magic(ow), *magic(p.group_in), groups, depth)
    return Choice(standard.kernel, standard.product, cells, standard.FIELDS, more, grid, (m.threads, 1, 1), reason)


def _flat(p: Problem) -> bool:
    """Whether a problem has no third dimension to speak of: one depth, one tap."""
    (kd, *_), (od, *_), (depth, *_) = three(p.kernel, 1), three(p.out_size, 1), three(p.in_size, 1)
    return kd == od == depth == 1 and three(p.pads, (0, 0))[0] == (0, 0)


def _inside(p: Problem, g: Geometry) -> bool:
    """Whether 32 bits count the bytes inside a plane, or an image with its channels last, of x and of the result; no stride is negative."""
    for steps, sizes in ((g.x, g.in_size), (g.out, g.out_size)):
        if min(steps) < 0 or sum(steps[a] * (sizes[a] - 1) for a in (3, 4)) > INSIDE // 2 or max(sizes[2:]) > INSIDE // 64:
            return False
    reach = sum(abs(g.weight[a]) * (k - 1) for a, k in zip((2, 3, 4), three(p.kernel, 1)))
    spread = max(s * n for s, n in zip(p.stride, p.out_size)) + max(map(sum, p.pads)) + max(d * k for d, k in zip(p.dilation, p.kernel))
    return max(reach, spread, abs(g.weight[0]) * 8) <= INSIDE // 16


def _packed(g: Geometry, axis: int, size: int) -> bool:
    """Whether x and the result have their elements next to each other on an axis."""
    return all(s[axis] == size or n[axis] == 1 for s, n in ((g.x, g.in_size), (g.out, g.out_size)))


def choose(p: Problem, g: Geometry, given: Sequence[View | None], target: View) -> Choice | None:
    """The tuned kernel for a problem with these arrays, or None."""
    x, weight, bias, residual = given
    size = p.dtype.itemsize
    kinds = {v.dtype for v in (x, weight) if v is not None} | {v.dtype for v in (bias, residual) if v is not None}
    whole = all(v is None or v.address % size == 0 and not any(s % size for s in v.strides) for v in (*given, target))
    if 0 in g.in_size or p.dtype.name not in TUNED or p.mode != "constant" or kinds != {p.dtype} or not whole:
        return None
    if p.kind == "pointwise":
        return None if min(*g.x, *g.out, *g.residual) < 0 else _pointwise(p, folded(g), given, target)
    if not _inside(p, g):
        return None
    if p.kind == "standard":
        return _standard(p, g, given, target)
    if p.kind == "depthwise" and max(math.prod(p.kernel[-2:]), *p.kernel) <= 63 * 63:
        if _packed(g, 4, size):
            return _depthwise_first(p, g, x.address, weight.address, target.address)
        if _packed(g, 1, size):
            return _depthwise_last(p, g, x.address, weight.address, target.address)
    return None


def accumulated(p: Problem) -> str:
    return dtypes.KINDS[p.dtype.name].accumulate
