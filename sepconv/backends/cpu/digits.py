"""The weights of `dots.py`: digits of eight bits, how far sums may be off by them, and what is known beforehand of sums near a whole number."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..filters import GENERAL, SYMMETRIC_TAPS, order
from .plans import moved_on_lines

FRACTION, DIGITS = 24, 3
HIGHEST = 127 * (1 + 2**8 + 2**16)  # of a number of three digits
MOST = 4  # groups of four taps in registers at once
# a half's block, int32: what is added to a sum, bits of the fraction that tell one from a whole number, whether the middle pixel is to be added,
# bits of the difference of a pair that have to be equal, whether float64 makes something else than itself of a middle pixel; of `Certainty`; 64
# places, WOVEN or PAIRWISE; then the digits of the weights
MARGIN, BITS, LIFT, PARITY, UNEVEN, FAR, CONTRAST, TOPS, WEIGHTS = 0, 1, 2, 3, 4, 5, 6, 16, 32
# Where the upper bytes of two vectors of int32 lie: in the order of `dots`, each lane's twice; in that of `pairs`, all twice.
WOVEN = [16 * part + 4 * i + 3 + 64 * side for part in range(4) for _ in (0, 1) for side in (0, 1) for i in range(4)]
PAIRWISE = [16 * part + 4 * i + 3 + 64 * side for _ in (0, 1) for part in range(4) for side in (0, 1) for i in range(4)]
LONG, DOUBTFUL, EVEN, SURE = range(4)
SHORT = 11  # taps of a half up to which it is quicker to look at each window than to ask whether one of many is to be looked at


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


def groups(down: int, across: int, certain: int) -> int:
    """Groups of taps that are taken at once, of the two halves: so that the fewest are taken; all where no sum is in doubt."""
    if certain > DOUBTFUL:
        return max(chunks(down, 2, 1), chunks(across, 1, 1))
    return min(range(MOST, 0, -1), key=lambda g: g * (chunks(down, 2, g) + chunks(across, 1, g)))


def _margin(off: np.ndarray) -> int:
    """Units that a sum may be off by if its weights are off by these, and float64 in SciPy's order too: a power of two."""
    least = 127.5 * (np.abs(off).sum() + abs(off.sum())) + len(off) * 255 * 2.0 ** (FRACTION - 51) + 1
    return 2 ** int(np.ceil(np.log2(least)))


class Certainty(NamedTuple):
    """What is known of a half's sums near a whole number, but those of even windows. SURE: all are on their side of it; EVEN: all where no
    pixel of the pair so `far` from the middle differs from that by `contrast` or more; DOUBTFUL: nothing; LONG: nor, and of many taps."""

    kind: int
    far: int = 0
    contrast: int = 255


@functools.lru_cache(64)
def _certainty(weights: tuple[float, ...], kind: int) -> Certainty:
    exact, pairs, apart = np.array(weights), len(weights) // 2, np.arange(-510, 511)  # a pair's sum less twice the middle pixel
    whole, even = _whole(exact), level(exact, kind)
    if len(exact) < 4 * MOST and (whole == exact * 2.0**FRACTION).all():
        return Certainty(SURE)  # float64 does not round either
    if pairs > 2 or (pairs and kind != SYMMETRIC_TAPS) or abs(exact.sum() - 1) > 2.0**-40 or (np.arange(256) - even > 1).any():
        return Certainty(DOUBTFUL if len(exact) <= SHORT else LONG)
    # Those near a whole number, of all: modulo 2**32, which is quick.
    off = np.abs(whole - exact * 2.0**FRACTION)[:pairs]
    near = int(510 * off.sum() + 1e-9 * 2**FRACTION) + 2
    fractions = functools.reduce(np.add.outer, [(apart * w).astype(np.int32) for w in whole[:pairs]], np.int32(near))
    places = [apart[at] for at in np.nonzero((fractions & (2**FRACTION - 1)) <= 2 * near)]
    sums, true = (sum((at * w for at, w in zip(places, each)), np.zeros(1, each.dtype)) for each in (whole, exact))
    if np.count_nonzero(sums % 2**FRACTION == 0) > 1:
        return Certainty(DOUBTFUL)  # the tile takes these for even windows
    wrong = (np.floor(true) != sums >> FRACTION) | (np.abs(true - np.rint(true)) < 1e-9)
    wrong &= functools.reduce(np.logical_or, [at != 0 for at in places], np.False_)
    if not wrong.any():
        return Certainty(SURE)
    # The pixels of a pair that is off by so much are off by half of it at least, one of them.
    least = [(np.abs(at[wrong]).min() + 1) // 2 for at in places]
    number = int(np.argmax(least))
    return Certainty(EVEN, pairs - number, int(least[number]))


def certainty(weights: np.ndarray, kind: int) -> Certainty:
    """Of up to two pairs of taps, by trying all that a pair's sum may differ from twice the middle pixel."""
    return _certainty(tuple(_effective(weights, kind).tolist()), kind)


def paired(weights: np.ndarray, kind: int) -> bool:
    """Whether the tile of `pairs` takes them."""
    return len(weights) == 5 and kind == SYMMETRIC_TAPS and certainty(weights, kind).kind > DOUBTFUL


def block(weights: np.ndarray, kind: int, rows: int, together: int) -> np.ndarray:
    """The block of a half: for each row of a tile the taps that many places further; in it chunks, digits, groups of four bytes. With no groups
    the block of `pairs`, whose digits are two int16 for each of two pairs."""
    exact, middle = _effective(weights, kind), len(weights) // 2
    whole = _whole(exact)
    off = whole - exact * 2.0**FRACTION
    margin, sure = _margin(off), certainty(weights, kind)
    uneven = (off != 0).any() and (level(weights, kind) != np.arange(256)).any()
    if not together:
        low = (whole[:2] + 2**15) % 2**16 - 2**15
        parts = np.stack([(whole[:2] - low) >> 16, low]).astype(np.int16)
        return _laid([margin, 0, 0, 0, uneven, sure.far, (2 * sure.contrast - 1) * 0x00010001], PAIRWISE, parts)
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
    head = [margin, (1 << FRACTION) - 2 * margin, -int(lift), parity, uneven, sure.far, sure.contrast * 0x01010101]
    return _laid(head, WOVEN, parts)


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
