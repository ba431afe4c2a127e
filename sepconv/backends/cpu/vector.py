"""A matrix times a vector: the tile of pointwise convolution of one pixel, or of pixels that do not follow each other.

It takes as long as it takes to read the weights, and to pack them first would be to read and to write them once more. Here they are read where they
lie, a row for each output channel: squares of them are transposed in registers, so that each sum is made in the order of the other products, and
a pixel alone has the bits that it has in an image.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .frame import *
from .intrinsics import as_float
from .jit import callee
from .loops import placed
from .simd import Vectors, integer, rolled

LANES = 8  # at most: wider squares take more shuffles a weight
GROUPS = 2  # vectors of output channels of a tile, which hide the latency of a multiply-add

# The run-time arguments of the tile, addresses and pitches in bytes: w w_row, rows of the weight; x, the pixel; depth, its channels; bias residual y,
# channels next to each other (residual may be 0); n_rows, how many are outputs.
ARGUMENTS = "w w_row x depth bias residual y n_rows act".split()


class _Tile:
    """Generates one tile: `run` is its order. `part`: rows of it may lie beyond the result."""

    def __init__(self, m: Vectors, groups: int, part: bool, arguments: dict[str, Any]) -> None:
        self.m, self.b, self.groups, self.part = m, m.b, groups, part
        self.__dict__.update(arguments)

    def run(self) -> None:
        m, b = self.m, self.b
        start, span = m.window(integer(0), self.n_rows)
        self.results = [m.inside(start, g, span) if self.part else None for g in range(self.groups)]
        self.offsets = m.multiples(self.w_row, m.lanes)
        self.acc = m.accumulators([self._outputs(self.bias, g) for g in range(self.groups)])
        line = max(64, m.lanes * m.size)  # of cache: rows that lie pages apart drive each other's out before they are met again
        whole = b.sdiv(self.depth, integer(line // m.size))
        with rolled(b, whole) as turn:
            first = b.mul(turn.index, integer(line))
            for g in range(self.groups):
                for at in range(0, line, m.lanes * m.size):
                    for d, weight in enumerate(self._square(g, m.at(first, at), None)):
                        m.fma(weight, m.splat(m.at(self.x, first, at + d * m.size)), self.acc[g])
                m.settle(self.acc)
        done = b.mul(whole, integer(line // m.size))
        with rolled(b, b.sdiv(b.add(b.sub(self.depth, done), integer(m.lanes - 1)), integer(m.lanes))) as turn:
            self._rest(b.add(done, b.mul(turn.index, integer(m.lanes))))
        self._finish()

    def _rest(self, done: Any) -> None:
        """As many steps of the depth as a vector has lanes, or what is left."""
        m, b = self.m, self.b
        first, window, left = b.mul(done, integer(m.size)), m.window(done, self.depth), b.sub(self.depth, done)
        steps = b.select(b.icmp_signed("<", left, integer(m.lanes)), left, integer(m.lanes))
        kept = cgutils.alloca_once(b, ir.ArrayType(m.type, m.lanes))
        for g in range(self.groups):
            for d, weight in enumerate(self._square(g, first, m.inside(window[0], 0, window[1]))):
                b.store(weight, b.gep(kept, [integer(0), integer(d)]))
            with rolled(b, steps) as step:
                m.fma(b.load(b.gep(kept, [integer(0), step.index])), m.splat(m.at(self.x, first, b.mul(step.index, integer(m.size)))), self.acc[g])

    def _square(self, g: int, first: Any, mask: Any) -> list[Any]:
        """The weights of a group of rows from one place on, a vector a step of the depth."""
        m, b = self.m, self.b
        base = m.at(self.w, b.mul(self.w_row, integer(g * m.lanes)))
        rows = [m.at(base, offset) for offset in self.offsets]
        if self.part:  # one beyond the result reads what row 0 reads
            rows = [b.select(b.icmp_signed("<", integer(g * m.lanes + r), self.n_rows), row, self.w) for r, row in enumerate(rows)]
        return m.transposed([m.load(m.at(row, first), mask) for row in rows])

    def _outputs(self, base: Any, g: int) -> Any:
        return self.m.load(self.m.at(base, g * self.m.lanes * self.m.size), self.results[g])

    def _finish(self) -> None:
        """+ residual, activation, and the stores."""
        m, b = self.m, self.b
        with b.if_then(b.icmp_signed("!=", self.residual, integer(0)), likely=False):
            for g, slot in enumerate(self.acc):
                b.store(b.fadd(b.load(slot), self._outputs(self.residual, g)), slot)
        m.activate(self.acc, *self.act)
        for g, slot in enumerate(self.acc):
            m.store(b.load(slot), m.at(self.y, g * m.lanes * m.size), self.results[g])


@intrinsic(prefer_literal=True)
def tile(typing: Any, dtype, lanes, groups, whole, w, w_row, x, depth, bias, residual, y, n_rows, act, lo, hi):  # fmt: skip
    """y[r] = epilogue(sum over d of w[r, d] * x[d]), for r below groups * lanes. The first three are literals; `whole`: all r are outputs."""
    literals = (dtype, lanes, groups)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, width, many = (t.literal_value for t in literals)
        m, values = Vectors(context, builder, kind, width), dict(zip(ARGUMENTS, args[len(literals) + 1 :]), act=args[-3:])
        if many > 1:  # always whole
            _Tile(m, many, False, values).run()
            return context.get_dummy_value()
        with builder.if_else(args[len(literals)]) as (all_rows, some):
            with all_rows:
                _Tile(m, many, False, values).run()
            with some:
                _Tile(m, many, True, values).run()
        return context.get_dummy_value()

    return types.void(*literals, types.boolean, *[types.int64] * len(ARGUMENTS), types.float64, types.float64), codegen


@callee(inline="always")
def vector_panel(dtype, size, lanes, q, x, y, r, begin, end):  # type: ignore[no-untyped-def]
    """Output channels begin to end of one pixel: its channels at x, next to each other, to y; r is its residual or 0. The input channels of the
    weight are next to each other."""
    at = begin
    while at < end:
        many = end - at >= GROUPS * lanes
        c = at if many else placed(at, lanes, q[C_OUT], q[OVERLAP])
        w, bias, added, left = q[WEIGHT] + c * q[WO], q[BIAS] + c * size, r + c * size if r != 0 else 0, q[C_OUT] - c
        if many:
            tile(dtype, lanes, GROUPS, True, w, q[WO], x, q[C_IN], bias, added, y + c * size, left, q[ACT], as_float(q[LO]), as_float(q[HI]))
        else:
            tile(dtype, lanes, 1, left >= lanes, w, q[WO], x, q[C_IN], bias, added, y + c * size, left, q[ACT], as_float(q[LO]), as_float(q[HI]))
        at += GROUPS * lanes if many else lanes
