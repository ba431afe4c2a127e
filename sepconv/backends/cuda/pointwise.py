"""Pointwise convolution: a block's way through the matrix product of `product.py`, for both layouts.

The two phases between barriers, `advance` and `use`, are functions of their own, so that tests can run them on the CPU, a thread at a time.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from .product import conclude, fetch, multiply, put, registers, shared

FIELDS = (
    "X", "WEIGHT", "BIAS", "RESIDUAL", "OUT", "BIAS_BY", "LO", "HI", "C_IN", "C_OUT", "OW", "XN", "XC", "XW", "WO", "WI", "RN", "RC", "RW",
    "YN", "YC", "YW",
)  # fmt: skip
(X, WEIGHT, BIAS, RESIDUAL, OUT, BIAS_BY, LO, HI, C_IN, C_OUT, OW, XN, XC, XW, WO, WI, RN, RC, RW, YN, YC, YW) = range(len(FIELDS))


def phases(shape, size, rows, cols, deep, last, a_wide, b_wide):  # type: ignore[no-untyped-def]
    """(corner, ahead, finish): where a block begins; its words of a slab; its results. `last`: pixels are the rows, channels the columns."""

    def corner(q, bx, by, bz):  # type: ignore[no-untyped-def]
        """Addresses of x, weight, residual, result, bias at the block's corner, and how many rows and columns there are from there on."""
        pixel = np.int64(bx) * (rows if last else cols)
        channel = np.int64(by) * (cols if last else rows)
        residual = q[RESIDUAL] + bz * q[RN] + channel * q[RC] + pixel * q[RW] if q[RESIDUAL] != 0 else np.int64(0)
        return (
            q[X] + bz * q[XN] + pixel * q[XW], q[WEIGHT] + channel * q[WO], residual, q[OUT] + bz * q[YN] + channel * q[YC] + pixel * q[YW],
            q[BIAS] + channel * q[BIAS_BY], min(q[OW] - pixel, np.int64(1 << 20)), q[C_OUT] - channel,
        )  # fmt: skip

    def ahead(q, at, t, held, k0):  # type: ignore[no-untyped-def]
        depth, pixels, channels = np.int32(q[C_IN]), np.int32(at[5]), np.int32(at[6])
        if last:
            fetch(shape, t, held, at[0], q[XC] if a_wide else q[XW], pixels, at[1], q[WI] if b_wide else q[WO], channels, np.int32(k0), depth)
        else:
            fetch(shape, t, held, at[1], q[WI] if a_wide else q[WO], channels, at[0], q[XC] if b_wide else q[XW], pixels, np.int32(k0), depth)

    return corner, ahead, finishing(shape, last, YW if last else YC, RW if last else RC, BIAS_BY, LO, HI)


def finishing(shape, last, y_far, r_far, by, lo, hi):  # type: ignore[no-untyped-def]
    """The last phase: the epilogue and the stores. What it takes are places in q, since the numbers of a separable layer's second half stand behind
    those of its first."""
    rows, cols = (5, 6) if last else (6, 5)

    def finish(q, at, t, acc):  # type: ignore[no-untyped-def]
        conclude(shape, t, acc, at[3], q[y_far], np.int32(at[rows]), np.int32(at[cols]), at[4], q[by], at[2], q[r_far], q[lo], q[hi])

    return finish


def staged(parts, depth):  # type: ignore[no-untyped-def]
    """The factory of a block's body from its phases' factory; the channels to sum over are q[depth]."""

    def product(shape, sums, outputs, held_count, slab, deep, *cells):  # type: ignore[no-untyped-def]
        """The body of a block, over (q, shared memory); the cells after the first are the phases'."""
        corner, ahead, finish = (cuda.jit(device=True, inline="always")(f) for f in parts(shape, *cells))

        def run(q, room):  # type: ignore[no-untyped-def]
            at, t = corner(q, cuda.blockIdx.x, cuda.blockIdx.y, cuda.blockIdx.z), np.int32(cuda.threadIdx.x)
            acc, held = registers(sums, outputs), registers(sums, held_count)
            steps = (q[depth] + deep - 1) // deep
            ahead(q, at, t, held, 0)
            put(shape, t, held, room, np.int32(0))
            cuda.syncthreads()
            for step in range(1, steps + 1):
                if step < steps:
                    ahead(q, at, t, held, step * deep)
                multiply(shape, t, acc, room, np.int32((step - 1) & 1))
                if step < steps:
                    put(shape, t, held, room, np.int32(step & 1))
                cuda.syncthreads()
            finish(q, at, t, acc)

        return run

    product.parts, product.depth, product.__module__ = parts, depth, parts.__module__
    return product


product = staged(phases, C_IN)


def kernel(factory, *cells):  # type: ignore[no-untyped-def]
    """The CUDA kernel of a body: with its shared memory, two slabs."""
    run = cuda.jit(device=True, inline="always")(factory(*cells))
    sums, count = cells[1], 2 * cells[4]

    def pointwise(q):  # type: ignore[no-untyped-def]
        run(q, shared(sums, count))

    return pointwise
