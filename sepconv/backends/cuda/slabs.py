"""Slabs of a product's factor that is no matrix in memory, generated: each element is computed, or looked up, on its way to the registers.

filtered, filtered_last   the results of a depthwise convolution: then the product is a separable one
windows, taps             what the taps of a standard convolution read of x, and their weights: then the product is that convolution
Source of the last: S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014: the matrix of windows is never in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from ..cpu.simd import I32, I64
from . import tensor
from .lanes import narrow
from .matrix import Matrix, keep, keep_each, spots
from .stencil import Array, Maker, Number, Tile, Word, taps_first, tiled
from .stencil_last import taps_last


class Count(NamedTuple):
    """How k counts the taps and the channels of a group: channel after channel, or, `inner`, tap after tap with the channels innermost; and whether
    weights of neighbouring channels are neighbours in memory, too."""

    kernel: tuple[int, int, int]
    inner: int
    near: int = 1

    @property
    def text(self) -> str:
        return " ".join(map(str, (*self.kernel, self.inner, self.near)))

    @classmethod
    def read(cls, text: str) -> Count:
        *kernel, inner, near = map(int, text.split())
        return cls(tuple(kernel), inner, near)  # type: ignore[arg-type]

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)


def _row(mk: Maker, pixel: ir.Value, width: ir.Value, magic: ir.Value, shift: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(row, column) of a pixel in rows of `width`, of which magic and shift make a multiplication."""
    b = mk.b
    row = b.trunc(b.lshr(b.mul(mk.wide(pixel), magic), shift), I32)
    return row, b.sub(pixel, b.mul(row, width))


# --- a depthwise convolution ---------------------------------------------------------------------------------------


def _kept(
    mk: Maker, m: Matrix, held: ir.Value, slot: int, acc: ir.Value, added: list[ir.Value], exists: ir.Value, lo: ir.Value, hi: ir.Value
) -> None:
    """The epilogue of a word, into the registers of the slab; zeros where the slab has no such word. Slabs of 16 bits take it rounded."""
    b = mk.b
    values = mk.activated([b.fadd(b.load(mk.slot(acc, n)), more) for n, more in enumerate(added)], lo, hi)
    values = [b.select(exists, value, mk.m.zero) for value in values]
    if m.tensor:
        pairs = [tensor.pair(mk, *two) for two in zip(values[::2], values[1::2])]
        lone = [b.zext(narrow(mk.context, b, values[0], m.dtype), I32)] if len(values) == 1 else []
        values = [b.bitcast(p, mk.m.element) for p in pairs + lone]
    for n, value in enumerate(values):
        b.store(value, mk.slot(held, slot + n))


def _cleared(mk: Maker, count: int) -> ir.Value:
    return mk.b.bitcast(cgutils.alloca_once(mk.b, ir.ArrayType(mk.m.element, count)), mk.m.element.as_pointer())


@tiled
def filtered(mk: Maker, m: Matrix, tile: Tile, multiplier: int, thread: Number, held: Array, x: Word, x_c: Word, pitch: Number, height: Number,
             width: Number, first: Number, cols: Number, out_width: Number, magic: Word, shift: Word, w: Word, wo: Word, wh: Number, ww: Number,
             bias: Word, by: Word, lo: Word, hi: Word, k0: Number, depth: Number) -> None:  # fmt: skip
    """A thread's words of B's slab, where B is a depthwise convolution: neighbouring pixels of channel k, computed here and kept nowhere else.

    `tile` is one of one word; the block's first pixel is `first`, `cols` pixels are left, `out_width` a row, of which magic and
    shift make a multiplication. Channels beyond `depth` are those of the last one, times zeros in A.
    """
    b, slot = mk.b, m.start("B")
    acc, some = _cleared(mk, tile.cols), b.icmp_unsigned("!=", bias, ir.Constant(I64, 0))
    for spot in spots(mk, m, "B", thread):
        row, col = _row(mk, b.add(first, spot.r), out_width, magic, shift)
        c = b.add(spot.k, k0)
        exists = b.and_(b.icmp_signed("<", spot.r, cols), b.icmp_signed("<", c, depth))
        c = mk.wide(b.select(b.icmp_signed("<", c, depth), c, b.sub(depth, mk.whole(1))))
        plane = mk.at(x, b.mul(b.udiv(c, ir.Constant(I64, multiplier)), x_c))
        for n in range(tile.cols):
            b.store(mk.m.zero, mk.slot(acc, n))
        taps_first(mk, tile, acc, plane, pitch, b.select(exists, height, mk.whole(0)), width, row, col, mk.at(w, b.mul(c, wo)), wh, ww)
        (added,) = mk.word_if(some, lambda c=c: mk.at(bias, b.mul(c, by)), 1)
        _kept(mk, m, held, slot, acc, [added] * tile.cols, exists, lo, hi)
        slot += tile.cols


