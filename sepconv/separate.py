"""One kernel as outer products of vectors."""

from __future__ import annotations

import functools
import math
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dtypes
from ._decomposition import bounded, exponent_of, finite, relative_error, shifted, signs_of, widened

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, repr=False)
class SeparableKernel:
    """A kernel as a sum of `rank` outer products of vectors, one vector per axis; what `separate` returns.

    factors : tuple of arrays, one per axis, each (rank, k) for that axis' k taps. Term q is the outer product of the rows q.
    error : relative Frobenius error of `dense()`, norm(dense() - kernel) / norm(kernel); 0.0 for the zero kernel.
    """

    factors: tuple[np.ndarray, ...]
    error: float

    @property
    def rank(self) -> int:
        """Number of terms; 0 for the zero kernel."""
        return self.factors[0].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernel."""
        return tuple(factor.shape[1] for factor in self.factors)

    @property
    def params(self) -> int:
        """Number of weights in the factors: rank times the sum of the kernel's sizes."""
        return sum(factor.size for factor in self.factors)

    @property
    def column(self) -> np.ndarray:
        """Vector (kh,) along the first axis of a 2-D kernel of rank 1; ValueError for any other."""
        return self._only("column", 0)

    @property
    def row(self) -> np.ndarray:
        """Vector (kw,) along the last axis of a 2-D kernel of rank 1; ValueError for any other."""
        return self._only("row", 1)

    def _only(self, name: str, axis: int) -> np.ndarray:
        if len(self.factors) != 2 or self.rank != 1:
            raise ValueError(f"{name} is there only for a 2-D kernel of rank 1; this one is {len(self.factors)}-D of rank {self.rank}, see .factors")
        return self.factors[axis][0]

    def dense(self) -> np.ndarray:
        """The kernel again, in its shape and in the dtype of the factors; new memory."""
        dtype = self.factors[0].dtype
        *firsts, last = (factor.astype(dtypes.KINDS[dtype.name].wide) for factor in self.factors)
        left = np.ones((self.rank, 1), last.dtype)
        for factor in firsts:
            left = (left[:, :, None] * factor[:, None, :]).reshape(self.rank, left.shape[1] * factor.shape[1])
        return (left.T @ last).reshape(self.shape).astype(dtype)

    def __repr__(self) -> str:
        dtype = self.factors[0].dtype
        return f"SeparableKernel(shape={self.shape}, rank={self.rank}, dtype={dtype}, params={self.params}, error={self.error:.3g})"


def _tolerance(rtol: Any, kernel: np.ndarray) -> float:
    """`rtol`, or the default: the rounding of the kernel's entries in its dtype, and that of the decomposition in float64."""
    if rtol is None:
        name = kernel.dtype.name
        eps = 0.0 if dtypes.KINDS[name].integer else 2.0**-7 if name == "bfloat16" else float(np.finfo(kernel.dtype).eps)
        return 2 * eps + max(kernel.shape) * _EPS
    allowed = "None, or a number of at least 0 and below 1"
    if isinstance(rtol, (bool, np.bool_)) or not isinstance(rtol, (int, float, np.integer, np.floating)):
        raise TypeError(f"rtol is {reprlib.repr(rtol)}; allowed is {allowed}")
    if not 0 <= rtol < 1:
        raise ValueError(f"rtol is {rtol!r}; allowed is {allowed}")
    return float(rtol)


def _integers(kernel: np.ndarray) -> np.ndarray | None:
    """The kernel in Python ints, which do not overflow, or None if it holds anything else than whole numbers."""
    if dtypes.KINDS[kernel.dtype.name].integer:
        return kernel.astype(object)
    if kernel.dtype.kind == "c":
        return None
    wide = kernel.astype(np.float64)
    if np.abs(wide).max() > 2**53 or (wide != np.trunc(wide)).any():
        return None
    return wide.astype(np.int64).astype(object)


