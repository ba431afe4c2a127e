"""The matrix product behind a pointwise convolution, generated: Y[r, c] = sum over k of A[r, k] * B[c, k], c next to each other in memory.

Channels first, r are output channels (A the weight) and c pixels (B is x); channels last it is the other way round. A block stages slabs of A and
B in shared memory, k by k, while a thread keeps `tall` x `long` sums in registers: each value that it reads there is used 8 times. The next slab
is on its way from global memory while one is multiplied. Source of the scheme: V. Volkov, J. Demmel, "Benchmarking GPUs to Tune Dense Linear
Algebra", 2008.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..cpu.simd import FLOATS, I32, I64
from . import tensor
from .lanes import literal, on_device, piece
from .matrix import DEEP, GROUP, PAD, WIDE, Matrix, Places, keep, spots
from .stencil import Array, Maker, Number, Word, registers, tiled


@tiled
def fetch(mk: Maker, m: Matrix, thread: Number, held: Array, a: Word, a_far: Word, rows: Number, b_: Word, b_far: Word, cols: Number, k0: Number,
          depth: Number) -> None:  # fmt: skip
    """A thread's words of the slabs from k0 on, into its registers; `far` are the bytes between neighbours that are no neighbours in memory;
    rows, cols and depth are how many there are. What is beyond is zero. Nothing of a factor that is made elsewhere."""
    b, left = mk.b, mk.b.sub(depth, k0)
    for side, address, far, most in (("A", a, a_far, rows), ("B", b_, b_far, cols)):
        if side == m.made_side:
            continue
        slot, on, at = m.start(side), 0, address
        for spot in spots(mk, m, side, thread):
            form, vec = spot.word.form, spot.word.vec
            exists = b.and_(spot.exists, b.and_(b.icmp_signed("<", spot.r, most), b.icmp_signed("<", spot.k, left)))
            if spot.below:  # as a sum of its own, each would be several instructions
                at = mk.fixed(mk.at(at, mk.times(far, spot.below - on)))
            else:
                major, minor = (spot.r, b.add(spot.k, k0)) if form == DEEP else (b.add(spot.k, k0), spot.r)
                at = mk.at(address, b.mul(mk.wide(major), far), mk.wide(mk.times(minor, m.size)))
            on = spot.below
            keep(mk, m, side, held, slot, mk.loaded_if(exists, lambda at=at: at, vec), vec)
            slot += vec


@tiled
def put(mk: Maker, m: Matrix, thread: Number, held: Array, room: Array, buffer: Number) -> None:
    """The registers' words into the slabs of a buffer in shared memory, as rows of k."""
    if m.tensor:
        return tensor.put(mk, m, thread, held, room, buffer)
    b, slot = mk.b, 0
    start = mk.times(buffer, m.slab)
    for side in "AB":
        pitch = m.pitch(side)
        for spot in spots(mk, m, side, thread):
            form, vec = spot.word.form, spot.word.vec
            values = [b.load(mk.slot(held, slot + n)) for n in range(vec // 2 if m.packed(side) else vec)]
            values = mk.halves([b.bitcast(v, I32) for v in values]) if m.packed(side) else values
            slot += vec
            at = b.add(start, b.add(b.add(mk.times(spot.k, pitch), spot.r), mk.whole(m.base(side))))
            with b.if_then(spot.exists):
                if form == WIDE:
                    _write(mk, b.gep(room, [at]), values)
                else:
                    for n, value in enumerate(values):
                        b.store(value, b.gep(room, [b.add(at, mk.whole(n * pitch))]))


def _write(mk: Maker, at: ir.Value, values: list[ir.Value]) -> None:
    """Neighbours in shared memory, by one store."""
    joined = mk.joined(values)
    mk.b.store(joined, mk.b.bitcast(at, joined.type.as_pointer()), align=min(16, mk.m.size * len(values)))


@tiled
def multiply(mk: Maker, m: Matrix, thread: Number, acc: Array, room: Array, buffer: Number) -> None:
    """Adds the product of a buffer's slabs to a thread's sums."""
    if m.tensor:
        return tensor.multiply(mk, m, thread, acc, room, buffer)
    b = mk.b
    tx, ty = b.urem(thread, mk.whole(m.across)), b.udiv(thread, mk.whole(m.across))
    start, kind = mk.times(buffer, m.slab), ir.VectorType(mk.m.element, GROUP)

    def line(side: str, k: int, own: ir.Value, threads: int, count: int) -> list[ir.Value]:
        """`count` values of row k: groups of neighbours, the threads' next to each other, so that a warp reads whole rows of banks."""
        first = b.gep(room, [b.add(start, mk.times(own, GROUP))])
        extent, found = threads * count, []
        for g in range(count // GROUP):
            at = b.gep(first, [mk.whole(m.base(side) + k * (extent + PAD) + g * threads * GROUP)])
            word = b.load(b.bitcast(at, kind.as_pointer()), align=min(16, mk.m.size * GROUP))
            found += [b.extract_element(word, mk.whole(n)) for n in range(GROUP)]
        return found

    for k in range(m.deep):
        tall, wide = line("A", k, ty, m.down, m.tall), line("B", k, tx, m.across, m.long)
        for i, left in enumerate(tall):
            for j, right in enumerate(wide):
                mk.add(acc, i * m.long + j, left, right)


def _places(mk: Maker, m: Matrix, thread: ir.Value) -> Places:
    """The results of a thread, whose groups of neighbours lie next to those of others."""
    b, own = mk.b, (mk.b.udiv(thread, mk.whole(m.across)), mk.b.urem(thread, mk.whole(m.across)))
    at = lambda own, threads, n: b.add(mk.times(own, GROUP), mk.whole(n // GROUP * threads * GROUP + n % GROUP))
    rows = [(at(own[0], m.down, i), i * m.long) for i in range(m.tall)]
    return rows, [(at(own[1], m.across, j), [j + n for n in range(m.out_vec)]) for j in range(0, m.long, m.out_vec)]


@tiled
def conclude(mk: Maker, m: Matrix, thread: Number, acc: Array, y: Word, y_far: Word, rows: Number, cols: Number, bias: Word, by: Word, r: Word,
             r_far: Word, lo: Word, hi: Word) -> None:  # fmt: skip
    """Epilogue and stores: y and r, the residual or 0, are addresses of the block's corner, `far` bytes from row to row; `bias` likewise."""
    b = mk.b
    some, more = (b.icmp_unsigned("!=", v, ir.Constant(I64, 0)) for v in (bias, r))
    lines, words = (tensor.places if m.tensor else _places)(mk, m, thread)
    one = lambda at, most: mk.word_if(b.and_(some, b.icmp_signed("<", at, most)), lambda: mk.at(bias, b.mul(mk.wide(at), by)), 1)[0]
    of_cols = [] if m.bias_rows else [[one(b.add(col, mk.whole(n)), cols) for n in range(m.out_vec)] for col, _ in words]
    for row, first in lines:
        inside, of_row = b.icmp_signed("<", row, rows), [one(row, rows)] * m.out_vec if m.bias_rows else []
        line, rest = mk.at(y, b.mul(mk.wide(row), y_far)), mk.at(r, b.mul(mk.wide(row), r_far))
        for number, (col, slots) in enumerate(words):
            added = of_row or of_cols[number]
            values = [b.fadd(b.load(mk.slot(acc, first + slot)), bias_of) for slot, bias_of in zip(slots, added)]
            with b.if_then(b.and_(inside, b.icmp_signed("<", col, cols))):
                right = mk.wide(mk.times(col, m.size))
                beside = mk.at(rest, right)
                seen = mk.word_if(more, lambda at=beside: at, m.out_vec, invariant=False)
                values = mk.activated([b.fadd(v, s) for v, s in zip(values, seen)], lo, hi)
                tensor.store(mk, mk.at(line, right), values) if m.tensor else mk.put(mk.at(line, right), values)


@piece
def shared(typing: Any, dtype: Any, count: Any) -> Any:
    """`count` elements of shared memory, on 16 bytes; Numba's own are aligned for one element only."""
    if not literal(dtype, count):
        return None
    kind, number = getattr(types, dtype.literal_value), count.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        room = ir.ArrayType(FLOATS[dtype.literal_value], number)
        made = cgutils.add_global_variable(b.module, room, "_sepconv_shared", 3 if on_device(context) else 0)
        made.linkage, made.align, made.initializer = "internal", 16, ir.Constant(room, ir.Undefined)
        generic = b.addrspacecast(made, room.as_pointer(), "generic") if on_device(context) else made
        return b.bitcast(generic, FLOATS[dtype.literal_value].as_pointer())

    return types.CPointer(kind)(dtype, count), codegen


__all__ = ["conclude", "fetch", "multiply", "put", "registers", "shared"]
