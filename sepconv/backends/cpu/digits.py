"""The weights of `dots.py`: digits of eight bits, how far sums may be off by them, and what is known beforehand of sums near a whole number."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..filters import GENERAL, SYMMETRIC_TAPS, order
from .arrays import moved_on_lines

FRACTION, DIGITS = 24, 3
HIGHEST = 127 * (1 + 2**8 + 2**16)  # of a number of three digits
MOST = 4  # groups of four taps in registers at once
# a half's block, int32: what is added to a sum; bits of the fraction that tell one from a whole number, whether the middle pixel is to be added,
# bits of the difference of a pair that have to be equal, all of `dots`; whether float64 makes something else than itself of a middle pixel, and
# `contrasts`, of `pairs`; 64 places, WOVEN or PAIRWISE; then the digits of the weights
MARGIN, BITS, LIFT, PARITY, UNEVEN, CONTRASTS, TOPS, WEIGHTS = 0, 1, 2, 3, 4, 5, 16, 32
# Where the upper bytes of two vectors of int32 lie: in the order of `dots`, each lane's twice; in that of `pairs`, all twice.
WOVEN = [16 * part + 4 * i + 3 + 64 * side for part in range(4) for _ in (0, 1) for side in (0, 1) for i in range(4)]
PAIRWISE = [16 * part + 4 * i + 3 + 64 * side for _ in (0, 1) for part in range(4) for side in (0, 1) for i in range(4)]
# Halves are of so many pairs and go by `pairs`; or by `dots`, where each window is looked at, or asked first whether one of many is to be
DOUBTFUL, LONG = -1, -2
SHORT = 11  # taps up to which the former is quicker
NEVER = 2**15 - 1  # by which no pair differs


def _effective(weights: np.ndarray, kind: int) -> np.ndarray:
    """What each tap is multiplied by: of a pair, the first one's weight."""
    found = weights.copy()
    for term in order(len(weights), kind) if kind != GENERAL else ():
        found[list(term)] = weights[term[0]]
    return found


def _whole(weights: np.ndarray) -> np.ndarray:
    """Weights in units of 2**-FRACTION; the largest makes up for the others' rounding."""
    found = np.rint(weights * 2.0**FRACTION).astype(np.int64)
    found[weights.argmax()] += round(float(weights.sum()) * 2**FRACTION) - int(found.sum())
    return found


