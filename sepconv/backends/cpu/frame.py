"""The record that every CPU kernel takes: one int64 array with addresses, sizes, byte strides and the epilogue of one call.

All sizes and borders are run-time values here, so that a kernel is specialised for dtype, taps and tile alone. 1-D and 2-D are 3-D with
sizes of 1 in front. A plan holds the record filled but for the addresses; a call copies it and writes those.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ... import activations
from ...problem import Problem
from ..borders import CODES

# addresses of the call, then the range of jobs it is to run, cut in CHUNKS for the threads
X, WEIGHT, BIAS, RESIDUAL, OUT, ZEROS, BEGIN, END, CHUNKS = range(9)
# the epilogue: activation code, the bounds as the bits of two float64
ACT, LO, HI = range(9, 12)
# sizes: batch, channels and groups; input, kernel, output; steps and pads before; border mode
N, C_IN, C_OUT, GROUP_IN, GROUP_OUT = range(12, 17)
ID, IH, IW, KD, KH, KW, OD, OH, OW = range(17, 26)
SD, SH, SW, DD, DH, DW, PD, PH, PW, MODE = range(26, 36)
# byte strides: x (n, c, d, h, w), weight (o, i, d, h, w), residual and out (n, c, d, h, w)
XN, XC, XD, XH, XW, WO, WI, WD, WH, WW, RN, RC, RD, RH, RW, YN, YC, YD, YH, YW = range(36, 56)
# how the work is cut: bands of BAND rows a plane, in blocks of BLOCK rows, channels in groups of GROUP; a step between the rows of a band;
# whether a tile may be computed twice; bytes from one bias to the next (0: there is none, and one zero is read)
BANDS, BAND, BLOCK, GROUP, STEP, OVERLAP, BIAS_BY = range(56, 63)
# set by a kernel that leaves out the border: a weight is infinite or NaN, and `poison.py` has to see where it met the border
STRANGE = 63
PANEL = 64  # bytes from one packed panel of the weight to the next; 0: it lies as its strides say
TURNED = 65  # bytes from the result's first pixel to its last, where `turned` problems begin; 0 of all others
# of a separable problem's first record: the addresses of the kernels of both halves, and how wide their tiles are, in elements
FIRST_KERNEL, SECOND_KERNEL, FIRST_WIDTH, SECOND_WIDTH = range(66, 70)
COPIED = 70  # depthwise, channels last: whether a block of channels is copied first, its pixels next to each other
AHEAD = 71  # depthwise, channels last: whether rows of the image are asked for before they are read
PAST = 72  # depthwise, channels last: whether the result, of which no cache would hold what is left, is stored past them
LENGTH = 73
FAILED = -1  # in place of STRANGE: a kernel raised

__all__ = [name for name in dir() if name.isupper()]  # the kernels import the fields, and nothing else, by *


class Geometry(NamedTuple):
    """One call's arrays over (n, c, d, h, w): sizes of x and of the result, byte strides; the weight's over (o, i, d, h, w)."""

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    x: tuple[int, ...]
    weight: tuple[int, ...]
    residual: tuple[int, ...]
    out: tuple[int, ...]


def three(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    return (fill,) * (3 - len(values)) + tuple(values)


def steps(problem: Problem, array: np.ndarray) -> tuple[int, ...]:
    """Byte strides over (n, c, d, h, w) of an array in the user's layout; those of axes of size 1 are never taken, and 0 here."""
    found = [0 if n == 1 else s for s, n in zip(array.strides, array.shape)]
    batch = found.pop(0) if problem.batched else 0
    channel = found.pop(-1 if problem.channels_last else 0)
    return (batch, channel, *three(tuple(found), 0))


def channels_inner(problem: Problem, x: np.ndarray) -> bool:
    """Whether x's memory is channels last: the channels are closer together than the pixels."""
    found = steps(problem, x)
    pixel = next((s for s in reversed(found[2:]) if s), 0)
    return problem.channels_last if not pixel or not found[1] else abs(found[1]) < abs(pixel)


def _weight(problem: Problem, weight: np.ndarray) -> tuple[int, ...]:
    steps, shape = weight.strides, weight.shape
    inner = steps[1] if problem.kind != "depthwise" else 0  # a depthwise weight has one input channel a filter, or no axis for it
    taps = steps[2:] if problem.kind == "pointwise" else steps[len(shape) - problem.dims :]
    return (steps[0], inner, *three(tuple(taps), 0))


