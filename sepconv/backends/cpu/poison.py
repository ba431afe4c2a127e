"""What a padded zero gives under an infinite or NaN weight: NaN, as IEEE says of 0 * inf. The tuned kernels leave the border out with its
multiplications, and call for this where a weight is no finite number; nothing of it runs otherwise."""

from __future__ import annotations

import numpy as np

from .frame import *
from .intrinsics import load, store
from .jit import callee
from .loops import snapshot


@callee
def _meets(q, c, z, row, col, dtype):  # type: ignore[no-untyped-def]
    """Whether an infinite or NaN weight of channel c lies beyond the image at this output."""
    for d in range(q[KD]):
        depth = z * q[SD] + d * q[DD] - q[PD]
        for i in range(q[KH]):
            height = row * q[SH] + i * q[DH] - q[PH]
            for j in range(q[KW]):
                width = col * q[SW] + j * q[DW] - q[PW]
                if not (0 <= depth < q[ID] and 0 <= height < q[IH] and 0 <= width < q[IW]):
                    if not np.isfinite(load(q[WEIGHT] + c * q[WO] + d * q[WD] + i * q[WH] + j * q[WW], dtype)):
                        return True
    return False


def border(dtype, outputs):  # type: ignore[no-untyped-def]
    """A kernel that writes the NaNs of a depthwise convolution's border, into all `outputs` > 0 channels of a pixel where a 1x1 follows."""

    def poison(p, chunk):  # type: ignore[no-untyped-def]
        q = snapshot(p, 0)
        for n in range(q[N]):
            for c in range(q[C_OUT]):
                for z in range(q[OD]):
                    for row in range(q[OH]):
                        for col in range(q[OW]):
                            if _meets(q, c, z, row, col, dtype):
                                y = q[OUT] + n * q[YN] + z * q[YD] + row * q[YH] + col * q[YW]
                                if outputs:
                                    for o in range(q[GROUP]):
                                        store(y + o * q[YC], np.nan, dtype)
                                else:
                                    store(y + c * q[YC], np.nan, dtype)

    return poison
