"""What `scipy.ndimage` means by its arguments, and the way from there to a backend."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import dispatch
from ..backends import filters
from ..backends.filters import MODES, REAL, Pass
from ..call import Explanation
from . import _device, _factors, _recall

LARGE = 2**12  # pixels from which float32 images need not agree with SciPy to the last bit
IMAGES = ("input", "output", "in1", "x", "zi")  # arguments that stay on their device; weights and the like are fetched from it
NUMBERS = (*REAL, *_device.PARTS)  # dtypes that filters read
MOST = 2**40  # taps, whose scratch no machine has
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Told(Exception):
    """Carries the explanation out of a call that is to be explained and not made."""


def filter_function(fn: F) -> F:
    """A public filter: inside `sepconv.explain` it returns what it would have run."""

    place = [*inspect.signature(fn).parameters, "output"].index("output")

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        if not dispatch.explaining():
            made = _recall.called(fn, place, args, kwargs)
            return made if isinstance(made, np.ndarray) else getattr(made, "owner", made)
        try:
            return fn(*args, **kwargs)
        except Told as told:
            return told.args[0]

    return called  # type: ignore[return-value]


# --- arrays ---------------------------------------------------------------------------------------------------------


def array(name: str, value: Any) -> np.ndarray:
    """An ndarray; lists and scalars are converted as SciPy does, but arrays whose meaning would be lost are a TypeError. On a GPU, images stay."""
    if _device.has(value):
        return _device.admitted(name, value) if name in IMAGES else _device.fetched(value)
    return dispatch.admit(name, value if isinstance(value, np.ndarray) else np.asarray(value))


def numbers(name: str, x: np.ndarray) -> np.ndarray:
    """The array, if it is of a dtype that filters read; RuntimeError with SciPy's words if not."""
    if x.dtype.name not in NUMBERS:
        raise RuntimeError(f"array type {x.dtype!r} not supported for {name}; allowed are {', '.join(NUMBERS)}")
    return x


def image(input: Any) -> np.ndarray:
    """The argument `input`, checked."""
    return numbers("input", array("input", input))


def result(output: Any, input: np.ndarray, complex_result: bool | None = None) -> np.ndarray:
    """The array to write: a new one, of the input's dtype or of the dtype `output`, or `output` itself.

    complex_result: whether values are complex, if that is decided; then the dtype has to be. RuntimeError, as in SciPy, for one that does
    not fit.
    """
    promoted = np.promote_types(input.dtype, np.complex64) if complex_result else input.dtype
    if output is None:
        return new(input, promoted.newbyteorder("="))
    if isinstance(output, (str, type, np.dtype)):
        dtype = np.dtype(output)
        if isinstance(output, str) and not issubclass(dtype.type, np.number):
            raise RuntimeError(f"output must have numeric dtype, but is {output!r}")
        if complex_result and dtype.kind != "c":
            if isinstance(output, str):
                raise RuntimeError(f"output must have complex dtype, but is {output!r}")
            warnings.warn("promoting specified output dtype to complex", stacklevel=4)
            dtype = np.promote_types(dtype, np.complex64)
        return new(input, dtype)
    target = array("output", output) if isinstance(input, np.ndarray) else _device.output(output, input)
    if target.shape != input.shape:
        raise RuntimeError(f"output shape not correct: it is {target.shape}, and the input's is {input.shape}")
    if complex_result and target.dtype.kind != "c":
        raise RuntimeError(f"output must have complex dtype, but is of {target.dtype}")
    if isinstance(target, np.ndarray) and not target.flags.writeable:
        raise ValueError("output array is read-only.")
    if target.size and any(step == 0 and n > 1 for step, n in zip(target.strides, target.shape)):
        raise ValueError(f"output has the strides {target.strides} for the shape {target.shape}; its elements have to be apart")
    return numbers("output", target)


