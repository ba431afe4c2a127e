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
WAKE = 0.015  # seconds of calls that are not timed, before a turn of several threads: see turn
LOOK, SPINNING, LONGEST = 0.008, 0.25, 0.5  # seconds of one look at the process, the share of a core that shows a waiting pool, seconds in all


class Times(NamedTuple):
    """Seconds of a call."""

    least: float
    median: float
    calls: int


def turn(call: Callable[[], Any], burst: float, found: list[float], wake: float = 0.0) -> float:
    """One turn: its calls' seconds are added to those found; returns the seconds it took, but for those of waking.

    A thread that wakes from sleep may be put on the core of the one that woke it. There both take turns, at the speed of one, until the system
    looks for an idle core: some ticks of its clock later, 4 ms each. All libraries meet this, now one, now another, for whole turns.
    """
    clock, append = time.perf_counter, found.append
    start = clock()
    call()
    if clock() - start < burst:
        call()
    while clock() - start < wake:
        call()
    start = before = clock()
    end = before + burst
    while True:
        call()
        now = clock()
        append(now - before)
        if now >= end:
            return now - start
        before = clock()


def measure(
    calls: Mapping[str, Callable[[], Any]], seconds: float, threads: int = 1, pools: Mapping[str, str] | None = None,
    turn: Callable[..., float] = turn, burst: float = BURST,
) -> dict[str, Times]:  # fmt: skip
    """The least and the median time of each call.

    In every round each library has a turn, in a new order: calls that are not timed, to wake its threads and warm the caches, then a burst of timed
    ones. Rounds go on until `seconds`, shared by all, are used up; a library that has used its share is left out of those that follow. Each
    library is timed at least once. Calls with the same name in `pools` share their threads: their turns follow each other.
    """
    share = seconds / max(1, len(calls))
    burst = min(burst, share / ROUNDS)
    shuffle = random.Random(0).shuffle
    found: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    with quiet():
        while True:
            groups: dict[str, list[str]] = {}
            for name in calls:
                if not found[name] or spent[name] < share:
                    groups.setdefault((pools or {}).get(name, name), []).append(name)
            if not groups:
                break
            order = list(groups.values())
            shuffle(order)
            for names in order:
                if threads > 1:
                    rest()
                shuffle(names)
                for name in names:
                    spent[name] += turn(calls[name], burst, found[name], WAKE if threads > 1 else 0.0)
    return {name: Times(min(each), sorted(each)[len(each) // 2], len(each)) for name, each in found.items()}


def rest() -> None:
    """Waits until no thread of this process computes.

    The threads of a pool go on waiting actively for some time after a call, on the cores that the next library needs: OpenMP some milliseconds,
    ONNX Runtime tens, OpenBLAS nearly a hundred. Beside them a barrier of another pool takes 8 ms.
    """
    end = time.perf_counter() + LONGEST
    while time.perf_counter() < end:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(LOOK)
        if time.process_time() - used < SPINNING * (time.perf_counter() - start):
            return


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection in the middle of a call."""
    from ..backends.cpu.jit import uncollected  # with Numba, which `import sepconv.bench` does not take the time for

    gc.collect()
    with uncollected():
        yield


def others() -> Callable[[], float | None]:
    """Starts to watch; the callable that it returns tells which share of the cores other processes, or a hypervisor, have taken since.

    None where the system does not tell, or psutil is not installed.
    """
    try:
        import psutil
    except ImportError:
        return lambda: None

    def state() -> tuple[float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0)
        guests = getattr(times, "guest", 0) + getattr(times, "guest_nice", 0)  # counted as user time, too
        return sum(times) - guests - idle - time.process_time(), sum(times) - guests

    busy, total = state()

    def told() -> float | None:
        later, now = state()
        return min(1.0, max(0.0, (later - busy) / (now - total))) if now > total else None

    return told


def load() -> tuple[float | None, str | None]:
    """The load average of the last minute, and a warning if others are using the cores; (None, None) where the system does not tell."""
    try:
        average = os.getloadavg()[0]
    except (AttributeError, OSError):
        return None, None
    cores = os.cpu_count() or 1
    busy = average > 0.25 * cores
    return average, f"the load average is {average:.2f} on {cores} cores: what else runs here spoils these numbers" if busy else None
