"""Plain loops: any dtype, any geometry, any strides. The net under everything; the tuned kernels carry the common cases."""

from __future__ import annotations

import numpy as np
from numba import cuda

from ...activations import CLIP
from ..borders import source
from ..cpu import frame
from ..cpu.frame import *
from .lanes import SIMULATED, activate, load, rounded, store

_places = {name: getattr(frame, name) for name in frame.__all__ if isinstance(getattr(frame, name), int)}
FIELDS = tuple(sorted((name for name, at in _places.items() if 0 <= at < frame.STRANGE), key=_places.__getitem__))  # what a kernel is passed
border = source if SIMULATED else cuda.jit(device=True, inline="always")(source)  # inlined: else Numba asks the driver while it compiles


def outputs(dtype, result, accumulate, sort, x_kind, w_kind, b_kind, r_kind, align):  # type: ignore[no-untyped-def]
    """A kernel for one set of dtypes; a thread computes one output after another, a grid apart.

    Summed in `accumulate`, written as `result`; x, weight, bias and residual lie in memory as `*_kind`, on multiples of `align` elements' parts.
    `sort`: 0 real floating point, with every activation; 1 integer, with bounds; 2 complex, with none.
    """
    x_align, w_align, b_align, r_align, y_align = align
    b_round, r_round = (result in ("float16", "bfloat16") and kind != result for kind in (b_kind, r_kind))

    def direct(q):  # type: ignore[no-untyped-def]
        total = q[N] * q[C_OUT] * q[OD] * q[OH] * q[OW]
        at = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        step = np.int64(cuda.gridDim.x) * cuda.blockDim.x
        for place in range(at, total, step):
            rest, col = place // q[OW], place % q[OW]
            rest, row = rest // q[OH], rest % q[OH]
            rest, z = rest // q[OD], rest % q[OD]
            n, c = rest // q[C_OUT], rest % q[C_OUT]
            acc = accumulate(0)
            x0 = q[X] + n * q[XN] + c // q[GROUP_OUT] * q[GROUP_IN] * q[XC]
            w0 = q[WEIGHT] + c * q[WO]
            for d in range(q[KD]):
                depth = border(z * q[SD] + d * q[DD] - q[PD], q[ID], q[MODE])
                for h in range(q[KH]):
                    height = border(row * q[SH] + h * q[DH] - q[PH], q[IH], q[MODE])
                    for j in range(q[KW]):
                        wide = border(col * q[SW] + j * q[DW] - q[PW], q[IW], q[MODE])
                        exists = depth >= 0 and height >= 0 and wide >= 0
                        x = x0 + depth * q[XD] + height * q[XH] + wide * q[XW]
                        w = w0 + d * q[WD] + h * q[WH] + j * q[WW]
                        for i in range(q[GROUP_IN]):
                            value = accumulate(0)  # multiplied like any other: an infinite weight gives NaN
                            if exists:
                                value = accumulate(load(x + i * q[XC], x_kind, x_align))
                            acc = accumulate(acc + value * accumulate(load(w + i * q[WI], w_kind, w_align)))
            if q[BIAS] != 0:
                bias = load(q[BIAS] + c * q[BIAS_BY], b_kind, b_align)
                acc = accumulate(acc + accumulate(rounded(bias, result) if b_round else bias))
            if q[RESIDUAL] != 0:
                more = load(q[RESIDUAL] + n * q[RN] + c * q[RC] + z * q[RD] + row * q[RH] + col * q[RW], r_kind, r_align)
                acc = accumulate(acc + accumulate(rounded(more, result) if r_round else more))
            if sort == 0:
                acc = activate(acc, q[ACT], q[LO], q[HI])
            elif sort == 1 and q[ACT] == CLIP:
                acc = min(max(acc, accumulate(np.int64(q[LO]))), accumulate(np.int64(q[HI])))
            store(q[OUT] + n * q[YN] + c * q[YC] + z * q[YD] + row * q[YH] + col * q[YW], acc, result, y_align)

    return direct


def kernel(factory, *cells):  # type: ignore[no-untyped-def]
    return factory(*cells)
