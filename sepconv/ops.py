"""The functions users call: each builds the Problem and gives it to the backend of x.

ops -> Problem -> dispatch -> backend -> kernel -> out. What is checked and chosen once is remembered here, by shapes, strides, dtypes and
options, as a callable that the backend made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import dispatch, overlap
from .cache import Cache
from .problem import ARRAYS, LAYOUTS, Problem, resolve

Array = Any  # whatever a backend takes; the result is of x's kind
_calls: Cache[Any] = Cache(4096)


# --- documentation, written once for the three dimensions --------------------------------------------------------

_SHARED = {
    "x": """x : array, {first} ("{layout_first}") or {last} ("{layout_last}"); the batch axis may be absent.
        Any strides, alignment and byte order are taken as they are. float32 and float64 run at full speed; float16 and bfloat16 are
        stored in 16 bits and summed in float32; complex64, complex128; int8 to uint16 return int32, wider integers stay and wrap.
        Mixed dtypes are computed in `numpy.result_type`.""",
    "geometry": """stride, dilation : int, or one an axis.
    padding : int; one int an axis; a (before, after) pair an axis; "valid"; "same" (TensorFlow's SAME and ONNX' SAME_UPPER: output
        ceil(n / stride), the smaller half before); "same_lower"{causal}. A 1-D pair of ints is (before, after). PyTorch models with a stride
        want explicit numbers: for n = 6, k = 3, stride = 2, "same" pads (0, 1), `padding=1` pads (1, 1).
    padding_mode : "constant" (zeros), "edge", "reflect", "symmetric", "wrap", as in `numpy.pad`; "zeros", "replicate", "circular" are
        PyTorch's names. Padding wider than x repeats. No padded copy is made.""",
    "rest": """layout : None, "{layout_first}" or "{layout_last}"; None means channels first. Which kernel runs is decided by the strides of x.
    activation : None, "relu", "relu6", "leaky_relu", "silu", "gelu", "hard_swish", "hard_sigmoid", "sigmoid", "tanh" or ("clip", lo, hi).
    out : array of the result's shape and dtype, any strides, or None. It may not overlap an input (residual itself excepted).

    Returns
    -------
    The array {result}, or `out`. Where x's memory is channels last, so is a new result's.

    Raises
    ------
    ValueError, TypeError : before any work, naming the argument, its value and what is allowed.""",
}


def _documented(dims: int) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Fills the pieces that all functions share, and the names of the axes, into a docstring."""
    first, last = LAYOUTS[dims]
    names = {"N": "N", "C": "C", "D": "D", "H": "H", "W": "W"}
    shape = lambda layout: "(" + ", ".join(names[a] for a in layout) + ")"  # noqa: E731
    words = dict(
        first=shape(first), last=shape(last), layout_first=first, layout_last=last, dims=dims, ones=", 1" * dims,
        k={1: "k", 2: "kh, kw", 3: "kd, kh, kw"}[dims], causal=', "causal" (k - 1 zeros before)' if dims == 1 else "",
        sizes={1: "16", 2: "8, 8", 3: "4, 8, 8"}[dims], taps={1: "3", 2: "3, 3", 3: "3, 3, 3"}[dims],
        result="(N, C_out, *out_size) or (N, *out_size, C_out)",
    )  # fmt: skip

    def fill(function: Callable[..., Array]) -> Callable[..., Array]:
        text = function.__doc__ or ""
        for name, piece in _SHARED.items():
            text = text.replace(f"<{name}>", piece)
        function.__doc__ = text.format(**words)
        return function

    return fill


# --- the way of a call -------------------------------------------------------------------------------------------


NAMES = {**dict.fromkeys(("standard", "depthwise", "pointwise"), ARRAYS[1]), "separable": ARRAYS[2]}

REQUIRED = ("x", "weight", "depthwise", "pointwise")


def _token(options: tuple[Any, ...]) -> Any:
    """The options as part of a cache key: equal numbers of different types (1, True, 1.0) must not meet there."""
    for value in options:
        cls = value.__class__
        if cls is not int and cls is not str and value is not None and not (cls is tuple and {v.__class__ for v in value} == {int}):
            return repr([(v.__class__, v) for v in options])
    return options


def lies(*arrays: Any) -> tuple[Any, ...] | None:
    """All that a call depends on of its arrays but the addresses; None if one has to be looked at first."""
    parts: list[Any] = []
    for array in arrays:
        if array is None:
            parts.append(None)
        elif array.__class__ is np.ndarray:
            parts += (array.shape, array.strides, array.dtype)
        else:
            return None
    return tuple(parts)


def _run(kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...]) -> Any:
    """Every public function ends here."""
    key = lies(*arrays, out)
    return run(_calls, None if key is None else (kind, dims, _token(options), key), kind, dims, arrays, out, options)


def run(calls: Cache[Any], key: Any, kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...],
        kept: dict[Any, Any] | None = None) -> Any:  # fmt: skip
    """What is checked and chosen once for a key is a callable of the backend's, and remembered.

    `kept` is given by a caller whose weights never change: the backend may keep there what it makes of them.
    """
    if not dispatch.ordinary():
        if dispatch.asked() == "arguments":
            return kind, dims, arrays, options
        return _first_run(kind, dims, arrays, out, options)[0]
    if key is None:
        return _run_admitted(kind, dims, arrays, out, options)
    call = calls.get(key)
    if call is not None:
        return call(*arrays, out)
    result, call = _first_run(kind, dims, arrays, out, options)
    if kept is not None and hasattr(call, "hold"):
        call.hold(kept)
    calls[key] = call
    return result


def _run_admitted(kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...]) -> Any:
    """The same for arrays that have to be looked at every time: remembered is what their backend's `signature` tells apart."""
    backend = dispatch.find(arrays[0])
    if not hasattr(backend, "signature"):
        return _first_run(kind, dims, arrays, out, options)[0]
    given = _admitted(backend, kind, arrays, out)
    key = (kind, dims, _token(options), backend, *(None if array is None else backend.signature(array) for array in given))
    call = _calls.get(key)
    if call is None:
        result, _calls[key] = _first_run(kind, dims, arrays, out, options)
        return result
    result = call(*given)
    return result if out is None else out


