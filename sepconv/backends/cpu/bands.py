"""The tiles of the band sweep: sums down the columns of several rows, sums along a row, in float32 or in 16-bit integers.

Elements are read as they lie in the image and widened in registers. An accumulator is a float32, or an int16 that wraps: sums of whole numbers
that are cut to 16 bits or fewer in the end may wrap on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..filters import ANTISYMMETRIC_TAPS, GENERAL
from .machine import machine
from .simd import I32, I64, called, integer, past_caches, rolled, spread

FLOAT, DOUBLE, I16 = ir.FloatType(), ir.DoubleType(), ir.IntType(16)
# how a pass ends: as summed; divided by the taps; cut to whole numbers as float64 would be; as MEAN, from the sums of `blocks`
WEIGHTED, MEAN, CUT, BLOCKS = range(4)
READS = ("uint8", "int8", "uint16", "int16", "float32")


def width(name: str) -> int:
    """Bytes of an element."""
    return {"float32": 4, "float64": 8, "bool": 1}.get(name) or int(name.lstrip("uint")) // 8


class Lanes:
    """Vectors of `count` accumulators of the type `sums`, float32 or int16, and how elements of other dtypes become such and back."""

    def __init__(self, b: ir.IRBuilder, sums: str, count: int) -> None:
        self.b, self.count, self.floating = b, count, sums != "int16"
        self.element = {"float32": FLOAT, "float64": DOUBLE, "int16": I16}[sums]
        self.type, self.size = ir.VectorType(self.element, count), width(sums)
        self.zero = ir.Constant(self.type, None)

    def _at(self, address: ir.Value, offset: ir.Value | int, kind: ir.Type) -> ir.Value:
        pointer = self.b.inttoptr(address, ir.IntType(8).as_pointer())
        pointer = self.b.gep(pointer, [integer(offset) if isinstance(offset, int) else offset])
        return self.b.bitcast(pointer, kind.as_pointer())

    def _kind(self, name: str) -> ir.Type:
        return FLOAT if name == "float32" else ir.IntType(8 * width(name))

    def load(self, address: ir.Value, offset: ir.Value | int = 0, name: str = "") -> ir.Value:
        """A vector of elements of the dtype `name`, of accumulators if there is none, as accumulators."""
        if not name:
            return self.b.load(self._at(address, offset, self.type), align=self.size)
        kind = ir.VectorType(self._kind(name), self.count)
        value = self.b.load(self._at(address, offset, kind), align=width(name))
        if name == "float32":
            return value if self.element == FLOAT else self.b.fpext(value, self.type)
        signed = not name.startswith("u")
        if self.floating:
            return (self.b.sitofp if signed else self.b.uitofp)(value, self.type)
        return value if width(name) == 2 else (self.b.sext if signed else self.b.zext)(value, self.type)

    def narrowed(self, value: ir.Value, name: str = "") -> ir.Value:
        """As elements of the dtype `name`, of accumulators if there is none: integers are cut toward zero and wrap."""
        if name and name != "float32":
            kind = ir.VectorType(self._kind(name), self.count)
            if self.floating:
                value = self.b.fptosi(value, ir.VectorType(I32, self.count))
            return value if value.type == kind else self.b.trunc(value, kind)
        return self.b.fptrunc(value, ir.VectorType(FLOAT, self.count)) if name and self.element == DOUBLE else value

    def store(self, value: ir.Value, address: ir.Value, offset: ir.Value | int = 0, name: str = "") -> None:
        """As they are, or as elements of the dtype `name`."""
        value = self.narrowed(value, name)
        self.b.store(value, self._at(address, offset, value.type), align=width(name) if name else self.size)

    def store_all(self, values: list[ir.Value], address: ir.Value, name: str, past: ir.Value) -> None:
        """Neighbours, past the caches where `past` says so; bytes of two vectors at once."""
        by = self.count * width(name)
        if self.element == I16 and width(name) == 1 and len(values) % 2 == 0:
            kind = ir.VectorType(ir.IntType(8), 2 * self.count)
            lower = ir.Constant(ir.VectorType(I32, 2 * self.count), list(range(0, 4 * self.count, 2)))
            pairs = [[self.b.bitcast(each, kind) for each in values[u : u + 2]] for u in range(0, len(values), 2)]
            made, by = [self.b.shuffle_vector(*pair, lower) for pair in pairs], 2 * by
        else:
            made = [self.narrowed(value, name) for value in values]
        with self.b.if_else(self.b.icmp_signed("!=", past, integer(0))) as (yes, no):
            with yes:
                for u, value in enumerate(made):
                    past_caches(self.b, value, self._at(address, u * by, value.type), by)
            with no:
                for u, value in enumerate(made):
                    self.b.store(value, self._at(address, u * by, value.type), align=width(name))

    def spread(self, scalar: ir.Value) -> ir.Value:
        return spread(self.b, scalar, self.count)

    def splat(self, address: ir.Value, offset: ir.Value | int = 0) -> ir.Value:
        return self.spread(self.b.load(self._at(address, offset, self.element), align=self.size))

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return (self.b.fadd if self.floating else self.b.add)(x, y)

    def fma(self, x: ir.Value, weight: ir.Value | None, slot: ir.Value) -> None:
        """slot += x * weight, or x if there is none."""
        acc = self.b.load(slot)
        if weight is None:
            done = self.add(x, acc)
        elif self.floating:
            done = self.call("fmuladd", [x, weight, acc])
        else:
            done = self.b.add(self.b.mul(x, weight), acc)
        self.b.store(done, slot)

    def call(self, name: str, arguments: list[ir.Value]) -> ir.Value:
        return called(self.b, f"{name}.v{self.count}f{8 * self.size}", self.type, arguments)

    def mean(self, value: ir.Value, divisor: ir.Value) -> ir.Value:
        """Of a float, by the float64 at the address; of an unsigned int16, rounded down, by a factor and a shift, two int64 there."""
        if self.floating:
            number = self.b.fptrunc(self.b.load(self._at(divisor, 0, DOUBLE), align=8), self.element)
            return self._quotient(value, number) if machine().isa != "SSE2" else self.b.fdiv(value, self.spread(number))
        factor, shift = (self.b.trunc(self.b.load(self._at(divisor, at, I64), align=8), I16) for at in (0, 8))
        high = self._upper_product(value, self.spread(factor))
        return self.b.lshr(high, self.spread(shift))

    def _upper_product(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The upper halves of products of unsigned int16: one instruction, which LLVM does not find if x comes out of a loop."""
        name = {64: "avx512.pmulhu.w.512", 32: "avx2.pmulhu.w", 16: "sse2.pmulhu.w"}.get(2 * self.count)
        if name and machine().isa != "NEON":
            return called(self.b, f"x86.{name}", self.type, [x, y])
        wide = ir.VectorType(I32, self.count)
        product = self.b.mul(self.b.zext(x, wide), self.b.zext(y, wide))
        return self.b.trunc(self.b.lshr(product, ir.Constant(wide, [16] * self.count)), self.type)

    def _quotient(self, value: ir.Value, number: ir.Value) -> ir.Value:
        """The rounded quotient by a count of taps, in a third of the time of a division: what the reciprocal leaves is added (Markstein). A sum that
        is infinite leaves NaN, and is the quotient itself."""
        b, inverse = self.b, self.spread(self.b.fdiv(ir.Constant(self.element, 1), number))
        first = b.fmul(value, inverse)
        rest = self.call("fma", [first, self.spread(b.fneg(number)), value])
        return b.select(b.fcmp_ordered("ord", rest, rest), self.call("fma", [rest, inverse, first]), first)


