"""Depthwise convolution: one register tile, written once in vectors, and the plain loops that drive it for both layouts.

The tile is R lines x V vectors of outputs. Each input vector is loaded once and feeds every line it belongs to.

    channels first   lines are rows of the image, vectors lie along its width, weights are splats
    channels last    lines are neighbouring pixels of a row, vectors lie along the channels, weights are vectors

Borders of zeros need neither a padded copy nor scratch: a tile that touches the border masks its loads or reads zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from .frame import *
from .loops import first_job, move, placed, snapshot
from .simd import Vectors, as_float, integer, keep_subnormals, restore

FIRST, LAST = 0, 1  # channels first, channels last
INSIDE, BORDER, NARROW = 0, 1, 2  # what a tile may meet: the array alone; its border; its border, and fewer channels than lanes

# The run-time arguments of the tile. Positions count elements, steps and pitches of x and w count bytes where they end in _by.
#   x            address of input position (depth z0, line l0, tap t0), which need not exist
#   l0 l_step l_size l_by      first line's position, from one line to the next, size of the axis, bytes a line
#   t0 t_step t_size t_by taps the axis that the real loop over taps goes along
#   z0 z_step z_size z_by z_taps  the depth
#   w  w_line w_tap w_z        bytes between weights along the three
#   bias residual r_by y y_by  addresses and line pitches of the epilogue (residual may be 0)
#   lines lanes                how many of the tile's lines and lanes are outputs
#   safe                       so many first lines may be stored whole: what spills over is written later, by this thread
ARGUMENTS = (
    "x l0 l_step l_size l_by t0 t_step t_size t_by taps z0 z_step z_size z_by z_taps w w_line w_tap w_z zeros "
    "bias residual r_by y y_by lines lanes safe act"
).split()


class _Tile:
    """Generates one tile: `run` is its order."""

    def __init__(self, m: Vectors, literals: tuple[int, ...], edge: int, arguments: dict[str, Any]) -> None:
        self.m, self.b, self.edge = m, m.b, edge
        self.order, self.k, self.stride, self.lane_stride, self.rows, self.vectors = literals
        self.__dict__.update(arguments)
        self.reach = (self.rows - 1) * self.stride + self.k  # input lines that the tile reads
        self.masked = edge and self.order == FIRST

    def run(self) -> None:
        m, b = self.m, self.b
        acc = self._start()
        if self.masked:
            self.first, self.span = m.window(self.t0, self.t_size)
        with cgutils.for_range(b, self.z_taps) as depth:
            z = b.add(self.z0, b.mul(depth.index, self.z_step))
            z_inside = b.icmp_unsigned("<", z, self.z_size)
            x = m.at(self.x, b.mul(depth.index, self.z_by))
            w = m.at(self.w, b.mul(depth.index, self.w_z))
            lines = self._lines(x, z_inside)
            with cgutils.for_range(b, self.taps) as tap:  # a real loop: unrolled, LLVM merges the weights' loads and spills
                self._tap(tap.index, lines, z_inside, w, acc)
        self._finish(acc)

    def _lines(self, x: Any, z_inside: Any) -> list[tuple[Any, Any]]:
        """(address, whether it exists) of every input line at tap 0; the check only where the border is near."""
        found = []
        for i in range(self.reach):
            address = self.m.at(x, self.b.mul(integer(i), self.l_by)) if i else x
            exists = None
            if self.edge:
                at = self.b.add(self.l0, self.b.mul(integer(i), self.l_step))
                exists = self.b.and_(z_inside, self.b.icmp_unsigned("<", at, self.l_size))
                if self.order == FIRST:  # a whole line of zeros, as long as the taps reach
                    address = self.b.select(exists, address, self.zeros)
            found.append((address, exists))
        return found

    def _tap(self, tap: Any, lines: list[tuple[Any, Any]], z_inside: Any, w: Any, acc: list[Any]) -> None:
        m, b = self.m, self.b
        position = b.add(self.t0, b.mul(tap, self.t_step))
        offset, w = b.mul(tap, self.t_by), m.at(w, b.mul(tap, self.w_tap))
        masks = self._masks(tap)
        tap_inside = b.icmp_unsigned("<", position, self.t_size) if self.edge and self.order == LAST else None
        weights: dict[int, list[Any]] = {}
        for i, (line, exists) in enumerate(lines):
            address = m.at(line, offset)
            if tap_inside is not None:
                address = b.select(b.and_(exists, tap_inside), address, self.zeros)
            values = None
            for r in range(self.rows):
                t = i - r * self.stride
                if not 0 <= t < self.k:
                    continue
                values = values or self._load(address, masks)
                if t not in weights:
                    weights[t] = self._weights(m.at(w, b.mul(integer(t), self.w_line)))
                for u in range(self.vectors):
                    m.fma(values[u], weights[t][u], acc[r * self.vectors + u])

    def _masks(self, tap: Any) -> list[Any] | None:
        """For each vector load of a line at this tap: the lanes that exist."""
        m = self.m
        if not self.masked:
            return self._channels() if self.edge == NARROW else None
        at = self.b.add(self.first, self.b.mul(tap, self.t_step))
        return [m.inside(at, u, self.span) for u in range(self.vectors * self.lane_stride)]

    def _channels(self) -> list[Any]:
        at, span = self.m.window(integer(0), self.lanes)
        return [self.m.inside(at, u, span) for u in range(self.vectors)]

    def _load(self, address: Any, masks: list[Any] | None) -> list[Any]:
        m, pieces = self.m, self.vectors * self.lane_stride
        loaded = [m.load(m.at(address, u * m.lanes * m.size), masks[u] if masks else None) for u in range(pieces)]
        if self.lane_stride == 1:
            return loaded
        return [m.evens(loaded[2 * u], loaded[2 * u + 1]) for u in range(self.vectors)]

    def _weights(self, address: Any) -> list[Any]:
        if self.order == FIRST:
            return [self.m.splat(address)] * self.vectors
        return [self.m.load(self.m.at(address, u * self.m.lanes * self.m.size)) for u in range(self.vectors)]

    def _start(self) -> list[Any]:
        """The accumulators begin with the bias, which saves adding it."""
        m = self.m
        if self.order == FIRST:
            bias = [m.splat(self.bias)] * self.vectors
        else:
            masks = self._channels() if self.edge == NARROW else [None] * self.vectors
            bias = [m.load(m.at(self.bias, u * m.lanes * m.size), masks[u]) for u in range(self.vectors)]
        return m.accumulators([bias[at % self.vectors] for at in range(self.rows * self.vectors)])

    def _finish(self, acc: list[Any]) -> None:
        """+ residual, activation, and the stores."""
        m, b = self.m, self.b
        with b.if_then(b.icmp_signed("!=", self.residual, integer(0)), likely=False):
            masks = self._channels() if self.edge else [None] * self.vectors
            for at, slot in enumerate(acc):
                r, u = divmod(at, self.vectors)
                line = m.at(self.residual, b.mul(integer(r), self.r_by)) if r else self.residual
                if self.edge and r:  # a line that is no output reads the first one's residual
                    line = b.select(b.icmp_signed("<", integer(r), self.lines), line, self.residual)
                b.store(b.fadd(b.load(slot), m.load(m.at(line, u * m.lanes * m.size), masks[u])), slot)
        m.activate(acc, *self.act)
        self._store(acc)

    def _store(self, acc: list[Any]) -> None:
        m, b = self.m, self.b
        if not self.edge:
            self._rows(acc, None)
            return
        rows = integer(self.rows)
        whole = b.icmp_signed(">=", self.lanes, integer(self.vectors * m.lanes))
        safe = b.select(whole, rows, self.safe)
        with b.if_else(b.and_(b.icmp_signed(">=", self.lines, rows), b.icmp_signed(">=", safe, rows))) as (all_of_it, part_of_it):
            with all_of_it:
                self._rows(acc, None)
            with part_of_it:
                self._rows(acc, safe)

    def _rows(self, acc: list[Any], safe: Any) -> None:
        """Stores the tile's lines: all of them whole, or those that exist, masked from `safe` on."""
        b = self.b
        for r in range(self.rows):
            line = self.m.at(self.y, b.mul(integer(r), self.y_by))
            if safe is None:
                self._row(acc, r, line, [None] * self.vectors)
                continue
            with b.if_then(b.icmp_signed("<", integer(r), self.lines)):
                with b.if_else(b.icmp_signed("<", integer(r), safe)) as (full, part):
                    with full:
                        self._row(acc, r, line, [None] * self.vectors)
                    with part:
                        self._row(acc, r, line, self._channels())

    def _row(self, acc: list[Any], r: int, line: Any, masks: list[Any]) -> None:
        for u in range(self.vectors):
            self.m.store(self.b.load(acc[r * self.vectors + u]), self.m.at(line, u * self.m.lanes * self.m.size), masks[u])


