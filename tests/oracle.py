"""One oracle for every test: what a call must give, how far rounding may take it from there, and random calls to compare.

    check(sepconv.conv2d, x, weight, stride=2)      runs the call on the backend in use, compares, returns the result
    compare(result, expected(sepconv.conv2d, ...))  the same for a result that came about in another way

The bound is |error| <= c * eps * sum|x||w|, c from the number of terms, plus one rounding to the result's dtype; integers are equal.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cells
import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import sepconv
from sepconv import activations, dtypes
from sepconv.backends import reference
from sepconv.problem import LAYOUTS, Problem

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [BFLOAT16 if name == "bfloat16" else np.dtype(name) for name in dtypes.KINDS]
OPS = ("conv", "depthwise_conv", "pointwise_conv", "separable_conv")
SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"  # of a GPU: random calls are then small
MODES = ("constant", "edge", "reflect", "symmetric", "wrap", "zeros", "replicate", "circular")


def function(op: str, dims: int) -> Callable[..., Any]:
    return getattr(sepconv, f"{op}{dims}d")


# --- what must come out -----------------------------------------------------------------------------------------


@dataclass
class Expected:
    """The result in wide arithmetic, how far each element may be from it, and the dtype it must have."""

    wide: np.ndarray
    error: np.ndarray
    dtype: np.dtype


def _absolute(array: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
    return None if array is None else np.abs(np.asarray(array).astype(dtype).astype(dtypes.KINDS[dtype.name].wide)).astype(np.float64)


def magnitude(problem: Problem, x: Any, weight: Any, bias: Any = None, residual: Any = None) -> np.ndarray:
    """sum|x||w| + |bias| + |residual| of each element of the result."""
    plain = activations.Activation("none", activations.NONE)
    double = np.dtype(np.float64)
    wide = dataclasses.replace(problem, activation=plain, dtype=double, result=double)
    inputs = [_absolute(x, problem.dtype), _absolute(weight, problem.dtype), _absolute(bias, problem.result), _absolute(residual, problem.result)]
    return reference.exact(wide, *inputs)


def bound(problem: Problem, wide: np.ndarray, total: np.ndarray, c: float | None = None) -> np.ndarray:
    """How far from `wide` rounding may take a result whose sum of absolute values is `total`; `c` replaces the worst case of n terms / 2."""
    if problem.result.kind in "iu":
        return np.zeros(wide.shape)
    summed, stored = np.finfo(problem.accumulate), ml_dtypes.finfo(problem.result)
    terms = math.prod(problem.kernel) * problem.group_in * (2 if problem.dtype.kind == "c" else 1) + problem.bias + problem.residual
    error = (terms / 2 + 1 if c is None else c) * float(summed.eps) * total
    error = np.where(np.isfinite(error), error, 0) + (terms + 1) * float(summed.smallest_subnormal)
    size = np.where(np.isfinite(wide), np.abs(wide), 0)
    if problem.activation.code > activations.CLIP:
        # 1.5 is the steepest slope, of hard_swish at 3; hard_sigmoid rounds x + 3, an absolute error; the rest is relative.
        hard = 4 if problem.activation.name.startswith("hard") else 0
        error = 1.5 * error + float(summed.eps) * (8 * size + hard)
    return error + float(stored.eps) / 2 * size * 1.01 + float(stored.smallest_subnormal)


def problems(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Problem]:
    """The checked Problem of a call, two for a separable one."""
    with sepconv.use_backend("reference"):
        return sepconv.explain(fn, *args, **kwargs).problems


def expected(fn: Callable[..., Any], *args: Any, c: float | None = None, **kwargs: Any) -> Expected:
    """What `fn(*args, **kwargs)` must give on any backend."""
    given = {**inspect.signature(fn).bind(*args, **kwargs).arguments, "out": None}
    found = problems(fn, **given)
    last = found[-1]
    bias, residual = given.get("bias"), given.get("residual")
    with np.errstate(all="ignore"):
        if len(found) == 1:
            arrays = (given["x"], given["weight"], bias, residual)
            wide = reference.exact(last, *arrays)
            return Expected(wide, bound(last, wide, magnitude(last, *arrays), c), last.result)
        first = found[0]
        half = (given["x"], given["depthwise"], given.get("depthwise_bias"))
        middle = reference.exact(first, *half)
        rounded = middle.astype(first.result)
        # The oracle rounds the middle to the result's dtype; a fused kernel may keep it in the wider one: once more that rounding.
        off = bound(first, middle, magnitude(first, *half), c)
        off = off + np.where(np.isfinite(middle), np.abs(middle - rounded.astype(middle.dtype)), 0)
        arrays = (rounded, given["pointwise"], bias, residual)
        wide = reference.exact(last, *arrays)
        error = bound(last, wide, magnitude(last, *arrays), c)
        if last.result.kind not in "iu":
            carried = magnitude(dataclasses.replace(last, dtype=_wider(last.dtype)), off, given["pointwise"])
            error = error + 1.5 * np.where(np.isfinite(carried), carried, 0)
        return Expected(wide, error, last.result)


def _wider(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _parts(array: np.ndarray) -> list[np.ndarray]:
    array = array.astype(_wider(array.dtype))
    return [array.real, array.imag] if array.dtype.kind == "c" else [array]


def compare(actual: Any, want: Expected) -> float:
    """Asserts type, shape, dtype and values; returns the worst error as a share of the bound (0 for integers)."""
    assert type(actual) is np.ndarray, type(actual)
    assert actual.shape == want.wide.shape, f"shape {actual.shape}, expected {want.wide.shape}"
    assert actual.dtype.newbyteorder("=") == want.dtype, f"dtype {actual.dtype}, expected {want.dtype}"
    if want.dtype.kind in "iu":
        np.testing.assert_array_equal(actual, want.wide.astype(want.dtype))
        return 0.0
    most = float(ml_dtypes.finfo(want.dtype).max)
    return max(_compare_real(got, wide, want.error, most) for got, wide in zip(_parts(actual), _parts(want.wide)))


def _compare_real(got: np.ndarray, wide: np.ndarray, error: np.ndarray, most: float) -> float:
    wrong = np.isnan(got) != np.isnan(wide)
    assert not wrong.any(), f"NaN pattern differs at {np.argwhere(wrong)[:5].tolist()}: got {got[wrong][:5]}, expected {wide[wrong][:5]}"
    with np.errstate(all="ignore"):
        either = np.isfinite(wide) & (np.abs(wide) + error >= most)  # at the edge of the dtype's range: Inf, or a number within the bound
        wrong = np.isinf(got) & ((got != wide) & ~(either & (np.sign(got) == np.sign(wide)))) | np.isinf(wide) & (got != wide)
        assert not wrong.any(), f"Inf pattern differs at {np.argwhere(wrong)[:5].tolist()}: got {got[wrong][:5]}, expected {wide[wrong][:5]}"
        share = np.where(np.isfinite(got) & np.isfinite(wide), np.abs(got - wide) / error, 0)
    if share.size == 0:
        return 0.0
    at = np.unravel_index(np.argmax(share), share.shape)
    where = tuple(map(int, at))
    problem = f"at {where}: got {got[at]}, expected {wide[at]}, error {share[at]:.3g} times the bound"
    assert share[at] <= 1, f"{problem}; {(share > 1).sum()} such of {share.size}"
    return float(share[at])


def check(fn: Callable[..., Any], *args: Any, c: float | None = None, **kwargs: Any) -> Any:
    """Runs the call on the backend in use and compares it with the oracle; returns the result."""
    result = fn(*args, **kwargs)
    compare(result, expected(fn, *args, c=c, **kwargs))
    return result


# --- arrays in memory of every kind -----------------------------------------------------------------------------


def poison(dtype: np.dtype) -> Any:
    """A value that shows if it is read."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.nan


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, small: bool = False) -> np.ndarray:
    """Random numbers of a dtype: integers over its whole range (-8 to 8 if `small`), the others normal."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        least, most = (max(-8, info.min), 8) if small else (info.min, info.max)
        return rng.integers(least, most, shape, dtype, endpoint=True)
    drawn = rng.standard_normal(shape)
    return (drawn + 1j * rng.standard_normal(shape) if dtype.kind == "c" else drawn).astype(dtype)


ARRANGEMENTS = ("fortran", "rotated", "negative", "stepped", "margin", "unaligned", "swapped", "readonly")


@dataclass
class Placed:
    """An array in a buffer with guard cells between and around its elements."""

    array: np.ndarray
    buffer: np.ndarray  # all the bytes

    def __post_init__(self) -> None:
        self._before, self._content = self.buffer.copy(), self.array.copy()

    def assert_guards(self) -> None:
        """Nothing in the buffer has changed but the array's own elements."""
        written = self.array.copy()
        self.array[...] = self._content
        np.testing.assert_array_equal(self.buffer, self._before, err_msg="memory between the elements was written")
        self.array[...] = written