def _whole_factors(kernel: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Factors of whole numbers in the kernel's dtype, if it is of whole numbers, has rank 1, and they fit.

    In a kernel of rank 1 every line of entries along an axis is a multiple of one vector: any line, over its greatest common divisor.
    """
    exact = _integers(kernel)
    if exact is None:
        return None
    at = tuple(int(i) for i in np.argwhere(exact != 0)[0])
    lines = [exact[(*at[:axis], slice(None), *at[axis + 1 :])] for axis in range(exact.ndim)]
    vectors = [line // math.gcd(*line) for line in lines]
    content = exact[at] // math.prod(vector[i] for vector, i in zip(vectors, at))
    if (functools.reduce(np.multiply.outer, vectors) * content != exact).any():
        return None
    signs, carrier = signs_of([vector.astype(np.float64)[None] for vector in vectors])
    vectors = [vector * int(sign) for vector, sign in zip(vectors, signs.ravel())]
    vectors[carrier.item()] = vectors[carrier.item()] * content
    if kernel.dtype.kind in "iu":
        info = np.iinfo(kernel.dtype)
        if any(v.min() < info.min or v.max() > info.max for v in vectors):
            return None
        return tuple(vector.astype(kernel.dtype)[None] for vector in vectors)
    return tuple(vector.astype(np.float64).astype(kernel.dtype)[None] for vector in vectors)


def _orthogonal_terms(kernel: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """All rank-1 terms of a kernel, heaviest first: (weights, and an array (terms, k) of vectors for each axis).

    One singular value decomposition per axis: the axis is split off, and what remains of each term is decomposed in turn. In 2-D this
    is the SVD itself. The terms are orthogonal, so the norm of those left out is the error. Longest axis last: that is the fewest terms.
    """
    order = sorted(range(kernel.ndim), key=lambda axis: kernel.shape[axis])
    rest = kernel.transpose(order)[None]
    weights, vectors = np.ones(1), {}
    for axis in order[:-1]:
        terms, taps, *others = rest.shape
        u, s, v = np.linalg.svd(rest.reshape(terms, taps, -1), full_matrices=False)
        vectors = {done: np.repeat(each, taps, axis=0) for done, each in vectors.items()}
        vectors[axis] = u.transpose(0, 2, 1).reshape(-1, taps)
        weights = (weights[:, None] * s).ravel()
        rest = v.reshape(-1, *others)
    vectors[order[-1]] = rest
    heaviest = np.argsort(-weights, kind="stable")
    return weights[heaviest], [vectors[axis][heaviest] for axis in range(kernel.ndim)]


def _svd_factors(kernel: np.ndarray, rank: int | None, rtol: float) -> tuple[np.ndarray, ...]:
    """The leading terms, each factor with the same share of the term's weight."""
    wide = widened(kernel)
    exponent = int(exponent_of(wide, tuple(range(wide.ndim))).item())
    weights, vectors = _orthogonal_terms(shifted(wide, -exponent))
    if rank is None:
        left_out = np.sqrt(np.cumsum(weights[::-1] ** 2)[::-1])
        rank = int((left_out > rtol * left_out[0]).sum())
    vectors = [v[:rank] for v in vectors]
    signs, _ = signs_of(vectors)
    share = (weights[:rank, None] ** (1 / kernel.ndim)) * 2.0 ** (exponent / kernel.ndim)
    dtype = np.dtype(np.float64) if dtypes.KINDS[kernel.dtype.name].integer else kernel.dtype
    return tuple((v * sign * share).astype(dtype) for v, sign in zip(vectors, signs))


def separate(kernel: np.ndarray, rank: int | None = None, rtol: float | None = None) -> SeparableKernel:
    """The kernel as a sum of `rank` outer products of vectors, so that 1-D passes can take the place of a dense filter.

    A kernel of rank 1, such as Sobel's, a Gaussian or a box, is one column times one row: kh + kw weights instead of kh * kw, and as many
    multiply-adds per pixel. In 2-D the terms are those of the singular value decomposition, and for each rank nearest to the kernel in
    the Frobenius norm. With three axes or more they come from a chain of such decompositions; a kernel of rank 1 is found
    exactly, others may take more terms than the fewest possible, since those are hard to find. A 1-D kernel is its only factor.

    Parameters
    ----------
    kernel : array of one axis or more, real, complex or integer, finite.
    rank : number of terms, from 1 to the product of all sizes but the largest (in 2-D: the smaller size), which is exact for every kernel.
        None: the fewest terms that are within `rtol` of the kernel; 0 for the zero kernel.
    rtol : relative Frobenius error that rank = None allows, at least 0 and below 1; not used with a given rank. None: two eps of the kernel's
        dtype (integers: none) and max(kernel.shape) eps of float64, which is what rounding can have done to an exact kernel.

    Returns
    -------
    SeparableKernel with `.column` (kh,) and `.row` (kw,) (2-D, rank 1), `.factors`, one (rank, k) array per axis, `.params`, `.error`,
    `.rank`, `.dense()`. The factors have the kernel's dtype. Integer kernels of rank 1 have integer factors, unless these do not fit the
    dtype; other integer kernels have float64 ones. Floats that are whole numbers, of rank 1, have whole factors too.

    Scale: whole factors have no common divisor, except the one that carries the sign; others have equal norms within a term.
    Signs: each factor sums to a positive number or, where its sum is zero, begins with a positive entry; the term's sign is
    carried by the last factor that sums to zero, else by the last of all. (For complex kernels, read "phase".)

    Raises
    ------
    TypeError : kernel is not an ndarray, is masked, or of a dtype such as bool or object; rank is not an int, rtol not a number.
    ValueError : kernel has no axis, an empty one, NaN or Inf; rank or rtol is out of bounds.

    Source: C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", 1936; for three axes and more J. Salmi, A. Richter,
    V. Koivunen, "Sequential Unfolding SVD for Tensors with Applications in Array Signal Processing", 2009.

    Example
    -------
    >>> sobel = sepconv.separate(numpy.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]))
    >>> sobel.column, sobel.row, sobel.params
    (array([1, 2, 1]), array([-1,  0,  1]), 6)
    """
    kernel = finite("kernel", kernel, range(1, 65), "one axis or more")
    if rank is not None:
        most = math.prod(kernel.shape) // max(kernel.shape)
        rank = bounded("rank", rank, most, f"the largest rank of a kernel of shape {kernel.shape}, or None")
    rtol = _tolerance(rtol, kernel)
    if not kernel.any():
        return SeparableKernel(tuple(np.zeros((rank or 0, size), kernel.dtype) for size in kernel.shape), 0.0)
    if kernel.ndim == 1:
        return SeparableKernel((kernel[None].copy(),), 0.0)
    factors = _whole_factors(kernel) if rank in (None, 1) else None
    if factors is None:
        factors = _svd_factors(kernel, rank, rtol)
    return SeparableKernel(factors, relative_error(SeparableKernel(factors, 0.0).dense(), kernel))
