"""Dense kernels that are an outer product of vectors, to rounding: run as 1-D passes, with many fewer products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..backends.filters import Pass
from ..separate import separate

GAIN = 4  # products saved, as a ratio, from which the passes win though a float64 image lies between them
FAR = 1e-6  # of the largest weight, much more than rounding
HUGE = 1e150  # beyond, a first pass could overflow where the n-D sum does not


def _weighable(x: np.ndarray) -> bool:
    """Whether nothing in the array spreads otherwise through two passes than through one: an infinity times a sum of 0, say."""
    return x.dtype.kind in "iub" or (x.size > 0 and bool(np.isfinite(x).all()) and max(abs(float(x.min())), abs(float(x.max()))) < HUGE)


def _most(dtype: np.dtype) -> float:
    return 1.0 if dtype.kind == "b" else 2.0 ** (8 * dtype.itemsize)


def _far(weights: np.ndarray) -> bool:
    """Whether they are clearly no outer product: if they were, row and column through the largest one would make them all."""
    matrix = weights.reshape(next(k for k in weights.shape if k > 1), -1)
    row, column = divmod(int(np.abs(matrix).argmax()), matrix.shape[1])
    if matrix[row, column] == 0:
        return False
    matrix = matrix / matrix[row, column]
    return float(np.abs(matrix - np.outer(matrix[:, column], matrix[row])).max()) > FAR


def passes(x: np.ndarray, output: np.dtype, weights: np.ndarray, mode: int, cval: float, origins: Sequence[int]) -> list[Pass]:
    """The passes that an n-D correlation comes to, none if it is to be done as it is.

    Not where weights are not of rank 1 to rounding, or few; nor, if they are not whole numbers, where an integer output would be cut to another one.
    Beyond the edge of the later axes "constant" means what the passes before have made of cval.
    """
    sizes = [k for k in weights.shape if k > 1]
    if len(sizes) < 2 or np.prod(sizes) < GAIN * sum(sizes) or not np.isfinite(weights).all() or not np.isfinite(cval):
        return []
    whole = bool((weights == np.rint(weights)).all())
    if output.kind in "iub" and not (whole and x.dtype.kind in "iub" and _most(x.dtype) * float(np.abs(weights).sum()) < 2**53):
        return []
    if _far(weights):
        return []
    found = separate(weights)
    if found.rank != 1 or (whole and any((f != np.rint(f)).any() for f in found.factors)) or not _weighable(x):
        return []
    made = []
    for axis, (factor, origin) in enumerate(zip(found.factors, origins)):
        vector = np.ascontiguousarray(factor[0])
        if len(vector) > 1 or vector[0] != 1:
            made.append(Pass(axis, len(vector), vector, mode, cval, origin))
            cval *= float(vector.sum())
    return made
