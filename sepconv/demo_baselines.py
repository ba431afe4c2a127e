"""What the demo compares with: the same operations in NumPy, SciPy and PyTorch, whichever is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np

from . import __version__, get_num_threads
from .bench.cases import convolved
from .bench.libraries import torch_call, torch_session
from .bench.timing import measure
from .data import Layer

Call = Callable[[], object]
Job = dict[str, Call]  # library -> the operation in it

HOW = {
    "NumPy": "a sum over the taps, 1 thread; its matrix products as many as BLAS takes",
    "SciPy": "ndimage.correlate, 1 thread",
    "PyTorch": "conv2d in the faster of its two memory formats, as many threads as sepconv",
}
LAST = " channels last"
SECONDS = 0.6  # of a comparison, about


def _optional(name: str) -> ModuleType | None:
    """A library that may be absent, or broken: either way there is one column less."""
    try:
        module = __import__(name, fromlist=["_"])
    except Exception:
        return None
    return module


def versions() -> dict[str, str]:
    """The libraries of the table, in its order."""
    found = {"sepconv": __version__, "NumPy": np.__version__}
    for title, name in (("SciPy", "scipy"), ("PyTorch", "torch")):
        module = _optional(name)
        if module is not None:
            found[title] = module.__version__
    return found


def _layers(x: np.ndarray, weights: tuple[np.ndarray, ...]) -> list[Layer]:
    """Convolutions of x (C, H, W) one after the other: depthwise with weights (C * m, 1, kh, kw), else standard; odd kernels, zeros around."""
    made, channels = [], len(x)
    for weight in weights:
        out, inputs, kh, kw = weight.shape
        kind, multiplier = ("depthwise", out // channels) if inputs == 1 else ("standard", 1)
        made.append(Layer("", "", kind, channels, out, x.shape[1:], (kh, kw), 1, (kh // 2, kw // 2), 1, multiplier, 1, ""))
        channels = out
    return made


def plain(x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    """The result by NumPy, in x's dtype; in float64 it counts as exact."""
    y = x[None]
    for layer, weight in zip(_layers(x, weights), weights):
        y = convolved(layer, y, weight.astype(x.dtype))
    return y[0]


def _scipy(x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    """The same by SciPy, which has no 1x1 convolution: NumPy's matrix product does that half."""
    correlate = _optional("scipy.ndimage").correlate  # type: ignore[union-attr]
    for weight in weights:
        out = np.empty((len(weight), *x.shape[1:]), x.dtype)
        for index, kernels in enumerate(weight):
            if weight.shape[1] == 1:
                correlate(x[index * len(x) // len(weight)], kernels[0], output=out[index], mode="constant")
            elif kernels[0].size > 1:
                out[index] = sum(correlate(plane, kernel, mode="constant") for plane, kernel in zip(x, kernels))
        x = out if weight[0, 0].size > 1 else np.tensordot(weight[:, :, 0, 0], x, 1)
    return x


def job(run: Call, x: np.ndarray, *weights: np.ndarray) -> Job:
    """What `run` does in every library: convolutions of x with these weights, one after the other; PyTorch's in both memory formats."""
    found: Job = {"sepconv": run, "NumPy": lambda: plain(x, *weights)}
    if _optional("scipy") is not None:
        found["SciPy"] = lambda: _scipy(x, *weights)
    torch = _optional("torch")
    if torch is not None:
        case, arrays = SimpleNamespace(steps=_layers(x, weights)), SimpleNamespace(weights=weights, biases=[None] * len(weights), relu=False)
        here = lambda array: torch.from_numpy(np.ascontiguousarray(array))
        for last in (False, True):
            found["PyTorch" + LAST * last] = torch_call(case, arrays, x[None], here, last)
    return found


def milliseconds(job: Job) -> dict[str, float]:
    """By library: the least of several runs, in turns. A library that is slow is asked less often."""
    with torch_session(get_num_threads()) if "PyTorch" in job else nullcontext():
        found = {name: 1e3 * times.least for name, times in measure(job, SECONDS, get_num_threads()).items()}
    if "PyTorch" in found:
        found["PyTorch"] = min(found["PyTorch"], found.pop("PyTorch" + LAST))
    return found
