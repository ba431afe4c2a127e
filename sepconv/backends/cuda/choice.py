"""What the tables of tiles share: a choice, and what decides whether words of memory, 32-bit counts and CUDA's grids are large enough for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ...problem import Problem
from ..cpu.frame import Geometry, three
from . import stencil
from .runtime import MOST_X, MOST_YZ

INSIDE = 2**31 - 1  # bytes of a plane (an image, channels last), so that 32 bits count inside it
TUNED = ("float32", "float64", "float16", "bfloat16")


class Choice(NamedTuple):
    """A kernel to compile, `factory(*cells)` in `kernel`, what it is passed besides the record, its grid and block, and why."""

    kernel: Callable[..., Any]
    factory: Callable[..., Any]
    cells: tuple[Any, ...]
    fields: tuple[Any, ...]  # of the record; two tuples, of the two records of a separable convolution
    more: tuple[int, ...]  # after them
    grid: tuple[int, ...]
    block: tuple[int, ...]
    reason: str

    @property
    def registers(self) -> int | None:
        """The most registers that a thread of a large block may have, so that two blocks fit a multiprocessor."""
        return 128 if math.prod(self.block) == 256 else None


def magic(divisor: int) -> tuple[int, int]:
    """(m, s) with n // divisor == (n * m) >> s for 0 <= n < 2**31: T. Granlund, P. Montgomery, "Division by Invariant Integers", 1994."""
    s = 31 + max(0, (divisor - 1).bit_length())
    return -(-(1 << s) // divisor), s


def word(size: int, *numbers: int) -> int:
    """How many elements of `size` bytes one load takes: up to 16 bytes, as far as addresses, strides and extents are multiples of it."""
    count = 16 // size
    while count > 1 and any(n % (count * size) for n in numbers):
        count //= 2
    return count


def fits(grid: tuple[int, ...]) -> bool:
    return grid[0] <= MOST_X and max(grid[1:]) <= MOST_YZ


def power(least: int, most: int) -> int:
    """The smallest power of two that is at least `least`, but no more than `most`."""
    return min(most, 1 << max(0, least - 1).bit_length())


def filters_packed(p: Problem, g: Geometry) -> bool:
    """Whether a depthwise weight is filter after filter, packed, of all its depths."""
    size, (wo, _, wd, wh, ww), (kd, kh, kw) = p.dtype.itemsize, g.weight, three(p.kernel, 1)
    return wo == kd * kh * kw * size and (kw == 1 or ww == size) and (kh == 1 or wh == kw * size) and (kd == 1 or wd == kh * kw * size)


def weights_of(p: Problem, g: Geometry, vec: int) -> int:
    """How a depthwise weight lies."""
    return stencil.PACKED if (three(p.kernel, 1)[0] == 1 or vec == 1) and filters_packed(p, g) else stencil.LOOSE


def is_flat(p: Problem) -> bool:
    """Whether a problem has no third dimension to speak of: one depth, one tap."""
    (kd, *_), (od, *_), (depth, *_) = three(p.kernel, 1), three(p.out_size, 1), three(p.in_size, 1)
    return kd == od == depth == 1 and three(p.pads, (0, 0))[0] == (0, 0)


def inside(p: Problem, g: Geometry) -> bool:
    """Whether 32 bits count the bytes inside a plane, or an image with its channels last, of x and of the result; no stride is negative."""
    for steps, sizes in ((g.x, g.in_size), (g.out, g.out_size)):
        if min(steps) < 0 or sum(steps[a] * (sizes[a] - 1) for a in (3, 4)) > INSIDE // 2 or max(sizes[2:]) > INSIDE // 64:
            return False
    reach = sum(abs(g.weight[a]) * (k - 1) for a, k in zip((2, 3, 4), three(p.kernel, 1)))
    spread = max(s * n for s, n in zip(p.stride, p.out_size)) + max(map(sum, p.pads)) + max(d * k for d, k in zip(p.dilation, p.kernel))
    return max(reach, spread, abs(g.weight[0]) * 8) <= INSIDE // 16


def packed(g: Geometry, axis: int, size: int) -> bool:
    """Whether x and the result have their elements next to each other on an axis."""
    return all(s[axis] == size or n[axis] == 1 for s, n in ((g.x, g.in_size), (g.out, g.out_size)))