def place(content: np.ndarray, names: tuple[str, ...] = ()) -> Placed:
    """`content` in memory arranged as `names` say (see ARRANGEMENTS); what lies between the elements is poison."""
    dtype = content.dtype
    if "swapped" in names and dtype != BFLOAT16:
        dtype = dtype.newbyteorder()
    axes = list(range(content.ndim))
    if "fortran" in names:
        axes.reverse()
    if "rotated" in names:  # NCHW in NHWC memory and the like
        axes = axes[:1] + axes[2:] + axes[1:2]
    step, margin = (2 if "stepped" in names else 1), (3 if "margin" in names else 0)
    shape = [content.shape[a] * step + 2 * margin for a in axes]
    offset = int("unaligned" in names)
    buffer = np.zeros(math.prod(shape) * dtype.itemsize + 2 * dtype.itemsize, np.uint8)
    memory = np.frombuffer(buffer.data, dtype, math.prod(shape), offset) if math.prod(shape) else np.zeros(0, dtype)
    memory = memory.reshape(shape)
    memory[...] = poison(content.dtype)
    inner = tuple(slice(margin, margin + content.shape[a] * step, step) for a in axes)
    array = memory[inner].transpose(np.argsort(axes))
    if "negative" in names:
        array = array[(slice(None, None, -1),) * array.ndim]
    array[...] = content
    if "readonly" in names:
        array.flags.writeable = False
    return Placed(array, buffer)


