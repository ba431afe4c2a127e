"""Plain loops under prange: any dtype, any geometry, any strides. The net under everything; the tuned kernels carry the common cases."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from ...activations import CLIP
from .frame import (
    ACT, BIAS, BIAS_BY, C_OUT, CHUNKS, DD, DH, DW, GROUP_IN, GROUP_OUT, HI, ID, IH, IW, KD, KH, KW, LO, MODE, OD, OH, OUT, OW, PD, PH, PW, RC, RD,
    RESIDUAL, RH, RN, RW, SD, SH, SW, WD, WEIGHT, WH, WI, WO, WW, X, XC, XD, XH, XN, XW, YC, YD, YH, YN, YW,
)  # fmt: skip
from .loops import border, first_job
from .simd import activate, as_float, keep_subnormals, load, restore, store


@njit(inline="always")
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


def rows(dtype, result, accumulate, sort, parallel):  # type: ignore[no-untyped-def]
    """A kernel for one dtype, read as `dtype`, summed in `accumulate` and written as `result`; a job is one row of the output.

    `sort`: 0 real floating point, with every activation; 1 integer, with bounds; 2 complex, with none.
    """

    def direct(p):  # type: ignore[no-untyped-def]
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before = keep_subnormals()
            acc = np.empty(p[OW], accumulate)
            for job in range(first_job(p, chunk), first_job(p, chunk + 1)):
                rest, row = divmod(job, p[OH])
                rest, z = divmod(rest, p[OD])
                n, c = divmod(rest, p[C_OUT])
                acc[:] = 0
                for i in range(p[GROUP_IN]):
                    x = p[X] + n * p[XN] + (c // p[GROUP_OUT] * p[GROUP_IN] + i) * p[XC]
                    w = p[WEIGHT] + c * p[WO] + i * p[WI]
                    for d in range(p[KD]):
                        depth = border(z * p[SD] + d * p[DD] - p[PD], p[ID], p[MODE])
                        for h in range(p[KH]):
                            height = border(row * p[SH] + h * p[DH] - p[PH], p[IH], p[MODE])
                            line = x + depth * p[XD] + height * p[XH]
                            for j in range(p[KW]):
                                weight = accumulate(load(w + d * p[WD] + h * p[WH] + j * p[WW], dtype))
                                add_tap(acc, p, line, depth >= 0 and height >= 0, j * p[DW] - p[PW], weight, dtype)
                y = p[OUT] + n * p[YN] + c * p[YC] + z * p[YD] + row * p[YH]
                r = p[RESIDUAL] + n * p[RN] + c * p[RC] + z * p[RD] + row * p[RH]
                for o in range(p[OW]):
                    value = accumulate(acc[o] + load(p[BIAS] + c * p[BIAS_BY], result))
                    if p[RESIDUAL] != 0:
                        value = accumulate(value + load(r + o * p[RW], result))
                    if sort == 0:
                        value = activate(value, p[ACT], as_float(p[LO]), as_float(p[HI]))
                    elif sort == 1 and p[ACT] == CLIP:
                        value = min(max(value, accumulate(p[LO])), accumulate(p[HI]))
                    store(y + o * p[YW], accumulate(value), result)
            restore(before)

    return direct
