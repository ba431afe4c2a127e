"""The CPU backend: NumPy arrays, Numba kernels, all cores.

    plans.py      a call's plan: which kernel, its record of sizes and strides, how its jobs are shared out
    tiles.py      which kernel and register tile for which problem and machine
    depthwise.py  pointwise.py     the tuned kernels: a register tile each, and the loops that drive it
    direct.py     plain loops for everything else
    simd.py       vectors in LLVM; frame.py  the record that every kernel takes; runtime.py  machine, cache, threads, fork
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...problem import Problem
from . import plans
from .runtime import facts as info

__all__ = ["explain", "info", "run", "separable"]


def run(problem: Problem, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> np.ndarray:
    """One convolution, into `out` if that is given."""
    plan, arrays, target = plans.prepare(problem, x, weight, bias, residual, out)
    plan.run(*arrays, target)  # type: ignore[arg-type]
    if out is not None and target is not out:
        out[...] = target
        return out
    return target


def separable(first: Problem, second: Problem, arrays: tuple[Any, ...], out: Any) -> np.ndarray:
    """Depthwise, then pointwise. `arrays`: x, depthwise, depthwise_bias, pointwise, bias, residual."""
    x, depthwise, depthwise_bias, pointwise, bias, residual = arrays
    middle = run(first, x, depthwise, depthwise_bias, None, None)
    return run(second, middle, pointwise, bias, residual, out)


def explain(problem: Problem, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> list[str]:
    """What `run` would do with these arrays, in lines for people."""
    lines = []
    for name, array, dtype in (("x", x, problem.dtype), ("weight", weight, problem.dtype)):
        if array.dtype != dtype:
            lines.append(f"{name} is {array.dtype} and is converted: the common dtype is {dtype}")
    plan, _, _ = plans.prepare(problem, x, weight, bias, residual, out)
    return lines + plan.describe()


