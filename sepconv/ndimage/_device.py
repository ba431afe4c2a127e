"""Images on a GPU, as the filters see them: their backend's description of them, which has a shape and a NumPy dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import dispatch

PARTS = {"complex64": np.dtype(np.float32), "complex128": np.dtype(np.float64)}


def has(value: Any) -> bool:
    """Whether an argument is an array that a backend other than NumPy's filters where it lies."""
    if isinstance(value, np.ndarray) or not (hasattr(value, dispatch.INTERFACE) or dispatch.simulated(value)):
        return False
    return hasattr(dispatch.find(value), "filter_engine")


def admitted(name: str, value: Any) -> Any:
    """The array as its backend describes it."""
    return dispatch.find(value).admit(name, value)


def fetched(value: Any) -> Any:
    """An array of few numbers, as weights are, on the host."""
    for name in ("copy_to_host", "get", "cpu"):
        if has(value) and hasattr(value, name):
            return np.asarray(getattr(value, name)())
    return np.asarray(value)


def parts(x: Any) -> tuple[Any, ...]:
    """The real and the imaginary part of complex numbers, in their memory."""
    part = PARTS[x.dtype.name]
    return replace(x, dtype=part), replace(x, address=x.address + part.itemsize, dtype=part)


def like(x: Any, dtype: np.dtype) -> Any:
    """A new array of x's shape and library."""
    from ..backends.cuda import arrays

    return arrays.empty(x.shape, dtype, tuple(range(len(x.shape))), x)


def combined(what: str, x: Any, y: Any, number: complex = 0.0) -> None:
    """As the engine's function of that name, of complex arrays too, part by part; of a real one as the real part."""
    engine = dispatch.find(x.owner).filter_engine()
    numbers = float(np.real(number)), float(np.imag(number))
    for one, other, own in zip(*(parts(v) if v.dtype.kind == "c" else (v,) for v in (x, y)), numbers):
        engine.combined(what, one, other, own)


def output(value: Any, input: Any) -> Any:
    """The array to write, on input's device."""
    from ..backends.cuda import arrays

    if not has(value):
        raise TypeError(f"output is a {type(value).__name__}; allowed is an array on a GPU, as input is one")
    target = admitted("output", value)
    if target.readonly:
        raise ValueError("output array is read-only.")
    arrays.one_device([input, target])
    return target
