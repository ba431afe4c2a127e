"""What lies between Numba and the kernels: the compiled code, the threads; and, from `machine.py`, the machine.

Nothing here may raise for a reason the user did not give: a folder that can't be written, a threading layer that is not there, a child
of a fork are facts, and the work is done without.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import config
from numba.extending import intrinsic
from numba.np.ufunc import parallel as pool

from ... import threads
from .frame import BEGIN, CHUNKS, FAILED, STRANGE
from .jit import OPTIONS, lighter, uncollected
from .kernel_cache import KernelCache, cache_folder, counts
from .machine import Machine as Machine
from .machine import has as has
from .machine import machine as machine

RECORD = numba.types.Array(numba.types.int64, 1, "C")
SIGNATURE = numba.types.void(RECORD, numba.types.int64)  # the record, and which chunk of its jobs to run


# --- compiled code -------------------------------------------------------------------------------------------------

_lock = threading.RLock()
_compiled: dict[tuple[Any, ...], Callable[..., None]] = {}


def kernel(factory: Callable[..., Callable[..., None]], *cells: Any) -> Callable[..., None]:
    """The compiled kernel that `factory(*cells)` makes: from this process, from the cache, or compiled now. Its `entry` is its address."""
    return _compiled.get((factory, cells)) or _once((factory, cells), lambda: _compile(factory(*cells), SIGNATURE))


def compiled(function: Callable[..., Any], signature: Any, **options: Any) -> Callable[..., Any]:
    """The same of a function that is no kernel."""
    return _compiled.get((function,)) or _once((function,), lambda: _compile(function, signature, **options))


def _once(key: tuple[Any, ...], make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    with _lock:
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


@intrinsic
def enter(typing: Any, entry: Any, record: Any, chunk: Any) -> Any:
    """Calls the kernel at an address; False if it raised, which is where its scratch could not be had."""

    return numba.types.boolean(entry, record, chunk), _entered


@intrinsic
def enter_all(typing: Any, parallel: Any, entry: Any, record: Any, count: Any) -> Any:
    """The same of `spread`, at the address `parallel`."""
    return numba.types.boolean(parallel, entry, record, count), _entered


def _entered(context: Any, b: Any, signature: Any, args: Any) -> Any:
    kinds = signature.args[1:]
    kind = context.call_conv.get_function_type(numba.types.none, kinds)
    status, _ = context.call_conv.call_function(b, b.inttoptr(args[0], kind.as_pointer()), numba.types.none, kinds, args[1:])
    return b.not_(status.is_error)


@intrinsic
def asked(typing: Any, function: Any) -> Any:
    """What the C function `int f(void)` at an address returns."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        return b.sext(b.call(b.inttoptr(args[0], kind.as_pointer()), []), ir.IntType(64))

    return numba.types.int64(function), codegen


SPREAD = numba.types.void(numba.types.int64, RECORD, numba.types.int64)


def _spread(entry, record, count):  # type: ignore[no-untyped-def]
    for chunk in numba.prange(count):
        if not enter(entry, record, chunk):
            record[STRANGE] = FAILED


def spread() -> Callable[..., None]:
    """The one parallel function there is: it runs a kernel, given by its address, over the chunks of a record. So that each kernel is
    compiled once, for one thread and for many."""
    return compiled(_spread, SPREAD, parallel=True)


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


# --- threads -------------------------------------------------------------------------------------------------------


