"""The convolutions of `scipy.signal`: the same names, arguments, modes and results, on all cores. SciPy need not be installed.

Sums are taken in the common dtype of both inputs, as SciPy takes them: integers wrap, and are exact otherwise. What SciPy leaves to its FFT
(`method="auto"`, `oaconvolve`) is summed directly until it is so much that an FFT wins, and always for integers and where an infinity or NaN
would spread; the FFT is `scipy.fft` where SciPy is installed, else `numpy.fft`.

Arrays on a GPU come back there; what slides over them, filters and taps, may lie on the host. Sums are in float64 there, of integers too, never by
an FFT, and leave out taps that are 0.

Not as in SciPy: `lfilter` has no recursive filters; `sepfir2d` refuses what crashes SciPy's; `convolve2d` and `correlate2d` take bools, too;
`correlate2d` conjugates in2 also where "valid" slides in1 over it; `oaconvolve` crops no axis that it broadcast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _signal_device as device
from . import ops
from ._fourier import convolved
from .backends.filters import Pass
from .dispatch import explaining
from .ndimage import _arguments as arguments
from .ndimage._arguments import filter_function

Array = Any
Pads = list[tuple[int, int]]
MODES = ("full", "same", "valid")
BOUNDARIES = {
    "fill": "constant", "wrap": "wrap", "circular": "wrap", "symm": "symmetric", "symmetric": "symmetric",
}  # fmt: skip
METHODS = ("auto", "direct", "fft")
TUNED = 7  # lines of taps up to which a kernel is compiled for their number
LARGE = 4096  # taps from which an FFT is faster, all axes together; measured on images and signals of a million points

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "lfilter", "oaconvolve", "sepfir2d"]


def _choice(name: str, value: Any, allowed: Any) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {value!r}; Acceptable {name} flags are {', '.join(allowed)}")
    return value


def _pair(in1: Any, in2: Any, ndim: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    if device.has(in2) and not device.has(in1):
        raise TypeError(f"in1 is a {type(in1).__name__}; allowed is an array on a GPU, as in2 is one")
    x, w = device.image("in1", in1), arguments.array("in2", in2)
    if ndim is not None and not x.ndim == w.ndim == ndim:
        raise ValueError(f"inputs must both be {ndim}-D arrays; in1 has the shape {x.shape}, in2 {w.shape}")
    if x.ndim != w.ndim:
        raise ValueError(f"in1 and in2 should have the same dimensionality; they have the shapes {x.shape} and {w.shape}")
    for name, array in (("in1", x), ("in2", w)):
        if array.dtype.name not in (*arguments.REAL, *arguments.COMPLEX, "float16"):
            raise TypeError(f"{name} has dtype {array.dtype}; allowed are float16, {', '.join((*arguments.REAL, *arguments.COMPLEX))}")
        if array.size == 0:
            raise ValueError(f"{name} has the shape {array.shape}; every size has to be at least 1")
    if not isinstance(x, np.ndarray) and "float16" in (x.dtype.name, w.dtype.name):
        raise TypeError(f"in1 has dtype {x.dtype}, in2 {w.dtype}; float16 is not summed on a GPU here")
    return x, w


def _swapped(mode: str, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether "valid" has to slide the first over the second; ValueError if neither fits into the other."""
    if mode != "valid" or all(n >= k for n, k in zip(x.shape, w.shape)):
        return False
    if all(n <= k for n, k in zip(x.shape, w.shape)):
        if not isinstance(x, np.ndarray):
            raise ValueError(f"in2 has the shape {w.shape}; allowed is, on a GPU with mode 'valid', one no larger than in1, {x.shape}")
        return True
    raise ValueError(f"For 'valid' mode, one must be at least as large as the other in every dimension; in1 has the shape {x.shape}, in2 {w.shape}")


