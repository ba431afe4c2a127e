"""A repeated call's way from the tuple of its arrays into its kernel, as compiled code: in Python, comparing shapes, reading addresses, looking
for overlaps and filling the record take longer than a small layer.

The fields of ndarray objects are read at the offsets that NumPy's C interface fixes. Whether they are there is checked once, at import; where they
are not, addresses are asked for (`address`) and this way is not taken.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from . import runtime, team
from .frame import FAILED as RAISED
from .frame import STRANGE
from .intrinsics import load, store
from .jit import callee
from .runtime import enter, enter_all
from .tape import Recorded

if TYPE_CHECKING:
    from .plans import Plan

# Offsets in bytes: of an object's type, of an ndarray's fields, of what a tuple holds
TYPE = object.__basicsize__ - 8
DATA, DIMS, SIZES, STRIDES, DTYPE, FLAGS = (object.__basicsize__ + at for at in (0, 8, 16, 24, 40, 48))
ITEMS = tuple.__basicsize__
WRITEABLE = 0x400
MOST, AXES = 7, 5  # arrays of a call, the result included; axes of one

# What `_go` says. LOOK: Python has to look at the arguments, or at infinite weights (see STRANGE).
DONE, LOOK, READY, FAILED = range(4)
# A brief: the kernel's address, the plan's record and its length, the arrays' alignment, how many arrays, the id of None, the number of
# threads and, for more than one, `team.many`, the type of an array; then, of each array, its slot in the record (-1: none) and the first and
# last byte that it covers, from its address, its dtype, number of axes, sizes and strides
ENTRY, TEMPLATE, LENGTH, ALIGNMENT, COUNT, NONE, THREADS, SPREAD, ARRAY = range(9)
SLOT, LOW, HIGH, FORM, EACH = 9, 9 + MOST, 9 + 2 * MOST, 9 + 3 * MOST, 2 + 2 * AXES


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
    view = np.zeros((3, 4), np.float32)[1:, ::2]
    number, pair = ctypes.c_int.from_address, lambda place: tuple((ctypes.c_ssize_t * 2).from_address(_pointer(place).value))
    at, both = id(view), (None, view)
    if _pointer(at + TYPE).value != id(np.ndarray) or number(at + DIMS).value != 2 or _pointer(at + DTYPE).value != id(view.dtype):
        return False
    if pair(at + SIZES) != view.shape or pair(at + STRIDES) != view.strides or _pointer(id(both) + ITEMS + 8).value != at:
        return False
    if _peeked(view) != _asked(view) or not number(at + FLAGS).value & WRITEABLE:
        return False
    view.flags.writeable = False
    return not number(at + FLAGS).value & WRITEABLE


PEEK = _known()
address = _peeked if PEEK else _asked


@callee
def differs(array, form):  # type: ignore[no-untyped-def]
    """Whether an array is not of the dtype, sizes and strides that a brief has at `form`."""
    axes = load(form + 8, "int64")
    if load(array + DTYPE, "int64") != load(form, "int64") or load(array + DIMS, "int32") != axes:
        return True
    sizes, strides, wrong = load(array + SIZES, "int64"), load(array + STRIDES, "int64"), False
    for i in range(axes):
        wrong |= load(sizes + i * 8, "int64") != load(form + (2 + i) * 8, "int64")
        wrong |= load(strides + i * 8, "int64") != load(form + (2 + AXES + i) * 8, "int64")
    return wrong


def _go(brief, arrays, record_at):  # type: ignore[no-untyped-def]
    """Fills a record for the arrays in this tuple, and runs the kernel on it; or, where `record_at` is an address, only writes it there."""
    ids, count, none = arrays + ITEMS, load(brief + COUNT * 8, "int64"), load(brief + NONE * 8, "int64")
    last, kind = count - 1, load(brief + ARRAY * 8, "int64")
    for i in range(count):
        array, form = load(ids + i * 8, "int64"), brief + (FORM + i * EACH) * 8
        if (array == none) != (load(form, "int64") == 0):
            return LOOK
        if array != none and (load(array + TYPE, "int64") != kind or differs(array, form)):
            return LOOK
    out = load(ids + last * 8, "int64")
    if not load(out + FLAGS, "int32") & WRITEABLE:
        return LOOK
    out, alignment = load(out + DATA, "int64"), load(brief + ALIGNMENT * 8, "int64")
    begin, end = out + load(brief + (LOW + last) * 8, "int64"), out + load(brief + (HIGH + last) * 8, "int64")
    record, template = np.empty(load(brief + LENGTH * 8, "int64"), np.int64), load(brief + TEMPLATE * 8, "int64")
    for i in range(record.size):
        record[i] = load(template + i * 8, "int64")
    for i in range(count):
        array = load(ids + i * 8, "int64")
        if array == none:
            continue
        place = load(array + DATA, "int64")
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
    else:
        right = enter_all(load(brief + SPREAD * 8, "int64"), entry, record, threads) and record[STRANGE] != RAISED
    if not right:
        return FAILED
    return LOOK if record[STRANGE] else DONE


def go() -> Callable[..., int]:
    return runtime.compiled(_go, numba.types.int64(*[numba.types.int64] * 3))


class Entry:
    """A plan for arrays that lie as these, the result last.

    `fields` of the record are the same in all calls, whatever array would be read there.
    """

    def __init__(self, plan: Plan, arrays: Sequence[np.ndarray | None], fields: dict[int, int]) -> None:
        kernel, count = plan.kernel(), len(arrays)
        self._plan, self._kernel, self._record = plan, kernel, plan.record.copy()
        for field, value in fields.items():
            self._record[field] = value
        self._kept = [None if a is None else a.dtype for a in arrays]  # as long as their ids are compared
        together = team.many() if plan.workers > 1 else 0
        self._brief = np.zeros(FORM + EACH * MOST, np.int64)
        known = kernel.entry, address(self._record), len(self._record), plan.alignment, count, id(None), plan.workers, together, id(np.ndarray)
        self._brief[:SLOT] = known
        for i, (slot, array) in enumerate(zip(plan.slots, arrays)):
            self._brief[SLOT + i] = -1 if slot in fields else slot
            if array is None:
                continue
            self._brief[[LOW + i, HIGH + i]] = _span(array)
            form, axes = self._brief[FORM + i * EACH :], array.ndim
            form[:2], form[2 : 2 + axes], form[2 + AXES : 2 + AXES + axes] = (id(array.dtype), axes), array.shape, array.strides
        self._at = address(self._brief)
        self._direct = plan.launches <= 1 and (plan.workers <= 1 or together != 0)
        self._go = go()

    def __call__(self, arrays: tuple[Any, ...]) -> bool:
        """Computes on the arrays, the result's last; False if they have to go another way, and the result is not right yet. They may be anything:
        what they are is compared."""
        if self._direct:
            status = self._go(self._at, id(arrays), 0)
        else:
            record = np.empty_like(self._record)
            status = self._go(self._at, id(arrays), address(record))
            if status == READY:
                return self._plan.launch(self._kernel, record)
        if status == FAILED:
            raise MemoryError("a kernel's scratch could not be allocated")
        return status == DONE

    def recorded(self, arrays: tuple[Any, ...]) -> Recorded | None:
        """A call on these arrays, for `tape.py`; None where Python has to look at them or to launch it."""
        record, plan = np.empty_like(self._record), self._plan
        if not self._direct or self._go(self._at, id(arrays), address(record)) != READY:
            return None
        return Recorded(self._kernel.entry, record, plan.workers, sum(p.macs for p in plan.problems), (self, arrays))  # type: ignore[attr-defined]


def _span(array: np.ndarray) -> tuple[int, int]:
    """The bytes that an array covers, from its address."""
    reach = [s * (n - 1) for s, n in zip(array.strides, array.shape)]
    return sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + array.itemsize
