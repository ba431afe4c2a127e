"""Generated CUDA kernels on the CPU: the body of a kernel, its pieces by the same generators as on the device, in loops over the grid."""

from __future__ import annotations

import types as python_types
from collections.abc import Callable, Sequence
from typing import Any

import numba

from sepconv.backends.cuda import lanes, runtime


def hosted(function: Callable[..., Any]) -> Any:
    """The function for Numba's CPU target: every piece that it calls is the CPU's."""
    replaced = {name: lanes.HOST[value] for name, value in function.__globals__.items() if _is_piece(value)}
    made = python_types.FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__, function.__closure__
    )
    return numba.njit(made, error_model="numpy")


def _is_piece(value: Any) -> bool:
    try:
        return value in lanes.HOST
    except TypeError:  # not hashable, so none
        return False


def over_grid(body: Callable[..., Any]) -> Any:
    """run(words, grid, block): every thread of every block, one after the other."""
    thread = hosted(body)

    @numba.njit
    def run(q, grid, block):
        for bx in range(grid[0]):
            for by in range(grid[1]):
                for bz in range(grid[2]):
                    for tz in range(block[2]):
                        for ty in range(block[1]):
                            for tx in range(block[0]):
                                thread(q, bx, by, bz, tx, ty, tz)

    return run


_made: dict[Any, Any] = {}


def launch(kernel: Any, grid: Sequence[int], block: Sequence[int], stream: Any, words: Sequence[int]) -> None:
    """In place of `runtime.launch`; `kernel` is (factory, cells)."""
    runtime.check(grid, block)
    if kernel not in _made:
        _made[kernel] = over_grid(kernel[0](*kernel[1]))
    _made[kernel](tuple(words), tuple(grid), tuple(block))
