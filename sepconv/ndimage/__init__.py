"""The linear filters of `scipy.ndimage`: the same names, arguments, modes and results, on all cores. `import sepconv.ndimage as ndi`.

Arrays of any number of axes; bool, integers of 8 to 64 bits, float32, float64, complex64, complex128. SciPy need not be installed.

As in SciPy
    Sums are taken in float64, in SciPy's order, and cast to the output's dtype after each 1-D pass: results equal SciPy's to the last bit, but for
    float32 images, some dense filters of integers, and what is corrected; all three are described below.
    The output has the input's dtype unless another is given; integers are cut toward zero and wrap.
    The n-D filters skip taps that are zero: a NaN under such a tap does not show. The 1-D filters do not skip them.
    `correlate` and `correlate1d` conjugate complex weights, `convolve` and `convolve1d` do not.
    Where `axes` is not sorted, `size`, `sigma`, `mode` and `origin` are in its order, the axes of n-D weights in the array's.
    64-bit integers beyond 2**53 are rounded.

Sums in float32
    float32 images of 4096 pixels or more (and the parts of complex64 ones), and uint8, int8, uint16 and int16 images with a float32 output, are
    summed in float32 by 1-D filters of up to 128 taps and by 2-D ones of up to 512. After each pass of k taps the result is within
    (k + 3) * 2**-24 * sum(|w| * |x|) of the exact one, where SciPy's is within 2**-24 of itself; a mean over two axes is within as much of the exact
    mean of the box. Sums of the order of 1e38 may overflow. `laplace` of an image counts as one 2-D filter. 2-D filters of more taps go through the
    frequencies where SciPy is installed, and are then within 2**-20 * max(|x|) * sum(|w|).

Integers
    uint8 images come out as SciPy's all the same: where float32 leaves a result in doubt, it is summed again in float64. Dense 2-D filters of other
    narrow integers, of uint8 into other integers, and of uint8 with more than 400 taps equal SciPy's if the weights are whole numbers; else they
    are within 1.

Inside `exact()` all is summed as in SciPy.

A large n-D kernel that is an outer product of vectors, to rounding, runs as 1-D passes with float64 between them, or float32 in float32 images:
results agree to rounding, and to the bit where they are integers. `sepconv.explain` tells when.

What a call has found out is kept: the next one with equal arguments and arrays laid out alike costs some 10 microseconds besides the sums.

Corrected, where SciPy is wrong
    Weights count as symmetric by the size of the largest, not by 2.2e-16 whatever they are: filters of tiny weights keep them.
    The n-D filters do not drop taps of up to 2.2e-16, nor a NaN among the weights.
    Uniform filters do not pile up rounding along a line, and a NaN or an infinity spoils its own windows alone.
    The n-D filters read nothing outside the array, whatever the size of filter and array.
    bool results are bools.
    `gaussian_gradient_magnitude` with `axes` smooths along these, not along all; its sigmas and those of `gaussian_laplace` go with them.
    A complex output that is the input, and a Laplacian or gradient magnitude whose output is the input, are right.

Left out
    Masked arrays and matrices are a TypeError: SciPy drops their meaning. Filters that are not linear are in `scipy.ndimage`.
"""

from __future__ import annotations

from ._arguments import exact as exact
from ._derivatives import gaussian_gradient_magnitude as gaussian_gradient_magnitude
from ._derivatives import gaussian_laplace as gaussian_laplace
from ._derivatives import generic_gradient_magnitude as generic_gradient_magnitude
from ._derivatives import generic_laplace as generic_laplace
from ._derivatives import laplace as laplace
from ._derivatives import prewitt as prewitt
from ._derivatives import sobel as sobel
from ._linear import convolve as convolve
from ._linear import convolve1d as convolve1d
from ._linear import correlate as correlate
from ._linear import correlate1d as correlate1d
from ._linear import gaussian_filter as gaussian_filter
from ._linear import gaussian_filter1d as gaussian_filter1d
from ._linear import uniform_filter as uniform_filter
from ._linear import uniform_filter1d as uniform_filter1d

__all__ = [
    "convolve", "convolve1d", "correlate", "correlate1d", "gaussian_filter", "gaussian_filter1d", "gaussian_gradient_magnitude",
    "gaussian_laplace", "generic_gradient_magnitude", "generic_laplace", "laplace", "prewitt", "sobel", "uniform_filter", "uniform_filter1d",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"sepconv.ndimage has no {name!r}; it has the linear filters {', '.join(__all__)}. Others are in scipy.ndimage")


def __dir__() -> list[str]:
    return [*__all__, "exact"]
