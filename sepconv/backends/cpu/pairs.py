"""The tile of bytes for two pairs of taps and a middle one, whose weights make a mean: sums of products of words, half as many as of `dots`.

The result is the middle pixel, and what each pair's sum differs from twice of it by the pair's weight. These differences are words, and the
weights two digits of 16 bits: the sums, modulo 2**32, are those of `dots` less the middle pixel, bit for bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from .digits import CONTRAST, EVEN, FAR, UNEVEN, WEIGHTS
from .simd import I32, called, integer
from .vnni import BYTES, INTS, WORDS, interleaved, ints, shuffled

TAPS = 5
Halves = list[ir.Value]


def _each(operation: Any, *vectors: Halves) -> Halves:
    return [operation(*each) for each in zip(*vectors)]


class Pairs:
    """Two vectors of words for the 64 bytes that each tap of a tile meets; the sums of its rows."""

    def __init__(self, tile: Any) -> None:
        self.tile, self.b = tile, tile.b
        half = ir.VectorType(ir.IntType(8), 32)
        self.rows = []
        for i in range(TAPS + tile.rows - 1):
            address = tile._row(integer(i))
            loads = [self.b.load(tile._pointer(self.b.add(address, integer(at)), half), align=1) for at in (0, 32)]
            self.rows.append([self.b.zext(each, WORDS) for each in loads])

    def differences(self, r: int) -> tuple[Halves, Halves]:
        """Of the outer and of the inner pair, from twice the middle pixel."""
        b = self.b
        twice = _each(b.add, self.rows[r + 2], self.rows[r + 2])
        pairs = [_each(b.add, self.rows[r + i], self.rows[r + TAPS - 1 - i]) for i in (0, 1)]
        outer, inner = (_each(b.sub, pair, twice) for pair in pairs)
        return outer, inner

    def sums(self, outer: Halves, inner: Halves) -> Halves:
        """Four vectors, in the order of `digits.PAIRWISE`."""
        b, tile = self.b, self.tile
        high, low = tile._number(WEIGHTS), tile._number(WEIGHTS + 1)
        made = []
        for pair in zip(outer, inner):
            for mixed in interleaved(b, *pair, WORDS):
                upper = called(b, "x86.avx512.pmaddw.d.512", INTS, [mixed, b.bitcast(high, WORDS)])
                made.append(called(b, "x86.avx512.vpdpwssd.512", INTS, [b.shl(upper, ints(16)), b.bitcast(mixed, INTS), low]))
        return made

    def even(self, outer: Halves, inner: Halves) -> ir.Value:
        """Where both pixels of each pair are as far from the middle one: 64 flags."""
        b = self.b
        none = _each(lambda x, y: b.icmp_signed("==", b.or_(x, y), ir.Constant(WORDS, None)), outer, inner)
        return shuffled(b, *none, range(64))

    def doubtful(self, outer: Halves, inner: Halves) -> ir.Value:
        """Whether a pair's sum differs by as much as the block says, so that the sum is to be looked at."""
        b, tile, slot = self.b, self.tile, cgutils.alloca_once(self.b, ir.IntType(1))
        far = b.load(b.gep(tile._pointer(tile.block, I32), [integer(FAR)]), align=4)
        least = tile._number(CONTRAST, WORDS)
        with b.if_else(b.icmp_signed("==", far, ir.Constant(I32, 1))) as (yes, no):
            for place, pair in ((yes, inner), (no, outer)):
                with place:
                    away = [called(b, "abs.v32i16", WORDS, [each, ir.Constant(ir.IntType(1), 0)]) for each in pair]
                    most = called(b, "umax.v32i16", WORDS, away)
                    found = b.bitcast(b.icmp_unsigned(">=", most, least), I32)
                    b.store(b.icmp_unsigned("!=", found, ir.Constant(I32, 0)), slot)
        return b.load(slot)


def run(tile: Any) -> list[ir.Value]:
    """As `run` of the tile, of which no sum may be in doubt but near whole numbers."""
    b, pairs, left = tile.b, Pairs(tile), []
    uneven = b.icmp_signed("!=", b.load(b.gep(tile._pointer(tile.block, I32), [integer(UNEVEN)]), align=4), ir.Constant(I32, 0))
    for r in range(tile.rows):
        middle = tile._bytes(tile._row(integer(r + TAPS // 2)))
        both = pairs.differences(r)
        sums = pairs.sums(*both)
        result = b.add(tile._upper(sums), middle)
        slot, rest = cgutils.alloca_once_value(b, result), cgutils.alloca_once_value(b, integer(0))
        with b.if_then(uneven):
            b.store(b.select(pairs.even(*both), tile._levels(middle), result), slot)
        if tile.kind == EVEN:
            with b.if_then(pairs.doubtful(*both)):
                unsure = [b.icmp_unsigned("<", each, tile._reach()) for each in tile._distances(sums)]
                b.store(tile._told(unsure), rest)
        tile._put(b.load(slot), tile._pointer(b.add(tile.to, b.mul(tile.pitch, integer(r))), BYTES))
        left.append(b.load(rest))
    return left
