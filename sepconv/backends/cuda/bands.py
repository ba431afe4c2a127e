"""Depthwise convolution of 16-bit floats on tensor cores, generated: a row of taps is a band of a matrix.

Of row i of the taps, y[r, c] += sum over k of x[r + i, k] * band[k, c] with band[k, c] = w[i, k - c]: for 16 rows and 8 columns of results a
product of 16 x 16 of x and of a band of 16 x 8, by two `mma.m16n8k8`. Of 7 taps in a row 7 of 16 multiply-adds are needed ones, by instructions
that do 16 times as many. A warp has its pixels, with zeros around the image, in shared memory, channel by channel, and takes the row below by
another address.

A map that is no wider than a warp's columns needs no columns on either side of its own: there a group of results takes the groups of x before,
beside and behind it, as far as the map has them, and maps of several images of the batch lie side by side; of eight rows and fewer, one below the
other.

A band's zeros meet pixels that a result does not see, and make a NaN of what is infinite there: of a warp with one, all are summed
again, tap by tap. On the CPU a thread does its lane's part alone, as in `tensor.py`.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from ..cpu.simd import I16, I32, I64
from . import tensor
from .lanes import on_device, widen
from .matrix import WARP
from .stencil import Array, Maker, Number, Tile, Word, tiled

ROWS, SIDE = 16, 8  # of results of an instruction; of a group of columns, and of the channels of a word


class Band(NamedTuple):
    """A warp's work: the taps; how far its first column of x lies before the first result, and the first tap behind that (less than 0: before that);
    groups of columns of x, a power of two, and of results of a map; elements of a load of x and of a store; channels, 1 of channels first, 8 of
    channels last; maps side by side, a power of two; lines of x from the first eight rows of results to the others, 8 if of the same map."""

    dtype: str
    kh: int
    kw: int
    above: int
    before: int
    slack: int
    groups: int
    tiles: int
    vec: int
    out_vec: int
    many: int
    activation: int
    across: int = 1
    down: int = SIDE

    text = property(lambda self: " ".join(map(str, self)))
    cols = property(lambda self: SIDE * self.tiles)
    words = property(lambda self: self.groups * SIDE // (self.vec if self.many == 1 else 2))  # of a line of x; channels last, pairs of pixels
    lines = property(lambda self: -(-(SIDE + self.down + self.kh - 1) * self.words // WARP) * WARP // self.words)  # of x
    own = property(lambda self: self.groups // self.across)  # groups of columns of a map
    sums = property(lambda self: 4 * self.tiles * self.across)
    stacked = property(lambda self: self.down != SIDE)
    maps = property(lambda self: self.across * (2 if self.stacked else 1))
    pitch = property(lambda self: SIDE * self.groups)
    plane, size = property(lambda self: self.lines * self.pitch), property(lambda self: self.many * self.lines * self.pitch)

    @classmethod
    def read(cls, text: str) -> Band:
        dtype, *rest = text.split()
        return cls(dtype, *map(int, rest))

    @property
    def tile(self) -> Tile:
        """What its words and epilogue are, for a `Maker`."""
        return Tile(self.dtype, (1, 1), (1, 1), (1, 1), (0, 0), 1, 1, 1, 1, self.activation)

    @property
    def shifts(self) -> list[int]:
        """Groups of x that a group of results takes, counted from its own."""
        return [d for d in (-1, 0, 1) if -SIDE < d * SIDE - self.slack < self.kw + SIDE - 1]

    def pairs(self, group: int) -> list[tuple[int, int]]:
        """The groups of results, and the shifts, that a group of x belongs to."""
        own, at = divmod(group, self.own)
        return [(own * self.tiles + at - d, d) for d in self.shifts if 0 <= at - d < self.tiles]

    @property
    def instructions(self) -> int:
        """About how many a warp needs: of taps, products, results and the copy of x."""
        named = sum(bool(self.pairs(g) or self.pairs(g + 1)) for g in range(0, self.groups, 2))
        products = self.kh * (5 * named + sum(len(self.pairs(g)) for g in range(self.groups)))
        return 280 + self.many * (8 * self.kh + products + 5 * self.sums) + self.lines * self.words // WARP * (8 if self.many == 1 else 32)


class _Warp:
    """What both generators begin with: the builder, the lane, and where the warp's pixels lie in shared memory."""

    def __init__(self, mk: Maker, band: Band, thread: ir.Value, room: ir.Value) -> None:
        self.mk, b = mk, mk.b
        self.lane = b.and_(thread, mk.whole(WARP - 1))
        self.start = b.gep(b.bitcast(room, I16.as_pointer()), [mk.times(b.lshr(thread, mk.whole(5)), band.size)])


