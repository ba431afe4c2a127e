"""The CUDA backend: arrays on an NVIDIA GPU, kernels by Numba, on the caller's device and stream, without copies and without waiting.

A call goes through `plans.Call` to a `plans.Plan`, which asks `tiles.choose` for a kernel: a factory, and the constants (cells) that it closes over.
`runtime.kernel` compiles what the factory makes, a body in Python over `q`, the numbers of the call: it finds a thread's place and calls pieces,
each of which is a generator that writes LLVM for a tile whose shape is a literal text (`stencil.tiled`). What a thread keeps, its sums, is
`registers`.

arrays.py     what an array with `__cuda_array_interface__` is, and new ones of its kind
plans.py      a call's plan: which kernel, its numbers, its grid
tiles.py      which kernel and tile for which problem; products.py  blocks.py  the matrix products among them; choice.py  what they share
depthwise.py  pointwise.py  separable.py  standard.py   the tuned kernels: what a thread of a block does around the tiles
stencil.py  stencil_last.py  bands.py   the tiles, generated: depthwise, on ordinary cores and on tensor cores
product.py  tensor.py  matrix.py   a matrix product: on ordinary cores, on tensor cores, what both are; slabs.py   factors made on the way
direct.py     plain loops for everything else; filters.py  linear.py   the filters of `sepconv.ndimage`
lanes.py      what a generated piece is on the device, on the CPU and in Numba's simulator; twins.py  the simulator's own of single elements
runtime.py    Numba's CUDA, kernels, launches, streams, devices
machine_code.py  look.py  predict.py   what a kernel becomes on a GPU that need not be here
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...problem import Problem
from . import filters, plans, runtime
from .arrays import View, view
from .runtime import facts as info

__all__ = ["admit", "bind", "explain", "filter_engine", "info", "signature"]


def admit(name: str, array: Any) -> View:
    """An argument as the backend sees it; RuntimeError where there is no CUDA, with what to install."""
    runtime.require()
    return view(name, array)


def signature(array: View) -> tuple[Any, ...]:
    """What tells arrays apart for which a call is another one."""
    return array.signature


def bind(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> Callable[..., Any]:
    """A callable for these arrays and all like them."""
    return plans.Call(tuple(problems))


def filter_engine() -> Any:
    """What computes the filters of `sepconv.ndimage`."""
    return filters


def explain(problems: Sequence[Problem], arrays: Sequence[Any], out: Any) -> list[str]:
    """What a call would do with these arrays, in lines for people."""
    return plans.Call(tuple(problems)).explain(*arrays, out)