@tiled
def filtered_last(mk: Maker, m: Matrix, tile: Tile, thread: Number, held: Array, x: Word, pitch: Number, step: Number, height: Number, width: Number,
                  first: Number, rows: Number, out_width: Number, magic: Word, shift: Word, w: Word, wc: Number, wh: Number, ww: Number, bias: Word,
                  by: Word, lo: Word, hi: Word, k0: Number, depth: Number) -> None:  # fmt: skip
    """The same of A's slab, channels last: neighbouring channels from k on, of one pixel. `depth` is a multiple of a word."""
    b, vec, slot = mk.b, tile.vec, m.start("A")
    acc, some = _cleared(mk, vec), b.icmp_unsigned("!=", bias, ir.Constant(I64, 0))
    for spot in spots(mk, m, "A", thread):
        row, col = _row(mk, b.add(first, spot.r), out_width, magic, shift)
        c = b.add(spot.k, k0)
        exists = b.and_(spot.exists, b.and_(b.icmp_signed("<", spot.r, rows), b.icmp_signed("<", c, depth)))
        c = mk.wide(b.select(b.icmp_signed("<", c, depth), c, b.sub(depth, mk.whole(vec))))
        for n in range(vec):
            b.store(mk.m.zero, mk.slot(acc, n))
        image, weight = mk.at(x, mk.times(c, tile.size)), mk.at(w, b.mul(c, mk.wide(wc)))
        taps_last(mk, tile, acc, image, pitch, step, b.select(exists, height, mk.whole(0)), width, row, col, weight, wc, wh, ww, None)
        added = [mk.word_if(some, lambda c=c, n=n: mk.at(bias, b.mul(b.add(c, ir.Constant(I64, n)), by)), 1)[0] for n in range(vec)]
        _kept(mk, m, held, slot, acc, added, exists, lo, hi)
        slot += vec


# --- a standard convolution ----------------------------------------------------------------------------------------


def _decoded(mk: Maker, count: Count, k: ir.Value, channels: ir.Value, magic: ir.Value, shift: ir.Value) -> tuple[ir.Value, ...]:
    """(channel, depth tap, row tap, column tap) of k."""
    b, (kd, kh, kw) = mk.b, count.kernel
    if count.inner:
        tap = b.trunc(b.lshr(b.mul(mk.wide(k), magic), shift), I32)
        c = b.sub(k, b.mul(tap, channels))
    else:
        c = b.udiv(k, mk.whole(count.taps))
        tap = b.sub(k, mk.times(c, count.taps))
    # That one tap is the first one is not known to the compiler.
    d = b.udiv(tap, mk.whole(kh * kw)) if kd > 1 else mk.whole(0)
    rest = b.sub(tap, mk.times(d, kh * kw))
    i = b.udiv(rest, mk.whole(kw)) if kh > 1 else mk.whole(0)
    return c, d, i, b.sub(rest, mk.times(i, kw)) if kw > 1 else mk.whole(0)


