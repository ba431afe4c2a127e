"""Which product carries a pointwise, a separable or a standard convolution: the rows of the table in `tiles.py` that are matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...problem import Problem
from ..cpu.frame import Geometry, flat, three
from . import blocks, matrix, pointwise, separable, slabs, standard, stencil
from .arrays import View
from .choice import INSIDE, TUNED, Choice, fits, inside, is_flat, magic, weights_of, word
from .matrix import Matrix
from .runtime import MOST_YZ


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


def form_of(near: int, far: int, size: int, address: int, extents: tuple[int, int], others: tuple[int, ...], most: int) -> tuple[int, int] | None:
    """(form, elements a load) of a factor with strides `near` along k and `far` along its own axis; None if neither is its memory's."""
    depth, extent = extents
    if near == size or depth == 1:
        return matrix.DEEP, min(most, word(size, address, far, depth * size, *others))
    if far == size or extent == 1:
        return matrix.WIDE, min(most, word(size, address, near, extent * size, *others))
    return None


def cores(found: blocks.Blocks) -> int:
    return int(found is blocks.TENSOR)


def most_of(found: blocks.Blocks) -> int:
    """Elements of the longest word that a thread stages."""
    return 8 if cores(found) else 4


def stored(found: blocks.Blocks, b_form: int) -> int:
    """Elements of the longest word that a thread stores."""
    return 4 if not cores(found) else 8 if b_form == matrix.DEEP else 2


def by(m: Matrix) -> str:
    return "warp" if m.tensor else "thread"


def how(m: Matrix) -> str:
    return "on tensor cores, by mma.m16n8k16, summed in float32" if m.tensor else "no tensor cores"


def product_of(p: Problem, g: Geometry, given: Sequence[View | None], target: View, cc: tuple[int, int]) -> Choice | None:
    """A pointwise convolution, of a geometry as of `folded`."""
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
    found = blocks.of(p.dtype, cc)
    most = most_of(found)
    a = form_of(g.x[1], g.x[4], size, x.address, (p.in_channels, pixels), (g.x[0],), most)
    w = form_of(g.weight[1], g.weight[0], size, weight.address, (p.in_channels, p.out_channels), (), most)
    if a is None or w is None:
        return None
    long, far = (p.out_channels, 4) if last else (pixels, 1)
    steps = [n for s in (g.out, *rest) for n in (s[0], s[far])]
    addresses = [v.address for v in (target, residual) if v is not None]
    (a_form, a_vec), (b_form, b_vec) = (a, w) if last else (w, a)
    out_vec = min(stored(found, b_form), word(size, *addresses, long * size, *steps))
    counts = (pixels, p.out_channels) if last else (p.out_channels, pixels)
    block = blocks.best(found, found.products, size, counts, batch)
    m = Matrix(p.dtype.name, *block, a_form, a_vec, b_form, b_vec, out_vec, p.activation.code, int(not last), tensor=cores(found))
    cells = (*m.cells, size, m.rows, m.cols, m.deep, last, a_form == matrix.WIDE, b_form == matrix.WIDE)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-p.out_channels // per[1]), batch)
    if not fits(grid):
        return None
    what = "pixels x output channels" if last else "output channels x pixels"
    reason = f"a block makes {m.rows} x {m.cols} {what}, {m.tall} x {m.long} a {by(m)}, from slabs of {m.deep} channels in shared memory; {how(m)}"
    return Choice(pointwise.kernel, pointwise.product, cells, pointwise.FIELDS, (), grid, (m.threads, 1, 1), reason)


