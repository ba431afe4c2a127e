"""A correlation of two arrays with as many axes, not conjugated: by which kernels, or by an FFT."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .._fourier import convolved
from ..dispatch import explaining
from ..ndimage import _arguments as arguments
from ..ndimage import _running as running

Pads = list[tuple[int, int]]
TUNED = 7  # lines of taps up to which a kernel is compiled for their number
LARGE = 4096  # taps from which an FFT is faster, all axes together; measured on images and signals of a million points


def pads_of(mode: str, kernel: tuple[int, ...], late: bool = False) -> Pads:
    """What a correlation reads before and after the array. `late`: "same" of an even kernel begins one later, as `correlate2d`'s does."""
    if mode == "valid":
        return [(0, 0) for _ in kernel]
    start = [0 if mode == "full" else k // 2 if late else (k - 1) // 2 for k in kernel]
    return [(k - 1 - s, k - 1 if mode == "full" else s) for k, s in zip(kernel, start)]


def sums(x: np.ndarray, w: np.ndarray, pads: Pads, border: str = "constant") -> np.ndarray:
    """The correlation, not conjugated, in the common dtype."""
    dtype = np.result_type(x, w)
    if dtype.kind in "iu" and dtype.itemsize > 2:
        return _exact(x.astype(dtype, copy=False), w.astype(dtype, copy=False), pads, border)
    if dtype.name in ("float32", "float64") and border == "constant" and x.ndim <= 3 and w.shape[-2:-1] <= (TUNED,):
        return _tuned(x.astype(dtype, copy=False), w.astype(dtype, copy=False), pads, border)
    if border != "constant" and any(n + a + b - k + 1 > n for n, k, (a, b) in zip(x.shape, w.shape, pads)):
        x, pads = np.pad(x, pads, border), pads_of("valid", w.shape)
    return _dense(x, w, pads, "reflect" if border == "symmetric" else border, dtype)


def _tuned(x: np.ndarray, w: np.ndarray, pads: Pads, border: str) -> np.ndarray:
    """As a depthwise convolution of one channel, whose kernels are made for a number of lines of taps, or wrap as integers do."""
    fn = (ops.depthwise_conv1d, ops.depthwise_conv2d, ops.depthwise_conv3d)[x.ndim - 1]
    told = fn(x[None], w[None, None], padding=tuple(pads), padding_mode=border)
    if explaining():
        raise running.Told(told)
    return told[0]


def _exact(x: np.ndarray, w: np.ndarray, pads: Pads, border: str) -> np.ndarray:
    """Wide integers, which float64 does not hold. More than three axes: over the taps of the first, sums of correlations over the others."""
    if x.ndim <= 3:
        return _tuned(x, w, pads, border)
    (before, after), *rest = pads
    parts = []
    for i in range(x.shape[0] + before + after - w.shape[0] + 1):
        terms = [_exact(x[i + j - before], w[j], rest, border) for j in range(w.shape[0]) if 0 <= i + j - before < x.shape[0]]
        parts.append(sum(terms[1:], terms[0]))
    return np.stack(parts)


def _dense(x: np.ndarray, w: np.ndarray, pads: Pads, border: str, dtype: np.dtype) -> np.ndarray:
    """By the filters of `sepconv.ndimage`, which sum in float64, for any size of kernel and any number of axes."""
    size = [n + a + b - k + 1 for n, k, (a, b) in zip(x.shape, w.shape, pads)]
    if any(m > n for m, n in zip(size, x.shape)):  # filters have as many outputs as inputs
        x = np.pad(x, [(0, max(0, m - n)) for m, n in zip(size, x.shape)])
    x = x.astype(np.float32) if x.dtype == np.float16 else x.astype(np.complex128, copy=False) if x.dtype.kind == "c" else x
    w = w.astype(np.complex128 if w.dtype.kind == "c" else np.float64)
    # Of double precision, complex64's parts too: in float32 large ones might go through the frequencies, unasked.
    output = np.empty(x.shape, np.complex128 if dtype.kind == "c" else np.int64 if dtype.kind in "iub" else np.float64)
    origins = [a - k // 2 for k, (a, _) in zip(w.shape, pads)]

    def real(part: np.ndarray, taps: np.ndarray, to: np.ndarray, cval: Any) -> None:
        running.run_dense(part, to, np.ascontiguousarray(taps), arguments.mode_code(border), 0.0, origins)
        if part.dtype.kind == "f" and (taps == 0).any() and not np.isfinite(part).all():
            unseen = np.empty(part.shape)  # filters leave out taps of zero, which here make a NaN of what is not finite
            strange = np.where(np.isfinite(part), 0.0, np.nan)
            running.run_dense(strange, unseen, np.ascontiguousarray(taps == 0, np.float64), arguments.mode_code(border), 0.0, origins)
            to += unseen

    running.by_parts(real, x, w, output, 0.0)
    return output[tuple(slice(0, m) for m in size)].astype(dtype)


def flip(w: np.ndarray) -> np.ndarray:
    return w[(slice(None, None, -1),) * w.ndim]


def transformed(x: np.ndarray, w: np.ndarray, method: str) -> bool:
    """Whether the convolution is to be done by an FFT."""
    if method != "auto" or explaining():
        return method == "fft"
    if np.result_type(x, w).kind not in "fc" or min(x.size, w.size) < LARGE:
        return False
    return bool(np.isfinite(x).all() and np.isfinite(w).all())


def either(x: np.ndarray, w: np.ndarray, pads: Pads, method: str) -> np.ndarray:
    """The correlation, not conjugated, by sums or by an FFT."""
    if not transformed(x, w, method):
        return sums(x, w, pads)
    dtype = np.result_type(x, w)
    wide = np.dtype(np.float64) if dtype.kind in "iub" else np.dtype(np.float32) if dtype == np.float16 else dtype
    whole = convolved(x.astype(wide, copy=False), flip(w).astype(wide, copy=False), range(x.ndim))
    parts = tuple(slice(k - 1 - a, n + b) for n, k, (a, b) in zip(x.shape, w.shape, pads))
    return (np.rint(whole[parts]) if dtype.kind in "iub" else whole[parts]).astype(dtype, copy=False)