def arrange(content: np.ndarray, names: tuple[str, ...] = ()) -> np.ndarray:
    return place(content, names).array


# --- whole random calls -----------------------------------------------------------------------------------------

MIXES = [
    ("float32", "float64"), ("float16", "float32"), ("bfloat16", "float32"), ("float64", "bfloat16"), ("int8", "uint8"), ("uint8", "int8"),
    ("int16", "float32"), ("uint8", "float16"), ("float32", "complex64"), ("complex64", "float64"), ("int32", "int64"), ("uint32", "int64"),
    ("uint64", "int64"), ("uint16", "int16"), ("int32", "uint8"),
]  # fmt: skip
NAMED = {d.name: d for d in DTYPES}


@dataclass
class Call:
    """One call: the operation, its arrays by argument name, its options, and where the result goes."""

    op: str
    dims: int
    arrays: dict[str, np.ndarray]
    options: dict[str, Any]
    out: Placed | None = None

    def run(self) -> np.ndarray:
        """The result on the backend in use; with `out`, also that it is returned and that nothing around it was touched."""
        fn = function(self.op, self.dims)
        if self.out is None:
            return fn(**self.arrays, **self.options)
        result = fn(**self.arrays, **self.options, out=self.out.array)
        assert result is self.out.array
        self.out.assert_guards()
        return result

    def exact(self) -> Expected:
        return expected(function(self.op, self.dims), **self.arrays, **self.options)

    def kernels(self) -> set[Any]:
        """What backends compile for it."""
        found = problems(function(self.op, self.dims), **self.arrays, **self.options)
        return cells.used(found, self.arrays, None if self.out is None else self.out.array)

    def check(self) -> float:
        """Runs and compares; the worst error as a share of the bound."""
        return compare(self.run(), self.exact())

    def __repr__(self) -> str:
        arrays = ", ".join(f"{n}: {a.dtype.str if a.dtype != BFLOAT16 else a.dtype} {a.shape} strides {a.strides}" for n, a in self.arrays.items())
        out = None if self.out is None else (self.out.array.strides, self.out.array.dtype.str)
        return f"Call({self.op}{self.dims}d, {arrays}, {self.options}, out={out})"


