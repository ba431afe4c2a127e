"""Arrays in and out: what `__cuda_array_interface__` says of an array, and new arrays of the same kind, from the caller's own pool.

A View is all that the backend knows of an array: an address, a shape, strides in bytes, a NumPy dtype. Nothing is copied and nothing waits.
The interface, version 3: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import runtime

LINE = 128  # bytes of a cache line: where imagined arrays begin


@dataclass(frozen=True)
class Kind:
    """One library's arrays. `empty(shape, dtype, axes, like)`: a new array on like's device and stream, its memory in C order of `shape`, its axes
    then permuted; `stream(array, interface)`: the stream that its work is queued on now, None for the default one; `device(array, address)`: an
    ordinal, None where there is but one."""

    empty: Callable[[tuple[int, ...], np.dtype, tuple[int, ...], View], Any]
    stream: Callable[[Any, dict[str, Any]], int | None]
    device: Callable[[Any, int], int | None]


@dataclass(frozen=True)
class View:
    """An array of the caller's, as the backend sees it."""

    name: str  # of the argument
    owner: Any
    kind: Kind
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    readonly: bool = False
    stream: int | None = None
    device: int | None = None

    ndim, size = property(lambda self: len(self.shape)), property(lambda self: math.prod(self.shape))

    @property
    def signature(self) -> tuple[Any, ...]:
        """All that a call depends on but where the array lies and the stream that it is on."""
        return type(self.owner), self.shape, self.strides, self.dtype, self.readonly, self.device

    def span(self) -> tuple[int, int]:
        """The first byte and the one after the last."""
        reach = [(n - 1) * s for n, s in zip(self.shape, self.strides)]
        low = self.address + sum(r for r in reach if r < 0)
        return low, low + (0 if 0 in self.shape else sum(map(abs, reach)) + self.dtype.itemsize)

    def apart(self, other: View) -> bool:
        """Whether no byte of one lies between the first and the last of the other."""
        (low, high), (start, end) = self.span(), other.span()
        return high <= start or end <= low

    def header(self) -> np.ndarray:
        """A NumPy array that names the same memory, to compare addresses and strides with; it must never be read."""
        raw = f"|V{self.dtype.itemsize}"
        described = {"data": (self.address, self.readonly), "shape": self.shape, "strides": self.strides, "typestr": raw, "version": 3}
        return np.asarray(type("Header", (), {"__array_interface__": described})()).view(self.dtype)


def view(name: str, array: Any) -> View:
    """What the interface of an argument says; TypeError or ValueError names the argument."""
    cls, kind = type(array), kind_of(array)
    if kind is None:
        raise TypeError(f"{name} is a {cls.__module__}.{cls.__qualname__}; allowed is an array with __cuda_array_interface__, as x is one")
    if runtime.SIMULATED and hasattr(array, "_ary"):
        found = dict(array._ary.__array_interface__, version=3)
    else:
        found = array.__cuda_array_interface__
    if found.get("mask") is not None:
        raise TypeError(f"{name} is masked; its meaning would be lost: fill it first")
    dtype = _dtype(name, array, found["typestr"])
    shape = tuple(int(n) for n in found["shape"])
    address, readonly = found["data"]
    stream = kind.stream(array, found)
    if stream == 0:
        raise ValueError(f"{name} has stream 0 in its __cuda_array_interface__; allowed are None, 1, 2 and a stream's address")
    strides = found.get("strides")
    steps = packed(shape, dtype.itemsize) if strides is None else tuple(int(s) for s in strides)
    return View(name, array, kind, int(address or 0), shape, steps, dtype, bool(readonly), stream, kind.device(array, int(address or 0)))


def _dtype(name: str, array: Any, typestr: str) -> np.dtype:
    """The array's own dtype, where it is a NumPy one: a typestr cannot tell bfloat16 from other two bytes."""
    own = getattr(array, "dtype", None)
    dtype = own if isinstance(own, np.dtype) else np.dtype(typestr)
    if not dtype.isnative:
        raise TypeError(f"{name} has dtype {dtype}, in foreign byte order; allowed is that of the device")
    return dtype


def packed(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape)))


# --- the kinds -----------------------------------------------------------------------------------------------------


def _numba_empty(shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...], like: View) -> Any:
    if runtime.SIMULATED:
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        return FakeCUDAArray(np.empty(shape, dtype).transpose(axes))
    from numba import cuda
    from numba.cuda.cudadrv.devicearray import DeviceNDArray

    stored = np.dtype(np.uint16) if dtype.name == "bfloat16" else dtype  # Numba's arrays know no bfloat16 of NumPy's
    made = cuda.device_array(shape, stored, stream=runtime.stream(like.stream))
    steps = packed(shape, dtype.itemsize)
    order = tuple(shape[a] for a in axes), tuple(steps[a] for a in axes)
    return DeviceNDArray(*order, dtype, stream=made.stream, gpu_data=made.gpu_data)


def _given_stream(array: Any, interface: dict[str, Any]) -> int | None:
    return interface.get("stream")


def _numba_device(array: Any, address: int) -> int | None:
    if runtime.SIMULATED or runtime.device_count() < 2 or address == 0:
        return None
    context = getattr(getattr(array, "gpu_data", None), "context", None)
    return runtime.device_of(address) if context is None else context.device.id


NUMBA = Kind(_numba_empty, _given_stream, _numba_device)  # and for every type that has the interface and nothing more


def _cupy_empty(shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...], like: View) -> Any:
    return sys.modules["cupy"].empty(shape, dtype).transpose(axes)  # the current stream, which is like's, and its pool


def _cupy_stream(array: Any, interface: dict[str, Any]) -> int | None:
    return sys.modules["cupy"].cuda.get_current_stream().ptr or None


CUPY = Kind(_cupy_empty, _cupy_stream, lambda array, address: array.device.id)


def kind_of(array: Any) -> Kind | None:
    """The kind of an array by its type; None where it has no interface. A Numba array under the simulator has no need of one."""
    if type(array).__module__.partition(".")[0] == "cupy":
        return CUPY
    simulated = runtime.SIMULATED and type(array).__module__.startswith("numba.cuda.simulator")
    return NUMBA if simulated or hasattr(array, "__cuda_array_interface__") else None


def empty(shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...], like: View) -> View:
    """A new array of like's kind: in memory C order of `shape`, then with its axes permuted."""
    made = like.kind.empty(shape, dtype, axes, like)
    return made if isinstance(made, View) else view("out", made)


# --- streams and devices -------------------------------------------------------------------------------------------


def one_device(views: Sequence[View]) -> None:
    """ValueError names the first array that is on another device than x."""
    first = views[0]
    for other in views[1:]:
        if other.device != first.device and 0 not in other.shape:
            raise ValueError(f"{other.name} is on device {other.device} and {first.name} on {first.device}; allowed is one device")


@contextlib.contextmanager
def queued(views: Sequence[View], out: View) -> Iterator[Any]:
    """The stream to launch on: x's. It waits, on the device, for those of the other arrays, and out's waits for it."""
    one_device([*views, out])
    chosen = runtime.stream(views[0].stream)
    for other in {v.stream for v in (*views, out)} - {views[0].stream, None}:
        runtime.after(chosen, runtime.stream(other))
    yield chosen
    if out.stream not in (None, views[0].stream):
        runtime.after(runtime.stream(out.stream), chosen)
