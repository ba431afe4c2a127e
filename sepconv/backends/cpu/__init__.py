"""The CPU backend: NumPy arrays, Numba kernels, all cores.

plans.py      a call's plan: which kernel, its record of sizes and strides, how its jobs are shared out
tiles.py      which kernel and register tile for which problem and machine
depthwise.py  pointwise.py  standard.py   the tuned kernels: plain loops that drive a register tile
              (depthwise.py has its own tile; the other two share that of product.py)
direct.py     plain loops for everything else
simd.py       vectors in LLVM; frame.py  the record that every kernel takes; loops.py  what all loops share;
runtime.py    machine, cache, threads, fork
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.core import config

from ... import overlap
from ...problem import Problem
from .. import reference
from . import plans
from .plans import Call
from .runtime import facts as info

__all__ = ["bind", "explain", "info"]


def bind(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> Callable[..., np.ndarray]:
    """A callable for these arrays and all like them. A separable convolution is two calls, with the middle tensor between them."""
    if config.DISABLE_JIT:  # NUMBA_DISABLE_JIT: generated vectors cannot be interpreted
        return reference.bind(list(problems), list(arrays), out)
    if len(problems) == 1:
        return Call(problems[0])
    first, second = (Call(p) for p in problems)

    def separable(x, depthwise, depthwise_bias, pointwise, bias, residual, out):  # type: ignore[no-untyped-def]
        places = [0 if a is None else plans.address(a) for a in (x, depthwise, depthwise_bias)]
        if out is not None and not second.clear_of(out, zip(first.spans, places), plans.address(out)):
            overlap.check(problems[-1], out, (("x", x), ("depthwise", depthwise), ("depthwise_bias", depthwise_bias)), residual)
        return second(first(x, depthwise, depthwise_bias, None, None), pointwise, bias, residual, out)

    return separable


def explain(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> list[str]:
    """What a call would do with these arrays, in lines for people."""
    if config.DISABLE_JIT:
        return ["NUMBA_DISABLE_JIT is set; " + line for line in reference.explain(list(problems), list(arrays), out)]
    if len(problems) == 1:
        return Call(problems[0]).explain(*arrays, out)
    x, depthwise, depthwise_bias, pointwise, bias, residual = arrays
    first, second = problems
    middle = plans.allocate(first, x)
    lines = Call(first).explain(x, depthwise, depthwise_bias, None, None)
    return [*lines, "then, over the middle tensor,", *Call(second).explain(middle, pointwise, bias, residual, out)]
