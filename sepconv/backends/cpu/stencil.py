"""The register tile of depthwise convolution: R lines x V vectors of outputs. Each input vector is loaded once and feeds every line it belongs to.

    channels first   lines are rows of the image, vectors lie along its width, weights are splats
    channels last    lines are neighbouring pixels of a row, vectors lie along the channels, weights are vectors

Borders of zeros need neither a padded copy nor scratch: lanes beyond them are masked, lines beyond them are read as zeros or, of large
kernels, left out. (What a zero times an infinite weight has to give is put right afterwards: see `poison.py`.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import Vectors, integer, rolled

FIRST, LAST = 0, 1  # channels first, channels last
# What a tile may meet: the array alone; its border, anywhere; that, and fewer channels than lanes. Or, where it is known when compiled, MISSING *
# how many of its first lines do not exist + how many of its last; channels first, MASKED too: lanes may not exist.
INSIDE, BORDER, NARROW, MISSING, MASKED = 0, -1, -2, 64, 4096
SOON = 3  # lines of cache that are asked for beside the products of a line of inputs
SKIP = 7  # kernel lines above which a line beyond the border is left out with its products; up to it, reading zeros costs less than a branch
# Vector registers, of 32 or 16, that the weights of a tap may fill together with the accumulators and a line. One more of 16 is spilled.
HELD = {32: 31, 16: 13}

# The run-time arguments of the tile. Positions count elements, steps and pitches of x and w count bytes where they end in _by.
#   x            address of input position (depth z0, line l0, tap t0), which need not exist
#   l0 l_step l_size l_by      first line's position, from one line to the next, size of the axis, bytes a line
#   t0 t_step t_size t_by      the same of the axis that the taps go along; begin end: the taps of which some lane exists
#   z0 z_step z_size z_by z_taps  the depth
#   w  w_line w_tap w_z        bytes between weights along the three
#   zeros        address of zeros: channels of a pixel, or as much of a row as the taps reach
#   bias y y_by                addresses and line pitch of the epilogue
#   n_lanes                    how many of the tile's lanes are outputs; its lines all are
#   n_safe                     so many first lines may be stored whole: what spills over is written later, by this thread
ARGUMENTS = (
    "x l0 l_step l_size l_by t0 t_step t_size t_by begin end z0 z_step z_size z_by z_taps w w_line w_tap w_z zeros bias y y_by n_lanes n_safe act"
).split()


class _Tile:
    """Generates one tile: `run` is its order.

    order, k, taps, stride, lane_stride, rows, vectors, flat, loose: k kernel lines; taps known when compiled, or 0 for a loop over begin
    to end; flat: no loop over the depth; loose: the padding may be wider than the kernel, so that any line may be missing.
    """

    def __init__(self, m: Vectors, literals: tuple[int, ...], edge: int, arguments: dict[str, Any]) -> None:
        self.m, self.b, self.edge = m, m.b, edge
        self.order, self.k, self.taps, self.stride, self.lane_stride, self.rows, self.vectors, self.flat, self.loose, self.far = literals
        self.__dict__.update(arguments)
        self.reach = (self.rows - 1) * self.stride + self.k  # input lines that the tile reads
        self.lead, self.trail = divmod(max(0, edge) % MASKED, MISSING)
        self.masked = edge != INSIDE and self.order == FIRST
        # Kernel lines go in groups whose weights of a tap stay in registers, over lines that may be left out as well.
        free = (HELD[m.registers] - (self.rows + 1) * self.vectors) // (self.vectors if self.order == LAST else 1)
        self.held = self.k > SKIP and (self.k <= free if m.many and self.order == FIRST else free > 2)
        groups = -(-self.k // free) if self.held else 1
        self.group = -(-self.k // groups)
        self.shared = self.lane_stride == 2 and self.taps == 3 and m.many  # all taps of a line come from the same loads
        self.halves = self.lane_stride == 2 and not m.many and m.lanes * m.size == 32  # lanes in an order that AVX2 shuffles faster

    def run(self) -> None:
        m, b = self.m, self.b
        acc = self._start()
        self.l_at = m.multiples(self.l_by, self.reach) if self.taps else [b.mul(integer(i), self.l_by) for i in range(self.reach)]
        if self.masked:
            self.first, self.span = m.window(self.t0, self.t_size)
        self.exists, self.soon = self._existing(), self._ahead() if self.far else iter(())
        if not self.taps:
            self._ask()
        if self.flat:
            self._plane(m.pointer(self.x), m.pointer(self.w), acc)
        else:
            with cgutils.for_range(b, self.z_taps) as depth:
                z = b.add(self.z0, b.mul(depth.index, self.z_step))
                with b.if_then(b.icmp_unsigned("<", z, self.z_size)):
                    x, w = m.at(self.x, b.mul(depth.index, self.z_by)), m.at(self.w, b.mul(depth.index, self.w_z))
                    self._plane(m.pointer(x), m.pointer(w), acc)
        self._ask()
        m.activate(acc, *self.act)
        self._store(acc)

    def _ahead(self) -> Iterator[Any]:
        """The addresses of the lines of cache that the tile below reads first and writes."""
        m, b, span = self.m, self.b, self.vectors * self.m.lanes * self.m.size
        for base, first, count, by, bytes in (
            (self.x, self.reach, self.rows * self.stride, self.l_by, span * self.lane_stride),
            (self.y, self.rows, self.rows, self.y_by, span),
        ):
            for line in range(first, first + count):
                for byte in range(0, bytes, 64):
                    yield m.at(m.pointer(base), b.mul(integer(line), by), byte)

    def _ask(self, most: int | None = None) -> None:
        """Asks for so many of them, or for all that are left: a few beside each line's products, or what those need would wait for them."""
        for address in itertools.islice(self.soon, most):
            self.m.prefetch(address, 2)

    def _existing(self) -> list[Any]:
        """Whether each input line exists; None where it is known to: a border no wider than the kernel takes a tile's outer lines alone."""
        found: list[Any] = [None] * self.reach
        for i in range(self.reach if self.edge in (BORDER, NARROW) else 0):
            if self.loose or i < self.k - 1 or i > self.reach - self.k:
                at = self.b.add(self.l0, self.b.mul(integer(i), self.l_step))
                found[i] = self.b.icmp_unsigned("<", at, self.l_size)
        return found

    def _plane(self, x: Any, w: Any, acc: list[Any]) -> None:
        """The sum of every output is taken in one order, whatever the tile meets: taps, or pairs of them, then kernel lines."""
        if not self.taps:
            # A real loop: unrolled, LLVM merges the weights' loads and spills.
            with rolled(self.b, self.b.sub(self.end, self.begin)) as loop:
                self.moving = self.b.add(self.begin, loop.index)
                place, weight = self.m.at(x, self.b.mul(self.moving, self.t_by)), self.m.at(w, self.b.mul(self.moving, self.w_tap))
                if not self.masked or self.lane_stride == 1 or self.m.many:
                    self._pass([0], place, weight, acc)
                    return
                # With twice as many loads and 16 registers, masks are made for the taps only that need them.
                with self.b.if_else(self._whole()) as (yes, no):
                    for block, masked in ((yes, False), (no, True)):
                        with block:
                            self.masked = masked
                            self._pass([0], place, weight, acc)
            return
        self.moving, m = None, self.m
        # With a stride of two, pairs of taps share their loads.
        pairs = [list(range(first, min(self.taps, first + self.lane_stride))) for first in range(0, self.taps, self.lane_stride)]
        for taps in [[1, 2, 0]] if self.shared else pairs:
            if taps[0] and not m.many:
                m.fence()
            self._pass(taps, x, w, acc)

    def _whole(self) -> Any:
        """Whether all that a tap of the loop loads exists."""
        b, at = self.b, self.b.add(self.t0, self.b.mul(self.moving, self.t_step))
        most = b.sub(self.t_size, integer(self.vectors * self.m.lanes * self.lane_stride - (self.lane_stride - 1)))
        return b.and_(b.icmp_signed(">=", at, integer(0)), b.icmp_signed("<=", at, most))

    def _pass(self, taps: list[int], x: Any, w: Any, acc: list[Any]) -> None:
        """acc += the products of these taps; x and w are at tap 0, or at the tap `moving` of a loop."""
        self.places = {tap: (w if tap == 0 else self.m.at(w, self.b.mul(integer(tap), self.w_tap))) for tap in taps}
        self.weights: dict[tuple[int, int], list[Any]] = {}
        masks, zeros = self._masks(taps), self.m.pointer(self.zeros)
        # With 16 registers each tap's first line is an address of its own, or LLVM makes one a line, and puts them on the stack.
        self.aside = self.taps > 0 and self.lane_stride == 1 and self.edge == INSIDE and not self.m.many and taps[0] > 0
        if self.aside:
            x = self.m.unforeseen(self.m.at(x, self.b.mul(integer(taps[0]), self.t_by)))
            self.places = {tap: self.m.unforeseen(place) for tap, place in self.places.items()}
        for begin in range(0, self.k, self.group):
            if begin:
                self.m.settle(acc)
            group = range(begin, min(self.k, begin + self.group))
            for t in group if self.held and self.edge != INSIDE else ():  # before a branch, so that all lines have them
                for tap in taps:
                    self._weight(t, tap)
            for i in range(self.lead, self.reach - self.trail):
                users = [(r, i - r * self.stride) for r in range(self.rows) if i - r * self.stride in group]
                if users:
                    self._line(i, users, taps, x, masks, zeros, acc)
                    if self.halves:  # what is shuffled early takes registers for longer
                        self.m.settle([acc[r * self.vectors + u] for r, _ in users for u in range(self.vectors)])
            self.weights.clear()

    def _line(self, i: int, users: list[tuple[int, int]], taps: list[int], x: Any, masks: Any, zeros: Any, acc: list[Any]) -> None:
        """acc += the products of input line i, which output row r multiplies by kernel line t for (r, t) in `users`."""
        line, exists = x if i == 0 else self.m.at(x, self.l_at[i]), self.exists[i]
        skip = exists is not None and self.k > SKIP
        if exists is not None and not skip:
            line = self.b.select(exists, line, zeros)
        self._ask(SOON)
        with self._if(exists if skip else None):
            for tap, values in self._values(line, taps, masks):
                for r, t in users:
                    weights = self._weight(t, tap)
                    for u in range(self.vectors):
                        self.m.fma(values[u], weights[u], acc[r * self.vectors + u])
        if skip and not self.held:
            self.weights.clear()  # they were loaded where the line exists

    @contextmanager
    def _if(self, flag: Any) -> Iterator[None]:
        if flag is None:
            yield
        else:
            with self.b.if_then(flag):
                yield

    def _weight(self, t: int, tap: int) -> list[Any]:
        if (t, tap) not in self.weights:
            place = self.m.at(self.places[tap], self.b.mul(integer(t), self.w_line)) if t else self.places[tap]
            if self.order == FIRST:
                loaded = [self.m.splat(place)] * self.vectors
            else:
                loaded = [self.m.load(self.m.at(place, u * self.m.lanes * self.m.size)) for u in range(self.vectors)]
            self.weights[t, tap] = loaded
        return self.weights[t, tap]

    def _masks(self, taps: list[int]) -> dict[int, list[Any]] | None:
        """For the tap of each load, the lanes that exist of its vectors."""
        m, b = self.m, self.b
        if not self.masked:
            return {tap: self._channels() for tap in taps} if self.edge == NARROW else None
        found = {}
        for tap in taps[:: self.lane_stride] if self.taps else taps:
            at = b.add(self.first, b.mul(integer(tap) if self.moving is None else self.moving, self.t_step))
            found[tap] = [m.inside(at, u, self.span) for u in range(self.vectors * self.lane_stride)]
        return found

    def _values(self, line: Any, taps: list[int], masks: dict[int, list[Any]] | None) -> Iterator[tuple[int, list[Any]]]:
        """(tap, vectors) of a line for each tap. With a stride of 2, two taps are the even and the odd lanes of the same loads, and tap 0
        after them, if those are `shared`, the odd lanes one place further, behind the one that lies before them."""
        m, b, pieces = self.m, self.b, self.vectors * self.lane_stride
        evens, odds = m.evens_of_halves if self.halves else m.evens, []
        for tap in taps[:: self.lane_stride]:
            if self.shared and tap == 0:
                first = b.select(b.icmp_unsigned("<", self.t0, self.t_size), line, m.pointer(self.zeros)) if masks else line
                row = [m.splat(first), *odds]
                yield tap, [m.last_and(*row[u : u + 2]) for u in range(self.vectors)]
                continue
            place = line if tap == 0 or self.aside else m.at(line, b.mul(integer(tap), self.t_by))
            # Of one tap alone the last lane of each pair is of no use: one element earlier, it is not read beyond the row.
            early = int(self.lane_stride == 2 and tap + 1 not in taps and not masks)
            at = [(u * m.lanes - early * (u % 2)) * m.size for u in range(pieces)]
            loaded = [m.load(m.at(place, at[u]), masks[tap][u] if masks else None) for u in range(pieces)]
            if self.lane_stride == 1:
                yield tap, loaded
                continue
            for odd in (0, 1):
                if tap + odd in taps:
                    odds = [evens(loaded[2 * u], loaded[2 * u + 1], odd, odd + early) for u in range(self.vectors)]
                    yield tap + odd, odds

    def _channels(self) -> list[Any]:
        at, span = self.m.window(integer(0), self.n_lanes)
        return [self.m.inside(at, u, span) for u in range(self.vectors)]

    def _start(self) -> list[Any]:
        """The accumulators begin with the bias, which saves adding it."""
        m = self.m
        if self.order == FIRST:
            bias = [m.splat(self.bias)] * self.vectors
        else:
            masks = self._channels() if self.edge == NARROW else [None] * self.vectors
            place = m.pointer(self.bias)
            bias = [m.load(m.at(place, u * m.lanes * m.size), masks[u]) for u in range(self.vectors)]
        return m.accumulators([bias[at % self.vectors] for at in range(self.rows * self.vectors)])

    def _store(self, acc: list[Any]) -> None:
        m, b = self.m, self.b
        if self.edge == INSIDE or (self.edge > INSIDE and self.order == LAST):
            self._rows(acc, None)
            return
        rows = integer(self.rows)
        safe = b.select(b.icmp_signed(">=", self.n_lanes, integer(self.vectors * m.lanes)), rows, self.n_safe)
        with b.if_else(b.icmp_signed(">=", safe, rows)) as (all_of_it, part_of_it):
            with all_of_it:
                self._rows(acc, None)
            with part_of_it:
                self._rows(acc, safe)

    def _rows(self, acc: list[Any], safe: Any) -> None:
        """Stores the tile's lines: whole, or masked from `safe` on."""
        b, line = self.b, self.m.pointer(self.y)
        masks = self._channels() if safe is not None else [None] * self.vectors
        for r in range(self.rows):
            if safe is None:
                self._row(acc, r, line, masks)
            else:
                with b.if_else(b.icmp_signed("<", integer(r), safe)) as (full, part):
                    with full:
                        self._row(acc, r, line, [None] * self.vectors)
                    with part:
                        self._row(acc, r, line, masks)
            line = self.m.at(line, self.y_by)

    def _row(self, acc: list[Any], r: int, line: Any, masks: list[Any]) -> None:
        for u in range(self.vectors):
            value = self.b.load(acc[r * self.vectors + u])
            self.m.store(self.m.in_order(value) if self.halves else value, self.m.at(line, u * self.m.lanes * self.m.size), masks[u])


