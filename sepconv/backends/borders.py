"""What lies beyond the edge of an array: the border modes, for every backend.

One plain function of integers: the oracle calls it as it is, the CPU and the GPU backend compile it. A new mode is a name in
CODES and a line in `source`.
"""

from __future__ import annotations

CONSTANT, EDGE, REFLECT, SYMMETRIC, WRAP = range(5)
CODES = {"constant": CONSTANT, "edge": EDGE, "reflect": REFLECT, "symmetric": SYMMETRIC, "wrap": WRAP}
ALIASES = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}  # torch's names


def source(at: int, size: int, mode: int) -> int:
    """The position in [0, size) that padded position `at` copies, -1 for a zero; any distance from the array, as `numpy.pad` repeats."""
    if 0 <= at < size:
        return at
    if mode == EDGE:
        return 0 if at < 0 else size - 1
    if mode == WRAP:
        return at % size
    if mode == SYMMETRIC:
        at %= 2 * size
        return at if at < size else 2 * size - 1 - at
    if mode == REFLECT:
        if size == 1:
            return 0
        at %= 2 * size - 2
        return at if at < size else 2 * size - 2 - at
    return -1
