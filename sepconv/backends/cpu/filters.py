"""The filters of `sepconv.ndimage` on the CPU: which arrays the kernels of `lines.py` can read, and the record that tells them how."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import overlap
from ..filters import REAL, Pass, exact, said, symmetry
from . import dense as windows
from . import frame, frequencies, fused, lines, runtime, team
from .entry import address
from .programs import Program, Step, launched

CODES = {name: code for code, name in enumerate(REAL)}
WHOLE = 64  # lines beside each other in a block: whole cache lines, even of bytes
SCRATCH = 2**14  # float64 of a band, so that it stays in the second cache
ENOUGH = 2**16  # products from which a second thread pays
SHORT = 32  # positions along the filtered axis below which lines are taken in blocks, although memory runs along them


def _tile() -> tuple[int, int]:
    machine = runtime.machine()
    return machine.lanes("float64"), 8 if machine.registers > 16 else 4


def _readable(array: np.ndarray) -> bool:
    """Whether the kernels can address the elements by strides: native, on whole elements."""
    return array.dtype.isnative and array.flags.aligned


def _launch(factory: Callable[..., Any], record: np.ndarray, jobs: int, products: int, kept: Sequence[np.ndarray]) -> Step:
    kernel = runtime.kernel(factory, *_tile())
    chunks = min(team.workers(), jobs) if products >= ENOUGH else 1
    return launched(kernel, record, jobs, chunks, kept)


# --- 1-D filters ----------------------------------------------------------------------------------------------------


def passes(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> Program | None:
    """As `filters.passes`; what of it can be run again, if all can."""
    done, program = (not output.size, None) if not output.size or exact.get() else fused.passes(input, output, passes)
    if done:
        return program
    plain = _readable(output) and all(_axes(output, output, p.axis) is not None for p in passes)
    target = output if plain else np.empty(output.shape, output.dtype.newbyteorder("="))
    x, steps = input, []
    for p in passes:
        if not _readable(x) or (np.may_share_memory(x, target) and not overlap.same(x, target)) or _axes(x, target, p.axis) is None:
            x, plain = _like(x, target), False
        steps.append(_run(x, target, p))
        x = target
    if target is not output:
        output[...] = target
    return Program(steps) if plain else None


def _like(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A copy of x, in native byte order, with its axes in memory as the target's are."""
    copy = np.empty_like(target, x.dtype.newbyteorder("="))
    copy[...] = x
    return copy


def _axes(x: np.ndarray, y: np.ndarray, axis: int) -> list[tuple[int, ...]] | None:
    """(size, stride of x, stride of y) of the axes besides `axis`, as few as the strides allow, the last the densest; None: more than three."""
    axes = [(n, a, b) for i, (n, a, b) in enumerate(zip(x.shape, x.strides, y.strides)) if i != axis and n > 1]
    axes.sort(key=lambda each: (-abs(each[2]), -abs(each[1])))
    fewest = frame.merged(axes)
    return None if len(fewest) > 3 else [(1, 0, 0)] * (3 - len(fewest)) + fewest


