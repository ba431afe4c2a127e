"""The tile of bytes for one or two pairs of taps and a middle one, whose weights make a mean: sums of products of words, half as many as of `dots`.

The result is the middle pixel, and what each pair's sum differs from twice of it by the pair's weight. These differences are words, and the
weights two digits of 16 bits: the sums, modulo 2**32, are those of `dots` less the middle pixel. All that a pair can differ by has been tried
beforehand: no sum is in doubt where each pair differs by less than `digits.contrasts` says, but those of even windows.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from .digits import CONTRASTS, FRACTION, MARGIN, UNEVEN, WEIGHTS
from .simd import I32, I64, called, integer
from .vnni import BYTES, INTS, WORDS, Tile, interleaved, ints, shuffled

Halves = list[ir.Value]  # two vectors of words, for 64 pixels
NONE = ir.Constant(WORDS, None)


def _each(operation: Any, *vectors: Halves) -> Halves:
    return [operation(*each) for each in zip(*vectors)]


class Pairs(Tile):
    halves = 0, 0, 0, 0, 1, 1, 1, 1

    def run(self, pairs: int) -> list[ir.Value]:
        b, left = self.b, []
        half = ir.VectorType(ir.IntType(8), 32)
        taps = [[b.zext(self.bytes(b.add(self.row(integer(i)), integer(at)), half), WORDS) for at in (0, 32)] for i in range(2 * pairs + self.rows)]
        uneven = b.icmp_signed("!=", b.load(b.gep(self.pointer(self.block, I32), [integer(UNEVEN)]), align=4), ir.Constant(I32, 0))
        for r in range(self.rows):
            middle = self.bytes(self.row(integer(r + pairs)))
            twice = _each(b.add, taps[r + pairs], taps[r + pairs])
            sums = [_each(b.add, taps[r + i], taps[r + 2 * pairs - i]) for i in range(pairs)]
            differences = [[NONE, NONE]] * (2 - pairs) + [_each(b.sub, pair, twice) for pair in sums]  # of the outer pair, and of the inner one
            found = self.sums(*differences)
            slot, rest = cgutils.alloca_once_value(b, b.add(self.upper(found), middle)), cgutils.alloca_once_value(b, integer(0))
            with b.if_then(uneven):
                b.store(b.select(self.even(*differences), self.table_of(middle), b.load(slot)), slot)
            with b.if_then(self.doubtful(differences)):
                b.store(self.near(found), rest)
            self.put(b.load(slot), r)
            left.append(b.load(rest))
        return left

    def sums(self, outer: Halves, inner: Halves) -> list[ir.Value]:
        """Four vectors of sums in units of 2**-FRACTION, less the middle pixel."""
        b, made = self.b, []
        high, low = self.number(WEIGHTS), self.number(WEIGHTS + 1)
        for pair in zip(outer, inner):
            for mixed in interleaved(b, *pair, WORDS):
                upper = called(b, "x86.avx512.pmaddw.d.512", INTS, [mixed, b.bitcast(high, WORDS)])
                made.append(called(b, "x86.avx512.vpdpwssd.512", INTS, [b.shl(upper, ints(16)), b.bitcast(mixed, INTS), low]))
        return made

    def even(self, outer: Halves, inner: Halves) -> ir.Value:
        """Where both pixels of each pair are as far from the middle one: 64 flags."""
        none = _each(lambda x, y: self.b.icmp_signed("==", self.b.or_(x, y), NONE), outer, inner)
        return shuffled(self.b, *none, range(64))

    def doubtful(self, differences: list[Halves]) -> ir.Value:
        """Whether a pair's sum differs by as much as the block says, so that the sums are to be looked at."""
        b, flags = self.b, []
        for number, pair in enumerate(differences):
            if pair[0] is not NONE:
                away = [called(b, "abs.v32i16", WORDS, [each, ir.Constant(ir.IntType(1), 0)]) for each in pair]
                flags.append(b.icmp_unsigned(">=", called(b, "umax.v32i16", WORDS, away), self.number(CONTRASTS + number, WORDS)))
        return b.icmp_unsigned("!=", b.bitcast(functools.reduce(b.or_, flags), I32), ir.Constant(I32, 0))

    def near(self, sums: list[ir.Value]) -> ir.Value:
        """The bits, in the order of memory, of sums within the margin of a whole number, but for the whole numbers themselves."""
        b, margin = self.b, self.number(MARGIN)
        moved = [b.and_(b.xor(b.add(each, margin), margin), ints(2**FRACTION - 1)) for each in sums]
        reach = b.sub(b.shl(margin, ints(1)), ints(1))
        told = self.upper([b.sext(b.icmp_unsigned("<", b.sub(each, ints(1)), reach), INTS) for each in moved])
        return b.bitcast(b.icmp_signed("!=", told, ir.Constant(BYTES, None)), I64)
