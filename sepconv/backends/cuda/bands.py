"""Depthwise convolution of 16-bit floats on tensor cores, generated: a row of taps is a band of a matrix.

Of row i of the taps, y[r, c] += sum over k of x[r + i, k] * band[k, c] with band[k, c] = w[i, k - c]: for 16 rows and 8 columns of results a
product of 16 x 16 of x and of a band of 16 x 8, by two `mma.m16n8k8`. Of 7 taps in a row 7 of 16 multiply-adds are needed ones, by instructions
that do 16 times as many. A warp has its pixels, with zeros around the image, in shared memory, channel by channel, and takes the row below by
another address.

A band's zeros meet pixels that a result does not see, and make a NaN of what is infinite there: results that are not finite are summed again, tap by
tap. On the CPU a thread does its lane's part alone, as in `tensor.py`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ..cpu.simd import I16, I32, I64
from . import tensor
from .lanes import SIMULATED, literal, on_device, piece, widen
from .matrix import WARP
from .stencil import Maker, Tile

ROWS, SIDE = 16, 8  # of results of an instruction; of a group of columns, and of the channels of a word
PLACES = (0, 1, SIDE, SIDE + 1)  # of a lane's four elements of a band, along k, from the first one


class Band(NamedTuple):
    """A warp's work: the taps; how far its first column of x lies before the first result, and the first tap behind that; groups of columns of x, a
    power of two, and of results, at least one fewer; elements of a load of x and of a store; channels, 1 of channels first, 8 of channels last."""

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

    text = property(lambda self: " ".join(map(str, self)))
    cols = property(lambda self: SIDE * self.tiles)
    words = property(lambda self: self.groups * SIDE // (self.vec if self.many == 1 else 2))  # of a line of x; channels last, pairs of pixels
    lines = property(lambda self: -(-(ROWS + self.kh - 1) * self.words // WARP) * WARP // self.words)  # of x
    pitch = property(lambda self: SIDE * self.groups)
    plane, size = property(lambda self: self.lines * self.pitch), property(lambda self: self.many * self.lines * self.pitch)

    @classmethod
    def read(cls, text: str) -> Band:
        dtype, *rest = text.split()
        return cls(dtype, *map(int, rest))

    @property
    def instructions(self) -> int:
        """About how many a warp needs: of taps, products, results and the copy of x."""
        taps, products = 10 * self.kh, self.kh * (5 * (self.tiles // 2 + 1) + 2 * self.tiles)
        return 280 + self.many * (taps + products + 4 * 5 * self.tiles) + self.lines * self.words // WARP * (8 if self.many == 1 else 32)


class _Warp:
    """What both generators begin with: the builder, the lane, and where the warp's pixels lie in shared memory."""

    def __init__(self, context: Any, b: ir.IRBuilder, band: Band, thread: ir.Value, room: ir.Value) -> None:
        self.mk = mk = Maker(context, b, Tile(band.dtype, (1, 1), (1, 1), (1, 1), (0, 0), 1, 1, 1, 1, band.activation))
        self.lane = b.and_(thread, mk.whole(WARP - 1))
        self.start = b.gep(b.bitcast(room, I16.as_pointer()), [mk.times(b.lshr(thread, mk.whole(5)), band.size)])


def _place(mk: Maker, band: Band, line: ir.Value, col: ir.Value) -> ir.Value:
    """The element of a plane that is in a line and a column: groups of eight change places from one 128 bytes to the next, so that `ldmatrix` meets
    no bank twice."""
    b = mk.b
    turn = b.and_(b.lshr(line, mk.whole(3 - (band.groups.bit_length() - 1))), mk.whole(band.groups - 1))
    return b.add(mk.times(line, band.pitch), b.xor(col, mk.times(turn, SIDE)))


