"""The convolutions of `scipy.signal`: the same names, arguments, modes and results, on all cores. SciPy need not be installed.

Sums are taken in the common dtype of both inputs, as in SciPy: integers are exact, and wrap. What SciPy does by an FFT (`method="auto"`,
`oaconvolve`) is summed directly until an FFT is faster, and always for integers and where an FFT would spread an infinity or NaN. The FFT is
`scipy.fft` where SciPy is installed, else `numpy.fft`.

For arrays on a GPU the result is there too; the filter may lie on the host. Sums are then in float64, of integers too, never by an FFT, and skip
taps that are 0.

Other than in SciPy, `lfilter` has no recursive filters; `sepfir2d` refuses what crashes SciPy's; `convolve2d` and `correlate2d` take bools;
`correlate2d` conjugates in2 also where "valid" slides in1 over it; `oaconvolve` does not crop axes that it broadcasts.
"""

from __future__ import annotations

from ._along import lfilter as lfilter
from ._along import sepfir2d as sepfir2d
from ._convolutions import convolve as convolve
from ._convolutions import convolve2d as convolve2d
from ._convolutions import correlate as correlate
from ._convolutions import correlate2d as correlate2d
from ._convolutions import oaconvolve as oaconvolve

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "lfilter", "oaconvolve", "sepfir2d"]


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"sepconv.signal has no {name!r}; it has {', '.join(__all__)}. Others are in scipy.signal")
