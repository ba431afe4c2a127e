"""Arrays for calls of an operation, and results compared by their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import values


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def channels_last(array: np.ndarray, batched: bool = True) -> np.ndarray:
    return np.moveaxis(array, 1 if batched else 0, -1)


def assert_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes(), f"{(a != b).sum()} of {a.size} values differ"


def arrays_of(op: str, r: Any, shape: tuple[int, ...], kernel: tuple[int, ...], outputs: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Random arrays of one operation by argument name; `shape` is x's, channels first with a batch axis."""
    channels = shape[1]
    shapes = {
        "conv": {"weight": (outputs, channels, *kernel)},
        "depthwise_conv": {"weight": (2 * channels, 1, *kernel)},
        "pointwise_conv": {"weight": (outputs, channels)},
        "separable_conv": {"depthwise": (channels, *kernel), "pointwise": (outputs, channels)},
    }[op]
    return {name: values(r, each, dtype) for name, each in {"x": shape, **shapes}.items()}