def _shorter_first(mode: str, x: np.ndarray, w: np.ndarray) -> bool:
    """Whether the two change places where that is left to us: "full" is the same either way, and fewer sums a result are more exact."""
    return _swapped(mode, x, w) or (mode == "full" and w.size > x.size)


def _pads(mode: str, kernel: tuple[int, ...], late: bool = False) -> Pads:
    """What a correlation reads before and after the array. `late`: "same" of an even kernel begins one later, as `correlate2d`'s does."""
    if mode == "valid":
        return [(0, 0) for _ in kernel]
    start = [0 if mode == "full" else k // 2 if late else (k - 1) // 2 for k in kernel]
    return [(k - 1 - s, k - 1 if mode == "full" else s) for k, s in zip(kernel, start)]


def _sums(x: np.ndarray, w: np.ndarray, pads: Pads, border: str = "constant") -> np.ndarray:
    """The correlation, not conjugated, in the common dtype."""
    dtype = np.result_type(x, w)
    if dtype.kind in "iu" and dtype.itemsize > 2:
        return _exact(x.astype(dtype, copy=False), w.astype(dtype, copy=False), pads, border)
    if dtype.name in ("float32", "float64") and border == "constant" and x.ndim <= 3 and w.shape[-2:-1] <= (TUNED,):
        return _tuned(x.astype(dtype, copy=False), w.astype(dtype, copy=False), pads, border)
    if border != "constant" and any(n + a + b - k + 1 > n for n, k, (a, b) in zip(x.shape, w.shape, pads)):
        x, pads = np.pad(x, pads, border), _pads("valid", w.shape)
    return _dense(x, w, pads, "reflect" if border == "symmetric" else border, dtype)


def _tuned(x: np.ndarray, w: np.ndarray, pads: Pads, border: str) -> np.ndarray:
    """As a depthwise convolution of one channel, whose kernels are made for a number of lines of taps, or wrap as integers do."""
    fn = (ops.depthwise_conv1d, ops.depthwise_conv2d, ops.depthwise_conv3d)[x.ndim - 1]
    told = fn(x[None], w[None, None], padding=tuple(pads), padding_mode=border)
    if explaining():
        raise arguments.Told(told)
    return told[0]


def _exact(x: np.ndarray, w: np.ndarray, pads: Pads, border: str) -> np.ndarray:
    """Wide integers, which float64 does not hold. More than three axes: over the taps of the first, sums of correlations over the others."""
    if x.ndim <= 3:
        return _tuned(x, w, pads, border)
    (before, after), *rest = pads
    parts = []
    for i in range(x.shape[0] + before + after - w.shape[0] + 1):
        terms = [_exact(x[i + j - before], w[j], rest, border) for j in range(w.shape[0]) if 0 <= i + j - before < x.shape[0]]
        parts.append(sum(terms[1:], terms[0]))
    return np.stack(parts)


def _dense(x: np.ndarray, w: np.ndarray, pads: Pads, border: str, dtype: np.dtype) -> np.ndarray:
    """By the filters of `sepconv.ndimage`, which sum in float64, for any size of kernel and any number of axes."""
    size = [n + a + b - k + 1 for n, k, (a, b) in zip(x.shape, w.shape, pads)]
    if any(m > n for m, n in zip(size, x.shape)):  # filters have as many outputs as inputs
        x = np.pad(x, [(0, max(0, m - n)) for m, n in zip(size, x.shape)])
    x = x.astype(np.float32) if x.dtype == np.float16 else x.astype(np.complex128, copy=False) if x.dtype.kind == "c" else x
    w = w.astype(np.complex128 if w.dtype.kind == "c" else np.float64)
    # Of double precision, complex64's parts too: in float32 large ones might go through the frequencies, unasked.
    output = np.empty(x.shape, np.complex128 if dtype.kind == "c" else np.int64 if dtype.kind in "iub" else np.float64)
    origins = [a - k // 2 for k, (a, _) in zip(w.shape, pads)]

    def real(part: np.ndarray, taps: np.ndarray, to: np.ndarray, cval: Any) -> None:
        arguments.run_dense(part, to, np.ascontiguousarray(taps), arguments.mode_code(border), 0.0, origins)
        if part.dtype.kind == "f" and (taps == 0).any() and not np.isfinite(part).all():
            unseen = np.empty(part.shape)  # filters leave out taps of zero, which here make a NaN of what is not finite
            strange = np.where(np.isfinite(part), 0.0, np.nan)
            arguments.run_dense(strange, unseen, np.ascontiguousarray(taps == 0, np.float64), arguments.mode_code(border), 0.0, origins)
            to += unseen

    if dtype.kind == "c":
        arguments.by_parts(real, x, w, output, 0j if x.dtype.kind == "c" else 0.0)
    else:
        real(x, w, output, 0.0)
    return output[tuple(slice(0, m) for m in size)].astype(dtype)


def _flip(w: np.ndarray) -> np.ndarray:
    return w[(slice(None, None, -1),) * w.ndim]


def _transformed(x: np.ndarray, w: np.ndarray, method: str) -> bool:
    """Whether the convolution is to be done by an FFT."""
    if method != "auto" or explaining():
        return method == "fft"
    if np.result_type(x, w).kind not in "fc" or min(x.size, w.size) < LARGE:
        return False
    return bool(np.isfinite(x).all() and np.isfinite(w).all())


def _either(x: np.ndarray, w: np.ndarray, pads: Pads, method: str) -> np.ndarray:
    """The correlation, not conjugated, by sums or by an FFT."""
    if not _transformed(x, w, method):
        return _sums(x, w, pads)
    dtype = np.result_type(x, w)
    wide = np.dtype(np.float64) if dtype.kind in "iub" else np.dtype(np.float32) if dtype == np.float16 else dtype
    whole = convolved(x.astype(wide, copy=False), _flip(w).astype(wide, copy=False), range(x.ndim))
    parts = tuple(slice(k - 1 - a, n + b) for n, k, (a, b) in zip(x.shape, w.shape, pads))
    return (np.rint(whole[parts]) if dtype.kind in "iub" else whole[parts]).astype(dtype, copy=False)


def _there(mode: str, x: Any, w: np.ndarray, dtype: np.dtype | None = None) -> Any:
    """The correlation, not conjugated, on a GPU."""
    _swapped(mode, x, w)
    return device.correlated(x, w, _pads(mode, w.shape), "constant", dtype or np.result_type(x.dtype, w)).owner


@filter_function
def convolve(in1: Array, in2: Array, mode: str = "full", method: str = "auto") -> Array:
    """n-D convolution of two arrays with as many axes.

    Parameters
    ----------
    in1, in2 : arrays, real or complex.
    mode : "full": wherever they overlap, n + k - 1 outputs an axis; "same": the middle of that, as large as in1; "valid": where one lies
        in the other, n - k + 1.
    method : "direct": sums; "fft": through the frequencies; "auto": the faster one, and sums where the other would not be exact enough.

    Returns
    -------
    array of the common dtype of both.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.

    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES), _choice("method", method, METHODS)
    if not isinstance(x, np.ndarray):
        return _there(mode, x, _flip(w))
    if not x.ndim:
        return x * w
    if _shorter_first(mode, x, w):
        x, w = w, x
    return _either(x, _flip(w), _pads(mode, w.shape), method)


@filter_function
def correlate(in1: Array, in2: Array, mode: str = "full", method: str = "auto") -> Array:
    """n-D cross-correlation: `convolve` with in2 turned round and conjugated; arguments and errors as there.

    >>> correlate([1, 2, 3], [0, 1, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES), _choice("method", method, METHODS)
    if not isinstance(x, np.ndarray):
        return _there(mode, x, w.conj())
    if not x.ndim:
        return x * w.conj()
    if _shorter_first(mode, x, w):
        return _flip(_either(w, x.conj(), _pads(mode, x.shape), method).conj()).copy()
    return _either(x, w.conj(), _pads(mode, w.shape), method)


def _plane(in1: Array, in2: Array, mode: Any, boundary: Any, fillvalue: Any, flip: bool) -> np.ndarray:
    x, w = _pair(in1, in2, 2)
    border = BOUNDARIES[_choice("boundary", boundary, BOUNDARIES)]
    _choice("mode", mode, MODES)
    swap = _swapped(mode, x, w)
    if swap:
        x, w = w, x
    fill = np.asarray(fillvalue)
    if fill.size != 1:
        raise ValueError(f"fillvalue is {fillvalue!r}; `fillvalue` must be scalar or an array with one element.")
    dtype = np.result_type(x.dtype, w)
    if not np.can_cast(fill.dtype, dtype, "same_kind") and fill.dtype.kind not in "iub":
        if fill.dtype.kind == "c" or dtype.kind in "iub" and fill.item() != int(fill.item()):
            raise ValueError(f"could not cast `fillvalue` directly to the output type: it is {fillvalue!r}, for {dtype}")
    pads = _pads(mode, w.shape, late=not flip)
    if not isinstance(x, np.ndarray):
        return device.correlated(x, _flip(w) if flip else w.conj(), pads, border, dtype, fill.item()).owner
    if border == "constant" and fill.item() != 0:
        x = np.pad(x.astype(dtype), pads, constant_values=fill.item())
        pads = _pads("valid", w.shape)
    if flip:
        return _sums(x, _flip(w), pads, border)
    if swap:  # in2 was the larger: what slides is in1
        return _flip(_sums(x.conj(), w, pads, border)).copy()
    return _sums(x, w.conj(), pads, border)


@filter_function
def convolve2d(in1: Array, in2: Array, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """2-D convolution of arrays (H, W) and (kh, kw), with a border.

    mode : as in `convolve`.
    boundary : what lies beyond the edge of in1: "fill" (fillvalue), "wrap" or "circular", "symm" or "symmetric".
    fillvalue : number.

    >>> convolve2d(numpy.eye(3), [[1, 2]], mode="same", boundary="wrap")
    array([[2., 0., 1.],
           [1., 2., 0.],
           [0., 1., 2.]])
    """
    return _plane(in1, in2, mode, boundary, fillvalue, True)


@filter_function
def correlate2d(in1: Array, in2: Array, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """2-D cross-correlation: `convolve2d` with in2 turned round and conjugated; arguments and errors as there.

    "same" with an even number of taps begins one later than `correlate` does, as in SciPy.

    >>> correlate2d(numpy.eye(3), [[1, 2]], mode="valid")
    array([[1., 0.],
           [2., 1.],
           [0., 2.]])
    """
    return _plane(in1, in2, mode, boundary, fillvalue, False)


def _broadcast(x: np.ndarray, w: np.ndarray, axes: Any) -> tuple[int, ...]:
    """The axes to convolve along; on the others the shapes have to go together."""
    found = arguments.axis_numbers(axes, x.ndim)
    for axis in range(x.ndim):
        if axis not in found and x.shape[axis] != w.shape[axis] and 1 not in (x.shape[axis], w.shape[axis]):
            raise ValueError(f"incompatible shapes for in1 and in2: {x.shape} and {w.shape} differ along the axis {axis}, which is not in axes")
    return found


@filter_function
def oaconvolve(in1: Array, in2: Array, mode: str = "full", axes: Any = None) -> Array:
    """Convolution along `axes` (None: all) of arrays of which one is much longer, with the other axes broadcast; mode as in `convolve`.

    Blocks of the longer one go through the frequencies (overlap-add); sums are taken where that is as fast. Integers give float64.

    >>> oaconvolve(numpy.ones(100_000), numpy.ones(1_000), mode="same").shape
    (100000,)
    """
    x, w = _pair(in1, in2)
    _choice("mode", mode, MODES)
    if isinstance(x, np.ndarray) and not x.ndim:
        return x * w
    along, common = _broadcast(x, w, axes), np.result_type(x.dtype, w)
    dtype = np.result_type(common, np.float32 if common.kind in "fc" else np.float64)
    if not isinstance(x, np.ndarray):
        if any(w.shape[axis] > 1 for axis in range(x.ndim) if axis not in along):
            raise ValueError(f"in2 has the shape {w.shape}; allowed is, on a GPU, 1 along the axes that are not in axes: {axes!r}")
        return _there(mode, x, _flip(w), dtype)
    x, w = x.astype(dtype, copy=False), w.astype(dtype, copy=False)
    if mode == "valid" and _swapped(mode, *(np.empty([a.shape[axis] for axis in along]) for a in (x, w))):
        x, w = w, x
    if len(along) == x.ndim and not _transformed(x, w, "auto"):
        return _sums(x, _flip(w), _pads(mode, w.shape))
    whole = convolved(x, w, along)
    pads = _pads(mode, w.shape)
    parts = tuple(slice(w.shape[axis] - 1 - pads[axis][0], x.shape[axis] + pads[axis][1]) if axis in along else slice(None) for axis in range(x.ndim))
    return np.ascontiguousarray(whole[parts])


# --- filters along an axis ------------------------------------------------------------------------------------------


def _floating(name: str, value: Any) -> np.ndarray:
    return _numeric(name, device.image(name, value) if name in ("input", "x", "zi") else arguments.array(name, value))


def _numeric(name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.name not in (*arguments.REAL, *arguments.COMPLEX):
        raise TypeError(f"{name} has dtype {x.dtype}; allowed are {', '.join((*arguments.REAL, *arguments.COMPLEX))}")
    return x


@filter_function
def sepfir2d(input: Array, hrow: Array, hcol: Array) -> Array:
    """Convolution of the rows of an image (H, W) with hrow and of its columns with hcol, the image mirrored at its edges (d c b a | a b c d).

    hrow, hcol : arrays (k,), k odd, no longer than 2 * W + 1 and 2 * H + 1. Returns float32 for narrow integers and float32, else float64, or
    complex as the input is. ValueError, TypeError : even or longer filters (which write outside memory in SciPy), complex filters, an empty image.

    >>> sepfir2d(numpy.eye(3), [1, 2, 1], [0, 1, 0])
    array([[3., 1., 0.],
           [1., 2., 1.],
           [0., 1., 3.]])
    """
    x = _floating("input", input)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"input has the shape {x.shape}; allowed is (H, W), both at least 1")
    passes = []
    for name, taps, axis in (("hrow", hrow, 1), ("hcol", hcol, 0)):
        h = _floating(name, taps)
        if h.dtype.kind == "c":
            raise TypeError(f"{name} has dtype {h.dtype}; allowed are real filters")
        if h.ndim != 1 or len(h) % 2 == 0 or len(h) // 2 > x.shape[axis]:
            raise ValueError(f"{name} has the shape {h.shape}; hrow and hcol must be odd length, 1-D, and at most {2 * x.shape[axis] + 1} long here")
        weights = np.ascontiguousarray(h[::-1], np.float64)
        passes.append(arguments.make_pass(axis, len(h), weights, "reflect", 0.0, 0, ""))
    narrow = x.dtype.name in ("float32", "complex64") or (x.dtype.kind in "iub" and x.dtype.itemsize <= 2)
    dtype = np.dtype(("c" if x.dtype.kind == "c" else "f") + str((4 if narrow else 8) * (1 + (x.dtype.kind == "c"))))
    output = arguments.new(x, dtype)
    arguments.run_passes(x, output, passes)
    return output if isinstance(x, np.ndarray) else output.owner


@filter_function
def lfilter(b: Array, a: Array, x: Array, axis: int = -1, zi: Array | None = None) -> Any:
    """FIR filter along an axis: y[n] = (b[0] x[n] + b[1] x[n - 1] + ...) / a.

    Parameters
    ----------
    b : array (k,); a : number, or array (1,), or one whose other entries are 0. Recursive filters are a ValueError naming a.
    x : array of one axis or more.
    zi : state, what is added to the first k - 1 outputs: x's shape with k - 1 along `axis` (ones are broadcast); None: 0.

    Returns
    -------
    y, of x's shape and the common dtype, at least float32; with zi, (y, the state after).

    >>> lfilter([1, 2], 1, [1.0, 0.0, 0.0])
    array([1., 2., 0.])
    """
    b, a, x = _floating("b", b), np.atleast_1d(_floating("a", a)), _floating("x", x)
    b = np.atleast_1d(b)
    if x.ndim == 0:
        raise ValueError("x must be at least 1-D, but is a number")
    for name, taps in (("b", b), ("a", a)):
        if taps.ndim != 1 or taps.size == 0:
            raise ValueError(f"Parameter {name} is not a non-empty 1d array, since {name}.shape={taps.shape}!")
    if a[0] == 0 or a[1:].any():
        raise ValueError(f"a is {a!r}; allowed is a number that is not 0, or an array whose other entries are: recursive filters are not here")
    b = np.concatenate([b, np.zeros(max(0, len(a) - len(b)), b.dtype)])
    number, k = arguments.axis_number(axis, x.ndim), len(b)
    zi = None if zi is None else _floating("zi", zi)
    if zi is not None and isinstance(x, np.ndarray) != isinstance(zi, np.ndarray):
        raise TypeError(f"zi lies elsewhere than x; allowed are both on a GPU, or neither: {zi!r}")
    dtype = np.result_type(b, a, x.dtype) if zi is None else np.result_type(b, a, x.dtype, zi.dtype)
    dtype = dtype if dtype.kind in "fc" else np.dtype(np.float64)
    taps = (b / a[0]).astype(np.complex128 if dtype.kind == "c" and b.dtype.kind == "c" or a.dtype.kind == "c" else np.float64)
    state = None if zi is None else _state(zi, x.shape, number, k)

    def real(part: np.ndarray, w: np.ndarray, to: np.ndarray, cval: Any) -> None:
        turned = np.ascontiguousarray(w[::-1])
        arguments.run_passes(part, to, [Pass(number, k, turned, arguments.CONSTANT, 0.0, (k - 1) // 2)])

    def run(x: np.ndarray, y: np.ndarray) -> None:
        if dtype.kind == "c":
            arguments.by_parts(real, x, taps, y, 0j)
        else:
            real(x, taps, y, 0.0)

    if not isinstance(x, np.ndarray):
        return device.along(x, k, number, dtype, state, run)
    if state is not None:
        x = np.concatenate([x, np.zeros(state.shape, x.dtype)], number)
    y = np.empty(x.shape, dtype)
    run(x.astype(dtype, copy=False) if dtype.kind == "c" else x, y)
    if state is None:
        return y
    head = (slice(None),) * number
    y[(*head, slice(0, k - 1))] += state
    n = y.shape[number] - (k - 1)
    return y[(*head, slice(0, n))], y[(*head, slice(n, None))].copy()


def _state(zi: np.ndarray, shape: tuple[int, ...], axis: int, taps: int) -> np.ndarray:
    wanted = (*shape[:axis], taps - 1, *shape[axis + 1 :])
    if zi.ndim != len(shape) or any(n not in (m, 1) for n, m in zip(zi.shape, wanted)) or zi.shape[axis] != taps - 1:
        raise ValueError(f"Unexpected shape for zi: expected {wanted}, found {zi.shape}.")
    return np.broadcast_to(zi, wanted) if isinstance(zi, np.ndarray) else device.spread(zi, wanted)


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(f"sepconv.signal has no {name!r}; it has {', '.join(__all__)}. Others are in scipy.signal")
