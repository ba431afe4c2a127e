"""What every benchmark shares: random arrays, the baselines, and a check that the thing timed is the right result.

    python -m pytest benchmarks                                       a table for each layer
    python -m pytest benchmarks --benchmark-autosave                  the same, and kept
    python -m pytest benchmarks --benchmark-compare                   beside the run kept last

Every library gets float32, one image, zeros around, and the same number of threads where it takes one (NumPy's sums and SciPy run on one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sepconv

Call = Callable[[], Any]

NCHW = ("sepconv NCHW", "numpy", "scipy", "torch NCHW")
NHWC = ("sepconv NHWC", "torch NHWC")
LIBRARIES = NCHW + NHWC


def library(name: str) -> ModuleType:
    """An optional library, or a skip that says which."""
    return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(autouse=True)
def equal_threads() -> Iterator[None]:
    """PyTorch, where it is used, computes with as many threads as sepconv."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(sepconv.get_num_threads())
    yield
    torch.set_num_threads(before)


class Arrays:
    """Random arrays, the same in every run."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture
def arrays() -> Arrays:
    return Arrays()


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same image, (N, C, H, W), as (N, H, W, C) in memory and in shape."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def padded(x: np.ndarray, pad: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))


def numpy_depthwise(x: np.ndarray, weight: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """A sum over the taps. x (1, C, H, W), weight (C, k, k)."""
    wide, k = padded(x, pad), weight.shape[-1]
    out = [(n - k) // stride + 1 for n in wide.shape[2:]]
    total = np.zeros((1, len(weight), *out), x.dtype)
    for i in range(k):
        for j in range(k):
            total += (
                weight[:, i, j, None, None] * wide[:, :, i : i + out[0] * stride : stride, j : j + out[1] * stride : stride][..., : out[0], : out[1]]
            )
    return total


def numpy_standard(x: np.ndarray, weight: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """A matrix product for each tap. x (1, C, H, W), weight (C_out, C, k, k)."""
    wide, k = padded(x, pad)[0], weight.shape[-1]
    out = [(n - k) // stride + 1 for n in wide.shape[1:]]
    total = np.zeros((len(weight), *out), x.dtype)
    for i in range(k):
        for j in range(k):
            window = wide[:, i : i + out[0] * stride : stride, j : j + out[1] * stride : stride][..., : out[0], : out[1]]
            total += np.tensordot(weight[:, :, i, j], window, 1)
    return total[None]


def scipy_depthwise(x: np.ndarray, weight: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """ndimage.correlate, channel by channel; it knows no stride, so it computes all pixels and some are dropped."""
    correlate = library("scipy.ndimage").correlate
    start = weight.shape[-1] // 2 - pad
    planes = [correlate(plane, taps, mode="constant") for plane, taps in zip(x[0], weight)]
    return np.stack(planes)[None, :, start::stride, start::stride]


def torch_chain(name: str, x: np.ndarray, *steps: tuple[np.ndarray, dict[str, Any]]) -> Call:
    """PyTorch's conv2d for (weight, options), one after the other, in the memory format that the name ends in."""
    torch = library("torch")
    memory = torch.channels_last if name.endswith("NHWC") else torch.contiguous_format
    start = torch.from_numpy(x).to(memory_format=memory)
    layers = [(torch.from_numpy(np.ascontiguousarray(weight)).to(memory_format=memory), options) for weight, options in steps]

    def run() -> Any:
        with torch.inference_mode():
            y = start
            for weight, options in layers:
                y = torch.nn.functional.conv2d(y, weight, **options)
            return y

    return run


def measure(benchmark: Any, group: str, call: Call, expected: np.ndarray, last: bool = False) -> None:
    """Times the call, after a check that it computes what it should: a fast wrong answer is no answer."""
    benchmark.group = group
    result = np.asarray(call())
    result = np.moveaxis(result, -1, 1) if last else result
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * scale)
    benchmark(call)
