"""What the tests of `sepconv bench` measure: one layer, for a moment, beside libraries of their own."""

from __future__ import annotations

import numpy as np

from sepconv import bench
from sepconv.bench.cases import Arrays, Case
from sepconv.bench.graphs import Prepared, Unsupported
from sepconv.bench.libraries import Library
from sepconv.bench.results import Report

TINY = dict(op=["depthwise"], net=["inceptionnext_t"], layers=["3x3"])
BUDGET = dict(seconds=0.01, threads=1)


def peer(name: str, change: float | None = 0.0) -> Library:
    """A library of the test's own: right, or off by `change` in one corner, or, for None, unable."""

    def make(case: Case, arrays: Arrays, threads: int) -> Prepared:
        if change is None:
            raise Unsupported("no wish to")
        made = arrays.expected().astype(np.float32)
        made[0, -1, -1, -1] += np.float32(change)
        return Prepared(lambda: made, lambda y: y)

    return Library(name, "numpy", "NCHW", make, note="made up")


def one_run() -> Report:
    """A real run: sepconv, a right peer, wrong ones, and one that does not do it."""
    entries = ["sepconv", peer("right"), peer("wrong", 0.01), peer("not a number", float("nan")), peer("unable", None)]
    return bench.run(**TINY, **BUDGET, libraries=entries)
