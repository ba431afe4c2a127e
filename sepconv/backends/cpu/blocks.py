"""Sums of many neighbours down the columns, at a cost that does not grow with their number: the tiles of means in `sweep.py`.

Rows of the output are taken in blocks as long as the window. Each window of a block reaches from one of the rows above the block's last row of
input to one from there on, so that its sum is one that was taken upward from there, kept for each row of the block, plus one that grows
downward. Three additions a sum; nothing is ever taken away again, so that no rounding piles up, and what a NaN or an infinity spoils is its own
windows. Blocks begin at multiples of the window from the image's first row on: how it is cut into bands does not matter to the bits.

Source: M. van Herk, "A fast algorithm for local minimum and maximum filters on rectangular and octagonal kernels", 1992, there for maxima.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bands import Lanes, offset, width
from .jit import callee
from .simd import integer, rolled


@intrinsic(prefer_literal=True)
def upward(typing: Any, sums: Any, lanes: Any, vectors: Any, read: Any, table: Any, at: Any, first: Any, taps: Any, to: Any, pitch: Any) -> Any:
    """to[i, v] = sum over i <= j < taps - 1 of x[j, v], for first <= i < taps, and to[taps, v] that over the `first` rows of x after these.

    `table` has the addresses of rows of x, of the dtype `read`, whose columns are taken from byte `at` on; rows of `to` are `pitch` bytes apart.
    """
    literals = (sums, lanes, vectors, read)
    kind, count, many, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        table, at, first, taps, to, pitch = args[len(literals) :]
        acc = [cgutils.alloca_once_value(b, m.zero) for _ in range(many)]
        last = b.sub(taps, integer(1))

        def more(index: ir.Value) -> None:
            place = b.add(offset(b, table, index), at)
            for u, slot in enumerate(acc):
                m.fma(m.load(place, u * count * width(name), name), None, slot)

        def put(index: ir.Value) -> None:
            line = b.add(to, b.mul(pitch, index))
            for u, slot in enumerate(acc):
                m.store(b.load(slot), line, u * count * m.size)

        put(last)
        with rolled(b, b.sub(last, first)) as loop:
            index = b.sub(b.sub(last, integer(1)), loop.index)
            more(index)
            put(index)
        for slot in acc:
            b.store(m.zero, slot)
        with rolled(b, first) as loop:
            more(b.add(last, loop.index))
        put(taps)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 6), codegen


@intrinsic(prefer_literal=True)
def downward(typing: Any, sums: Any, lanes: Any, vectors: Any, read: Any, table: Any, at: Any, rows: Any, grown: Any, known: Any, divisor: Any,
             to: Any, pitch: Any) -> Any:  # fmt: skip
    """For each of the `rows` of x in `table`, one after the other: grown[v] += x[r, v], and to[r, v] = grown[v] + known[r, v]; integers divided."""
    literals = (sums, lanes, vectors, read)
    kind, count, many, name = (t.literal_value for t in literals)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        m = Lanes(b, kind, count)
        table, at, rows, grown, known, divisor, to, pitch = args[len(literals) :]
        acc = [cgutils.alloca_once_value(b, m.load(grown, u * count * m.size)) for u in range(many)]
        with rolled(b, rows) as loop:
            place, further = b.add(offset(b, table, loop.index), at), b.mul(pitch, loop.index)
            for u, slot in enumerate(acc):
                m.fma(m.load(place, u * count * width(name), name), None, slot)
                value = m.add(b.load(slot), m.load(b.add(known, further), u * count * m.size))
                m.store(value if m.floating else m.mean(value, divisor), b.add(to, further), u * count * m.size)
        for u, slot in enumerate(acc):
            m.store(b.load(slot), grown, u * count * m.size)
        return context.get_dummy_value()

    return types.void(*literals, *[types.int64] * 8), codegen


@callee
def begun(sums, lanes, vectors, read, size, inside, table, first, taps, low, stop, kept, pitch):  # type: ignore[no-untyped-def]
    """What a block's rows from `first` on begin with, of the columns low to stop; `kept` has a line for each row of it, and one more."""
    at, span = low, vectors * lanes
    while at + span <= stop:
        upward(sums, lanes, vectors, read, table, at * inside, first, taps, kept + (at - low) * size, pitch)
        at += span
    while at < stop:
        # The last one overlaps the one before, but in what is kept.
        upward(sums, lanes, 1, read, table, min(at, stop - lanes) * inside, first, taps, kept + (at - low) * size, pitch)
        at += lanes


@callee
def continued(sums, lanes, vectors, read, size, inside, table, rows, low, stop, known, grown, divisor, line, pitch):  # type: ignore[no-untyped-def]
    """Sums of rows of a block into scratch lines, whose first element is column `low`."""
    at, span = low, vectors * lanes
    while at + span <= stop:
        by = (at - low) * size
        downward(sums, lanes, vectors, read, table, at * inside, rows, grown + by, known + by, divisor, line + by, pitch)
        at += span
    while at < stop:
        by, place = (at - low) * size, min(at, stop - lanes)
        downward(sums, lanes, 1, read, table, place * inside, rows, grown + by, known + by, divisor, line + (place - low) * size, pitch)
        at += lanes
