"""Pointwise convolution: the matrix product of `product.py`, for both layouts.

channels first   rows of the tile are output channels, vectors lie along the pixels; x is read in place
channels last    rows of the tile are pixels, vectors lie along the output channels; a panel of the weight is packed, x read in place
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from .frame import *
from .loops import first_job, move, placed, snapshot
from .product import tile
from .simd import as_float, keep_subnormals, restore


@njit
def pack(packed, p, v, lanes, width, size):  # type: ignore[no-untyped-def]
    """A panel of the weight's transpose, output channels v to v + lanes innermost."""
    for lane in range(lanes):
        move(packed.ctypes.data + lane * size, width * size, p[WEIGHT] + (v + lane) * p[WO], p[WI], p[C_IN], size)


def channels_first(dtype, size, lanes, rows, vectors, parallel):  # type: ignore[no-untyped-def]
    """Vectors lie along the pixels. Here all pixels of an image lie along W, or groups of them along D and H (see `frame.flat`).

    Jobs are (image, group, block of BLOCK pixels, band of BAND output channels).
    """
    width = lanes * vectors

    def pointwise_channels_first(p):  # type: ignore[no-untyped-def]
        blocks = (p[IW] + p[BLOCK] - 1) // p[BLOCK]
        chunks = p[CHUNKS] if parallel else 1
        for chunk in prange(chunks):
            before, q = keep_subnormals(), snapshot(p, 0)
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
            before, q = keep_subnormals(), snapshot(p, 0)
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
