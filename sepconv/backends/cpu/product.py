"""A matrix product in registers: the tile of pointwise and of standard convolution, R rows x V vectors of outputs.

    channels first   rows are output channels (splats of the weight), vectors lie along the pixels (of x, in place)
    channels last    rows are pixels (splats of x, in place), vectors lie along the output channels (of packed weights)

A standard convolution is the sum of one such product a kernel tap, each over the input channels: the tile stays in its registers while
the taps go by, so that no im2col copy is made. Border: a tap beyond the image masks its lanes or reads zeros.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .loops import SHARED
from .runtime import machine
from .simd import Vectors, integer, rolled

TURNS = 4  # steps of the depth that are written out on AVX2
ONE, FIRST, LAST = 0, 1, 2  # one tap; many taps, channels first; many taps, channels last

# The run-time arguments of the tile; steps and pitches count bytes.
#   a a_row a_step     address, from row to row and from one step of the depth to the next, of what is splatted
#   b b_step depth     address and step of what is loaded as vectors; steps of the depth, the input channels
#   bias residual r_by y y_by  addresses and row pitches of the epilogue (residual may be 0)
#   n_rows n_lanes     how many of the tile's rows and lanes are outputs
#   ahead              how far ahead weights are asked for, a line in TURNS: see `pointwise.product_last`
# and for many taps, along the axes z, y, x (depth, height, width):
#   taps_.             kernel sizes
#   a_. b_.            from one tap to the next in a and in b
#   at_. by_. size_.   position that the first tap reads, from one tap to the next, size of the axis, in elements
#   row_by             positions in x from row to row (channels last)
#   zeros              address of zeros
ARGUMENTS = "a a_row a_step b b_step depth bias residual r_by y y_by n_rows n_lanes ahead act".split()
TAPS = "taps_z taps_y taps_x a_z a_y a_x b_z b_y b_x at_z at_y at_x by_z by_y by_x size_z size_y size_x row_by zeros".split()


class _Tile:
    """Generates one tile: `run` is its order. `part`: it may meet the border, or rows or lanes of it may lie beyond the result."""

    def __init__(self, m: Vectors, literals: tuple[int, ...], part: bool, arguments: dict[str, Any]) -> None:
        self.m, self.ir, self.part = m, m.b, part
        self.rows, self.vectors, self.bias_rows, self.taps, self.lane_stride = literals
        self.__dict__.update(arguments)
        # With 16 registers packed weights, whose panels follow each other, are used up faster than the processor foresees what comes from afar.
        self.asks = not (m.many or part or self.bias_rows) and self.taps == ONE and self.vectors == 2

    def run(self) -> None:
        m = self.m
        at, span = m.window(integer(0), self.n_lanes)
        self.results = [m.inside(at, u, span) if self.part else None for u in range(self.vectors)]  # lanes that are outputs
        self.acc = m.accumulators(self._bias())
        if self.bias_rows and self.taps == ONE and not self.part:
            self._announce()
        if self.taps == ONE:
            self._depth(self._rows(self.a), self.b, self.b_step, self.results)
        else:
            self._each_tap()
        self._finish()

    def _announce(self) -> None:
        """Asks for the lines that will be written: rows of a large image's channels lie pages apart, where the processor foresees nothing. What
        lies across a line at the left has been written by the tile before."""
        width = self.vectors * self.m.lanes * self.m.size
        for r in range(self.rows):
            line = self.m.at(self.y, self.ir.mul(integer(r), self.y_by))
            for end in range(min(64, width), width + 1, 64):
                self.m.prefetch(self.m.at(line, end - 1))

    def _each_tap(self) -> None:
        m, b = self.m, self.ir
        if self.part and self.taps == FIRST:
            window = m.window(self.at_x, self.size_x)
        with cgutils.for_range(b, self.taps_z) as z:
            z_inside = self._inside(self.at_z, z.index, self.by_z, self.size_z)
            with cgutils.for_range(b, self.taps_y) as y:
                inside = b.and_(z_inside, self._inside(self.at_y, y.index, self.by_y, self.size_y))
                with cgutils.for_range(b, self.taps_x) as x:
                    index = (z.index, y.index, x.index)
                    a_base = m.at(self.a, *(b.mul(i, by) for i, by in zip(index, (self.a_z, self.a_y, self.a_x))))
                    b_base = m.at(self.b, *(b.mul(i, by) for i, by in zip(index, (self.b_z, self.b_y, self.b_x))))
                    if self.taps == LAST:
                        self._depth(self._pixels(a_base, x.index, inside), b_base, self.b_step, self.results)
                    else:
                        rows = self._rows(a_base)
                        masks, step = None, self.b_step
                        if self.part:
                            at = b.add(window[0], b.mul(x.index, self.by_x))
                            masks = [m.inside(at, u, window[1]) for u in range(self.vectors * self.lane_stride)]
                            masks = [b.select(inside, mask, ir.Constant(mask.type, [1] * m.lanes)) for mask in masks]
                            b_base, step = b.select(inside, b_base, self.zeros), b.select(inside, step, integer(0))
                        self._depth(rows, b_base, step, masks)

    def _inside(self, at: Any, tap: Any, by: Any, size: Any) -> Any:
        return self.ir.icmp_unsigned("<", self.ir.add(at, self.ir.mul(tap, by)), size)

    def _pixels(self, base: Any, tap: Any, inside: Any) -> list[Any]:
        """The address of each row's pixel at a tap; of zeros where there is none."""
        m, b = self.m, self.ir
        if not self.part:
            return self._rows(base)
        at, found = b.add(self.at_x, b.mul(tap, self.by_x)), []
        for r in range(self.rows):
            exists = b.icmp_unsigned("<", b.add(at, b.mul(integer(r), self.row_by)), self.size_x)
            exists = b.and_(b.and_(inside, exists), b.icmp_signed("<", integer(r), self.n_rows))
            found.append(b.select(exists, m.at(base, b.mul(integer(r), self.a_row)), self.zeros))
        return found

    def _depth(self, rows: list[Any], base: Any, step: Any, masks: list[Any] | None) -> None:
        """acc += rows x vectors over the depth."""
        m, b = self.m, self.ir
        turns = machine().isa == "AVX2" and self.taps == ONE and not self.part  # taps have few steps each, and three loops around them
        done = self._turns(rows, base, step) if turns else integer(0)
        with rolled(b, b.sub(self.depth, done)) as at:
            index = b.add(at.index, done)
            line, offset = m.at(base, b.mul(index, step)), b.mul(index, self.a_step)
            if self.asks and not turns:
                m.prefetch(m.at(line, self.ahead), 2)
            self._step([m.at(row, offset) for row in rows], line, masks)

    def _turns(self, rows: list[Any], base: Any, step: Any) -> Any:
        """On AVX2 the same, TURNS steps at a time, and how many there were: none, unless what is splatted lies side by side, and packed weights
        too. A step is then little but loads and multiply-adds: a processor whose core runs another thread as well takes in half as many
        instructions a cycle, and those of 12 multiply-adds with their counters and addresses were more."""
        m, b = self.m, self.ir
        steady, panel = b.icmp_signed("==", self.a_step, integer(m.size)), integer(self.vectors * m.lanes * m.size)
        if not self.bias_rows:
            steady, step = b.and_(steady, b.icmp_signed("==", step, panel)), panel
        turns = b.select(steady, b.sdiv(self.depth, integer(TURNS)), integer(0))
        with rolled(b, turns) as at:
            first = b.mul(at.index, integer(TURNS))
            line, offset = m.at(base, b.mul(first, step)), b.mul(first, integer(m.size))
            if self.asks:
                m.prefetch(m.at(line, self.ahead), 2)
            for turn in range(TURNS):
                if turn:
                    m.settle(self.acc)
                    line = m.at(line, step)
                self._step([m.at(row, offset, turn * m.size) for row in rows], line, None)
        return b.mul(turns, integer(TURNS))

    def _step(self, addresses: list[Any], line: Any, masks: list[Any] | None) -> None:
        """acc += rows x vectors, at one step of the depth."""
        m, stride = self.m, self.lane_stride
        loads = [m.load(m.at(line, u * m.lanes * m.size), masks[u] if masks else None) for u in range(self.vectors * stride)]
        values = loads if stride == 1 else [m.evens(loads[2 * u], loads[2 * u + 1]) for u in range(self.vectors)]
        for r, address in enumerate(addresses):
            splat = m.splat(address)
            for u in range(self.vectors):
                m.fma(values[u], splat, self.acc[r * self.vectors + u])

    def _rows(self, base: Any) -> list[Any]:
        """The addresses of the rows of a."""
        return [self._row(base, r, offset) for r, offset in enumerate(self.m.multiples(self.a_row, self.rows))]

    def _row(self, base: Any, r: int, offset: Any) -> Any:
        """The address of a row; one beyond the result reads what row 0 reads."""
        if r == 0:
            return base
        address = self.m.at(base, offset)
        return self.ir.select(self.ir.icmp_signed("<", integer(r), self.n_rows), address, base) if self.part else address

    def _vector(self, base: Any, u: int) -> Any:
        return self.m.load(self.m.at(base, u * self.m.lanes * self.m.size), self.results[u])

    def _bias(self) -> list[Any]:
        """What the accumulators begin with, which saves adding it."""
        if self.bias_rows:
            splats = [self.m.splat(self._row(self.bias, r, integer(r * self.m.size))) for r in range(self.rows)]
            return [splat for splat in splats for _ in range(self.vectors)]
        return [self._vector(self.bias, u) for u in range(self.vectors)] * self.rows

    def _finish(self) -> None:
        """+ residual, activation, and the stores."""
        m, b = self.m, self.ir
        with b.if_then(b.icmp_signed("!=", self.residual, integer(0)), likely=False):
            for at, slot in enumerate(self.acc):
                r, u = divmod(at, self.vectors)
                b.store(b.fadd(b.load(slot), self._vector(self._row(self.residual, r, b.mul(integer(r), self.r_by)), u)), slot)
        m.activate(self.acc, *self.act)
        for r in range(self.rows):
            line = m.at(self.y, b.mul(integer(r), self.y_by))
            if self.part:
                with b.if_then(b.icmp_signed("<", integer(r), self.n_rows)):
                    self._store(r, line)
            else:
                self._store(r, line)

    def _store(self, r: int, line: Any) -> None:
        for u in range(self.vectors):
            self.m.store(self.ir.load(self.acc[r * self.vectors + u]), self.m.at(line, u * self.m.lanes * self.m.size), self.results[u])


