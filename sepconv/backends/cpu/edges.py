"""What the tiles of a depthwise problem meet of its border, for `stencil.py` to know when it generates them: lines that do not exist are then
left out with their products. Told at run time alone, they are read as zeros, and what that takes had vectors of the tile on the stack."""

from __future__ import annotations

from collections.abc import Iterator

from ...problem import Problem
from .frame import three
from .stencil import BORDER, INSIDE, MASKED, MISSING, SKIP

ANYWHERE = f"{INSIDE} {BORDER}"
MOST = 4  # tiles that are generated for one kernel; where there are more kinds, one for any border takes their place


def _places(begin: int, end: int, tile: int) -> Iterator[int]:
    """Where `loops.placed` puts the tiles of a line of outputs."""
    return (min(at, end - tile) if end - begin >= tile else at for at in range(begin, end, tile))


def _missing(at: int, step: int, before: int, reach: int, size: int) -> int:
    left = at * step - before
    return max(0, -left) * MISSING + max(0, left + reach - size)


def _listed(found: set[int]) -> str:
    return " ".join(map(str, sorted(found))) if len(found) <= MOST else ANYWHERE


def last(p: Problem, tall: int, stride: int) -> str:
    """Channels last: tiles of `tall` neighbouring pixels, in rows of the output."""
    k, line = p.kernel[-1], (p.stride[-1], p.pads[-1][0], (tall - 1) * stride + p.kernel[-1], p.in_size[-1])
    if k > SKIP or (p.dilation[-1] > 1 and k > 1):
        return ANYWHERE
    return _listed({_missing(at, *line) for at in _places(0, p.out_size[-1], tall)})


def first(p: Problem, bands: int, tall: int, stride: int, width: int, lane_stride: int) -> str:
    """Channels first: tiles of `tall` rows in bands of the output, and `width` lanes. One that meets any border masks its lanes."""
    (_, k, kw), (_, step, sw), (_, dh, dw), (_, oh, ow), (_, ih, iw) = (three(v, 1) for v in (p.kernel, p.stride, p.dilation, p.out_size, p.in_size))
    _, (top, _), (left, _) = three(p.pads, (0, 0))
    if k > SKIP or (dh > 1 and k > 1):
        return ANYWHERE
    reach = (kw - 1) * dw + (width - 1) * lane_stride
    sides = {at * sw < left or at * sw - left + reach >= iw or at + width > ow for at in _places(0, ow, width)}
    cuts = [oh * band // bands for band in range(bands + 1)]
    lines = {_missing(at, step, top, (tall - 1) * stride + k, ih) for cut in zip(cuts, cuts[1:]) for at in _places(*cut, tall)}
    return _listed({MASKED + line if side or line else INSIDE for side in sides for line in lines})
