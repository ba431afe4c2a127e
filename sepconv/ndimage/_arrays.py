"""Arrays as the filters see them: NumPy's own, or a backend's description of an array on a GPU, which has a shape and a NumPy dtype as well.

Whatever has to know which of the two an array is stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import dispatch

IMAGES = ("input", "output", "in1", "x", "zi")  # arguments that stay on their device; weights and the like are fetched from it
PARTS = {"complex64": np.dtype(np.float32), "complex128": np.dtype(np.float64)}


def on_device(value: Any) -> bool:
    """Whether an argument is an array that a backend other than NumPy's filters where it lies."""
    if isinstance(value, np.ndarray) or not (hasattr(value, dispatch.INTERFACE) or dispatch.simulated(value)):
        return False
    return hasattr(dispatch.find(value), "filter_engine")


def array(name: str, value: Any) -> Any:
    """An argument: lists and scalars are converted as SciPy does, but arrays whose meaning would be lost are a TypeError. On a GPU, images stay."""
    if on_device(value):
        return dispatch.find(value).admit(name, value) if name in IMAGES else _fetched(value)
    return dispatch.admit(name, value if isinstance(value, np.ndarray) else np.asarray(value))


def _fetched(value: Any) -> np.ndarray:
    """An array of few numbers, as weights are, on the host."""
    copy = next((getattr(value, name) for name in ("copy_to_host", "get", "cpu") if hasattr(value, name)), lambda: value)
    return np.asarray(copy())


def output(value: Any, input: Any) -> Any:
    """The array to write, where input is; ValueError if it cannot be written."""
    if isinstance(input, np.ndarray):
        target = array("output", value)
        if not isinstance(target, np.ndarray):
            raise TypeError(f"output is a {type(value).__name__}; allowed is a numpy.ndarray, as input is one")
        locked = not target.flags.writeable
    else:
        from ..backends.cuda import arrays

        if not on_device(value):
            raise TypeError(f"output is a {type(value).__name__}; allowed is an array on a GPU, as input is one")
        target = array("output", value)
        locked = target.readonly
        arrays.one_device([input, target])
    if locked:
        raise ValueError("output array is read-only.")
    return target


def owner(x: Any) -> Any:
    """The array as the user has it."""
    return x if isinstance(x, np.ndarray) else getattr(x, "owner", x)


def like(x: Any, dtype: np.dtype) -> Any:
    """A new array of x's shape and library."""
    if isinstance(x, np.ndarray):
        return np.empty(x.shape, dtype)
    from ..backends.cuda import arrays

    return arrays.empty(x.shape, dtype, tuple(range(len(x.shape))), x)


def copied(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return x.copy()
    made = like(x, x.dtype)
    combine("copy", x, made)
    return made


def parts(x: Any) -> tuple[Any, ...]:
    """The real and the imaginary part, in their memory; a real array is its only part."""
    if x.dtype.kind != "c":
        return (x,)
    if isinstance(x, np.ndarray):
        return x.real, x.imag
    part = PARTS[x.dtype.name]
    return replace(x, dtype=part), replace(x, address=x.address + part.itemsize, dtype=part)


def shares(x: Any, y: Any) -> bool:
    """Whether the two may have memory in common."""
    return np.may_share_memory(x, y) if isinstance(x, np.ndarray) else not x.apart(y)


def begin(x: Any) -> int:
    """The address of the first element."""
    return x.ctypes.data if isinstance(x, np.ndarray) else x.address


_INTO: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "copy": lambda x, y: np.copyto(y, x, casting="unsafe"),
    "add": lambda x, y: np.add(y, x, y),
    "subtract": lambda x, y: np.subtract(y, x, y),
    "square": lambda x, y: np.multiply(x, x, y),
    "root": lambda x, y: np.sqrt(x, y, casting="unsafe"),
}


def combine(what: str, x: Any, y: Any, number: complex = 0.0) -> None:
    """Element by element: y becomes x, y + x, y - x, the square or the root of x; `what` is one of _INTO, or on a GPU "fill", with the number."""
    if isinstance(y, np.ndarray):
        _INTO[what](x, y)
        return
    if what in ("square", "root") and y.dtype.kind == "c":
        raise TypeError(f"input is of {y.dtype}; gradient magnitudes on a GPU are of real numbers")
    engine = dispatch.find(x.owner).filter_engine()
    for one, other, own in zip(parts(x), parts(y), (float(np.real(number)), float(np.imag(number)))):
        engine.combined(what, one, other, own)