def _turned(b: ir.IRBuilder, mk: Maker, one: ir.Value, other: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The lower halves of two registers, and the upper ones."""
    low = b.or_(b.and_(one, mk.whole(0xFFFF)), b.shl(other, mk.whole(16)))
    return low, b.or_(b.lshr(one, mk.whole(16)), b.and_(other, ir.Constant(I32, 0xFFFF0000)))


def _fill(typing: Any, shape: Any, thread: Any, room: Any, x: Any, pitch: Any, step: Any, height: Any, width: Any, top: Any, left: Any) -> Any:
    """A lane's part of the copy of a warp's pixels: x is the address of the plane (the image's channel), (top, left) the first result."""
    if not literal(shape):
        return None
    band = Band.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, room, x, pitch, step, height, width, top, left = args
        warp = _Warp(context, b, band, thread, room)
        mk, lane, per = warp.mk, warp.lane, WARP // band.words
        line, place = b.udiv(lane, mk.whole(band.words)), b.urem(lane, mk.whole(band.words))  # powers of two
        place = mk.times(place, band.vec if band.many == 1 else 2)
        row, col = b.sub(b.add(top, line), mk.whole(band.above)), b.sub(b.add(left, place), mk.whole(band.before))
        right, down = mk.wide(step), mk.wide(mk.times(pitch, per))
        start = mk.at(x, b.mul(mk.wide(row), mk.wide(pitch)), b.mul(mk.wide(col), right))
        seen = [mk.below(col if n == 0 else b.add(col, mk.whole(n)), width) for n in range(1 if band.many == 1 else 2)]
        for n in range(band.lines // per):
            start = mk.fixed(mk.at(start, down)) if n else start
            exists = mk.below(b.add(row, mk.whole(n * per)), height)
            at = [start, mk.at(start, right)]
            to = b.gep(warp.start, [_place(mk, band, b.add(line, mk.whole(n * per)), place)])
            words = [mk.pairs(mk.loaded_if(b.and_(exists, s), lambda a=a: a, band.vec), band.vec) for s, a in zip(seen, at)]
            if band.many == 1:
                tensor.write(mk, to, words[0], band.vec)
                continue
            parts = [part for two in zip(*words) for part in _turned(b, mk, *two)]
            for c, part in enumerate(parts):
                tensor.write(mk, b.gep(to, [mk.whole(c * band.plane)]), [part], 2)
        return context.get_dummy_value()

    return types.void(shape, types.int32, room, types.int64, *[types.int32] * 6), codegen


def _taps(mk: Maker, band: Band, lane: ir.Value, w: ir.Value, channel: int) -> list[list[ir.Value]]:
    """Of each row of taps the two registers of its band that are the lane's: elements of 8 x 8, k along pairs, a column a quarter of a warp. The
    loads are not called invariant: those of two more channels would be done ahead, and fill the registers."""
    b = mk.b
    first = b.sub(b.sub(mk.times(b.and_(lane, mk.whole(3)), 2), b.lshr(lane, mk.whole(2))), mk.whole(band.slack))
    inside = [mk.below(b.add(first, mk.whole(k)), mk.whole(band.kw)) for k in PLACES]
    start, found = mk.at(w, mk.wide(mk.times(first, mk.tile.size))), []
    for i in range(band.kh):
        far = (channel * band.kh + i) * band.kw
        each = [mk.loaded_if(s, lambda n=(far + k) * mk.tile.size: mk.at(start, n), 1, False) for s, k in zip(inside, PLACES)]
        wide = [b.zext(value, I32) for value in each]
        found.append([b.or_(low, b.shl(high, mk.whole(16))) for low, high in zip(wide[::2], wide[1::2])])
    return found


def _unknown(mk: Maker, number: ir.Value) -> ir.Value:
    """A number that the compiler cannot take apart, nor keep what comes of it."""
    if not on_device(mk.context):
        return number
    return mk.b.asm(ir.FunctionType(I32, [I32]), "mov.b32 $0, $1;", "=r,r", [number], side_effect=True)


def _named(mk: Maker, band: Band, lane: ir.Value, i: Any, two: Any) -> ir.Value:
    """The element at which the eight begin that a lane names for `ldmatrix`: 8 rows, 8 more, both again of the next group of columns."""
    b = mk.b
    return _place(mk, band, b.add(b.and_(lane, mk.whole(ROWS - 1)), i), mk.times(b.add(b.lshr(lane, mk.whole(4)), two), SIDE))


def _on_device(warp: _Warp, band: Band, acc: ir.Value, w: ir.Value, channel: int) -> None:
    mk, b = warp.mk, warp.mk.b
    taps = _taps(mk, band, warp.lane, w, channel)
    b.asm(ir.FunctionType(ir.VoidType(), []), "bar.warp.sync 0xffffffff;", "~{memory}", [], side_effect=True)  # loads of taps may have parted lanes
    # Addresses are computed anew for each channel: kept, they would be 28 registers.
    lane = _unknown(mk, warp.lane)
    start = b.ptrtoint(b.addrspacecast(warp.start, ir.PointerType(I16, 3)), I32)
    for i, (near, far) in enumerate(taps):
        for two in range(0, band.tiles + 1, 2):
            at = b.add(start, mk.times(_named(mk, band, lane, mk.whole(i), mk.whole(two)), 2))
            parts = tensor.ldmatrix(mk, at, 2 * channel * band.plane, "")
            for group, rows in ((two, parts[:2]), (two + 1, parts[2:])):
                if 0 < group <= band.tiles:
                    tensor.mma(mk, acc, 4 * (group - 1), rows, [far])
                if group < band.tiles:
                    tensor.mma(mk, acc, 4 * group, rows, [near])


def _on_cpu(warp: _Warp, band: Band, acc: ir.Value, w: ir.Value, channel: int) -> None:
    """A lane's own sums, of what the lanes of its warp would have loaded; in loops."""
    mk, b, size = warp.mk, warp.mk.b, warp.mk.tile.size
    with ExitStack() as stack:
        t, c, i, k = (stack.enter_context(mk.loop(n)) for n in (band.tiles, 4, band.kh, 2 * SIDE))
        row, col = tensor.halves(mk, warp.lane, c)
        group, within = b.add(t, b.lshr(k, mk.whole(3))), b.and_(k, mk.whole(SIDE - 1))
        # Row and k of the lane's matrix: register row // 8, of the line that lane names which is that row, in the half of the warp of an odd group.
        owner = b.add(b.and_(row, mk.whole(ROWS - 1)), mk.times(b.and_(group, mk.whole(1)), 16))
        at = _named(mk, band, owner, i, b.and_(group, mk.whole(~1)))
        at = b.add(at, b.add(within, mk.whole(channel * band.plane)))
        x = widen(mk.context, b, b.load(b.gep(warp.start, [at])), band.dtype)
        # The band's: lane col * 4 + within // 2 holds it.
        owner = b.add(mk.times(col, 4), b.lshr(within, mk.whole(1)))
        first = b.sub(b.sub(mk.times(b.and_(owner, mk.whole(3)), 2), b.lshr(owner, mk.whole(2))), mk.whole(band.slack))
        tap = b.add(first, b.add(b.and_(within, mk.whole(1)), b.and_(k, mk.whole(SIDE))))
        far = b.add(tap, mk.times(b.add(i, mk.whole(channel * band.kh)), band.kw))
        (weight,) = mk.word_if(mk.below(tap, mk.whole(band.kw)), lambda: mk.at(w, mk.wide(mk.times(far, size))), 1)
        at = b.gep(acc, [b.add(mk.times(t, 4), c)])
        b.store(b.fadd(b.load(at), b.fmul(x, weight)), at)


def _again(warp: _Warp, band: Band, w: ir.Value, bias: ir.Value, by: ir.Value, y: ir.Value, steps: tuple[ir.Value, ...], size: tuple[ir.Value, ...],
           corner: tuple[ir.Value, ...], lo: ir.Value, hi: ir.Value) -> None:  # fmt: skip
    """A lane's results anew, one after the other and tap by tap, in loops."""
    mk, b, lane, item = warp.mk, warp.mk.b, warp.lane, warp.mk.tile.size
    total = cgutils.alloca_once(b, mk.m.element)
    with mk.loop(band.many) as channel, mk.loop(4 * band.tiles) as n:
        row, col = tensor.halves(mk, lane, b.and_(n, mk.whole(3)))
        col = b.add(col, mk.times(b.lshr(n, mk.whole(2)), SIDE))
        b.store(mk.m.zero, total)
        with mk.loop(band.kh) as i, mk.loop(band.kw) as j:
            far = b.add(mk.times(b.add(mk.times(channel, band.kh), i), band.kw), j)
            (weight,) = mk.word(mk.at(w, mk.wide(mk.times(far, item))), 1)
            place = _place(mk, band, b.add(row, i), b.add(b.add(col, j), mk.whole(band.slack)))
            x = b.load(b.gep(warp.start, [b.add(place, mk.times(channel, band.plane))]))
            mk.add(total, 0, widen(mk.context, b, x, band.dtype), weight)
        (added,) = mk.word_if(b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), lambda: mk.at(bias, mk.wide(b.mul(by, channel))), 1)
        values = mk.activated([b.fadd(b.load(total), added)], lo, hi)
        row, col = (b.add(n, first) for n, first in zip((row, col), corner))
        with b.if_then(b.and_(*(b.icmp_signed("<", n, most) for n, most in zip((row, col), size)))):
            far = (b.mul(mk.wide(n), mk.wide(step)) for n, step in zip((row, col), steps))
            mk.put(mk.at(y, *far, mk.wide(mk.times(channel, item))), values)


def _banded(typing: Any, shape: Any, thread: Any, room: Any, w: Any, bias: Any, by: Any, y: Any, pitch: Any, step: Any, height: Any, width: Any,
            top: Any, left: Any, lo: Any, hi: Any) -> Any:  # fmt: skip
    """A lane's results of a warp's: w is the address of its filters, packed, `bias` of the channel's bias, or 0, y of the plane (the channel)."""
    if not literal(shape):
        return None
    band = Band.read(shape.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        _, thread, room, w, bias, by, y, pitch, step, height, width, top, left, lo, hi = args
        warp = _Warp(context, b, band, thread, room)
        mk, acc = warp.mk, b.bitcast(cgutils.alloca_once(b, ir.ArrayType(ir.FloatType(), 4 * band.tiles)), ir.FloatType().as_pointer())
        some, found, finite = b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), [], cgutils.alloca_once_value(b, mk.m.zero)
        for channel in range(band.many):
            for n in range(4 * band.tiles):
                b.store(mk.m.zero, mk.slot(acc, n))
            (_on_device if on_device(context) else _on_cpu)(warp, band, acc, w, channel)
            for n in range(4 * band.tiles):
                mk.add(finite, 0, b.load(mk.slot(acc, n)), mk.m.zero)
            (added,) = mk.word_if(some, lambda n=channel: mk.at(bias, mk.wide(mk.times(by, n))), 1)
            values = mk.activated([b.fadd(b.load(mk.slot(acc, n)), added) for n in range(4 * band.tiles)], lo, hi)
            found.append([tensor.pair(mk, *two) for two in zip(values[::2], values[1::2])] if band.out_vec > 1 else values)
        row, col = b.add(top, b.lshr(warp.lane, mk.whole(2))), b.add(left, mk.times(b.and_(warp.lane, mk.whole(3)), 2))
        right, start = mk.wide(step), mk.at(y, b.mul(mk.wide(row), mk.wide(pitch)), b.mul(mk.wide(col), mk.wide(step)))
        for half in range(2):
            start = mk.at(start, mk.wide(mk.times(pitch, SIDE))) if half else start
            exists = b.icmp_signed("<", b.add(row, mk.whole(SIDE * half)) if half else row, height)
            for t in range(band.tiles):
                for odd in range(1 if band.out_vec == 2 else 2):
                    place = t * SIDE + odd
                    with b.if_then(b.and_(exists, b.icmp_signed("<", b.add(col, mk.whole(place)), width))):
                        at = mk.at(start, place * mk.tile.size) if band.many == 1 else mk.at(start, mk.times(right, place))
                        _store(mk, band, at, found, 2 * t + half, odd)
        with b.if_then(b.fcmp_unordered("uno", b.load(finite), mk.m.zero), likely=False):  # zero times what is not finite
            _again(warp, band, w, bias, by, y, (pitch, step), (height, width), (top, left), lo, hi)
        return context.get_dummy_value()

    word, number = types.int64, types.int32
    return types.void(shape, number, room, word, word, number, word, *[number] * 6, word, word), codegen


def _store(mk: Maker, band: Band, at: ir.Value, found: list[list[ir.Value]], n: int, odd: int) -> None:
    """The n-th pair of neighbouring results of a plane, one of them, or one of each channel."""
    if band.out_vec == 1:
        mk.put(at, [found[0][2 * n + odd]])
    elif band.out_vec == 2:
        mk.put_parts(at, [found[0][n]], 4)
    else:
        mk.put_parts(at, [_turned(mk.b, mk, one[n], other[n])[odd] for one, other in zip(found[::2], found[1::2])], 2 * SIDE)


if SIMULATED:
    from .bands_twins import banded, fill
else:
    fill, banded = piece(_fill, None), piece(_banded, None)

__all__ = ["Band", "banded", "fill"]
