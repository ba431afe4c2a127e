"""What lies between Numba and the kernels: which CUDA there is, compiled kernels, streams, devices, launches and their limits."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numba import cuda, types
from numba.core import config

from ...cache import Cache

SIMULATED = bool(config.ENABLE_CUDASIM)
INSTALL = 'pip install "sepconv[cuda]"'
MOST_X, MOST_YZ = 2**31 - 1, 65_535  # blocks of a grid along x, and along y and z
PRESUMED = 9, 0  # compute capability where there is no GPU
MOST_THREADS, MOST_SHARED = 1024, 48 * 2**10  # of a block; bytes of shared memory that need no opting in


def implementation() -> str:
    """NVIDIA's package, the target built into Numba, or the simulator of either."""
    return "simulator" if SIMULATED else getattr(cuda, "implementation", "Built-in")


def missing() -> str | None:
    """Why nothing can run here, or None."""
    if SIMULATED:
        return None
    if implementation() != "NVIDIA":
        return f"arrays on a GPU need numba-cuda, which is not installed: {INSTALL}"
    try:
        if cuda.is_available():
            return None
        problem = cuda.cuda_error() if hasattr(cuda, "cuda_error") else None
    except Exception as error:  # a broken driver may raise anything, and is a fact to report
        problem = f"{type(error).__name__}: {error}"
    text = " ".join(line.strip(" :") for line in str(problem or "").splitlines() if line.strip(" :"))
    return "numba-cuda finds no usable NVIDIA GPU and driver" + (f": {text}" if text else "")


def require() -> None:
    """RuntimeError where nothing can run, with what to do about it."""
    global _started
    if _forked:
        raise RuntimeError(
            f"this process, {os.getpid()}, was forked from one that had used the GPU, and CUDA does not work then; "
            'start it by another method: multiprocessing.get_context("spawn"), or "forkserver"'
        )
    reason = missing()
    if reason:
        raise RuntimeError(reason)
    _started = not SIMULATED


_started, _forked = False, False  # whether this process has used CUDA; whether its parent had before the fork


def _after_fork() -> None:
    global _forked
    numbas = vars(getattr(sys.modules.get("numba.cuda.cudadrv.driver"), "driver", object))  # asked by name, it would start CUDA
    _forked = _forked or _started or numbas.get("pid") is not None  # of the process that started it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# --- kernels -------------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_compiled: dict[tuple[Any, ...], Any] = {}
_names: dict[int, str] = {}  # by id, of those: they are never let go
SYNCHRONOUS = os.environ.get("SEPCONV_CUDA_SYNC", "") not in ("", "0")  # whether to wait for each kernel, to see which one failed


def signature(words: int) -> Any:
    """Of a kernel whose one argument is a tuple of so many int64."""
    return types.void(types.UniTuple(types.int64, words))


def kernel(make: Callable[..., Callable[..., None]], *cells: Any, registers: int | None = None) -> Any:
    """The kernel that `make(*cells)` gives, which takes a tuple of int64: from this process, or made now. Numba compiles it once a device."""
    key = (make, cells)
    with _lock:
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = cuda.jit(**({} if registers is None or SIMULATED else {"max_registers": registers}))(make(*cells))
            _names[id(found)] = f"{cells[0].__module__.rsplit('.', 1)[-1]}.{cells[0].__name__}({', '.join(map(str, cells[1:]))})"
        return found


_constants: Cache[Any] = Cache(256)


def constant(array: np.ndarray, stream: Any) -> int:
    """The address, on the current device, of an array of small numbers that kernels read and nothing writes: sent once, and kept.

    The host waits for that one: a later call may read it from another stream.
    """
    key = (None if SIMULATED else cuda.get_current_device().id, array.dtype, array.tobytes())
    found = _constants.get(key)
    if found is None:
        found = _constants[key] = array.copy() if SIMULATED else cuda.to_device(array, stream=stream)
        if not SIMULATED:
            cuda.synchronize()
    return int((found.__array_interface__ if SIMULATED else found.__cuda_array_interface__)["data"][0])


