"""What lies between Numba and the kernels: the compiled code and its cache, the threads; and, from `machine.py`, the machine.

Nothing here may raise for a reason the user did not give: a folder that can't be written, a threading layer that is not there, a child
of a fork are facts, and the work is done without.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.extending import intrinsic
from numba.np.ufunc import parallel as pool

from ... import threads
from .frame import BEGIN, CHUNKS, FAILED, STRANGE
from .jit import OPTIONS, lighter, uncollected
from .machine import Machine as Machine
from .machine import has as has
from .machine import machine as machine

RECORD = numba.types.Array(numba.types.int64, 1, "C")
SIGNATURE = numba.types.void(RECORD, numba.types.int64)  # the record, and which chunk of its jobs to run


# --- compiled code, and the folder it is kept in -------------------------------------------------------------------


@functools.cache
def digest() -> str:
    """Of all sources that a kernel is made from: Numba's own key would not see a change in a function that the kernel calls."""
    here, made = Path(__file__).resolve().parent, hashlib.sha256()
    if not here.is_dir():  # a zipped or frozen install has no files to read
        return ""
    try:
        for source in sorted([*here.glob("*.py"), *here.parent.glob("*.py"), *here.parent.parent.glob("activations.py")]):
            made.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    except OSError:  # a zipped or frozen install has no files to read
        return ""
    made.update(f"{numba.__version__} {sys.version_info[:2]}".encode())
    return made.hexdigest()[:16]


def _folders() -> Iterator[Path]:
    for name in ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    try:
        if sys.platform == "win32":
            yield Path(os.environ["LOCALAPPDATA"]) / "sepconv"
        elif sys.platform == "darwin":
            yield Path.home() / "Library" / "Caches" / "sepconv"
        else:
            yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sepconv"
    except (KeyError, RuntimeError):
        pass
    try:
        yield Path(tempfile.gettempdir()) / f"sepconv-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    except OSError:
        pass


def _usable(folder: Path) -> bool:
    """Whether files can be made there; a shared temporary folder must also be our own, since code is loaded from it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: SEPCONV_CACHE_DIR, NUMBA_CACHE_DIR, the user's cache, a temporary folder; None if none can be used.

    A folder that holds this version's kernels already is used even if it cannot be written.
    """
    if not digest():
        return None
    for base in _folders():
        folder = base / f"kernels-{digest()}"
        if _usable(folder) or (folder.is_dir() and os.access(folder, os.R_OK)):
            return folder
    return None


class _Locator:
    """Tells Numba's cache where to look; the stamp is the digest, so that no other version's kernel is taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def ensure_cache_path(self) -> None:
        os.makedirs(self._folder, exist_ok=True)

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return digest()

    def get_disambiguator(self) -> str:
        return ""


class _Impl(CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any]) -> None:
        self._lineno = 0
        self._locator = _Locator(cache_folder())  # type: ignore[arg-type]
        # One file a kernel and target: two processes that write at once then write the same.
        cells = repr([cell.cell_contents for cell in function.__closure__ or ()])
        made = hashlib.sha256(f"{cells} {cpu_target.target_context.codegen().magic_tuple()}".encode()).hexdigest()[:16]
        self._filename_base = f"{function.__module__.rsplit('.', 1)[-1]}-{function.__name__}-{made}"

    @property
    def filename_base(self) -> str:
        return self._filename_base

    @property
    def locator(self) -> _Locator:
        return self._locator


class _Cache(FunctionCache):
    """Numba's on-disk cache in our folder. A file that cannot be read or written counts as absent."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Numba would first load all its registries, and SciPy with them: needed to compile. What is compiled needs its allocator alone.
        try:
            rtsys.initialize(target_context)
            found = self._load_overload(sig, target_context)
        except Exception:  # a truncated or foreign file: compile, and write it anew, which an index that cannot be read would prevent
            found = None
            with suppress(Exception):
                self.flush()
        _counts["hits" if found is not None else "misses"] += 1
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a full or vanished disk: go on without
            pass


_counts: dict[str, float] = {"hits": 0, "misses": 0, "seconds": 0.0}
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
        made._cache = _Cache(function)
    with _steady_environment(), uncollected(), lighter(function):
        made.compile(signature)
    made.disable_compile()
    (compiled,) = made.overloads.values()
    made.entry = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    _counts["seconds"] += time.perf_counter() - started
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


def facts() -> dict[str, Any]:
    """For `sepconv.backends()`."""
    known, folder = machine(), cache_folder()
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) if folder is not None else 0
    workers()
    return {
        "cpu": known.cpu, "isa": known.isa, "lanes": known.lanes("float32"), "registers": known.registers,
        "threads": threads.get_num_threads(), "threading_layer": _threads.layer or "not started", "threading_reason": _threads.reason,
        "cache_folder": str(folder) if folder else "none: no folder can be written", "cache_bytes": size,
        "cache_hits": int(_counts["hits"]), "cache_misses": int(_counts["misses"]), "compile_seconds": round(_counts["seconds"], 3),
    }  # fmt: skip