def _admitted(backend: Any, kind: str, arrays: tuple[Any, ...], out: Any) -> list[Any]:
    """The arrays and out as the backend takes them; an argument that may be absent is, if it is None."""
    admit = getattr(backend, "admit", dispatch.admit)
    named = zip((*NAMES[kind], "out"), (*arrays, out))
    return [None if array is None and name not in REQUIRED else admit(name, array) for name, array in named]


def _first_run(kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...]) -> tuple[Any, Any]:
    """Checks everything, then runs: the result, and the callable for more calls like it. If `explain` asks: an Explanation."""
    backend = dispatch.find(arrays[0])
    *given, target = _admitted(backend, kind, arrays, out)
    described = [None if array is None else (array.shape, array.dtype) for array in given]
    problems = (_resolve_separable if kind == "separable" else _resolve)(kind, dims, described, options)
    if target is not None:
        overlap.check(problems[-1], target, tuple(zip(NAMES[kind][:-1], given)), given[-1])
    if dispatch.explaining():
        return Explanation(backend, problems, backend.explain(problems, given, target), arrays[0]), None
    call = backend.bind(problems, given, target)
    result = call(*given, target)
    return (result if out is None else out), call


def _resolve(kind: str, dims: int, described: list[Any], options: tuple[Any, ...]) -> list[Problem]:
    stride, padding, dilation, groups, mode, layout, activation = options
    return [
        resolve(
            kind,
            dims,
            *described,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=mode,
            layout=layout,
            activation=activation,
        )  # fmt: skip
    ]


def _resolve_separable(kind: str, dims: int, described: list[Any], options: tuple[Any, ...]) -> list[Problem]:
    """The two halves; both are computed in the common dtype of x and the two weights."""
    x, depthwise, depthwise_bias, pointwise, bias, residual = described
    stride, padding, dilation, mode, layout, middle, activation = options
    others = {"pointwise": pointwise[1]}
    first = resolve(
        "depthwise", dims, x, depthwise, depthwise_bias, stride=stride, padding=padding, dilation=dilation, padding_mode=mode,
        layout=layout, activation=middle, names=("depthwise", "depthwise_bias", "depthwise_activation"), others=others,
    )  # fmt: skip
    second = resolve(
        "pointwise", dims, (first.out_shape, first.result), (pointwise[0], first.result), bias, residual, layout=layout,
        activation=activation, names=("pointwise", "bias", "activation"),
    )  # fmt: skip
    return [first, second]


