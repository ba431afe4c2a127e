"""Random calls of all the functions of `sepconv.ndimage`, and how far a result may be from SciPy's."""

from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import scipy.ndimage
from hypothesis import strategies as st

import sepconv.ndimage as ndi
from sepconv.backends import filters
from sepconv.backends.filters import Pass
from sepconv.ndimage import _running

MODES = ("reflect", "constant", "nearest", "mirror", "wrap", "grid-mirror", "grid-constant", "grid-wrap")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
MEANS = ("uniform_filter", "uniform_filter1d")
GRADIENTS = ("gaussian_gradient_magnitude", "generic_gradient_magnitude")
LARGE = 4096  # elements from which float32 results are summed in float32
UNIT = 2.0**-24  # rounding of float32
LIMITS = {"float32": 8 * np.finfo("f4").eps, "float64": 8 * np.finfo("f8").eps}  # of a mean, as a share of the largest value of its line


def second(module: types.ModuleType) -> Any:
    """A second derivative for the generic filters, with arguments of its own."""
    return lambda x, axis, output, mode, cval, w, scale=1: module.correlate1d(x, np.array(w) * scale, axis, output, mode, cval)


@dataclass
class FilterCall:
    """A function by name, its image, its other arguments by name. "output" may be an array; what it holds is of no meaning."""

    name: str
    x: np.ndarray
    options: dict[str, Any]

    def run(self, module: types.ModuleType = ndi, **changes: Any) -> np.ndarray:
        """The result of the function of that name in sepconv.ndimage or scipy.ndimage."""
        options = {"x": self.x, **self.options}
        if isinstance(options.get("output"), np.ndarray):
            options["output"] = np.zeros_like(options["output"])
        options |= changes
        x = options.pop("x")
        for key in ("derivative", "derivative2"):
            if key in options:
                options[key] = second(module) if options[key] == "second" else getattr(module, options[key])
        return getattr(module, self.name)(x, **options)

    @property
    def target(self) -> np.dtype:
        output = self.options.get("output")
        return self.x.dtype if output is None else output.dtype if isinstance(output, np.ndarray) else np.dtype(output)

    @property
    def bounded(self) -> bool:
        """Whether it may be summed in float32."""
        return self.target in (np.float32, np.complex64) and self.x.size >= LARGE and self.x.real.itemsize <= 4

    @property
    def near(self) -> bool:
        """Whether a dense filter of narrow integers may be off by 1 where SciPy cuts."""
        w = self.options.get("weights") if self.name in ("correlate", "convolve") else None
        narrow = self.x.dtype.name in ("int8", "int16", "uint16") or (self.x.dtype == np.uint8 and self.target != np.uint8)
        return w is not None and self.x.size >= LARGE and narrow and (np.rint(w) != w).any()

    def bound(self) -> np.ndarray:
        """How far a sum in float32 may be from the exact one: (k + 3) * 2**-24 * sum(|w| * |x|) for each pass, carried through those after it. Of
        complex numbers, that of either part."""
        magnitudes = Magnitudes()
        options = {"output": np.float64} | {name: _size(self.options[name]) for name in ("cval", "weights") if name in self.options}
        with mock.patch.object(_running, "_engine", lambda x: (None, magnitudes)):
            wide = self.run(x=_size(self.x), **options)
        terms = 12 if self.name == "laplace" else magnitudes.terms  # which may be one filter of 3 x 3 taps
        return UNIT * (terms + 4 * (self.name in GRADIENTS) + 1) * wide + 1e-44

    def __repr__(self) -> str:
        options = {k: f"array {v.dtype.str} {v.shape} strides {v.strides}" if isinstance(v, np.ndarray) and v.ndim == self.x.ndim and k == "output"
                   else v.tolist() if isinstance(v, np.ndarray) else v for k, v in self.options.items()}  # fmt: skip
        return f"FilterCall({self.name}, {self.x.dtype.str} {self.x.shape} strides {self.x.strides}, {options})"


def _size(x: Any) -> Any:
    """The magnitude in float64; of complex numbers, of both parts together."""
    return np.abs(np.real(x)).astype(np.float64) + np.abs(np.imag(x))


