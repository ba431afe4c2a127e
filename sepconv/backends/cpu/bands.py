"""The tiles of the band sweep: sums down the columns of several rows, sums along a row, in float32 or in 16-bit integers.

Elements are read as they lie in the image and widened in registers. An accumulator is a float32, or an int16 that wraps: sums of whole numbers
that are cut to 16 bits or fewer in the end may wrap on the way.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .machine import machine
from .simd import BYTE, I32, I64, called, integer, past_caches, pointed, rolled, spread

FLOAT, DOUBLE, I16 = ir.FloatType(), ir.DoubleType(), ir.IntType(16)
# how a pass ends: as summed; as summed without weights; then divided by the taps; cut to whole numbers as float64 would be; from sums of `blocks`
WEIGHTED, SUM, MEAN, CUT, BLOCKS = range(5)
READS = ("uint8", "int8", "uint16", "int16", "float32")


def width(name: str) -> int:
    """Bytes of an element."""
    return {"float32": 4, "float64": 8, "bool": 1}.get(name) or int(name.lstrip("uint")) // 8


def element(name: str) -> ir.Type:
    """Its type in LLVM."""
    return {"float32": FLOAT, "float64": DOUBLE}.get(name) or ir.IntType(8 * width(name))


class Lanes:
    """Vectors of `count` accumulators of the type `sums`, a float or int16, and how elements of other dtypes become such and back."""

    def __init__(self, b: ir.IRBuilder, sums: str, count: int) -> None:
        self.b, self.count, self.sums, self.floating = b, count, sums, sums != "int16"
        self.element = element(sums)
        self.type, self.size = ir.VectorType(self.element, count), width(sums)
        self.zero = ir.Constant(self.type, None)

    def _at(self, address: ir.Value, offset: ir.Value | int, kind: ir.Type) -> ir.Value:
        pointer = pointed(self.b, address, BYTE)
        pointer = self.b.gep(pointer, [integer(offset) if isinstance(offset, int) else offset])
        return self.b.bitcast(pointer, kind.as_pointer())

    def load(self, address: ir.Value, offset: ir.Value | int = 0, name: str = "") -> ir.Value:
        """A vector of elements of the dtype `name`, of accumulators if there is none, as accumulators."""
        kind = ir.VectorType(element(name or self.sums), self.count)
        value = self.b.load(self._at(address, offset, kind), align=width(name or self.sums))
        if kind == self.type:
            return value
        if name == "float32":
            return self.b.fpext(value, self.type)
        signed = not name.startswith("u")
        if self.floating:
            return (self.b.sitofp if signed else self.b.uitofp)(value, self.type)
        return (self.b.sext if signed else self.b.zext)(value, self.type)

    def narrowed(self, value: ir.Value, name: str) -> ir.Value:
        """As elements of the dtype `name`: integers are cut toward zero and wrap."""
        kind = ir.VectorType(element(name), self.count)
        if kind == value.type:
            return value
        if value.type == self.type and self.floating:
            value = self.b.fptosi(value, ir.VectorType(I32, self.count))
        return self.b.trunc(value, kind)

    def store(self, value: ir.Value, address: ir.Value, offset: ir.Value | int = 0, name: str = "") -> None:
        """As elements of the dtype `name`, which they are by now; as accumulators if there is none."""
        self.b.store(value, self._at(address, offset, value.type), align=width(name or self.sums))

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
            number = self.b.load(self._at(divisor, 0, DOUBLE), align=8)
            if self.element == DOUBLE or machine().isa == "SSE2":
                return self.b.fdiv(value, self.spread(number if self.element == DOUBLE else self.b.fptrunc(number, FLOAT)))
            return self._quotient(value, self.b.fptrunc(number, FLOAT))
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
    return b.load(b.gep(pointed(b, table, I64), [index]), align=8)


@intrinsic(prefer_literal=True)
def summed(typing: Any, sums: Any, lanes: Any, vectors: Any, rows: Any, read: Any, write: Any, end: Any, table: Any, at: Any, weights: Any,
           taps: Any, divisor: Any, to: Any, pitch: Any, past: Any) -> Any:  # fmt: skip
    """to[r, v] = sum over i < taps of weights[i] * x[r + i, v], for `rows` rows of lanes * vectors outputs; taps >= rows.

    `table` has the addresses of rows + taps - 1 rows of x, each plus `at`: lines of an image, of which sums down the columns are taken, or places
    along one line. x is of the dtype `read`, weights of the type `sums`, `to` of the dtype `write`, its rows `pitch` bytes apart. Each vector of x is
    read once and goes into all rows that it belongs to: the first and the last ones, which do not belong to all, are written out, so that no
    product is taken that is not in the sum. With `end` SUM or MEAN there are no weights. If `past` is not 0, `to` is a multiple of 64, and results
    go past the caches.
    """
    literals = (sums, lanes, vectors, rows, read, write, end)
    kind, count, many, high, source, name, ending = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        table, at, weights, taps, divisor, to, pitch, past = args[len(literals) :]
        acc = [[cgutils.alloca_once_value(b, m.zero) for _ in range(many)] for _ in range(high)]
        span = count * width(source)

        def row(index: ir.Value, which: range) -> None:
            place = b.add(offset(b, table, index), at)
            values = [m.load(place, u * span, source) for u in range(many)]
            for r in which:
                weight = None
                if ending not in (SUM, MEAN):
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
            values = [b.load(slot) for slot in acc[r]]
            values = [m.mean(each, divisor) for each in values] if ending == MEAN else values
            m.store_all(values, b.add(to, b.mul(pitch, integer(r))), name, past)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 8), codegen


@intrinsic(prefer_literal=True)
def moved(typing: Any, lanes: Any, read: Any, write: Any, x: Any, to: Any, past: Any) -> Any:
    """`lanes` elements of the dtype `read`, as float32, to elements of the dtype `write`; past: as of `summed`."""
    literals = (lanes, read, write)
    count, source, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, "float32", count)
        x, to, past = args[len(literals) :]
        m.store_all([m.load(x, 0, source)], to, name, past)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 3), codegen
