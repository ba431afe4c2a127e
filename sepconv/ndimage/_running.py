"""From checked arguments to a backend: filters of complex arrays as filters of real ones, dense kernels as passes, what `explain` tells."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import dispatch
from ..backends import filters
from ..backends.filters import Pass
from ..call import Explanation
from . import _arrays as arrays
from . import _factors, _recall
from ._arguments import real_number

LARGE = 2**12  # pixels from which float32 images need not agree with SciPy to the last bit
F = TypeVar("F", bound=Callable[..., Any])


class Told(Exception):
    """Carries the explanation out of a call that is to be explained and not made."""


def filter_function(fn: F) -> F:
    """A public filter: inside `sepconv.explain` it returns what it would have run."""

    place = [*inspect.signature(fn).parameters, "output"].index("output")

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        if not dispatch.explaining():
            return arrays.owner(_recall.called(fn, place, args, kwargs))
        try:
            return fn(*args, **kwargs)
        except Told as told:
            return told.args[0]

    return called  # type: ignore[return-value]


def _engine(x: np.ndarray) -> tuple[Any, Any]:
    backend = dispatch.find(arrays.owner(x))
    if not hasattr(backend, "filter_engine"):
        raise TypeError(f"input is a {type(x).__name__}, whose backend {getattr(backend, '__name__', backend)} has no filters")
    return backend, backend.filter_engine()


def _run(what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> None:
    backend, engine = _engine(input)
    if dispatch.explaining():
        raise Told(Explanation(backend, [], engine.describe(what, input, output, *arguments), arrays.owner(input)))
    _recall.note(input, output, getattr(engine, what)(input, output, *arguments))


def run_passes(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> None:
    """The passes, from input to output, on the real and the imaginary part of complex arrays; the passes' cval as the user gave it."""
    if output.dtype.kind == "c" and input.dtype.kind != "c":
        raise RuntimeError(f"array type {output.dtype!r} not supported for output, since the results are real")
    if input.dtype.kind == "c" and output.dtype.kind != "c":
        raise RuntimeError(f"output must have complex dtype, but is of {output.dtype}")
    if input.dtype.kind == "c":
        input = _apart(input, output)
        for part, to, of in zip(arrays.parts(input), arrays.parts(output), (np.real, np.imag)):
            _run("passes", part, to, [p._replace(cval=float(of(p.cval))) for p in passes])
    else:
        _run("passes", input, output, [p._replace(cval=real_number(p.cval)) for p in passes])


def run_dense(input: np.ndarray, output: np.ndarray, weights: np.ndarray, mode: int, cval: Any, origins: Sequence[int]) -> None:
    """One n-D filter of real arrays."""
    if output.dtype.kind == "c":
        raise RuntimeError(f"array type {output.dtype!r} not supported for output, since the results are real")
    outside = real_number(cval)
    plain = filters.exact.get() or not isinstance(input, np.ndarray)
    passes = [] if plain else _factors.passes(input, output.dtype, weights, mode, outside, origins)
    if not passes:
        _run("dense", input, output, weights, [mode] * input.ndim, outside, list(origins))
        return
    if dispatch.explaining():
        taps = "x".join(str(k) for k in weights.shape)
        note = f"the {taps} weights are an outer product of vectors: {sum(p.size for p in passes)} products instead of {weights.size}"
        _run("passes", input, output, passes, note)
    if output.dtype == np.float32 and output.size >= LARGE and not filters.exact.get():
        _run("passes", input, output, passes)
        return
    between = output if output.dtype == np.float64 else np.empty(output.shape)
    _run("passes", input, between, passes[:-1])
    _run("passes", between, output, passes[-1:])


def nothing_to_sum(x: np.ndarray) -> None:
    """Tells so, if that is what is asked."""
    if dispatch.explaining():
        raise Told(Explanation(_engine(x)[0], [], ["no axis is filtered: a copy"], arrays.owner(x)))


def explain_dense(input: np.ndarray, weights: np.ndarray) -> None:
    """Tells what would run for such taps, on images of this kind."""
    _run("dense", input, input, weights)


def run_quick(input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: Any) -> bool:
    """One n-D filter in place of several 1-D ones, if that is in the bounds of both and faster: whether it was done."""
    quick = getattr(_engine(input)[1], "quick", None)
    if output.dtype.kind == "c" or quick is None or not quick(input, output, weights, modes, real_number(cval)):
        return False
    _run("dense", input, output, weights, list(modes), real_number(cval), [0] * input.ndim)
    return True


def _apart(input: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The input, or a copy if the output's parts lie in its memory otherwise than its own do: the first part must not spoil the second."""
    same = input.dtype == output.dtype and input.strides == output.strides and arrays.begin(input) == arrays.begin(output)
    return input if same or not arrays.shares(input, output) else arrays.copied(input)


def by_parts(filter_real: Callable[[np.ndarray, np.ndarray, np.ndarray, Any], None], input: np.ndarray, weights: np.ndarray, output: np.ndarray,
             cval: Any) -> None:  # fmt: skip
    """A filter of real or complex input and weights from filters of real ones: filter_real(input, weights, output, cval)."""
    weights = np.asarray(weights)  # flipped or conjugated, those of no axis are a scalar
    if weights.dtype.kind != "c" and input.dtype.kind != "c":
        filter_real(input, weights, output, cval)
        return
    if weights.dtype.kind == "c" and input.dtype.kind != "c":
        input = arrays.copied(input) if arrays.shares(input, output) else input
        for w, to in zip(arrays.parts(weights), arrays.parts(output)):
            filter_real(input, w, to, cval)
        return
    outsides = np.real(cval), np.imag(cval)
    if weights.dtype.kind != "c":
        for part, to, outside in zip(arrays.parts(_apart(input, output)), arrays.parts(output), outsides):
            filter_real(part, weights, to, outside)
        return
    input = arrays.copied(input) if arrays.shares(input, output) else input
    (a, b), (u, v), (re, im) = arrays.parts(input), arrays.parts(weights), outsides
    real, imaginary = arrays.parts(output)
    rest = arrays.like(input, a.dtype)  # of the input's precision, as in SciPy
    filter_real(a, u, real, re)
    filter_real(b, v, rest, im)
    arrays.combine("subtract", rest, real)
    filter_real(a, v, imaginary, re)
    filter_real(b, u, rest, im)
    arrays.combine("add", rest, imaginary)
