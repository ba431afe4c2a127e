"""A plan: everything of a call that its shapes, dtypes and strides decide, made once; running it fills in addresses and launches."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ... import dtypes, overlap
from ...cache import Cache
from ...problem import Problem
from . import direct, frame, poison, runtime, tiles
from .frame import BEGIN, BIAS, CHUNKS, END, OUT, RESIDUAL, STRANGE, WEIGHT, ZEROS, X

ALIGN_FROM = 16384  # bytes of a result
MACS_A_LAUNCH = 4_000_000_000  # of a tuned kernel on one thread: about a second, after which Ctrl-C is heard
_plans: Cache[Plan] = Cache(2048)
_zeros = np.zeros(0, np.uint8)


def zeros(bytes: int) -> np.ndarray:
    """At least that many zero bytes, shared by all plans and never written."""
    global _zeros
    if _zeros.nbytes < bytes:
        _zeros = np.zeros(max(bytes, 4096), np.uint8)
    return _zeros


def _asked(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _peeked(array: np.ndarray) -> int:
    """The data pointer that follows the head of an ndarray object: NumPy's C interface fixes that, and asking takes ten times as long."""
    return _pointer(id(array) + object.__basicsize__).value


_pointer = ctypes.c_size_t.from_address
_probe = np.zeros(3)[1:]
address = _peeked if sys.implementation.name == "cpython" and _peeked(_probe) == _asked(_probe) else _asked


