"""Kernels as products: `separate` finds the 1-D factors of a kernel, `factorize` the depthwise and pointwise halves of a filter bank.

Both are singular value decompositions. By Eckart and Young (1936) the leading terms of one are the nearest matrix of that rank, and
what they leave out is the root of the sum of squares of the singular values left out: that is how the rank is chosen.
Everything is computed in float64 (complex128) on the kernel divided by a power of two, so its scale cannot matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import dispatch, dtypes
from .problem import integer

# Unit roundoff times two, and the smallest number, of the dtypes that numpy.finfo need not know.
_BFLOAT16 = (2.0**-7, 2.0**-133)
_NO_SUM = 1e-2  # a factor whose sum is less than this share of its absolute sum counts as a derivative, which sums to zero
_SWEEPS = 100  # of the power method; it converges in a few, or slowly to nothing better


@dataclass(frozen=True, eq=False, repr=False)
class SeparableKernel:
    """A kernel as a sum of `rank` products of 1-D factors; what `separate` returns.

    factors : one array an axis of the kernel, (rank, k_axis): term r is the outer product of `factors[0][r]`, `factors[1][r]`, ...
        in the kernel's dtype, or float64 for an integer kernel without whole-number factors.
    shape : the kernel's.
    error : relative error of `dense()` in the Frobenius norm, |dense - kernel| / |kernel|; 0.0 for a kernel of zeros.
    """

    factors: tuple[np.ndarray, ...]
    shape: tuple[int, ...]
    error: float

    @property
    def rank(self) -> int:
        """How many separable terms there are."""
        return self.factors[0].shape[0]

    @property
    def params(self) -> int:
        """Weights of all factors together, rank * sum(shape); a 3x3 kernel of rank one has 6."""
        return sum(f.size for f in self.factors)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the factors and of `dense()`."""
        return self.factors[0].dtype

    @property
    def column(self) -> np.ndarray:
        """The factor down axis 0, (kh,). ValueError unless the kernel is 2-D and its rank 1."""
        return self._pair("column", 0)

    @property
    def row(self) -> np.ndarray:
        """The factor along axis 1, (kw,). ValueError unless the kernel is 2-D and its rank 1."""
        return self._pair("row", 1)

    def _pair(self, name: str, axis: int) -> np.ndarray:
        if len(self.shape) != 2:
            raise ValueError(f"{name} is for 2-D kernels and this one has shape {self.shape}; take factors, one an axis")
        if self.rank != 1:
            raise ValueError(f"{name} is for kernels of rank 1 and this one has rank {self.rank}; take factors, one row a term")
        return self.factors[axis][0]

    def dense(self) -> np.ndarray:
        """The kernel that the factors stand for, an array of `shape` in their dtype.

        >>> np.array_equal(separate(kernel).dense(), kernel)    # of whole numbers, rank one; others to rounding
        """
        wide = dtypes.KINDS[self.dtype.name].wide
        left = np.ones((self.rank, 1), wide)
        for factor in self.factors[:-1]:
            left = (left[:, :, None] * factor.astype(wide)[:, None, :]).reshape(self.rank, left.shape[1] * factor.shape[1])
        with np.errstate(over="ignore"):  # beside the largest float, rounding may pass it: that is infinity, and `error` says so
            return (left.T @ self.factors[-1].astype(wide)).reshape(self.shape).astype(self.dtype)

    def __repr__(self) -> str:
        return f"SeparableKernel(shape={self.shape}, rank={self.rank}, dtype={self.dtype}, params={self.params}, error={self.error:.2g})"


