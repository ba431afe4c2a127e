"""The filters of `sepconv.ndimage` on a GPU's arrays: which axes a kernel walks, its weights on the device, arrays between the passes."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..cpu.frame import merged
from ..filters import Pass, exact, order, said, symmetry
from . import arrays as views
from . import linear, runtime
from .arrays import View
from .plans import align, bits

THREADS = 128
SINGLE, MOST_TAPS = 4096, 128  # pixels from which, and taps up to which, sums in float32 keep the bound that `sepconv.ndimage` states
NARROW = ("float32", "uint8", "int8", "uint16", "int16")  # read without loss as float32
AXES = 4  # that a kernel walks
COPY = Pass(0, 1, np.ones(1), 0, 0.0, 0)


def passes(input: View, output: View, passes: Sequence[Pass]) -> None:
    """As `filters.passes`; none is a copy."""
    if 0 in output.shape:
        return
    passes = list(passes) or [COPY]
    input, output = _lines(input, output)
    with _stream(input, output) as stream:
        x, rooms = input, [None, None]
        for number, p in enumerate(passes):
            last = number == len(passes) - 1
            if last and x.apart(output):
                target = output
            else:
                target = rooms[number % 2] = rooms[number % 2] or _empty_like(output)
            _along(x, target, p, stream)
            x = target
        if x is not output:
            _along(x, output, COPY, stream)


def dense(input: View, output: View, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]) -> None:
    """As `filters.dense`; TypeError for more than four filtered axes."""
    if 0 in output.shape:
        return
    if not output.shape:
        weights, modes, origins = weights[None], (0,), (0,)
    input, output = _lines(input, output)
    with _stream(input, output) as stream:
        target = output if input.apart(output) else _empty_like(output)
        still = [a for a, (k, o) in enumerate(zip(weights.shape, origins)) if k == 1 and o == 0]
        if len(output.shape) - len(still) > AXES:
            raise TypeError(f"weights have the shape {weights.shape}; allowed are {AXES} axes with several taps, on a GPU")
        outer = still[: max(0, len(output.shape) - AXES)]
        inner = [a for a in range(len(output.shape)) if a not in outer]
        at = np.argwhere(weights != 0)
        offsets = np.zeros((len(at), AXES), np.int64)
        for column, a in enumerate(inner, AXES - len(inner)):
            offsets[:, column] = at[:, a] - (weights.shape[a] // 2 + origins[a])
        kind = [0] * (AXES - len(inner)) + [modes[a] for a in inner]
        tables = (np.ascontiguousarray(weights[tuple(at.T)]), offsets)
        for x, y in zip(_slices(input, outer), _slices(target, outer)):
            _launch(linear.dense, (_kind(x), y.dtype.name, "float64", align(x), align(y)), x, y, inner, tables, len(at), cval, kind, (0, 0), stream)
        if target is not output:
            _along(target, output, COPY, stream)


def combined(what: str, x: View, y: View, number: float = 0.0) -> None:
    """Of real arrays, element by element: y becomes x, y + x or y - x, x squared or its root, or the number, as `what` is "copy", "add",
    "subtract", "square", "root" or "fill". The two are apart, or the same."""
    if 0 in y.shape:
        return
    if x.dtype == y.dtype and x.dtype.itemsize == 8 and what == "copy":
        x, y = (replace(v, dtype=np.dtype(np.float64)) for v in (x, y))  # its bits
    x, y = _lines(x, y)
    with _stream(x, y) as stream:
        x, y, _ = _merged(x, y, 0)
        outer = range(max(0, len(y.shape) - AXES))
        for one, other in zip(_slices(x, outer), _slices(y, outer)):
            cells = (_kind(one), other.dtype.name, "float64", align(one), align(other), what)
            _launch(linear.mixed, cells, one, other, range(len(other.shape)), (), 0, number, [0] * AXES, (0, 0), stream)


def describe(what: str, input: View, output: View, *arguments: Any) -> list[str]:
    return [*said(what, arguments), "plain loops on the GPU, a thread an output, cast after each pass"]


@contextlib.contextmanager
def _stream(input: View, output: View) -> Iterator[Any]:
    """Inside the block input's device is the current one: the stream to launch on."""
    with runtime.on_device(input.device), views.queued([input], output) as stream:
        yield stream


