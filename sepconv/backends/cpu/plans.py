"""A plan: everything of a call that its shapes, dtypes and strides decide, made once; running it fills in addresses and launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import dtypes
from ...cache import Cache
from ...problem import Problem
from . import direct, frame, runtime, tiles
from .frame import BEGIN, BIAS, CHUNKS, END, OUT, RESIDUAL, WEIGHT, ZEROS, X

MACS_A_LAUNCH = 4_000_000_000  # of a tuned kernel on one thread: about a second, after which Ctrl-C is heard
_plans: Cache[Plan] = Cache(2048)
_zeros = np.zeros(0, np.uint8)


def zeros(bytes: int) -> np.ndarray:
    """At least that many zero bytes, shared by all plans and never written."""
    global _zeros
    if _zeros.nbytes < bytes:
        _zeros = np.zeros(max(bytes, 4096), np.uint8)
    return _zeros


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


class Plan:
    """One problem with its strides on this machine: the kernel, its record, and how the jobs are shared out."""

    def __init__(self, problem: Problem, geometry: frame.Geometry, twice: bool, workers: int) -> None:
        p = problem
        g = frame.flat(geometry) if p.kind == "pointwise" else geometry
        choice = tiles.choose(p, g, runtime.machine(), twice, workers)
        self.tuned = choice is not None
        if choice is None:
            g, choice = geometry, _direct(p, geometry)
        self.choice, self.record = choice, frame.fill(p, g)
        record = self.record
        record[frame.BANDS : frame.STEP + 1] = choice.bands, choice.band, choice.overlap, choice.step
        record[frame.BIAS_BY] = p.result.itemsize if p.bias else 0
        record[END] = choice.jobs
        # A row of zeros stands in for lines beyond the border and for a bias that is not there.
        self.zeros = zeros((max(g.in_size[4], p.out_channels) + 1) * max(p.dtype.itemsize, p.result.itemsize) + 1024)
        record[ZEROS] = record[BIAS] = address(self.zeros)
        cost = p.macs * (1 if self.tuned else tiles.RATE)
        self.workers = min(workers, choice.jobs) if cost > tiles.SERIAL else 1
        record[CHUNKS] = max(1, self.workers)
        self.launches = min(choice.jobs, max(1, cost // (MACS_A_LAUNCH * self.workers)) if self.workers else 1)
        self.empty = 0 in geometry.out_size
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

    def run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, out: np.ndarray) -> None:
        if self.empty:
            return
        kernel = self._kernel
        if kernel is None:
            kernel = self._kernel = self.kernel(self.workers > 1)
        record = self.record.copy()
        record[X], record[WEIGHT], record[OUT] = address(x), address(weight), address(out)
        if bias is not None:
            record[BIAS] = address(bias)
        if residual is not None:
            record[RESIDUAL] = address(residual)
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
    return tiles.Choice(direct.rows, cells, 1, 1, True, 1, jobs, reason)


def allocate(p: Problem, x: np.ndarray) -> np.ndarray:
    """A new result, with the channels where x's memory has them: channels last if those are closer together than the pixels."""
    steps = frame._array(p, x)
    pixel = next((s for s in reversed(steps[2:]) if s), 0)
    last = p.channels_last if not pixel or not steps[1] else abs(steps[1]) < abs(pixel)
    if last == p.channels_last:
        return np.empty(p.out_shape, p.result)
    lead = p.out_shape[:1] if p.batched else ()
    inner = (p.out_channels, *p.out_size) if p.channels_last else (*p.out_size, p.out_channels)
    made = np.empty((*lead, *inner), p.result)
    at = 1 if p.batched else 0
    return np.moveaxis(made, at, -1) if p.channels_last else np.moveaxis(made, -1, at)


def _plain(array: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    """The array itself if the kernels can read it: of that dtype, in native byte order, its elements aligned; else a copy that they can."""
    if array is None:
        return None
    if array.dtype != dtype:
        return array.astype(dtype)
    if not array.flags.aligned or any(s % dtype.alignment for s in array.strides):
        return array.copy()
    return array


def prepare(p: Problem, x: Any, weight: Any, bias: Any, residual: Any, out: Any) -> tuple[Plan, tuple[np.ndarray | None, ...], np.ndarray]:
    """The plan of a call, its arrays as the kernels can read them, and where the result goes."""
    if x.dtype != p.dtype or not x.flags.aligned:
        x = _plain(x, p.dtype)
    if weight.dtype != p.dtype or not weight.flags.aligned:
        weight = _plain(weight, p.dtype)
    if bias is not None and (bias.dtype != p.result or bias.strides[0] != p.result.itemsize or not bias.flags.aligned):
        bias = np.array(bias, p.result, order="C")
    if residual is not None:
        residual = _plain(residual, p.result)
    if out is None:
        out = allocate(p, x)
    elif out.dtype != p.result or not out.flags.aligned:
        out = np.empty(out.shape, p.result)
    twice = residual is None or not np.may_share_memory(residual, out)
    workers = runtime.workers()
    key = (p, x.strides, weight.strides, weight.ndim, None if residual is None else residual.strides, out.strides, twice, workers)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = Plan(p, frame.measure(p, x, weight, residual, out), twice, workers)
    return plan, (x, weight, bias, residual), out


