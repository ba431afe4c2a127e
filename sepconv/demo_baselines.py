"""What the demo compares with: the same operations in NumPy, SciPy and PyTorch, whichever is there, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np

from . import __version__, get_num_threads

Call = Callable[[], object]
Job = dict[str, Call]  # library -> the operation in it

HOW = {
    "NumPy": "a sum over the taps, 1 thread; its matrix products as many as BLAS takes",
    "SciPy": "ndimage.correlate, 1 thread",
    "PyTorch": "conv2d in the faster of its two memory formats, as many threads as sepconv",
}
LAST = " channels last"
ROUNDS, SECONDS = 40, 0.6  # at most so many rounds of a comparison, and about so long
REST = 0.005  # seconds between turns: the idle threads of one library's pool spin for a while, on the cores of the next


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


# --- NumPy: also the exact results, in float64 --------------------------------------------------------------------


def _padded(x: np.ndarray, kernel: tuple[int, ...]) -> np.ndarray:
    return np.pad(x, ((0, 0), *((k // 2, k // 2) for k in kernel)))


def numpy_depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (C, H, W) with weight (C * m, 1, kh, kw), odd kernels, zeros around."""
    channels, height, width = x.shape
    kh, kw = weight.shape[2:]
    multiplier = len(weight) // channels
    wide = _padded(x, (kh, kw))
    total = np.zeros((channels, multiplier, height, width), x.dtype)
    taps = weight.reshape(channels, multiplier, kh, kw)
    for i in range(kh):
        for j in range(kw):
            total += taps[:, :, i, j, None, None] * wide[:, None, i : i + height, j : j + width]
    return total.reshape(-1, height, width)


def numpy_standard(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (C, H, W) with weight (C_out, C, kh, kw), odd kernels, zeros around."""
    _, height, width = x.shape
    kh, kw = weight.shape[2:]
    wide = _padded(x, (kh, kw))
    total = np.zeros((len(weight), height, width), x.dtype)
    for i in range(kh):
        for j in range(kw):
            total += np.tensordot(weight[:, :, i, j].astype(x.dtype), wide[:, i : i + height, j : j + width], 1)
    return total


# --- SciPy and PyTorch -------------------------------------------------------------------------------------------


def _scipy_depthwise(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    ndimage = _optional("scipy.ndimage")
    multiplier = len(weight) // len(x)
    out = np.empty((len(weight), *x.shape[1:]), x.dtype)
    for index, kernel in enumerate(weight):
        ndimage.correlate(x[index // multiplier], kernel[0], output=out[index], mode="constant")
    return out


def _scipy_standard(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    ndimage = _optional("scipy.ndimage")
    out = np.empty((len(weight), *x.shape[1:]), x.dtype)
    for index, kernels in enumerate(weight):
        out[index] = sum(ndimage.correlate(plane, kernel, mode="constant") for plane, kernel in zip(x, kernels))
    return out


def _with_torch(job: Job, x: np.ndarray, *steps: tuple[np.ndarray, int]) -> Job:
    """Adds PyTorch's conv2d for (weight, groups) one after the other, in both memory formats: `measure` keeps the faster."""
    torch = _optional("torch")
    if torch is None:
        return job

    def with_format(layout: object) -> Call:
        start = torch.from_numpy(x)[None].contiguous(memory_format=layout)
        weights = [(torch.from_numpy(np.ascontiguousarray(w)).contiguous(memory_format=layout), groups) for w, groups in steps]

        def run() -> object:
            y = start
            with torch.inference_mode():
                for w, groups in weights:
                    y = torch.nn.functional.conv2d(y, w, padding=(w.shape[2] // 2, w.shape[3] // 2), groups=groups)
            return y

        return run

    return {**job, "PyTorch": with_format(torch.contiguous_format), f"PyTorch{LAST}": with_format(torch.channels_last)}


def _with_scipy(job: Job, run: Call) -> Job:
    return job if _optional("scipy") is None else {**job, "SciPy": run}


# --- the jobs ----------------------------------------------------------------------------------------------------


def depthwise_job(run: Call, x: np.ndarray, weight: np.ndarray) -> Job:
    job = {"sepconv": run, "NumPy": lambda: numpy_depthwise(x, weight)}
    return _with_torch(_with_scipy(job, lambda: _scipy_depthwise(x, weight)), x, (weight, len(x)))


def standard_job(run: Call, x: np.ndarray, weight: np.ndarray) -> Job:
    job = {"sepconv": run, "NumPy": lambda: numpy_standard(x, weight)}
    return _with_torch(_with_scipy(job, lambda: _scipy_standard(x, weight)), x, (weight, 1))


def two_pass_job(run: Call, x: np.ndarray, column: np.ndarray, line: np.ndarray) -> Job:
    job = {"sepconv": run, "NumPy": lambda: numpy_depthwise(numpy_depthwise(x, column), line)}
    job = _with_scipy(job, lambda: _scipy_depthwise(_scipy_depthwise(x, column), line))
    return _with_torch(job, x, (column, len(x)), (line, len(x)))


def separable_job(run: Call, x: np.ndarray, depthwise: np.ndarray, pointwise: np.ndarray) -> Job:
    """SciPy has no 1x1 convolution: NumPy's matrix product does that half."""
    depthwise = depthwise.reshape(-1, 1, *depthwise.shape[-2:])
    mix = pointwise.reshape(len(pointwise), -1)
    job = {"sepconv": run, "NumPy": lambda: np.tensordot(mix, numpy_depthwise(x, depthwise), 1)}
    job = _with_scipy(job, lambda: np.tensordot(mix, _scipy_depthwise(x, depthwise), 1))
    return _with_torch(job, x, (depthwise, len(x)), (mix[:, :, None, None], 1))


# --- the clock ---------------------------------------------------------------------------------------------------


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(job: Job) -> dict[str, float]:
    """Milliseconds by library: the least of several runs, in turns. A library that is slow is asked less often."""
    torch = _optional("torch") if "PyTorch" in job else None
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(get_num_threads())
    try:
        warm = {name: _timed(call) for name, call in job.items()}
        least, spent = {name: float("inf") for name in job}, dict.fromkeys(job, 0.0)
        for _ in range(ROUNDS):
            for name, call in job.items():
                if spent[name] + warm[name] > SECONDS / len(job) and spent[name]:
                    continue
                time.sleep(REST)
                seconds = _timed(call)
                least[name], spent[name] = min(least[name], seconds), spent[name] + seconds
    finally:
        if torch:
            torch.set_num_threads(before)
    least["PyTorch"] = min(least.get("PyTorch", float("inf")), least.pop(f"PyTorch{LAST}", float("inf")))
    return {name: seconds * 1e3 for name, seconds in least.items() if seconds < float("inf")}
