"""The pieces of kernels that are generated: the only file of this backend with LLVM for single elements in it.

A piece is one generator, plain llvmlite: an intrinsic of Numba's CUDA target, and, so that the generated code itself is tested where there is no
GPU, one of its CPU target, `HOST`. Numba's simulator runs kernels as Python, where no intrinsics are: there a piece is a function that calls the
CPU's code (`Simulated`), or for single elements, which that would be slow for, a stand-in in `twins.py`.
Memory is addressed by int64 byte addresses: one kernel serves any strides, and a launch passes nothing but numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from ... import activations
from .. import formulas
from ..cpu.intrinsics import HALVES
from ..cpu.simd import I16, I32, I64, Value, Vectors, called

SIMULATED = bool(config.ENABLE_CUDASIM)
GLOBAL = 1  # the address space of device memory: a load from there is no guess between global, shared and local
HOST: dict[Any, Any] = {}  # the CPU's intrinsic of each piece


def on_device(context: Any) -> bool:
    return type(context).__module__.startswith("numba.cuda")


def piece(define: Callable[..., Any]) -> Any:
    """The generator as an intrinsic of both targets; what it is in the simulator. Generators return None until a literal is one."""
    if SIMULATED:
        from . import twins

        return getattr(twins, define.__name__, None) or Simulated(define)
    from numba.cuda.extending import intrinsic as device

    made = device(define)
    HOST[made] = intrinsic(prefer_literal=True)(define)
    return made


class Simulated:
    """A piece in the simulator: the CPU's code, called with numbers; arrays are the registers and the shared memory that it has pointers to."""

    def __init__(self, define: Callable[..., Any]) -> None:
        self.define, self.literals = define, 0  # how many arguments have to be literal: the first ones
        self.made: dict[tuple[Any, ...], Callable[[int], None]] = {}
        self.lock = threading.Lock()  # all threads of a block come at once

    def __call__(self, *given: Any) -> None:
        given = tuple(np.asarray(g._item._ary) if hasattr(g, "_item") else g for g in given)  # as the simulator wraps arrays
        arrays = [g.dtype for g in given if isinstance(g, np.ndarray)]
        kinds = lambda count: (*map(types.literal, given[:count]), *map(_kind, given[count:]))
        with self.lock:
            self.literals = self.literals or next(n for n in range(1, len(given)) if self.define(None, *kinds(n)) is not None)
            key = (*given[: self.literals], *arrays)
            made = self.made[key] = self.made.get(key) or self._compiled(kinds(self.literals))
        words = np.array([g.ctypes.data if isinstance(g, np.ndarray) else int(g) for g in given[self.literals :]], np.int64)
        made(words.ctypes.data)

    def _compiled(self, kinds: tuple[Any, ...]) -> Callable[[int], None]:
        """For arguments of these types; called with the address of those that are not literal."""

        @intrinsic
        def run(typing: Any, address: Any) -> Any:
            signature, codegen = self.define(typing, *kinds)

            def unpacked(context: Any, b: ir.IRBuilder, _: Any, args: Any) -> ir.Value:
                words, given = b.inttoptr(args[0], I64.as_pointer()), [context.get_dummy_value()] * self.literals
                for n, kind in enumerate(signature.args[self.literals :]):
                    value, wanted = b.load(b.gep(words, [ir.Constant(I64, n)])), context.get_value_type(kind)
                    given.append((b.trunc if kind == types.int32 else b.bitcast if kind == types.int64 else b.inttoptr)(value, wanted))
                return codegen(context, b, signature, given)

            return types.void(types.int64), unpacked

        return njit("void(int64)")(lambda address: run(address))


def _kind(given: Any) -> Any:
    return types.CPointer(from_dtype(given.dtype)) if isinstance(given, np.ndarray) else types.int64


def literal(*given: Any) -> bool:
    return all(isinstance(g, types.Literal) for g in given)


def summed_in(dtype: str) -> str:
    return "float32" if dtype in HALVES else dtype


def item(dtype: str) -> int:
    """Bytes of an element."""
    return {"float64": 8, "float32": 4}.get(dtype, 2)


