"""Weighted sums of bytes that come out cut to whole numbers as float64 would cut them, by the instruction that adds four products of bytes to an
int32 (AVX-512 VNNI).

A weight is a whole number of 2**-24, three digits of eight bits with a sign. The sum, modulo 2**32, then has the result in its upper byte and its
fraction below, and nothing is rounded: it is off by what the weights are, a known number of units, and that is added beforehand. A sum whose
fraction is then less than twice of it may lie on the other side of a whole number. Nearly all of these in photographs are of windows in which the
two pixels of every pair are as far from the middle one, on either side of it: flat ones and slopes. What float64 makes of such depends on the
middle pixel alone, and a table says it. What is left is rare, and is summed in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .digits import BITS, DIGITS, LIFT, LONG, MARGIN, PARITY, WEIGHTS
from .exact import exactly
from .intrinsics import prefetch
from .jit import callee
from .pairs import Pairs
from .simd import I16, I32, I64, integer, rolled
from .vnni import BYTES, INTS, SPAN, WORDS, Tile, dot, ints, packed, shuffled, woven

NEEDED = ("avx512bw", "avx512vl", "avx512vbmi", "avx512vnni")
SAID = "by the tile of products of bytes (VNNI), again in float64 where that is in doubt"


class Dots(Tile):
    def run(self, groups: int, step: int, long: bool) -> list[ir.Value]:
        b, lift = self.b, self.number(LIFT, BYTES)
        left = []
        for r, sums in enumerate(self.sums(groups, step)):
            middle = self.bytes(self.row(b.add(b.sdiv(self.taps, integer(2)), integer(r))))
            result = b.add(self.upper(sums), b.and_(middle, lift))
            slot, rest = cgutils.alloca_once_value(b, result), cgutils.alloca_once_value(b, integer(0))
            # In photographs some window of a tile is even as often as not: a branch that asks is guessed wrong, which costs more than to look at all
            # windows if they are short.
            with self.near_one(sums) if long else nullcontext():
                even = self.even(r, middle)
                b.store(b.select(even, self.table_of(middle), result), slot)
                b.store(b.bitcast(b.and_(self.near(sums), b.not_(even)), I64), rest)
            self.put(b.load(slot), r)
            left.append(b.load(rest))
        return left

    def sums(self, groups: int, step: int) -> list[list[ir.Value]]:
        """Four vectors of sums, with the margin, for each row: chunk after chunk of so many groups of four taps."""
        b, margin = self.b, self.number(MARGIN)
        acc = [[cgutils.alloca_once_value(b, margin) for _ in range(4)] for _ in range(self.rows)]
        with rolled(b, self.chunks) as loop:
            met = self.beside(loop.index, groups, step) if step else self.below(loop.index, groups)
            for r, slots in enumerate(acc):
                number = b.add(loop.index, b.mul(self.chunks, integer(r)))
                weights = b.gep(self.pointer(self.block, I32), [b.add(b.mul(number, integer(DIGITS * groups)), integer(WEIGHTS))])
                found = [ir.Constant(INTS, None)] * 4
                for digit in range(DIGITS):  # from the highest
                    if digit:
                        found = [b.shl(each, ints(8)) for each in found]
                    if digit == DIGITS - 1:
                        found = [b.add(each, b.load(slot)) for each, slot in zip(found, slots)]
                    for g in range(groups):
                        weight = self.everywhere(b.load(b.gep(weights, [integer(digit * groups + g)]), align=4))
                        found = [dot(b, each, x, weight) for each, x in zip(found, met[g])]
                for each, slot in zip(found, slots):
                    b.store(each, slot)
        return [[b.load(slot) for slot in slots] for slots in acc]

    def below(self, chunk: ir.Value, groups: int) -> list[list[ir.Value]]:
        """For each group of four taps, four vectors of the bytes that they meet: of rows of the image."""
        b = self.b
        first = b.mul(chunk, integer(4 * groups))
        rows = [self.bytes(self.row(b.add(first, integer(i)))) for i in range(4 * groups)]
        return [woven(b, rows[4 * g : 4 * g + 4]) for g in range(groups)]

    def beside(self, chunk: ir.Value, groups: int, step: int) -> list[list[ir.Value]]:
        """The same of taps `step` bytes apart along one row: from any place on, 16-byte lanes have all that four outputs need."""
        b = self.b
        start = b.add(self.row(integer(0)), b.mul(chunk, integer(4 * groups * step)))
        pattern = [16 * part + i + j * step for part in range(4) for i in range(4) for j in range(4)]
        made: dict[int, ir.Value] = {}
        for at in sorted({4 * m + 4 * step * g for g in range(groups) for m in range(4)}):
            loaded = self.bytes(b.add(start, integer(at)))
            made[at] = b.bitcast(shuffled(b, loaded, loaded, pattern), INTS)
        return [[made[4 * m + 4 * step * g] for m in range(4)] for g in range(groups)]

    def near_one(self, sums: Sequence[ir.Value]) -> Any:
        """A block for where one is in doubt."""
        b = self.b
        flags = [b.icmp_signed("==", b.and_(each, self.number(BITS)), ir.Constant(INTS, None)) for each in sums]
        return b.if_then(b.icmp_unsigned("!=", b.bitcast(functools.reduce(b.or_, flags), I16), ir.Constant(I16, 0)))

    def near(self, sums: Sequence[ir.Value]) -> ir.Value:
        """Which are in doubt, in the order of memory: of bits that tell it what is not 0 stays so when it is packed."""
        b = self.b
        found = [b.and_(each, self.number(BITS)) for each in sums]
        words = [packed(b, "packssdw", WORDS, found[i : i + 2]) for i in (0, 2)]
        return b.icmp_signed("==", packed(b, "packuswb", BYTES, words), ir.Constant(BYTES, None))

    def even(self, r: int, middle: ir.Value) -> ir.Value:
        """Where both pixels of each pair, or all pixels, are as far from the middle one."""
        b, none = self.b, ir.Constant(BYTES, None)
        far, apart = cgutils.alloca_once_value(b, none), cgutils.alloca_once_value(b, none)
        wide = ir.VectorType(I16, 64)
        with rolled(b, b.sdiv(self.taps, integer(2))) as loop:
            first = b.add(loop.index, integer(r))
            one, two = self.bytes(self.row(first)), self.bytes(self.row(b.sub(b.add(self.taps, integer(2 * r - 1)), first)))
            total = b.add(b.add(b.zext(one, wide), b.zext(two, wide)), ir.Constant(wide, [1] * 64))
            mean = b.trunc(b.lshr(total, ir.Constant(wide, [1] * 64)), BYTES)
            b.store(b.or_(b.load(far), b.xor(mean, middle)), far)
            b.store(b.or_(b.load(apart), b.xor(one, two)), apart)
        return b.icmp_signed("==", b.or_(b.load(far), b.and_(b.load(apart), self.number(PARITY, BYTES))), none)


@intrinsic(prefer_literal=True)
def dots(typing: Any, groups: Any, rows: Any, step: Any, kind: Any, table: Any, at: Any, block: Any, chunks: Any, taps: Any, levels: Any, to: Any,
         pitch: Any, past: Any) -> Any:  # fmt: skip
    """SPAN outputs of each of `rows` rows to `to` on, rows `pitch` bytes apart; for each row the bits of outputs that are still to be summed.

    `table`: addresses of the taps, each plus `at`: of rows of the image, as many as the chunks take, if step is 0; or of pixels of one row that
    are `step` bytes apart, 1 to 4. kind: as of `digits.sort`. block, chunks, levels: as the functions of those
    names make them. past: as of `bands.summed`.
    """
    literals = (groups, rows, step, kind)
    together, high, apart, sort = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        arguments = args[len(literals) :]
        left = Pairs(b, high, *arguments).run(sort) if sort >= 0 else Dots(b, high, *arguments).run(together, apart, sort == LONG)
        return cgutils.pack_array(b, left)

    return types.UniTuple(types.int64, high)(*literals, *[types.int64] * 9), codegen


@callee
def row_of_dots(groups, rows, step, sort, table, low, stop, block, chunks, taps, levels, exact, kind, to, pitch, past, ahead):  # type: ignore[no-untyped-def]
    """The outputs at the places low to stop, no fewer than SPAN, of each row; from the address `ahead` on as many bytes are asked for."""
    at = low
    while at < stop:
        prefetch(ahead + (at - low))
        if at + SPAN > stop:  # the last one overlaps the one before
            at, past = stop - SPAN, 0
        place = to + (at - low)
        rest = dots(groups, rows, step, sort, table, at, block, chunks, taps, levels, place, pitch, past)
        for r in range(rows):
            if rest[r] != 0:
                for part in range(0, SPAN, 16):
                    if rest[r] >> part & 0xFFFF:
                        exactly(16, 1, "uint8", "uint8", 0, table + r * 8, at + part, exact, taps, kind, place + r * pitch + part)
        at += SPAN
