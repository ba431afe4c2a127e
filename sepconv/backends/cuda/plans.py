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
    """A problem, or the two of a separable convolution, with the strides, dtypes and alignment of its arrays: the kernel, the numbers that it takes,
    and the grid. Of two problems `choice` is None where no fused kernel fits, and they have plans of their own."""

    def __init__(self, problems: Problems, given: Sequence[View | None], target: View, cc: tuple[int, int]) -> None:
        self.problems, self.empty, self.cc = problems, 0 in target.shape, cc
        choice, records = (self._single if len(problems) == 1 else self._fused)(given, target)
        self.choice = choice
        if choice is None:
            return
        parts = [choice.fields] if len(records) == 1 else choice.fields
        self.words = [int(record[getattr(frame, name)]) for record, fields in zip(records, parts) for name in fields] + list(choice.more)
        first, *after = parts
        at = lambda name, fields, start=0: start + fields.index(name) if name in fields else None
        if not after:
            self.slots = [at(name, first) for name in ADDRESSES]
            return
        self.slots = [at(name, first) for name in ADDRESSES[:3]] + [at(name, after[0], len(first)) for name in ADDRESSES[1:]]

    def _single(self, given: Sequence[View | None], target: View) -> tuple[tiles.Choice | None, list[np.ndarray]]:
        (p,), (x, weight, bias, residual) = self.problems, given
        geometry = frame.measure(p, x, weight, residual, target)
        choice = None if self.empty else tiles.choose(p, geometry, given, target, self.cc)
        whole = tiles.folded(geometry) if p.kind == "pointwise" else geometry
        return choice or _direct(p, given, target), [_record(p, whole, bias)]

    def _fused(self, given: Sequence[View | None], target: View) -> tuple[tiles.Choice | None, list[np.ndarray]]:
        (first, second), (x, depthwise, depthwise_bias, pointwise, bias, residual) = self.problems, given
        g = frame.measure(first, x, depthwise, None, None)
        after = tiles.planes(frame.measure(second, None, pointwise, residual, target))
        choice = None if self.empty else tiles.choose_separable(first, second, g, after, given, target, self.cc)
        return choice, [_record(first, g, depthwise_bias), _record(second, after, bias)]

    def kernel(self) -> Any:
        return runtime.kernel(self.choice.kernel, self.choice.factory, *self.choice.cells, registers=self.choice.registers)

    def run(self, given: Sequence[View | None], target: View, stream: Any) -> None:
        if self.empty:
            return
        words = self.words.copy()
        for slot, view in zip(self.slots, (*given, target)):
            if slot is not None:
                words[slot] = 0 if view is None else view.address
        runtime.launch(self.kernel(), self.choice.grid, self.choice.block, stream, words)

    @property
    def tuned(self) -> bool:
        return self.choice.factory is not direct.outputs

    def describe(self) -> list[str]:
        c = self.choice
        kind = "tuned" if self.tuned else "direct"
        blocks, threads = (" x ".join(f"{n:,}" for n in size) for size in (c.grid, c.block))
        return [f"{kind} kernel {c.factory.__module__.rsplit('.', 1)[-1]}.{c.factory.__name__}: {c.reason}", f"{blocks} blocks of {threads} threads"]


def _record(p: Problem, g: frame.Geometry, bias: View | None) -> np.ndarray:
    """The numbers of one problem, addresses still 0."""
    record = frame.fill(p, g)
    record[BIAS_BY] = 0 if bias is None else bias.strides[0]
    if p.result.kind not in "iu":
        record[LO], record[HI] = (bits(v, p.accumulate) for v in (p.activation.lo, p.activation.hi))
    return record


def bits(number: float, dtype: np.dtype) -> int:
    """The bits of a bound in the dtype that is accumulated in: a float32 kernel shall hold no float64."""
    whole, kind = (np.int32, np.float32) if dtype.name in ("float32", "complex64") else (np.int64, np.float64)
    with np.errstate(over="ignore"):  # a bound beyond float32 is infinite there
        return int(kind(number).view(whole))


def align(view: View | None) -> int:
    """The largest power of two, at most one part of an element, that its address and strides are multiples of."""
    if view is None:
        return 1
    most = view.dtype.itemsize // (2 if view.dtype.kind == "c" else 1)
    return math.gcd(most, view.address, *(s for s, n in zip(view.strides, view.shape) if n > 1))