@dataclass(frozen=True, eq=False, repr=False)
class FactorizedKernel:
    """A filter bank as a depthwise and a pointwise half; what `factorize` returns, and what `separable_conv2d` takes.

    depthwise : (C_in * terms, 1, *k); output channel c * terms + q is term q of input channel c.
    pointwise : (C_out, C_in * terms).
    terms : filters an input channel.
    error : relative error of `dense()` in the Frobenius norm; 0.0 for a weight of zeros.
    """

    depthwise: np.ndarray
    pointwise: np.ndarray
    terms: int
    error: float

    @property
    def params(self) -> int:
        """Weights of both halves; 3 -> 3 channels, 3x3, one term: 27 + 9 = 36."""
        return self.depthwise.size + self.pointwise.size

    @property
    def dtype(self) -> np.dtype:
        """The dtype of both halves and of `dense()`."""
        return self.depthwise.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `dense()`, (C_out, C_in, *k)."""
        return (self.pointwise.shape[0], self.depthwise.shape[0] // self.terms, *self.depthwise.shape[2:])

    def dense(self) -> np.ndarray:
        """The standard filter bank that the halves stand for, (C_out, C_in, *k) in their dtype.

        >>> np.allclose(factorize(weight, terms=9).dense(), weight)     # C_out >= 9, 3x3: nine terms are exact
        """
        wide = dtypes.KINDS[self.dtype.name].wide
        c_out, c_in, *kernel = self.shape
        points = self.pointwise.astype(wide).reshape(c_out, c_in, self.terms).transpose(1, 0, 2)
        filters = self.depthwise.astype(wide).reshape(c_in, self.terms, math.prod(kernel))
        with np.errstate(over="ignore"):
            return (points @ filters).transpose(1, 0, 2).reshape(self.shape).astype(self.dtype)

    def __repr__(self) -> str:
        return f"FactorizedKernel(shape={self.shape}, terms={self.terms}, dtype={self.dtype}, params={self.params}, error={self.error:.2g})"


@dataclass
class _Terms:
    """Rank-one terms, mutually orthogonal, largest first: sizes (t,), and unit vectors (t, k_axis) for each axis."""

    sizes: np.ndarray
    vectors: list[np.ndarray] = field(default_factory=list)


# --- separate -----------------------------------------------------------------------------------------------------


def separate(kernel: np.ndarray, rank: int | None = None, rtol: float | None = None) -> SeparableKernel:
    """The 1-D factors whose outer products sum to a kernel: k * k weights become 2 * k if one product is enough.

    Parameters
    ----------
    kernel : numpy.ndarray, one axis or more, any dtype that the convolutions take, finite.
    rank : int, how many terms, 1 to prod(shape) / max(shape), which is min(shape) in 2-D; or None for as few as `rtol` allows.
    rtol : float, 0 <= rtol < 1, for rank=None: the relative error (Frobenius norm) that may be left. None means rounding: the dtype's machine
        epsilon times max(4, *shape), of float64 for integers, and never less than the smallest number of the dtype leaves behind. A float32
        Gaussian is rank one by that, and stays so whatever it is multiplied by. rtol does nothing if rank is given.

    Returns
    -------
    SeparableKernel. 2-D: the singular value decomposition, the nearest kernel of each rank (Eckart and Young 1936), the size of a term spread
    evenly over its factors. More axes: the orthogonal rank-one terms of nested decompositions (Batselier, Liu and Wong 2015), the largest of
    them; exact with enough of them, zero error with one if the kernel is separable, not always the fewest or the nearest beyond that. One
    term of them is improved by the higher-order power method (De Lathauwer, De Moor and Vandewalle 2000). A kernel of whole numbers that is
    exactly one product, floating point too, gets whole-number factors in its own dtype, with no common divisor in any but one of them, and
    error 0; integer kernels otherwise get float64. 1-D: the kernel itself. A kernel of zeros has rank 0.

    Signs (complex: phases) are fixed: a factor sums to a positive number, or, if it sums to about zero as derivatives do, its last largest
    weight is positive; what sign is left over goes to the last factor that sums to about zero, else to the last. Sobel's Gx is
    [1 2 1]^T [-1 0 1] and Gy is [-1 0 1]^T [1 2 1]. Where two terms have the same size, which vectors are chosen is LAPACK's affair.

    Raises
    ------
    TypeError, ValueError : naming kernel, rank or rtol, its value and what is allowed; ValueError for NaN and infinity in kernel.

    >>> separate(np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])).column
    array([1, 2, 1])
    """
    kernel, wide = _checked("kernel", kernel)
    if kernel.ndim == 0:
        raise ValueError(f"kernel is 0-d, {kernel!r}; allowed is one axis or more")
    bound = kernel.size // max(kernel.shape)
    if rank is not None:
        allowed = f"None, or an int from 1 to {bound} for shape {kernel.shape}"
        rank = integer("rank", rank, 1, allowed)
        if rank > bound:
            raise ValueError(f"rank is {rank}; allowed is {allowed}")
    rtol = _tolerance(rtol)

    if not kernel.any():
        return SeparableKernel(tuple(np.zeros((rank or 0, k), kernel.dtype) for k in kernel.shape), kernel.shape, 0.0)
    factors = _whole_factors(kernel, wide) if rank in (None, 1) else None
    if factors is None:
        factors = _factors(kernel, wide, rank, rtol)
    found = SeparableKernel(factors, kernel.shape, 0.0)
    return SeparableKernel(factors, kernel.shape, _error(found.dense(), wide))


def _factors(kernel: np.ndarray, wide: np.ndarray, rank: int | None, rtol: float | None) -> tuple[np.ndarray, ...]:
    """Factors by singular value decomposition, in the dtype to return."""
    if kernel.ndim == 1:
        return (kernel[None].copy(),)
    exponent = _exponent(wide)
    scaled = _scale(wide, -exponent)
    terms = _orthogonal_terms(scaled)
    if rank is None:
        allowed = rtol if rtol is not None else _rounding(kernel.dtype, kernel.shape, np.linalg.norm(scaled), exponent)
        rank = _fewest(terms.sizes, allowed)
    sizes, vectors = terms.sizes[:rank], [v[:rank] for v in terms.vectors]
    if rank == 1 and kernel.ndim > 2:
        sizes, vectors = _power_method(scaled, vectors)
    share = sizes ** (1 / kernel.ndim) * 2.0 ** (exponent / kernel.ndim)
    phases = np.array([_phases([v[r] for v in vectors]) for r in range(rank)])
    return tuple((v * (phases[:, a] * share)[:, None]).astype(_kept(kernel.dtype)) for a, v in enumerate(vectors))


def _orthogonal_terms(kernel: np.ndarray) -> _Terms:
    """All terms, largest first. With the longest axis last there are at most prod(shape) / max(shape) of them."""
    order = sorted(range(kernel.ndim), key=lambda axis: kernel.shape[axis])
    sizes, vectors = _nested(kernel.transpose(order))
    by_size = np.argsort(-sizes, kind="stable")
    return _Terms(sizes[by_size], [vectors[order.index(axis)][by_size] for axis in range(kernel.ndim)])


def _nested(kernel: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Axis 0 against the rest, and each right vector again: orthogonal, because either the left or the right vectors of two terms are."""
    u, s, vh = np.linalg.svd(kernel.reshape(kernel.shape[0], -1), full_matrices=False)
    if kernel.ndim == 2:
        return s, [u.T, vh]
    inner = [_nested(v.reshape(kernel.shape[1:])) for v in vh]
    counts = [len(sizes) for sizes, _ in inner]
    sizes = np.concatenate([size * sizes for size, (sizes, _) in zip(s, inner)])
    rest = [np.concatenate([vectors[axis] for _, vectors in inner]) for axis in range(kernel.ndim - 1)]
    return sizes, [np.repeat(u.T, counts, axis=0), *rest]


