"""Arrays between pages that cannot be touched: a read or write outside of one kills the process, which therefore is a child of the test's."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from numpy.lib.stride_tricks import as_strided

PAGE = mmap.PAGESIZE


def _protect(address: int, size: int, how: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), how):
        raise OSError(ctypes.get_errno(), "mprotect")


class Fenced:
    """A copy of an array, strides included, whose first byte follows a page that cannot be touched, or whose last byte precedes one."""

    def __init__(self, array: np.ndarray, at_end: bool) -> None:
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
        self._size = -(-max(high - low, 1) // PAGE) * PAGE
        memory = mmap.mmap(-1, self._size + 2 * PAGE)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + PAGE
        for fence in (self._first - PAGE, self._first + self._size):
            _protect(fence, PAGE, 0)
        start = PAGE + (self._size - (high - low) if at_end else 0)
        self.bytes = np.frombuffer(memory, np.uint8)[start : start + high - low]
        first = array.__array_interface__["data"][0] - low if array.size else 0
        self.array = np.ndarray(array.shape, array.dtype, self.bytes, first, array.strides)
        self.array[...] = array

    def freeze(self) -> None:
        """From now on a write into the array is a fault, too."""
        _protect(self._first, self._size, mmap.PROT_READ)


def drawn(calls: Any, most: int, run: Callable[[Any], None], done: Iterator[int]) -> None:
    """In a child: runs so many of the random calls, the same every time. The one that runs is on the last line of the output if it kills the process;
    `done` counts the others."""

    def one(call: Any) -> None:
        print(call, flush=True)
        run(call)
        next(done)

    chosen = settings(
        max_examples=most, deadline=None, derandomize=True, database=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    chosen(given(call=calls)(lambda call: one(call)))()


def fault(where: str) -> None:
    """What the fences are to catch."""
    fenced = Fenced(np.ones(8), where != "before")
    if where in ("after", "before"):
        print(as_strided(fenced.array, (9,), (8 if where == "after" else -8,))[-1])
    elif where == "write after":
        as_strided(fenced.array, (9,), (8,))[-1] = 1
    else:
        fenced.freeze()
        fenced.array[0] = 1


def survived(done: subprocess.CompletedProcess[str]) -> int:
    """The number that begins the last line of a child's output; an assertion if it died, with the line before its death."""
    assert done.returncode == 0, f"exit code {done.returncode} at\n{done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"
    return int(done.stdout.splitlines()[-1].split()[0])


needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="the fences are made by mprotect, which Windows has not")