class Magnitudes:
    """A filter engine that sums magnitudes, and counts what the bound of each pass adds up to."""

    terms = 0

    def passes(self, input: np.ndarray, output: np.ndarray, passes: Sequence[Pass]) -> None:
        self.terms = max(self.terms, sum(p.size + 3 for p in passes))
        bare = [p._replace(weights=None if p.weights is None else np.abs(p.weights), cval=abs(p.cval)) for p in passes]
        filters.passes(np.abs(input), output, bare)

    def dense(self, input: np.ndarray, output: np.ndarray, weights: np.ndarray, modes: Sequence[int], cval: float, origins: Sequence[int]) -> None:
        self.terms = max(self.terms, weights.size + 3)
        filters.dense(np.abs(input), output, np.abs(weights), modes, abs(cval), origins)


# --- comparing ------------------------------------------------------------------------------------------------------


def bits(got: np.ndarray, want: np.ndarray) -> None:
    """Equal to the last bit; SciPy's bools may be any byte."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got, want.view(np.uint8) != 0 if want.dtype == bool else want)


def check(call: FilterCall) -> None:
    """The call as it is against the bounds that `help(sepconv.ndimage)` states, and inside `exact()`."""
    with np.errstate(all="ignore"):
        want = call.run(scipy.ndimage)
        if call.bounded:
            double = np.float64 if want.dtype == np.float32 else np.complex128
            wider = np.promote_types(call.x.dtype, np.float64)
            got, wide = call.run(), call.run(scipy.ndimage, x=call.x.astype(wider), output=double)
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            apart = got - wide
            share = np.maximum(np.abs(apart.real), np.abs(apart.imag)) / call.bound()
            assert share.max() <= 1, f"{share.max():.3g} times the bound at {np.unravel_index(share.argmax(), share.shape)}; {call}"
        elif call.near and want.dtype.kind in "iu":
            got = call.run()
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            assert np.isin(got - want, np.array([-1, 0, 1]).astype(want.dtype)).all(), call
        else:
            alike(call, call.run(), want)
        with ndi.exact():
            alike(call, call.run(), want)


def alike(call: FilterCall, got: np.ndarray, want: np.ndarray) -> None:
    """To the last bit, but for means of floats, which SciPy takes by a running sum: those to the rounding of such a sum."""
    if call.name in MEANS and want.dtype.kind in "fc":
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        eps = LIMITS[want.real.dtype.name]
        most = np.abs(call.x).max(initial=abs(call.options.get("cval", 0)))
        np.testing.assert_allclose(got, want, rtol=eps, atol=8 * eps * most + max(call.x.shape, default=0) * 2.0**-50 * most)
    else:
        bits(got, want)


# --- drawing --------------------------------------------------------------------------------------------------------


def origins(draw: st.DrawFn, taps: int, convolve: bool = False) -> int:
    low, high = -(taps // 2), (taps - 1) // 2
    return draw(st.integers(-high, -low) if convolve and taps % 2 else st.integers(low + (convolve and taps % 2 == 0), high))


def weights(draw: st.DrawFn, shape: tuple[int, ...], complex_too: bool = True) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    w, flipped = rng.standard_normal(shape), (slice(None, None, -1),) * len(shape)
    kinds = ("any", "symmetric", "antisymmetric", "holes", "whole", *(["complex"] if complex_too else []))
    return {
        "any": w, "symmetric": w + w[flipped], "antisymmetric": w - w[flipped], "holes": w * (rng.random(shape) > 0.5),
        "whole": rng.integers(-5, 6, shape), "complex": w + 1j * rng.standard_normal(shape),
    }[draw(st.sampled_from(kinds))]  # fmt: skip


def laid(draw: st.DrawFn, x: np.ndarray) -> np.ndarray:
    """The same values with other strides."""
    how = draw(st.sampled_from(("plain", "plain", "Fortran", "turned", "apart", "read-only")))
    if how == "apart":
        room = np.full([2 * n for n in x.shape], 99, x.dtype)
        room[(slice(None, None, 2),) * x.ndim] = x
        return room[(slice(None, None, 2),) * x.ndim]
    made = {"Fortran": np.asfortranarray, "turned": lambda x: x[::-1, ..., ::-1].copy()[::-1, ..., ::-1] if x.ndim > 1 else x[::-1].copy()[::-1]}
    y = made.get(how, np.copy)(x)
    y.flags.writeable = how != "read-only"
    return y


def pixels(draw: st.DrawFn, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind == "f":
        return (rng.standard_normal(shape) * draw(st.sampled_from((1.0, 255.0, 1e-6)))).astype(dtype)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    most = {"bool": 2, "int8": 128, "uint8": 256}.get(dtype.name, 1000 if dtype.name in ("int16", "uint16") else 100)
    return rng.integers(0, most, shape).astype(dtype)


@st.composite
def small(draw: st.DrawFn) -> FilterCall:
    """Images of 1 to 9 pixels an axis, of every dtype; kernels may be larger than they are."""
    name = draw(st.sampled_from(ndi.__all__))
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4 if name not in ("correlate", "convolve") else 3))
    dtype = np.dtype(draw(st.sampled_from(("bool", *INTEGERS, *FLOATS * 2, *COMPLEX))))
    x = laid(draw, pixels(draw, shape, dtype))
    options = arguments(draw, name, x.shape, range(1, 21), 5, dtype.kind == "c" or draw(st.integers(0, 3)) == 0)
    return with_output(draw, FilterCall(name, x, options), (None, "float64", np.float32, *(["int64"] if dtype.kind in "iu" else [])))


SHAPES = ((70, 61), (64, 300), (41, 35, 3), (50, 90), (2, 2100), (4100, 1), (1, 4500), (5000,), (7, 30, 33), (3, 4, 20, 19), (2300, 2), (40, 36, 4))
TAPS = (1, 3, 8, 9, 31, 6, 12)  # of few heights of tiles: each is a kernel to compile
WAYS = (("float32", None), ("uint8", None), ("uint8", "float32"), ("uint8", "int16"), ("float32", "float64"), ("complex64", None))
MORE = tuple((x, y) for x in ("uint8", "int8", "uint16", "int16", "float32") for y in (None, "uint8", "int8", "uint16", "int16", "float32")
             if x != "float32" or y in (None, "float32"))  # fmt: skip


@st.composite
def large(draw: st.DrawFn, free: bool = False) -> FilterCall:
    """Images that may run as sweeps in float32 or 16 bits. Unless `free`, dtypes and taps are those of few kernels."""
    name = draw(st.sampled_from(ndi.__all__))
    shape = draw(st.sampled_from(SHAPES))
    read, write = draw(st.sampled_from(MORE if free else WAYS))
    if name in GRADIENTS and np.dtype(write or read).kind in "iuc":
        read, write = read if read != "complex64" else "float32", "float32"  # the root of what squares of integers wrap to is no number
    x = laid(draw, pixels(draw, shape, np.dtype(read)))
    taps = range(1, 140) if free and draw(st.integers(0, 2)) == 0 else TAPS
    call = FilterCall(name, x, arguments(draw, name, shape, taps, 5, False))
    return with_output(draw, call, (write,))


def arguments(draw: st.DrawFn, name: str, shape: tuple[int, ...], taps: Sequence[int], side: int, complex_weights: bool) -> dict[str, Any]:
    """What a function takes besides the image; not drawn is what SciPy does wrong."""
    ndim, mode, cval = len(shape), st.sampled_from(MODES), draw(st.sampled_from((0.0, 1.5, -2, 3)))
    axes = tuple(draw(st.permutations(range(ndim)))[: draw(st.integers(1, ndim))])
    axes = tuple(axis - ndim if draw(st.booleans()) else axis for axis in axes)
    several = lambda values: draw(st.one_of(values, st.tuples(*[values] * len(axes))))
    made: dict[str, Any] = {"cval": cval}
    if name in ("correlate1d", "convolve1d", "gaussian_filter1d", "uniform_filter1d", "sobel", "prewitt"):
        made |= {"axis": draw(st.integers(-ndim, ndim - 1)), "mode": draw(mode)}
        if name in ("sobel", "prewitt") and draw(st.booleans()):
            made["mode"] = [draw(mode) for _ in range(ndim)]
    elif name not in ("correlate", "convolve") and name not in GRADIENTS:
        made |= {"axes": axes, "mode": several(mode)}
    else:
        made["mode"] = draw(mode)
    return made | ARGUMENTS.get(name, lambda *_: {})(draw, shape, axes, taps, side, complex_weights, several)


def _line(convolve: bool) -> Any:
    def drawn(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
        w = weights(draw, (draw(st.sampled_from(taps)),), complex_weights)
        return {"weights": w, "origin": origins(draw, len(w), convolve)}

    return drawn


def _box(convolve: bool) -> Any:
    def drawn(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
        order = sorted(axis % len(shape) for axis in axes)
        most = [min(20 if len(axes) == 1 else side, 2 * shape[axis] if shape[axis] > 1 else 20) for axis in order]  # SciPy reads outside beyond
        w = weights(draw, tuple(draw(st.integers(1, k)) for k in most), complex_weights)
        shifts = [0 if convolve and k % 2 == 0 else origins(draw, k) if k % 2 else 0 for k in w.shape]
        axes = order if len(axes) == len(shape) else axes  # SciPy takes the origins in the array's order if all axes are named
        return {"weights": w, "origin": [shifts[order.index(axis % len(shape))] for axis in axes], "axes": tuple(axes)}

    return drawn


def _gaussian1d(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
    return _reach(draw, taps, draw) | {"order": draw(st.integers(0, 3))}


def _reach(draw: st.DrawFn, taps: Sequence[int], several: Any) -> dict[str, Any]:
    """The width of a Gaussian: of taps that are given, or as it comes with sigma, where any number of taps may come."""
    if taps is not TAPS and draw(st.booleans()):
        return {"sigma": several(st.floats(0.3, 4.0)), "truncate": draw(st.floats(0.5, 4))}
    return {"sigma": several(st.floats(0.5, 9.0)), "radius": several(st.sampled_from([k // 2 for k in taps if k % 2 and k < 60]))}


def _uniform1d(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
    size = draw(st.sampled_from(taps))
    return {"size": size, "origin": origins(draw, size)}


def _uniform(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
    size = several(st.sampled_from((*taps, 0)))
    least = min(size) if isinstance(size, tuple) else size
    return {"size": size, "origin": origins(draw, max(1, least)) if least > 1 else 0}


def _widths(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
    """One sigma: SciPy gives several to the axes in the array's order if all are named."""
    return _reach(draw, taps, draw)