@st.composite
def paddings(draw: Any, dims: int, most: int = 5) -> Any:
    """Every form that `padding` takes."""
    amount = st.integers(0, most)
    pair = st.tuples(amount, amount)
    names = ["valid", "same", "same_lower"] + (["causal"] if dims == 1 else [])
    forms = [st.sampled_from(names), amount, st.tuples(*[amount] * dims), st.tuples(*[pair] * dims), st.lists(pair, min_size=dims, max_size=dims)]
    return draw(st.one_of(*forms, *([pair] if dims == 1 else [])))


def _fitting(padding: Any, dims: int, size: list[int], reach: list[int]) -> list[int]:
    """Sizes enlarged until the kernel fits into the padded input."""
    if isinstance(padding, str) and padding != "valid":
        return size
    flat = [0] * dims if isinstance(padding, str) else [padding] * dims if isinstance(padding, int) else list(padding)
    if dims == 1 and len(flat) == 2:
        flat = [tuple(flat)]
    total = [sum(p) if isinstance(p, (tuple, list)) else 2 * p for p in flat]
    return [max(n, r - t, 1) for n, r, t in zip(size, reach, total)]


def _sometimes(strategy: Any, default: Any) -> Any:
    return st.one_of(st.just(default), strategy)


@st.composite
def arrangements(draw: Any) -> tuple[str, ...]:
    return tuple(draw(st.lists(st.sampled_from(ARRANGEMENTS), max_size=3, unique=True)))


def calls(free: bool = False, **limits: Any) -> Any:
    """Whole random calls on kernels of the shared table, or, if `free`, on any. The limits are those of `_calls`."""
    return _calls(free, **limits) if free else cells.few(_calls(free, **limits))


