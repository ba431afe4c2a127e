"""What the tests of `sepconv bench` measure: one layer, for a moment, beside libraries of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from sepconv import bench
from sepconv.bench.cases import Arrays, Case, error_of
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


def operations_of(library: Library, given: Iterable[Any], arrays_of: Callable[[Any], Any]) -> set[str]:
    """The operations of the cases that a library can do; an assertion if one of its results is wrong."""
    if library.missing():
        pytest.skip(f"{library.name}: {library.missing()}")
    able = set()
    with library.session(1):
        for case in given:
            arrays = arrays_of(case)
            try:
                prepared = library.make(case, arrays, 1)
            except Unsupported as error:
                assert str(error)
                continue
            for _ in range(2):  # the second call finds what the first one left in its output
                assert error_of(prepared.read(prepared.call()), arrays.expected(), arrays.rounding) is None, case
            able.add(case.op)
    return able


def one_run() -> Report:
    """A real run: sepconv, a right peer, wrong ones, and one that does not do it."""
    entries = ["sepconv", peer("right"), peer("wrong", 0.01), peer("not a number", float("nan")), peer("unable", None)]
    return bench.run(**TINY, **BUDGET, libraries=entries)