def _gaussian(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
    return _reach(draw, taps, several) | {"order": several(st.integers(0, 3))}


def _generic(key: str) -> Any:
    def drawn(draw: st.DrawFn, shape: Any, axes: Any, taps: Sequence[int], side: int, complex_weights: bool, several: Any) -> dict[str, Any]:
        if draw(st.booleans()):
            return {key: draw(st.sampled_from(("sobel", "prewitt")))}
        return {key: "second", "extra_arguments": ([1, -2, 1],), "extra_keywords": draw(st.sampled_from((None, {"scale": 2})))}

    return drawn


ARGUMENTS = {
    "correlate1d": _line(False), "convolve1d": _line(True), "correlate": _box(False), "convolve": _box(True), "gaussian_filter1d": _gaussian1d,
    "gaussian_filter": _gaussian, "uniform_filter1d": _uniform1d, "uniform_filter": _uniform, "gaussian_laplace": _widths,
    "gaussian_gradient_magnitude": _widths, "generic_laplace": _generic("derivative2"), "generic_gradient_magnitude": _generic("derivative"),
}  # fmt: skip


def with_output(draw: st.DrawFn, call: FilterCall, dtypes: Sequence[Any]) -> FilterCall:
    """The call with an output: none, a dtype or an array of any strides; complex where the result is."""
    complex_result = call.x.dtype.kind == "c" or np.iscomplexobj(call.options.get("weights"))
    if complex_result:
        dtypes = (None, "complex64", np.complex128)
    elif call.x.dtype.name in ("bool", "uint64") and call.name not in ("correlate1d", "convolve1d", "correlate", "convolve", "uniform_filter1d"):
        # SciPy reads bytes of 2 and more in the second pass, which are no bools; and what is below 0 becomes more than a second sum can hold
        dtypes = ("float64", "float32")
    chosen = draw(st.sampled_from(dtypes))
    if draw(st.booleans()):
        dtype = np.dtype(chosen) if chosen is not None else np.promote_types(call.x.dtype, np.complex64) if complex_result else call.x.dtype
        target = laid(draw, np.zeros(call.x.shape, dtype))
        chosen = target if target.flags.writeable else target.copy()
    call.options["output"] = chosen
    inspect.signature(getattr(ndi, call.name)).bind_partial(call.x, **{k: v for k, v in call.options.items() if k not in ("radius", "truncate")})
    return call
