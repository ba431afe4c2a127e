"""Pointwise convolution: a matrix product from one register tile, R rows x V vectors, for both layouts.

    channels first   rows are output channels (splats of the weight), vectors lie along the pixels (of x, in place)
    channels last    rows are pixels (splats of x), vectors lie along the output channels (of a panel of the weight's transpose)

The splats come through row pointers with any strides, so that this side is never packed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from .frame import *
from .loops import first_job, placed, snapshot
from .simd import Vectors, as_float, integer, keep_subnormals, load, restore, store

#   a a_row a_step     address, bytes from row to row and from one step of the depth to the next, of what is splatted
#   b b_step depth     address and bytes a step of what is loaded as vectors; steps
#   bias bias_row bias_lane    bytes from row to row (rows are channels) or 4 or 8 from lane to lane (lanes are)
#   residual r_by y y_by lines lanes act    as in `depthwise.tile`
ARGUMENTS = "a a_row a_step b b_step depth bias residual r_by y y_by n_rows n_lanes act".split()


class _Tile:
    """Generates one tile. `part`: rows or lanes of it may lie beyond the result; they are computed from row 0 and masked lanes."""

    def __init__(self, m: Vectors, literals: tuple[int, ...], part: bool, arguments: dict[str, Any]) -> None:
        self.m, self.b_, self.part = m, m.b, part
        self.rows, self.vectors, self.bias_rows = literals
        self.__dict__.update(arguments)

    def run(self) -> None:
        m, b = self.m, self.b_
        acc = m.accumulators(self.rows * self.vectors)
        at, span = m.window(integer(0), self.n_lanes)
        self.masks = [m.inside(at, u, span) if self.part else None for u in range(self.vectors)]
        lines = [self._row(self.a, r, self.a_row) for r in range(self.rows)]
        with cgutils.for_range(b, self.depth) as step:
            base = m.at(self.b, b.mul(step.index, self.b_step))
            values = [m.load(m.at(base, u * m.lanes * m.size), self.masks[u]) for u in range(self.vectors)]
            offset = b.mul(step.index, self.a_step)
            for r, line in enumerate(lines):
                weight = m.splat(m.at(line, offset))
                for u in range(self.vectors):
                    m.fma(values[u], weight, acc[r * self.vectors + u])
        self._finish(acc)

    def _row(self, base: Any, r: int, pitch: Any) -> Any:
        if r == 0:
            return base
        address = self.m.at(base, self.b_.mul(integer(r), pitch))
        return self.b_.select(self.b_.icmp_signed("<", integer(r), self.n_rows), address, base) if self.part else address

    def _finish(self, acc: list[Any]) -> None:
        m, b = self.m, self.b_
        vector = lambda base, u: m.load(m.at(base, u * m.lanes * m.size), self.masks[u])
        for at, slot in enumerate(acc):
            r, u = divmod(at, self.vectors)
            bias = m.splat(self._row(self.bias, r, integer(m.size))) if self.bias_rows else vector(self.bias, u)
            b.store(b.fadd(b.load(slot), bias), slot)
        with b.if_then(b.icmp_signed("!=", self.residual, integer(0)), likely=False):
            for at, slot in enumerate(acc):
                r, u = divmod(at, self.vectors)
                b.store(b.fadd(b.load(slot), vector(self._row(self.residual, r, self.r_by), u)), slot)
        m.activate(acc, *self.act)
        for r in range(self.rows):
            line = m.at(self.y, b.mul(integer(r), self.y_by))
            if self.part:
                with b.if_then(b.icmp_signed("<", integer(r), self.n_rows)):
                    self._store(acc, r, line)
            else:
                self._store(acc, r, line)

    def _store(self, acc: list[Any], r: int, line: Any) -> None:
        for u in range(self.vectors):
            self.m.store(self.b_.load(acc[r * self.vectors + u]), self.m.at(line, u * self.m.lanes * self.m.size), self.masks[u])


@intrinsic(prefer_literal=True)
def tile(typing: Any, dtype, lanes, rows, vectors, bias_rows, whole,
         a, a_row, a_step, b, b_step, depth, bias, residual, r_by, y, y_by, n_rows, n_lanes, act, lo, hi):  # fmt: skip
    """y[r, v] = epilogue(sum over depth d of a[r, d] * b[d, v]). The first five are literals; `whole`: all rows and lanes are results."""
    literals = (dtype, lanes, rows, vectors, bias_rows)
    kind, width, *shape = (t.literal_value for t in literals)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m, values = Vectors(context, b, kind, width), dict(zip(ARGUMENTS, args[len(literals) + 1 :]))
        values["act"] = args[-3:]
        with b.if_else(args[len(literals)]) as (all_of_it, part_of_it):
            for block, part in ((all_of_it, False), (part_of_it, True)):
                with block:
                    _Tile(m, tuple(shape), part, values).run()
        return context.get_dummy_value()

    numbers = [types.int64] * len(ARGUMENTS)
    return types.void(*literals, types.boolean, *numbers, types.float64, types.float64), codegen


@njit
def pack(packed, p, v, lanes, width, size):  # type: ignore[no-untyped-def]
    """A panel of the weight's transpose, output channels v to v + lanes innermost; moved as bits, whatever they mean."""
    to = packed.ctypes.data
    for lane in range(lanes):
        row = p[WEIGHT] + (v + lane) * p[WO]
        for d in range(p[C_IN]):
            if size == 4:
                store(to + (d * width + lane) * 4, load(row + d * p[WI], "int32"), "int32")
            else:
                store(to + (d * width + lane) * 8, load(row + d * p[WI], "int64"), "int64")


