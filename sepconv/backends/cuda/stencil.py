"""The depthwise tiles, generated: a thread's outputs in registers, each input value loaded once and used by every output that it belongs to.

Here: what all tiles share, and channels first, rows x cols neighbouring pixels of a plane, loaded and stored as whole words of up to 16 bytes along
the width. Channels last, rows x cols pixels of a word of channels, is in `stencil_last.py`.

A tile's shape is one literal, the text of a `Tile`. Zeros at the border are predicates on the loads: no memory outside is touched, no copy made.
Written out as Python loops, NVVM leaves the loops rolled from k = 5 on and keeps the registers in memory; generated, it does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NewType, get_type_hints

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ... import activations
from .. import formulas
from ..cpu.simd import FLOATS, I16, I32, I64, Value, Vectors, called
from .lanes import HALVES, item, literal, narrow, on_device, piece, pointer, summed_in, widen

UNROLLED = 7  # kernels up to this side are written out; of larger ones the rows are a loop
HELD = 25  # taps whose weights stay in registers
LOOSE, PACKED, STAGED = range(3)  # the weights: in any strides; filter after filter; the block's own in shared memory, in words of channels


class Tile(NamedTuple):
    """One thread's work: the geometry that it is specialised for, its outputs, and how many elements one load (store) takes."""

    dtype: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]  # before
    rows: int
    cols: int
    vec: int  # of x; channels last: of everything
    out_vec: int  # channels first; 0: channels last
    activation: int
    weights: int = LOOSE

    @property
    def text(self) -> str:
        return " ".join([self.dtype, *map(str, (*self.kernel, *self.stride, *self.dilation, *self.pads, *self[5:]))])

    @classmethod
    def read(cls, text: str) -> Tile:
        dtype, *rest = text.split()
        n = [int(r) for r in rest]
        return cls(dtype, (n[0], n[1]), (n[2], n[3]), (n[4], n[5]), (n[6], n[7]), *n[8:])

    sums, size = property(lambda self: summed_in(self.dtype)), property(lambda self: item(self.dtype))
    tile = property(lambda self: self)

    @property
    def outputs(self) -> int:
        return self.rows * self.cols * (self.vec if self.out_vec == 0 else 1)

    def row(self, r: int, i: int) -> int:
        """The input row of output row r and tap i, from the tile's first one; it may be negative."""
        return r * self.stride[0] + i * self.dilation[0] - self.pads[0]

    def col(self, q: int, j: int) -> int:
        return q * self.stride[1] + j * self.dilation[1] - self.pads[1]

    def lines(self) -> dict[int, list[tuple[int, int]]]:
        """Input row -> the (output row, tap) pairs that read it."""
        found: dict[int, list[tuple[int, int]]] = {}
        for r in range(self.rows):
            for i in range(self.kernel[0]):
                found.setdefault(self.row(r, i), []).append((r, i))
        return dict(sorted(found.items()))


