"""Plain loops: any dtype, any geometry, any strides. The net under everything; the tuned kernels carry the common cases."""

from __future__ import annotations

import numpy as np

from ...activations import CLIP
from .frame import *
from .intrinsics import activate, as_float, keep_subnormals, load, restore, store
from .jit import callee
from .loops import border, first_job, snapshot


@callee(inline="always")
def add_tap(acc, p, line, exists, first, weight, dtype):  # type: ignore[no-untyped-def]
    """acc[o] += weight * x[o * stride + first] along one output row; a position outside counts as the border mode says, zeros too."""
    stride, size, step = p[SW], p[IW], p[XW]
    low = min(p[OW], max(0, -(first // stride)))  # the outputs from low to high read inside the row
    high = min(p[OW], max(low, (size - 1 - first) // stride + 1))
    zero = weight * (weight - weight)  # NaN for an infinite weight: a padded zero is multiplied like any other value
    if not exists:
        for o in range(p[OW]):
            acc[o] += zero
        return
    for o in range(low):
        at = border(o * stride + first, size, p[MODE])
        acc[o] += load(line + at * step, dtype) * weight if at >= 0 else zero
    for o in range(low, high):
        acc[o] += load(line + (o * stride + first) * step, dtype) * weight
    for o in range(high, p[OW]):
        at = border(o * stride + first, size, p[MODE])
        acc[o] += load(line + at * step, dtype) * weight if at >= 0 else zero


def rows(dtype, result, accumulate, sort):  # type: ignore[no-untyped-def]
    """A kernel for one dtype, read as `dtype`, summed in `accumulate` and written as `result`; a job is one row of the output.

    `sort`: 0 real floating point, with every activation; 1 integer, with bounds; 2 complex, with none.
    """

    def direct(p, chunk):  # type: ignore[no-untyped-def]
        before, q = keep_subnormals(), snapshot(p, 0)
        acc = np.empty(q[OW], accumulate)
        for job in range(first_job(q, chunk), first_job(q, chunk + 1)):
            rest, row = divmod(job, q[OH])
            rest, z = divmod(rest, q[OD])
            n, c = divmod(rest, q[C_OUT])
            acc[:] = 0
            for i in range(q[GROUP_IN]):
                x = q[X] + n * q[XN] + (c // q[GROUP_OUT] * q[GROUP_IN] + i) * q[XC]
                w = q[WEIGHT] + c * q[WO] + i * q[WI]
                for d in range(q[KD]):
                    depth = border(z * q[SD] + d * q[DD] - q[PD], q[ID], q[MODE])
                    for h in range(q[KH]):
                        height = border(row * q[SH] + h * q[DH] - q[PH], q[IH], q[MODE])
                        line = x + depth * q[XD] + height * q[XH]
                        for j in range(q[KW]):
                            weight = accumulate(load(w + d * q[WD] + h * q[WH] + j * q[WW], dtype))
                            add_tap(acc, q, line, depth >= 0 and height >= 0, j * q[DW] - q[PW], weight, dtype)
            y = q[OUT] + n * q[YN] + c * q[YC] + z * q[YD] + row * q[YH]
            r = q[RESIDUAL] + n * q[RN] + c * q[RC] + z * q[RD] + row * q[RH]
            for o in range(q[OW]):
                value = accumulate(acc[o] + load(q[BIAS] + c * q[BIAS_BY], result))
                if q[RESIDUAL] != 0:
                    value = accumulate(value + load(r + o * q[RW], result))
                if sort == 0:
                    value = activate(value, q[ACT], as_float(q[LO]), as_float(q[HI]))
                elif sort == 1 and q[ACT] == CLIP:
                    value = min(max(value, accumulate(q[LO])), accumulate(q[HI]))
                store(y + o * q[YW], accumulate(value), result)
        restore(before)

    return direct
