"""Runs of elements of any real dtype into float64 scratch, and back. The dtype is a run-time code, its place in `filters.REAL`: one kernel
then serves all pairs of dtypes, at the price of a jump a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..filters import REAL
from .bands import DOUBLE, element, width
from .jit import callee
from .simd import I32, I64, integer, pointed


def _widened(b: ir.IRBuilder, value: ir.Value, name: str) -> ir.Value:
    if name.startswith("float"):
        return value if name == "float64" else b.fpext(value, DOUBLE)
    return b.sitofp(value, DOUBLE) if name.startswith("int") else b.uitofp(value, DOUBLE)


def _cast(b: ir.IRBuilder, value: ir.Value, name: str) -> ir.Value:
    """As `filters.cast`. C leaves open what becomes of numbers that do not fit; here narrow types wrap, as they do for SciPy on x86."""
    kind = element(name)
    if name.startswith("float"):
        return value if name == "float64" else b.fptrunc(value, kind)
    if name == "bool":
        return b.zext(b.icmp_signed("!=", b.fptosi(value, I32), ir.Constant(I32, 0)), kind)
    if name == "uint64":
        limit = ir.Constant(DOUBLE, 2.0**63)
        high = b.fcmp_ordered(">=", value, limit)
        low = b.fptosi(b.select(high, b.fsub(value, limit), value), I64)
        return b.xor(low, b.shl(b.zext(high, I64), integer(63)))
    if name in ("uint32", "int64"):
        whole = b.fptosi(value, I64)
        return whole if kind == I64 else b.trunc(whole, kind)
    whole = b.fptosi(value, I32)
    return whole if kind == I32 else b.trunc(whole, kind)


def _elements(b: ir.IRBuilder, address: ir.Value, step: ir.Value, count: ir.Value, code: ir.Value, one: Callable[..., None]) -> None:
    """one(index, pointer, name) for each of `count` elements of the dtype `code`: a loop over neighbours, of which LLVM makes vectors, or one over
    elements `step` apart."""
    end = b.append_basic_block("converted")
    cases = b.switch(code, end)
    for number, name in enumerate(REAL):
        block, kind = b.append_basic_block(name), element(name)
        cases.add_case(integer(number), block)
        b.position_at_end(block)
        with b.if_else(b.icmp_signed("==", step, integer(width(name)))) as (neighbours, others):
            with neighbours, cgutils.for_range(b, count) as loop:
                one(loop.index, b.gep(pointed(b, address, kind), [loop.index]), name)
            with others, cgutils.for_range(b, count) as loop:
                one(loop.index, pointed(b, b.add(address, b.mul(loop.index, step)), kind), name)
        b.branch(end)
    b.position_at_end(end)


@intrinsic(prefer_literal=True)
def _converted(typing: Any, way: Any, scratch: Any, address: Any, step: Any, count: Any, code: Any) -> Any:
    writes = way.literal_value == "write"

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        _, scratch, *where = args
        scratch = pointed(b, scratch, DOUBLE)

        def one(index: ir.Value, pointer: ir.Value, name: str) -> None:
            place = b.gep(scratch, [index])
            if writes:
                b.store(_cast(b, b.load(place, align=8), name), pointer, align=width(name))
            else:
                b.store(_widened(b, b.load(pointer, align=width(name)), name), place, align=8)

        _elements(b, *where, one)
        return context.get_dummy_value()

    return types.void(way, *[types.int64] * 5), codegen


@callee
def read(to, address, step, count, code):  # type: ignore[no-untyped-def]
    """`count` elements of the dtype `code`, `step` bytes apart from `address` on, as float64 to address `to` on."""
    _converted("read", to, address, step, count, code)


@callee
def write(address, step, source, count, code):  # type: ignore[no-untyped-def]
    """`count` float64 from address `source` on, cast to the dtype `code`, `step` bytes apart to `address` on."""
    _converted("write", source, address, step, count, code)
