"""A plan: everything of a call that its shapes, dtypes and strides decide, made once; running it fills in addresses and launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import dtypes, overlap
from ...cache import Cache
from ...problem import ARRAYS, Problem
from . import direct, frame, large, poison, runtime, team, tiles
from .arrays import allocate, empty, fits, moved_on_lines, readable, zeros
from .choice import RATE, SERIAL, Choice
from .entry import PEEK, Entry, address
from .frame import BEGIN, BIAS, C_OUT, CHUNKS, END, GROUP, LENGTH, OUT, PANEL, RESIDUAL, STRANGE, TURNED, WEIGHT, YN, YW, ZEROS, X
from .panels import panels
from .tape import MACS_A_LAUNCH, Recorded

FAR = 2**24  # places of an axis from the first tap to the last, beyond which no tile runs: it would read so many zeros beyond the border
APART = 64  # and from one output of a depthwise convolution to the next, beyond those of its taps: scratch would hold what lies between
Problems = tuple[Problem, ...]  # one, or the two halves of a separable convolution
_plans: Cache[Plan] = Cache(2048)

SLOTS = {  # where a call's addresses stand in its record, in the order of `problem.ARRAYS`, the result last
    1: (X, WEIGHT, BIAS, RESIDUAL, OUT),
    2: (X, WEIGHT, BIAS, LENGTH + WEIGHT, LENGTH + BIAS, LENGTH + RESIDUAL, LENGTH + OUT),
}


class Plan:
    """One call's problems with their strides on this machine: the kernel, its record, and how the jobs are shared out.

    A separable convolution is two problems and one fused kernel; where there is none, `choice` is None, and the halves have plans of their own.
    """

    def __init__(self, problems: Problems, arrays: Sequence[np.ndarray | None], target: np.ndarray, twice: bool, workers: int,
                 turn: bool = True) -> None:  # fmt: skip
        self.problems, last = problems, problems[-1]
        self.empty, self.straight = 0 in target.shape, None  # the plan that takes infinite numbers, if it is another
        self.slots: tuple[int, ...] = SLOTS[len(problems)]
        choice, records = self._fused(arrays, target, twice, workers) if len(problems) == 2 else self._single(arrays, target, twice, workers, turn)
        self.tuned, self.choice = choice is not None and choice.factory is not direct.rows, choice
        if choice is None:
            return
        for field, value in choice.cut.items():
            records[0][field] = value
        if choice.stage is not None:
            records.append(choice.stage(records[0]))
        self.record = np.concatenate(records)
        self.record[END] = choice.jobs
        # Zeros stand in for what lies beyond the border, channels of a pixel or as much of a row as a tile reads, and for a missing bias.
        most = max(max(p.in_channels, p.out_channels, _reach(p) * self.tuned) for p in problems)
        self.zeros = zeros(most * max(p.dtype.itemsize for p in (*problems, last)) + most * last.result.itemsize + 1024)
        for at, p in zip(range(0, len(self.record), LENGTH), problems):
            self.record[at + frame.OVERLAP] = twice
            self.record[at + frame.BIAS_BY] = p.result.itemsize if p.bias else 0
            self.record[at + ZEROS] = self.record[at + BIAS] = address(self.zeros)
        cost = sum(p.macs for p in problems) * (1 if self.tuned else RATE)
        self.workers = min(workers, choice.jobs) if cost > SERIAL else 1
        self.record[CHUNKS] = max(1, self.workers)
        self.launches = min(choice.jobs, max(1, cost // (MACS_A_LAUNCH * self.workers)) if self.workers else 1)
        self.alignment = max(max(p.dtype.alignment, p.result.alignment) for p in problems)

    def _single(self, arrays: Sequence[Any], target: np.ndarray, twice: bool, workers: int,
                turn: bool) -> tuple[Choice | None, list[np.ndarray]]:  # fmt: skip
        (p,), (x, weight, _, residual), last = self.problems, arrays, 0
        geometry = frame.measure(p, x, weight, residual, target)
        g = frame.flat(geometry) if p.kind == "pointwise" else geometry
        machine = runtime.machine()
        over = large.blocks(p, g, machine, workers) if turn and not self.empty else None
        turned = over[1] if over else turn and not self.empty and large.turns(p, g, machine)
        if turned:
            self.straight = Plan(self.problems, arrays, target, twice, workers, False)
        if turned and not over:
            self.slots = (WEIGHT, X, *self.slots[2:])
            p, g, last = frame.turned(p, g)
        choice = over[0] if over else None if self.empty or _far(p) else tiles.choose(p, g, machine, twice, workers)
        if choice is None:
            g, choice = geometry, _direct(p, geometry)
        record = frame.fill(p, g)
        record[TURNED] = last
        return choice, [record]

    def _fused(self, arrays: Sequence[Any], target: np.ndarray, twice: bool, workers: int) -> tuple[Choice | None, list[np.ndarray]]:
        first, second = self.problems
        x, depthwise, _, pointwise, _, residual = arrays
        g, after = frame.measure(first, x, depthwise, None, None), frame.measure(second, None, pointwise, residual, target)
        choice = None if self.empty or _far(first) else tiles.choose_separable(first, second, g, after, runtime.machine(), workers)
        return choice, [frame.fill(first, g), frame.fill(second, after)]

    def kernel(self) -> Callable[..., None]:
        for field, (factory, cells) in zip((frame.FIRST_KERNEL, frame.SECOND_KERNEL), self.choice.halves):
            self.record[field] = runtime.kernel(factory, *cells).entry
        return runtime.kernel(self.choice.factory, *self.choice.cells)

    def run(self, places: Sequence[int]) -> None:
        """Computes on arrays at these addresses, the result's last; 0: there is none."""
        if self.empty:
            return
        kernel, record = self.kernel(), self.record.copy()
        for slot, place in zip(self.slots, places):
            if place:
                record[slot] = place
        self.launch(kernel, record)

    def launch(self, kernel: Callable[..., None], record: np.ndarray) -> bool:
        """The jobs of a record, in several launches if they are long, between which Ctrl-C is heard. True, at the end."""
        jobs = self.choice.jobs
        for i in range(self.launches):
            record[BEGIN], record[END] = jobs * i // self.launches, jobs * (i + 1) // self.launches
            team.run(kernel, record, self.workers)
        if record[STRANGE] and self.straight is not None:
            self.straight.run([int(record[slot]) for slot in self.slots])
        elif record[STRANGE]:
            self._poison(record)
        return True

    def _poison(self, record: np.ndarray) -> None:
        """The NaNs of infinite weights over the border, which spread to all channels of a pixel where a pointwise half follows."""
        fused = len(self.problems) == 2
        if fused:
            after, record = record[LENGTH:], record[:LENGTH].copy()
            record[OUT], record[GROUP], record[YN : YW + 1] = after[OUT], after[C_OUT], after[YN : YW + 1]
        runtime.kernel(poison.border, self.problems[0].dtype.name, int(fused))(record, 0)

    def describe(self) -> list[str]:
        c, m = self.choice, runtime.machine()
        kind = "tuned" if self.tuned else "direct"
        threads = f"{self.workers} threads, {c.jobs} jobs" if self.workers > 1 else f"1 thread, {c.jobs} jobs"
        launches = f" in {self.launches} launches, between which Ctrl-C is heard" if self.launches > 1 else ""
        reason = c.reason + (large.TURNS if self.straight is not None else "")
        return [f"{kind} kernel {c.factory.__module__.rsplit('.', 1)[-1]}.{c.factory.__name__} for {m.isa}: {reason}", threads + launches]


