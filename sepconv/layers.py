"""Layers: the functions of `sepconv` with their weights and options held, for calls that are made many times with the same weights.

A layer copies its weights and options when it is made: changing them afterwards has no effect. It lays the weights out once as the kernel reads
them, so that a call packs nothing: channels last the output channels are innermost, and a 1x1 weight is from the second call on held once more, in
panels as wide as the kernel's tile. A layer takes the arguments of the function of the same name, and computes the same.

>>> layer = sepconv.layers.SeparableConv2d(depthwise, pointwise, bias, padding="same", layout="NHWC", activation="relu")
>>> y = layer(x)                    # as sepconv.separable_conv2d(x, depthwise, pointwise, bias, padding="same", ...)
>>> layer(x, out=y, residual=z)     # pointwise and separable layers take a residual

A `Chain` is layers one after the other, on arrays that stay the same.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import activations, call, dispatch, ops
from .cache import Cache
from .problem import LAYOUTS, pads_of, settings
from .threads import get_num_threads

Array = Any
LINE = 64  # bytes of a cache line


def _innermost(weight: np.ndarray) -> np.ndarray:
    """A copy with the output channels, the first axis, innermost in memory, each row of them on its own cache lines."""
    item = weight.dtype.itemsize
    channels = weight.shape[0]
    pitch = -(-channels * item // LINE) * LINE // item
    pitch += 0 if pitch * item % 4096 else LINE // item  # rows 4 KiB apart would drive each other out of the first cache
    rows = weight.size // max(1, channels)
    room = np.empty(rows * pitch * item + LINE, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE
    table = room[start : start + rows * pitch * item].view(weight.dtype).reshape(*weight.shape[1:], pitch)
    held = np.moveaxis(table[..., :channels], -1, 0)
    held[...] = weight
    return held


def _own(option: Any) -> Any:
    """The option, of lists a copy: theirs would be changed with them."""
    return type(option)(map(_own, option)) if type(option) in (list, tuple) else option


class _Layer:
    """What all layers are: the arrays and options of a function."""

    function: ClassVar[Callable[..., Array]]
    arrays: ClassVar[tuple[str, ...]]
    dims: ClassVar[int]

    def __init__(self, *arrays: Array, **options: Any) -> None:
        names = dict(zip(self.arrays, arrays))
        if len(arrays) > len(self.arrays):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.arrays)} and keywords; {len(arrays)} arrays were given")
        for name in [name for name in self.arrays if name in options]:
            if name in names:
                raise TypeError(f"{type(self).__name__} got {name} twice")
            names[name] = options.pop(name)
        extra = [name for name in ("out", "residual") if name in options]
        if extra:
            raise TypeError(f"{extra[0]} belongs to a call of the layer, not to the layer")
        layout = options.get("layout")
        last = isinstance(layout, str) and layout == LAYOUTS[self.dims][1]
        self._given = {name: self._held(name, array, last) for name, array in names.items()}
        missing = [name for name in ("weight", "depthwise", "pointwise") if name in self.arrays and self._given.get(name) is None]
        if missing:
            raise TypeError(f"{type(self).__name__} needs {missing[0]}")
        self._options = options = {name: _own(option) for name, option in options.items()}
        with dispatch.asking("arguments"):
            self._kind, self._dims, (_, *held, _), self._how = type(self).function(None, **self._given, **options)
        self._check(**options)
        self._held_arrays, self._calls, self._kept = tuple(held), Cache[Any](64), dict[Any, Any]()
        self._recent: Callable[..., Array | None] | None = None  # the last call, if it can tell whether the next one is like it
        self._plain = call.lies(*held) is not None

    def _held(self, name: str, array: Array, last: bool) -> Array:
        if not isinstance(array, np.ndarray):
            if array is not None:
                dispatch.search(name, array)  # a TypeError for what no backend takes
            return array  # kept as it is
        if not last or "bias" in name or type(array) is not np.ndarray or array.ndim < 2 or array.dtype.kind != "f" or array.size == 0:
            return array.copy()  # a subclass stays what it is, and the function looks at it
        return _innermost(array)

    def _check(self, padding: Any = 0, activation: Any = None, depthwise_activation: Any = None, **others: Any) -> None:
        """Refuses at once what no call could take."""
        _, _, stride, dilation, _ = settings(self.dims, **others)
        pads_of(padding, self.dims, (0,) * self.dims, stride, dilation)
        for name, value in (("activation", activation), ("depthwise_activation", depthwise_activation)):
            activations.resolve(name, value, np.dtype(np.float64))

    def __call__(self, x: Array, *, out: Array | None = None, residual: Array | None = None) -> Array:
        """The function's result for x; `out` and, where the function has one, `residual` as there."""
        recent = self._recent
        if recent is not None and dispatch.ordinary():
            result = recent(x, *self._held_arrays, residual, out)
            if result is not None:
                return result
        if residual is not None and "residual" not in type(self).function.__kwdefaults__:
            raise TypeError(f"{type(self).__name__} takes no residual; pointwise and separable layers do")
        key = call.lies(x, residual, out) if self._plain else None
        result = call.run(self._calls, key, self._kind, self._dims, (x, *self._held_arrays, residual), out, self._how, self._kept)
        self._recent = getattr(self._calls.get(key), "again", None)
        return result

    def recorded(self, x: Array, out: Array, residual: Array | None) -> Any:
        """What a `Chain` runs in place of a call; None, if it has to be made."""
        key = call.lies(x, residual, out) if self._plain else None
        made = getattr(self._calls.get(key), "recorded", None)
        return None if made is None else made(x, *self._held_arrays, residual, out)

    def __getstate__(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._given, self._options

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        self.__init__(**state[0], **state[1])  # type: ignore[misc]

    def __repr__(self) -> str:
        shapes = [f"{name}={None if array is None else tuple(array.shape)}" for name, array in self._given.items()]
        return f"{type(self).__name__}({', '.join(shapes + [f'{name}={value!r}' for name, value in self._options.items()])})"


KINDS = {  # class, function, the arrays that it holds
    "Conv": ("conv", ("weight", "bias")),
    "DepthwiseConv": ("depthwise_conv", ("weight", "bias")),
    "PointwiseConv": ("pointwise_conv", ("weight", "bias")),
    "SeparableConv": ("separable_conv", ("depthwise", "pointwise", "bias", "depthwise_bias")),
}


def _make(kind: str, dims: int) -> type[_Layer]:
    operation, arrays = KINDS[kind]
    name = f"{operation}{dims}d"
    function = getattr(ops, name)
    held = ", ".join(arrays[:-1] if kind == "SeparableConv" else arrays)
    doc = f"""`sepconv.{name}` with {" and ".join(arrays)} held.

    {kind}{dims}d({held}, *, ...) takes the keywords of the function but for out and residual, and raises TypeError for an array that is missing;
    a call, layer(x, out=None{", residual=None" if "residual" in function.__kwdefaults__ else ""}), raises what the function raises.
    """
    return type(
        f"{kind}{dims}d", (_Layer,), {"function": staticmethod(function), "arrays": arrays, "dims": dims, "__doc__": doc, "__module__": __name__}
    )


for _kind in KINDS:
    for _dims in LAYOUTS:
        globals()[f"{_kind}{_dims}d"] = _make(_kind, _dims)


class Step(NamedTuple):
    """layer(x, out=out, residual=residual), the last only if it is given."""

    layer: Callable[..., Any]
    x: Array
    out: Array
    residual: Array | None = None

    def __call__(self) -> None:
        self.layer(self.x, out=self.out, **({} if self.residual is None else {"residual": self.residual}))


class Chain:
    """Calls of layers one after the other, on arrays that stay the same, as a network makes them: from the third time on, all of them are one
    call of compiled code, with no Python between.

    Parameters
    ----------
    steps : (layer, x, out) or (layer, x, out, residual) each. A layer may be any callable; those that are not of this module, or whose arrays
        have to be looked at or converted, are called each time.

    Calling it runs the steps, on what the arrays hold then, and returns the last one's out. The arrays are not to be resized or locked. ValueError,
    TypeError: there are no steps, or one is something else; a layer raises what it raises.

    Example
    -------
    >>> chain = sepconv.layers.Chain((expand, x, wide), (depthwise, wide, middle), (project, middle, y, x))
    >>> x[...] = image; chain()  # y
    """

    def __init__(self, *steps: tuple[Any, ...]) -> None:
        if not steps:
            raise ValueError("steps has none; allowed are (layer, x, out) or (layer, x, out, residual), one or more")
        for step in steps:
            if not isinstance(step, (tuple, list)) or len(step) not in (3, 4) or not callable(step[0]):
                raise TypeError(f"steps has {reprlib.repr(step)}; allowed are (layer, x, out) and (layer, x, out, residual)")
        self._steps = [Step(*step) for step in steps]
        self._runs: dict[int, int] = {}  # by the number of threads, as far as they are counted
        self._tapes: dict[int, Any] = {}

    def __call__(self) -> Array:
        at, threads, ordinary = 0, get_num_threads(), dispatch.ordinary()
        tape = self._tapes.get(threads) if ordinary else None
        while (at := at if tape is None else tape(at)) < len(self._steps):
            self._steps[at]()
            at += 1
        if ordinary and threads not in self._tapes:
            self._runs[threads] = self._runs.get(threads, 0) + 1
            if self._runs[threads] > 1:
                self._tapes[threads] = self._recorded()
        return self._steps[-1].out

    def _recorded(self) -> Any:
        calls = [getattr(layer, "recorded", lambda *_: None)(*arrays) for layer, *arrays in self._steps]
        return dispatch.load("cpu").Tape(calls) if any(call is not None for call in calls) else None


__all__ = [*(f"{kind}{dims}d" for kind in KINDS for dims in LAYOUTS), "Chain"]
