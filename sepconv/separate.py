"""Separable forms of given filters: `separate` one kernel into vectors, `factorize` a filter bank into depthwise and pointwise halves.

Both are truncated singular value decompositions, computed in float64 whatever the dtype, after scaling by a power of two: a kernel
times 1e30 or 1e-30 has the same rank and the same factors, scaled.
"""

from __future__ import annotations

import functools
import math
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dispatch, dtypes
from .problem import integer

_ZERO = 1e-6  # a sum or an entry this small beside the whole vector is zero, when signs are chosen
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, repr=False)
class SeparableKernel:
    """A kernel as a sum of `rank` outer products of vectors, one vector an axis; what `separate` returns.

    factors : tuple of arrays, one an axis, each (rank, k) for that axis' k taps. Term q is the outer product of the rows q.
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


@dataclass(frozen=True, eq=False, repr=False)
class FactorizedKernel:
    """A standard filter bank as a depthwise and a pointwise one; what `factorize` returns, and what `separable_convNd` takes.

    depthwise : array (C_in * terms, 1, *k); output channel c * terms + q reads channel c.
    pointwise : array (C_out, C_in * terms).
    terms : depthwise filters an input channel, the channel multiplier.
    error : relative Frobenius error of `dense()`, norm(dense() - weight) / norm(weight); 0.0 for weights of zero.
    """

    depthwise: np.ndarray
    pointwise: np.ndarray
    terms: int
    error: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the filter bank, (C_out, C_in, *k)."""
        return (self.pointwise.shape[0], self.pointwise.shape[1] // self.terms, *self.depthwise.shape[2:])

    @property
    def params(self) -> int:
        """Number of weights in both halves."""
        return self.depthwise.size + self.pointwise.size

    def dense(self) -> np.ndarray:
        """The standard filter bank (C_out, C_in, *k) again, in the dtype of the halves; new memory."""
        dtype, (c_out, c_in, *_) = self.depthwise.dtype, self.shape
        wide = dtypes.KINDS[dtype.name].wide
        columns = self.pointwise.astype(wide).reshape(c_out, c_in, self.terms).transpose(1, 0, 2)
        filters = self.depthwise.astype(wide).reshape(c_in, self.terms, -1)
        return np.ascontiguousarray((columns @ filters).transpose(1, 0, 2)).reshape(self.shape).astype(dtype)

    def __repr__(self) -> str:
        dtype = self.depthwise.dtype
        return f"FactorizedKernel(shape={self.shape}, terms={self.terms}, dtype={dtype}, params={self.params}, error={self.error:.3g})"


# --- arguments ----------------------------------------------------------------------------------------------------


def _finite(name: str, array: Any, axes: range, form: str) -> np.ndarray:
    """A plain ndarray of finite numbers, in native byte order, or TypeError or ValueError."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is {reprlib.repr(array)}; allowed is a numpy.ndarray: convert it with numpy.asarray")
    array = dispatch.admit(name, array)
    array = array.astype(dtypes.check(name, array.dtype), copy=False)
    if array.ndim not in axes or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; allowed is {form}, every size at least 1")
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} is {array[at]} at index {at}; allowed are finite numbers")
    return array


def _bounded(name: str, value: Any, most: int, why: str) -> int:
    allowed = f"an int from 1 to {most}, {why}"
    number = integer(name, value, 1, allowed)
    if number > most:
        raise ValueError(f"{name} is {value!r}; allowed is {allowed}")
    return number


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


# --- scale and sign -------------------------------------------------------------------------------------------------


def _wide(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.complex128 if array.dtype.kind == "c" else np.float64)


def _shift(array: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """`array` times 2 ** exponent; unlike a product or a quotient of complex numbers it cannot overflow half-way."""
    return np.ldexp(array.view(np.float64), exponent).view(array.dtype)


def _exponent(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Exponent of two of the largest entry over `axes`, which are kept; any number where all are zero."""
    return np.frexp(np.abs(array.view(np.float64)).max(axis=axes, keepdims=True))[1] - 1


def _relative_error(dense: np.ndarray, exact: np.ndarray) -> float:
    """Frobenius norm of the difference over that of `exact`."""
    dense, exact = _wide(dense), _wide(exact)
    if not exact.any():
        return 0.0
    down = -int(_exponent(exact, tuple(range(exact.ndim))).item())
    dense, exact = _shift(dense, down), _shift(exact, down)
    return float(np.linalg.norm((dense - exact).ravel()) / np.linalg.norm(exact.ravel()))


def _sums_to_zero(vectors: np.ndarray) -> np.ndarray:
    return np.abs(vectors.sum(-1, keepdims=True)) <= _ZERO * np.abs(vectors).sum(-1, keepdims=True)


def _phase(vectors: np.ndarray) -> np.ndarray:
    """Sign (a unit complex number, if complex) of each vector's sum or, where that is zero, of its first entry that is not."""
    size = np.abs(vectors)
    first = (size > _ZERO * size.max(-1, keepdims=True)).argmax(-1)[..., None]
    lead = np.where(_sums_to_zero(vectors), np.take_along_axis(vectors, first, -1), vectors.sum(-1, keepdims=True))
    return lead / np.abs(lead)


def _signs(vectors: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What to multiply the vectors of each term by, (axes, terms, 1), and the axis that carries the term's sign, (terms, 1)."""
    phases = np.stack([_phase(v) for v in vectors])
    level = np.stack([_sums_to_zero(v) for v in vectors])
    carrier = len(vectors) - 1 - level[::-1].argmax(0)
    axes = np.arange(len(vectors))[:, None, None]
    return phases.conj() * np.where(axes == carrier, phases.prod(0), 1), carrier


# --- one kernel -----------------------------------------------------------------------------------------------------


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
    signs, carrier = _signs([vector.astype(np.float64)[None] for vector in vectors])
    vectors = [vector * int(sign) for vector, sign in zip(vectors, signs.ravel())]
    vectors[carrier.item()] = vectors[carrier.item()] * content
    if kernel.dtype.kind in "iu":
        info = np.iinfo(kernel.dtype)
        if any(v.min() < info.min or v.max() > info.max for v in vectors):
            return None
        return tuple(vector.astype(kernel.dtype)[None] for vector in vectors)
    return tuple(vector.astype(np.float64).astype(kernel.dtype)[None] for vector in vectors)


def _orthogonal_terms(kernel: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """All rank-1 terms of a kernel, heaviest first: (weights, and an array (terms, k) of vectors an axis).

    One singular value decomposition an axis: the axis is split off, and what remains of each term is decomposed in turn. In 2-D this
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
    wide = _wide(kernel)
    exponent = int(_exponent(wide, tuple(range(wide.ndim))).item())
    weights, vectors = _orthogonal_terms(_shift(wide, -exponent))
    if rank is None:
        left_out = np.sqrt(np.cumsum(weights[::-1] ** 2)[::-1])
        rank = int((left_out > rtol * left_out[0]).sum())
    vectors = [v[:rank] for v in vectors]
    signs, _ = _signs(vectors)
    share = (weights[:rank, None] ** (1 / kernel.ndim)) * 2.0 ** (exponent / kernel.ndim)
    dtype = np.dtype(np.float64) if dtypes.KINDS[kernel.dtype.name].integer else kernel.dtype
    return tuple((v * sign * share).astype(dtype) for v, sign in zip(vectors, signs))


def separate(kernel: np.ndarray, rank: int | None = None, rtol: float | None = None) -> SeparableKernel:
    """The kernel as a sum of `rank` outer products of vectors, so that 1-D passes can take the place of a dense filter.

    A kernel of rank 1, such as Sobel's, a Gaussian or a box, is one column times one row: kh + kw weights instead of kh * kw, and as many
    multiply-adds a pixel. In 2-D the terms are those of the singular value decomposition, and for each rank nearest to the kernel in
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
    SeparableKernel with `.column` (kh,) and `.row` (kw,) (2-D, rank 1), `.factors`, one (rank, k) array an axis, `.params`, `.error`,
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
    kernel = _finite("kernel", kernel, range(1, 65), "one axis or more")
    if rank is not None:
        most = math.prod(kernel.shape) // max(kernel.shape)
        rank = _bounded("rank", rank, most, f"the largest rank of a kernel of shape {kernel.shape}, or None")
    rtol = _tolerance(rtol, kernel)
    if not kernel.any():
        return SeparableKernel(tuple(np.zeros((rank or 0, size), kernel.dtype) for size in kernel.shape), 0.0)
    if kernel.ndim == 1:
        return SeparableKernel((kernel[None].copy(),), 0.0)
    factors = _whole_factors(kernel) if rank in (None, 1) else None
    if factors is None:
        factors = _svd_factors(kernel, rank, rtol)
    return SeparableKernel(factors, _relative_error(SeparableKernel(factors, 0.0).dense(), kernel))


# --- a filter bank --------------------------------------------------------------------------------------------------


def factorize(weight: np.ndarray, terms: int = 1) -> FactorizedKernel:
    """The depthwise-separable convolution nearest to a standard one.

    A standard filter bank is, for each input channel, a matrix (C_out, prod(k)); one column (a pointwise weight for each output) times one
    row (a depthwise filter) is its nearest matrix of rank 1 in the Frobenius norm, if both are the leading singular pair. `terms`
    pairs are nearest among `terms` filters a channel, and min(C_out, prod(k)) of them are the bank itself, within rounding.

    Parameters
    ----------
    weight : array (C_out, C_in, *k) with one to three kernel sizes, real, complex or integer, finite.
    terms : depthwise filters an input channel, from 1 to min(C_out, prod(k)).

    Returns
    -------
    FactorizedKernel with `.depthwise` (C_in * terms, 1, *k), whose output channel c * terms + q reads channel c, `.pointwise`
    (C_out, C_in * terms), `.params`, `.error`, `.terms`, `.dense()`. Both halves have the weight's dtype (float64 for integers), are
    computed in float64, and share the weight of a term: column and filter have the same norm. Each depthwise filter sums to a
    positive number or, where its sum is zero, begins with a positive entry.

    Raises
    ------
    TypeError : weight is not an ndarray, is masked, or of a dtype such as bool or object; terms is not an int.
    ValueError : weight has another number of axes, an empty one, NaN or Inf; terms is out of bounds.

    Source: C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", 1936; J. Guo, Y. Li, W. Lin, Y. Chen, J. Li, "Network
    Decoupling: From Regular to Depthwise Separable Convolutions", 2018.

    Example
    -------
    >>> near = sepconv.factorize(weight, terms=2)
    >>> y = sepconv.separable_conv2d(x, near.depthwise, near.pointwise, padding=1)
    """
    weight = _finite("weight", weight, range(3, 6), "(C_out, C_in, *k) with one to three kernel sizes")
    c_out, c_in, *kernel = weight.shape
    terms = _bounded("terms", terms, min(c_out, math.prod(kernel)), f"the smaller of C_out = {c_out} and the {math.prod(kernel)} taps of a filter")
    matrices = _wide(weight.reshape(c_out, c_in, -1).transpose(1, 0, 2))
    exponent = _exponent(matrices, (1, 2))
    u, s, v = np.linalg.svd(_shift(matrices, -exponent), full_matrices=False)
    filters, columns = v[:, :terms], u[:, :, :terms].transpose(0, 2, 1)
    share = np.sqrt(s[:, :terms, None]) * 2.0 ** (exponent / 2)
    phase = _phase(filters)
    dtype = np.dtype(np.float64) if dtypes.KINDS[weight.dtype.name].integer else weight.dtype
    depthwise = (filters * phase.conj() * share).reshape(c_in * terms, 1, *kernel).astype(dtype)
    pointwise = np.ascontiguousarray((columns * phase * share).reshape(c_in * terms, c_out).T).astype(dtype)
    near = FactorizedKernel(depthwise, pointwise, terms, 0.0)
    return FactorizedKernel(depthwise, pointwise, terms, _relative_error(near.dense(), weight))
