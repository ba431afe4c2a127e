"""Random arrays of right calls, by argument name, and results compared by their bits or by their size."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import BFLOAT16, values

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52, "complex64": 2.0**-23, "complex128": 2.0**-52}
FLOATS = [BFLOAT16 if name == "bfloat16" else np.dtype(name) for name in EPS]
SVD = 64 * 2.0**-52  # what LAPACK's decomposition of a small matrix may lose; 12 eps were seen


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def bits(array: np.ndarray) -> bytes:
    """The elements in C order, in native byte order."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")).tobytes()


def assert_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    assert bits(a) == bits(b), f"{(a != b).sum()} of {a.size} values differ"


def relative(got: np.ndarray, want: np.ndarray) -> float:
    """The size of the difference beside that of what is wanted."""
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    return float(np.linalg.norm((got.astype(wide) - want.astype(wide)).ravel()) / np.linalg.norm(want.astype(wide).ravel()))


def channels_last(array: np.ndarray, batched: bool = True) -> np.ndarray:
    return np.moveaxis(array, 1 if batched else 0, -1)


def arrays_for(op: str, r: Any, shape: tuple[int, ...], kernel: tuple[int, ...], outputs: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Those that an operation must have; `shape` is x's, channels first with a batch axis, and a depthwise convolution has two filters a channel."""
    channels = shape[1]
    shapes = {
        "conv": {"weight": (outputs, channels, *kernel)},
        "depthwise_conv": {"weight": (2 * channels, 1, *kernel)},
        "pointwise_conv": {"weight": (outputs, channels)},
        "separable_conv": {"depthwise": (channels, *kernel), "pointwise": (outputs, channels)},
    }[op]
    return {name: values(r, each, dtype) for name, each in {"x": shape, **shapes}.items()}


def arrays_of(op: str, *seed: int, channels: int = 6, size: tuple[int, ...] = (9, 19), dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Every one that an operation takes: batch 2, kernel 3 on each axis, 5 outputs (or one filter a channel)."""
    r, taps = rng(*seed), (3,) * len(size)
    shapes = {"x": (2, channels, *size)} | {
        "conv": {"weight": (5, channels, *taps), "bias": (5,)},
        "depthwise_conv": {"weight": (channels, 1, *taps), "bias": (channels,)},
        "pointwise_conv": {"weight": (5, channels), "bias": (5,), "residual": (2, 5, *size)},
        "separable_conv": {
            "depthwise": (channels, *taps), "pointwise": (5, channels), "bias": (5,), "depthwise_bias": (channels,), "residual": (2, 5, *size),
        },
    }[op]  # fmt: skip
    return {name: values(r, shape, dtype, small=True) for name, shape in shapes.items()}


def same_padding(op: str) -> dict[str, Any]:
    """Options under which the result has x's size, as `arrays_of` makes the residual."""
    return {} if op == "pointwise_conv" else {"padding": "same"}
