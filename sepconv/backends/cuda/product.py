"""The matrix product behind a pointwise convolution, generated: Y[r, c] = sum over k of A[r, k] * B[c, k], c next to each other in memory.

Channels first, r are output channels (A the weight) and c pixels (B is x); channels last it is the other way round. A block stages slabs of A and
B in shared memory, k by k, while a thread keeps `tall` x `long` sums in registers: each value that it reads there is used 8 times. The next slab
is on its way from global memory while one is multiplied. Source of the scheme: V. Volkov, J. Demmel, "Benchmarking GPUs to Tune Dense Linear
Algebra", 2008.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..cpu.simd import FLOATS, I32, I64
from .lanes import SIMULATED, item, literal, on_device, piece, summed_in
from .stencil import Maker, Tile, registers

DEEP, WIDE = range(2)  # how a factor lies: next to each other along k, or along r (c)
NONE, B_MADE, A_MADE = range(3)
GROUP = 4  # neighbouring rows or columns of a thread: what one load from shared memory takes
PAD = 4  # elements between the k-rows of a slab, so that threads that write a column meet different banks


class Matrix(NamedTuple):
    """A block's tile: threads down x across of tall x long sums, slabs `deep` long, and how the two factors and the result are read and written."""

    dtype: str
    down: int
    across: int
    tall: int
    long: int
    deep: int
    a_form: int
    a_vec: int
    b_form: int
    b_vec: int
    out_vec: int
    activation: int
    bias_rows: int  # whether the bias belongs to rows; else to columns
    made: int = NONE  # which factor's slabs are made by `slabs.py`, and not fetched

    @property
    def text(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> Matrix:
        dtype, *rest = text.split()
        return cls(dtype, *map(int, rest))

    sums, size = property(lambda self: summed_in(self.dtype)), property(lambda self: item(self.dtype))

    @property
    def threads(self) -> int:
        return self.down * self.across

    @property
    def rows(self) -> int:
        return self.down * self.tall

    @property
    def cols(self) -> int:
        return self.across * self.long

    @property
    def outputs(self) -> int:
        return self.tall * self.long

    def words(self, side: str) -> tuple[int, int, int, int]:
        """(extent, form, vec, words a thread) of the A or the B slab."""
        extent, form, vec = (self.rows, self.a_form, self.a_vec) if side == "A" else (self.cols, self.b_form, self.b_vec)
        return extent, form, vec, -(-extent * self.deep // (vec * self.threads))

    @property
    def held(self) -> int:
        """Elements of the next slab that a thread holds."""
        return sum(vec * count for _, _, vec, count in map(self.words, "AB"))

    @property
    def cells(self) -> tuple[str, str, int, int, int, int]:
        """What every kernel made of this tile is specialised by, as `pointwise.staged` takes it."""
        return self.text, self.sums, self.outputs, self.held, self.slab, self.deep

    def packed(self, side: str) -> bool:
        """Whether a thread holds a word of the next slab as it lies in memory, two 16-bit elements in a register: widened on the way to the slab."""
        return self.size == 2 and self.made == NONE and self.words(side)[2] > 1

    @property
    def made_side(self) -> str:
        return " BA"[self.made]

    def start(self, side: str) -> int:
        """Where a factor's words begin among those that a thread holds."""
        _, _, vec, count = self.words("A")
        return 0 if side == "A" else vec * count

    @property
    def slab(self) -> int:
        """Elements of shared memory of one slab."""
        return self.deep * (self.rows + self.cols + 2 * PAD)

    def base(self, side: str) -> int:
        return 0 if side == "A" else self.deep * (self.rows + PAD)

    def spots(self, side: str) -> Iterator[tuple[int, int, int, int, int]]:
        """(number of the word, words across, along r?, vec, extent) of each word that a thread stages."""
        extent, form, vec, count = self.words(side)
        for i in range(count):
            yield i, (self.deep if form == DEEP else extent) // vec, form, vec, extent


def maker(context: Any, b: ir.IRBuilder, m: Matrix) -> Maker:
    return Maker(context, b, Tile(m.dtype, (1, 1), (1, 1), (1, 1), (0, 0), m.tall, m.long, 1, m.out_vec, m.activation))


def spot(mk: Maker, m: Matrix, thread: ir.Value, word: tuple[int, int, int, int, int]) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(row or column, k, whether the slab has it) of the first element of a thread's word."""
    b, (i, across, form, vec, extent) = mk.b, word
    number = b.add(thread, mk.whole(i * m.threads))
    major, minor = b.udiv(number, mk.whole(across)), mk.times(b.urem(number, mk.whole(across)), vec)  # both powers of two
    r, k = (major, minor) if form == DEEP else (minor, major)
    return r, k, b.icmp_unsigned("<", number, mk.whole(extent * m.deep // vec))


def _fetch(
    typing: Any, shape: Any, thread: Any, held: Any, a: Any, a_far: Any, rows: Any, b_: Any, b_far: Any, cols: Any, k0: Any, depth: Any
) -> Any:
    """A thread's words of the slabs from k0 on, into its registers; `far` are the bytes between neighbours that are no neighbours in memory;
    rows, cols and depth are how many there are. What is beyond is zero. Nothing of a factor that is made elsewhere."""
    if not literal(shape):
        return None
    m = Matrix.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, held, a, a_far, rows, b_, b_far, cols, k0, depth = args
        mk, left = maker(context, b, m), b.sub(depth, k0)
        for side, address, far, most in (("A", a, a_far, rows), ("B", b_, b_far, cols)):
            if side == m.made_side:
                continue
            slot = m.start(side)
            for word in m.spots(side):
                r, k, exists = spot(mk, m, thread, word)
                exists = b.and_(exists, b.and_(b.icmp_signed("<", r, most), b.icmp_signed("<", k, left)))
                (major, minor), vec = ((r, b.add(k, k0)) if word[2] == DEEP else (b.add(k, k0), r)), word[3]
                at = mk.at(address, b.mul(mk.wide(major), far), mk.wide(mk.times(minor, m.size)))
                loaded = mk.loaded_if(exists, lambda at=at: at, vec)
                parts = [b.bitcast(p, mk.m.element) for p in mk.pairs(loaded, vec)] if m.packed(side) else mk.split(loaded, vec)
                for n, part in enumerate(parts):
                    b.store(part, mk.slot(held, slot + n))
                slot += vec
        return context.get_dummy_value()

    return types.void(
        shape, types.int32, held, types.int64, types.int64, types.int32, types.int64, types.int64, types.int32, *[types.int32] * 2
    ), codegen


def _put(typing: Any, shape: Any, thread: Any, held: Any, room: Any, buffer: Any) -> Any:
    """The registers' words into the slabs of a buffer in shared memory, as rows of k."""
    if not literal(shape):
        return None
    m = Matrix.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, held, room, buffer = args
        mk, slot = maker(context, b, m), 0
        start = mk.times(buffer, m.slab)
        for side in "AB":
            for word in m.spots(side):
                r, k, exists = spot(mk, m, thread, word)
                (_, _, form, vec, extent) = word
                values = [b.load(mk.slot(held, slot + n)) for n in range(vec // 2 if m.packed(side) else vec)]
                values = mk.halves([b.bitcast(v, I32) for v in values]) if m.packed(side) else values
                slot += vec
                at = b.add(start, b.add(b.add(mk.times(k, extent + PAD), r), mk.whole(m.base(side))))
                with b.if_then(exists):
                    if form == WIDE:
                        _write(mk, b.gep(room, [at]), values)
                    else:
                        for n, value in enumerate(values):
                            b.store(value, b.gep(room, [b.add(at, mk.whole(n * (extent + PAD)))]))
        return context.get_dummy_value()

    return types.void(shape, types.int32, held, room, types.int32), codegen


def _write(mk: Maker, at: ir.Value, values: list[ir.Value]) -> None:
    b, count = mk.b, len(values)
    if count == 1:
        b.store(values[0], at)
        return
    kind = ir.VectorType(values[0].type, count)
    whole = ir.Constant(kind, ir.Undefined)
    for n, value in enumerate(values):
        whole = b.insert_element(whole, value, mk.whole(n))
    b.store(whole, b.bitcast(at, kind.as_pointer()), align=min(16, mk.m.size * count))


def _multiply(typing: Any, shape: Any, thread: Any, acc: Any, room: Any, buffer: Any) -> Any:
    """Adds the product of a buffer's slabs to a thread's sums."""
    if not literal(shape):
        return None
    m = Matrix.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, acc, room, buffer = args
        mk = maker(context, b, m)
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
        return context.get_dummy_value()

    return types.void(shape, types.int32, acc, room, types.int32), codegen


def _conclude(
    typing: Any, shape: Any, thread: Any, acc: Any, y: Any, y_far: Any, rows: Any, cols: Any, bias: Any, by: Any, r: Any, r_far: Any, lo: Any, hi: Any
) -> Any:
    """Epilogue and stores: y and r, the residual or 0, are addresses of the block's corner, `far` bytes from row to row; `bias` likewise."""
    if not literal(shape):
        return None
    m = Matrix.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, acc, y, y_far, rows, cols, bias, by, r, r_far, lo, hi = args
        mk = maker(context, b, m)
        tx, ty = b.urem(thread, mk.whole(m.across)), b.udiv(thread, mk.whole(m.across))
        some, more = b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), b.icmp_unsigned("!=", r, ir.Constant(I64, 0))
        place = lambda own, threads, n: b.add(mk.times(own, GROUP), mk.whole(n // GROUP * threads * GROUP + n % GROUP))
        row_at = [place(ty, m.down, i) for i in range(m.tall)]
        col_at = [place(tx, m.across, j) for j in range(m.long)]
        places, most = (row_at, rows) if m.bias_rows else (col_at, cols)
        added = [mk.word_if(b.and_(some, b.icmp_signed("<", p, most)), lambda p=p: mk.at(bias, b.mul(mk.wide(p), by)), 1)[0] for p in places]
        for i, row in enumerate(row_at):
            inside = b.icmp_signed("<", row, rows)
            down, rest = mk.at(y, b.mul(mk.wide(row), y_far)), mk.at(r, b.mul(mk.wide(row), r_far))
            for j in range(0, m.long, m.out_vec):
                right = mk.wide(mk.times(col_at[j], m.size))
                values = [b.fadd(b.load(mk.slot(acc, i * m.long + j + n)), added[i if m.bias_rows else j + n]) for n in range(m.out_vec)]
                with b.if_then(b.and_(inside, b.icmp_signed("<", col_at[j], cols))):
                    beside = mk.at(rest, right)
                    seen = mk.word_if(more, lambda at=beside: at, m.out_vec, invariant=False)
                    values = mk.activated([b.fadd(v, s) for v, s in zip(values, seen)], lo, hi)
                    mk.put(mk.at(down, right), values)
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    return types.void(shape, number, acc, word, word, number, number, word, word, word, word, word, word), codegen


def _shared(typing: Any, dtype: Any, count: Any) -> Any:
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


if SIMULATED:
    from .product_twins import conclude, fetch, multiply, put, shared
else:
    fetch, put, multiply, conclude, shared = (piece(define, None) for define in (_fetch, _put, _multiply, _conclude, _shared))

__all__ = ["conclude", "fetch", "multiply", "put", "registers", "shared"]