def _lines(x: View, y: View) -> tuple[View, View]:
    """The two with an axis at least, of one element if they have none."""
    return (x, y) if y.shape else (replace(x, shape=(1,), strides=(0,)), replace(y, shape=(1,), strides=(0,)))


def _empty_like(output: View) -> View:
    n = len(output.shape)
    made = views.empty(output.shape, output.dtype, tuple(range(n)), output)
    return replace(made, stream=output.stream)


def _kind(view: View) -> str:
    return "uint8" if view.dtype.kind == "b" else view.dtype.name


def _slices(view: View, outer: Sequence[int]) -> Iterator[View]:
    """The view at every place along the outer axes, which are left out."""
    inner = [a for a in range(len(view.shape)) if a not in outer]
    shape, strides = (tuple(values[a] for a in inner) for values in (view.shape, view.strides))
    for at in itertools.product(*(range(view.shape[a]) for a in outer)):
        yield replace(view, address=view.address + sum(i * view.strides[a] for i, a in zip(at, outer)), shape=shape, strides=strides)


def _merged(x: View, y: View, axis: int) -> tuple[View, View, int]:
    """The two with the axes besides `axis` as few as their strides allow, the densest of the result last, and where the axis is then."""
    axes = sorted((a for a in range(len(x.shape)) if a == axis or x.shape[a] > 1), key=lambda a: (-abs(y.strides[a]), a))
    axes, at = [(x.shape[a], x.strides[a], y.strides[a]) for a in axes], axes.index(axis)
    outer = merged(axes[:at])
    sizes, xs, ys = zip(*outer, axes[at], *merged(axes[at + 1 :]))
    return replace(x, shape=sizes, strides=xs), replace(y, shape=sizes, strides=ys), len(outer)


def _along(x: View, y: View, p: Pass, stream: Any) -> None:
    """One pass; x and y are apart."""
    x, y, axis = _merged(x, y, p.axis)
    small = math.prod(x.shape) < SINGLE or p.size > MOST_TAPS or exact.get()
    sums = "float64" if small or _kind(x) not in NARROW or y.dtype.name != "float32" else "float32"
    sort, weights = linear.MEAN, np.zeros(1)
    if p.weights is not None:
        sort = symmetry(p.weights)
        weights = np.ascontiguousarray(p.weights[[term[0] for term in order(p.size, sort)]])
    outer = [a for a in range(len(x.shape)) if a != axis][: max(0, len(x.shape) - AXES)]
    inner = [a for a in range(len(x.shape)) if a not in outer]
    column = AXES - len(inner) + inner.index(axis)
    modes = [p.mode if c == column else 0 for c in range(AXES)]
    cells = (_kind(x), y.dtype.name, sums, align(x), align(y), sort, column)
    for one, other in zip(_slices(x, outer), _slices(y, outer)):
        _launch(linear.along, cells, one, other, inner, (weights.astype(sums),), len(weights), p.cval, modes, (p.before, p.size), stream)


def _launch(factory: Any, cells: tuple[Any, ...], x: View, y: View, inner: Sequence[int], tables: Sequence[np.ndarray], count: int, cval: float,
            modes: Sequence[int], taps: tuple[int, int], stream: Any) -> None:  # fmt: skip
    lead = AXES - len(inner)
    pad = lambda values, fill: (fill,) * lead + tuple(values)
    addresses = [runtime.constant(table, stream) for table in tables] + [0, 0]
    words = [x.address, y.address, *addresses[:2], count, bits(cval, np.dtype(cells[2]))]
    words += [*pad(y.shape, 1), *pad(x.strides, 0), *pad(y.strides, 0), *modes, *taps]
    total = math.prod(y.shape)
    grid, block = (3, 1) if runtime.SIMULATED else (min(-(-total // THREADS), runtime.MOST_X), THREADS)
    runtime.launch(runtime.kernel(linear.kernel, factory, *cells), (grid, 1, 1), (block, 1, 1), stream, words)