def _place(mk: Maker, band: Band, line: ir.Value, col: ir.Value) -> ir.Value:
    """The element of a plane that is in a line and a column: groups of eight change places from one 128 bytes to the next, so that `ldmatrix` meets
    no bank twice."""
    b = mk.b
    turn = b.and_(b.lshr(line, mk.whole(3 - (band.groups.bit_length() - 1))), mk.whole(band.groups - 1))
    return b.add(mk.times(line, band.pitch), b.xor(col, mk.times(turn, SIDE)))


def _line(mk: Maker, band: Band, row: ir.Value) -> ir.Value:
    """The first line of x that a row of results takes."""
    b = mk.b
    return b.add(row, mk.times(b.lshr(row, mk.whole(3)), band.down - SIDE)) if band.stacked else row


def _turned(b: ir.IRBuilder, mk: Maker, one: ir.Value, other: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The lower halves of two registers, and the upper ones."""
    low = b.or_(b.and_(one, mk.whole(0xFFFF)), b.shl(other, mk.whole(16)))
    return low, b.or_(b.lshr(one, mk.whole(16)), b.and_(other, ir.Constant(I32, 0xFFFF0000)))


@tiled
def fill(mk: Maker, band: Band, thread: Number, room: Array, x: Word, apart: Word, count: Number, pitch: Number, step: Number, height: Number,
         width: Number, top: Number, left: Number) -> None:  # fmt: skip
    """A lane's part of the copy of a warp's pixels: x is the address of the plane (the image's channel), (top, left) the first result; `count` maps
    lie `apart` bytes from each other."""
    warp = _Warp(mk, band, thread, room)
    b, lane, per = mk.b, warp.lane, WARP // band.words
    line, place = b.udiv(lane, mk.whole(band.words)), b.urem(lane, mk.whole(band.words))  # powers of two
    place = mk.times(place, band.vec if band.many == 1 else 2)
    side, within = b.udiv(place, mk.whole(SIDE * band.own)), b.urem(place, mk.whole(SIDE * band.own))
    row, col = b.sub(b.add(top, line), mk.whole(band.above)), b.sub(b.add(left, within), mk.whole(band.before))
    right, down = mk.wide(step), mk.wide(mk.times(pitch, per))
    start = mk.at(x, b.mul(mk.wide(row), mk.wide(pitch)), b.mul(mk.wide(col), right))
    columns = [mk.below(col if n == 0 else b.add(col, mk.whole(n)), width) for n in range(1 if band.many == 1 else 2)]
    first = start = mk.at(start, b.mul(mk.wide(side), apart)) if band.maps > 1 else start
    seen = [b.and_(s, b.icmp_signed("<", side, count)) for s in columns] if band.maps > 1 else columns
    for n in range(band.lines // per):
        start, below = (mk.fixed(mk.at(start, down)) if n else start), n * per
        if band.stacked and below >= band.down:
            below -= band.down
            if below == 0:
                start = mk.at(first, mk.times(apart, band.across))
                other = b.icmp_signed("<", b.add(side, mk.whole(band.across)), count)
                seen = [b.and_(s, other) for s in columns]
        exists = mk.below(b.add(row, mk.whole(below)), height)
        at = [start, mk.at(start, right)]
        to = b.gep(warp.start, [_place(mk, band, b.add(line, mk.whole(n * per)), place)])
        words = [mk.pairs(mk.loaded_if(b.and_(exists, s), lambda a=a: a, band.vec), band.vec) for s, a in zip(seen, at)]
        if band.many == 1:
            tensor.write(mk, to, words[0], band.vec)
            continue
        parts = [part for two in zip(*words) for part in _turned(b, mk, *two)]
        for c, part in enumerate(parts):
            tensor.write(mk, b.gep(to, [mk.whole(c * band.plane)]), [part], 2)


def _taps(mk: Maker, band: Band, lane: ir.Value, w: ir.Value, channel: int) -> list[dict[int, ir.Value]]:
    """Of each row of taps the registers of its bands, by their shifts, that are the lane's: two elements of 8 x 8, k along pairs, a column a quarter
    of a warp. Of up to seven taps a lane has its two of one band alone. The loads are not called invariant: those of two more channels would be done
    ahead, and fill the registers."""
    b, size = mk.b, mk.tile.size
    first = b.sub(b.sub(mk.times(b.and_(lane, mk.whole(3)), 2), b.lshr(lane, mk.whole(2))), mk.whole(band.slack))
    if band.kw < SIDE:
        one = b.sub(b.and_(b.add(first, mk.whole(1)), mk.whole(SIDE - 1)), mk.whole(1))
        starts, chosen = [one], {d: b.icmp_signed("==", b.sub(one, first), mk.whole(d * SIDE)) for d in band.shifts}
    else:
        starts, chosen = [b.add(first, mk.whole(d * SIDE)) for d in band.shifts], {}
    places = [(mk.at(w, mk.wide(mk.times(at, size))), [mk.below(b.add(at, mk.whole(n)), mk.whole(band.kw)) for n in (0, 1)]) for at in starts]
    found = []
    for i in range(band.kh):
        far = (channel * band.kh + i) * band.kw * size
        pairs = []
        for start, inside in places:
            low, high = (mk.loaded_if(s, lambda at=start, far=far + n * size: mk.at(at, far), 1, False) for n, s in enumerate(inside))
            pairs.append(b.or_(b.zext(low, I32), b.shl(b.zext(high, I32), mk.whole(16))))
        found.append({d: b.select(c, pairs[0], mk.whole(0)) for d, c in chosen.items()} if chosen else dict(zip(band.shifts, pairs)))
    return found


def _unknown(mk: Maker, number: ir.Value) -> ir.Value:
    """A number that the compiler cannot take apart, nor keep what comes of it."""
    if not on_device(mk.context):
        return number
    return mk.b.asm(ir.FunctionType(I32, [I32]), "mov.b32 $0, $1;", "=r,r", [number], side_effect=True)


def _named(mk: Maker, band: Band, lane: ir.Value, i: Any, two: Any) -> ir.Value:
    """The element at which the eight begin that a lane names for `ldmatrix`: 8 rows, 8 more, both again of the next group of columns."""
    b = mk.b
    return _place(mk, band, b.add(_line(mk, band, b.and_(lane, mk.whole(ROWS - 1))), i), mk.times(b.add(b.lshr(lane, mk.whole(4)), two), SIDE))


def _on_device(warp: _Warp, band: Band, acc: ir.Value, w: ir.Value, channel: int) -> None:
    mk, b = warp.mk, warp.mk.b
    taps = _taps(mk, band, warp.lane, w, channel)
    b.asm(ir.FunctionType(ir.VoidType(), []), "bar.warp.sync 0xffffffff;", "~{memory}", [], side_effect=True)  # loads of taps may have parted lanes
    # Addresses are computed anew for each channel: kept, they would be 28 registers.
    lane = _unknown(mk, warp.lane)
    start = b.ptrtoint(b.addrspacecast(warp.start, ir.PointerType(I16, 3)), I32)
    for i, bands in enumerate(taps):
        for two in range(0, band.groups, 2):
            if not band.pairs(two) and not band.pairs(two + 1):
                continue
            at = b.add(start, mk.times(_named(mk, band, lane, mk.whole(i), mk.whole(two)), 2))
            parts = tensor.ldmatrix(mk, at, 2 * channel * band.plane, "")
            for group, rows in ((two, parts[:2]), (two + 1, parts[2:])):
                for t, shift in band.pairs(group):
                    tensor.mma(mk, acc, 4 * t, rows, [bands[shift]])


def _on_cpu(warp: _Warp, band: Band, acc: ir.Value, w: ir.Value, channel: int) -> None:
    """A lane's own sums, of what the lanes of its warp would have loaded; in loops."""
    mk, b, size, whole = warp.mk, warp.mk.b, warp.mk.tile.size, warp.mk.whole
    with ExitStack() as stack:
        t, c, d, i, k = (stack.enter_context(mk.loop(n)) for n in (band.sums // 4, 4, len(band.shifts), band.kh, SIDE))
        row, col = tensor.halves(mk, warp.lane, c)
        shift = b.add(d, whole(band.shifts[0]))
        beside = b.add(b.urem(t, whole(band.tiles)), shift)
        group = b.add(mk.times(b.udiv(t, whole(band.tiles)), band.own), beside)
        with b.if_then(mk.below(beside, whole(band.own))):
            # Row and k of the lane's matrix: register row // 8, of the line that lane names which is that row, in an odd group's half of the warp.
            owner = b.add(row, mk.times(b.and_(group, whole(1)), 16))
            at = b.add(_named(mk, band, owner, i, b.and_(group, whole(~1))), b.add(k, whole(channel * band.plane)))
            x = widen(mk.context, b, b.load(b.gep(warp.start, [at])), band.dtype)
            # The band's: lane col * 4 + k // 2 holds it.
            owner = b.add(mk.times(col, 4), b.lshr(k, whole(1)))
            first = b.sub(b.sub(mk.times(b.and_(owner, whole(3)), 2), b.lshr(owner, whole(2))), whole(band.slack))
            tap = b.add(first, b.add(b.and_(k, whole(1)), mk.times(shift, SIDE)))
            far = b.add(tap, mk.times(b.add(i, whole(channel * band.kh)), band.kw))
            (weight,) = mk.word_if(mk.below(tap, whole(band.kw)), lambda: mk.at(w, mk.wide(mk.times(far, size))), 1)
            at = b.gep(acc, [b.add(mk.times(t, 4), c)])
            b.store(b.fadd(b.load(at), b.fmul(x, weight)), at)


def _any(mk: Maker, band: Band, finite: ir.Value, w: ir.Value) -> ir.Value:
    """Whether a sum of the warp's is not finite: an infinite tap is met by some lane, at the border of a map not by all. On the CPU, whether one of
    the lane's is, or a tap."""
    b = mk.b
    if on_device(mk.context):
        text = "{.reg .pred p; setp.ne.s32 p, $1, 0; vote.sync.any.pred p, p, 0xffffffff; selp.s32 $0, 1, 0, p;}"
        lost = b.zext(b.fcmp_unordered("uno", b.load(finite), mk.m.zero), I32)
        met = b.asm(ir.FunctionType(I32, [I32]), text, "=r,r", [lost], side_effect=True)
        return b.icmp_signed("!=", met, mk.whole(0))
    with mk.loop(band.many * band.kh * band.kw) as n:
        mk.add(finite, 0, mk.word(mk.at(w, mk.wide(mk.times(n, mk.tile.size))), 1)[0], mk.m.zero)
    return b.fcmp_unordered("uno", b.load(finite), mk.m.zero)


def _again(warp: _Warp, band: Band, w: ir.Value, bias: ir.Value, by: ir.Value, y: ir.Value, maps: tuple[ir.Value, ...], steps: tuple[ir.Value, ...],
           size: tuple[ir.Value, ...], corner: tuple[ir.Value, ...], lo: ir.Value, hi: ir.Value) -> None:  # fmt: skip
    """A lane's results anew, one after the other and tap by tap, in loops."""
    mk, b, lane, item, whole = warp.mk, warp.mk.b, warp.lane, warp.mk.tile.size, warp.mk.whole
    total, (apart, count) = cgutils.alloca_once(b, mk.m.element), maps
    with mk.loop(band.many) as channel, mk.loop(band.sums) as n:
        row, col = tensor.halves(mk, lane, b.and_(n, whole(3)))
        group = b.lshr(n, whole(2))
        side, col = b.udiv(group, whole(band.tiles)), b.add(col, mk.times(b.urem(group, whole(band.tiles)), SIDE))
        b.store(mk.m.zero, total)
        with mk.loop(band.kh) as i, mk.loop(band.kw) as j:
            far = b.add(mk.times(b.add(mk.times(channel, band.kh), i), band.kw), j)
            (weight,) = mk.word(mk.at(w, mk.wide(mk.times(far, item))), 1)
            within = b.add(b.add(col, j), whole(band.slack))
            held = mk.below(within, whole(band.own * SIDE))  # beyond lies another map, and there a zero
            place = _place(mk, band, b.add(_line(mk, band, row), i), b.add(b.select(held, within, whole(0)), mk.times(side, band.own * SIDE)))
            x = widen(mk.context, b, b.load(b.gep(warp.start, [b.add(place, mk.times(channel, band.plane))])), band.dtype)
            mk.add(total, 0, b.select(held, x, mk.m.zero), weight)
        (added,) = mk.word_if(b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), lambda: mk.at(bias, mk.wide(b.mul(by, channel))), 1)
        values = mk.activated([b.fadd(b.load(total), added)], lo, hi)
        if band.stacked:
            side, row = b.add(side, mk.times(b.lshr(row, whole(3)), band.across)), b.and_(row, whole(SIDE - 1))
        row, col = (b.add(n, first) for n, first in zip((row, col), corner))
        with b.if_then(functools.reduce(b.and_, (b.icmp_signed("<", n, most) for n, most in zip((side, row, col), (count, *size))))):
            far = (b.mul(mk.wide(n), mk.wide(step)) for n, step in zip((row, col), steps))
            mk.put(mk.at(y, b.mul(mk.wide(side), apart), *far, mk.wide(mk.times(channel, item))), values)


@tiled
def banded(mk: Maker, band: Band, thread: Number, room: Array, w: Word, bias: Word, by: Number, y: Word, apart: Word, count: Number, pitch: Number,
           step: Number, height: Number, width: Number, top: Number, left: Number, lo: Word, hi: Word) -> None:  # fmt: skip
    """A lane's results of a warp's: w is the address of its filters, packed, `bias` of the channel's bias, or 0, y of the plane (the channel)."""
    b, warp = mk.b, _Warp(mk, band, thread, room)
    acc = b.bitcast(cgutils.alloca_once(b, ir.ArrayType(ir.FloatType(), band.sums)), ir.FloatType().as_pointer())
    some, found, finite = b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), [], cgutils.alloca_once_value(b, mk.m.zero)
    for channel in range(band.many):
        for n in range(band.sums):
            b.store(mk.m.zero, mk.slot(acc, n))
        (_on_device if on_device(mk.context) else _on_cpu)(warp, band, acc, w, channel)
        for n in range(band.sums):
            mk.add(finite, 0, b.load(mk.slot(acc, n)), mk.m.zero)
        (added,) = mk.word_if(some, lambda n=channel: mk.at(bias, mk.wide(mk.times(by, n))), 1)
        values = mk.activated([b.fadd(b.load(mk.slot(acc, n)), added) for n in range(band.sums)], lo, hi)
        found.append([tensor.pair(mk, *two) for two in zip(values[::2], values[1::2])] if band.out_vec > 1 else values)
    row, col = b.add(top, b.lshr(warp.lane, mk.whole(2))), b.add(left, mk.times(b.and_(warp.lane, mk.whole(3)), 2))
    right, start = mk.wide(step), mk.at(y, b.mul(mk.wide(row), mk.wide(pitch)), b.mul(mk.wide(col), mk.wide(step)))
    exists = b.icmp_signed("<", row, height)
    for half in range(2):
        if half and not band.stacked:
            start, exists = mk.at(start, mk.wide(mk.times(pitch, SIDE))), b.icmp_signed("<", b.add(row, mk.whole(SIDE)), height)
        for t in range(band.sums // 4):
            side = t // band.tiles + half * (band.maps - band.across)
            there = b.and_(exists, b.icmp_signed("<", mk.whole(side), count)) if band.maps > 1 else exists
            own = mk.at(start, mk.times(apart, side)) if side else start
            for odd in range(1 if band.out_vec == 2 else 2):
                place = t % band.tiles * SIDE + odd
                with b.if_then(b.and_(there, b.icmp_signed("<", b.add(col, mk.whole(place)), width))):
                    at = mk.at(own, place * mk.tile.size) if band.many == 1 else mk.at(own, mk.times(right, place))
                    _store(mk, band, at, found, 2 * t + half, odd)
    with b.if_then(_any(mk, band, finite, w), likely=False):  # zero times what is not finite
        _again(warp, band, w, bias, by, y, (apart, count), (pitch, step), (height, width), (top, left), lo, hi)


def _store(mk: Maker, band: Band, at: ir.Value, found: list[list[ir.Value]], n: int, odd: int) -> None:
    """The n-th pair of neighbouring results of a plane, one of them, or one of each channel."""
    if band.out_vec == 1:
        mk.put(at, [found[0][2 * n + odd]])
    elif band.out_vec == 2:
        mk.put_parts(at, [found[0][n]], 4)
    else:
        mk.put_parts(at, [_turned(mk.b, mk, one[n], other[n])[odd] for one, other in zip(found[::2], found[1::2])], 2 * SIDE)
