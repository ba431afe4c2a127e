"""`sepconv inspect OP --target cuda`: the kernel that a convolution would run on a GPU of a compute capability, as machine code, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...problem import Problem, resolve
from . import machine_code, plans, predict


def capability(text: Any) -> tuple[int, int]:
    """(9, 0) of "9.0"; ValueError names what is allowed."""
    names = {f"{major}.{minor}": (major, minor) for major, minor in machine_code.LIMITS}
    if text not in names:
        raise ValueError(f"cc is {text!r}; allowed are {', '.join(names)}")
    return names[text]


def problems(op: str, x: tuple[int, ...], weights: tuple[tuple[int, ...], ...], dtype: str, options: dict[str, Any]) -> tuple[Problem, ...]:
    """The checked problem of an operation on arrays of these shapes, two for a separable one."""
    kind, dims = np.dtype(dtype), len(x) - 2
    if op == "separable":
        first = resolve("depthwise", dims, (x, kind), (weights[0], kind), **options)
        return first, resolve("pointwise", dims, (first.out_shape, kind), (weights[1], kind), padding="same", layout=options["layout"])
    return (resolve(op, dims, (x, kind), (weights[0], kind), **options),)


def lines(found: tuple[Problem, ...], cc: tuple[int, int], full: bool) -> Iterator[str]:
    """What runs, and of each kernel the registers, the memory and the instructions; `full`: the machine code too."""
    whole = plans.imagined(found, found[0].channels_last, cc)
    each = [whole] if whole.choice is not None else [plans.imagined((p,), p.channels_last, cc) for p in found]
    for number, plan in enumerate(each):
        yield from ([""] if number else [])
        yield from plan.describe()
        found = machine_code.report(plan, cc)
        if plan.tuned and cc == (9, 0):
            yield f"  {predict.predict(plan, found)}"
        yield from _report(found, full)


def _report(r: machine_code.Report, full: bool) -> Iterator[str]:
    wide = r.loads.get(16, 0)
    bytes_of = lambda found: ", ".join(f"{n} of {size} bytes" for size, n in sorted(found.items(), reverse=True)) or "none"
    yield f"  sm_{r.cc[0]}{r.cc[1]}: {r.instructions} instructions, {r.counts['fma']} of them multiply-adds, {r.counts['fma'] / r.instructions:.0%}"
    yield f"    registers      {r.registers} a thread; {r.spills or 'no'} bytes spilled, {r.stack or 'no'} bytes of stack"
    yield f"    shared memory  {r.shared or 'no'} bytes a block"
    yield f"    occupancy      {r.occupancy:.0%} of the warps of a multiprocessor, in blocks of {r.threads} threads"
    yield f"    global loads   {bytes_of(r.loads)}; {wide / max(1, sum(r.loads.values())):.0%} are of 16"
    yield f"    global stores  {bytes_of(r.stores)}"
    yield "    others         " + ", ".join(f"{n} {name}" for name, n in r.counts.items() if n and name != "fma" and not name.startswith("global"))
    if full:
        yield from ("      " + line for line in r.sass.splitlines() if re.search(r"/\*[0-9a-f]{4,}\*/", line))
