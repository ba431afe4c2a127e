"""Generated CUDA kernels on the CPU: the bodies of kernels, their pieces by the same generators as on the device, in loops over the grid.

Inside `on_cpu()` the CUDA backend takes arrays in host memory and runs its tuned kernels so; a read or write outside an array is then a fault.
"""

from __future__ import annotations

import contextlib
import types as python_types
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numba
import numpy as np
from numba.core import config, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from sepconv.backends.cpu.jit import callee
from sepconv.backends.cuda import arrays, depthwise, lanes, pointwise, runtime, tiles


def hosted(function: Callable[..., Any]) -> Any:
    """The function for Numba's CPU target: every piece that it calls is the CPU's."""
    replaced = {name: lanes.HOST[value] for name, value in function.__globals__.items() if _is_piece(value)}
    made = python_types.FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__, function.__closure__
    )
    return callee(made)


def _is_piece(value: Any) -> bool:
    try:
        return value in lanes.HOST
    except TypeError:  # not hashable, so none
        return False


def staged(factory: Any, *cells: Any) -> Any:
    """run(words, grid, block) of a block whose threads meet once, if it has shared memory: when that is filled."""
    thread, count, kind = hosted(factory(*cells)), depthwise.room_of(factory, cells), getattr(np, cells[1])
    before = hosted(depthwise.before(factory)(*cells)) if count else thread

    @numba.njit
    def run(q, grid, block):
        room = np.empty(count + 8, kind)
        start = (32 - room.ctypes.data % 32) % 32 // room.itemsize
        for bx in range(grid[0]):
            for bz in range(grid[2]):
                room[:] = np.nan  # the last block's
                if count:
                    for t in range(block[0] * block[1]):
                        before(q, _at(room, start), bx, 0, bz, t % block[0], t // block[0], 0)
                for t in range(block[0] * block[1]):
                    thread(q, _at(room, start), bx, 0, bz, t % block[0], t // block[0], 0)

    return run


@intrinsic
def _row(typing: Any, array: Any, index: Any) -> Any:
    """The address of a row of a C-contiguous array, as the pointer that pieces take."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, b, args[0])
        width = b.extract_value(made.shape, 1)
        return b.gep(made.data, [b.mul(args[1], width)])

    return types.CPointer(array.dtype)(array, types.int64), codegen


def together(parts: Any, depth: int, shape: str, sums: str, outputs: int, held_count: int, slab: int, deep: int, *cells: Any) -> Any:
    """run(words, grid, block) of a block that meets at barriers: all its threads up to one barrier, then all to the next."""
    corner, ahead, finish = (hosted(f) for f in parts(shape, *cells))
    put, multiply = lanes.HOST[pointwise.put], lanes.HOST[pointwise.multiply]
    kind = getattr(np, sums)

    @numba.njit
    def run(q, grid, block):
        threads = block[0]
        acc, held = np.empty((threads, outputs), kind), np.empty((threads, held_count), kind)
        room = np.empty(2 * slab + 8, kind)
        start = (32 - room.ctypes.data % 32) % 32 // room.itemsize  # the device's shared memory begins on 16 bytes, four float64 on 32
        for bx in range(grid[0]):
            for by in range(grid[1]):
                for bz in range(grid[2]):
                    at = corner(q, bx, by, bz)
                    acc[:] = 0
                    steps = (q[depth] + deep - 1) // deep
                    for step in range(steps + 1):
                        for t in range(threads):
                            if step < steps:
                                ahead(q, at, np.int32(t), _row(held, t), step * deep)
                            if step > 0:
                                multiply(shape, np.int32(t), _row(acc, t), _at(room, start), np.int32((step - 1) & 1))
                        for t in range(threads):
                            if step < steps:
                                put(shape, np.int32(t), _row(held, t), _at(room, start), np.int32(step & 1))
                    for t in range(threads):
                        finish(q, at, np.int32(t), _row(acc, t))

    return run


@intrinsic
def _at(typing: Any, array: Any, index: Any) -> Any:
    """The address of an element."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.gep(context.make_array(signature.args[0])(context, b, args[0]).data, [args[1]])

    return types.CPointer(array.dtype)(array, types.int64), codegen


_made: dict[Any, Any] = {}


def launch(kernel: Any, grid: Sequence[int], block: Sequence[int], stream: Any, words: Sequence[int]) -> None:
    """In place of `runtime.launch`; `kernel` is (make, factory, cells)."""
    runtime.check(grid, block)
    make, factory, cells = kernel
    if kernel not in _made:
        assert make in (depthwise.kernel, pointwise.kernel), f"{factory.__name__} is not generated"
        made = together(factory.parts, factory.depth, *cells) if make is pointwise.kernel else staged(factory, *cells)
        _made[kernel] = made
    _made[kernel](tuple(words), tuple(grid), tuple(block))


class Host:
    """An array in host memory that says it is on a device."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype = array, array.dtype
        typestr = array.dtype.str if array.dtype.kind != "V" else "<u2"
        data = (array.__array_interface__["data"][0] if array.size else 0, not array.flags.writeable)
        self.__cuda_array_interface__ = dict(shape=array.shape, strides=array.strides, typestr=typestr, data=data, version=3)


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Inside the block the CUDA backend runs on the CPU, on `Host` arrays."""
    kind = arrays.Kind(lambda shape, dtype, axes, like: Host(np.empty(shape, dtype).transpose(axes)), lambda a, i: None, lambda a, at: None)
    cpu_target.target_context.codegen()  # made at the first compilation, by the level of all others; here little is to be computed
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (runtime, "require", lambda: None), (runtime, "launch", launch), (runtime, "kernel", lambda make, f, *c, registers: (make, f, c)),
            (runtime, "stream", lambda number: 0), (arrays, "NUMBA", kind), (tiles, "ENOUGH", 2),
            (tiles, "PLENTY", 0), (tiles, "WARPS", 0),
            (runtime, "capability", lambda ordinal: runtime.PRESUMED), (config, "OPT", type(config.OPT)(1)),
        ):  # fmt: skip
            stack.enter_context(mock.patch.object(module, name, value))
        yield
