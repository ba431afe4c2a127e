"""A plan: everything of a call that its shapes, dtypes and strides decide, made once; running it fills in addresses and launches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import dtypes, overlap
from ...cache import Cache
from ...problem import ARRAYS, Problem
from ..cpu import frame
from ..cpu.frame import BIAS_BY, HI, LO
from . import arrays as views
from . import direct, runtime, tiles
from .arrays import View

Problems = tuple[Problem, ...]  # one, or the two halves of a separable convolution
THREADS = 128  # of a block of the direct kernel
ADDRESSES = ("X", "WEIGHT", "BIAS", "RESIDUAL", "OUT")  # in the order of `problem.ARRAYS`, the result last
_plans: Cache[Plan] = Cache(2048)


class Plan:
    """One problem with the strides, dtypes and alignment of its arrays: the kernel, the numbers that it takes, and the grid."""

    def __init__(self, problem: Problem, given: Sequence[View | None], target: View) -> None:
        x, weight, bias, residual = given
        p = self.problem = problem
        self.empty = 0 in target.shape
        geometry = frame.measure(p, x, weight, residual, target)
        record = frame.fill(p, tiles.folded(geometry) if p.kind == "pointwise" else geometry)
        record[BIAS_BY] = 0 if bias is None else bias.strides[0]
        if p.result.kind not in "iu":
            record[LO], record[HI] = (_bits(v, p.accumulate) for v in (p.activation.lo, p.activation.hi))
        choice = None if self.empty else tiles.choose(p, geometry, given, target)
        self.choice = _direct(p, given, target) if choice is None else choice
        self.words = [int(record[getattr(frame, name)]) for name in self.choice.fields] + list(self.choice.more)
        self.slots = [self.choice.fields.index(name) if name in self.choice.fields else None for name in ADDRESSES]

    def kernel(self) -> Any:
        return runtime.kernel(self.choice.kernel, self.choice.factory, *self.choice.cells)

    def run(self, given: Sequence[View | None], target: View, stream: Any) -> None:
        if self.empty:
            return
        words = self.words.copy()
        for slot, view in zip(self.slots, (*given, target)):
            if slot is not None:
                words[slot] = 0 if view is None else view.address
        runtime.launch(self.kernel(), self.choice.grid, self.choice.block, stream, words)

    def describe(self) -> list[str]:
        c = self.choice
        kind = "direct" if c.factory is direct.outputs else "tuned"
        blocks, threads = (" x ".join(f"{n:,}" for n in size) for size in (c.grid, c.block))
        return [f"{kind} kernel {c.factory.__module__.rsplit('.', 1)[-1]}.{c.factory.__name__}: {c.reason}", f"{blocks} blocks of {threads} threads"]


def _bits(number: float, dtype: np.dtype) -> int:
    """The bits of a bound in the dtype that is accumulated in: a float32 kernel shall hold no float64."""
    whole, kind = (np.int32, np.float32) if dtype.name in ("float32", "complex64") else (np.int64, np.float64)
    return int(kind(number).view(whole))


def _align(view: View | None) -> int:
    """The largest power of two, at most one part of an element, that its address and strides are multiples of."""
    if view is None:
        return 1
    most = view.dtype.itemsize // (2 if view.dtype.kind == "c" else 1)
    return math.gcd(most, view.address, *(s for s, n in zip(view.strides, view.shape) if n > 1))


def _direct(p: Problem, given: Sequence[View | None], target: View) -> tiles.Choice:
    kind = dtypes.KINDS[p.dtype.name]
    sort = 0 if kind.real else 1 if kind.integer else 2
    names = [p.result.name if v is None else v.dtype.name for v in given]
    align = tuple(_align(v) for v in (*given, target))
    cells = (p.dtype.name, p.result.name, getattr(np, kind.accumulate), sort, *names, align)
    grid, block = min(-(-math.prod(target.shape) // THREADS), runtime.MOST_X), THREADS
    if runtime.SIMULATED:
        grid, block = 3, 1  # its threads are slow to start: few, that do more each
    reason = "plain loops, a thread an output, for any dtype, geometry and strides"
    return tiles.Choice(direct.kernel, direct.outputs, cells, direct.FIELDS, (), (grid, 1, 1), (block, 1, 1), reason)


def channels_inner(p: Problem, x: View) -> bool:
    """Whether x's memory is channels last: the channels are closer together than the pixels."""
    steps = frame.steps(p, x)
    pixel = next((s for s in reversed(steps[2:]) if s), 0)
    return p.channels_last if not pixel or not steps[1] else abs(steps[1]) < abs(pixel)


