"""Standard and grouped convolution: the product of `product.py` of the weights and the windows of x, which `slabs.py` looks up, slab by slab.

k counts the taps and channels of a group. Channels first, rows are output channels and columns pixels; channels last it is the other way round,
and the channels of one tap lie next to each other.
"""

from __future__ import annotations

import numpy as np

from .pointwise import kernel, staged
from .product import conclude, fetch
from .slabs import taps, windows

FIELDS = (
    "X", "WEIGHT", "BIAS", "OUT", "BIAS_BY", "LO", "HI", "GROUP_IN", "GROUP_OUT", "ID", "IH", "IW", "OD", "OH", "OW", "SD", "SH", "SW", "DD", "DH",
    "DW", "PD", "PH", "PW", "XN", "XC", "XD", "XH", "XW", "WO", "WI", "WD", "WH", "WW", "YN", "YC", "YD", "YW",
)  # fmt: skip
(X, WEIGHT, BIAS, OUT, BIAS_BY, LO, HI, GROUP_IN, GROUP_OUT, ID, IH, IW, OD, OH, OW, SD, SH, SW, DD, DH,
 DW, PD, PH, PW, XN, XC, XD, XH, XW, WO, WI, WD, WH, WW, YN, YC, YD, YW) = range(len(FIELDS))  # fmt: skip
MAGIC, SHIFT, C_MAGIC, C_SHIFT, GROUPS, DEPTH = range(len(FIELDS), len(FIELDS) + 6)


def phases(shape, count, rows, cols, last, matrix):  # type: ignore[no-untyped-def]
    """(corner, ahead, finish), as in `pointwise.phases`. `matrix`: the weights are one, with k along its rows. Images, groups and depths lie along
    the grid's z."""

    def corner(q, bx, by, bz):  # type: ignore[no-untyped-def]
        """Addresses of the image's group, of its weights, of the results and biases; rows and columns left; the first pixel; the first depth read."""
        pixel, channel = np.int64(bx) * (rows if last else cols), np.int64(by) * (cols if last else rows)
        whole = np.int64(bz) // q[OD]
        z, n = bz - whole * q[OD], whole // q[GROUPS]
        group = whole - n * q[GROUPS]
        own = group * q[GROUP_OUT] + channel  # the output channel
        return (
            q[X] + n * q[XN] + group * q[GROUP_IN] * q[XC], q[WEIGHT] + own * q[WO], q[OUT] + n * q[YN] + own * q[YC] + z * q[YD] + pixel * q[YW],
            q[BIAS] + own * q[BIAS_BY], q[OH] * q[OW] - pixel, q[GROUP_OUT] - channel, pixel, z * q[SD] - q[PD],
        )  # fmt: skip

    def ahead(q, at, t, held, k0):  # type: ignore[no-untyped-def]
        k, depth, channels, inside, none = np.int32(k0), np.int32(q[DEPTH]), np.int32(at[5]), np.int32(q[GROUP_IN]), np.int64(0)
        windows(shape, count, t, held, at[0], q[XC], q[XD], np.int32(q[XH]), np.int32(q[XW]), np.int32(q[ID]), np.int32(q[IH]), np.int32(q[IW]),
                np.int32(at[7]), np.int32(-q[PH]), np.int32(-q[PW]), np.int32(q[SH]), np.int32(q[SW]), np.int32(q[DD]), np.int32(q[DH]),
                np.int32(q[DW]), np.int32(at[6]), np.int32(at[4]), np.int32(q[OW]), q[MAGIC], q[SHIFT], inside, q[C_MAGIC], q[C_SHIFT], k,
                depth)  # fmt: skip
        if not matrix:
            taps(shape, count, t, held, at[1], q[WO], q[WI], q[WD], q[WH], q[WW], channels, inside, q[C_MAGIC], q[C_SHIFT], k, depth)
        elif last:
            fetch(shape, t, held, none, none, np.int32(0), at[1], q[WO], channels, k, depth)
        else:
            fetch(shape, t, held, at[1], q[WO], channels, none, none, np.int32(0), k, depth)

    def finish(q, at, t, acc):  # type: ignore[no-untyped-def]
        pixels, channels = np.int32(at[4]), np.int32(at[5])
        if last:
            conclude(shape, t, acc, at[2], q[YW], pixels, channels, at[3], q[BIAS_BY], np.int64(0), np.int64(0), q[LO], q[HI])
        else:
            conclude(shape, t, acc, at[2], q[YC], channels, pixels, at[3], q[BIAS_BY], np.int64(0), np.int64(0), q[LO], q[HI])

    return corner, ahead, finish


product = staged(phases, DEPTH)
__all__ = ["kernel", "phases", "product"]
