"""Images on a GPU, as the filters see them: their backend's description of them, which has a shape and a NumPy dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..backends.filters import REAL


def has(value: Any) -> bool:
    """Whether an argument is an array that a backend other than NumPy's filters where it lies."""
    if isinstance(value, np.ndarray) or not (hasattr(value, dispatch.INTERFACE) or dispatch.simulated(value)):
        return False
    return hasattr(dispatch.find(value), "filter_engine")


def admitted(name: str, value: Any) -> Any:
    """The array as its backend describes it; TypeError for dtypes that are not filtered there, which complex ones are not."""
    seen = dispatch.find(value).admit(name, value)
    if seen.dtype.name not in REAL:
        raise TypeError(f"{name} has dtype {seen.dtype}; allowed are, on a GPU, {', '.join(REAL)}")
    return seen


def result(output: Any, input: Any, complex_result: bool | None) -> Any:
    """The array to write, as `_arguments.result` means it: a new one of input's library, or `output` itself."""
    from ..backends.cuda import arrays

    if complex_result:
        raise TypeError("weights are complex; allowed are, on a GPU, real ones")
    if output is None or isinstance(output, (str, type, np.dtype)):
        dtype = input.dtype if output is None else np.dtype(output)
        if dtype.name not in REAL:
            raise TypeError(f"output is {output!r}; allowed are, on a GPU, {', '.join(REAL)}")
        return arrays.empty(input.shape, dtype, tuple(range(len(input.shape))), input)
    if not has(output):
        raise TypeError(f"output is a {type(output).__name__}; allowed is an array on a GPU, as input is one")
    target = admitted("output", output)
    if target.shape != input.shape:
        raise RuntimeError(f"output shape not correct: it is {target.shape}, and the input's is {input.shape}")
    if target.readonly:
        raise ValueError("output array is read-only.")
    if any(step == 0 and n > 1 for step, n in zip(target.strides, target.shape)):
        raise ValueError(f"output has the strides {target.strides} for the shape {target.shape}; its elements have to be apart")
    arrays.one_device([input, target])
    return target
