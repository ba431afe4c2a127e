"""The CUDA backend for tests that know NumPy arrays: each array goes to the device with its strides and alignment, the result comes back.

Under Numba's simulator device memory is the host's: an array is described as it lies, and what is around it can be watched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sepconv.backends import cuda

if cuda.runtime.SIMULATED:
    from simulator import in_turns

    in_turns()


class Described:
    """Memory at an address, by `__cuda_array_interface__` alone."""

    def __init__(self, array: np.ndarray, address: int, owner: Any) -> None:
        self.dtype, self.owner = array.dtype, owner
        typestr = array.dtype.str if array.dtype.kind != "V" else "<u2"  # what bfloat16 is for those who do not know it
        data = (address if array.size else 0, not array.flags.writeable)
        self.__cuda_array_interface__ = dict(shape=array.shape, strides=array.strides, typestr=typestr, data=data, version=3)


class OnDevice:
    """One array there and back."""

    def __init__(self, array: np.ndarray) -> None:
        self.host = array
        if cuda.runtime.SIMULATED:
            self.device = Described(array, array.__array_interface__["data"][0], array)
            return
        from numba import cuda as numba_cuda

        low, high = np.lib.array_utils.byte_bounds(array)
        self.span, self.offset = _bytes(low, high, array), low % 64  # which keeps its alignment
        room = np.zeros(high - low + 128, np.uint8)
        room[self.offset : self.offset + high - low] = self.span
        self.memory = numba_cuda.to_device(room)
        base = self.memory.__cuda_array_interface__["data"][0]
        self.device = Described(array, base + self.offset + array.__array_interface__["data"][0] - low, self.memory)

    def back(self) -> None:
        """The host's array becomes what the device's is."""
        if not cuda.runtime.SIMULATED:
            self.span[...] = self.memory.copy_to_host()[self.offset : self.offset + self.span.size]


def _bytes(low: int, high: int, owner: np.ndarray) -> np.ndarray:
    interface = {"data": (low, not owner.flags.writeable), "shape": (high - low,), "typestr": "|u1", "version": 3}
    return np.asarray(type("Bytes", (), {"__array_interface__": interface})())


def _native(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def bind(problems: list[Any], arrays: list[Any], out: Any) -> Any:
    def call(*given: Any) -> np.ndarray:
        *inputs, target = given
        kept: dict[int, OnDevice] = {}  # what is one array here is one there
        there = [None if a is None else kept.setdefault(id(a), OnDevice(_native(a))) for a in inputs]
        views = [None if t is None else cuda.admit("an input", t.device) for t in there]
        if target is None:
            result = cuda.bind(problems, views, None)(*views, None)
            return result.copy_to_host()
        written = kept.setdefault(id(target), OnDevice(_native(target)))
        view = cuda.admit("out", written.device)
        cuda.bind(problems, views, view)(*views, view)
        written.back()
        if written.host is not target:
            target[...] = written.host
        return target

    return call


def explain(problems: list[Any], arrays: list[Any], out: Any) -> list[str]:
    views = [None if a is None else cuda.admit("an input", OnDevice(_native(a)).device) for a in (*arrays, out)]
    return cuda.explain(problems, views[:-1], views[-1])


class Filters:
    """The engine of filters: arrays there and back."""

    def _run(self, what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> None:
        there, written = OnDevice(_native(input)), OnDevice(_native(output))
        getattr(cuda.filters, what)(cuda.admit("input", there.device), cuda.admit("output", written.device), *arguments)
        written.back()
        if written.host is not output:
            output[...] = written.host

    def passes(self, input: np.ndarray, output: np.ndarray, *arguments: Any) -> None:
        self._run("passes", input, output, *arguments)

    def dense(self, input: np.ndarray, output: np.ndarray, *arguments: Any) -> None:
        self._run("dense", input, output, *arguments)

    def describe(self, what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> list[str]:
        return cuda.filters.describe(what, input, output, *arguments)


def filter_engine() -> Any:
    return Filters()


def info() -> dict[str, Any]:
    return cuda.info()
