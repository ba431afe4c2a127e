"""What the matrix products of a block are, on ordinary cores (`product.py`) and on tensor cores (`tensor.py`): the shape of the tile, where a slab's
elements lie in shared memory, and which words of it a thread stages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llvmlite import ir

from ..cpu.simd import I32
from .lanes import item, summed_in
from .stencil import Maker, Tile

DEEP, WIDE = range(2)  # how a factor lies: next to each other along k, or along r (c)
NONE, B_MADE, A_MADE = range(3)
GROUP = 4  # neighbouring rows or columns of a thread: what one load from shared memory takes
WARP = 32
# Where a thread's results belong: rows, with their first sum; and columns at which a word of them begins, with its sums, counted from a row's first
Places = tuple[list[tuple[ir.Value, int]], list[tuple[ir.Value, list[int]]]]
HALF_PAD = 8  # the same of slabs of 16-bit elements: lines are an odd number of 16 bytes apart, so that eight of them meet all banks
# Orders of a slab's lines: as they come; so that neighbouring quarters of a warp, which write them, are eight banks apart and not one line; and so,
# with columns folded among 32 on tensor cores, that the eight sums that a lane has of four tiles are neighbours.
PLAIN, SPREAD, FOLDED = range(3)
SPREAD_BITS, FOLDED_BITS = (~5, (0, 1, 2), (2, 1, 0)), (~30, (1, 3, 3), (3, 3, 1))  # bits that stay; fields: from where, which, to where
PAD = 4  # elements between the k-rows of a slab, so that threads that write a column meet different banks


class Word(NamedTuple):
    """A word of a slab that a thread stages."""

    number: int  # among the thread's
    across: int  # words of a line
    form: int
    vec: int
    extent: int
    order: int  # of the lines


class Matrix(NamedTuple):
    """A block's tile: threads down x across of tall x long sums, slabs `deep` long, and how the two factors and the result are read and written."""

    dtype: str
    down: int
    across: int
    tall: int
    long: int
    deep: int
    a_form: int
    a_vec: int
    b_form: int
    b_vec: int
    out_vec: int
    activation: int
    bias_rows: int  # whether the bias belongs to rows; else to columns
    made: int = NONE  # which factor's slabs are made by `slabs.py`, and not fetched
    tensor: int = 0  # whether on tensor cores: then `down` x `across` are warps, and each warp makes tall x long sums

    @property
    def text(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> Matrix:
        dtype, *rest = text.split()
        return cls(dtype, *map(int, rest))

    sums, size = property(lambda self: summed_in(self.dtype)), property(lambda self: item(self.dtype))

    @property
    def tile(self) -> Tile:
        """What its words and epilogue are, for a `Maker`."""
        return Tile(self.dtype, (1, 1), (1, 1), (1, 1), (0, 0), self.tall, self.long, 1, self.out_vec, self.activation)

    @property
    def threads(self) -> int:
        return self.down * self.across * (WARP if self.tensor else 1)

    @property
    def rows(self) -> int:
        return self.down * self.tall

    @property
    def cols(self) -> int:
        return self.across * self.long

    @property
    def outputs(self) -> int:
        """Sums of a thread."""
        return self.tall * self.long // (WARP if self.tensor else 1)

    def words(self, side: str) -> tuple[int, int, int, int]:
        """(extent, form, vec, words a thread) of the A or the B slab."""
        extent, form, vec = (self.rows, self.a_form, self.a_vec) if side == "A" else (self.cols, self.b_form, self.b_vec)
        return extent, form, vec, -(-extent * self.deep // (vec * self.threads))

    @property
    def held(self) -> int:
        """Elements of the next slab that a thread holds."""
        return sum(vec * count for _, _, vec, count in map(self.words, "AB"))

    @property
    def cells(self) -> tuple[str, str, int, int, int, int]:
        """What every kernel made of this tile is specialised by, as `pointwise.staged` takes it."""
        return self.text, self.sums, self.outputs, self.held, self.slab, self.deep

    def packed(self, side: str) -> bool:
        """Whether a thread holds a word of the next slab as it lies in memory, two 16-bit elements in a register: widened on the way to the slab, if
        the slab is not of 16 bits itself."""
        return bool(self.tensor) or self.size == 2 and self.made == NONE and self.words(side)[2] > 1

    @property
    def made_side(self) -> str:
        return " BA"[self.made]

    def start(self, side: str) -> int:
        """Where a factor's words begin among those that a thread holds."""
        _, _, vec, count = self.words("A")
        return 0 if side == "A" else vec * count

    @property
    def slab(self) -> int:
        """Shared memory of one slab, in elements of what is summed in."""
        if self.tensor:
            return (self._lines("A") * self.pitch("A") + self._lines("B") * self.pitch("B")) // 2
        return self.deep * (self.rows + self.cols + 2 * PAD)

    def base(self, side: str) -> int:
        """Where a factor begins in a slab, in elements of the slab."""
        if side == "A":
            return 0
        return self._lines("A") * self.pitch("A") if self.tensor else self.deep * (self.rows + PAD)

    def _lines(self, side: str) -> int:
        extent, form, _, _ = self.words(side)
        return extent if form == DEEP else self.deep

    def pitch(self, side: str) -> int:
        """Elements from line to line of a slab: lines of k; on tensor cores, where a factor lies as it does in memory, what lines memory has."""
        extent, form, _, _ = self.words(side)
        return (self.deep if form == DEEP else extent) + HALF_PAD if self.tensor else extent + PAD

    def spots(self, side: str) -> Iterator[Word]:
        """Each word that a thread stages."""
        extent, form, vec, count = self.words(side)
        order = (FOLDED if side == "B" else SPREAD) if self.tensor and form == DEEP else PLAIN
        for i in range(count):
            yield Word(i, (self.deep if form == DEEP else extent) // vec, form, vec, extent, order)


def _moved(mk: Maker, n: ir.Value, mask: int, *fields: tuple[int, int, int]) -> ir.Value:
    """n under the mask, with fields of it, (from, bits, to), elsewhere."""
    b = mk.b
    made = b.and_(n, mk.whole(mask))
    for start, bits, to in fields:
        made = b.or_(made, b.shl(b.and_(b.lshr(n, mk.whole(start)), mk.whole(bits)), mk.whole(to)))
    return made


class Spot(NamedTuple):
    """Where a thread's word belongs: its line of the slab and the first element there, the row or column or the k that the line is, whether the slab
    has it; and how many lines it lies below the thread's first word, 0 where that is none or no matter of lines alone."""

    word: Word
    line: ir.Value
    place: ir.Value
    own: ir.Value
    exists: ir.Value
    below: int

    r = property(lambda self: self.own if self.word.form == DEEP else self.place)
    k = property(lambda self: self.place if self.word.form == DEEP else self.own)


def spots(mk: Maker, m: Matrix, side: str, thread: ir.Value) -> Iterator[Spot]:
    """Of each word that a thread stages of a slab. Of the second one and those after it most is a sum of the first one's and a constant."""
    b, first = mk.b, None
    for word in m.spots(side):
        step, rest = divmod(m.threads, word.across)
        below = 0 if rest or step % (1, 8, 32)[word.order] else word.number * step
        if first is None or below == 0:
            number = b.add(thread, mk.whole(word.number * m.threads))
            line, place = b.udiv(number, mk.whole(word.across)), mk.times(b.urem(number, mk.whole(word.across)), word.vec)  # both powers of two
            if word.across == m.threads and word.order == PLAIN:  # which the compiler cannot know: a line is a constant then
                line, place = mk.whole(word.number), mk.times(thread, word.vec)
            line = line if word.order == PLAIN else _moved(mk, line, *SPREAD_BITS)
            own = _moved(mk, line, *FOLDED_BITS) if word.order == FOLDED else line
        else:
            line, place, own = b.add(first.line, mk.whole(below)), first.place, b.add(first.own, mk.whole(below))
        count = word.extent * m.deep // word.vec
        # Known to be there, ordinary cores' 64 sums spill on sm_75.
        always = m.tensor and (word.number + 1) * m.threads <= count
        exists = ir.Constant(ir.IntType(1), 1) if always else b.icmp_unsigned("<", b.add(thread, mk.whole(word.number * m.threads)), mk.whole(count))
        found = Spot(word, line, place, own, exists, below)
        first = first or found
        yield found


def keep(mk: Maker, m: Matrix, side: str, held: ir.Value, slot: int, loaded: ir.Value, vec: int) -> None:
    """A loaded word into the registers of the next slab."""
    b = mk.b
    parts = [b.bitcast(p, mk.m.element) for p in mk.pairs(loaded, vec)] if m.packed(side) else mk.split(loaded, vec)
    for n, part in enumerate(parts):
        b.store(part, mk.slot(held, slot + n))


def keep_each(mk: Maker, m: Matrix, side: str, held: ir.Value, slot: int, loaded: list[ir.Value]) -> None:
    """The same of a word whose elements were loaded one by one."""
    b = mk.b
    if not m.packed(side) or len(loaded) == 1:
        for n, value in enumerate(loaded):
            keep(mk, m, side, held, slot + n, value, 1)
        return
    wide = [b.zext(value, I32) for value in loaded]
    for n, (low, high) in enumerate(zip(wide[::2], wide[1::2])):
        b.store(b.bitcast(b.or_(low, b.shl(high, mk.whole(16))), mk.m.element), mk.slot(held, slot + n))