def launch(kernel: Any, grid: Sequence[int], block: Sequence[int], stream: Any, words: Sequence[int]) -> None:
    """One launch, asynchronous; the limits of CUDA are asserted, so that the simulator refuses what a GPU would."""
    check(grid, block)
    if SIMULATED:
        _simulate(kernel, tuple(grid), tuple(block), tuple(words))
    else:
        kernel[tuple(grid), tuple(block), stream](tuple(words))
        if SYNCHRONOUS:
            _wait(kernel, grid, block)


def _wait(kernel: Any, grid: Sequence[int], block: Sequence[int]) -> None:
    """What goes wrong on a GPU is told by some later call: here by this one, with the kernel's name."""
    try:
        cuda.synchronize()
    except Exception as error:  # the driver's own error, whatever it is
        name = _names.get(id(kernel), "an unknown kernel")
        raise RuntimeError(f"{name} failed in {tuple(grid)} blocks of {tuple(block)} threads: {type(error).__name__}: {error}") from error


def check(grid: Sequence[int], block: Sequence[int]) -> None:
    x, y, z = (*grid, 1, 1, 1)[:3]
    assert 0 < x <= MOST_X and 0 < y <= MOST_YZ and 0 < z <= MOST_YZ, f"grid {grid}"
    threads = functools.reduce(lambda a, b: a * b, block)
    assert 0 < threads <= MOST_THREADS and (*block, 1, 1, 1)[2] <= 64, f"block {block}"


def _simulate(kernel: Any, grid: tuple[int, ...], block: tuple[int, ...], words: tuple[int, ...]) -> None:
    """The simulator runs one kernel at a time, in Python, where NumPy warns of what a register does silently."""
    import warnings

    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel[grid, block](words)


# --- devices and streams -------------------------------------------------------------------------------------------


@functools.cache
def device_count() -> int:
    return 1 if SIMULATED else len(cuda.gpus)


@functools.cache
def capability(ordinal: int | None) -> tuple[int, int]:
    """The compute capability of a device; of the only one, or of the current one, where arrays name none."""
    if SIMULATED:
        return PRESUMED
    major, minor = (cuda.get_current_device() if ordinal is None else cuda.gpus[ordinal]).compute_capability
    return int(major), int(minor)


def device_of(address: int) -> int:
    """The ordinal of the device that memory is on."""
    from numba.cuda.cudadrv import driver

    attribute = driver.binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(driver.driver.cuPointerGetAttribute(attribute, address))


@contextlib.contextmanager
def on_device(ordinal: int | None) -> Iterator[None]:
    """Inside the block that device is the current one; the caller's comes back."""
    if ordinal is None or SIMULATED or device_count() < 2:
        yield
        return
    with cuda.gpus[ordinal]:
        yield


def stream(number: int | None) -> Any:
    """Numba's stream for a number of the interface's."""
    if SIMULATED or number is None:
        return 0
    if number in (1, 2):
        return cuda.legacy_default_stream() if number == 1 else cuda.per_thread_default_stream()
    return cuda.external_stream(number)


def after(later: Any, earlier: Any) -> None:
    """Work queued on one stream from now on begins when what the other has been given is done; the host does not wait."""
    if SIMULATED:
        return
    event = cuda.event(timing=False)
    event.record(earlier or cuda.default_stream())
    event.wait(later or cuda.default_stream())


def described(device: Any) -> tuple[str, str]:
    """(name, compute capability) of one of Numba's devices."""
    return device.name.decode() if isinstance(device.name, bytes) else device.name, ".".join(map(str, device.compute_capability))


def facts() -> dict[str, Any]:
    """For `sepconv.backends()`; RuntimeError where nothing can run."""
    require()
    if SIMULATED:
        return {"implementation": "simulator: plain Python, for tests"}
    devices = []
    for ordinal in range(device_count()):
        with on_device(ordinal):
            name, cc = described(cuda.current_context(ordinal).device)
            devices.append(f"{ordinal}: {name}, compute capability {cc}")
    return {"implementation": implementation(), "devices": "; ".join(devices), "kernels": len(_compiled)}