def choose_separable(
    p: Problem, s: Problem, g: Geometry, after: Geometry, given: Sequence[View | None], target: View, cc: tuple[int, int]
) -> Choice | None:
    """The fused kernel for the two halves, p and s, of a separable convolution, s's geometry being of `planes`; or None: one after the other."""
    x, depthwise, depthwise_bias, pointwise_, bias, residual = given
    size = p.dtype.itemsize
    views = [v for v in (*given, target) if v is not None]
    whole = all(v.dtype == p.dtype and v.address % size == 0 and not any(n % size for n in v.strides) for v in views)
    (_, kh, kw), (_, oh, ow) = three(p.kernel, 1), three(p.out_size, 1)
    if p.dtype.name not in TUNED or p.mode != "constant" or 0 in (*g.in_size, *s.out_shape) or not whole or not inside(p, g):
        return None
    if not is_flat(p) or max(kh, kw) > stencil.UNROLLED or min(*after.out, *after.residual) < 0:
        return None
    pixels, batch = after.out_size[4], after.out_size[0]
    rest = (after.residual,) if s.residual else ()
    near = lambda x_axis, y_axis: (g.x[x_axis] == size or g.in_size[x_axis] == 1) and all(steps[y_axis] == size for steps in (after.out, *rest))
    last = p.group_out == 1 and near(1, 1) and not (near(4, 4) and pixels > 1)
    if pixels != oh * ow or after.out_size[2:4] != (1, 1) or batch != p.batch or batch > MOST_YZ or not (last or near(4, 4)):
        return None  # the pixels of the result are not one row
    found = blocks.of(p.dtype, cc)
    w = form_of(after.weight[1], after.weight[0], size, pointwise_.address, (s.in_channels, s.out_channels), (), most_of(found))
    if w is None:
        return None
    if last:
        many = vec = min(4, word(size, x.address, s.in_channels * size, *(g.x[a] for a in (0, 3, 4))))
    else:
        many = next(n for n in (4, 2, 1) if ow % n == 0)
        vec = min(word(size, x.address, p.in_size[-1] * size, *(g.x[a] for a in (0, 1, 3))), many)
    addresses = [v.address for v in (target, residual) if v is not None]
    long, far = (s.out_channels, 4) if last else (pixels, 1)
    factors = (matrix.DEEP, many, *w) if last else (*w, matrix.WIDE, many)
    steps = [n for steps in (after.out, *rest) for n in (steps[0], steps[far])]
    out_vec = min(stored(found, factors[2]), word(size, *addresses, long * size, *steps))
    block = blocks.fused(found, p, s, pixels, last)
    if block is None:
        return None  # too many blocks would compute the same depthwise half: to write and to read it costs less
    _, ph, pw = three(tuple(a for a, _ in p.pads), 0)
    (_, sh, sw), (_, dh, dw) = three(p.stride, 1), three(p.dilation, 1)
    lies = weights_of(p, g, vec if last else 1)
    cols, kept = (1, 0) if last else (many, many)
    tile = stencil.Tile(p.dtype.name, (kh, kw), (sh, sw), (dh, dw), (ph, pw), 1, cols, vec, kept, p.activation.code, lies)
    made = matrix.A_MADE if last else matrix.B_MADE
    m = Matrix(p.dtype.name, *block, *factors, out_vec, s.activation.code, int(not last), made, cores(found))
    cells = (*m.cells, tile.text, p.group_out, m.rows, m.cols, last, w[0] == matrix.WIDE)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-s.out_channels // per[1]), batch)
    if not fits(grid) or pixels > INSIDE // 2 or s.in_channels > INSIDE // 64:
        return None
    fields = separable.FIELDS, separable.AFTER
    reason = f"fused: a block filters {per[0]} pixels, slabs of {m.deep} channels, into shared memory and multiplies them there for {per[1]} "
    reason += f"output channels; {how(m)}"
    return Choice(separable.kernel, separable.product, cells, fields, magic(ow), grid, (m.threads, 1, 1), reason)


def windows_of(p: Problem, g: Geometry, given: Sequence[View | None], target: View, cc: tuple[int, int]) -> Choice | None:
    """Windows of x are one factor of a product, the weights the other; where a group has few outputs, a block would do little but zeros."""
    x, weight, *_ = given
    size, groups, found = p.dtype.itemsize, p.out_channels // p.group_out, blocks.of(p.dtype, cc)
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
    most = most_of(found)
    out_vec = min(stored(found, matrix.DEEP if last else matrix.WIDE), word(size, target.address, y_long * size, *(g.out[a] for a in (0, 2, *y_far))))
    wo, wi, wd, wh, ww = g.weight
    kd, kh, kw = kernel
    taps, near = kd * kh * kw, wi == size or p.group_in == 1
    # Words of weights along the channels of a tap, of which each element is loaded by itself where they are no neighbours.
    along = min(most, word(size, *((weight.address, wo, wd, wh, ww) if near else ()), p.group_in * size))
    if last:
        rows = near and (taps == 1 or (kw == 1 or ww == p.group_in * size) and (kh == 1 or wh == kw * p.group_in * size) and kd == 1)
        x_vec, w_vec = min(most, word(size, x.address, p.group_in * size, *(g.x[a] for a in (0, 2, 3, 4)))), along
    else:
        rows = (kw == 1 or ww == size) and (kh == 1 or wh == kw * size) and (kd == 1 or wd == kh * kw * size)
        rows = rows and (p.group_in == 1 or wi == taps * size)
        x_vec, w_vec = 1, min(most, word(size, weight.address, wo, depth * size)) if rows else 1
    counts = (pixels, p.group_out) if last else (p.group_out, pixels)
    beside = lambda t: blocks.looked_up(*((t.rows, t.cols) if last else (t.cols, t.rows)), x_vec, 0 if rows else w_vec)
    block = blocks.best(found, found.looked_up, size, counts, batch, beside)
    count = slabs.Count(kernel, int(last), int(near) if last else 1)
    # Where x has no words, a thread of those few keeps to its pixel.
    form = matrix.WIDE if x_vec == 1 and cores(found) else matrix.DEEP
    sides = (form, x_vec, matrix.DEEP, w_vec) if last else (matrix.DEEP, w_vec, matrix.WIDE, 1)
    made = matrix.A_MADE if last else matrix.B_MADE
    m = Matrix(p.dtype.name, *block, *sides, out_vec, p.activation.code, int(not last), made, cores(found))
    cells = (*m.cells, count.text, m.rows, m.cols, last, rows)
    per = (m.rows, m.cols) if last else (m.cols, m.rows)
    grid = (-(-pixels // per[0]), -(-p.group_out // per[1]), batch)
    if not fits(grid):
        return None
    what = "pixels x output channels" if last else "output channels x pixels"
    reason = f"a block makes {m.rows} x {m.cols} {what}, {m.tall} x {m.long} a {by(m)}, from slabs of {m.deep} taps and channels in shared memory; "
    reason += f"the windows of x are looked up on their way there; {how(m)}"
    more = (*magic(ow), *magic(p.group_in), groups, depth)
    return Choice(standard.kernel, standard.product, cells, standard.FIELDS, more, grid, (m.threads, 1, 1), reason)