def _words(mk: Maker, m: Matrix, side: str, thread: ir.Value, most: ir.Value, left: ir.Value) -> Iterator[tuple[int, int, Any, Any, Any]]:
    """(slot, elements, row or column, k, whether there is one) of a thread's words of a slab; k from the slab's first one."""
    b, slot = mk.b, m.start(side)
    for spot in spots(mk, m, side, thread):
        inside = b.and_(b.icmp_signed("<", spot.r, most), b.icmp_signed("<", spot.k, left))
        yield slot, spot.word.vec, spot.r, spot.k, b.and_(spot.exists, inside)
        slot += spot.word.vec


@tiled
def windows(mk: Maker, m: Matrix, counted: Count, thread: Number, held: Array, x: Word, xc: Word, xd: Word, xh: Number, xw: Number, deep: Number,
            height: Number, width: Number, z: Number, top: Number, left: Number, sh: Number, sw: Number, dd: Number, dh: Number, dw: Number,
            first: Number, pixels: Number, out_width: Number, magic: Word, shift: Word, channels: Number, c_magic: Word, c_shift: Word, k0: Number,
            depth: Number) -> None:  # fmt: skip
    """A thread's words of the slab of windows: of the block's pixel r, from `first` on, what tap and channel k read of x; zero outside.

    x has deep x height x width positions, xc, xd, xh, xw bytes apart; the output at the origin reads its first tap at (z, top, left), with steps
    sh, sw from output to output and dd, dh, dw from tap to tap. `channels` is how many a group has; c_magic and c_shift divide by it.
    """
    b = mk.b
    for slot, vec, r, k, exists in _words(mk, m, m.made_side, thread, pixels, b.sub(depth, k0)):
        row, col = _row(mk, b.add(first, r), out_width, magic, shift)
        c, d, i, j = _decoded(mk, counted, b.add(k, k0), channels, c_magic, c_shift)
        at_d = b.add(z, b.mul(d, dd))
        at_h, at_w = b.add(b.add(b.mul(row, sh), top), b.mul(i, dh)), b.add(b.add(b.mul(col, sw), left), b.mul(j, dw))
        exists = b.and_(exists, b.and_(mk.below(at_d, deep), b.and_(mk.below(at_h, height), mk.below(at_w, width))))
        inside = mk.wide(b.add(b.mul(at_h, xh), b.mul(at_w, xw)))
        at = mk.at(x, b.mul(mk.wide(c), xc), b.mul(mk.wide(at_d), xd), inside)
        keep(mk, m, m.made_side, held, slot, mk.loaded_if(exists, lambda at=at: at, vec), vec)


@tiled
def taps(mk: Maker, m: Matrix, counted: Count, thread: Number, held: Array, w: Word, wo: Word, wi: Word, wd: Word, wh: Word, ww: Word,
         outputs: Number, channels: Number, c_magic: Word, c_shift: Word, k0: Number, depth: Number) -> None:  # fmt: skip
    """A thread's words of the slab of weights, which lie in any strides: of the block's output channel r, tap and channel k."""
    b, side = mk.b, "B" if m.made_side == "A" else "A"
    for slot, vec, r, k, exists in _words(mk, m, side, thread, outputs, b.sub(depth, k0)):
        each = zip(_decoded(mk, counted, b.add(k, k0), channels, c_magic, c_shift), (wi, wd, wh, ww))
        at = mk.at(w, b.mul(mk.wide(r), wo), *(b.mul(mk.wide(n), by) for n, by in each))
        if counted.near:
            keep(mk, m, side, held, slot, mk.loaded_if(exists, lambda at=at: at, vec), vec)
            continue
        places = [mk.at(at, mk.times(wi, n)) for n in range(vec)]
        keep_each(mk, m, side, held, slot, [mk.loaded_if(exists, lambda at=at: at, 1) for at in places])