def offset(b: ir.IRBuilder, table: ir.Value, index: ir.Value) -> ir.Value:
    """The entry of a table of int64."""
    return b.load(b.gep(b.inttoptr(table, I64.as_pointer()), [index]), align=8)


@intrinsic(prefer_literal=True)
def columns(typing: Any, sums: Any, lanes: Any, vectors: Any, rows: Any, read: Any, end: Any, table: Any, at: Any, weights: Any, taps: Any,
            divisor: Any, to: Any, pitch: Any) -> Any:  # fmt: skip
    """to[r, v] = sum over i < taps of weights[i] * x[r + i, v], for `rows` rows of lanes * vectors columns; taps >= rows.

    `table` has the addresses of rows + taps - 1 rows of x, whose columns are taken from byte `at` on; `to` and weights are of the type `sums`,
    rows of `to` `pitch` bytes apart. Each vector of x is read once and goes into all rows that it belongs to: the first and the last ones,
    which do not belong to all, are written out, so that no product is taken that is not in the sum.
    """
    literals = (sums, lanes, vectors, rows, read, end)
    kind, count, many, high, name, ending = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        table, at, weights, taps, divisor, to, pitch = args[len(literals) :]
        acc = [[cgutils.alloca_once_value(b, m.zero) for _ in range(many)] for _ in range(high)]
        span = count * width(name)

        def row(index: ir.Value, which: range) -> None:
            place = b.add(offset(b, table, index), at)
            values = [m.load(place, u * span, name) for u in range(many)]
            for r in which:
                weight = None
                if ending != MEAN:
                    weight = m.splat(weights, b.mul(b.sub(index, integer(r)), integer(m.size)))
                for value, slot in zip(values, acc[r]):
                    m.fma(value, weight, slot)

        for i in range(high - 1):
            row(integer(i), range(i + 1))
        with rolled(b, b.sub(taps, integer(high - 1))) as loop:
            row(b.add(loop.index, integer(high - 1)), range(high))
        for i in range(high - 1):
            row(b.add(taps, integer(i)), range(i + 1, high))
        for r in range(high):
            line = b.add(to, b.mul(pitch, integer(r)))
            for u, slot in enumerate(acc[r]):
                value = b.load(slot)
                m.store(m.mean(value, divisor) if ending == MEAN and not m.floating else value, line, u * count * m.size)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 7), codegen