def measure(problem: Problem, x: np.ndarray | None, weight: np.ndarray, residual: np.ndarray | None, out: np.ndarray | None) -> Geometry:
    """The geometry of one call; x or out is None where a kernel keeps it to itself."""
    p = problem
    in_size = (p.batch, p.in_channels, *three(p.in_size, 1))
    out_size = (p.batch, p.out_channels, *three(p.out_size, 1))
    x_steps, rest, written = ((0,) * 5 if array is None else steps(p, array) for array in (x, residual, out))
    return Geometry(in_size, out_size, x_steps, _weight(p, weight), rest, written)


def merged(axes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Axes, (size, its stride in each array) from the outermost on, as few as the strides allow."""
    found: list[tuple[int, ...]] = []
    for size, *steps in reversed(axes):
        if found and all(step == inner * found[0][0] for step, inner in zip(steps, found[0][1:])):
            found[0] = (size * found[0][0], *found[0][1:])
        else:
            found.insert(0, (size, *steps))
    return found


def flat(g: Geometry) -> Geometry:
    """A pointwise problem's geometry with as many pixels along w as the strides of all arrays allow, the batch included."""
    axes = [(g.out_size[a], g.x[a], g.residual[a], g.out[a]) for a in (0, 2, 3, 4)]  # n, d, h, w
    fewest = merged([a for a in axes if a[0] != 1])
    (n, xn, rn, yn), *inner = [(1, 0, 0, 0)] * (4 - len(fewest)) + fewest
    size, x, r, y = zip(*inner)
    return Geometry((n, g.in_size[1], *size), (n, g.out_size[1], *size), (xn, g.x[1], *x), g.weight, (rn, g.residual[1], *r), (yn, g.out[1], *y))


def turned(problem: Problem, g: Geometry) -> tuple[Problem, Geometry, int]:
    """A depthwise problem of one image and steps of 1 with x and the weight in each other's place; the result is then written from its last
    pixel on: y[o - 1 - r] = sum over i of x[i] * w[i + r - (o - 1 - before)]. And the bytes from the first to the last."""
    pads = tuple((out - 1 - before, out - 1 - after) for out, (before, after) in zip(problem.out_size, problem.pads))
    p = dataclasses.replace(problem, in_size=problem.kernel, kernel=problem.in_size, pads=pads)
    taps, (_, _, *pixels), (n, c, d, h, w) = three(problem.kernel, 1), g.x, g.out
    weight, x = (g.x[1], 0, *pixels), (0, g.weight[0], *g.weight[2:])
    last = (g.out_size[3] - 1) * h + (g.out_size[4] - 1) * w
    return p, Geometry((*g.in_size[:2], *taps), g.out_size, x, weight, g.residual, (n, c, d, -h, -w)), last


def bits(number: float) -> int:
    return struct.unpack("<q", struct.pack("<d", number))[0]


def fill(problem: Problem, geometry: Geometry) -> np.ndarray:
    """The record of a problem, addresses still 0."""
    p, g, record = problem, geometry, np.zeros(LENGTH, np.int64)
    lo, hi = activations.bounds(p.activation, p.result)
    whole = p.result.kind in "iu"  # whole bounds stay whole: float64 could not hold them
    record[ACT : HI + 1] = p.activation.code, *((_wrapped(lo), _wrapped(hi)) if whole else (bits(lo), bits(hi)))
    record[N : GROUP_OUT + 1] = g.out_size[0], p.in_channels, p.out_channels, p.group_in, p.group_out
    record[ID:SD] = (*g.in_size[2:], *three(p.kernel, 1), *g.out_size[2:])
    record[SD : PW + 1] = (*three(p.stride, 1), *three(p.dilation, 1), *three(tuple(a for a, _ in p.pads), 0))
    record[MODE] = CODES[p.mode]
    record[XN : YW + 1] = (*g.x, *g.weight, *g.residual, *g.out)
    return record


def _wrapped(number: float) -> int:
    """A whole number as the int64 with the same bits; uint64 has some beyond it."""
    return (int(number) + 2**63) % 2**64 - 2**63