def _fewest(sizes: np.ndarray, rtol: float) -> int:
    """The smallest number of terms that leaves at most rtol of the norm. The terms are orthogonal, so what is left is a sum of squares."""
    left = np.sqrt(np.cumsum(sizes[::-1] ** 2))[::-1]  # from the smallest up: nothing is lost beside a large one
    return max(1, int(np.count_nonzero(left > rtol * left[0])))


def _power_method(kernel: np.ndarray, vectors: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A nearer single term: each vector in turn is the best one for the others, so the error never grows."""
    found = [v[0] for v in vectors]
    size = 0.0
    for _ in range(_SWEEPS):
        before = size
        for axis in range(kernel.ndim):
            best = np.moveaxis(kernel, axis, 0)
            for other in reversed(found[:axis] + found[axis + 1 :]):
                best = best @ other.conj()
            size = float(np.linalg.norm(best))
            found[axis] = best / size
        if size <= before * (1 + 1e-15):
            break
    return np.array([size]), [v[None] for v in found]


def _whole_factors(kernel: np.ndarray, wide: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Whole-number factors, if the kernel is whole numbers and exactly one product; in Python's integers, which do not overflow."""
    if not _is_whole(kernel, wide):
        return None
    whole = (kernel if kernel.dtype.kind in "iu" else wide.astype(np.int64)).astype(object)
    pivot = np.unravel_index(int(np.argmax(np.abs(wide))), kernel.shape)
    lines = [whole[(*pivot[:axis], slice(None), *pivot[axis + 1 :])] for axis in range(kernel.ndim)]
    factors = [line // math.gcd(*line) for line in lines]
    phases = [int(p) for p in _phases([f.astype(np.float64) for f in factors])]
    factors = [f * p for f, p in zip(factors, phases)]
    # A product of vectors without common divisors has none either: what is left of the kernel is one number, the content.
    product = math.prod(int(f[i]) for f, i in zip(factors, pivot))
    content, remainder = divmod(whole[pivot], product)
    carrier = _carrier([f.astype(np.float64) for f in factors])
    factors[carrier] = factors[carrier] * content
    outer = factors[0]
    for factor in factors[1:]:
        outer = np.multiply.outer(outer, factor)
    if remainder or not np.array_equal(outer, whole):
        return None
    return tuple(f.astype(kernel.dtype)[None] for f in factors)


def _is_whole(kernel: np.ndarray, wide: np.ndarray) -> bool:
    """Integers, or floating-point numbers that are whole and small enough to be meant so."""
    if kernel.dtype.kind in "iu":
        return True
    return wide.dtype.kind == "f" and bool((np.abs(wide) < 2.0**53).all() and (wide == np.trunc(wide)).all())


# --- factorize ----------------------------------------------------------------------------------------------------


def factorize(weight: np.ndarray, terms: int = 1) -> FactorizedKernel:
    """The depthwise-separable convolution nearest to a standard one.

    Parameters
    ----------
    weight : numpy.ndarray, (C_out, C_in, *k), 1 to 3 kernel sizes, any dtype that the convolutions take, finite.
    terms : int, depthwise filters an input channel, 1 to min(C_out, prod(k)); that many are exact to rounding.

    Returns
    -------
    FactorizedKernel, in the weight's dtype (float64 for integers): `separable_conv2d(x, f.depthwise, f.pointwise)` is then
    `conv2d(x, f.dense())`. For each input channel, the leading singular pairs of its (C_out x prod(k)) matrix, the pointwise columns and the
    depthwise filters (Jaderberg, Vedaldi and Zisserman 2014; Guo et al. 2018, Network Decoupling); with one output or all terms nothing is
    lost, and for a given number of terms an input channel nothing is nearer (Eckart and Young 1936). Both halves carry the square root of
    the singular value. Each depthwise filter sums to a positive number or, if to about zero, has its last largest weight positive.

    Raises
    ------
    TypeError, ValueError : naming weight or terms, its value and what is allowed; ValueError for NaN and infinity in weight.

    >>> f = factorize(weight, terms=2)      # weight (64, 32, 3, 3): f.depthwise (64, 1, 3, 3), f.pointwise (64, 64)
    >>> y = separable_conv2d(x, f.depthwise, f.pointwise, padding=1)
    """
    weight, wide = _checked("weight", weight)
    if not 3 <= weight.ndim <= 5:
        raise ValueError(f"weight has shape {weight.shape}; allowed is (C_out, C_in, *k) with 1 to 3 kernel sizes")
    c_out, c_in, *kernel = weight.shape
    taps = math.prod(kernel)
    allowed = f"an int from 1 to min(C_out, prod(k)) = {min(c_out, taps)}"
    terms = integer("terms", terms, 1, allowed)
    if terms > min(c_out, taps):
        raise ValueError(f"terms is {terms}; allowed is {allowed}")

    exponent = _exponent(wide)
    channels = _scale(wide, -exponent).reshape(c_out, c_in, taps).transpose(1, 0, 2)
    u, s, vh = np.linalg.svd(channels, full_matrices=False)
    u, s, vh = u[:, :, :terms], s[:, :terms], vh[:, :terms]
    phase = _phase(vh)
    root = np.sqrt(s) * 2.0 ** (exponent / 2)
    depthwise = vh * (phase.conj() * root)[:, :, None]
    pointwise = (u * (phase * root)[:, None, :]).transpose(1, 0, 2)
    kept = _kept(weight.dtype)
    halves = depthwise.reshape(c_in * terms, 1, *kernel).astype(kept), pointwise.reshape(c_out, c_in * terms).astype(kept)
    return FactorizedKernel(*halves, terms, _error(FactorizedKernel(*halves, terms, 0.0).dense(), wide))


# --- arguments, signs, scales -------------------------------------------------------------------------------------


def _checked(name: str, array: Any) -> tuple[np.ndarray, np.ndarray]:
    """The array, native and plain, and as float64 or complex128; TypeError or ValueError names the argument."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is {array!r:.80}, a {type(array).__name__}; allowed is a numpy.ndarray")
    array = dispatch.admit(name, array)
    array = array.astype(dtypes.check(name, array.dtype), copy=False)
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; allowed are sizes of 1 or more")
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    bad = np.argwhere(~np.isfinite(wide))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name} is {wide[where]} at {where}; allowed are finite numbers")
    return array, wide


def _tolerance(rtol: Any) -> float | None:
    if rtol is None:
        return None
    if isinstance(rtol, (bool, np.bool_)) or not isinstance(rtol, (int, float, np.integer, np.floating)):
        raise TypeError(f"rtol is {rtol!r}; allowed is None, or a number from 0 up to 1, 1 excluded")
    if not 0 <= rtol < 1:  # NaN is neither
        raise ValueError(f"rtol is {rtol!r}; allowed is None, or a number from 0 up to 1, 1 excluded")
    return float(rtol)


def _kept(dtype: np.dtype) -> np.dtype:
    """The dtype of factors that are not whole numbers."""
    return np.dtype(np.float64) if dtype.kind in "iu" else dtype


def _rounding(dtype: np.dtype, shape: tuple[int, ...], norm: float, exponent: int) -> float:
    """The share of the norm that rounding alone may account for; `norm` is of the kernel times 2**-exponent."""
    if dtype.name == "bfloat16":
        eps, smallest = _BFLOAT16
    else:
        info = np.finfo(_kept(dtype))
        eps, smallest = float(info.eps), float(info.smallest_subnormal)
    underflow = 0.0 if dtype.kind in "iu" else math.ldexp(smallest, -exponent) * math.sqrt(math.prod(shape)) / norm
    return max(eps * max(4, *shape), underflow)


def _exponent(wide: np.ndarray) -> int:
    """The power of two that brings the largest part of an entry to [0.5, 1); 0 for zeros."""
    return int(np.frexp(max(np.abs(wide.real).max(), np.abs(wide.imag).max()))[1])


def _scale(wide: np.ndarray, exponent: int) -> np.ndarray:
    """wide * 2**exponent, in two steps: 2**1074 is no float, though its product with the smallest one is."""
    half = exponent // 2
    return wide * 2.0**half * 2.0 ** (exponent - half)


def _error(dense: np.ndarray, wide: np.ndarray) -> float:
    """|dense - wide| / |wide| in the Frobenius norm, at any scale."""
    if not wide.any():
        return 0.0
    exponent = _exponent(wide)
    scaled = _scale(wide, -exponent)
    return float(np.linalg.norm(_scale(dense.astype(wide.dtype), -exponent) - scaled) / np.linalg.norm(scaled))


def _sums(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of each vector (last axis), and whether it is as good as zero."""
    sums = vectors.sum(-1)
    return sums, np.abs(sums) <= _NO_SUM * np.abs(vectors).sum(-1)


def _phase(vectors: np.ndarray) -> np.ndarray:
    """The sign (complex: the phase) of each vector (last axis): of its sum, or of its last largest weight if that is about zero."""
    sums, none = _sums(vectors)
    size = np.abs(vectors)
    largest = size >= size.max(-1, keepdims=True) * (1 - 1e-6)  # equal but for rounding
    last = vectors.shape[-1] - 1 - np.argmax(largest[..., ::-1], axis=-1)
    lead = np.where(none, np.take_along_axis(vectors, last[..., None], -1)[..., 0], sums)
    return lead / np.abs(lead)  # never zero: vectors of a decomposition have length one


def _carrier(vectors: list[np.ndarray]) -> int:
    """Which factor takes the sign that is left over: the last that sums to about zero, else the last."""
    none = [axis for axis, v in enumerate(vectors) if _sums(v)[1]]
    return none[-1] if none else len(vectors) - 1


def _phases(vectors: list[np.ndarray]) -> list[Any]:
    """For one term, what to multiply each vector with: numbers of size one whose product is one."""
    carrier = _carrier(vectors)
    given = [_phase(v) for v in vectors]
    left = math.prod(p for axis, p in enumerate(given) if axis != carrier)
    return [left if axis == carrier else np.conj(p) for axis, p in enumerate(given)]
