"""The folder that compiled kernels are kept in: Numba's on-disk cache, at a place and under a stamp of our own.

Nothing here raises for a folder that can't be used: then there is no cache.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

OUTSIDE = "activations.py", "bench/machine.py"  # what else kernels are made from, beside the backends


@functools.cache
def digest() -> str:
    """A digest of all sources that kernels are made from, "" if there are none: Numba's own key misses changes in functions that a kernel calls."""
    here, made = Path(__file__).resolve().parent, hashlib.sha256()
    try:
        sources = sorted([*here.glob("*.py"), *here.parent.glob("*.py"), *(file for name in OUTSIDE for file in here.parent.parent.glob(name))])
        for source in sources:
            made.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    except OSError:
        return ""
    if not sources:  # a zipped or frozen install has no files to read
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
        user = os.getuid() if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"sepconv-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if user in ("user", folder.lstat().st_uid):  # anybody could have made it, and code is loaded from it
            yield folder
    except OSError:
        pass


def _usable(folder: Path) -> bool:
    """Whether files can be made there, in a folder of our own."""
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
        if _usable(folder) or (os.path.isdir(folder) and os.access(folder, os.R_OK)):  # Path.is_dir() raises where nobody may look
            return folder
    return None


counts: dict[str, float] = {"hits": 0, "misses": 0, "seconds": 0.0}  # of this process: kernels loaded, compiled, and the time of both


def cache_bytes() -> int:
    """The size of all that it holds."""
    folder, total = cache_folder(), 0
    for file in folder.glob("*") if folder is not None else ():
        with suppress(OSError):  # another process has just given it its name
            total += file.stat().st_size
    return total


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


class Impl(CompileResultCacheImpl):
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


class KernelCache(FunctionCache):
    """Numba's on-disk cache in our folder. A file that cannot be read or written counts as absent."""

    _impl_class = Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Numba would first load all its registries, and SciPy with them: needed to compile. What is compiled needs its allocator alone.
        try:
            rtsys.initialize(target_context)
            found = self._load_overload(sig, target_context)
        except Exception:  # a truncated or foreign file: compile, and write it anew, which an index that cannot be read would prevent
            found = None
            with suppress(Exception):
                self.flush()
        counts["hits" if found is not None else "misses"] += 1
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a full or vanished disk: go on without
            pass
