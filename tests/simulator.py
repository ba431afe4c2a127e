"""Numba's simulator of CUDA with the threads of a block in turns.

Numba's own runs them all at once, while the host's thread asks again and again which are done: nine tenths of the time are that. Here each thread
runs to the next barrier and hands over, so that a run is the same every time, and two mistakes which that one lets pass are errors: a barrier that
not all threads reach, and, since the turns of every other phase go backwards, most uses of what another thread has not written yet.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel


class Turn(kernel.BlockThread):  # type: ignore[misc]
    """One thread of a block: waits for its turn, and again at every barrier."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.turn, self.handed, self.ended = threading.Semaphore(0), threading.Semaphore(0), False

    def run(self) -> None:
        self.turn.acquire()
        if not self.abort:
            super().run()  # which keeps an exception
        self.ended = True
        self.handed.release()

    def syncthreads(self) -> None:
        self.handed.release()
        self.turn.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block failed")

    def go(self) -> None:
        """Runs it to its next barrier or its end."""
        self.turn.release()
        self.handed.acquire()


def run(manager: Any, grid_point: Any, *given: Any) -> None:
    """In place of `BlockManager.run`."""
    waiting = [Turn(lambda: manager._f(*given), manager, grid_point, at, manager._debug) for at in np.ndindex(*manager._block_dim)]
    for thread in waiting:
        thread.start()
    try:
        while waiting:
            for thread in waiting:
                thread.go()
                if thread.exception:
                    raise thread.exception[0].with_traceback(thread.exception[1])
            left = [thread for thread in waiting if not thread.ended]
            if left and len(left) < len(waiting):
                raise RuntimeError(f"{len(waiting) - len(left)} of {len(waiting)} threads of block {grid_point} ended while others wait at a barrier")
            waiting = left[::-1]
    finally:
        for thread in waiting:
            if not thread.ended:
                thread.abort = True
                thread.go()
        for thread in waiting:
            thread.join()


def in_turns() -> None:
    """From here on kernels of this process run so."""
    kernel.BlockManager.run = run
