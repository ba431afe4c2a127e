"""The kernels that random calls share. To compile one takes a second or two: calls drawn freely would be a test of the compiler.

What is fixed when a kernel is compiled (dtype, taps, stride, memory order, tile) is that of some call of the table below. What a kernel is told
when it runs (sizes, channels, pads, batch, bias, activation, strides in memory) is free, as long as a kernel of the table carries it. Sweeps draw
some calls with any kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

import sepconv
from sepconv import dtypes
from sepconv.backends import cpu
from sepconv.problem import ARRAYS, LAYOUTS, Problem

# The (factory, cells) of the kernels that a call runs, by backend; one that compiles nothing has no line, and runs whatever is drawn.
COMPILERS: dict[str, Callable[[Sequence[Problem], Sequence[Any], Any], list[Any]]] = {"cpu": cpu.kernels}

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT, DOUBLE = "float32", "float64"
# (operation, dtype, channels, outputs or 0, size, kernel, options), each in both layouts; two images
TABLE: list[tuple[str, str, int, int, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    # depthwise: channels first by widths, channels last by numbers of channels
    *(("depthwise_conv", FLOAT, c, 0, size, (3, 3), {"padding": 1}) for c, size in ((6, (9, 19)), (19, (13, 40)), (40, (8, 8)), (3, (7, 4)))),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (3, 3), {"padding": 1, "stride": 2}),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (3, 3), {"padding": 4}),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (5, 5), {"padding": 2}),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (3, 3), {"padding": 1, "stride": 3}),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (3, 3), {"padding": 1, "padding_mode": "wrap"}),
    ("depthwise_conv", FLOAT, 6, 0, (9, 19), (2, 2), {}),
    ("depthwise_conv", FLOAT, 6, 0, (21,), (3,), {"padding": 1}),
    ("depthwise_conv", FLOAT, 6, 0, (30,), (4,), {"padding": 1}),
    ("depthwise_conv", FLOAT, 6, 0, (3, 6, 21), (3, 3, 3), {"padding": 1}),
    *(("depthwise_conv", dtype, 3, 0, (6, 37), (3, 3), {"padding": 1}) for dtype in (FLOAT, DOUBLE)),
    ("depthwise_conv", FLOAT, 6, 0, (4,), (3,), {"padding": 1}),
    # pointwise: a tile's rows are output channels, or pixels
    *(("pointwise_conv", FLOAT, 6, outputs, size, (1, 1), {}) for outputs, size in ((1, (1, 1)), (2, (1, 2)), (5, (1, 20)), (12, (3, 4)))),
    *(("pointwise_conv", FLOAT, 6, outputs, (9, 19), (1, 1), {}) for outputs in (2, 5, 14, 20)),
    ("pointwise_conv", DOUBLE, 3, 3, (6, 37), (1, 1), {}),
    # standard
    *(("conv", FLOAT, 6, outputs, size, (3, 3), {"padding": 1}) for outputs, size in ((5, (9, 19)), (1, (9, 4)), (8, (9, 8)), (2, (9, 40)))),
    ("conv", FLOAT, 6, 5, (9, 19), (3, 3), {"padding": 1, "stride": 2}),
    ("conv", DOUBLE, 3, 3, (6, 37), (3, 3), {"padding": 1}),
    # separable: on a fused kernel
    *(("separable_conv", FLOAT, c, outputs, size, (3, 3), {"padding": 1}) for c, outputs, size in ((6, 5, (9, 19)), (19, 21, (20, 29)))),
    *(("separable_conv", FLOAT, 6, 5, size, (3,) * len(size), {"padding": 1}) for size in ((21,), (3, 6, 21))),
    ("separable_conv", FLOAT, 6, 5, (9, 19), (3, 3), {"padding": 1, "padding_mode": "wrap"}),
    *(("separable_conv", dtype, 3, 3, (6, 37), (3, 3), {"padding": 1}) for dtype in (FLOAT, DOUBLE)),
    # what hypothesis tries first
    *((op, FLOAT, 1, 1, (1,), (1,), {}) for op in ("depthwise_conv", "pointwise_conv", "conv", "separable_conv")),
    # plain loops: one for each dtype
    *(("conv", name, 6, 5, (9, 19), (3, 3), {"padding": 1, "padding_mode": "wrap"}) for name in dtypes.KINDS),
]


TRIES = 8  # draws until one is on a shared kernel


def arrays_of(row: Any, last: bool) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """(public function, arrays, options) of one row of the table; the arrays are memory that is never touched."""
    op, dtype, channels, outputs, size, kernel, options = row
    shapes = {
        "conv": {"weight": (outputs, channels, *kernel)},
        "depthwise_conv": {"weight": (channels, *kernel)},
        "pointwise_conv": {"weight": (outputs, channels)},
        "separable_conv": {"depthwise": (channels, *kernel), "pointwise": (outputs, channels)},
    }[op]
    shapes["x"] = (2, *size, channels) if last else (2, channels, *size)
    return (
        f"{op}{len(size)}d",
        {name: np.empty(s, BFLOAT16 if dtype == "bfloat16" else dtype) for name, s in shapes.items()},
        {**options, "layout": LAYOUTS[len(size)][last]},
    )


def used(problems: Sequence[Problem], arrays: dict[str, Any], out: Any = None) -> set[Any]:
    """(backend, factory, cells) of all that a call runs, on every backend that compiles."""
    given = [arrays.get(name) for name in ARRAYS[len(problems)]]
    return {(name, *kernel) for name, kernels in COMPILERS.items() for kernel in kernels(problems, given, out)}


@functools.cache
def shared() -> set[Any]:
    """What the calls of the table run."""
    found: set[Any] = set()
    with sepconv.use_backend("reference"):
        for row in TABLE:
            for last in (False, True):
                function, arrays, options = arrays_of(row, last)
                found |= used(sepconv.explain(getattr(sepconv, function), **arrays, **options).problems, arrays)
    return found


def taps(op: str, dims: int) -> list[tuple[list[int], list[int]]]:
    """(kernel size, stride) of the operation in the table, each as often as its tiles are several."""
    rows = [row for row in TABLE if row[0] == op and len(row[4]) == dims]
    return [(list(row[5]), [row[6].get("stride", 1)] * dims) for row in rows] or [([3] * dims, [1] * dims)]


@st.composite
def few(draw: Any, calls: Any) -> Any:
    """Calls from a strategy, drawn again until one is on shared kernels."""
    for _ in range(TRIES):
        call = draw(calls)
        if call.kernels() <= shared():
            return call
    reject()