def _run(x: np.ndarray, y: np.ndarray, p: Pass) -> Step:
    """One pass; x and y have no more axes than the kernel takes, and are the same memory or do not share any."""
    (a, xa, ya), (b, xb, yb), (count, xl, yl) = _axes(x, y, p.axis)  # type: ignore[misc]
    n, xn, yn = x.shape[p.axis], x.strides[p.axis], y.strides[p.axis]
    alone = count == 1 or (abs(yn) < abs(yl) and n >= SHORT)
    block, halo = 1 if alone else min(count, WHOLE), p.size - 1
    band = min(n, max(SCRATCH // block - halo, halo, 64))
    workers, work = team.workers(), x.size * p.size
    blocks = a * b * -(-count // block)
    parts = min(n, -(-4 * workers // blocks)) if workers > 1 and work >= ENOUGH and blocks < 4 * workers and not overlap.same(x, y) else 1
    record, width = np.zeros(lines.LENGTH, np.int64), _tile()[0] * _tile()[1]
    mean = p.weights is None
    kind, weights = (lines.RUNNING, np.array([float(p.size)])) if mean else (symmetry(p.weights), np.ascontiguousarray(p.weights))
    places = np.outer([8 * block, 8 * max(1, count % block)], np.arange(p.size))  # in a block of lines, and in the last one of a row
    record[[lines.X, lines.Y, lines.PLACES, lines.WEIGHTS, lines.KIND]] = address(x), address(y), address(places), address(weights), kind
    record[lines.SIZE : lines.WRITE + 1] = p.size, p.before, p.mode, frame.bits(p.cval), CODES[x.dtype.name], CODES[y.dtype.name]
    record[lines.A : lines.YL + 1] = a, b, n, count, xa, xb, xn, xl, ya, yb, yn, yl
    room, result = (band + halo) * block + 2 * width, band * block + width
    record[lines.BLOCK : lines.TAIL + 1] = block, band, parts, room, result, halo * block
    return _launch(lines.filtered, record, blocks * parts, work, (places, weights))


# --- n-D filters ----------------------------------------------------------------------------------------------------


def dense(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]
) -> Program | None:  # fmt: skip
    """As `filters.dense`; what of it can be run again, if all can."""
    if not output.size:
        return None
    if not exact.get():
        arguments = input, output, weights, modes, cval, origins
        whole = output.dtype.kind != "f"  # then sums that are in doubt are taken twice by the tile, and the frequencies pay earlier
        if whole and frequencies.filtered(*arguments):
            return None
        done, program = windows.dense(*arguments)
        if done or (not whole and frequencies.filtered(*arguments)):
            return program
    if not input.ndim:
        return dense(input[None], output[None], weights[None], (0,), cval, (0,))
    x = input if _readable(input) else input.astype(input.dtype.newbyteorder("="))
    apart = _readable(output) and not np.may_share_memory(x, output)
    y = output if apart else np.empty(output.shape, output.dtype.newbyteorder("="))
    *outer, n = x.shape
    arrays, rows = _rows(weights, origins)
    arrays += [np.array(each, np.int64) for each in (outer or [0], x.strides[:-1] or [0], y.strides[:-1] or [0], list(modes[:-1]) or [0])]
    places, values, starts, offsets, shape, xs, ys, kinds = (address(array) for array in arrays)
    count = x.size // n
    parts = max(-(-n // 4096), min(n, -(-4 * team.workers() // count)))
    size, width = weights.shape[-1], _tile()[0] * _tile()[1]
    record = np.zeros(lines.LENGTH, np.int64)
    record[[lines.X, lines.Y, lines.PLACES, lines.WEIGHTS]] = address(x), address(y), places, values
    before = size // 2 + origins[-1]
    record[lines.SIZE : lines.WRITE + 1] = size, before, modes[-1], frame.bits(cval), CODES[x.dtype.name], CODES[y.dtype.name]
    record[[lines.N, lines.XN, lines.YN]] = n, x.strides[-1], y.strides[-1]
    longest = -(-n // parts)
    record[[lines.PARTS, lines.ROOM, lines.RESULT]] = parts, longest + size + 2 * width, longest + 2 * width
    record[lines.AXES : lines.STARTS + 1] = len(outer), shape, xs, ys, kinds, rows, offsets, starts
    made = _launch(lines.dense, record, count * parts, x.size * len(arrays[1]), arrays)
    if y is not output:
        output[...] = y
    return Program([made]) if x is input and y is output else None


def quick(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float) -> bool:
    """Whether `dense` would take it to the tile of `window.py`."""
    return input.ndim > 1 and not exact.get() and windows.fits(output, input.dtype.name, weights, modes, cval) is not None


def _rows(weights: np.ndarray, origins: Sequence[int]) -> tuple[list[np.ndarray], int]:
    """The taps that are not zero: byte offsets within the last axis, weights, where each row of them begins, and its offsets along the others."""
    places, values, starts, offsets = [0], [0.0], [1], []
    for at in itertools.product(*map(range, weights.shape[:-1])):
        taps = np.flatnonzero(weights[at])
        if taps.size:
            places += (8 * taps).tolist()
            values += weights[at][taps].tolist()
            starts.append(len(places))
            offsets += [i - k // 2 - o for i, k, o in zip(at, weights.shape, origins)]
    arrays = [np.array(values_, dtype) for values_, dtype in ((places, "i8"), (values, "f8"), (starts, "i8"), (offsets or [0], "i8"))]
    return arrays, len(starts) - 1


def describe(what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> list[str]:
    """As `filters.describe`."""
    machine = runtime.machine()
    if what == "dense" and output.size and not exact.get() and (how := windows.how(input, output, *arguments[:3])):
        how += f", for {machine.isa}"
    elif what == "dense" and output.size and not exact.get() and frequencies.axes(output, input.dtype.name, *arguments[:3]):
        how = f"overlap-save by scipy.fft, in float32 ({input.dtype} -> {output.dtype})"
    elif what == "passes" and output.size and not exact.get() and (how := fused.how(input, output, arguments[0])):
        how += f", for {machine.isa}"
    else:
        how = f"compiled loops over lines in scratch, float64 whatever the dtype ({input.dtype} -> {output.dtype}), for {machine.isa}"
    return [*said(what, arguments), f"{how}, up to {team.workers()} threads"]