@intrinsic(prefer_literal=True)
def along(typing: Any, sums: Any, lanes: Any, vectors: Any, write: Any, end: Any, x: Any, places: Any, weights: Any, taps: Any, divisor: Any,
          to: Any, past: Any) -> Any:  # fmt: skip
    """to[v] = sum over j < taps of weights[j] * x[v + places[j]], for lanes * vectors outputs; places are byte offsets, an int64 each.

    x and weights are of the type `sums`, `to` of the dtype `write`. With `end` MEAN there are no weights; the sum is divided. If `past` is not 0,
    `to` is a multiple of 64, and results go past the caches.
    """
    literals = (sums, lanes, vectors, write, end)
    kind, count, many, name, ending = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        x, places, weights, taps, divisor, to, past = args[len(literals) :]
        acc = [cgutils.alloca_once_value(b, m.zero) for _ in range(many)]
        with rolled(b, taps) as loop:
            place = b.add(x, offset(b, places, loop.index))
            weight = None if ending == MEAN else m.splat(weights, b.mul(loop.index, integer(m.size)))
            for u, slot in enumerate(acc):
                m.fma(m.load(place, u * count * m.size), weight, slot)
        sums = [b.load(slot) for slot in acc]
        m.store_all([m.mean(each, divisor) for each in sums] if ending == MEAN else sums, to, name, past)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 7), codegen


@intrinsic(prefer_literal=True)
def fourfold(typing: Any, sums: Any, lanes: Any, vectors: Any, x: Any, distance: Any, to: Any) -> Any:
    """to[v] = sum over j < 4 of x[v + j * distance], a number of bytes, for lanes * vectors accumulators."""
    literals = (sums, lanes, vectors)
    kind, count, many = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        x, distance, to = args[len(literals) :]
        starts = [b.add(x, b.mul(distance, integer(j))) for j in range(4)]
        for at in range(0, many * count * m.size, count * m.size):
            one, two, three, four = (m.load(start, at) for start in starts)
            m.store(m.add(m.add(one, two), m.add(three, four)), to, at)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 3), codegen


# --- cut to whole numbers, as float64 would be -------------------------------------------------------------------


def _store_wrapped(m: Lanes, value: ir.Value, name: str, to: ir.Value) -> None:
    """Sums, float32 or float64, cut to whole numbers that wrap as uint8 does: as elements of the dtype `name`, uint8 or float32."""
    whole = m.b.fptosi(value, ir.VectorType(I32, m.count))
    whole = m.b.and_(whole, ir.Constant(whole.type, [255] * m.count))
    f = Lanes(m.b, "float32", m.count)
    f.store(m.b.sitofp(whole, f.type) if name == "float32" else m.b.trunc(whole, ir.VectorType(ir.IntType(8), m.count)), to)


@intrinsic(prefer_literal=True)
def cut(typing: Any, lanes: Any, write: Any, x: Any, near: Any, to: Any) -> Any:
    """Float32 sums at x as uint8 to `to`, itself of the dtype `write`; whether one is so `near`, the address of a float32, to a whole number
    that the exact sum may lie on its other side. Near 0 it does not matter: both sides are cut to 0."""
    literals = (lanes, write)
    count, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float32", count)
        x, near, to = args[len(literals) :]
        value = m.load(x)
        closest = m.call("rint", [value])
        away = m.call("fabs", [b.fsub(value, closest)])
        unsure = b.and_(b.fcmp_unordered("<", away, m.splat(near)), b.fcmp_unordered("!=", closest, m.zero))
        _store_wrapped(m, value, name, to)
        bits = b.bitcast(unsure, ir.IntType(count))
        return b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(*literals, *[types.int64] * 3), codegen


@intrinsic(prefer_literal=True)
def exactly(typing: Any, lanes: Any, read: Any, write: Any, table: Any, at: Any, weights: Any, taps: Any, kind: Any, to: Any) -> Any:
    """The same from sums in float64, in SciPy's order: of elements of the dtype `read` at the addresses in `table`, each plus `at`."""
    literals = (lanes, read, write)
    count, source, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float64", count)
        table, at, weights, taps, kind, to = args[len(literals) :]
        acc = cgutils.alloca_once(b, m.type)
        value = lambda j: m.load(b.add(offset(b, table, j), at), 0, source)
        weight = lambda j: m.splat(weights, b.mul(j, integer(8)))
        last, general = b.sub(taps, integer(1)), b.icmp_signed("==", kind, integer(GENERAL))
        first = b.select(general, last, b.sdiv(taps, integer(2)))
        b.store(b.fmul(value(first), weight(first)), acc)

        def rest(join: Callable[..., ir.Value] | None) -> None:
            with cgutils.for_range(b, first) as loop:
                term = value(loop.index)
                if join is not None:
                    term = join(term, value(b.sub(last, loop.index)))
                b.store(b.fadd(b.load(acc), b.fmul(term, weight(loop.index))), acc)

        with b.if_else(general) as (yes, no):
            with yes:
                rest(None)
            with no, b.if_else(b.icmp_signed("==", kind, integer(ANTISYMMETRIC_TAPS))) as (minus, plus):
                with minus:
                    rest(b.fsub)
                with plus:
                    rest(b.fadd)
        _store_wrapped(m, b.load(acc), name, to)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 6), codegen