def pointer(context: Any, b: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """A typed pointer to device memory (on the CPU, to memory)."""
    return b.inttoptr(address, ir.PointerType(kind, GLOBAL if on_device(context) else 0))


def widen(context: Any, b: ir.IRBuilder, bits: ir.Value, dtype: str) -> ir.Value:
    """float32 from the i16 of a 16-bit float."""
    if dtype == "float16" and on_device(context):
        return b.fpext(b.bitcast(bits, ir.HalfType()), ir.FloatType())
    return HALVES[dtype][0](b, b.zext(bits, I32))


def narrow(context: Any, b: ir.IRBuilder, value: ir.Value, dtype: str) -> ir.Value:
    """The i16 of the nearest 16-bit float."""
    if dtype == "float16" and on_device(context):
        return b.bitcast(b.fptrunc(value, ir.HalfType()), I16)
    return HALVES[dtype][1](b, value)


@piece
def load(typing: Any, address: Any, dtype: Any, align: Any) -> Any:
    """The element of `dtype`, a literal name, at an address that is a multiple of `align`; 16-bit floats arrive as float32."""
    if not literal(dtype, align):
        return None
    name, by = dtype.literal_value, align.literal_value
    kind = types.float32 if name in HALVES else getattr(types, name)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if name in HALVES:
            return widen(context, b, b.load(pointer(context, b, args[0], I16), align=by), name)
        if name.startswith("complex"):
            part = ir.FloatType() if name == "complex64" else ir.DoubleType()
            at = pointer(context, b, args[0], part)
            value = context.make_complex(b, kind)
            value.real, value.imag = b.load(at, align=by), b.load(b.gep(at, [ir.Constant(I32, 1)]), align=by)
            return value._getvalue()
        return b.load(pointer(context, b, args[0], context.get_value_type(kind)), align=by)

    return kind(types.int64, dtype, align), codegen


@piece
def store(typing: Any, address: Any, value: Any, dtype: Any, align: Any) -> Any:
    """Writes a value to an address as `dtype`; 16-bit floats are rounded here, once."""
    if not literal(dtype, align):
        return None
    name, by = dtype.literal_value, align.literal_value
    kind = types.float32 if name in HALVES else getattr(types, name)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if name in HALVES:
            b.store(narrow(context, b, args[1], name), pointer(context, b, args[0], I16), align=by)
        elif name.startswith("complex"):
            part = ir.FloatType() if name == "complex64" else ir.DoubleType()
            at, given = pointer(context, b, args[0], part), context.make_complex(b, kind, value=args[1])
            b.store(given.real, at, align=by)
            b.store(given.imag, b.gep(at, [ir.Constant(I32, 1)]), align=by)
        else:
            b.store(args[1], pointer(context, b, args[0], context.get_value_type(kind)), align=by)
        return context.get_dummy_value()

    return types.void(types.int64, kind, dtype, align), codegen


@piece
def rounded(typing: Any, value: Any, dtype: Any) -> Any:
    """The value as the nearest 16-bit float of `dtype`, as float32."""
    if not literal(dtype):
        return None
    name = dtype.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if name == "float16" and on_device(context):
            return b.fpext(b.fptrunc(args[0], ir.HalfType()), ir.FloatType())
        bits = HALVES[name][1](b, b.fptrunc(args[0], ir.FloatType()))
        return widen(context, b, bits, name)

    return types.float32(types.float64, dtype), codegen


@piece
def activate(typing: Any, value: Any, code: Any, lo: Any, hi: Any) -> Any:
    """The activation of one float32 or float64; the bounds are the bits of such numbers, so that a float32 kernel holds no float64."""
    if value not in (types.float32, types.float64):
        return None

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m = Vectors(context, b, str(value), 1)
        slot = cgutils.alloca_once_value(b, args[0])
        finish(m, [slot], *args[1:])
        return b.load(slot)

    return value(value, types.int64, types.int64, types.int64), codegen


@piece
def times(typing: Any, a: Any, b: Any) -> Any:
    """a * b, rounded: never one half of a fused multiply-add."""
    if a != b or a not in (types.float32, types.float64):
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if not on_device(context):
            return builder.fmul(*args)
        return called(builder, "nvvm.mul.rn." + ("f" if a == types.float32 else "d"), args[0].type, args)

    return a(a, b), codegen


@piece
def number(typing: Any, bits: Any, dtype: Any) -> Any:
    """float32 or float64 from its bits."""
    if not literal(dtype):
        return None
    kind = getattr(types, dtype.literal_value)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(b.trunc(args[0], I32) if kind == types.float32 else args[0], context.get_value_type(kind))

    return kind(types.int64, dtype), codegen


@piece
def settle(typing: Any, address: Any, value: Any, dtype: Any, align: Any) -> Any:
    """Writes a sum as SciPy casts it: as `backends.filters.cast` does."""
    if not literal(dtype, align) or value not in (types.float32, types.float64):
        return None
    name, by = dtype.literal_value, align.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        at, given = args[0], args[1]
        wide = given if value == types.float64 else b.fpext(given, ir.DoubleType())
        b.store(_settled(b, given, wide, name), pointer(context, b, at, _settled_type(name)), align=by)
        return context.get_dummy_value()

    return types.void(types.int64, value, dtype, align), codegen


def _settled_type(name: str) -> ir.Type:
    real = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
    return real[name] if name in real else ir.IntType(8 * np.dtype(name).itemsize)


def _settled(b: ir.IRBuilder, given: ir.Value, wide: ir.Value, name: str) -> ir.Value:
    number = lambda n: ir.Constant(ir.DoubleType(), n)
    if name == "float32":
        return given if given.type == ir.FloatType() else b.fptrunc(given, ir.FloatType())
    if name == "float64":
        return wide
    if name == "bool":  # cut, then not 0; NaN is not
        beyond = b.or_(b.fcmp_unordered(">=", wide, number(1.0)), b.fcmp_unordered("<=", wide, number(-1.0)))
        return b.zext(beyond, ir.IntType(8))
    if name == "uint64":
        high = b.fcmp_ordered(">=", wide, number(2.0**63))
        low = b.fptosi(b.select(high, b.fsub(wide, number(2.0**63)), wide), I64)
        return b.add(low, b.shl(b.zext(high, I64), ir.Constant(I64, 63)))
    kind, cut = _settled_type(name), I32 if name in ("int8", "uint8", "int16", "uint16", "int32") else I64
    whole = b.fptosi(wide, cut)
    return whole if kind == cut else b.trunc(whole, kind)


def finish(m: Vectors, slots: list[ir.Value], code: ir.Value, lo: ir.Value, hi: ir.Value) -> None:
    """The activation, in place, of accumulators."""
    b = m.b
    bounds = [Value(m, b.bitcast(b.trunc(v, I32) if m.dtype == "float32" else v, m.element)) for v in (lo, hi)]
    with b.if_then(b.icmp_signed("==", code, ir.Constant(I64, activations.CLIP))):
        for slot in slots:
            b.store(formulas.clip(Value(m, b.load(slot)), *bounds, m).raw, slot)
    with b.if_then(b.icmp_signed(">", code, ir.Constant(I64, activations.CLIP)), likely=False):
        curved = m.curved()
        for slot in slots:
            b.store(b.call(curved, [b.load(slot), code]), slot)
