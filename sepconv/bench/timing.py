"""The clock: libraries in turns, in one process, so that whatever the machine does meanwhile meets all of them."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

BURST = 0.02  # seconds of one turn, about
ROUNDS = 5  # at least so many turns each, if a call is short enough
# Seconds between turns, where there are threads: those of the pool that ran last go on waiting actively for a while (OpenMP and ONNX Runtime
# some milliseconds), on the cores of the next.
REST = 0.006


class Times(NamedTuple):
    """Seconds of a call."""

    least: float
    median: float
    calls: int


def measure(calls: Mapping[str, Callable[[], Any]], seconds: float, threads: int = 1) -> dict[str, Times]:
    """The least and the median time of each call.

    In every round each library has a turn, in a new order: calls that are not timed, to wake its threads and warm the caches, then a burst of timed
    ones. Rounds go on until `seconds`, shared by all, are used up; a library that has used its share is left out of those that follow. Each
    library is timed at least once.
    """
    share = seconds / max(1, len(calls))
    burst = min(BURST, share / ROUNDS)
    shuffle, end = random.Random(0).shuffle, time.perf_counter() + 2 * seconds
    found: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    with quiet():
        while True:
            names = [name for name in calls if not found[name] or (spent[name] < share and time.perf_counter() < end)]
            if not names:
                break
            shuffle(names)
            for name in names:
                if threads > 1:
                    time.sleep(REST)
                spent[name] += _turn(calls[name], burst, found[name])
    return {name: Times(min(each), sorted(each)[len(each) // 2], len(each)) for name, each in found.items()}


def _turn(call: Callable[[], Any], burst: float, found: list[float]) -> float:
    """One turn; returns the seconds it took."""
    clock, append = time.perf_counter, found.append
    start = before = clock()
    call()
    if clock() - start < burst:
        call()
    before = clock()
    end = before + burst
    while True:
        call()
        now = clock()
        append(now - before)
        if now >= end:
            return now - start
        before = clock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection in the middle of a call."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load() -> tuple[float | None, str | None]:
    """The load average of the last minute, and a warning if others are using the cores; (None, None) where the system does not tell."""
    try:
        average = os.getloadavg()[0]
    except (AttributeError, OSError):
        return None, None
    cores = os.cpu_count() or 1
    busy = average > 0.25 * cores
    return average, f"the load average is {average:.2f} on {cores} cores: what else runs here spoils these numbers" if busy else None
