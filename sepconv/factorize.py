"""A standard filter bank as a depthwise and a pointwise one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import dtypes
from ._decomposition import bounded, exponent_of, finite, phase_of, relative_error, shifted, widened


@dataclass(frozen=True, eq=False, repr=False)
class FactorizedKernel:
    """A standard filter bank as a depthwise and a pointwise one; what `factorize` returns, and what `separable_convNd` takes.

    depthwise : array (C_in * terms, 1, *k); output channel c * terms + q reads channel c.
    pointwise : array (C_out, C_in * terms).
    terms : depthwise filters per input channel, the channel multiplier.
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


def factorize(weight: np.ndarray, terms: int = 1) -> FactorizedKernel:
    """The depthwise-separable convolution nearest to a standard one.

    A standard filter bank is, for each input channel, a matrix (C_out, prod(k)); one column (a pointwise weight for each output) times one
    row (a depthwise filter) is its nearest matrix of rank 1 in the Frobenius norm, if both are the leading singular pair. `terms`
    pairs are nearest among `terms` filters per channel, and min(C_out, prod(k)) of them are the bank itself, within rounding.

    Parameters
    ----------
    weight : array (C_out, C_in, *k) with one to three kernel sizes, real, complex or integer, finite.
    terms : depthwise filters per input channel, from 1 to min(C_out, prod(k)).

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
    weight = finite("weight", weight, range(3, 6), "(C_out, C_in, *k) with one to three kernel sizes")
    c_out, c_in, *kernel = weight.shape
    terms = bounded("terms", terms, min(c_out, math.prod(kernel)), f"the smaller of C_out = {c_out} and the {math.prod(kernel)} taps of a filter")
    matrices = widened(weight.reshape(c_out, c_in, -1).transpose(1, 0, 2))
    exponent = exponent_of(matrices, (1, 2))
    u, s, v = np.linalg.svd(shifted(matrices, -exponent), full_matrices=False)
    filters, columns = v[:, :terms], u[:, :, :terms].transpose(0, 2, 1)
    share = np.sqrt(s[:, :terms, None]) * 2.0 ** (exponent / 2)
    phase = phase_of(filters)
    dtype = np.dtype(np.float64) if dtypes.KINDS[weight.dtype.name].integer else weight.dtype
    depthwise = (filters * phase.conj() * share).reshape(c_in * terms, 1, *kernel).astype(dtype)
    pointwise = np.ascontiguousarray((columns * phase * share).reshape(c_in * terms, c_out).T).astype(dtype)
    near = FactorizedKernel(depthwise, pointwise, terms, 0.0)
    return FactorizedKernel(depthwise, pointwise, terms, relative_error(near.dense(), weight))