class Explanation:
    """What a call would run, and why: `str()` of it is for people, `lines` and `problems` for programs."""

    def __init__(self, backend: Any, problems: list[Problem], lines: list[str], x: Any) -> None:
        self.backend = getattr(backend, "__name__", type(backend).__name__).rsplit(".", 1)[-1]
        self.problems, self.lines = problems, list(lines)
        self._x = f"{type(x).__module__}.{type(x).__name__}"

    def __str__(self) -> str:
        head = [f"{self._x} -> backend {self.backend}"]
        for p in self.problems:
            x, k = "x".join(map(str, p.in_size)), "x".join(map(str, p.kernel))
            out = "x".join(map(str, p.out_size))
            head.append(
                f"{p.kind}: {p.batch} x {p.in_channels} channels of {x}, kernel {k} -> {p.out_channels} channels of {out}, "
                f"{p.dtype} -> {p.result}, {p.macs:,} MACs"
            )
        return "\n".join(head + ["  " + line for line in self.lines])

    __repr__ = __str__


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """What `fn(*args, **kwargs)` would run, and why; nothing is computed. The arguments are checked as in the call itself.

    >>> print(sepconv.explain(sepconv.conv2d, x, weight, stride=2))

    TypeError if `fn` is not a function of sepconv.
    """
    if not callable(fn) or not str(getattr(fn, "__module__", "")).startswith("sepconv"):
        raise TypeError(f"fn is {fn!r}; allowed are the functions of sepconv, such as sepconv.conv2d")
    with dispatch.asking("explain"):
        told = fn(*args, **kwargs)
    if not isinstance(told, Explanation):
        raise TypeError(f"fn is {fn.__name__}, which computes no convolution; allowed are functions such as sepconv.conv2d")
    return told


# --- the functions -------------------------------------------------------------------------------------------------


@_documented(1)
def conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    """Standard convolution in 1-D, a correlation: the filter is not flipped.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in / groups, {k}), channels first whatever the layout.
    bias : array (C_out,), or None.
    <geometry>
    groups : int; it divides C_in and C_out, and each group of outputs reads its own group of inputs.
    <rest>

    Example
    -------
    >>> sepconv.conv1d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3, {taps})), padding="same").shape[1]
    16
    """
    return _run("standard", 1, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


@_documented(2)
def conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    """Standard convolution in 2-D, a correlation: the filter is not flipped.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in / groups, {k}), channels first whatever the layout.
    bias : array (C_out,), or None.
    <geometry>
    groups : int; it divides C_in and C_out, and each group of outputs reads its own group of inputs.
    <rest>

    Example
    -------
    >>> sepconv.conv2d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3, {taps})), padding="same").shape[1]
    16
    """
    return _run("standard", 2, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


@_documented(3)
def conv3d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
           padding_mode: str = "constant", layout: str | None = None, activation: Any = None, out: Array | None = None) -> Array:  # fmt: skip
    """Standard convolution in 3-D, a correlation: the filter is not flipped.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in / groups, {k}), channels first whatever the layout.
    bias : array (C_out,), or None.
    <geometry>
    groups : int; it divides C_in and C_out, and each group of outputs reads its own group of inputs.
    <rest>

    Example
    -------
    >>> sepconv.conv3d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3, {taps})), padding="same").shape[1]
    16
    """
    return _run("standard", 3, (x, weight, bias, None), out, (stride, padding, dilation, groups, padding_mode, layout, activation))


@_documented(1)
def depthwise_conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise convolution in 1-D: every channel has its own filters. To filter a stack of images, see also `sepconv.conv1d`.

    Parameters
    ----------
    <x>
    weight : array (C * m, 1, {k}) or, for m = 1, (C, {k}), channels first whatever the layout. Output channel c * m + q reads input
        channel c.
    bias : array (C * m,), or None.
    <geometry>
    <rest>

    Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, section 2.

    Example
    -------
    >>> sepconv.depthwise_conv1d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), padding="same").shape[1]
    3
    """
    return _run("depthwise", 1, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


@_documented(2)
def depthwise_conv2d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise convolution in 2-D: every channel has its own filters. To filter a stack of images, see also `sepconv.conv2d`.

    Parameters
    ----------
    <x>
    weight : array (C * m, 1, {k}) or, for m = 1, (C, {k}), channels first whatever the layout. Output channel c * m + q reads input
        channel c.
    bias : array (C * m,), or None.
    <geometry>
    <rest>

    Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, section 2.

    Example
    -------
    >>> sepconv.depthwise_conv2d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), padding="same").shape[1]
    3
    """
    return _run("depthwise", 2, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


@_documented(3)
def depthwise_conv3d(x: Array, weight: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, activation: Any = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise convolution in 3-D: every channel has its own filters. To filter a stack of images, see also `sepconv.conv3d`.

    Parameters
    ----------
    <x>
    weight : array (C * m, 1, {k}) or, for m = 1, (C, {k}), channels first whatever the layout. Output channel c * m + q reads input
        channel c.
    bias : array (C * m,), or None.
    <geometry>
    <rest>

    Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017, section 2.

    Example
    -------
    >>> sepconv.depthwise_conv3d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), padding="same").shape[1]
    3
    """
    return _run("depthwise", 3, (x, weight, bias, None), out, (stride, padding, dilation, 1, padding_mode, layout, activation))


@_documented(1)
def pointwise_conv1d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    """Pointwise (1x1) convolution in 1-D: a matrix over the channels of every position.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in), or (C_out, C_in{ones}).
    bias : array (C_out,), or None.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Example
    -------
    >>> sepconv.pointwise_conv1d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3))).shape[1]
    16
    """
    return _run("pointwise", 1, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


@_documented(2)
def pointwise_conv2d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    """Pointwise (1x1) convolution in 2-D: a matrix over the channels of every position.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in), or (C_out, C_in{ones}).
    bias : array (C_out,), or None.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Example
    -------
    >>> sepconv.pointwise_conv2d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3))).shape[1]
    16
    """
    return _run("pointwise", 2, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


@_documented(3)
def pointwise_conv3d(x: Array, weight: Array, bias: Array | None = None, *, layout: str | None = None, activation: Any = None,
                     residual: Array | None = None, out: Array | None = None) -> Array:  # fmt: skip
    """Pointwise (1x1) convolution in 3-D: a matrix over the channels of every position.

    Parameters
    ----------
    <x>
    weight : array (C_out, C_in), or (C_out, C_in{ones}).
    bias : array (C_out,), or None.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Example
    -------
    >>> sepconv.pointwise_conv3d(numpy.ones((1, 3, {sizes})), numpy.ones((16, 3))).shape[1]
    16
    """
    return _run("pointwise", 3, (x, weight, bias, residual), out, (1, 0, 1, 1, "constant", layout, activation))


@_documented(1)
def separable_conv1d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise-separable convolution in 1-D: a depthwise convolution, then a pointwise one.

    Equal to `pointwise_conv1d(depthwise_conv1d(x, depthwise, depthwise_bias, ...), pointwise, bias, ...)`.

    Parameters
    ----------
    <x>
    depthwise : array (C * m, 1, {k}) or, for m = 1, (C, {k}).
    pointwise : array (C_out, C * m), or with trailing ones.
    bias : array (C_out,), or None; added after the pointwise half.
    <geometry>
    depthwise_bias, depthwise_activation : the epilogue of the depthwise half; array (C * m,) and a name as for `activation`.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Source: L. Sifre, "Rigid-Motion Scattering for Image Classification", 2014; A. Howard et al., "MobileNets", 2017.

    Example
    -------
    >>> sepconv.separable_conv1d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), numpy.ones((16, 3)), padding="same").shape[1]
    16
    """
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return _run("separable", 1, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))


