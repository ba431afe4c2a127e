"""The way of a call: from the arguments of a function to the callable that its backend made for arrays like these.

What is checked and chosen once is remembered, at each level under a key of what decides it there:

here                   shapes, strides, dtypes and options -> the backend's callable; a layer has a memory of its own
cpu.plans.Call         the number of threads -> an Entry, compiled code that takes the arrays into the kernel
cpu.plans              problems, strides and threads -> a Plan: the kernel and its record
cpu.runtime            what makes a kernel, and its cells -> the compiled one; `kernel_cache` on disk
layers.Chain           the number of threads -> a Tape, all its calls as one
ndimage._recall        a filter's arguments -> a Program, its kernels and their records
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from . import dispatch, overlap
from .cache import Cache, value
from .problem import ARRAYS, Problem, resolve

_calls: Cache[Any] = Cache(4096)

NAMES = {**dict.fromkeys(("standard", "depthwise", "pointwise"), ARRAYS[1]), "separable": ARRAYS[2]}

REQUIRED = ("x", "weight", "depthwise", "pointwise")


def _token(options: tuple[Any, ...]) -> Any:
    """The options as part of a cache key, see `cache.value`; None: nothing stands for them."""
    for option in options:
        cls = option.__class__
        if cls is not int and cls is not str and option is not None and not (cls is tuple and {v.__class__ for v in option} == {int}):
            try:
                return value(options)
            except TypeError:
                return None
    return options


def lies(*arrays: Any) -> tuple[Any, ...] | None:
    """What a call depends on in its arrays, all but their addresses; None if one of them has to be checked first."""
    parts: list[Any] = []
    for array in arrays:
        if array is None:
            parts.append(None)
        elif array.__class__ is np.ndarray:
            parts += (array.shape, array.strides, array.dtype)
        else:
            return None
    return tuple(parts)


def convolution(kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...]) -> Any:
    """Every public function ends here."""
    key, token = lies(*arrays, out), _token(options)
    return run(_calls, None if key is None or token is None else (kind, dims, token, key), kind, dims, arrays, out, options)


def run(calls: Cache[Any], key: Any, kind: str, dims: int, arrays: tuple[Any, ...], out: Any, options: tuple[Any, ...],
        kept: dict[Any, Any] | None = None) -> Any:  # fmt: skip
    """The call, by what was checked and chosen for its key: a callable of the backend's, which is remembered.

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
    """The same for arrays that have to be checked every time; the key is made of their backend's `signature`."""
    backend = dispatch.find(arrays[0])
    token = _token(options)
    if token is None or not hasattr(backend, "signature"):
        return _first_run(kind, dims, arrays, out, options)[0]
    given = _admitted(backend, kind, arrays, out)
    key = (kind, dims, token, backend, *(None if array is None else backend.signature(array) for array in given))
    call = _calls.get(key)
    if call is None:
        result, _calls[key] = _first_run(kind, dims, arrays, out, options)
        return result
    result = call(*given)
    return result if out is None else out


def _admitted(backend: Any, kind: str, arrays: tuple[Any, ...], out: Any) -> list[Any]:
    """The arrays and out as the backend takes them; optional ones that were not given stay None."""
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
    problem = resolve(
        kind, dims, *described, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode, layout=layout,
        activation=activation,
    )  # fmt: skip
    return [problem]


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
        "pointwise", dims, (first.out_shape, first.result), (pointwise[0], first.result), bias, residual, padding="same",
        layout=layout, activation=activation, names=("pointwise", "bias", "activation"),
    )  # fmt: skip  # "same", since the first half may be empty
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
        raise TypeError(f"fn is {reprlib.repr(fn)}; allowed are the functions of sepconv, as in explain(sepconv.conv2d, x, weight)")
    with dispatch.asking("explain"):
        told = fn(*args, **kwargs)
    if not isinstance(told, Explanation):
        raise TypeError(f"fn is {getattr(fn, '__name__', fn)}, which computes no convolution; allowed are functions such as sepconv.conv2d")
    return told
