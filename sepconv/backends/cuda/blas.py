"""1x1 convolutions of PyTorch's and CuPy's arrays as a matrix product of that library, which is cuBLAS: where SEPCONV_CUDA_BLAS=1 asks for it.

Not without being asked: how it rounds is then the library's to say (PyTorch's `allow_tf32`, say), and would differ from what the same call gives for
an array of another library. In 16 bits the kernels here use tensor cores, too, by `mma`; a Hopper's cuBLAS has `wgmma`, which is faster. Only
what is one product and nothing else is handed over: packed memory, no bias, residual, activation or `out`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from ... import activations
from ...problem import Problem
from ..cpu import frame
from .arrays import View, packed

ASKED = os.environ.get("SEPCONV_CUDA_BLAS", "") not in ("", "0")


def takes(problems: Sequence[Problem], given: Sequence[View | None], out: View | None) -> bool:
    """Whether a call is handed over."""
    p, x = problems[0], given[0]
    if not ASKED or len(problems) > 1 or p.kind != "pointwise" or x is None or x.kind.matmul is None or not p.batched or out is not None:
        return False
    plain = not p.bias and not p.residual and p.activation.code == activations.NONE
    same = p.result.kind not in "iu" and all(v is None or v.dtype == p.result for v in given)
    return plain and same and 0 not in (*x.shape, *p.out_shape) and x.strides == _packed(p, x)


def _packed(p: Problem, x: View) -> tuple[int, ...]:
    """The strides of x if its memory were packed, with the channels where they are."""
    if frame.channels_inner(p, x) == p.channels_last:
        return packed(x.shape, x.dtype.itemsize)
    n, rest = x.shape[0], x.shape[1:]
    if p.channels_last:  # memory (n, c, *size)
        first, *steps = packed((n, rest[-1], *rest[:-1]), x.dtype.itemsize)
        return (first, *steps[1:], steps[0])
    first, *steps = packed((n, *rest[1:], rest[0]), x.dtype.itemsize)
    return (first, steps[-1], *steps[:-1])


def run(p: Problem, x: View, weight: View) -> Any:
    """The result, a new array of the library's."""
    last = frame.channels_inner(p, x)
    image = _turned(x.owner, p.dims, last) if last != p.channels_last else x.owner
    matrix = weight.owner.reshape(p.out_channels, p.in_channels)
    if last:
        made = x.kind.matmul(image.reshape(-1, p.in_channels), matrix.T).reshape(p.batch, *p.out_size, p.out_channels)
    else:
        made = x.kind.matmul(matrix, image.reshape(p.batch, p.in_channels, math.prod(p.in_size))).reshape(p.batch, p.out_channels, *p.out_size)
    return _turned(made, p.dims, not last) if last != p.channels_last else made


def _turned(array: Any, dims: int, to_last: bool) -> Any:
    """A view with the channels last, or first again."""
    for axis in range(1, dims + 1) if to_last else range(dims, 0, -1):
        array = array.swapaxes(axis, axis + 1)
    return array


def describe(x: View) -> list[str]:
    return [f"handed to {x.kind.library}'s matmul, which is cuBLAS: SEPCONV_CUDA_BLAS asks for it"]