def _direct(p: Problem, given: Sequence[View | None], target: View) -> tiles.Choice:
    kind = dtypes.KINDS[p.dtype.name]
    sort = 0 if kind.real else 1 if kind.integer else 2
    names = [p.result.name if v is None else v.dtype.name for v in given]
    aligned = tuple(align(v) for v in (*given, target))
    cells = (p.dtype.name, p.result.name, getattr(np, kind.accumulate), sort, *names, aligned)
    grid, block = min(-(-math.prod(target.shape) // THREADS), runtime.MOST_X), THREADS
    if runtime.SIMULATED:
        grid, block = 3, 1  # its threads are slow to start: few, that do more each
    reason = "plain loops, a thread an output, for any dtype, geometry and strides"
    return tiles.Choice(direct.kernel, direct.outputs, cells, direct.FIELDS, (), (grid, 1, 1), (block, 1, 1), reason)


def _memory(p: Problem, x: View) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(shape in memory, axes that lead from there to the result) of a new result with the channels where x's memory has them."""
    shape, n = p.out_shape, len(p.out_shape)
    axes = tuple(range(n))
    if frame.channels_inner(p, x) != p.channels_last:
        lead = axes[: int(p.batched)]
        rest = axes[int(p.batched) :]
        axes = (*lead, *rest[1:], rest[0]) if not p.channels_last else (*lead, rest[-1], *rest[:-1])  # the order in memory
    return tuple(shape[a] for a in axes), tuple(axes.index(a) for a in range(n))


class Call:
    """What a backend's `bind` gives: runs the problems on arrays of the shapes, strides and dtypes that it was made for."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._memory: dict[Problem, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._fits = False  # whether an out like those of this call was right but for what it may overlap
        self._known: dict[tuple[int, ...], Plan] = {}  # by the step and where the arrays lie in a cache line

    def _allocate(self, p: Problem, x: View) -> View:
        """A new result of x's kind."""
        found = self._memory.get(p)
        if found is None:
            found = self._memory[p] = _memory(p, x)
        return views.empty(found[0], p.result, found[1], x)

    def _plan(self, step: int, problems: Problems, given: Sequence[View | None], target: View) -> Plan:
        key = (step, *(-1 if v is None else v.address % views.LINE for v in given), target.address % views.LINE)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = plan(problems, given, target)
        return found

    def __call__(self, *given: View | None) -> Any:
        """The arrays in the order of `problem.ARRAYS`, then out; the result is the caller's own sort of array."""
        *inputs, out = given
        self._check(inputs, out)
        with runtime.on_device(inputs[0].device):
            target = self._allocate(self.problems[-1], inputs[0]) if out is None else out
            with views.queued([v for v in inputs if v is not None], target) as stream:
                for chosen, arrays, result in self.steps(inputs, target):
                    chosen.run(arrays, result, stream)
        return target.owner

    def steps(self, inputs: Sequence[View | None], target: View) -> list[tuple[Plan, tuple[View | None, ...], View]]:
        """The plans with their arrays and results, in order: one, or those of the two halves with a middle tensor between them."""
        whole = self._plan(0, self.problems, inputs, target)
        if whole.choice is not None or whole.empty:
            return [(whole, tuple(inputs), target)]
        x, depthwise, depthwise_bias, pointwise, bias, residual = inputs
        (first, second), middle = self.problems, self._allocate(self.problems[0], x)
        before, after = (x, depthwise, depthwise_bias, None), (middle, pointwise, bias, residual)
        return [(self._plan(1, (first,), before, middle), before, middle), (self._plan(2, (second,), after, target), after, target)]

    def _check(self, inputs: Sequence[View | None], out: View | None) -> None:
        if out is None or (self._fits and all(v is None or v.apart(out) for v in inputs)):
            return
        headers = [None if v is None else v.header() for v in inputs]
        overlap.check(self.problems[-1], out.header(), tuple(zip(ARRAYS[len(self.problems)], headers[:-1])), headers[-1])
        self._fits = True

    def explain(self, *given: View | None) -> list[str]:
        *inputs, out = given
        self._check(inputs, out)
        target = self._allocate(self.problems[-1], inputs[0]) if out is None else out
        lines: list[str] = []
        for chosen, _, _ in self.steps(inputs, target):
            lines += [*(["then, over the middle tensor,"] if lines else []), *chosen.describe()]
        return lines


def plan(problems: Problems, given: Sequence[View | None], target: View) -> Plan:
    cc = runtime.capability(target.device)
    key = (problems, cc, *(None if v is None else (v.strides, v.shape, v.dtype, align(v), v.address % views.LINE) for v in (*given, target)))
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = Plan(problems, given, target, cc)
    return found


def imagined(problems: Problems, x_last: bool, cc: tuple[int, int] = runtime.PRESUMED) -> Plan:
    """The plan of problems whose arrays lie packed on whole cache lines, x and the result with their channels last or first, on a GPU of a compute
    capability: to look at."""
    x, out = (_packed(name, p, x_last, name == "out") for name, p in (("x", problems[0]), ("out", problems[-1])))
    flat = lambda name, shape, dtype: View(name, None, views.NUMBA, views.LINE, shape, views.packed(shape, dtype.itemsize), dtype)
    given: list[View | None] = [x]
    for p in problems:
        given.append(flat("weight", (p.out_channels, p.group_in, *p.kernel), p.dtype))
        given.append(flat("bias", (p.out_channels,), p.result) if p.bias else None)
    return Plan(problems, [*given, out if problems[-1].residual else None], out, cc)


def _packed(name: str, p: Problem, last: bool, out: bool) -> View:
    """x or the result of a problem, packed, in either memory order."""
    channels, size, dtype = (p.out_channels, p.out_size, p.result) if out else (p.in_channels, p.in_size, p.dtype)
    lead = (p.batch,) if p.batched else ()
    shape, memory = ((*lead, *size, channels) if order else (*lead, channels, *size) for order in (p.channels_last, last))
    steps = np.empty(memory, np.uint8).strides
    if last != p.channels_last:
        at = len(lead)
        steps = (*steps[:at], *steps[at + 1 :], steps[at]) if p.channels_last else (*steps[:at], steps[-1], *steps[at:-1])
    return View(name, None, views.NUMBA, views.LINE, shape, tuple(s * dtype.itemsize for s in steps), dtype)
