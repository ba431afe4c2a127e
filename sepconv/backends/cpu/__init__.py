"""The CPU backend: NumPy arrays, Numba kernels, all cores.

plans.py      a call's plan: which kernel, its record of sizes and strides, how its jobs are shared out; arrays.py  new arrays, and copies;
              entry.py  the way of the calls after it; tape.py  of many calls at once
tiles.py      which kernel and register tile for which problem and machine; products.py  those of products; large.py  which of many taps do not
              run on the arrays as they lie; edges.py  what tiles meet of the border; choice.py  how work is cut
depthwise.py  pointwise.py  standard.py   the tuned kernels: plain loops that drive the register tiles; separable.py  one after the other of
              them, a band at a time; copied.py  depthwise over copies
stencil.py  patch.py  product.py   the tiles: depthwise, and of few taps channels last; a matrix product, for the rest; panels.py  what products
              pack; vector.py  a matrix times a vector, where to pack would be most of the work
filters.py    the filters of `sepconv.ndimage`; lines.py  convert.py  exact.py   any dtype, in float64 lines; programs.py  calls that are made again
image.py      what sweeps over images share; fused.py  sweep.py  bands.py  blocks.py   two 1-D filters in one sweep
dense.py  window.py  frequencies.py   dense filters of images, on the depthwise tile or by an FFT
dots.py  pairs.py  digits.py  vnni.py   blurs of bytes: tiles of sums of four products, or of two; their weights; what these tiles are made of
direct.py     plain loops for everything else; poison.py  NaNs at the border, where a weight is infinite
rows.py       rows of the input with their border in scratch, for all of these where the array itself will not do
simd.py       vectors in LLVM; intrinsics.py  what plain loops call; loops.py  what they share; frame.py  the record that every kernel takes
machine.py    the vectors that there are; jit.py  how Numba compiles; runtime.py  compiled kernels; kernel_cache.py  their folder;
              team.py  threads
cross.py  assembly.py   `sepconv inspect`: kernels compiled for this machine or another, and what their assembly says
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.core import config

from ... import dispatch, threads
from ...problem import Problem
from .. import reference
from . import machine, team
from .arrays import allocate
from .kernel_cache import cache_bytes, cache_folder, counts
from .plans import Call
from .tape import Tape

__all__ = ["Tape", "bind", "explain", "filter_engine", "info", "kernels"]


def bind(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> Callable[..., np.ndarray]:
    """A callable for these arrays and all like them."""
    if config.DISABLE_JIT:  # NUMBA_DISABLE_JIT: generated vectors cannot be interpreted
        return reference.bind(list(problems), list(arrays), out)
    return Call(tuple(problems))


def explain(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> list[str]:
    """What a call would do with these arrays, in lines for people."""
    if config.DISABLE_JIT:
        return ["NUMBA_DISABLE_JIT is set; " + line for line in reference.explain(list(problems), list(arrays), out)]
    return Call(tuple(problems)).explain(*arrays, out)


def info() -> dict[str, Any]:
    """For `sepconv.backends()`."""
    known, folder, (layer, reason) = machine.machine(), cache_folder(), team.found()
    return {
        "cpu": known.cpu, "isa": known.isa, "lanes": known.lanes("float32"), "registers": known.registers,
        "threads": threads.get_num_threads(), "threading_layer": layer, "threading_reason": reason,
        "cache_folder": str(folder) if folder else "none: no folder can be written", "cache_bytes": cache_bytes(),
        "cache_hits": int(counts["hits"]), "cache_misses": int(counts["misses"]), "compile_seconds": round(counts["seconds"], 3),
    }  # fmt: skip


def filter_engine() -> Any:
    """What computes the filters of `sepconv.ndimage`."""
    if config.DISABLE_JIT:
        return reference.filter_engine()
    return dispatch.imported(f"{__name__}.filters")


def kernels(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> list[tuple[Any, ...]]:
    """The (factory, cells) of each `runtime.kernel` that a call with these arrays runs; nothing is compiled."""
    call = Call(tuple(problems))
    plan = call.prepare(*arrays, out)[0]
    if plan.empty:
        return []
    if plan.choice is not None:
        return [*plan.choice.halves, (plan.choice.factory, plan.choice.cells)]
    x, depthwise, depthwise_bias, pointwise, bias, residual = arrays
    middle = allocate(problems[0], x)
    return [*kernels(problems[:1], (x, depthwise, depthwise_bias, None), None), *kernels(problems[1:], (middle, pointwise, bias, residual), out)]
