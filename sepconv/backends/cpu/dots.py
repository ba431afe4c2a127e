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
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import pairs
from .bands import exactly
from .digits import BITS, CONTRAST, DIGITS, DOUBTFUL, EVEN, FAR, FRACTION, LIFT, LONG, MARGIN, PARITY, TOPS, UNEVEN, WEIGHTS
from .intrinsics import prefetch
from .jit import callee
from .simd import I16, I32, I64, called, integer, past_caches, rolled, spread
from .vnni import BYTES, INTS, WORDS, chosen, dot, ints, packed, shuffled, woven

SPAN = 64  # bytes of a vector: outputs of a tile along the row
NEEDED = ("avx512bw", "avx512vl", "avx512vbmi", "avx512vnni")
SAID = "by the tile of products of bytes (VNNI), again in float64 where that is in doubt"


class _Tile:
    def __init__(self, b: ir.IRBuilder, groups: int, rows: int, step: int, kind: int, arguments: dict[str, ir.Value]) -> None:
        self.b, self.groups, self.rows, self.step, self.kind = b, groups, rows, step, kind
        self.__dict__.update(arguments)

    def _pointer(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        return self.b.inttoptr(address, kind.as_pointer())

    def _bytes(self, address: ir.Value) -> ir.Value:
        return self.b.load(self._pointer(address, BYTES), align=1)

    def _upper(self, sums: Sequence[ir.Value]) -> ir.Value:
        """The upper bytes of four vectors of int32, in the order of memory. Places that LLVM knew it would make more instructions of."""
        b, wide = self.b, ir.VectorType(I64, 8)
        places = self._bytes(b.add(self.block, integer(4 * TOPS)))
        made = [chosen(b, *(b.bitcast(each, BYTES) for each in two), places) for two in (sums[:2], sums[2:])]
        second = [at % 2 if self.groups else at // 4 for at in range(8)]
        return b.bitcast(shuffled(b, *(b.bitcast(each, wide) for each in made), [at + 8 * of for at, of in enumerate(second)]), BYTES)

    def _row(self, index: ir.Value) -> ir.Value:
        """The address of a tap for the tile's first output."""
        return self.b.add(self.b.load(self.b.gep(self._pointer(self.table, I64), [index]), align=8), self.at)

    def _all(self, scalar: ir.Value, kind: ir.VectorType = INTS) -> ir.Value:
        return self.b.bitcast(spread(self.b, scalar, INTS.count), kind)

    def _number(self, place: int, kind: ir.VectorType = INTS) -> ir.Value:
        """A number of the half's block, in all lanes."""
        return self._all(self.b.load(self.b.gep(self._pointer(self.block, I32), [integer(place)]), align=4), kind)

    def _taps(self, chunk: ir.Value) -> list[list[ir.Value]]:
        """For each group of four taps, four vectors of the bytes that they meet."""
        b = self.b
        if not self.step:
            first = b.mul(chunk, integer(4 * self.groups))
            rows = [self._bytes(self._row(b.add(first, integer(i)))) for i in range(4 * self.groups)]
            return [woven(b, rows[4 * g : 4 * g + 4]) for g in range(self.groups)]
        # Taps are `step` bytes apart along one row: from any place on, 16-byte lanes have all that four outputs need.
        start = b.add(self._row(integer(0)), b.mul(chunk, integer(4 * self.groups * self.step)))
        pattern = [16 * part + i + j * self.step for part in range(4) for i in range(4) for j in range(4)]
        made: dict[int, ir.Value] = {}
        for at in sorted({4 * m + 4 * self.step * g for g in range(self.groups) for m in range(4)}):
            loaded = self._bytes(b.add(start, integer(at)))
            made[at] = b.bitcast(shuffled(b, loaded, loaded, pattern), INTS)
        return [[made[4 * m + 4 * self.step * g] for m in range(4)] for g in range(self.groups)]

    def _sums(self) -> list[list[ir.Value]]:
        """With the margin; without it, and of one chunk, where no sum is in doubt but whole numbers."""
        b, start = self.b, [None] * 4
        if self.kind > DOUBTFUL:
            taps = self._taps(integer(0))
            return [self._chunk(taps, integer(r), start) for r in range(self.rows)]
        margin = self._number(MARGIN)
        acc = [[cgutils.alloca_once_value(b, margin) for _ in range(4)] for _ in range(self.rows)]
        with rolled(b, self.chunks) as loop:
            taps = self._taps(loop.index)
            for r, slots in enumerate(acc):
                made = self._chunk(taps, b.add(loop.index, b.mul(self.chunks, integer(r))), slots)
                for each, slot in zip(made, slots):
                    b.store(each, slot)
        return [[b.load(slot) for slot in slots] for slots in acc]

    def _chunk(self, taps: list[list[ir.Value]], number: ir.Value, slots: Sequence[Any]) -> list[ir.Value]:
        """Sums of a chunk's taps, on top of what is in the slots: digit after digit, from the highest."""
        b, size = self.b, DIGITS * self.groups
        weights = b.gep(self._pointer(self.block, I32), [b.add(b.mul(number, integer(size)), integer(WEIGHTS))])
        found = [ir.Constant(INTS, None)] * 4
        for digit in range(DIGITS):
            if digit:
                found = [b.shl(each, ints(8)) for each in found]
            if digit == DIGITS - 1:
                found = [each if slot is None else b.add(each, b.load(slot)) for each, slot in zip(found, slots)]
            for g in range(self.groups):
                weight = self._all(b.load(b.gep(weights, [integer(digit * self.groups + g)]), align=4))
                found = [dot(b, each, x, weight) for each, x in zip(found, taps[g])]
        return found

    def run(self) -> list[ir.Value]:
        if not self.groups:
            return pairs.run(self)
        b, lift = self.b, self._number(LIFT, BYTES)
        left = []
        for r, sums in enumerate(self._sums()):
            middle = self._bytes(self._row(b.add(b.sdiv(self.taps, integer(2)), integer(r))))
            lifted = b.and_(middle, lift)
            result = b.add(self._upper(sums), lifted)
            slot = cgutils.alloca_once_value(b, result)
            rest = cgutils.alloca_once_value(b, integer(0))
            if self.kind > DOUBTFUL:
                self._lowered(sums, middle, lifted, slot)
            if self.kind == EVEN:
                with self._any([self._contrast(r, middle)], I64):
                    unsure = [b.icmp_unsigned("<", each, self._reach()) for each in self._distances(sums)]
                    b.store(self._told(unsure), rest)
            elif self.kind == LONG:
                with self._any([b.icmp_signed("==", b.and_(each, self._number(BITS)), ir.Constant(INTS, None)) for each in sums]):
                    self._settled(r, sums, middle, result, slot, rest)
            elif self.kind == DOUBTFUL:
                self._settled(r, sums, middle, result, slot, rest)
            self._put(b.load(slot), self._pointer(b.add(self.to, b.mul(self.pitch, integer(r))), BYTES))
            left.append(b.load(rest))
        return left

    def _put(self, value: ir.Value, pointer: ir.Value) -> None:
        with self.b.if_else(self.b.icmp_signed("!=", self.past, integer(0))) as (yes, no):
            with yes:
                past_caches(self.b, value, pointer, SPAN)
            with no:
                self.b.store(value, pointer, align=1)

    def _settled(self, r: int, sums: Sequence[ir.Value], middle: ir.Value, result: ir.Value, slot: ir.Value, rest: ir.Value) -> None:
        """What even windows come out as; which other sums are in doubt. In photographs some window of a tile is even as often as not: a branch that
        asks is guessed wrong, which costs more than to look at all windows if they are short."""
        b, even = self.b, self._even(r, middle)
        b.store(b.select(even, self._levels(middle), result), slot)
        b.store(b.bitcast(b.and_(self._near(sums), b.not_(even)), I64), rest)

    def _near(self, sums: Sequence[ir.Value]) -> ir.Value:
        """Which are in doubt, in the order of memory: of bits that tell it what is not 0 stays so when it is packed."""
        b = self.b
        found = [b.and_(each, self._number(BITS)) for each in sums]
        words = [packed(b, "packssdw", WORDS, found[i : i + 2]) for i in (0, 2)]
        return b.icmp_signed("==", packed(b, "packuswb", BYTES, words), ir.Constant(BYTES, None))

    def _distances(self, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """How far, less one, from a whole number minus the margin; the numbers themselves are far from all."""
        b, margin = self.b, self._number(MARGIN)
        moved = [b.and_(b.xor(b.add(each, margin), margin), ints(2**FRACTION - 1)) for each in sums]
        return [b.sub(each, ints(1)) for each in moved]

    def _reach(self) -> ir.Value:
        return self.b.sub(self.b.shl(self._number(MARGIN), ints(1)), ints(1))

    def _any(self, flags: Sequence[ir.Value], bits: ir.Type = I16) -> Any:
        """A block for where one is set, of so many bits."""
        some = functools.reduce(self.b.or_, flags)
        return self.b.if_then(self.b.icmp_unsigned("!=", self.b.bitcast(some, bits), ir.Constant(bits, 0)))

    def _contrast(self, r: int, middle: ir.Value) -> ir.Value:
        """Where one of two pixels differs from the middle one by as much as the block says."""
        b = self.b
        minus, most, least = (functools.partial(called, b, f"{name}.v64i8", BYTES) for name in ("usub.sat", "umax", "umin"))
        far = b.sext(b.load(b.gep(self._pointer(self.block, I32), [integer(FAR)]), align=4), I64)
        centre = b.add(b.sdiv(self.taps, integer(2)), integer(r))
        pair = [self._bytes(self._row(at)) for at in (b.sub(centre, far), b.add(centre, far))]
        above, below = minus([most(pair), middle]), minus([middle, least(pair)])
        return b.icmp_unsigned(">=", most([above, below]), self._number(CONTRAST, BYTES))

    def _told(self, flags: Sequence[ir.Value]) -> ir.Value:
        """The flags of four vectors of sums as bits in the order of memory."""
        b = self.b
        told = self._upper([b.sext(each, INTS) for each in flags])
        return b.bitcast(b.icmp_signed("!=", told, ir.Constant(BYTES, None)), I64)

    def _lowered(self, sums: Sequence[ir.Value], middle: ir.Value, lifted: ir.Value, slot: ir.Value) -> None:
        """Where float64 makes less of the middle pixel: one unit less, which matters to whole numbers alone."""
        b = self.b
        uneven = b.load(b.gep(self._pointer(self.block, I32), [integer(UNEVEN)]), align=4)
        with b.if_then(b.icmp_signed("!=", uneven, ir.Constant(I32, 0))):
            lower = b.add(self._upper([b.sub(each, ints(1)) for each in sums]), lifted)
            b.store(b.select(b.icmp_signed("==", self._levels(middle), middle), b.load(slot), lower), slot)

    def _even(self, r: int, middle: ir.Value) -> ir.Value:
        """Where both pixels of each pair, or all pixels, are as far from the middle one."""
        b, none = self.b, ir.Constant(BYTES, None)
        far, apart = cgutils.alloca_once_value(b, none), cgutils.alloca_once_value(b, none)
        wide = ir.VectorType(I16, 64)
        with rolled(b, b.sdiv(self.taps, integer(2))) as loop:
            first = b.add(loop.index, integer(r))
            one, two = self._bytes(self._row(first)), self._bytes(self._row(b.sub(b.add(self.taps, integer(2 * r - 1)), first)))
            total = b.add(b.add(b.zext(one, wide), b.zext(two, wide)), ir.Constant(wide, [1] * 64))
            mean = b.trunc(b.lshr(total, ir.Constant(wide, [1] * 64)), BYTES)
            b.store(b.or_(b.load(far), b.xor(mean, middle)), far)
            b.store(b.or_(b.load(apart), b.xor(one, two)), apart)
        return b.icmp_signed("==", b.or_(b.load(far), b.and_(b.load(apart), self._number(PARITY, BYTES))), none)

    def _levels(self, middle: ir.Value) -> ir.Value:
        """The table's entry for each byte."""
        b = self.b
        parts = [self._bytes(b.add(self.levels, integer(64 * i))) for i in range(4)]
        low, high = (chosen(b, parts[i], parts[i + 1], middle) for i in (0, 2))
        return b.select(b.icmp_signed("<", middle, ir.Constant(BYTES, None)), high, low)


@intrinsic(prefer_literal=True)
def dots(typing: Any, groups: Any, rows: Any, step: Any, kind: Any, table: Any, at: Any, block: Any, chunks: Any, taps: Any, levels: Any, to: Any,
         pitch: Any, past: Any) -> Any:  # fmt: skip
    """SPAN outputs of each of `rows` rows to `to` on, rows `pitch` bytes apart; for each row the bits of outputs that are still to be summed.

    `table`: addresses of the taps, each plus `at`: of rows of the image, as many as the chunks take, if step is 0; or of pixels of one row that
    are `step` bytes apart, 1 to 4. No groups: the tile of `pairs`, for either. block, chunks, levels: as the functions of those names make them.
    past: as of `bands.along`.
    """
    literals = (groups, rows, step, kind)
    count, high, apart, certain = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        names = ("table", "at", "block", "chunks", "taps", "levels", "to", "pitch", "past")
        tile = _Tile(b, count, high, apart, certain, dict(zip(names, args[len(literals) :])))
        return cgutils.pack_array(b, tile.run())

    return types.UniTuple(types.int64, high)(*literals, *[types.int64] * 9), codegen


@callee
def row_of_dots(groups, rows, step, certain, table, low, stop, block, chunks, taps, levels, exact, kind, to, pitch, past, ahead):  # type: ignore[no-untyped-def]
    """The outputs at the places low to stop, no fewer than SPAN, of each row; from the address `ahead` on as many bytes are asked for."""
    at = low
    while at < stop:
        prefetch(ahead + (at - low))
        if at + SPAN > stop:  # the last one overlaps the one before
            at, past = stop - SPAN, 0
        place = to + (at - low)
        rest = dots(groups, rows, step, certain, table, at, block, chunks, taps, levels, place, pitch, past)
        for r in range(rows):
            if rest[r] != 0:
                for part in range(0, SPAN, 16):
                    if rest[r] >> part & 0xFFFF:
                        exactly(16, "uint8", "uint8", table + r * 8, at + part, exact, taps, kind, place + r * pitch + part)
        at += SPAN
