"""Compiled kernels: made once, kept in the cache's folder, and called by their address; and, from `machine.py`, the machine.

Nothing here may raise for a reason the user did not give: a folder that can't be written is a fact, and the work is done without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import config
from numba.extending import intrinsic
from numba.np.ufunc import parallel as pool

from ...dispatch import lock, watch_forks
from .jit import OPTIONS, lighter, uncollected
from .kernel_cache import KernelCache, cache_folder, counts
from .machine import Machine as Machine
from .machine import has as has
from .machine import machine as machine

RECORD = numba.types.Array(numba.types.int64, 1, "C")
SIGNATURE = numba.types.void(RECORD, numba.types.int64)  # the record, and which chunk of its jobs to run

watch_forks()  # also where this module is imported by itself: a fork waits for the end of a compilation
_compiled: dict[tuple[Any, ...], Callable[..., None]] = {}


def kernel(factory: Callable[..., Callable[..., None]], *cells: Any) -> Callable[..., None]:
    """The compiled kernel that `factory(*cells)` makes: from this process, from the cache, or compiled now. Its `entry` is its address."""
    return _compiled.get((factory, cells)) or _once((factory, cells), lambda: _compile(factory(*cells), SIGNATURE))


def compiled(function: Callable[..., Any], signature: Any, **options: Any) -> Callable[..., Any]:
    """The same of a function that is no kernel."""
    return _compiled.get((function,)) or _once((function,), lambda: _compile(function, signature, **options))


def _once(key: tuple[Any, ...], make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    with lock:
        return _compiled.get(key) or _compiled.setdefault(key, make())


def _compile(function: Callable[..., None], signature: Any, **options: Any) -> Callable[..., None]:
    started = time.perf_counter()
    made = numba.njit(function, **OPTIONS, **options)
    if cache_folder() is not None:
        made._cache = KernelCache(function)
    with _steady_environment(), uncollected(), lighter(function):
        made.compile(signature)
    made.disable_compile()
    (compiled,) = made.overloads.values()
    made.entry = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    counts["seconds"] += time.perf_counter() - started
    return made


@contextmanager
def _steady_environment() -> Iterator[None]:
    """Numba refuses to compile once NUMBA_NUM_THREADS has changed under running threads; it shall see what they were started with."""
    name, given = "NUMBA_NUM_THREADS", os.environ.get("NUMBA_NUM_THREADS")
    if not pool._is_initialized or given == str(config.NUMBA_NUM_THREADS):
        yield
        return
    os.environ[name] = str(config.NUMBA_NUM_THREADS)
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]
        else:
            os.environ[name] = given


@intrinsic
def enter(typing: Any, entry: Any, record: Any, chunk: Any) -> Any:
    """Calls the kernel at an address; False if it raised, which is where its scratch could not be had."""

    return numba.types.boolean(entry, record, chunk), _entered


@intrinsic
def enter_all(typing: Any, parallel: Any, entry: Any, record: Any, count: Any) -> Any:
    """The same of `team.spread`, at the address `parallel`."""
    return numba.types.boolean(parallel, entry, record, count), _entered


def _entered(context: Any, b: Any, signature: Any, args: Any) -> Any:
    kinds = signature.args[1:]
    kind = context.call_conv.get_function_type(numba.types.none, kinds)
    status, _ = context.call_conv.call_function(b, b.inttoptr(args[0], kind.as_pointer()), numba.types.none, kinds, args[1:])
    return b.not_(status.is_error)
