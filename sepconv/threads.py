"""How many threads a call may use. A setting of the whole process; nothing here imports numba or starts a thread."""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import sys
from collections.abc import Iterator

from .problem import integer

_setting: int | None = None
_inside: contextvars.ContextVar[int | None] = contextvars.ContextVar("sepconv_num_threads", default=None)


def _environment(name: str) -> int | None:
    """The first number of a variable such as OMP_NUM_THREADS, if it is a positive one."""
    text = os.environ.get(name, "").split(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _affinity() -> int:
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS and Windows have none
        return os.cpu_count() or 1


def _quota() -> int | None:
    """The CPU quota of the control group, rounded up, where there is one (a container's limit does not show in the affinity)."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()[:2]
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))


LIMIT = _environment("NUMBA_NUM_THREADS") or _affinity()  # as many as Numba starts
DEFAULT = min([LIMIT, *(n for n in (_environment("OMP_NUM_THREADS"), _quota()) if n)])


forked = False  # whether this process is a fork of one in which Numba had threads already; they are not here


def _after_fork() -> None:
    global forked
    pool = sys.modules.get("numba.np.ufunc.parallel")
    forked = forked or getattr(pool, "_is_initialized", False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def checked(name: str, n: int) -> int:
    allowed = f"an int from 1 to {LIMIT}"
    if integer(name, n, 1, allowed) > LIMIT:
        raise ValueError(f"{name} is {n!r}; allowed is {allowed}, the threads of this process")
    return int(n)


def set_num_threads(n: int) -> None:
    """Use at most `n` threads from now on, in every thread of the process. Results do not depend on it, bit for bit.

    Neither Numba's own setting nor any other library's pool is touched. ValueError, TypeError: `n` is no int from 1 to the cores (or
    NUMBA_NUM_THREADS).

    >>> sepconv.set_num_threads(1)
    """
    global _setting
    _setting = checked("n", n)


def get_num_threads() -> int:
    """The most threads a call of this thread uses: the cores of the affinity, OMP_NUM_THREADS and the container's quota, the least of them,
    unless `set_num_threads` or `num_threads` said otherwise."""
    inside = _inside.get()
    return inside if inside is not None else DEFAULT if _setting is None else _setting


@contextlib.contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Inside the block, calls of this thread (or task) use at most `n` threads; other threads are not affected.

    >>> with sepconv.num_threads(1): sepconv.conv2d(x, weight)
    """
    token = _inside.set(checked("n", n))
    try:
        yield
    finally:
        _inside.reset(token)
