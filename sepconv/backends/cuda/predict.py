"""What a kernel costs, and the least time that an H100 would need: from its machine code, since nothing is run.

Instructions outside of loops count once. Those in loops count as often as makes the multiply-adds right: so many are known from the problem, and how
far the compiler unrolled is not. A branch that goes forward counts as never taken, but for the last one past the loads of a slab to come; the loops
of a depthwise kernel on tensor cores, for results that are not finite, do not count. An `mma` of 8 of k is taken to need half of what one of 16 does.
Then of memory, issue, multiply-adds and the first cache the slowest decides, as if all else were hidden behind it: S. Williams, A. Waterman, D.
Patterson, "Roofline", 2009, with more roofs.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from . import depthwise, matrix, stencil
from .machine_code import SORTS, Report

# Of an H100 SXM: multiprocessors, cycles and bytes of memory a second; of a multiprocessor, a cycle: lanes that issue (or multiply), bytes of L1
PROCESSORS, CLOCK, MEMORY, LANES, L1 = 132, 1.755e9, 3.35e12, 128, 128
# The same of its tensor cores, for 16-bit floats: what they are said to do, and the share of it that `mma` is taken to reach (`wgmma`, which Hopper
# has beside it, is what reaches all); multiply-adds of a lane in one instruction of 16 of k
TENSOR, REACHED, MANY = 2048, 0.62, 64
STAGED = 1.5  # wavefronts of a 16-byte load from shared memory: a row of a slab is read by several threads at once


class Prediction(NamedTuple):
    """Of a whole launch; counts are per output."""

    bytes: float
    multiply_adds: float  # that the operation needs
    loads: float  # from global memory
    instructions: float
    limit: str  # what takes the longest
    share: float  # of the roofline: the time that memory and multiply-adds alone would need, over the longest
    seconds: float

    def __str__(self) -> str:
        text = f"{self.limit}-bound" if self.share > 0.995 else f"{self.share:.0%} of the roofline: {self.limit}"
        return (
            f"an output moves {self.bytes:.3g} bytes and takes {self.multiply_adds:.4g} multiply-adds, {self.loads:.3g} loads, "
            f"{self.instructions:.4g} instructions; on an H100 {text}, {1e6 * self.seconds:.3g} us at least"
        )


def _loops(sass: str) -> tuple[list[str], list[bool], list[bool]]:
    """The instructions, without padding; whether each is in a loop; and whether it is there in what a branch passes by that loads: the next slab."""
    code: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in sass.splitlines():
        if label := re.match(r"\s*\.?(L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*)", line):
            if found[1] == "NOP":
                continue
            if found[1].startswith("BRA") and (to := re.search(r"L_x_\d+", found[2])):
                jumps.append((len(code), to[0]))
            code.append(found[1])
    inside = [False] * len(code)
    for at, label in jumps:
        start = labels.get(label, at)
        if start < at:
            inside[start : at + 1] = [True] * (at + 1 - start)
    ahead = [False] * len(code)
    for at, label in jumps:
        end = labels.get(label, at)
        if end > at and inside[at] and any(re.match(SORTS["global load"], name) for name in code[at:end]):
            ahead[at + 1 : end] = inside[at + 1 : end]
    return code, inside, ahead


def _needed(plan: Any) -> int:
    """Instructions of a thread that multiply and add, from its tile."""
    c, problems = plan.choice, plan.problems
    if c.kernel is depthwise.kernel:
        turns = c.cells[-2] if c.factory is depthwise.channels_last else 1
        return stencil.Tile.read(c.cells[0]).outputs * math.prod(problems[0].kernel) * turns
    m = matrix.Matrix.read(c.cells[0])
    last = problems[-1]
    steps = -(-last.group_in * math.prod(last.kernel) // m.deep)
    own = m.outputs * m.deep // (MANY if m.tensor else 1)
    if len(problems) == 1:
        return own * steps
    _, _, vec, words = m.words(m.made_side)
    return (own + vec * words * math.prod(problems[0].kernel)) * steps


def _traffic(problems: Any) -> int:
    """Bytes read and written once: input, weights, residual, result; nothing between two halves."""
    first, last, size = problems[0], problems[-1], problems[0].dtype.itemsize
    result = last.batch * last.out_channels * math.prod(last.out_size)
    weights = sum(p.out_channels * p.group_in * math.prod(p.kernel) for p in problems)
    return size * (first.batch * first.in_channels * math.prod(first.in_size) + weights + result * (2 if last.residual else 1))


def predict(plan: Any, report: Report) -> Prediction:
    """Of a tuned plan, from the machine code of its kernel; ValueError for plain loops, whose counts depend on what they meet."""
    if not plan.tuned:
        raise ValueError("plan is of the direct kernel; allowed is a tuned one")
    code, inside, ahead = _loops(report.sass)
    fma = [bool(re.match(SORTS["fma"], name)) for name in code]
    once, often = (sum(f for f, i in zip(fma, inside) if i == loop) for loop in (False, True))
    ahead = [a and plan.choice.kernel is not depthwise.kernel for a in ahead]  # whose branches are the image's border
    passed = sum(f and a for f, a in zip(fma, ahead))  # once: the last slab has none after it
    bands = plan.choice.factory is depthwise.by_bands  # whose only loops are for what is not finite
    times = 0.0 if bands else max(1.0, (_needed(plan) - once + passed) / often) if often else 1.0
    weight = [max(0.0, times - 1) if a else times if i else 1.0 for i, a in zip(inside, ahead)]
    count = lambda pattern: sum(w for w, name in zip(weight, code) if re.match(pattern, name))
    width = lambda name: next((int(p) // 8 for p in name.split(".") if p in ("128", "64")), 4)
    issued, loads = sum(weight), count(SORTS["global load"])
    words = lambda pattern: sum(w * width(name) / 4 for w, name in zip(weight, code) if re.match(pattern, name))
    cached = words(r"(?:LDG?|STG?)\b") + words(SORTS["shared store"]) + count("LDSM") * 4
    own = plan.choice.kernel is depthwise.kernel  # whose threads read words of their own
    cached += words(r"LDS\b") if own else count(r"LDS\b") * STAGED
    threads = math.prod(plan.choice.grid) * -(-math.prod(plan.choice.block) // matrix.WARP) * matrix.WARP
    useful, moved = sum(p.macs for p in plan.problems), _traffic(plan.problems)
    rate, by_tensor = PROCESSORS * CLOCK, (count("HMMA") - count(r"HMMA\.1688") / 2) * MANY
    ordinary = threads * (count(SORTS["fma"]) - count("HMMA"))
    needs = {
        "memory": moved / MEMORY, "multiply-add": (ordinary if by_tensor else max(useful, ordinary)) / LANES / rate,
        "tensor cores": threads * by_tensor / (TENSOR * REACHED) / rate, "issue": threads * issued / LANES / rate,
        "L1": threads * cached * 4 / L1 / rate,
    }  # fmt: skip
    limit = max(needs, key=needs.__getitem__)
    least = sum(p.macs for p in plan.problems[:-1]) / LANES + plan.problems[-1].macs / TENSOR if by_tensor else useful / LANES
    roof = max(needs["memory"], least / rate)
    last = plan.problems[-1]
    outputs = last.batch * last.out_channels * math.prod(last.out_size)
    per = threads / outputs
    return Prediction(moved / outputs, useful / outputs, loads * per, issued * per, limit, roof / needs[limit], needs[limit])
