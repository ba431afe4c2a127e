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
from .jit import callee
from .simd import I32, I64, integer

DOUBLE = ir.DoubleType()


def _kind(name: str) -> ir.Type:
    if name.startswith("float"):
        return ir.FloatType() if name == "float32" else DOUBLE
    return ir.IntType(8 if name == "bool" else int(name.lstrip("uint")))


def _bytes(kind: ir.Type) -> int:
    return 4 if kind == ir.FloatType() else 8 if kind == DOUBLE else kind.width // 8


def _widened(b: ir.IRBuilder, value: ir.Value, name: str) -> ir.Value:
    if name.startswith("float"):
        return value if name == "float64" else b.fpext(value, DOUBLE)
    return b.sitofp(value, DOUBLE) if name.startswith("int") else b.uitofp(value, DOUBLE)


def _cast(b: ir.IRBuilder, value: ir.Value, name: str, kind: ir.Type) -> ir.Value:
    """As `filters.cast`. C leaves open what becomes of numbers that do not fit; here narrow types wrap, as they do for SciPy on x86."""
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


def _switch(b: ir.IRBuilder, code: ir.Value, body: Callable[[str, ir.Type], None]) -> None:
    """`body` for the dtype that `code` names."""
    end = b.append_basic_block("converted")
    blocks = [b.append_basic_block(name) for name in REAL]
    cases = b.switch(code, end)
    for number, (name, block) in enumerate(zip(REAL, blocks)):
        cases.add_case(integer(number), block)
        b.position_at_end(block)
        body(name, _kind(name))
        b.branch(end)
    b.position_at_end(end)


def _runs(b: ir.IRBuilder, address: ir.Value, step: ir.Value, count: ir.Value, kind: ir.Type, body: Callable[[ir.Value, ir.Value], None]) -> None:
    """body(index, pointer) for each element: a loop over neighbours, of which LLVM makes vectors, and one over elements `step` apart."""
    dense = b.icmp_signed("==", step, integer(_bytes(kind)))
    with b.if_else(dense) as (neighbours, others):
        with neighbours, cgutils.for_range(b, count) as loop:
            body(loop.index, b.gep(b.inttoptr(address, kind.as_pointer()), [loop.index]))
        with others, cgutils.for_range(b, count) as loop:
            body(loop.index, b.inttoptr(b.add(address, b.mul(loop.index, step)), kind.as_pointer()))


def _elements(b: ir.IRBuilder, address: ir.Value, step: ir.Value, count: ir.Value, code: ir.Value, one: Callable[..., None]) -> None:
    """one(index, pointer, name, type) for each of `count` elements of the dtype `code`."""
    _switch(b, code, lambda name, kind: _runs(b, address, step, count, kind, lambda index, pointer: one(index, pointer, name, kind)))


@intrinsic
def _read(typing: Any, to: Any, address: Any, step: Any, count: Any, code: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        to, *where = args
        scratch = b.inttoptr(to, DOUBLE.as_pointer())

        def one(index: ir.Value, pointer: ir.Value, name: str, kind: ir.Type) -> None:
            value = b.load(pointer, align=_bytes(kind))
            b.store(_widened(b, value, name), b.gep(scratch, [index]), align=8)

        _elements(b, *where, one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def _write(typing: Any, source: Any, address: Any, step: Any, count: Any, code: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        source, *where = args
        scratch = b.inttoptr(source, DOUBLE.as_pointer())

        def one(index: ir.Value, pointer: ir.Value, name: str, kind: ir.Type) -> None:
            value = b.load(b.gep(scratch, [index]), align=8)
            b.store(_cast(b, value, name, kind), pointer, align=_bytes(kind))

        _elements(b, *where, one)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@callee
def read(to, address, step, count, code):  # type: ignore[no-untyped-def]
    """`count` elements of the dtype `code`, `step` bytes apart from `address` on, as float64 to address `to` on."""
    _read(to, address, step, count, code)


@callee
def write(address, step, source, count, code):  # type: ignore[no-untyped-def]
    """`count` float64 from address `source` on, cast to the dtype `code`, `step` bytes apart to `address` on."""
    _write(source, address, step, count, code)


@intrinsic
def _set(typing: Any, to: Any, count: Any, value: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        scratch = b.inttoptr(args[0], DOUBLE.as_pointer())
        with cgutils.for_range(b, args[1]) as loop:
            b.store(args[2], b.gep(scratch, [loop.index]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), codegen


@callee
def constant(to, count, value):  # type: ignore[no-untyped-def]
    """`count` times the same float64 to address `to` on."""
    _set(to, count, value)


@intrinsic
def _copy(typing: Any, to: Any, source: Any, count: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> Any:
        target, scratch = (b.inttoptr(a, DOUBLE.as_pointer()) for a in args[:2])
        with cgutils.for_range(b, args[2]) as loop:
            b.store(b.load(b.gep(scratch, [loop.index]), align=8), b.gep(target, [loop.index]), align=8)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


@callee
def copy(to, source, count):  # type: ignore[no-untyped-def]
    """`count` float64 from address `source` on to address `to`, which is not after it."""
    _copy(to, source, count)
