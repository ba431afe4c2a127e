"""What a filter ran, to be run again: for arrays of the same shapes, strides and dtypes the records of its kernels differ in addresses alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import frame, team
from .entry import address

X, Y = 0, 1  # where the records of all filters have the addresses of input and output


class Step(NamedTuple):
    """One launch; `kept` are arrays that the record has the addresses of."""

    kernel: Any
    record: np.ndarray
    chunks: int
    kept: Sequence[np.ndarray]


def launched(kernel: Any, record: np.ndarray, jobs: int, chunks: int, kept: Sequence[np.ndarray]) -> Step:
    """A launch of all jobs, made now."""
    team.run_jobs(kernel, record, jobs, chunks)
    return Step(kernel, record, chunks, kept)


class Program:
    """Steps one after the other, each from what the one before has made: all in the output, or in arrays `between` them of a shape and dtype."""

    def __init__(self, steps: Sequence[Step], between: tuple[tuple[int, ...], np.dtype] | None = None) -> None:
        self.steps, self.between, self.workers = steps, between, team.workers()

    def __call__(self, x: np.ndarray, y: np.ndarray) -> bool:
        """False: it is to be done otherwise, and y may hold anything."""
        if team.workers() != self.workers:
            return False
        last = len(self.steps) - 1
        for number, (kernel, known, chunks, _) in enumerate(self.steps):
            to = y if number == last or self.between is None else np.empty(*self.between)
            record = known.copy()
            record[X], record[Y] = address(x), address(to)
            team.run(kernel, record, chunks)
            if record[frame.STRANGE]:
                return False
            x = to
        return True