def channels_first(dtype, size, lanes, rows, vectors, parallel):  # type: ignore[no-untyped-def]
    """Vectors lie along the pixels. Here all pixels of an image lie along W, or groups of them along D and H (see `plans.flat`).

    Jobs are (image, group, block of BLOCK pixels, band of BAND output channels).
    """
    width = lanes * vectors

    def pointwise_channels_first(p):  # type: ignore[no-untyped-def]
        blocks = (p[IW] + p[BLOCK] - 1) // p[BLOCK]
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before, q = keep_subnormals(), snapshot(p)
            for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
                rest, band = divmod(job, q[BANDS])
                rest, block = divmod(rest, blocks)
                rest, h = divmod(rest, q[IH])
                n, d = divmod(rest, q[ID])
                x, y = q[X] + n * q[XN] + d * q[XD] + h * q[XH], q[OUT] + n * q[YN] + d * q[YD] + h * q[YH]
                r = q[RESIDUAL] + n * q[RN] + d * q[RD] + h * q[RH]
                channels, pixels = min(q[BAND], q[C_OUT] - band * q[BAND]), min(q[BLOCK], q[IW] - block * q[BLOCK])
                for v0 in range(0, pixels, width):
                    inner = placed(v0, width, pixels, q[OVERLAP])
                    v = block * q[BLOCK] + inner
                    for c0 in range(0, channels, rows):
                        done = placed(c0, rows, channels, q[OVERLAP])
                        c = band * q[BAND] + done
                        whole = channels - done >= rows and pixels - inner >= width
                        added = r + c * q[RC] + v * size if q[RESIDUAL] != 0 else 0
                        tile(dtype, lanes, rows, vectors, 1, whole,
                             q[WEIGHT] + c * q[WO], q[WO], q[WI], x + v * size, q[XC], q[C_IN], q[BIAS] + c * size,
                             added, q[RC], y + c * q[YC] + v * size, q[YC],
                             channels - done, pixels - inner, q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
            restore(before)

    return pointwise_channels_first


def channels_last(dtype, size, lanes, rows, vectors, parallel):  # type: ignore[no-untyped-def]
    """Vectors lie along the output channels, rows are pixels along W, in groups along D and H.

    Jobs are (panel of one tile's channels, image, group, band of BAND pixels): a thread's next job mostly finds its panel packed.
    """
    width = lanes * vectors

    def pointwise_channels_last(p):  # type: ignore[no-untyped-def]
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before, q = keep_subnormals(), snapshot(p)
            ready = q[WO] == size or q[C_OUT] == 1  # the weight is a transpose already
            packed, held = np.zeros(0 if ready else q[C_IN] * width * size, np.uint8), -1
            for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
                rest, band = divmod(job, q[BANDS])
                rest, h = divmod(rest, q[IH])
                rest, d = divmod(rest, q[ID])
                panel, n = divmod(rest, q[N])
                v = placed(panel * width, width, q[C_OUT], q[OVERLAP])
                channels = min(width, q[C_OUT] - v)
                if panel != held and not ready:
                    pack(packed, q, v, channels, width, size)
                    held = panel
                b = q[WEIGHT] + v * size if ready else packed.ctypes.data
                b_step = q[WI] if ready else width * size
                x, y = q[X] + n * q[XN] + d * q[XD] + h * q[XH], q[OUT] + n * q[YN] + d * q[YD] + h * q[YH] + v * size
                r = q[RESIDUAL] + n * q[RN] + d * q[RD] + h * q[RH] + v * size
                pixels = min(q[BAND], q[IW] - band * q[BAND])
                for at0 in range(0, pixels, rows):
                    done = placed(at0, rows, pixels, q[OVERLAP])
                    at = band * q[BAND] + done
                    whole = pixels - done >= rows and channels == width
                    added = r + at * q[RW] if q[RESIDUAL] != 0 else 0
                    tile(dtype, lanes, rows, vectors, 0, whole,
                         x + at * q[XW], q[XW], q[XC], b, b_step, q[C_IN], q[BIAS] + v * size,
                         added, q[RW], y + at * q[YW], q[YW],
                         pixels - done, channels, q[ACT], as_float(q[LO]), as_float(q[HI]))  # fmt: skip
            restore(before)

    return pointwise_channels_last
