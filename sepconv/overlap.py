"""Whether `out` can be written: its shape, its dtype, and that its elements share memory neither with an input nor with each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from .problem import Problem

_EFFORT = 10_000  # steps numpy.shares_memory may take to prove that two interleaved views are apart


def _share(a: np.ndarray, b: np.ndarray) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=_EFFORT)
    except np.exceptions.TooHardError:
        return True


def folds(array: np.ndarray) -> bool:
    """Whether two elements of one array lie in the same bytes, as after `numpy.broadcast_to`."""
    axes = sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1)
    span = array.itemsize
    for step, size in axes:
        if step < span:
            break
        span = step * (size - 1) + span
    else:
        return False
    if array.size == 0:
        return False
    if array.size > 2**24 or any(step == 0 for step, _ in axes):
        return True
    at = np.zeros(1, np.int64)  # strides that interleave are rare: look at every element
    for step, size in axes:
        at = (at[:, None] + step * np.arange(size)).ravel()
    at.sort()
    return bool((np.diff(at) < array.itemsize).any())


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same elements in the same places."""
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
    )  # fmt: skip


def check(problem: Problem, out: Any, inputs: tuple[tuple[str, Any], ...], residual: Any) -> None:
    """ValueError, naming out, unless the result can be written there while the inputs are read."""
    if out.shape != problem.out_shape:
        raise ValueError(f"out has shape {out.shape}; allowed is the result's shape, {problem.out_shape}")
    if out.dtype.newbyteorder("=") != problem.result:
        raise ValueError(f"out has dtype {out.dtype}; allowed is the result's, {problem.result}")
    if not isinstance(out, np.ndarray):
        return  # another backend's array: that backend looks further
    if not out.flags.writeable:
        raise ValueError("out is read-only; allowed is an array that can be written")
    if folds(out):
        raise ValueError(f"out has strides {out.strides} for shape {out.shape}, so that elements of it overlap; allowed is memory of its own")
    for name, array in inputs:
        if array is not None and _share(out, array):
            raise ValueError(f"out overlaps {name}; allowed is memory that {name} does not use")
    if residual is not None and not same(out, residual) and _share(out, residual):
        raise ValueError("out overlaps residual without being it; allowed is residual itself or other memory")