@intrinsic(prefer_literal=True)
def tile(typing: Any, dtype, lanes, order, k, stride, lane_stride, rows, vectors, narrow, inside,
         x, l0, l_step, l_size, l_by, t0, t_step, t_size, t_by, taps, z0, z_step, z_size, z_by, z_taps, w, w_line, w_tap, w_z, zeros,
         bias, residual, r_by, y, y_by, n_lines, n_lanes, n_safe, act, lo, hi):  # fmt: skip
    """y[line r, lane v] = epilogue(sum over z, tap, i of w[i, tap, z] * x[z, line r * stride + i, tap + v * lane_stride]).

    The first nine are literals; `inside` says that neither the border nor the tile's own last lines and lanes are met; the rest are int64
    as `ARGUMENTS` says, but for lo and hi.
    """
    literals = (dtype, lanes, order, k, stride, lane_stride, rows, vectors, narrow)
    kind, width, *shape, always = (t.literal_value for t in literals)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m, values = Vectors(context, b, kind, width), dict(zip(ARGUMENTS, args[len(literals) + 1 :]))
        values["act"] = args[-3:]
        make = lambda edge: _Tile(m, tuple(shape), edge, values).run()
        if always:
            make(NARROW)
        else:
            with b.if_else(args[len(literals)]) as (near, far):
                with near:
                    make(INSIDE)
                with far:
                    make(BORDER)
        return context.get_dummy_value()

    numbers = [types.int64] * len(ARGUMENTS)
    return types.void(*literals, types.boolean, *numbers, types.float64, types.float64), codegen


