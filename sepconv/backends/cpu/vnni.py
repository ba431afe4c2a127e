"""What the tiles of `dots.py` and `pairs.py` are made of: vectors of 64 bytes, 32 int16 and 16 int32, and the instructions of AVX-512 on them."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from .digits import TOPS
from .simd import I16, I32, I64, called, integer, past_caches, pointed, spread

SPAN = 64  # bytes of a vector: outputs of a tile along the row
I8 = ir.IntType(8)
BYTES, WORDS, INTS = ir.VectorType(I8, 64), ir.VectorType(I16, 32), ir.VectorType(I32, 16)


def shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, places: Sequence[int]) -> ir.Value:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(places)), list(places)))


def interleaved(b: ir.IRBuilder, x: ir.Value, y: ir.Value, kind: ir.VectorType) -> list[ir.Value]:
    """The lower, and the upper, halves of the 16-byte lanes of two vectors, element by element in turns."""
    x, y, count = b.bitcast(x, kind), b.bitcast(y, kind), kind.count
    lane = count // 4
    found = []
    for first in (0, lane // 2):
        places = [at + lane * part + side * count for part in range(4) for at in range(first, first + lane // 2) for side in (0, 1)]
        found.append(shuffled(b, x, y, places))
    return found


def woven(b: ir.IRBuilder, rows: Sequence[ir.Value]) -> list[ir.Value]:
    """Four vectors of int32, each the bytes of four rows at one place; the order is that of `digits.WOVEN`."""
    first, second = (interleaved(b, rows[i], rows[i + 1], BYTES) for i in (0, 2))
    return [b.bitcast(woven, INTS) for one, two in zip(first, second) for woven in interleaved(b, one, two, WORDS)]


def chosen(b: ir.IRBuilder, low: ir.Value, high: ir.Value, places: ir.Value) -> ir.Value:
    """For each place, modulo 128, the byte of two vectors."""
    return called(b, "x86.avx512.vpermi2var.qi.512", BYTES, [low, places, high])


def packed(b: ir.IRBuilder, name: str, narrow: ir.VectorType, pair: Sequence[ir.Value]) -> ir.Value:
    """Two vectors in one of half as wide integers, clipped; 16-byte lane by lane, the reverse of `interleaved`."""
    return called(b, f"x86.avx512.{name}.512", narrow, pair)


def ints(n: int) -> ir.Constant:
    return ir.Constant(INTS, [n] * 16)


def dot(b: ir.IRBuilder, acc: ir.Value, x: ir.Value, weights: ir.Value) -> ir.Value:
    """acc + the sums of four products of bytes, x without and weights with a sign."""
    return called(b, "x86.avx512.vpdpbusd.512", INTS, [acc, x, weights])


class Tile:
    """SPAN outputs of each of `rows` rows, of the arguments of `dots.dots`: `run` stores them and has the bits of those that are in doubt."""

    halves = 0, 1, 0, 1, 0, 1, 0, 1  # of two vectors of upper bytes, for each eighth of the result: see `digits.block`

    def __init__(self, b: ir.IRBuilder, rows: int, table: ir.Value, at: ir.Value, block: ir.Value, chunks: ir.Value, taps: ir.Value,
                 levels: ir.Value, to: ir.Value, pitch: ir.Value, past: ir.Value) -> None:  # fmt: skip
        self.b, self.rows, self.table, self.at, self.block, self.chunks = b, rows, table, at, block, chunks
        self.taps, self.levels, self.to, self.pitch, self.past = taps, levels, to, pitch, past

    def pointer(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        return pointed(self.b, address, kind)

    def bytes(self, address: ir.Value, kind: ir.VectorType = BYTES) -> ir.Value:
        return self.b.load(self.pointer(address, kind), align=1)

    def row(self, index: ir.Value) -> ir.Value:
        """The address of a tap for the tile's first output."""
        return self.b.add(self.b.load(self.b.gep(self.pointer(self.table, I64), [index]), align=8), self.at)

    def everywhere(self, scalar: ir.Value, kind: ir.VectorType = INTS) -> ir.Value:
        return self.b.bitcast(spread(self.b, scalar, INTS.count), kind)

    def number(self, place: int, kind: ir.VectorType = INTS) -> ir.Value:
        """A number of the half's block, in all lanes."""
        return self.everywhere(self.b.load(self.b.gep(self.pointer(self.block, I32), [integer(place)]), align=4), kind)

    def upper(self, sums: Sequence[ir.Value]) -> ir.Value:
        """The upper bytes of four vectors of int32, in the order of memory. Places that LLVM knew it would make more instructions of."""
        b, wide = self.b, ir.VectorType(I64, 8)
        places = self.bytes(b.add(self.block, integer(4 * TOPS)))
        made = [chosen(b, *(b.bitcast(each, BYTES) for each in two), places) for two in (sums[:2], sums[2:])]
        return b.bitcast(shuffled(b, *(b.bitcast(each, wide) for each in made), [at + 8 * of for at, of in enumerate(self.halves)]), BYTES)

    def table_of(self, middle: ir.Value) -> ir.Value:
        """What float64 makes of even windows, by their middle pixels."""
        b = self.b
        parts = [self.bytes(b.add(self.levels, integer(64 * i))) for i in range(4)]
        low, high = (chosen(b, parts[i], parts[i + 1], middle) for i in (0, 2))
        return b.select(b.icmp_signed("<", middle, ir.Constant(BYTES, None)), high, low)

    def put(self, value: ir.Value, r: int) -> None:
        pointer = self.pointer(self.b.add(self.to, self.b.mul(self.pitch, integer(r))), BYTES)
        with self.b.if_else(self.b.icmp_signed("!=", self.past, integer(0))) as (yes, no):
            with yes:
                past_caches(self.b, value, pointer, SPAN)
            with no:
                self.b.store(value, pointer, align=1)