def _generate(literals: tuple[Any, ...], taps: int, names: list[str], args: Any, context: Any, b: Any) -> None:
    kind, width, rows, vectors, bias_rows, *stride = (t.literal_value for t in literals)
    if vectors == 0:
        width, vectors = max(2, width // 2), 1  # a vector of one lane would be a scalar; `panels.panel` asks for none
    m, values = Vectors(context, b, kind, width), dict(zip(names, args[len(literals) + 1 :]))
    values["act"] = args[-3:]
    run = lambda rows, some: _Tile(m, (rows, vectors, bias_rows, taps, *(stride or (1,))), some, values).run()
    with b.if_else(args[len(literals)]) as (whole, part):
        with whole:
            run(rows, False)
        with part:
            if rows != SHARED or taps != ONE:
                run(rows, True)
                return
            lanes = integer(vectors * m.lanes)
            less = b.and_(b.icmp_signed("==", values["n_rows"], integer(rows - 1)), b.icmp_signed(">=", values["n_lanes"], lanes))
            with b.if_else(less) as (shorter, part):
                with shorter:
                    run(rows - 1, False)
                with part:
                    run(rows, True)


@intrinsic(prefer_literal=True)
def tile(typing: Any, dtype, lanes, rows, vectors, bias_rows, whole,
         a, a_row, a_step, b, b_step, depth, bias, residual, r_by, y, y_by, n_rows, n_lanes, ahead, act, lo, hi):  # fmt: skip
    """y[r, v] = epilogue(sum over depth d of a[r, d] * b[d, v]).

    The first five are literals, 0 vectors half of one; `whole`: all rows and lanes are outputs. Where all but one row are, and tiles may have a
    row less (`loops.shared`), that is a tile of its own.
    """
    literals = (dtype, lanes, rows, vectors, bias_rows)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _generate(literals, ONE, ARGUMENTS, args, context, builder)
        return context.get_dummy_value()

    return types.void(*literals, types.boolean, *[types.int64] * len(ARGUMENTS), types.float64, types.float64), codegen


@intrinsic(prefer_literal=True)
def taps_tile(typing: Any, dtype, lanes, rows, vectors, bias_rows, lane_stride, whole,
              a, a_row, a_step, b, b_step, depth, bias, residual, r_by, y, y_by, n_rows, n_lanes,
              taps_z, taps_y, taps_x, a_z, a_y, a_x, b_z, b_y, b_x, at_z, at_y, at_x, by_z, by_y, by_x, size_z, size_y, size_x,
              row_by, zeros, act, lo, hi):  # fmt: skip
    """The same, summed over the taps of a kernel. The first six are literals; `whole`: all are outputs, and no tap leaves the image."""
    literals = (dtype, lanes, rows, vectors, bias_rows, lane_stride)
    names = [*ARGUMENTS[:-2], *TAPS, "act"]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _generate(literals, FIRST if bias_rows.literal_value else LAST, names, args, context, builder)
        return context.get_dummy_value()

    return types.void(*literals, types.boolean, *[types.int64] * len(names), types.float64, types.float64), codegen