class _Threads:
    """Numba's pool of threads: started at the first parallel call, and whether it may be used here and now."""

    def __init__(self) -> None:
        self.layer: str | None = None  # unknown until started
        self.reason = ""
        self.one_at_a_time = threading.Lock()

    def start(self) -> None:
        with _lock:
            if self.layer is not None:
                return
            try:
                with _other_pools_kept():
                    pool._launch_threads()
                self.layer = numba.threading_layer()
            except Exception as error:  # no such layer, or none at all: serial is right as well
                self.layer, self.reason = "none", f"{type(error).__name__}: {error}"

    def after_fork(self) -> None:
        self.one_at_a_time = threading.Lock()  # another thread may have held it, and is not here
        if pool._is_initialized and self.layer != "workqueue":
            self.layer, self.reason = "none", "this process is a fork of one that ran threads, which OpenMP does not survive"


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    # A child would inherit the lock of a thread that compiles, and Numba's own with it: a fork waits for the end of a compilation.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
    os.register_at_fork(after_in_child=_threads.after_fork)


@contextmanager
def _other_pools_kept() -> Iterator[None]:
    """Numba's start sets the number of threads of the OpenMP that it may share with PyTorch: put it back."""
    try:
        from numba.np.ufunc import omppool

        openmp = ctypes.CDLL(omppool.__file__)
        before = openmp.omp_get_max_threads()
    except Exception:  # another layer, or no OpenMP to be found: nothing to keep
        yield
        return
    yield
    openmp.omp_set_num_threads(before)


def workers() -> int:
    """How many threads a call may use now."""
    wanted = threads.get_num_threads()
    if wanted > 1:
        if _threads.layer is None:
            _threads.start()
        if _threads.layer == "none":
            return 1
    return wanted


@contextmanager
def masked(count: int) -> Iterator[None]:
    """Numba's own number of threads is a setting of each thread: set for the launch, and put back."""
    before = pool._get_num_threads()
    if before == count:
        yield
        return
    pool._set_num_threads(min(count, config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        pool._set_num_threads(before)


def launch(kernel: Any, record: Any, count: int) -> None:
    """One parallel launch. The workqueue layer aborts where two threads enter it: the second one there runs serially."""
    run = spread()
    if _threads.layer == "workqueue":
        if not _threads.one_at_a_time.acquire(blocking=False):
            for chunk in range(count):
                kernel(record, chunk)
            return
        try:
            with masked(count):
                run(kernel.entry, record, count)
        finally:
            _threads.one_at_a_time.release()
    elif pool._get_num_threads() == count:
        run(kernel.entry, record, count)
    else:
        with masked(count):
            run(kernel.entry, record, count)
    if record[STRANGE] == FAILED:
        raise MemoryError("a thread's scratch could not be allocated")


def many() -> tuple[int, int]:
    """The addresses of `spread`, and of the function that says how many threads Numba would use now: for compiled code that launches by itself.
    Zeros where Python has to look first."""
    if _threads.layer not in ("omp", "tbb"):
        return 0, 0
    return spread().entry, ctypes.cast(pool._get_num_threads, ctypes.c_void_p).value or 0


def run(kernel: Any, record: Any, count: int) -> None:
    """The jobs from a record's BEGIN to its END, on so many threads."""
    if count > 1:
        launch(kernel, record, count)
    else:
        kernel(record, 0)


def run_jobs(kernel: Any, record: Any, jobs: int, count: int) -> None:
    """All jobs of a record, on so many threads."""
    record[BEGIN : CHUNKS + 1] = 0, jobs, count
    run(kernel, record, count)


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # another process has just given it its name
        return 0


def facts() -> dict[str, Any]:
    """For `sepconv.backends()`."""
    known, folder = machine(), cache_folder()
    size = sum(map(_bytes, folder.glob("*"))) if folder is not None else 0
    workers()
    return {
        "cpu": known.cpu, "isa": known.isa, "lanes": known.lanes("float32"), "registers": known.registers,
        "threads": threads.get_num_threads(), "threading_layer": _threads.layer or "not started", "threading_reason": _threads.reason,
        "cache_folder": str(folder) if folder else "none: no folder can be written", "cache_bytes": size,
        "cache_hits": int(counts["hits"]), "cache_misses": int(counts["misses"]), "compile_seconds": round(counts["seconds"], 3),
    }  # fmt: skip
