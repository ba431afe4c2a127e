"""Threads: how the jobs of a record are spread over them, and what a fork leaves of them.

Nothing here may raise for a reason the user did not give: a threading layer that is not there, a child of a fork are facts, and one thread does
the work.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np.ufunc import parallel as pool

from ... import threads
from ...dispatch import lock
from .frame import BEGIN, CHUNKS, FAILED, STRANGE
from .runtime import RECORD, compiled, enter

# --- the parallel function -----------------------------------------------------------------------------------------

SPREAD = numba.types.void(numba.types.int64, RECORD, numba.types.int64)
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
_begin, _number, _size = (f"sepconv_{name}" for name in OPENMP)  # as compiled code knows them
_own_number, _team_size = (numba.types.ExternalFunction(name, numba.types.int32()) for name in (_number, _size))


def _spread(entry, record, count):  # type: ignore[no-untyped-def]
    for chunk in numba.prange(count):
        if not enter(entry, record, chunk):
            record[STRANGE] = FAILED


def _share(entry, record, count):  # type: ignore[no-untyped-def]
    """A thread's share of `_team`, which may have fewer threads than it asked for."""
    for chunk in range(_own_number(), count, _team_size()):
        if not enter(entry, record, chunk):
            record[STRANGE] = FAILED


@intrinsic
def _in_team(typing: Any, entry: Any, record: Any, count: Any) -> Any:
    """`_share` on so many threads of OpenMP's."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once_value(b, cgutils.pack_struct(b, args))
        share = ir.Function(b.module, ir.FunctionType(ir.VoidType(), [place.type]), "share")
        share.linkage = "internal"
        inner = ir.IRBuilder(share.append_basic_block())
        given = cgutils.unpack_tuple(inner, inner.load(share.args[0]))
        context.call_internal_no_propagate(inner, context.compile_subroutine(inner, _share, signature).fndesc, signature, given)
        inner.ret_void()
        number = ir.IntType(32)
        begin = cgutils.get_or_insert_function(b.module, ir.FunctionType(ir.VoidType(), [share.type, place.type, number, number]), _begin)
        b.call(begin, [share, place, b.trunc(args[2], number), number(0)])
        return context.get_dummy_value()

    return numba.types.void(entry, record, count), codegen


def _team(entry, record, count):  # type: ignore[no-untyped-def]
    _in_team(entry, record, count)


def launcher() -> Callable[..., None]:
    """What spreads work here. Numba's own launch takes twice as long as OpenMP's: a microsecond more, of layers that take ten."""
    if _threads.layer is None:
        _threads.start()
    return _team if _threads.team else _spread


def spread() -> Callable[..., None]:
    """The one parallel function there is: it runs a kernel, given by its address, over the chunks of a record. So that each kernel is
    compiled once, for one thread and for many."""
    function = launcher()
    return compiled(function, SPREAD, parallel=function is _spread)


# --- the threads ---------------------------------------------------------------------------------------------------


class _Threads:
    """OpenMP's threads, or those that Numba has: found at the first parallel call, and whether they may be used here and now."""

    def __init__(self) -> None:
        self.layer: str | None = None  # unknown until started
        self.team = False  # whether OpenMP is called directly
        self.reason = ""
        self.one_at_a_time = threading.Lock()

    def start(self) -> None:
        with lock:
            if self.layer is not None:
                return
            if threads.forked and numba.threading_layer() != "workqueue":
                self._lose()
                return
            try:
                self.team, layer = _found()
                self.layer = layer
            except Exception as error:  # no such layer, or none at all: serial is right as well
                self.layer, self.reason = "none", f"{type(error).__name__}: {error}"

    def before_fork(self) -> None:
        """Ends OpenMP's threads: a child would wait for them for ever, in a parallel loop of the user's own. They are started again when needed."""
        if self.team and (pause := getattr(_openmp(), "omp_pause_resource_all", None)):
            pause(2)  # omp_pause_hard

    def after_fork(self) -> None:
        self.one_at_a_time = threading.Lock()  # another thread may have held it, and is not here
        if self.layer not in (None, "workqueue"):
            self._lose()

    def _lose(self) -> None:
        self.layer, self.team, self.reason = "none", False, "this process is a fork of one that ran threads, which OpenMP does not survive"


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_threads.before_fork, after_in_child=_threads.after_fork)


def _openmp() -> ctypes.CDLL | None:
    """The library of Numba's threads, if they are OpenMP's."""
    try:
        from numba.np.ufunc import omppool

        return ctypes.CDLL(omppool.__file__)
    except Exception:  # another layer, or no OpenMP to be found
        return None


def _named() -> bool:
    """Gives compiled code the functions of OpenMP; False if it has others, as Microsoft's."""
    found = [getattr(_openmp(), name, None) for name in OPENMP]
    if None in found:
        return False
    for name, function in zip((_begin, _number, _size), found):
        binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    return True


def _found() -> tuple[bool, str]:
    """Whether OpenMP is called directly, and the name of what has the threads.

    Numba itself would rather have TBB, which is there as soon as a library is imported that brings its own, as OpenVINO does: a launch of it
    takes 10 us more. So OpenMP comes first unless the user asked for another layer, also where Numba's threads run already.
    """
    if config.THREADING_LAYER == "default" and _named():
        return True, "omp"
    with _other_pools_kept():
        pool._launch_threads()
    layer = numba.threading_layer()
    return layer == "omp" and _named(), layer


@contextmanager
def _other_pools_kept() -> Iterator[None]:
    """Numba's start sets the number of threads of the OpenMP that it may share with PyTorch: put it back."""
    openmp = _openmp()
    before = openmp.omp_get_max_threads() if openmp else 0
    yield
    if openmp:
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


def found() -> tuple[str, str]:
    """The name of what has the threads, started if a call would use it; why it is "none"."""
    workers()
    return _threads.layer or "not started", _threads.reason


@contextmanager
def _masked(count: int) -> Iterator[None]:
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
    if _threads.team:
        run(kernel.entry, record, count)
    elif _threads.layer != "workqueue":
        with _masked(count):
            run(kernel.entry, record, count)
    elif _threads.one_at_a_time.acquire(blocking=False):
        try:
            with _masked(count):
                run(kernel.entry, record, count)
        finally:
            _threads.one_at_a_time.release()
    else:
        for chunk in range(count):
            kernel(record, chunk)
    if record[STRANGE] == FAILED:
        raise MemoryError("a thread's scratch could not be allocated")


def many() -> int:
    """The address of `spread`, for compiled code that launches by itself; 0 where Python has to."""
    run = spread()
    return run.entry if _threads.team else 0


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