class Plan:
    """One problem with its strides on this machine: the kernel, its record, and how the jobs are shared out."""

    def __init__(self, problem: Problem, geometry: frame.Geometry, twice: bool, workers: int) -> None:
        p = self.problem = problem
        g = frame.flat(geometry) if p.kind == "pointwise" else geometry
        self.empty = 0 in geometry.out_size
        choice = None if self.empty else tiles.choose(p, g, runtime.machine(), twice, workers)
        self.tuned = choice is not None
        if choice is None:
            g, choice = geometry, _direct(p, geometry)
        self.choice, self.record = choice, frame.fill(p, g)
        record = self.record
        for field, value in choice.cut.items():
            record[field] = value
        record[frame.OVERLAP] = twice
        record[frame.BIAS_BY] = p.result.itemsize if p.bias else 0
        record[END] = choice.jobs
        # Zeros stand in for what lies beyond the border, channels of a pixel or as much of a row as a tile reads, and for a missing bias.
        reach = (p.kernel[-1] - 1) * p.dilation[-1]
        self.zeros = zeros(max(p.in_channels, p.out_channels, reach) * max(p.dtype.itemsize, p.result.itemsize) + 1024)
        record[ZEROS] = record[BIAS] = address(self.zeros)
        cost = p.macs * (1 if self.tuned else tiles.RATE)
        self.workers = min(workers, choice.jobs) if cost > tiles.SERIAL else 1
        record[CHUNKS] = max(1, self.workers)
        self.launches = min(choice.jobs, max(1, cost // (MACS_A_LAUNCH * self.workers)) if self.workers else 1)
        self.alignment = max(p.dtype.alignment, p.result.alignment)
        self._kernel: Callable[..., None] | None = None

    def kernel(self, parallel: bool) -> Callable[..., None]:
        return runtime.kernel(self.choice.factory, *self.choice.cells, parallel=parallel)

    def _serial(self) -> Callable[..., None]:
        """Runs a record of this plan on the calling thread alone."""
        kernel = self.kernel(False)

        def run(record: np.ndarray) -> None:
            record[CHUNKS] = 1
            kernel(record)

        return run

    def run(self, x: int, weight: int, bias: int, residual: int, out: int) -> None:
        """Computes on arrays at these addresses; 0: there is none."""
        if self.empty:
            return
        kernel = self._kernel
        if kernel is None:
            kernel = self._kernel = self.kernel(self.workers > 1)
        record = self.record.copy()
        record[X], record[WEIGHT], record[OUT] = x, weight, out
        if bias:
            record[BIAS] = bias
        if residual:
            record[RESIDUAL] = residual
        if self.launches > 1:
            self._in_parts(kernel, record)
        elif self.workers > 1:
            runtime.launch(kernel, record, self.workers, self._serial)
        else:
            kernel(record)
        if record[STRANGE]:
            runtime.kernel(poison.border, self.problem.dtype.name, 0, parallel=False)(record)

    def _in_parts(self, kernel: Callable[..., None], record: np.ndarray) -> None:
        """The jobs in several launches, between which Ctrl-C is heard."""
        jobs = self.choice.jobs
        for i in range(self.launches):
            record[BEGIN], record[END] = jobs * i // self.launches, jobs * (i + 1) // self.launches
            if self.workers > 1:
                runtime.launch(kernel, record, self.workers, self._serial)
            else:
                kernel(record)

    def describe(self) -> list[str]:
        c, m = self.choice, runtime.machine()
        kind = "tuned" if self.tuned else "direct"
        threads = f"{self.workers} threads, {c.jobs} jobs" if self.workers > 1 else f"1 thread, {c.jobs} jobs"
        launches = f" in {self.launches} launches, between which Ctrl-C is heard" if self.launches > 1 else ""
        return [f"{kind} kernel {c.factory.__module__.rsplit('.', 1)[-1]}.{c.factory.__name__} for {m.isa}: {c.reason}", threads + launches]


def _direct(p: Problem, g: frame.Geometry) -> tiles.Choice:
    kind = dtypes.KINDS[p.dtype.name]
    sort = 0 if kind.real else 1 if kind.integer else 2
    cells = (p.dtype.name, kind.result, getattr(np, kind.accumulate), sort)
    jobs = g.out_size[0] * g.out_size[1] * g.out_size[2] * g.out_size[3]
    reason = "plain loops over output rows, for any dtype, geometry and strides"
    return tiles.Choice(direct.rows, cells, {}, jobs, reason)


def _order(p: Problem, x: np.ndarray) -> bool:
    """Whether x's memory is channels last: the channels are closer together than the pixels."""
    steps = frame.steps(p, x)
    pixel = next((s for s in reversed(steps[2:]) if s), 0)
    return p.channels_last if not pixel or not steps[1] else abs(steps[1]) < abs(pixel)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`numpy.empty`, large arrays from a whole cache line on: elsewhere every vector of 64 bytes lies across two lines."""
    size = math.prod(shape) * dtype.itemsize
    if size < ALIGN_FROM:
        return np.empty(shape, dtype)
    room = np.empty(size + 63, np.uint8)
    return np.ndarray(shape, dtype, room, -address(room) % 64)


def allocate(p: Problem, x: np.ndarray) -> np.ndarray:
    """A new result, with the channels where x's memory has them."""
    if _order(p, x) == p.channels_last:
        return empty(p.out_shape, p.result)
    lead, at = (p.out_shape[:1], 1) if p.batched else ((), 0)
    if p.channels_last:
        return np.moveaxis(empty((*lead, p.out_channels, *p.out_size), p.result), at, -1)
    return np.moveaxis(empty((*lead, *p.out_size, p.out_channels), p.result), -1, at)


def _fits(array: np.ndarray | None, dtype: np.dtype) -> bool:
    """Whether the kernels can read or write an array by its strides: of that dtype in native byte order, on whole elements."""
    return array is None or (array.dtype == dtype and not any(s % dtype.alignment for s in array.strides))


def _span(array: np.ndarray) -> tuple[int, int]:
    """The bytes that an array covers, from its address."""
    reach = [s * (n - 1) for s, n in zip(array.strides, array.shape)]
    return sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + array.itemsize


class Call:
    """What `ops` remembers for arrays of one set of shapes, strides and dtypes. All that is left to do in a call is to look at addresses."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.plans: dict[int, Plan] = {}  # by the number of threads; empty while arrays have to be converted
        self.shape, self.dtype = problem.out_shape, problem.result
        self.plain = False  # a new result is simply `empty`
        self.spans: tuple[tuple[int, int], ...] = ()

    def __call__(self, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> np.ndarray:
        plan = self.plans.get(runtime.workers())
        if plan is None:
            return self._general(x, weight, bias, residual, out)
        if out is not None:
            target = out
        elif self.plain:
            target = empty(self.shape, self.dtype)
        else:
            target = allocate(self.problem, x)
        places = (
            address(x), address(weight), 0 if bias is None else address(bias), 0 if residual is None else address(residual), address(target)
        )  # fmt: skip
        bits = places[0] | places[1] | places[2] | places[3] | places[4]
        if bits & (plan.alignment - 1) or (out is not None and not self.clear_of(out, zip(self.spans, places[:4]), places[4])):
            return self._general(x, weight, bias, residual, out)
        plan.run(*places)
        return target

    def clear_of(self, out: np.ndarray, inputs: Iterable[tuple[tuple[int, int], int]], place: int) -> bool:
        """Whether out, at address `place`, can be written and shares no bytes with inputs of these (span, address), as a quick look tells."""
        if not self.spans or not out.flags.writeable:
            return False
        low, high = self.spans[4]
        begin, end = place + low, place + high
        for (low, high), at in inputs:
            if at and at + low < end and begin < at + high:
                return False
        return True

    def _general(self, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> np.ndarray:
        """The call with everything looked at: conversions, overlaps."""
        if out is not None:
            overlap.check(self.problem, out, (("x", x), ("weight", weight), ("bias", bias)), residual)
        plan, arrays, target = self.prepare(x, weight, bias, residual, out)
        plan.run(*(0 if a is None else address(a) for a in (*arrays, target)))
        if out is None or target is out:
            return target
        out[...] = target
        return out

    def prepare(self, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> tuple[Plan, tuple[np.ndarray | None, ...], np.ndarray]:
        """The plan, the arrays as the kernels can read them, and where they write."""
        p, workers = self.problem, runtime.workers()
        given = (x, weight, bias, residual)
        arrays = tuple(_readable(a, d) for a, d in zip(given, (p.dtype, p.dtype, p.result, p.result)))
        if bias is not None:
            arrays = (*arrays[:2], np.ascontiguousarray(arrays[2]), arrays[3])
        target = allocate(p, arrays[0]) if out is None else out
        if not _fits(target, p.result) or not target.flags.aligned:
            target = np.empty(target.shape, p.result)
        twice = residual is None or out is None  # else a tile computed twice would add the residual twice, if that is `out`
        key = (p, twice, workers, *(None if a is None else (a.strides, a.ndim) for a in (arrays[0], arrays[1], arrays[3], target)))
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = Plan(p, frame.measure(p, arrays[0], arrays[1], arrays[3], target), twice, workers)
        if target is out or out is None:
            if all(a is b or (a is not None and a.dtype == b.dtype and a.strides == b.strides) for a, b in zip(arrays, given)):
                self.spans = tuple((0, 0) if a is None else _span(a) for a in (*arrays, target))
                self.plain = _order(p, x) == p.channels_last
                self.plans[workers] = plan
        return plan, arrays, target

    def explain(self, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> list[str]:
        lines = []
        for name, array in (("x", x), ("weight", weight)):
            if array.dtype != self.problem.dtype:
                lines.append(f"{name} is {array.dtype} and is converted: the common dtype is {self.problem.dtype}")
        return lines + self.prepare(x, weight, bias, residual, out)[0].describe()


def _readable(array: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    """The array itself if the kernels can read it as it lies, else a copy that they can; no matter of the layout."""
    if array is None or (_fits(array, dtype) and array.flags.aligned):
        return array
    return array.astype(dtype, order="K")
