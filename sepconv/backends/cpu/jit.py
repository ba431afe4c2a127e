"""How Numba compiles what is here: kernels, and the parts of them."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import njit
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

OPTIONS = dict(nogil=True, error_model="numpy", boundscheck=False, no_cfunc_wrapper=True)

# A function that kernels alone call: from Python it is not to be called, nor in the `py_func` of another, for nothing is there to enter. Numba
# would compile each for callers from Python and from C as well, and unpack records there field by field: a quarter of all the time that compiling
# takes.
callee = functools.partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


TILED = ("depthwise", "copied", "pointwise", "separable", "standard")  # files whose kernels spend their time in generated tiles


@contextmanager
def lighter(function: Callable[..., Any]) -> Iterator[None]:
    """LLVM's passes at their second level while a kernel of TILED is compiled, unless NUMBA_OPT is set. What the third adds, loops written anew for
    each outcome of what does not change in them above all, takes a fifth of the time, and no tile ran faster for it: each is written out as it
    should be. (Plain loops do: those of `lines.py` took twice as long without.) Numba's lock is held, so that nobody else compiles by it."""
    if "NUMBA_OPT" in os.environ or function.__module__.rpartition(".")[2] not in TILED:
        yield
        return
    cpu_target.target_context.codegen()  # made at the first compilation, by the level of all others
    with global_compiler_lock:
        before = config.OPT
        config.OPT = type(before)(2)
        try:
            yield
        finally:
            config.OPT = before


@contextmanager
def uncollected() -> Iterator[None]:
    """Python's search for cycles put off, if it is on: while something is timed, or compiled. What Numba makes of a kernel is some hundred thousand
    objects, most of them in use to the end: to look through them again and again was a quarter of the time that compiling takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
