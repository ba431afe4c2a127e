"""Which depthwise problems of many taps do not run on the arrays as they lie: over copies (`copied.py`), and with x and the weight in each other's
place (`frame.turned`)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ...problem import Problem
from . import choice, copied, frame, tiles
from .choice import L2, Choice
from .depthwise import FAR
from .frame import BANDS, OVERLAP, TURNED, Geometry
from .runtime import Machine

TURNS = "; x and the weight in each other's place, since the weight is the larger"
SMALL = 200  # places of a map, below which a block has twice the channels, so that there are fewer of them


def turns(p: Problem, g: Geometry, machine: Machine) -> bool:
    """Whether a depthwise problem is faster with x and the weight in each other's place: a kernel larger than the map, whose weights are so many
    that a multiply-add loads its own, or meets the border. Those of a line of the map stay in registers, and little of it lies beyond the kernel."""
    if p.kind != "depthwise" or not choice.tunable(p) or p.mode != "constant" or p.batch > 1 or p.dims > 2 or p.groups != p.out_channels:
        return False
    ones, deep = {*p.stride, *p.dilation} == {1}, g.x[1] == g.weight[0] == g.out[1] == p.dtype.itemsize
    larger = all(k >= n for k, n in zip(p.kernel, p.in_size)) and 7 <= p.in_size[-1] <= 16
    larger = larger and math.prod(p.out_size) > 1  # of a single result nothing is saved, and TURNED would be 0
    return ones and deep and larger and (machine.registers == 32 or machine.isa == "AVX2") and p.out_channels >= machine.lanes(p.dtype.name)


def _worth(p: Problem, g: Geometry, machine: Machine, turned: bool) -> bool:
    """Whether copies take less than they save. Channels first that is the lanes beyond the end of a row and the products with the border's zeros;
    channels last the places of the first cache that pixels, some KiB apart, do not get."""
    taps, places, size, wide = math.prod(p.kernel), math.prod(p.in_size), p.dtype.itemsize, machine.bytes == 64
    if g.x[1] == size:
        apart = math.gcd(g.x[4], 4096)
        if turned:
            return not wide and taps >= 400 and apart >= 2048
        return taps >= 400 and apart >= 512 if wide else taps >= 81 and places > 256 and p.kernel[0] > 5
    if not wide:  # rows of many vectors of 8 lanes leave few over: there x is read where it lies, but for kernels of few columns, which reuse little
        return taps >= 81 and p.kernel[0] > 5 and (places <= 256 or p.kernel[1] <= 7)
    if taps >= 100:
        return True
    return taps >= 49 and places >= 196 and 2 * p.in_channels * places * size <= FAR  # larger ones wait for memory


def _even(steps: tuple[int, ...], width: int, size: int) -> bool:
    """Whether all elements of a map are as far apart as those of its rows, and they or the channels are neighbours."""
    channel, _, row, pixel = steps
    return row == width * pixel and size in (channel, pixel)


def _bands(p: Problem, pixel: int, back: bool, jobs: int, workers: int) -> int:
    """In how many bands of rows a block is copied, so that scratch is no more than a second cache; 0: not even a row would do."""
    (oh, ow), (ih, iw), (kh, _) = p.out_size, p.in_size, p.kernel
    for bands in range(min(oh, choice.parts(jobs, workers)), oh + 1):
        rows = -(-oh // bands)
        if (min(ih, rows + kh - 1) * iw + rows * ow * back + math.prod(p.kernel)) * pixel <= 2 * L2:
            return bands
    return 0


def blocks(p: Problem, g: Geometry, machine: Machine, workers: int) -> tuple[Choice, bool] | None:
    """(the kernel that copies, whether it has x and the weight in each other's place), where it is the fastest."""
    if p.kind != "depthwise" or not choice.tunable(p) or p.dims != 2 or p.mode != "constant" or p.group_out != 1 or {*p.stride, *p.dilation} != {1}:
        return None
    size, lanes, (_, ow), (_, iw) = p.dtype.itemsize, machine.lanes(p.dtype.name), p.out_size, p.in_size
    channels, back = lanes * (1 + (math.prod(p.in_size) < SMALL and p.out_channels >= 2 * lanes)), g.out[1] != size
    count = -(-p.out_channels // channels)
    even = all(_even(steps, width, size) for steps, width in ((g.x[1:], iw), ((g.weight[0], *g.weight[2:]), p.kernel[1]), (g.out[1:], ow)))
    if not even or machine.isa not in ("AVX2", "AVX-512") or count * channels > 1.2 * p.out_channels:
        return None
    if min(p.out_channels, *(math.prod(n) for n in (p.in_size, p.out_size, p.kernel))) < lanes:
        return None
    inner = dataclasses.replace(p, batch=1, in_channels=channels, out_channels=channels, groups=channels)
    pixel = channels * size
    map_of = lambda width: (0, size, 0, width * pixel, pixel)
    inside = Geometry((1, channels, *g.in_size[2:]), (1, channels, *g.out_size[2:]), map_of(iw), (size, *map_of(p.kernel[1])[1:]), (0,) * 5,
                      map_of(ow) if back else (0, *g.out[1:]))  # fmt: skip
    last, turned = 0, turns(inner, inside, machine)
    narrow = min(iw, ow) < lanes  # such maps have one band, whatever the threads: another kernel's bits differ
    bands = 1 if turned else _bands(p, pixel, back, p.batch * count, 1 if narrow else workers)
    if not bands or (bands > 1 and narrow) or not _worth(p, g, machine, turned):
        return None
    if turned:
        inner, inside, last = frame.turned(inner, inside)
    half = tiles.depthwise_last(inner, machine, lanes, 1, bands, False, pixel)
    if half is None:
        return None

    def stage(record: np.ndarray) -> np.ndarray:
        s = frame.fill(inner, inside)
        s[TURNED], s[OVERLAP] = last, 1
        for field, value in half.cut.items():
            s[field] = value
        return s

    copies = lanes // 2 if machine.halved else lanes  # squares of half as wide vectors take half the time
    cells = p.dtype.name, size, copies, channels, turned
    reason = f"{channels} channels at a time in scratch, each pixel beside the next; {half.reason}"
    made = Choice(copied.blocks, cells, {BANDS: bands}, p.batch * count * bands, reason, stage, halves=((half.factory, half.cells),))
    return made, turned
