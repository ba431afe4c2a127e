"""Memory by address, in what LLVM optimizes twice: parts of kernels, which Numba makes machine code of before it links them."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest

from sepconv.backends import cpu
from sepconv.backends.cpu.intrinsics import load, store
from sepconv.backends.cpu.jit import OPTIONS, callee


@callee
def _least(base, at, bound):  # type: ignore[no-untyped-def]
    """The int64 at base + at cut to a bound: two blocks use the address, so that LLVM makes it in each, of a pointer and an offset."""
    place = base + at
    if load(place, "int64") > bound:
        store(place, bound, "int64")


@numba.njit(**OPTIONS)
def _with_no_base(address, bound):  # type: ignore[no-untyped-def]
    _least(bound - bound, address[0], bound)


@numba.njit(**OPTIONS)
def _with_no_offset(address, bound):  # type: ignore[no-untyped-def]
    _least(address[0], bound - bound, bound)


@pytest.mark.parametrize("function", (_with_no_base, _with_no_offset), ids=lambda f: f.py_func.__name__)
def test_either_half_of_an_address_may_be_known_to_be_zero(function) -> None:  # type: ignore[no-untyped-def]
    """(The one that LLVM had taken for the pointer could not be: nobody may write to null, so the store was left out.)"""
    x = np.full(4, 9)
    function(np.array([x.ctypes.data]), 5)
    np.testing.assert_array_equal(x, [5, 9, 9, 9])


def test_addresses_become_pointers_in_one_place() -> None:
    found = {path.name: path.read_text().count("inttoptr") for path in Path(cpu.__file__).parent.glob("*.py")}
    assert {name: count for name, count in found.items() if count} == {"simd.py": 1, "runtime.py": 1}  # the latter's, of a kernel, is called
