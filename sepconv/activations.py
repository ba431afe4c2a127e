"""The activations: their names, codes and arguments, for every backend.

The formulas stand twice on purpose: in `backends/reference.py` as NumPy in float64, and in `backends/formulas.py` for registers.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import numpy as np

from .dtypes import KINDS

# Codes up to CLIP are bounds, min(max(x, lo), hi), and work for integers; the later ones need floating point.
NONE, CLIP, LEAKY_RELU, HARD_SIGMOID, HARD_SWISH, SIGMOID, SILU, TANH, GELU = range(9)
LEAKY_SLOPE = 0.01


class Activation(NamedTuple):
    """An activation resolved: its code, and the bounds if it is a clip."""

    name: str
    code: int
    lo: float = -math.inf
    hi: float = math.inf


NAMES: dict[str, Activation] = {
    "relu": Activation("relu", CLIP, 0.0),
    "relu6": Activation("relu6", CLIP, 0.0, 6.0),
    "leaky_relu": Activation("leaky_relu", LEAKY_RELU),
    "hard_sigmoid": Activation("hard_sigmoid", HARD_SIGMOID),
    "hard_swish": Activation("hard_swish", HARD_SWISH),
    "sigmoid": Activation("sigmoid", SIGMOID),
    "silu": Activation("silu", SILU),
    "tanh": Activation("tanh", TANH),
    "gelu": Activation("gelu", GELU),
}
ALLOWED = "None, " + ", ".join(f'"{name}"' for name in NAMES) + ' or ("clip", lo, hi)'


def _bound(name: str, value: object, given: object) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.integer, np.floating)):
        raise TypeError(f"{name} is {given!r}; the bounds of a clip are real numbers")
    try:
        bound = float(value)
    except OverflowError:
        raise ValueError(f"{name} is {given!r}; the bounds of a clip are numbers that fit float64, or infinities") from None
    if math.isnan(bound):
        raise ValueError(f"{name} is {given!r}; the bounds of a clip are numbers, not NaN")
    return bound


def resolve(name: str, given: object, dtype: np.dtype) -> Activation:
    """The activation that a user's argument means for results of `dtype`; TypeError or ValueError names the argument."""
    if given is None:
        return Activation("none", NONE)
    if isinstance(given, str):
        if given not in NAMES:
            raise ValueError(f"{name} is {given!r}; allowed are {ALLOWED}")
        chosen = NAMES[given]
    elif isinstance(given, (tuple, list)):
        if len(given) != 3 or given[0] != "clip":
            raise ValueError(f"{name} is {given!r}; allowed are {ALLOWED}")
        chosen = Activation("clip", CLIP, _bound(name, given[1], given), _bound(name, given[2], given))
        if chosen.lo > chosen.hi:
            raise ValueError(f"{name} is {given!r}; the lower bound of a clip is at most the upper")
    else:
        raise TypeError(f"{name} is {given!r}; allowed are {ALLOWED}")
    kind = KINDS[dtype.name]
    if not kind.real and not (kind.integer and chosen.code == CLIP):
        allowed = 'None, "relu", "relu6" or ("clip", lo, hi)' if kind.integer else "None"
        raise TypeError(f"{name} is {given!r} and the result is {dtype}, for which {allowed} is allowed")
    if kind.integer and not all(math.isinf(v) or (v.is_integer() and abs(v) <= 2**53) for v in chosen[2:]):
        raise ValueError(f"{name} is {given!r} and the result is {dtype}; the bounds of a clip are then whole numbers up to 2**53")
    return chosen


def bounds(chosen: Activation, dtype: np.dtype) -> tuple[float, float] | tuple[int, int]:
    """The bounds of a clip as numbers of `dtype`; those beyond an integer dtype's range are its ends."""
    if dtype.kind not in "iu":
        return chosen.lo, chosen.hi
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    lo, hi = (least if v <= least else most if v >= most else int(v) for v in (chosen.lo, chosen.hi))
    return lo, hi