@_documented(2)
def separable_conv2d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise-separable convolution in 2-D: a depthwise convolution, then a pointwise one.

    Equal to `pointwise_conv2d(depthwise_conv2d(x, depthwise, depthwise_bias, ...), pointwise, bias, ...)`.

    Parameters
    ----------
    <x>
    depthwise : array (C * m, 1, {k}) or, for m = 1, (C, {k}).
    pointwise : array (C_out, C * m), or with trailing ones.
    bias : array (C_out,), or None; added after the pointwise half.
    <geometry>
    depthwise_bias, depthwise_activation : the epilogue of the depthwise half; array (C * m,) and a name as for `activation`.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Source: L. Sifre, "Rigid-Motion Scattering for Image Classification", 2014; A. Howard et al., "MobileNets", 2017.

    Example
    -------
    >>> sepconv.separable_conv2d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), numpy.ones((16, 3)), padding="same").shape[1]
    16
    """
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return _run("separable", 2, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))


@_documented(3)
def separable_conv3d(x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, *, stride: Any = 1, padding: Any = 0,
                     dilation: Any = 1, padding_mode: str = "constant", layout: str | None = None, depthwise_bias: Array | None = None,
                     depthwise_activation: Any = None, activation: Any = None, residual: Array | None = None,
                     out: Array | None = None) -> Array:  # fmt: skip
    """Depthwise-separable convolution in 3-D: a depthwise convolution, then a pointwise one.

    Equal to `pointwise_conv3d(depthwise_conv3d(x, depthwise, depthwise_bias, ...), pointwise, bias, ...)`.

    Parameters
    ----------
    <x>
    depthwise : array (C * m, 1, {k}) or, for m = 1, (C, {k}).
    pointwise : array (C_out, C * m), or with trailing ones.
    bias : array (C_out,), or None; added after the pointwise half.
    <geometry>
    depthwise_bias, depthwise_activation : the epilogue of the depthwise half; array (C * m,) and a name as for `activation`.
    residual : array of the result's shape, added after the bias and before the activation, or None. It may be `out` itself.
    <rest>

    Source: L. Sifre, "Rigid-Motion Scattering for Image Classification", 2014; A. Howard et al., "MobileNets", 2017.

    Example
    -------
    >>> sepconv.separable_conv3d(numpy.ones((1, 3, {sizes})), numpy.ones((3, {taps})), numpy.ones((16, 3)), padding="same").shape[1]
    16
    """
    arrays = (x, depthwise, depthwise_bias, pointwise, bias, residual)
    return _run("separable", 3, arrays, out, (stride, padding, dilation, padding_mode, layout, depthwise_activation, activation))
