"""Which parts of the border the tiles of a depthwise problem meet. `stencil.py` is told when it generates them, and leaves out the products of
lines that do not exist. Where this is known at run time only, such lines are read as zeros, which takes registers: tiles then spilled.

Tiles are generated for what the usual padding of a kernel makes, whatever the size of the map, so that all sizes share few kernels; a problem
that meets anything else has a tile for any border.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...problem import Problem
from .frame import three
from .stencil import BORDER, INSIDE, MASKED, MISSING, SKIP

SMALL = 7  # rows or columns of maps, from which on one that is a single tile has a kernel for itself


def _listed(kinds: Iterable[int]) -> str:
    return " ".join(map(str, dict.fromkeys(kinds)))


ANYWHERE = _listed([INSIDE, BORDER])


def _usual(k: int, stride: int) -> list[tuple[int, int]]:
    """How many lines do not exist before the first and beyond the last of a map: half of a kernel, and of even sizes with every second place left
    out one less, on one side or the other."""
    half = k // 2
    return [((k - 1) // 2, half)] if stride == 1 else [(half, half - 1), (half - 1, half)]


def _met(p: Problem, axis: int, tall: int, bands: int) -> set[int]:
    """What the tiles of a line, cut in bands, meet: `loops.placed` puts them."""
    k, step, n, out = (three(values, 1)[axis] for values in (p.kernel, p.stride, p.in_size, p.out_size))
    before, found, cuts = three(p.pads, (0, 0))[axis][0], set(), [out * band // bands for band in range(bands + 1)]
    for begin, end in zip(cuts, cuts[1:]):
        for at in range(begin, end, tall):
            left = min(at, max(begin, end - tall)) * step - before
            found.add(max(0, -left) * MISSING + max(0, left + (tall - 1) * step + k - n))
    return found


def _known(found: set[int], k: int, stride: int, tall: int) -> list[int]:
    """What tiles are generated for: those of all lines with a usual padding, or the one that is a whole line; nothing where that is not enough,
    or not worth it."""
    if tall == 1:
        return []
    usual = _usual(k, stride)
    alone = [before * MISSING + after for before, after in usual]
    if k <= 3:  # few enough for both sides at once
        usual = [(max(before for before, _ in usual), k // 2)]
    for before, after in usual:
        kinds = [INSIDE, before * MISSING, after]
        if found <= {*kinds}:
            return kinds
    return [*found] if tall >= SMALL and len(found) == 1 and found <= {*alone} else []


def last(p: Problem, tall: int) -> str:
    """Channels last: tiles of `tall` neighbouring pixels, in rows of the output."""
    k = p.kernel[-1]
    if k > SKIP or (p.dilation[-1] > 1 and k > 1):
        return ANYWHERE
    return _listed(_known(_met(p, 2, tall, 1), k, p.stride[-1], tall) or [INSIDE, BORDER])


def first(p: Problem, bands: int, tall: int, width: int, lane_stride: int, few: bool) -> str:
    """Channels first: tiles of `tall` rows in bands of the output, and `width` lanes. One that meets any border masks its lanes. `few`: with 16
    registers, lines that are known to be missing save a tenth of the time of wide maps as well."""
    (_, k, kw), (_, step, _), (_, dh, dw), ow = (*(three(v, 1) for v in (p.kernel, p.stride, p.dilation)), p.out_size[-1])
    if k > SKIP or (dh > 1 and k > 1) or (k <= 3 and step > 1 and not few):  # every second row of three at most: nothing is gained
        return ANYWHERE
    left, kinds = three(p.pads, (0, 0))[2][0], _known(_met(p, 1, tall, bands), k, step, tall)
    # The first tile of a row masks lanes: all do, if it is the only one.
    if left <= 0 and (kw - 1) * dw + (width - 1) * lane_stride - left < p.in_size[-1] and ow >= width:
        return ANYWHERE
    if not kinds or (ow > width and not few):
        return _listed([INSIDE, MASKED, BORDER])
    return _listed([INSIDE] * (ow > width and INSIDE in kinds) + [MASKED + line for line in kinds])