def new(input: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An array for the result, of input's library."""
    return (
        numbers("output", np.empty(input.shape, dtype))
        if isinstance(input, np.ndarray)
        else _device.like(input, numbers("output", np.empty(0, dtype)).dtype)
    )


# --- the rest -------------------------------------------------------------------------------------------------------


def one_each(name: str, value: Any, count: int) -> list[Any]:
    """A list of `count`: the sequence itself, or the scalar repeated."""
    if isinstance(value, str) or not np.iterable(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise RuntimeError(f"sequence argument must have length equal to input rank: {name} is {value!r}, for {count} axes")
    return values


def named(name: str, value: Any, make: Callable[[Any], T]) -> T:
    """make(value); what it raises, as in SciPy, also tells the argument's name."""
    try:
        return make(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = next(kind for kind in (TypeError, ValueError, OverflowError) if isinstance(error, kind))
        raise kind(f"{name} is {value!r}: {error}") from None


def axis_number(axis: Any, ndim: int) -> int:
    number = named("axis", axis, operator.index)
    if not -ndim <= number < ndim:
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds for array of dimension {ndim}")
    return number % ndim


def axis_numbers(axes: Any, ndim: int) -> tuple[int, ...]:
    """All axes, or the given ones, from 0 on; ValueError for those that are not there or come twice."""
    if axes is None:
        return tuple(range(ndim))
    if not isinstance(axes, Iterable) or np.ndim(axes) == 0:
        if not np.isscalar(axes):
            raise ValueError(f"axes must be an integer, iterable of integers, or None, but is {axes!r}")
        axes = (axes,)
    found = [named("axes", axis, operator.index) for axis in axes]
    for axis in found:
        if not -ndim <= axis < ndim:
            raise np.exceptions.AxisError(f"specified axis: {axis} is out of range for {ndim} dimensions")
    found = [axis % ndim for axis in found]
    if len(set(found)) != len(found):
        raise ValueError(f"axes must be unique, but are {axes!r}")
    return tuple(found)


def mode_code(mode: Any) -> int:
    if not isinstance(mode, str) or mode not in MODES:
        raise RuntimeError(f"boundary mode not supported: {mode!r}; allowed are {', '.join(MODES)}")
    return MODES[mode]


def same_kind(input: Any, weights: np.ndarray, cval: Any) -> None:
    if weights.dtype.kind == "c" and not np.iscomplexobj(input) and np.iscomplexobj(cval):
        raise ValueError(f"Cannot provide a complex-valued cval when the input is real: cval is {cval!r}")


def real_number(cval: Any) -> float:
    if isinstance(cval, (complex, np.complexfloating)) or (isinstance(cval, np.ndarray) and cval.dtype.kind == "c"):
        raise TypeError(f"cval must be real number, not complex: {cval!r}, since the input is real")
    if isinstance(cval, str) or cval is None:
        raise TypeError(f"cval must be real number, not {type(cval).__name__}")
    return named("cval", cval, float)


def make_pass(axis: int, size: int, weights: np.ndarray | None, mode: Any, cval: Any, origin: Any, text: str) -> Pass:
    """A pass of the checked arguments; `text` is the error for an origin off the filter."""
    if size >= MOST:
        raise ValueError(f"size is {size}; allowed are filters of fewer than 2**40 taps")
    origin = named("origin", origin, operator.index)
    if not 0 <= size // 2 + origin < size:
        raise ValueError(f"{text}; it is {origin}, for {size} taps")
    return Pass(axis, size, weights, mode_code(mode), cval, origin)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Inside the block, filters of this thread (or task) sum in float64 and in SciPy's order, float32 images too: the same bits as SciPy's.

    >>> with sepconv.ndimage.exact(): sepconv.ndimage.gaussian_filter(image, 2)
    """
    token = filters.exact.set(True)
    try:
        yield
    finally:
        filters.exact.reset(token)


# --- to the backend -------------------------------------------------------------------------------------------------


def _engine(x: np.ndarray) -> tuple[Any, Any]:
    backend = dispatch.find(x if isinstance(x, np.ndarray) else x.owner)
    if not hasattr(backend, "filter_engine"):
        raise TypeError(f"input is a {type(x).__name__}, whose backend {getattr(backend, '__name__', backend)} has no filters")
    return backend, backend.filter_engine()


def _run(what: str, input: np.ndarray, output: np.ndarray, *arguments: Any) -> None:
    backend, engine = _engine(input)
    if dispatch.explaining():
        raise Told(Explanation(backend, [], engine.describe(what, input, output, *arguments), getattr(input, "owner", input)))
    _recall.note(input, output, getattr(engine, what)(input, output, *arguments))


def _parts(x: np.ndarray) -> tuple[np.ndarray, ...]:
    if x.dtype.kind != "c":
        return (x,)
    return (x.real, x.imag) if isinstance(x, np.ndarray) else _device.parts(x)


def shares(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the two may have memory in common."""
    return np.may_share_memory(x, y) if isinstance(x, np.ndarray) else not x.apart(y)


def copied(x: np.ndarray) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x.copy()
    made = _device.like(x, x.dtype)
    _device.combined("copy", x, made)
    return made


_INTO: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "copy": lambda x, y: np.copyto(y, x, casting="unsafe"),
    "add": lambda x, y: np.add(y, x, y),
    "subtract": lambda x, y: np.subtract(y, x, y),
    "square": lambda x, y: np.multiply(x, x, y),
    "root": lambda x, y: np.sqrt(x, y, casting="unsafe"),
}


def combine(what: str, x: np.ndarray, y: np.ndarray) -> None:
    """Element by element: y becomes x, y + x, y - x, the square or the root of x; `what` is one of _INTO."""
    if isinstance(y, np.ndarray):
        _INTO[what](x, y)
    elif what in ("square", "root") and y.dtype.kind == "c":
        raise TypeError(f"input is of {y.dtype}; gradient magnitudes on a GPU are of real numbers")
    else:
        _device.combined(what, x, y)


def run_passes(input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> None:
    """The passes, from input to output, on the real and the imaginary part of complex arrays; the passes' cval as the user gave it."""
    if output.dtype.kind == "c" and input.dtype.kind != "c":
        raise RuntimeError(f"array type {output.dtype!r} not supported for output, since the results are real")
    if input.dtype.kind == "c" and output.dtype.kind != "c":
        raise RuntimeError(f"output must have complex dtype, but is of {output.dtype}")
    if input.dtype.kind == "c":
        input = _apart(input, output)
        for part, to, of in zip(_parts(input), _parts(output), (np.real, np.imag)):
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
        raise Told(Explanation(_engine(x)[0], [], ["no axis is filtered: a copy"], getattr(x, "owner", x)))


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
    starts = [x.ctypes.data if isinstance(x, np.ndarray) else x.address for x in (input, output)]
    same = input.dtype == output.dtype and input.strides == output.strides and starts[0] == starts[1]
    return input if same or not shares(input, output) else copied(input)


def by_parts(filter_real: Callable[[np.ndarray, np.ndarray, np.ndarray, Any], None], input: np.ndarray, weights: np.ndarray, output: np.ndarray,
             cval: Any) -> None:  # fmt: skip
    """A filter of complex input, weights or both from filters of real ones: filter_real(input, weights, output, cval)."""
    weights = np.asarray(weights)  # flipped or conjugated, those of no axis are a scalar
    if weights.dtype.kind == "c" and input.dtype.kind != "c":
        input = copied(input) if shares(input, output) else input
        for w, to in zip(_parts(weights), _parts(output)):
            filter_real(input, w, to, cval)
        return
    outsides = np.real(cval), np.imag(cval)
    if weights.dtype.kind != "c":
        for part, to, outside in zip(_parts(_apart(input, output)), _parts(output), outsides):
            filter_real(part, weights, to, outside)
        return
    input = copied(input) if shares(input, output) else input
    (a, b), (u, v), (re, im) = _parts(input), _parts(weights), outsides
    real, imaginary = _parts(output)
    rest = new(input, a.dtype)  # of the input's precision, as in SciPy
    filter_real(a, u, real, re)
    filter_real(b, v, rest, im)
    combine("subtract", rest, real)
    filter_real(a, v, imaginary, re)
    filter_real(b, u, rest, im)
    combine("add", rest, imaginary)
