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
from numba import types
from numba.core import cgutils

from ..cpu.simd import I32, I64
from . import tensor
from .lanes import literal, narrow, piece
from .matrix import Matrix, keep, keep_each, maker, spots
from .stencil import Maker, Tile, taps_first
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


def _filtered(typing: Any, shape: Any, stencil: Any, multiplier: Any, thread: Any, held: Any, x: Any, x_c: Any, pitch: Any, height: Any, width: Any,
              first: Any, cols: Any, out_width: Any, magic: Any, shift: Any, w: Any, wo: Any, wh: Any, ww: Any, bias: Any, by: Any, lo: Any, hi: Any,
              k0: Any, depth: Any) -> Any:  # fmt: skip
    """A thread's words of B's slab, where B is a depthwise convolution: neighbouring pixels of channel k, computed here and kept nowhere else.

    `stencil` is the text of a tile of one word; the block's first pixel is `first`, `cols` pixels are left, `out_width` a row, of which magic and
    shift make a multiplication. Channels beyond `depth` are those of the last one, times zeros in A.
    """
    if not literal(shape, stencil, multiplier):
        return None
    m, tile = Matrix.read(shape.literal_value), Tile.read(stencil.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        (thread, held, x, x_c, pitch, height, width, first, cols, out_width, magic, shift, w, wo, wh, ww, bias, by, lo, hi, k0, depth) = args[3:]
        mk, slot = Maker(context, b, tile), m.start("B")
        acc, some = _cleared(mk, tile.cols), b.icmp_unsigned("!=", bias, ir.Constant(I64, 0))
        for spot in spots(mk, m, "B", thread):
            row, col = _row(mk, b.add(first, spot.r), out_width, magic, shift)
            c = b.add(spot.k, k0)
            exists = b.and_(b.icmp_signed("<", spot.r, cols), b.icmp_signed("<", c, depth))
            c = mk.wide(b.select(b.icmp_signed("<", c, depth), c, b.sub(depth, mk.whole(1))))
            plane = mk.at(x, b.mul(b.udiv(c, ir.Constant(I64, multiplier.literal_value)), x_c))
            for n in range(tile.cols):
                b.store(mk.m.zero, mk.slot(acc, n))
            taps_first(mk, acc, plane, pitch, b.select(exists, height, mk.whole(0)), width, row, col, mk.at(w, b.mul(c, wo)), wh, ww)
            (added,) = mk.word_if(some, lambda c=c: mk.at(bias, b.mul(c, by)), 1)
            _kept(mk, m, held, slot, acc, [added] * tile.cols, exists, lo, hi)
            slot += tile.cols
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    kinds = (number, held, word, word, *[number] * 6, word, word, word, word, number, number, word, word, word, word, number, number)
    return types.void(shape, stencil, multiplier, *kinds), codegen


def _filtered_last(typing: Any, shape: Any, stencil: Any, thread: Any, held: Any, x: Any, pitch: Any, step: Any, height: Any, width: Any, first: Any,
                   rows: Any, out_width: Any, magic: Any, shift: Any, w: Any, wc: Any, wh: Any, ww: Any, bias: Any, by: Any, lo: Any, hi: Any,
                   k0: Any, depth: Any) -> Any:  # fmt: skip
    """The same of A's slab, channels last: neighbouring channels from k on, of one pixel. `depth` is a multiple of a word."""
    if not literal(shape, stencil):
        return None
    m, tile = Matrix.read(shape.literal_value), Tile.read(stencil.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        (thread, held, x, pitch, step, height, width, first, rows, out_width, magic, shift, w, wc, wh, ww, bias, by, lo, hi, k0, depth) = args[2:]
        mk, vec, slot = Maker(context, b, tile), tile.vec, m.start("A")
        acc, some = _cleared(mk, vec), b.icmp_unsigned("!=", bias, ir.Constant(I64, 0))
        for spot in spots(mk, m, "A", thread):
            row, col = _row(mk, b.add(first, spot.r), out_width, magic, shift)
            c = b.add(spot.k, k0)
            exists = b.and_(spot.exists, b.and_(b.icmp_signed("<", spot.r, rows), b.icmp_signed("<", c, depth)))
            c = mk.wide(b.select(b.icmp_signed("<", c, depth), c, b.sub(depth, mk.whole(vec))))
            for n in range(vec):
                b.store(mk.m.zero, mk.slot(acc, n))
            image, weight = mk.at(x, mk.times(c, tile.size)), mk.at(w, b.mul(c, mk.wide(wc)))
            taps_last(mk, acc, image, pitch, step, b.select(exists, height, mk.whole(0)), width, row, col, weight, wc, wh, ww)
            added = [mk.word_if(some, lambda c=c, n=n: mk.at(bias, b.mul(b.add(c, ir.Constant(I64, n)), by)), 1)[0] for n in range(vec)]
            _kept(mk, m, held, slot, acc, added, exists, lo, hi)
            slot += vec
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    kinds = (number, held, word, *[number] * 7, word, word, word, number, number, number, word, word, word, word, number, number)
    return types.void(shape, stencil, *kinds), codegen


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


def _windows(typing: Any, shape: Any, count: Any, thread: Any, held: Any, x: Any, xc: Any, xd: Any, xh: Any, xw: Any, deep: Any, height: Any,
             width: Any, z: Any, top: Any, left: Any, sh: Any, sw: Any, dd: Any, dh: Any, dw: Any, first: Any, pixels: Any, out_width: Any,
             magic: Any, shift: Any, channels: Any, c_magic: Any, c_shift: Any, k0: Any, depth: Any) -> Any:  # fmt: skip
    """A thread's words of the slab of windows: of the block's pixel r, from `first` on, what tap and channel k read of x; zero outside.

    x has deep x height x width positions, xc, xd, xh, xw bytes apart; the output at the origin reads its first tap at (z, top, left), with steps
    sh, sw from output to output and dd, dh, dw from tap to tap. `channels` is how many a group has; c_magic and c_shift divide by it.
    """
    if not literal(shape, count):
        return None
    m, counted = Matrix.read(shape.literal_value), Count.read(count.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        (thread, held, x, xc, xd, xh, xw, deep, height, width, z, top, left, sh, sw, dd, dh, dw, first, pixels, out_width, magic, shift, channels,
         c_magic, c_shift, k0, depth) = args[2:]  # fmt: skip
        mk = maker(context, b, m)
        for slot, vec, r, k, exists in _words(mk, m, m.made_side, thread, pixels, b.sub(depth, k0)):
            row, col = _row(mk, b.add(first, r), out_width, magic, shift)
            c, d, i, j = _decoded(mk, counted, b.add(k, k0), channels, c_magic, c_shift)
            at_d = b.add(z, b.mul(d, dd))
            at_h, at_w = b.add(b.add(b.mul(row, sh), top), b.mul(i, dh)), b.add(b.add(b.mul(col, sw), left), b.mul(j, dw))
            exists = b.and_(exists, b.and_(mk.below(at_d, deep), b.and_(mk.below(at_h, height), mk.below(at_w, width))))
            inside = mk.wide(b.add(b.mul(at_h, xh), b.mul(at_w, xw)))
            at = mk.at(x, b.mul(mk.wide(c), xc), b.mul(mk.wide(at_d), xd), inside)
            keep(mk, m, m.made_side, held, slot, mk.loaded_if(exists, lambda at=at: at, vec), vec)
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    kinds = (number, held, word, word, word, number, number, *[number] * 14, word, word, number, word, word, number, number)
    return types.void(shape, count, *kinds), codegen


def _taps(typing: Any, shape: Any, count: Any, thread: Any, held: Any, w: Any, wo: Any, wi: Any, wd: Any, wh: Any, ww: Any, outputs: Any,
          channels: Any, c_magic: Any, c_shift: Any, k0: Any, depth: Any) -> Any:  # fmt: skip
    """A thread's words of the slab of weights, which lie in any strides: of the block's output channel r, tap and channel k."""
    if not literal(shape, count):
        return None
    m, counted = Matrix.read(shape.literal_value), Count.read(count.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        thread, held, w, wo, wi, wd, wh, ww, outputs, channels, c_magic, c_shift, k0, depth = args[2:]
        mk, side = maker(context, b, m), "B" if m.made_side == "A" else "A"
        for slot, vec, r, k, exists in _words(mk, m, side, thread, outputs, b.sub(depth, k0)):
            each = zip(_decoded(mk, counted, b.add(k, k0), channels, c_magic, c_shift), (wi, wd, wh, ww))
            at = mk.at(w, b.mul(mk.wide(r), wo), *(b.mul(mk.wide(n), by) for n, by in each))
            if counted.near:
                keep(mk, m, side, held, slot, mk.loaded_if(exists, lambda at=at: at, vec), vec)
                continue
            places = [mk.at(at, mk.times(wi, n)) for n in range(vec)]
            keep_each(mk, m, side, held, slot, [mk.loaded_if(exists, lambda at=at: at, 1) for at in places])
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    return types.void(shape, count, number, held, *[word] * 6, number, number, word, word, number, number), codegen


filtered, filtered_last, windows, taps = map(piece, (_filtered, _filtered_last, _windows, _taps))
