"""The kernels of `filters.py`: an output a thread, summed in SciPy's order. Plain loops over up to four axes, the last the densest of the result."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from .direct import border
from .lanes import load, number, settle, times

# Addresses of x, the result, the weights and the offsets of dense taps; how many weights; the value beyond the edge, as bits
X, Y, WEIGHTS, OFFSETS, COUNT, CVAL = range(6)
SIZES, XS, YS, MODES = range(6, 10), range(10, 14), range(14, 18), range(18, 22)  # for each axis
BEFORE, TAPS = 22, 23  # of a filter along one axis: how far its first tap lies before the output, and how many it has
WORDS = 24
S0, S1, S2, S3 = SIZES
X0, X1, X2, X3 = XS
Y0, Y1, Y2, Y3 = YS
M0, M1, M2, M3 = MODES
MEAN = -1  # in place of the sort of symmetry


def _lanes(x_kind, sums, align):  # type: ignore[no-untyped-def]
    """read(address, exists, cval) and add(total, value, weight): float64 without fusing the two, so that the last bit is SciPy's."""
    bound = sums == "float64"
    kind = np.float64 if bound else np.float32

    @cuda.jit(device=True, inline="always")
    def read(address, exists, cval):  # type: ignore[no-untyped-def]
        value = cval
        if exists:
            value = kind(load(address, x_kind, align))
        return value

    @cuda.jit(device=True, inline="always")
    def add(total, value, weight):  # type: ignore[no-untyped-def]
        return total + times(value, weight) if bound else total + value * weight

    return kind, read, add


def along(x_kind, y_kind, sums, x_align, y_align, sort, axis):  # type: ignore[no-untyped-def]
    """A filter along one of the four axes; `sort` is of `filters.symmetry`, or MEAN. The weights lie as `filters.order` takes them."""
    kind, read, add = _lanes(x_kind, sums, x_align)
    n_at, step_at, mode_at = SIZES[axis], XS[axis], MODES[axis]
    symmetric = sort == 1
    w_kind, w_size = sums, np.dtype(sums).itemsize

    def filter_along(q, cval, i0, i1, i2, i3):  # type: ignore[no-untyped-def]
        n, far, mode, taps, weights = q[n_at], q[step_at], q[mode_at], q[TAPS], q[WEIGHTS]
        at = i0 if axis == 0 else i1 if axis == 1 else i2 if axis == 2 else i3
        line = q[X] + i0 * q[X0] + i1 * q[X1] + i2 * q[X2] + i3 * q[X3] - at * far
        begin = at - q[BEFORE]
        acc = kind(0)
        if sort == MEAN:
            for j in range(taps):
                where = border(begin + j, n, mode)
                acc = acc + read(line + where * far, where >= 0, cval)
            acc = acc / kind(taps)
        elif sort == 0:
            for term in range(taps):
                where = border(begin + (term - 1 if term > 0 else taps - 1), n, mode)
                acc = add(acc, read(line + where * far, where >= 0, cval), load(weights + term * w_size, w_kind, w_size))
        else:
            where = border(begin + taps // 2, n, mode)
            acc = add(acc, read(line + where * far, where >= 0, cval), load(weights, w_kind, w_size))
            for term in range(1, taps // 2 + 1):
                where, there = border(begin + term - 1, n, mode), border(begin + taps - term, n, mode)
                left, right = read(line + where * far, where >= 0, cval), read(line + there * far, there >= 0, cval)
                pair = left + right if symmetric else left - right
                acc = add(acc, pair, load(weights + term * w_size, w_kind, w_size))
        settle(q[Y] + i0 * q[Y0] + i1 * q[Y1] + i2 * q[Y2] + i3 * q[Y3], acc, y_kind, y_align)

    return filter_along


def dense(x_kind, y_kind, sums, x_align, y_align):  # type: ignore[no-untyped-def]
    """A filter over the four axes: of each tap its offsets, four int64, and its weight."""
    kind, read, add = _lanes(x_kind, sums, x_align)

    def filter_dense(q, cval, i0, i1, i2, i3):  # type: ignore[no-untyped-def]
        acc = kind(0)
        for tap in range(q[COUNT]):
            offsets = q[OFFSETS] + tap * 32
            w0 = border(i0 + load(offsets, "int64", 8), q[S0], q[M0])
            w1 = border(i1 + load(offsets + 8, "int64", 8), q[S1], q[M1])
            w2 = border(i2 + load(offsets + 16, "int64", 8), q[S2], q[M2])
            w3 = border(i3 + load(offsets + 24, "int64", 8), q[S3], q[M3])
            exists = w0 >= 0 and w1 >= 0 and w2 >= 0 and w3 >= 0
            value = read(q[X] + w0 * q[X0] + w1 * q[X1] + w2 * q[X2] + w3 * q[X3], exists, cval)
            acc = add(acc, value, load(q[WEIGHTS] + tap * 8, "float64", 8))
        settle(q[Y] + i0 * q[Y0] + i1 * q[Y1] + i2 * q[Y2] + i3 * q[Y3], acc, y_kind, y_align)

    return filter_dense


def mixed(x_kind, y_kind, sums, x_align, y_align, what):  # type: ignore[no-untyped-def]
    """y becomes x, y + x or y - x, or x squared, or its root, or the value beyond the edge."""
    kind, read, _ = _lanes(x_kind, sums, x_align)
    _, again, _ = _lanes("uint8" if y_kind == "bool" else y_kind, sums, y_align)
    old, sign = what in ("add", "subtract"), -1 if what == "subtract" else 1

    def mix(q, cval, i0, i1, i2, i3):  # type: ignore[no-untyped-def]
        value = read(q[X] + i0 * q[X0] + i1 * q[X1] + i2 * q[X2] + i3 * q[X3], True, cval)
        to = q[Y] + i0 * q[Y0] + i1 * q[Y1] + i2 * q[Y2] + i3 * q[Y3]
        if what == "fill":
            value = cval
        elif old:
            value = again(to, True, cval) + sign * value
        elif what == "square":
            value = value * value
        elif what == "root":
            value = kind(math.sqrt(value))
        settle(to, value, y_kind, y_align)

    return mix


def kernel(factory, *cells):  # type: ignore[no-untyped-def]
    """The CUDA kernel of a body, which makes the output at a place of the four axes, and is passed the value beyond the edge as a number."""
    body, sums = cuda.jit(device=True, inline="always")(factory(*cells)), cells[2]

    def linear(q):  # type: ignore[no-untyped-def]
        total, cval = q[S0] * q[S1] * q[S2] * q[S3], number(q[CVAL], sums)
        first = np.int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        for place in range(first, total, np.int64(cuda.gridDim.x) * cuda.blockDim.x):
            rest, i3 = place // q[S3], place % q[S3]
            rest, i2 = rest // q[S2], rest % q[S2]
            i0, i1 = rest // q[S1], rest % q[S1]
            body(q, cval, i0, i1, i2, i3)

    return linear