@intrinsic(prefer_literal=True)
def tile(typing: Any, dtype, lanes, order, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far, edge,
         x, l0, l_step, l_size, l_by, t0, t_step, t_size, t_by, begin, end, z0, z_step, z_size, z_by, z_taps, w, w_line, w_tap, w_z, zeros,
         bias, y, y_by, n_lanes, n_safe, act, lo, hi):  # fmt: skip
    """y[line r, lane v] = epilogue(sum over z, tap, i of w[i, tap, z] * x[z, line r * stride + i, tap + v * lane_stride]).

    The first thirteen are literals, of which `edges` lists what the tile may meet. `edge` says what this one does, in the numbers that are
    known when compiled; what is not in the list is its last entry. The rest are int64 as `ARGUMENTS` says, but for lo and hi.
    """
    literals = (dtype, lanes, order, k, taps, stride, lane_stride, rows, vectors, flat, loose, edges, far)
    kind, width, *shape, some, ahead = (t.literal_value for t in literals)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m, values = Vectors(context, b, kind, width), dict(zip(ARGUMENTS, args[len(literals) + 1 :]))
        values["act"] = args[-3:]
        kinds = [int(edge) for edge in some.split()]
        after = b.append_basic_block("tile.end")
        blocks = [b.append_basic_block("tile") for _ in kinds]
        switch = b.switch(args[len(literals)], blocks[-1])
        for number, block in list(zip(kinds, blocks))[:-1]:
            switch.add_case(ir.Constant(args[len(literals)].type, number), block)
        for number, block in zip(kinds, blocks):
            b.position_at_end(block)
            _Tile(m, (*shape, ahead), number, values).run()
            b.branch(after)
        b.position_at_end(after)
        return context.get_dummy_value()

    numbers = [types.int64] * (len(ARGUMENTS) + 1)
    return types.void(*literals, *numbers, types.float64, types.float64), codegen
