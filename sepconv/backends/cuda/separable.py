"""Depthwise-separable convolution in one kernel: the product of `product.py`, of which one factor is made, slab by slab, by the tiles of
`stencil.py`. The depthwise results go from registers to shared memory and no further: there is no middle tensor.

Every block computes the depthwise half of its pixels for itself; `tiles.py` takes this kernel where few blocks share pixels.
"""

from __future__ import annotations

import numpy as np

from .pointwise import finishing, kernel, staged
from .product import fetch
from .slabs import filtered, filtered_last

FIELDS = ("X", "WEIGHT", "BIAS", "BIAS_BY", "LO", "HI", "IH", "IW", "OW", "XN", "XC", "XH", "XW", "WO", "WH", "WW")  # of the depthwise half
(X, WEIGHT, BIAS, BIAS_BY, LO, HI, IH, IW, OW, XN, XC, XH, XW, WO, WH, WW) = range(len(FIELDS))
AFTER = (  # of the pointwise one
    "WEIGHT", "BIAS", "RESIDUAL", "OUT", "BIAS_BY", "LO", "HI", "C_IN", "C_OUT", "OW", "WO", "WI", "RN", "RC", "RW", "YN", "YC", "YW",
)  # fmt: skip
(P_WEIGHT, P_BIAS, P_RESIDUAL, P_OUT, P_BIAS_BY, P_LO, P_HI, P_IN, P_CHANNELS, P_PIXELS, P_WO, P_WI, P_RN, P_RC, P_RW, P_YN, P_YC, P_YW) = range(
    len(FIELDS), len(FIELDS) + len(AFTER)
)
MAGIC, SHIFT = len(FIELDS) + len(AFTER), len(FIELDS) + len(AFTER) + 1


def phases(shape, stencil, multiplier, rows, cols, last, wide):  # type: ignore[no-untyped-def]
    """(corner, ahead, finish), as in `pointwise.phases`. `wide`: the pointwise weights lie next to each other along the output channels."""

    def corner(q, bx, by, bz):  # type: ignore[no-untyped-def]
        pixel, channel = np.int64(bx) * (rows if last else cols), np.int64(by) * (cols if last else rows)
        residual = q[P_RESIDUAL] + bz * q[P_RN] + channel * q[P_RC] + pixel * q[P_RW] if q[P_RESIDUAL] != 0 else np.int64(0)
        return (
            q[X] + bz * q[XN], q[P_WEIGHT] + channel * q[P_WO], residual, q[P_OUT] + bz * q[P_YN] + channel * q[P_YC] + pixel * q[P_YW],
            q[P_BIAS] + channel * q[P_BIAS_BY], q[P_PIXELS] - pixel, q[P_CHANNELS] - channel, pixel,
        )  # fmt: skip

    def ahead(q, at, t, held, k0):  # type: ignore[no-untyped-def]
        depth, pixels, channels, k = np.int32(q[P_IN]), np.int32(at[5]), np.int32(at[6]), np.int32(k0)
        none, far = np.int64(0), q[P_WI] if wide else q[P_WO]
        if last:
            filtered_last(shape, stencil, t, held, at[0], np.int32(q[XH]), np.int32(q[XW]), np.int32(q[IH]), np.int32(q[IW]), np.int32(at[7]), pixels,
                          np.int32(q[OW]), q[MAGIC], q[SHIFT], q[WEIGHT], np.int32(q[WO]), np.int32(q[WH]), np.int32(q[WW]), q[BIAS], q[BIAS_BY],
                          q[LO], q[HI], k, depth)  # fmt: skip
            fetch(shape, t, held, none, none, np.int32(0), at[1], far, channels, k, depth)
        else:
            fetch(shape, t, held, at[1], far, channels, none, none, np.int32(0), k, depth)
            filtered(shape, stencil, multiplier, t, held, at[0], q[XC], np.int32(q[XH]), np.int32(q[IH]), np.int32(q[IW]), np.int32(at[7]), pixels,
                     np.int32(q[OW]), q[MAGIC], q[SHIFT], q[WEIGHT], q[WO], np.int32(q[WH]), np.int32(q[WW]), q[BIAS], q[BIAS_BY], q[LO], q[HI],
                     k, depth)  # fmt: skip

    return corner, ahead, finishing(shape, last, P_YW if last else P_YC, P_RW if last else P_RC, P_BIAS_BY, P_LO, P_HI)


product = staged(phases, P_IN)
__all__ = ["kernel", "phases", "product"]