def fits(weights: np.ndarray, kind: int) -> bool:
    """Whether these weigh a mean, so that sums are bytes and those of even windows whole numbers; and are of three digits, but for the middle one,
    which may be of more."""
    if kind not in (GENERAL, SYMMETRIC_TAPS) or weights.min() < 0:
        return False
    whole = _whole(_effective(weights, kind))
    others = whole.copy()
    others[len(weights) // 2] = 0
    return bool(whole.sum() == 2**FRACTION and others.max() <= HIGHEST)


def chunks(taps: int, rows: int, groups: int) -> int:
    """How often so many groups of taps are taken for tiles of so many rows."""
    return -(-(taps + rows - 1) // (4 * groups))


def groups(halves: Sequence[tuple[int, int]]) -> int:
    """Groups of taps that are taken at once, of halves of so many taps in tiles of so many rows: so that the fewest are taken."""
    return min(range(MOST, 0, -1), key=lambda g: g * sum(chunks(taps, rows, g) for taps, rows in halves))


def _margin(off: np.ndarray) -> int:
    """Units that a sum may be off by if its weights are off by these, and float64 in SciPy's order too: a power of two."""
    least = 127.5 * (np.abs(off).sum() + abs(off.sum())) + len(off) * 255 * 2.0 ** (FRACTION - 51) + 1
    return 2 ** int(np.ceil(np.log2(least)))


@functools.lru_cache(64)
def _contrasts(weights: tuple[float, ...]) -> tuple[int, int] | None:
    exact, pairs, apart = np.array(weights), len(weights) // 2, np.arange(-510, 511)  # a pair's sum less twice the middle pixel
    whole, even = _whole(exact), level(exact, SYMMETRIC_TAPS)
    if (whole == exact * 2.0**FRACTION).all():
        return NEVER, NEVER  # float64 does not round either
    if not pairs or abs(exact.sum() - 1) > 2.0**-40 or (np.arange(256) - even > 1).any():
        return None
    # Those near a whole number, of all: modulo 2**32, which is quick.
    off = np.abs(whole - exact * 2.0**FRACTION)[:pairs]
    near = int(510 * off.sum() + 1e-9 * 2**FRACTION) + 2
    fractions = functools.reduce(np.add.outer, [(apart * w).astype(np.int32) for w in whole[:pairs]], np.int32(near))
    places = [apart[at] for at in np.nonzero((fractions & (2**FRACTION - 1)) <= 2 * near)]
    sums, true = (sum((at * w for at, w in zip(places, each)), np.zeros(1, each.dtype)) for each in (whole, exact))
    if np.count_nonzero(sums % 2**FRACTION == 0) > 1:
        return None  # the tile takes these for even windows
    wrong = (np.floor(true) != sums >> FRACTION) | (np.abs(true - np.rint(true)) < 1e-9)
    wrong &= functools.reduce(np.logical_or, [at != 0 for at in places], np.False_)
    if not wrong.any():
        return NEVER, NEVER
    least = [int(np.abs(at[wrong]).min()) for at in places]
    return (least[0], NEVER) if pairs == 2 and least[0] >= least[1] else (NEVER, least[-1])


def contrasts(weights: np.ndarray, kind: int) -> tuple[int, int] | None:
    """Of an outer and an inner pair of taps, or fewer, whose weights make a mean: where no pair's sum differs from twice the middle pixel by as much,
    sums near a whole number are on their side of it, but for those of even windows. Found by trying all differences. None: there is no such."""
    fit = len(weights) == 1 or (len(weights) <= 5 and kind == SYMMETRIC_TAPS)
    return _contrasts(tuple(_effective(weights, kind).tolist())) if fit else None


def sort(weights: np.ndarray, kind: int) -> int:
    """Which tile takes a half: its number of pairs, or DOUBTFUL or LONG."""
    if contrasts(weights, kind) is not None:
        return len(weights) // 2
    return DOUBTFUL if len(weights) <= SHORT else LONG


def block(weights: np.ndarray, kind: int, rows: int, together: int) -> np.ndarray:
    """The block of a half for `dots`: for each row of a tile the taps that many places further; in it chunks, digits, groups of four bytes."""
    exact, middle = _effective(weights, kind), len(weights) // 2
    whole = _whole(exact)
    margin = _margin(whole - exact * 2.0**FRACTION)
    lift = whole[middle] > HIGHEST
    whole[middle] -= 2**FRACTION * lift
    many = chunks(len(weights), rows, together)
    digits = np.zeros((rows, DIGITS, 4 * many * together), np.int8)
    for place in range(DIGITS):
        digit = (whole + 128) % 256 - 128
        whole = (whole - digit) // 256
        for r in range(rows):
            digits[r, DIGITS - 1 - place, r : r + len(weights)] = digit
    parts = digits.reshape(rows, DIGITS, many, together, 4).transpose(0, 2, 1, 3, 4)
    parity = 0x01010101 if kind == SYMMETRIC_TAPS else -1
    return _laid([margin, (1 << FRACTION) - 2 * margin, -int(lift), parity], WOVEN, parts)


def block_of_pairs(weights: np.ndarray, kind: int) -> np.ndarray:
    """The block of a half for `pairs`: two int16 for the upper digits of two pairs, and two for the lower ones."""
    exact = _effective(weights, kind)
    whole, pairs = _whole(exact), len(weights) // 2
    off = whole - exact * 2.0**FRACTION
    uneven = (off != 0).any() and (level(weights, kind) != np.arange(256)).any()
    low = (whole[:pairs] + 2**15) % 2**16 - 2**15
    parts = np.zeros((2, 2), np.int16)
    parts[:, 2 - pairs :] = (whole[:pairs] - low) >> 16, low
    return _laid([_margin(off), 0, 0, 0, uneven, *(each * 0x00010001 for each in contrasts(weights, kind))], PAIRWISE, parts)  # type: ignore[union-attr]


def _laid(head: list[int], tops: list[int], parts: np.ndarray) -> np.ndarray:
    found = np.zeros(WEIGHTS, np.int64)
    found[: len(head)] = head
    found[TOPS:WEIGHTS] = np.array(tops, np.int8).view(np.int32)
    return moved_on_lines(np.concatenate([found.astype(np.int32), np.ascontiguousarray(parts).view(np.int32).ravel()]))


def level(weights: np.ndarray, kind: int) -> np.ndarray:
    """What float64 makes of windows all of one byte, in SciPy's order of the sum: uint8 (256,)."""
    x, total = np.arange(256.0), np.zeros(256)
    for number, term in enumerate(order(len(weights), kind)):
        product = x * len(term) * weights[term[0]]
        total = total + product if number else product
    return moved_on_lines(total.astype(np.int32).astype(np.uint8))