@njit
def pack(to, q, c, channels, pitch, size):  # type: ignore[no-untyped-def]
    """The weights of `channels` channels from c on, at address `to` as (taps, pitch bytes of channels)."""
    for d in range(q[KD]):
        for i in range(q[KH]):
            for j in range(q[KW]):
                tap = q[WEIGHT] + c * q[WO] + d * q[WD] + i * q[WH] + j * q[WW]
                move(to, size, tap, q[WO], channels, size)
                to += pitch


def channels_first(dtype, size, lanes, k, stride, lane_stride, rows, vectors, parallel):  # type: ignore[no-untyped-def]
    """A kernel for k kernel rows; jobs are (image, output channel, band of rows)."""
    width = lanes * vectors

    def depthwise_channels_first(p):  # type: ignore[no-untyped-def]
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before, q = keep_subnormals(), snapshot(p)
            tight = q[OVERLAP] != 0 and q[STEP] == 1 and q[YH] == q[OW] * size
            begin, end = first_job(p, chunk), first_job(p, chunk + 1)
            plane, band = divmod(begin, q[BANDS])
            n, c = divmod(plane, q[C_OUT])
            group, member = divmod(c, q[GROUP_OUT])
            for _job in range(begin, end):
                # With dilation a band is every STEP-th row: its input rows are then neighbours STEP apart, as without.
                step = q[STEP]
                row0 = band if step > 1 else band * q[BAND]
                count = (q[OH] - band + step - 1) // step if step > 1 else min(q[BAND], q[OH] - row0)
                x, w, bias = q[X] + n * q[XN] + group * q[XC], q[WEIGHT] + c * q[WO], q[BIAS] + c * size
                y, r = q[OUT] + n * q[YN] + c * q[YC], q[RESIDUAL] + n * q[RN] + c * q[RC]
                for z in range(q[OD]):
                    z0 = z * q[SD] - q[PD]
                    z_inside = z0 >= 0 and z0 + (q[KD] - 1) * q[DD] < q[ID]
                    for at0 in range(0, count, rows):
                        at = placed(at0, rows, count, q[OVERLAP])
                        row = row0 + at * step
                        top = row * q[SH] - q[PH]
                        rows_inside = z_inside and at + rows <= count and top >= 0 and top + ((rows - 1) * stride + k - 1) * step < q[IH]
                        for col0 in range(0, q[OW], width):
                            col = placed(col0, width, q[OW], q[OVERLAP])
                            left = col * q[SW] - q[PW]
                            inside = (
                                rows_inside and col + width <= q[OW] and left >= 0
                                and left + (q[KW] - 1) * q[DW] + width * lane_stride <= q[IW]
                            )  # fmt: skip
                            # Rows that follow each other in memory take what spills over from the one before; the band's last do not.
                            spill = (col + width - q[OW] + q[OW] - 1) // q[OW] if col + width > q[OW] else 0
                            safe = count - at - spill if tight else 0
                            added = r + z * q[RD] + row * q[RH] + col * size if q[RESIDUAL] != 0 else 0
                            tile(dtype, lanes, FIRST, k, stride, lane_stride, rows, vectors, 0, inside,
                                 x + z0 * q[XD] + top * q[XH] + left * size, top, step, q[IH], step * q[XH],
                                 left, q[DW], q[IW], q[DW] * size, q[KW], z0, q[DD], q[ID], q[DD] * q[XD], q[KD],
                                 w, q[WH], q[WW], q[WD], q[ZEROS],
                                 bias, added, step * q[RH],
                                 y + z * q[YD] + row * q[YH] + col * size, step * q[YH], count - at, q[OW] - col, safe,
                                 q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
                band += 1  # the next job, without the divisions
                if band == q[BANDS]:
                    band, c, member = 0, c + 1, member + 1
                    if member == q[GROUP_OUT]:
                        group, member = group + 1, 0
                    if c == q[C_OUT]:
                        n, c, group, member = n + 1, 0, 0, 0
            restore(before)

    return depthwise_channels_first


def channels_last(dtype, size, lanes, k, stride, rows, vectors, narrow, parallel):  # type: ignore[no-untyped-def]
    """A kernel for k kernel columns; jobs are (group of channels, image, depth, band of rows).

    A band is worked through in BLOCK rows at a time, all channels of the group over each: that much of x stays in the first cache.
    `narrow`: fewer channels than the tile has lanes.
    """
    width = lanes * vectors

    def depthwise_channels_last(p):  # type: ignore[no-untyped-def]
        pitch = (p[GROUP] + width) * size
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before, q = keep_subnormals(), snapshot(p)
            packed, held = np.zeros(q[KD] * q[KH] * k * pitch, np.uint8), -1
            taps = packed.ctypes.data
            for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
                rest, band = divmod(job, q[BANDS])
                rest, z = divmod(rest, q[OD])
                group, n = divmod(rest, q[N])
                begin = group * q[GROUP]
                end = min(q[C_IN], begin + q[GROUP])
                if group != held:
                    pack(taps, q, begin, end - begin, pitch, size)
                    held = group
                step, z0 = q[STEP], z * q[SD] - q[PD]
                z_inside = z0 >= 0 and z0 + (q[KD] - 1) * q[DD] < q[ID]
                low, high = band * q[BAND], min(q[OH], (band + 1) * q[BAND])
                for block in range(low, high, q[BLOCK]):
                    for c0 in range(begin, end, width):
                        c = begin + placed(c0 - begin, width, end - begin, q[OVERLAP])
                        channels = min(width, end - c)
                        x, y = q[X] + n * q[XN] + c * size + z0 * q[XD], q[OUT] + n * q[YN] + c * size + z * q[YD]
                        r = q[RESIDUAL] + n * q[RN] + c * size + z * q[RD]
                        for row in range(block, min(high, block + q[BLOCK])):
                            top = row * q[SH] - q[PH]
                            row_inside = z_inside and channels == width and top >= 0 and top + (q[KH] - 1) * q[DH] < q[IH]
                            # With dilation a tile is every STEP-th pixel: its inputs are then neighbours STEP apart, as without.
                            for first in range(min(step, q[OW])):
                                count = (q[OW] - first + step - 1) // step
                                for at0 in range(0, count, rows):
                                    at = placed(at0, rows, count, q[OVERLAP])
                                    col = first + at * step
                                    left = col * q[SW] - q[PW]
                                    inside = (
                                        row_inside and at + rows <= count and left >= 0
                                        and left + ((rows - 1) * stride + k - 1) * step < q[IW]
                                    )  # fmt: skip
                                    added = r + row * q[RH] + col * q[RW] if q[RESIDUAL] != 0 else 0
                                    tile(dtype, lanes, LAST, k, stride, 1, rows, vectors, narrow, inside,
                                         x + top * q[XH] + left * q[XW], left, step, q[IW], step * q[XW],
                                         top, q[DH], q[IH], q[DH] * q[XH], q[KH], z0, q[DD], q[ID], q[DD] * q[XD], q[KD],
                                         taps + (c - begin) * size, pitch, k * pitch, q[KH] * k * pitch, q[ZEROS],
                                         q[BIAS] + c * size, added, step * q[RW],
                                         y + row * q[YH] + col * q[YW], step * q[YW], count - at, channels, 0,
                                         q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
            restore(before)

    return depthwise_channels_last