class Maker:
    """What the generators share, for one builder and tile: words of memory, multiply-adds, accumulators."""

    def __init__(self, context: Any, b: ir.IRBuilder, tile: Tile) -> None:
        self.context, self.b, self.tile = context, b, tile
        self.m = Vectors(context, b, tile.sums, 1)
        self.element = I16 if tile.dtype in HALVES else FLOATS[tile.dtype]

    def whole(self, n: int) -> ir.Constant:
        return ir.Constant(I32, n)

    def wide(self, value: ir.Value) -> ir.Value:
        return self.b.sext(value, I64)

    def at(self, base: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """An int64 address and more bytes; constants last, so that they become the displacement of a load."""
        for offset in offsets:
            base = self.b.add(base, ir.Constant(I64, offset) if isinstance(offset, int) else offset)
        return base

    def fixed(self, address: ir.Value) -> ir.Value:
        """The address, which the compiler cannot take apart: in loops it would keep the sum of every row and word in registers of its own."""
        if not on_device(self.context):
            return address
        return self.b.asm(ir.FunctionType(I64, [I64]), "mov.b64 $0, $1;", "=l,l", [address], side_effect=False)

    def times(self, value: ir.Value, n: int) -> ir.Value:
        return self.b.mul(value, ir.Constant(value.type, n))

    def kind(self, count: int) -> ir.Type:
        """What a word of `count` elements is loaded as: 16-bit ones in pairs, which vectors of 16 bits would not stay."""
        if self.element == I16 and count > 1:
            return I32 if count == 2 else ir.VectorType(I32, count // 2)
        return ir.VectorType(self.element, count) if count > 1 else self.element

    def word(self, address: ir.Value, count: int) -> list[ir.Value]:
        """`count` neighbouring elements, as what they are summed in, by one load."""
        return self.split(self._loaded(address, count), count)

    def _pointer(self, address: ir.Value, kind: ir.Type, size: int) -> ir.Value:
        """To a word of `size` bytes. One that is not aligned, which a GPU refuses, is on the CPU far from all memory."""
        if size > self.tile.size and not on_device(self.context):
            beyond = self.b.and_(address, ir.Constant(I64, size - 1))
            address = self.b.add(address, self.b.shl(beyond, ir.Constant(I64, 48)))
        return pointer(self.context, self.b, address, kind)

    def _loaded(self, address: ir.Value, count: int, invariant: bool = True) -> ir.Value:
        size = self.tile.size * count
        loaded = self.b.load(self._pointer(address, self.kind(count), size), align=size)
        if invariant:  # nothing writes there while the kernel runs: the load may take the read-only path
            loaded.set_metadata("invariant.load", self.b.module.add_metadata([]))
        return loaded

    def split(self, loaded: ir.Value, count: int) -> list[ir.Value]:
        b, whole = self.b, self.whole
        if self.element != I16:
            return [b.extract_element(loaded, whole(n)) for n in range(count)] if count > 1 else [loaded]
        if count == 1:
            return [widen(self.context, b, loaded, self.tile.dtype)]
        return self.halves(self.pairs(loaded, count))

    def pairs(self, loaded: ir.Value, count: int) -> list[ir.Value]:
        """The 32-bit parts of a word of 16-bit elements; a lone element is the lower half of one."""
        if count == 1:
            return [self.b.zext(loaded, I32)]
        return [loaded] if count == 2 else [self.b.extract_element(loaded, self.whole(n)) for n in range(count // 2)]

    def halves(self, pairs: list[ir.Value]) -> list[ir.Value]:
        """What the 16-bit elements of pairs are summed in."""
        b = self.b
        halves = [half for pair in pairs for half in (b.trunc(pair, I16), b.trunc(b.lshr(pair, self.whole(16)), I16))]
        return [widen(self.context, b, half, self.tile.dtype) for half in halves]

    def word_if(self, flag: ir.Value, address: Callable[[], ir.Value], count: int, invariant: bool = True) -> list[ir.Value]:
        """The word where the flag is set, zeros where it is not; nothing is read then."""
        return self.split(self.loaded_if(flag, address, count, invariant), count)

    def loaded_if(self, flag: ir.Value, address: Callable[[], ir.Value], count: int, invariant: bool = True) -> ir.Value:
        b, before = self.b, self.b.block
        with b.if_then(flag):
            loaded = self._loaded(address(), count, invariant)
            inside = b.block
        chosen = b.phi(loaded.type)
        chosen.add_incoming(ir.Constant(loaded.type, 0) if isinstance(loaded.type, ir.IntType) else ir.Constant(loaded.type, None), before)
        chosen.add_incoming(loaded, inside)
        return chosen

    def put(self, address: ir.Value, values: list[ir.Value]) -> None:
        """Neighbouring elements, by one store."""
        b = self.b
        if self.element == I16:
            values = [narrow(self.context, b, v, self.tile.dtype) for v in values]
            if len(values) > 1:
                wide = [b.zext(v, I32) for v in values]
                values = [b.or_(low, b.shl(high, self.whole(16))) for low, high in zip(wide[::2], wide[1::2])]
                return self.put_parts(address, values, 2 * len(wide))
        return self.put_parts(address, values, self.tile.size * len(values))

    def put_parts(self, address: ir.Value, parts: list[ir.Value], size: int) -> None:
        """What lies next to each other in `size` bytes, pairs of 16-bit elements as one, by one store."""
        joined = self.joined(parts)
        self.b.store(joined, self._pointer(address, joined.type, size), align=size)

    def joined(self, parts: list[ir.Value]) -> ir.Value:
        """A vector of parts; one alone as it is."""
        if len(parts) == 1:
            return parts[0]
        vector = ir.Constant(ir.VectorType(parts[0].type, len(parts)), ir.Undefined)
        for n, part in enumerate(parts):
            vector = self.b.insert_element(vector, part, self.whole(n))
        return vector

    def slot(self, acc: ir.Value, n: int) -> ir.Value:
        return self.b.gep(acc, [self.whole(n)])

    def add(self, acc: ir.Value, n: int, x: ir.Value, w: ir.Value) -> None:
        """acc[n] += x * w, fused."""
        at = self.slot(acc, n)
        self.b.store(called(self.b, f"fma.{self.m.name}", self.m.element, [x, w, self.b.load(at)]), at)

    def below(self, value: ir.Value, size: ir.Value) -> ir.Value:
        """0 <= value < size."""
        return self.b.icmp_unsigned("<", value, size)

    def activated(self, values: list[ir.Value], lo: ir.Value, hi: ir.Value) -> list[ir.Value]:
        """The tile's own activation, in place of the call that a run-time code would need."""
        b, code = self.b, self.tile.activation
        if code == activations.NONE:
            return values
        if code != activations.CLIP:
            return [formulas.CURVED[code](Value(self.m, v), self.m).raw for v in values]
        bounds = [Value(self.m, b.bitcast(b.trunc(v, I32) if self.m.size == 4 else v, self.m.element)) for v in (lo, hi)]
        return [formulas.clip(Value(self.m, v), *bounds, self.m).raw for v in values]

    @contextmanager
    def loop(self, count: int) -> Iterator[ir.Value]:
        """A real loop; its int32 counter."""
        with cgutils.for_range(self.b, self.whole(count), intp=I32) as loop:
            yield loop.index


Number, Word, Array = (NewType(name, ir.Value) for name in ("Number", "Word", "Array"))
_VALUES = {Number: types.int32, Word: types.int64, Array: None}  # what a kernel gives a piece; an address of registers or shared memory has any type


def tiled(write: Callable[..., None]) -> Any:
    """A piece of a tile: write(mk, *shapes, *values) writes it. What kernels call it with is told by the annotations: shapes as literals, each the
    text of something that has `read`, or an int; then values. `mk` is of the last shape that is a tile."""
    names, hints = list(inspect.signature(write).parameters)[1:], get_type_hints(write)
    kinds = [hints[name] for name in names]
    count = sum(kind not in _VALUES for kind in kinds)

    def define(typing: Any, *given: Any) -> Any:
        if not literal(*given[:count]):
            return None
        shapes = [g.literal_value if kind is int else kind.read(g.literal_value) for g, kind in zip(given, kinds[:count])]
        tile = next(shape.tile for shape in reversed(shapes) if hasattr(shape, "tile"))

        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            write(Maker(context, b, tile), *shapes, *args[count:])
            return context.get_dummy_value()

        return types.void(*(_VALUES.get(kind) or g for g, kind in zip(given, kinds))), codegen

    define.__name__, define.__doc__ = write.__name__, write.__doc__
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("typing", *names)]
    define.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which Numba reads
    return piece(define)


# --- channels first ------------------------------------------------------------------------------------------------


def taps_first(mk: Maker, tile: Tile, acc: Array, x: Word, pitch: Number, height: Number, width: Number, top: Number, left: Number, w: Word,
               wh: Number, ww: Number) -> None:  # fmt: skip
    """Adds the taps of one plane: x is its address, `pitch` its bytes a row; (top, left) is the tile's first output; w's taps lie wh, ww apart."""
    b, (kh, kw), vec = mk.b, tile.kernel, tile.vec
    words = sorted({tile.col(q, j) // vec for q in range(tile.cols) for j in range(kw)})
    begin, top_row = mk.times(left, tile.stride[1]), mk.times(top, tile.stride[0])
    inside = {p: mk.below(b.add(begin, mk.whole(p * vec)), width) for p in words}
    # Addresses are one 64-bit sum a row, and a constant: offsets in 32 bits would be widened one by one.
    origin, down = mk.at(x, mk.wide(b.mul(top_row, pitch)), mk.wide(mk.times(begin, tile.size))), mk.wide(pitch)
    wide_wh, wide_ww = mk.wide(wh), mk.wide(ww)

    def line(row: ir.Value, start: ir.Value) -> dict[int, ir.Value]:
        exists, values = mk.below(row, height), {}
        for p in words:
            word = mk.word_if(b.and_(exists, inside[p]), lambda p=p: mk.at(start, p * vec * tile.size), vec)
            values |= {p * vec + n: v for n, v in enumerate(word)}
        return values

    def taps(i: int | ir.Value) -> list[ir.Value]:
        if tile.weights == PACKED:
            row = i * kw * tile.size if isinstance(i, int) else mk.wide(mk.times(i, kw * tile.size))
            return [mk.word(mk.at(w, row, j * tile.size), 1)[0] for j in range(kw)]
        row = b.mul(wide_wh, ir.Constant(I64, i) if isinstance(i, int) else mk.wide(i))
        return [mk.word(mk.at(w, row, mk.times(wide_ww, j)), 1)[0] for j in range(kw)]

    def feed(r: int, values: dict[int, ir.Value], weights: list[ir.Value]) -> None:
        for j in range(kw):
            for q in range(tile.cols):
                mk.add(acc, r * tile.cols + q, values[tile.col(q, j)], weights[j])

    if max(kh, kw) <= UNROLLED:
        held = [taps(i) for i in range(kh)] if kh * kw <= HELD else None
        for u, users in tile.lines().items():
            values = line(b.add(top_row, mk.whole(u)), mk.at(origin, mk.times(down, u)))
            for r, i in users:
                feed(r, values, held[i] if held else taps(i))
        return
    with mk.loop(kh) as i:
        weights, further = taps(i), mk.times(i, tile.dilation[0])
        for r in range(tile.rows):
            row = b.add(further, mk.whole(tile.row(r, 0)))
            feed(r, line(b.add(top_row, row), mk.fixed(mk.at(origin, b.mul(mk.wide(row), down)))), weights)


first = tiled(taps_first)


@tiled
def finish_first(mk: Maker, tile: Tile, acc: Array, bias: Word, y: Word, pitch: Number, height: Number, width: Number, top: Number, left: Number,
                 lo: Word, hi: Word) -> None:  # fmt: skip
    """Epilogue and stores: `bias` is the address of the channel's, or 0; y the address of the plane, height x width its size."""
    b, vec = mk.b, tile.out_vec
    origin, down = mk.at(y, mk.wide(b.mul(top, pitch)), mk.wide(mk.times(left, tile.size))), mk.wide(pitch)
    (added,) = mk.word_if(b.icmp_unsigned("!=", bias, ir.Constant(I64, 0)), lambda: bias, 1)
    for r in range(tile.rows):
        row = b.add(top, mk.whole(r))
        exists, start = mk.below(row, height), mk.at(origin, mk.times(down, r))
        values = [b.fadd(b.load(mk.slot(acc, r * tile.cols + q)), added) for q in range(tile.cols)]
        values = mk.activated(values, lo, hi)
        for q in range(0, tile.cols, vec):
            col = b.add(left, mk.whole(q))
            with b.if_then(b.and_(exists, mk.below(col, width))):
                mk.put(mk.at(start, q * tile.size), values[q : q + vec])


@piece
def registers(typing: Any, dtype: Any, count: Any) -> Any:
    """`count` accumulators of `dtype`, zero: memory of the function's that becomes registers, since every index is a constant."""
    if not literal(dtype, count):
        return None
    kind = getattr(types, dtype.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        element = context.get_value_type(kind)
        room = cgutils.alloca_once(b, ir.ArrayType(element, count.literal_value))
        first = b.bitcast(room, element.as_pointer())
        for n in range(count.literal_value):
            b.store(ir.Constant(element, 0.0), b.gep(first, [ir.Constant(I32, n)]))
        return first

    return types.CPointer(kind)(dtype, count), codegen
