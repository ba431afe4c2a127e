"""A GPU's name, its clock (events on the stream, between which calls are queued one after the other) and its roofs, by kernels of our own."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from ..backends.cuda import runtime
from . import timing
from .machine import Roofs

SIZES = tuple(2**k for k in ((14,) if runtime.SIMULATED else (20, 22, 24, 26, 28, 30)))  # bytes read and written by one copy
CHAINS, STEPS = 8, 1 if runtime.SIMULATED else 4096  # independent sums of a thread, and multiply-adds of each


def facts() -> dict[str, Any]:
    """The GPU in words."""
    if runtime.SIMULATED:
        return {"gpu": "Numba's simulator", "cc": "none", "driver": "none", "platform": platform.platform(), "load_average": None}
    name, cc = runtime.described(cuda.get_current_device())
    return {"gpu": name, "cc": cc, "driver": _driver(), "platform": platform.platform(), "load_average": None}


def _driver() -> str:
    from numba.cuda.cudadrv import driver

    try:
        return ".".join(map(str, driver.driver.get_version()))
    except Exception as error:  # not worth losing a run for
        return f"unknown ({type(error).__name__})"


# --- the clock -----------------------------------------------------------------------------------------------------


def _between(call: Callable[[], Any], count: int) -> float:
    """Seconds of so many calls, on the GPU: what the host needs to queue them counts where it is the longer."""
    if runtime.SIMULATED:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start
    first, last = cuda.event(), cuda.event()
    first.record()
    for _ in range(count):
        call()
    last.record()
    last.synchronize()
    return cuda.event_elapsed_time(first, last) / 1e3


def _turn(call: Callable[[], Any], burst: float, found: list[float], wake: float = 0.0) -> float:
    """In place of `timing.turn`: a burst of calls, each of which took the mean."""
    count = max(1, round(burst / found[-1])) if found else _count(call, burst)
    took = _between(call, count)
    found += [took / count] * count
    return took


timed = functools.partial(timing.measure, turn=_turn, burst=0.01)  # seconds between two events, about


def _count(call: Callable[[], Any], seconds: float) -> int:
    """How many calls take about so long; the first ones also choose algorithms, compile, and wake the GPU's clock."""
    _between(call, 1)
    count = 1
    while True:
        took = _between(call, count)
        if took >= seconds / 2 or count >= 2**16:
            return count
        count = min(2**16, max(2 * count, int(count * seconds / max(took, 1e-6))))


# --- the roofs -----------------------------------------------------------------------------------------------------


@functools.cache
def _kernels() -> tuple[Any, Any]:
    @cuda.jit
    def copy(x, y):  # type: ignore[no-untyped-def]
        i, step = cuda.grid(1), cuda.gridsize(1)
        while i + 3 * step < x.size:  # a warp reads whole cache lines, and a thread has four on their way
            a, b, c, d = x[i], x[i + step], x[i + 2 * step], x[i + 3 * step]
            y[i], y[i + step], y[i + 2 * step], y[i + 3 * step] = a, b, c, d
            i += 4 * step
        while i < x.size:
            y[i] = x[i]
            i += step

    @cuda.jit
    def compute(y, steps):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        x = y[at]
        a = b = c = d = e = f = g = h = x
        for _ in range(steps):
            a, b, c, d = a * x + x, b * x + x, c * x + x, d * x + x
            e, f, g, h = e * x + x, f * x + x, g * x + x, h * x + x
        y[at] = (a + b + c + d + e + f + g + h) * np.float32(0.1)

    return copy, compute


def measure() -> Roofs:
    """Multiply-adds in float32 and copies, as fast as kernels of their own make them; some seconds."""
    copy, compute = _kernels()
    blocks, threads = (1, 2) if runtime.SIMULATED else (cuda.get_current_device().MULTIPROCESSOR_COUNT * 16, 256)
    room = cuda.to_device(np.full(blocks * threads, 1e-3, np.float32))
    least = timed({"": lambda: compute[blocks, threads](room, np.int32(STEPS))}, 0.2).pop("").least
    gflops = 2 * CHAINS * STEPS * blocks * threads / least / 1e9
    return Roofs(gflops, {size: _bandwidth(copy, size, blocks, threads) for size in SIZES})


def _bandwidth(copy: Any, size: int, blocks: int, threads: int) -> float:
    """GB/s read plus written."""
    count = size // 16
    x, y = cuda.to_device(np.zeros(count)), cuda.device_array(count, np.float64)
    return size / timed({"": lambda: copy[blocks, threads](x, y)}, 0.1).pop("").least / 1e9
