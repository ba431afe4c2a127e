"""What all files here do: one call of a library on a case, checked and then timed."""

from __future__ import annotations

from typing import Any

import pytest

import sepconv
from sepconv.bench import cases, timing
from sepconv.bench.graphs import Unsupported
from sepconv.bench.libraries import Library


def checked(benchmark: Any, case: Any, arrays: Any, library: Library) -> None:
    """Times a call after a check that it computes what it should: a fast wrong answer is no answer."""
    why = library.missing()
    if why:
        pytest.skip(why)
    benchmark.group = f"{case.op} {case.net} {case.name}: {case.shape}"
    threads = sepconv.get_num_threads()
    with library.session(threads):
        try:
            prepared = library.make(case, arrays, threads)
        except Unsupported as error:
            pytest.skip(str(error))
        wrong = cases.error_of(prepared.read(prepared.call()), arrays.expected(), arrays.rounding)
        assert wrong is None, wrong
        timing.rest()
        benchmark(prepared.call)
