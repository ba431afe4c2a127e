"""What the tiles of bytes are made of: vectors of 64 bytes, 32 int16 and 16 int32, and the instructions of AVX-512 on them."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from .simd import I16, I32, called

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