def _reach(p: Problem) -> int:
    """Elements of a row from the first tap to the last."""
    return (p.kernel[-1] - 1) * p.dilation[-1]


def _far(p: Problem) -> bool:
    """Whether what a tile reads lies too far apart for it."""
    wide = p.kind == "depthwise" and any(o > 1 and s > max(APART, k) for o, s, k in zip(p.out_size, p.stride, p.kernel))
    return wide or any((k - 1) * d > FAR for k, d in zip(p.kernel, p.dilation))


def _direct(p: Problem, g: frame.Geometry) -> Choice:
    kind = dtypes.KINDS[p.dtype.name]
    sort = 0 if kind.real else 1 if kind.integer else 2
    cells = (p.dtype.name, kind.result, getattr(np, kind.accumulate), sort)
    jobs = g.out_size[0] * g.out_size[1] * g.out_size[2] * g.out_size[3]
    reason = "plain loops over output rows, for any dtype, geometry and strides"
    return Choice(direct.rows, cells, {}, jobs, reason)


class Call:
    """What `call` remembers for arrays of one set of shapes, strides and dtypes. All that is left to do in a call is to look at addresses."""

    def __init__(self, problems: Problems) -> None:
        self.problems, self.last = problems, problems[-1]
        self.entries: dict[int, Entry | None] = {}  # by the number of threads; none while arrays have to be converted
        self.shape, self.dtype = self.last.out_shape, self.last.result
        self.plain = False  # a new result is simply `empty`
        self.halves: tuple[Call, Call] | None = None  # of a separable convolution that no fused kernel fits
        self.kept: dict[Any, np.ndarray] | None = None  # see `hold`

    def __call__(self, *given: Any) -> np.ndarray:
        """The arrays in the order of `problem.ARRAYS`, then out."""
        entry = self.entries.get(team.workers())
        if entry is None:
            return self._general(*given) if self.halves is None else self._in_halves(*given)
        target = given[-1]
        if target is None:
            target = empty(self.shape, self.dtype) if self.plain else allocate(self.last, given[0])
            return target if entry((*given[:-1], target)) else self._general(*given)
        return target if entry(given) else self._general(*given)

    def again(self, *given: Any) -> np.ndarray | None:
        """The same for arrays that nobody has looked at; None, if they are others than those of the calls before, or have to be looked at."""
        entry, target = self.entries.get(team.workers()), given[-1]
        if entry is None or (target is None and not self.plain):
            return None
        if target is None:
            target = empty(self.shape, self.dtype)
            given = (*given[:-1], target)
        return target if entry(given) else None

    def recorded(self, *given: Any) -> Recorded | None:
        """What `again` would run for these arrays, to be run by `tape.py`; None, if the call has to be made."""
        entry = self.entries.get(team.workers())
        return None if entry is None or given[-1] is None else entry.recorded(given)

    def _general(self, *given: Any) -> np.ndarray:
        """The call with everything looked at: conversions, overlaps."""
        out = given[-1]
        self._check(*given)
        plan, arrays, target, as_given = self.prepare(*given)
        if plan.choice is None:
            self.halves = Call(self.problems[:1]), Call(self.problems[1:])
            return self._in_halves(*given)
        plan.run([0 if a is None else address(a) for a in (*arrays, target)])
        if PEEK and as_given and not plan.empty:
            self._met(plan, (*arrays, target))
        if out is None or target is out:
            return target
        out[...] = target
        return out

    def _met(self, plan: Plan, arrays: Sequence[np.ndarray | None]) -> None:
        """From the second call on there is an entry: what it goes through is compiled once, which a single call need not wait for."""
        workers = team.workers()
        if workers not in self.entries:
            self.entries[workers] = None
        elif self.entries[workers] is None:
            self.plain = frame.channels_inner(self.last, arrays[0]) == self.last.channels_last  # type: ignore[arg-type]
            self.entries[workers] = Entry(plan, arrays, self._packed(plan, arrays))

    def hold(self, kept: dict[Any, np.ndarray]) -> None:
        """Says that the weights are the same arrays in all calls, and never change; `kept` has a place for them as a kernel reads them best."""
        self.kept = kept

    def _packed(self, plan: Plan, arrays: Sequence[np.ndarray | None]) -> dict[int, int]:
        """The fields of the record that say where the panels of a weight lie that is held."""
        panel = plan.choice.panel  # type: ignore[union-attr]
        if self.kept is None or panel is None:
            return {}
        half = LENGTH * (len(self.problems) - 1)
        if panel not in self.kept:
            made = panels(arrays[plan.slots.index(half + WEIGHT)], *panel)  # type: ignore[arg-type]
            self.kept.setdefault(panel, moved_on_lines(made))  # complete, since another thread may read it at once
        held = self.kept[panel]
        return {half + WEIGHT: address(held), half + PANEL: held.strides[0]}

    def _check(self, *given: Any) -> None:
        *inputs, out = given
        if out is not None:
            overlap.check(self.last, out, tuple(zip(ARRAYS[len(self.problems)], inputs[:-1])), inputs[-1])

    def _in_halves(self, *given: Any) -> np.ndarray:
        """The two halves one after the other, with the middle tensor in memory between them."""
        x, depthwise, depthwise_bias, pointwise, bias, residual, out = given
        self._check(*given)  # the second half does not see what the first one reads
        first, second = self.halves  # type: ignore[misc]
        return second(first(x, depthwise, depthwise_bias, None, None), pointwise, bias, residual, out)

    def prepare(self, *given: Any) -> tuple[Plan, tuple[np.ndarray | None, ...], np.ndarray, bool]:
        """The plan, the arrays as the kernels can read them, where they write, and whether an `Entry` may go the same way."""
        *inputs, out = given
        workers, residual = team.workers(), inputs[-1]
        arrays = tuple(readable(a, *kind) for a, kind in zip(inputs, _kinds(self.problems)))
        target = allocate(self.last, arrays[0]) if out is None else out
        if not fits(target, self.dtype) or not target.flags.aligned:
            target = empty(target.shape, self.dtype)
        twice = residual is None or not overlap.same(arrays[-1], target)  # type: ignore[arg-type]  # else it would be added twice
        key = (self.problems, twice, workers, *(None if a is None else (a.strides, a.ndim) for a in (*arrays, target)))
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = Plan(self.problems, arrays, target, twice, workers)
        as_given = (
            twice
            and (target is out or out is None)
            and all(a is b or (a is not None and a.dtype == b.dtype and a.strides == b.strides) for a, b in zip(arrays, inputs))
        )
        return plan, arrays, target, as_given

    def explain(self, *given: Any) -> list[str]:
        lines = []
        for name, array, (dtype, _) in zip(ARRAYS[len(self.problems)], given, _kinds(self.problems)):
            if array is not None and "bias" not in name and array.dtype != dtype:
                lines.append(f"{name} is {array.dtype} and is converted: the common dtype is {dtype}")
        plan = self.prepare(*given)[0]
        if plan.choice is not None:
            return lines + plan.describe()
        (x, depthwise, depthwise_bias, pointwise, bias, residual, out), (first, second) = given, self.problems
        lines += Call((first,)).explain(x, depthwise, depthwise_bias, None, None)
        return [*lines, "then, over the middle tensor,", *Call((second,)).explain(allocate(first, x), pointwise, bias, residual, out)]


def _kinds(problems: Problems) -> list[tuple[np.dtype, bool]]:
    """(dtype that it is read as, whether it has to be contiguous) of each array of a call but the result."""
    halves = [[(p.dtype, False), (p.dtype, False), (p.result, True), (p.result, False)] for p in problems]
    return halves[0] if len(halves) == 1 else [*halves[0][:3], *halves[1][1:]]
