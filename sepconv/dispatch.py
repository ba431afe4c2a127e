"""Array type -> backend. Nothing is imported here that the caller has not imported already.

A backend is a module, or any object, with

    bind(problems, arrays, out) -> call      call(*arrays, out) -> out, for these arrays and all with the same shapes, strides and dtypes
    explain(problems, arrays, out) -> list of lines
    info() -> dict of facts

where `problems` is one Problem with the arrays x, weight, bias, residual, or the two of a separable convolution with the arrays x,
depthwise, depthwise_bias, pointwise, bias, residual; arrays that are not given are None. If its arrays are not NumPy's, it also has
`admit(name, array)`, which checks an argument and returns it with a `.shape` and a NumPy `.dtype`, and may have `signature(array)`: what of such
an array, as a key, decides whether a call that `bind` made is right for it; without it nothing is remembered.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from . import backends as rooms  # before `sepconv.backends` is bound to the function below

_modules: dict[str, Any] = {name: f"{rooms.__name__}.{name}" for name in ("cpu", "reference", "cuda", "torch")}
INTERFACE = "__cuda_array_interface__"  # stands for every type that has it and is not named
_types: dict[str, tuple[str, ...]] = {
    "cpu": ("numpy.ndarray",),
    "reference": ("numpy.ndarray",),
    "cuda": ("numba.cuda.cudadrv.devicearray.DeviceNDArrayBase", "numba.cuda.simulator.cudadrv.devicearray.FakeCUDAArray", INTERFACE),
    "torch": ("torch.Tensor",),
}
_found: dict[type, str] = {np.ndarray: "cpu"}
_ORDINARY: tuple[str | None, str] = (None, "")
# (the backend that is asked for, what is asked of a call instead of its result: "" for nothing else, "explain", "arguments")
_special = contextvars.ContextVar("sepconv_special", default=_ORDINARY)
_loaded: dict[str, Any] = {}
lock = threading.RLock()  # of whoever imports a part of this package, or compiles


def imported(module: str) -> Any:
    """A part of this package that calls import when they need it."""
    import logging  # noqa: F401  which Numba uses: its lock is asked for forks as well, and has to come after ours

    with lock:
        watch_forks()
        return importlib.import_module(module)


@functools.cache
def watch_forks() -> None:
    """From now on a fork waits for what holds the lock: a child would wait for ever for a module that is half imported, or for the lock itself.
    Called under the lock or not: what has a module half imported must not wait for who holds it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def load(name: str) -> Any:
    """The backend of that name, imported now if it was not before."""
    try:
        return _loaded[name]
    except KeyError:
        pass
    module = _modules[name]
    backend = imported(module) if isinstance(module, str) else module
    return _loaded.setdefault(name, backend)


def find(x: Any) -> Any:
    """The backend that computes on arrays of x's type; TypeError lists the ones there are."""
    cls = type(x)
    name = _found.get(cls)
    if name is None:
        name = search("x", x)
        _found[cls] = name
    forced = _special.get()[0]
    if forced is not None:
        if _family(x) not in _types[forced]:
            raise TypeError(f'x is a {_qualified(cls)}; use_backend("{forced}") takes {" or ".join(_types[forced])}')
        name = forced
    return load(name)


def simulated(x: Any) -> bool:
    """Whether x is an array of Numba's simulator of CUDA, which has no interface."""
    return _qualified(type(x)) in _types["cuda"]


def _qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _family(x: Any) -> str | None:
    """The registered name of the array type that x's is or derives from."""
    known = {name for names in _types.values() for name in names}
    named = next((_qualified(base) for base in type(x).__mro__ if _qualified(base) in known), None)
    return INTERFACE if named is None and hasattr(x, INTERFACE) else named


def search(argument: str, x: Any) -> str:
    family = _family(x)
    if family is None:
        taken = "; ".join(f"{name}: {', '.join(types)}" for name, types in _types.items())
        plain = "convert it with numpy.asarray; " if isinstance(x, (list, tuple)) or np.isscalar(x) else ""
        raise TypeError(f"{argument} is a {_qualified(type(x))}; {plain}the backends take {taken}")
    return next(name for name, types in _types.items() if family in types)


def admit(name: str, array: Any) -> np.ndarray:
    """An argument as a plain ndarray: subclasses that add no meaning are taken, the others and everything else are a TypeError."""
    cls = type(array)
    if cls is np.ndarray:
        return array
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} is {array if np.isscalar(array) else _qualified(cls)!r}; allowed is a numpy.ndarray, as x is one")
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"{name} is a {_qualified(cls)}; its meaning would be lost: convert it, with numpy.asarray or .filled()")
    if cls.__array_ufunc__ is not np.ndarray.__array_ufunc__:
        raise TypeError(f"{name} is a {_qualified(cls)}, a subclass with its own arithmetic; convert it with numpy.asarray")
    return array.view(np.ndarray)


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Inside the block, calls of this thread (or task) run on the backend `name`, whatever the dispatcher would pick.

    >>> with sepconv.use_backend("reference"): sepconv.conv2d(x, weight)

    ValueError for an unknown name; a call raises TypeError if the backend does not take its arrays.
    """
    if not isinstance(name, str) or name not in _modules:
        raise ValueError(f"name is {name!r}; the backends are {', '.join(_modules)}")
    token = _special.set((name, asked()))
    try:
        yield
    finally:
        _special.reset(token)


def ordinary() -> bool:
    """Whether a call is to be made, on the backend of its array: neither `use_backend` nor `asking` is in force here."""
    return _special.get() is _ORDINARY


def asked() -> str:
    """What is asked of a call instead of its result."""
    return _special.get()[1]


def explaining() -> bool:
    """Whether a call is to be explained instead of made."""
    return asked() == "explain"


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Inside the block, calls return what they would do ("explain") or what they were given ("arguments")."""
    token = _special.set((_special.get()[0], what))
    try:
        yield
    finally:
        _special.reset(token)


def register_backend(name: str, backend: Any, types: Iterable[str]) -> None:
    """Add a backend for array types given by qualified name, "package.module.Type"; subclasses count.

    `backend` is an object with `bind`, `explain` and `info` (see the head of `sepconv/dispatch.py`), or the import path of
    such a module, imported at its first use. A backend of that name is replaced.

    >>> sepconv.register_backend("mine", "mypackage.backend", ["mypackage.array.Array"])
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name is {name!r}; allowed is a non-empty string")
    names = (types,) if isinstance(types, str) else tuple(types) if isinstance(types, Iterable) else ()
    if not names or not all(isinstance(t, str) and "." in t for t in names):
        raise ValueError(f'types is {types!r}; allowed are qualified names such as "package.module.Type"')
    _modules[name], _types[name] = backend, names
    _loaded.pop(name, None)
    for cls in [c for c in _found if c is not np.ndarray]:
        del _found[cls]


def backends() -> dict[str, dict[str, Any]]:
    """What each backend is: whether it can run (`available`), if not why (`reason`), the array types it takes, and its own facts.

    >>> sepconv.backends()["cpu"]["threads"]
    """
    report: dict[str, dict[str, Any]] = {}
    for name in _modules:
        try:
            report[name] = {"available": True, "arrays": ", ".join(_types[name]), **load(name).info()}
        except Exception as error:  # a broken install of one backend is a fact to report, not a reason to fail
            report[name] = {"available": False, "arrays": ", ".join(_types[name]), "reason": f"{type(error).__name__}: {error}"}
    return report
