"""Calls one after the other, as records with all addresses in them, run by one compiled function: between the layers of a network Python's own
code and objects have left the caches, and each call then takes several times what it takes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np

from . import runtime, team
from .frame import STRANGE
from .runtime import enter, enter_all

MACS_A_LAUNCH = 4_000_000_000  # of a tuned kernel on one thread: about a second, after which Ctrl-C is heard


class Recorded(NamedTuple):
    """One call: its kernel's address, its record, threads and work, and what has to be there as long as it may be run."""

    entry: int
    record: np.ndarray
    workers: int
    macs: int
    kept: Any


def _play(entries, records, counts, spread, at, end):  # type: ignore[no-untyped-def]
    """Runs the calls from `at` on; returns the first one that Python has to make, or `end`."""
    while at < end:
        record = records[at]
        if entries[at] == 0:
            return at
        if counts[at] > 1:
            right = enter_all(spread, entries[at], record, counts[at])
        else:
            right = enter(entries[at], record, 0)
        if not right or record[STRANGE] != 0:
            record[STRANGE] = 0
            return at
        at += 1
    return end


NUMBERS = numba.types.Array(numba.types.int64, 1, "C")
PLAY = numba.types.int64(NUMBERS, numba.types.Array(numba.types.int64, 2, "C"), NUMBERS, *[numba.types.int64] * 3)


class Tape:
    """Calls as they were recorded for the number of threads in force now; None where there is none."""

    def __init__(self, calls: Sequence[Recorded | None]) -> None:
        self._calls, self._play = calls, runtime.compiled(_play, PLAY)
        self._entries = np.array([0 if call is None else call.entry for call in calls], np.int64)
        self._counts = np.array([1 if call is None else call.workers for call in calls], np.int64)
        self._records = np.zeros((len(calls), max(len(call.record) for call in calls if call is not None)), np.int64)
        for row, call in zip(self._records, calls):
            if call is not None:
                row[: len(call.record)] = call.record
        self._workers = team.workers()
        self._spread = team.many() if self._counts.max() > 1 else 0
        self._ends, work = [], 0
        for at, call in enumerate(calls, 1):
            work += 0 if call is None else call.macs // call.workers
            if work >= MACS_A_LAUNCH or at == len(calls):
                self._ends.append(at)
                work = 0

    def __call__(self, at: int) -> int:
        """Runs the calls from the at-th on; returns the place of the first one that Python has to make, from the beginning, or their number."""
        if team.workers() != self._workers:
            return at
        for end in self._ends:
            if at < end:
                at = self._play(self._entries, self._records, self._counts, self._spread, at, end)
                if at < end:
                    break
        return at