@st.composite
def _calls(
    draw: Any, free: bool, ops: tuple[str, ...] = OPS, dims: tuple[int, ...] = (1, 2, 3), pairs: Any = None, memory: bool = True,
    specials: bool = True, scale: int = 1,
) -> Call:  # fmt: skip
    """`pairs` are the (x, weight) dtypes to draw from; `memory` False means plain arrays and no `out`; `specials` False leaves NaN and Inf out;
    `scale` is for more channels and longer axes (in 3-D, not every one)."""
    op, n = draw(st.sampled_from(ops)), draw(st.sampled_from(dims))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.sampled_from(pairs or [(d.name, d.name) for d in DTYPES] * 2 + MIXES + [("float32", "float32")] * 6))
    x_dtype, w_dtype = (NAMED[k] for k in kinds)
    result = dtypes.result(dtypes.common({"x": x_dtype, "weight": w_dtype}))
    options, geometry, shapes, out_shape = _draw_shapes(draw, op, n, scale, free)
    specials = specials and result.kind not in "iu" and draw(st.integers(0, 7)) == 0

    def array(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        content = values(rng, shape, dtype, small=result.kind not in "iu")
        if specials and name in ("x", "weight", "depthwise", "pointwise") and dtype.kind not in "iu" and content.size:
            content.reshape(-1)[rng.integers(content.size)] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
        if not memory:
            return content
        how = draw(arrangements())
        if draw(st.integers(0, 9)) == 0 and content.size:
            axis = draw(st.integers(0, content.ndim - 1))
            return np.broadcast_to(np.take(content, [0], axis), shape)  # stride 0
        return arrange(content, how)

    same_kind = {"f": ["float64", "float16"], "i": ["int8", "int64"], "u": ["uint8"], "c": ["complex128"]}.get(result.kind, ["float32", "float64"])
    extra = lambda: NAMED[draw(_sometimes(st.sampled_from(same_kind), result.name))]
    arrays = {name: array(name, shape, x_dtype if name == "x" else w_dtype) for name, shape in shapes.items()}
    channels = out_shape[-1 if (options.get("layout") or "").endswith("C") else -1 - n]
    if draw(st.booleans()):
        arrays["bias"] = array("bias", (channels,), extra())
    if op == "separable_conv" and draw(st.booleans()):
        arrays["depthwise_bias"] = array("depthwise_bias", (shapes["pointwise"][1],), extra())
    if op in ("pointwise_conv", "separable_conv") and draw(st.booleans()):
        arrays["residual"] = array("residual", out_shape, extra())
    for name in ["activation"] + ["depthwise_activation"] * (op == "separable_conv"):
        options[name] = draw(_activation(result))
    out = None
    if memory and draw(st.booleans()):
        out = place(np.zeros(out_shape, result), tuple(a for a in draw(arrangements()) if a != "readonly"))
    return Call(op, n, arrays, options | geometry, out)


def _activation(result: np.dtype) -> Any:
    kind = dtypes.KINDS[result.name]
    bounds = [("clip", -3, 5), ("clip", 0, 1), ["clip", -math.inf, 2.0]]
    if kind.real:
        return _sometimes(st.sampled_from([*activations.NAMES, *bounds, ("clip", -0.5, 0.25)]), None)
    return _sometimes(st.sampled_from(["relu", "relu6", *bounds]), None) if kind.integer else st.none()


def _draw_shapes(draw: Any, op: str, n: int, scale: int, free: bool) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], tuple[int, ...]]:
    """(layout, geometry options, shapes of x and weights by name, shape of the result) of a random call in n dimensions."""
    few = ({1: 5, 2: 4, 3: 3} if SIMULATOR else {1: 12, 2: 9, 3: 5})[n] * scale
    channels, multiplier, outputs = draw(st.integers(1, few)), draw(st.integers(1, 3)), draw(st.integers(1, few))
    layout = draw(st.sampled_from((None, *LAYOUTS[n])))
    batch = draw(st.sampled_from(((), (1,), (2,), (3,))))
    longest = ({1: 12, 2: 6, 3: 4} if SIMULATOR else {1: 40, 2: 20, 3: 9})[n]
    size = [draw(st.integers(1, longest * (scale if n < 3 or axis == n - 1 else 1))) for axis in range(n)]
    geometry: dict[str, Any] = {}
    kernel = [1] * n
    if op != "pointwise_conv":
        kernel = [draw(st.sampled_from((1, 2, 3, 3, 4, 5, 7) if n < 3 else (1, 2, 3, 4))) for _ in range(n)]
        each = st.lists(st.integers(1, 3), min_size=n, max_size=n)
        stride, dilation = draw(_sometimes(each, [1] * n)), draw(_sometimes(each, [1] * n))
        mode = draw(_sometimes(st.sampled_from((*MODES, "circular")), "constant"))
        if not free and draw(st.integers(0, 3)):  # the others are for the plain loops
            (kernel, stride), dilation, mode = draw(st.sampled_from(cells.taps(op, n))), [1] * n, "constant"
        padding = draw(paddings(n, draw(st.sampled_from((2, 5, 5, 25 if n == 1 else 9)))))
        geometry = {"stride": tuple(stride), "dilation": dilation, "padding": padding, "padding_mode": mode}
        size = _fitting(padding, n, size, [d * (k - 1) + 1 for d, k in zip(dilation, kernel)])
    if op == "conv":
        groups = geometry["groups"] = draw(st.integers(1, 3))
        channels, outputs = (-(-channels // groups) * groups, -(-outputs // groups) * groups)
        shapes = {"weight": (outputs, channels // groups, *kernel)}
    elif op == "pointwise_conv":
        shapes = {"weight": (outputs, channels, *(1,) * draw(st.sampled_from((0, n))))}
    else:
        short = multiplier == 1 and draw(st.booleans())
        filters = (channels, *kernel) if short else (channels * multiplier, 1, *kernel)
        shapes = {"depthwise": filters, "pointwise": (outputs, channels * multiplier)} if op == "separable_conv" else {"weight": filters}
    last = layout == LAYOUTS[n][1]
    shapes = {"x": (*batch, *size, channels) if last else (*batch, channels, *size), **shapes}
    found = problems(function(op, n), **{name: np.broadcast_to(np.float32(0), s) for name, s in shapes.items()}, layout=layout, **geometry)
    return {"layout": layout}, geometry, shapes, found[-1].out_shape