def allocate(p: Problem, x: View) -> View:
    """A new result of x's kind, with the channels where x's memory has them."""
    shape, n = p.out_shape, len(p.out_shape)
    axes = tuple(range(n))
    if channels_inner(p, x) != p.channels_last:
        lead = axes[: int(p.batched)]
        rest = axes[int(p.batched) :]
        axes = (*lead, *rest[1:], rest[0]) if not p.channels_last else (*lead, rest[-1], *rest[:-1])  # the order in memory
    back = tuple(int(a) for a in np.argsort(axes))
    return views.empty(tuple(shape[a] for a in axes), p.result, back, x)


class Call:
    """What a backend's `bind` gives: runs the problems on arrays of the shapes, strides and dtypes that it was made for."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def __call__(self, *given: View | None) -> Any:
        """The arrays in the order of `problem.ARRAYS`, then out; the result is the caller's own sort of array."""
        *inputs, out = given
        self._check(inputs, out)
        with runtime.on_device(inputs[0].device):
            target = allocate(self.problems[-1], inputs[0]) if out is None else out
            with views.queued([v for v in inputs if v is not None], target) as stream:
                for problem, arrays, result in self.steps(inputs, target):
                    plan(problem, arrays, result).run(arrays, result, stream)
        return target.owner

    def steps(self, inputs: Sequence[View | None], target: View) -> list[tuple[Problem, tuple[View | None, ...], View]]:
        """The problems with their arrays and results, in order."""
        if len(self.problems) == 1:
            return [(self.problems[0], tuple(inputs), target)]
        x, depthwise, depthwise_bias, pointwise, bias, residual = inputs
        middle = allocate(self.problems[0], x)
        return [(self.problems[0], (x, depthwise, depthwise_bias, None), middle), (self.problems[1], (middle, pointwise, bias, residual), target)]

    def _check(self, inputs: Sequence[View | None], out: View | None) -> None:
        if out is None:
            return
        headers = [None if v is None else v.header() for v in inputs]
        overlap.check(self.problems[-1], out.header(), tuple(zip(ARRAYS[len(self.problems)], headers[:-1])), headers[-1])

    def explain(self, *given: View | None) -> list[str]:
        *inputs, out = given
        self._check(inputs, out)
        target = allocate(self.problems[-1], inputs[0]) if out is None else out
        lines: list[str] = []
        for problem, arrays, result in self.steps(inputs, target):
            lines += [*(["then, over the middle tensor,"] if lines else []), *plan(problem, arrays, result).describe()]
        return lines


def plan(problem: Problem, given: Sequence[View | None], target: View) -> Plan:
    key = (problem, *(None if v is None else (v.strides, v.shape, v.dtype, _align(v)) for v in (*given, target)))
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = Plan(problem, given, target)
    return found


def imagined(problem: Problem, x_last: bool) -> Plan:
    """The plan of a problem whose arrays lie packed on whole cache lines, x and the result with their channels last or first: to look at."""
    p = problem

    def packed(name: str, shape: tuple[int, ...], dtype: np.dtype, last: bool) -> View:
        order = np.empty(shape, np.uint8).strides if last == p.channels_last else _turned(p, shape)
        return View(name, None, views.NUMBA, views.LINE, shape, tuple(s * dtype.itemsize for s in order), dtype)

    inner = lambda channels, size: (*size, channels) if p.channels_last else (channels, *size)
    lead = (p.batch,) if p.batched else ()
    x = packed("x", (*lead, *inner(p.in_channels, p.in_size)), p.dtype, x_last)
    out = packed("out", p.out_shape, p.result, x_last)
    taps = (p.out_channels, p.group_in, *p.kernel)
    flat = lambda name, shape, dtype: View(name, None, views.NUMBA, views.LINE, shape, views.packed(shape, dtype.itemsize), dtype)
    given = (x, flat("weight", taps, p.dtype), flat("bias", (p.out_channels,), p.result) if p.bias else None, out if p.residual else None)
    return Plan(p, given, out)


def _turned(p: Problem, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of an array in the memory order of the other layout."""
    lead = int(p.batched)
    if p.channels_last:
        return np.moveaxis(np.empty((*shape[:lead], shape[-1], *shape[lead:-1]), np.uint8), lead, -1).strides
    return np.moveaxis(np.empty((*shape[:lead], *shape[lead + 1 :], shape[lead]), np.uint8), -1, lead).strides
