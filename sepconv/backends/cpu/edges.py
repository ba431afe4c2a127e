"""What the tiles of a depthwise problem meet of its border, for `stencil.py` to know when it generates them: lines that do not exist are then
left out with their products. Told at run time alone, they are read as zeros, and what that takes had vectors of the tile on the stack.

What is known is what the usual padding of a kernel makes, whatever the size of the map, so that all sizes share few kernels; a tile of any border
is generated as well, and takes what else there is.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...problem import Problem
from .frame import three
from .stencil import BORDER, INSIDE, MASKED, MISSING, SKIP

SMALL = 7  # rows or columns of maps, from which on one that is a single tile has a kernel for itself


def _listed(kinds: Iterable[int]) -> str:
    return " ".join(map(str, [*dict.fromkeys(kinds), BORDER]))


ANYWHERE = _listed([INSIDE])


def _usual(k: int, stride: int) -> tuple[int, int]:
    """How many lines of a kernel lie before the first and beyond the last of a map: padded by half of it, and of an even size if every second
    line is left out."""
    return ((k - 1) // 2, k // 2) if stride == 1 else (k // 2, max(0, (k - 1) // 2 - 1))


def _alone(p: Problem, axis: int, k: int, step: int) -> tuple[int, int]:
    """How many lines do not exist before and after a tile that is all of an axis."""
    (before, _), n, out = three(p.pads, (0, 0))[axis], three(p.in_size, 1)[axis], three(p.out_size, 1)[axis]
    return max(0, before), max(0, (out - 1) * step + k - before - n)


def last(p: Problem, tall: int) -> str:
    """Channels last: tiles of `tall` neighbouring pixels, in rows of the output."""
    k, step = p.kernel[-1], p.stride[-1]
    if k > SKIP or (p.dilation[-1] > 1 and k > 1):
        return ANYWHERE
    before, after = _usual(k, step)
    if p.out_size[-1] == tall >= SMALL and _alone(p, 2, k, step) == (before, after):
        return _listed([before * MISSING + after])
    return _listed([INSIDE, before * MISSING, after])


def first(p: Problem, bands: int, tall: int, width: int, lane_stride: int) -> str:
    """Channels first: tiles of `tall` rows in bands of the output, and `width` lanes. One that meets any border masks its lanes."""
    (_, k, kw), (_, step, _), (_, dh, dw), (_, oh, ow), iw = (*(three(v, 1) for v in (p.kernel, p.stride, p.dilation, p.out_size)), p.in_size[-1])
    if k > SKIP or (dh > 1 and k > 1):
        return ANYWHERE
    before, after = _usual(k, step)
    if oh == tall >= SMALL and bands == 1 and _alone(p, 1, k, step) == (before, after) != (0, 0):
        return _listed([MASKED + before * MISSING + after])
    left = three(p.pads, (0, 0))[2][0]
    # The first tile of a row masks lanes: all do, if it is the only one.
    if left > 0 or (kw - 1) * dw + (width - 1) * lane_stride - left >= iw or ow < width:
        return _listed([MASKED, MASKED + before * MISSING, MASKED + after] if ow <= width else [INSIDE, MASKED])
    return ANYWHERE
