"""The way of a repeated call from the ids of its arrays into its kernel, compiled: reading addresses, looking for overlaps and filling
the record take Python longer than a small layer takes.

An ndarray object's fields are where NumPy's C interface fixes them, and that is looked at once, at import; elsewhere the addresses are
asked for (`address`), and this way is not taken.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from . import runtime
from .frame import FAILED as RAISED
from .frame import STRANGE
from .intrinsics import load, store
from .runtime import asked, enter, enter_all

if TYPE_CHECKING:
    from .plans import Plan

DATA = object.__basicsize__  # where in an ndarray object its data pointer stands,
FLAGS = DATA + 48  # and its flags, after nd, dimensions, strides, base and descr
WRITEABLE = 0x400
MOST = 7  # arrays of a call, the result included

# What `_go` says. LOOK: Python has to look at the arguments, or at infinite weights (see STRANGE); LATER: or launch the threads.
DONE, LOOK, READY, FAILED, LATER = range(5)
# A brief: the kernel's address, the plan's record and its length, the arrays' alignment, how many arrays, the id of None, the number of
# threads and, for more than one, `runtime.many`; then, of each array, its slot in the record (-1: none) and the first and last byte that it
# covers, from its address
ENTRY, TEMPLATE, LENGTH, ALIGNMENT, COUNT, NONE, THREADS, SPREAD, MASK = range(9)
SLOT, LOW, HIGH = 9, 9 + MOST, 9 + 2 * MOST


def _asked(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _peeked(array: np.ndarray) -> int:
    """Asking takes ten times as long."""
    return _pointer(id(array) + DATA).value


_pointer = ctypes.c_size_t.from_address


def _known() -> bool:
    """Whether an ndarray object here has its fields where they are expected."""
    if sys.implementation.name != "cpython":
        return False
    view = np.zeros(3)[1:]
    flags = ctypes.c_int.from_address
    if _peeked(view) != _asked(view) or not flags(id(view) + FLAGS).value & WRITEABLE:
        return False
    view.flags.writeable = False
    return not flags(id(view) + FLAGS).value & WRITEABLE


PEEK = _known()
address = _peeked if PEEK else _asked


def _go(brief, record_at, a, b, c, d, e, f, g):  # type: ignore[no-untyped-def]
    """Fills a record for the arrays of these ids, and runs the kernel on it; or, where `record_at` is an address, only writes it there."""
    ids, count = (a, b, c, d, e, f, g), load(brief + COUNT * 8, "int64")
    last = count - 1
    if not load(ids[last] + FLAGS, "int32") & WRITEABLE:
        return LOOK
    out, alignment, none = load(ids[last] + DATA, "int64"), load(brief + ALIGNMENT * 8, "int64"), load(brief + NONE * 8, "int64")
    begin, end = out + load(brief + (LOW + last) * 8, "int64"), out + load(brief + (HIGH + last) * 8, "int64")
    record, template = np.empty(load(brief + LENGTH * 8, "int64"), np.int64), load(brief + TEMPLATE * 8, "int64")
    for i in range(record.size):
        record[i] = load(template + i * 8, "int64")
    for i in range(count):
        if ids[i] == none:
            continue
        place = load(ids[i] + DATA, "int64")
        if place & (alignment - 1):
            return LOOK
        if i < last and place + load(brief + (LOW + i) * 8, "int64") < end and begin < place + load(brief + (HIGH + i) * 8, "int64"):
            return LOOK
        slot = load(brief + (SLOT + i) * 8, "int64")
        if slot >= 0:
            record[slot] = place
    if record_at != 0:
        for i in range(record.size):
            store(record_at + i * 8, record[i], "int64")
        return READY
    entry, threads = load(brief + ENTRY * 8, "int64"), load(brief + THREADS * 8, "int64")
    if threads <= 1:
        right = enter(entry, record, 0)
    elif asked(load(brief + MASK * 8, "int64")) != threads:
        return LATER
    else:
        right = enter_all(load(brief + SPREAD * 8, "int64"), entry, record, threads) and record[STRANGE] != RAISED
    if not right:
        return FAILED
    return LOOK if record[STRANGE] else DONE


def go() -> Callable[..., int]:
    return runtime.compiled(_go, numba.types.int64(*[numba.types.int64] * (2 + MOST)))


class Entry:
    """A plan for arrays that lie as the ones it was made for: what they cover, as (first, last) bytes from their addresses, is `spans`.

    `fields` of the record are the same in all calls, whatever array would be read there.
    """

    def __init__(self, plan: Plan, spans: Sequence[tuple[int, int]], fields: dict[int, int]) -> None:
        kernel, count = plan.kernel(), len(spans)
        self._plan, self._kernel, self._record = plan, kernel, plan.record.copy()
        for field, value in fields.items():
            self._record[field] = value
        slots = [-1 if slot in fields else slot for slot in plan.slots]
        together = runtime.many() if plan.workers > 1 else (0, 0)
        self._brief = np.zeros(SLOT + 3 * MOST, np.int64)
        self._brief[:SLOT] = kernel.entry, address(self._record), len(self._record), plan.alignment, count, id(None), plan.workers, *together
        for part, values in ((SLOT, slots), (LOW, [low for low, _ in spans]), (HIGH, [high for _, high in spans])):
            self._brief[part : part + count] = values
        self._at, self._rest = address(self._brief), (0,) * (MOST - count)
        self._direct = plan.launches <= 1 and (plan.workers <= 1 or together[0] != 0)
        self._go = go()

    def __call__(self, arrays: tuple[Any, ...]) -> bool:
        """Computes on the arrays, the result's last; False if that was not to be done so, and the result, if any, is not right yet."""
        status = self._go(self._at, 0, *map(id, arrays), *self._rest) if self._direct else LATER
        if status == LATER:
            record = np.empty_like(self._record)
            status = self._go(self._at, address(record), *map(id, arrays), *self._rest)
            if status == READY:
                return self._plan.launch(self._kernel, record)
        if status == FAILED:
            raise MemoryError("a kernel's scratch could not be allocated")
        return status == DONE
