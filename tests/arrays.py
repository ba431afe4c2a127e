"""Random arrays of right calls, by argument name."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import values


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def bits(array: np.ndarray) -> bytes:
    """The elements in C order, in native byte order."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")).tobytes()


def arrays_of(op: str, *seed: int, channels: int = 6, size: tuple[int, ...] = (9, 19), dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Random arrays by argument name, every one that the operation takes: batch 2, kernel 3 on each axis, 5 outputs (or one filter a channel)."""
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
