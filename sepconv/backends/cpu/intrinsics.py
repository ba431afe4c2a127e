"""What plain Numba loops call and Numba has not: memory by address in every dtype, copies in vectors, and the floating-point environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import FLOATS, I16, I32, I64, Vectors, called, integer, pointed, rolled


@intrinsic(prefer_literal=True)
def words(typing: Any, array: Any, first: Any, count: Any) -> Any:
    """`count` elements, a literal, of an int64 array as a tuple: registers, which no store can change."""
    number = count.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        data = context.make_array(signature.args[0])(context, b, args[0]).data
        return cgutils.pack_array(b, [b.load(b.gep(data, [b.add(args[1], integer(i))])) for i in range(number)])

    return types.UniTuple(types.int64, number)(array, types.int64, count), codegen


@intrinsic
def as_float(typing: Any, bits: Any) -> Any:
    """The float64 that an int64 holds the bits of."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


def _widen_half(b: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """float32 from the bits of a float16, in integer arithmetic: not every machine converts them itself."""
    c = lambda n: ir.Constant(I32, n)
    sign = b.shl(b.and_(bits, c(0x8000)), c(16))
    rest = b.shl(b.and_(bits, c(0x7FFF)), c(13))
    scaled = b.bitcast(b.fmul(b.bitcast(rest, FLOATS["float32"]), ir.Constant(FLOATS["float32"], 2.0**112)), I32)
    special = b.icmp_unsigned(">=", rest, c(0x7C00 << 13))
    return b.bitcast(b.or_(b.select(special, b.or_(rest, c(0x7F800000)), scaled), sign), FLOATS["float32"])


def _narrow_half(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The bits of the nearest float16, ties to even; too large is inf, NaN stays NaN."""
    c = lambda n: ir.Constant(I32, n)
    bits = b.bitcast(value, I32)
    sign = b.lshr(b.and_(bits, c(0x80000000)), c(16))
    size = b.and_(bits, c(0x7FFFFFFF))
    odd = b.and_(b.lshr(size, c(13)), c(1))
    normal = b.lshr(b.add(b.add(size, c((15 - 127) * 2**23 + 0xFFF)), odd), c(13))
    magic = ir.Constant(FLOATS["float32"], 0.5)  # its last place is half of float16's least subnormal's: the addition rounds
    small = b.sub(b.bitcast(b.fadd(b.bitcast(size, FLOATS["float32"]), magic), I32), c(126 << 23))
    chosen = b.select(b.icmp_unsigned("<", size, c(113 << 23)), small, normal)
    chosen = b.select(b.icmp_unsigned(">=", size, c(143 << 23)), c(0x7C00), chosen)
    chosen = b.select(b.icmp_unsigned(">", size, c(255 << 23)), c(0x7E00), chosen)
    return b.trunc(b.or_(chosen, sign), I16)


def _widen_bfloat(b: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    return b.bitcast(b.shl(bits, ir.Constant(I32, 16)), FLOATS["float32"])


def _narrow_bfloat(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    c = lambda n: ir.Constant(I32, n)
    bits = b.bitcast(value, I32)
    odd = b.and_(b.lshr(bits, c(16)), c(1))
    rounded = b.lshr(b.add(b.add(bits, c(0x7FFF)), odd), c(16))
    quiet = b.or_(b.lshr(bits, c(16)), c(0x40))
    return b.trunc(b.select(b.fcmp_unordered("uno", value, value), quiet, rounded), I16)


HALVES: dict[str, tuple[Callable[..., ir.Value], Callable[..., ir.Value]]] = {
    "float16": (_widen_half, _narrow_half),
    "bfloat16": (_widen_bfloat, _narrow_bfloat),
}


@intrinsic(prefer_literal=True)
def transpose(typing: Any, dtype: Any, lanes: Any, at: Any, at_row: Any, to: Any, to_row: Any) -> Any:
    """Writes the transpose of a square of lanes x lanes elements, all addresses and pitches in bytes."""
    kind, width = dtype.literal_value, lanes.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m, at, to = Vectors(context, b, kind, width), args[2], args[4]
        rows = [m.load(m.at(at, b.mul(integer(i), args[3]))) for i in range(width)]
        for i, row in enumerate(m.transposed(rows)):
            m.store(row, m.at(to, b.mul(integer(i), args[5])))
        return context.get_dummy_value()

    return types.void(dtype, lanes, *[types.int64] * 4), codegen


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Asks for a cache line, which need not be mapped, to be read into the second cache soon: the first has no room for what is not needed yet."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        Vectors(context, b, "float32", 1).prefetch(args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def drain(typing: Any) -> Any:
    """After this other threads see what was stored past the caches, too."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if _machine(b) == "x86":
            called(b, "x86.sse.sfence", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def keep(typing: Any, array: Any) -> Any:
    """Nothing, with an array whose address is in use: Numba frees an array after the last line that names it."""
    return types.void(array), lambda context, b, signature, args: context.get_dummy_value()


@intrinsic
def copy_line(typing: Any, to: Any, at: Any) -> Any:
    """Copies 64 bytes, in the vectors that the machine has."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.VectorType(I64, 8)
        b.store(b.load(pointed(b, args[1], kind), align=1), pointed(b, args[0], kind), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def copy_vectors(typing: Any, to: Any, at: Any, count: Any, dtype: Any, lanes: Any, stride: Any) -> Any:
    """Copies `count` elements, neighbours or every second one (stride, 1 or 2), to neighbouring places in whole vectors; what the last vector
    writes beyond them is zero, and has to have room."""
    kind, width, pieces = dtype.literal_value, lanes.literal_value, stride.literal_value

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m, (to, at, count) = Vectors(context, b, kind, width), args[:3]

        def copy(done: ir.Value, masks: list[Any]) -> None:
            place = m.at(at, b.mul(done, integer(pieces * m.size)))
            found = [m.load(m.at(place, u * width * m.size), masks[u]) for u in range(pieces)]
            m.store(found[0] if pieces == 1 else m.evens(*found), m.at(to, b.mul(done, integer(m.size))))

        reach = b.sub(b.mul(count, integer(pieces)), integer(pieces - 1))  # of two, the last one's neighbour is not read
        whole = b.sdiv(reach, integer(pieces * width))
        with b.if_then(b.icmp_signed(">", count, integer(0))):
            with rolled(b, whole) as loop:
                copy(b.mul(loop.index, integer(width)), [None] * pieces)
            done = b.mul(whole, integer(width))
            with b.if_then(b.icmp_signed("<", done, count)):
                start, span = m.window(integer(0), b.sub(reach, b.mul(done, integer(pieces))))
                copy(done, [m.inside(start, u, span) for u in range(pieces)])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3, dtype, lanes, stride), codegen


@intrinsic
def word(typing: Any, base: Any, index: Any) -> Any:
    """The index-th int32 from a byte address, read so that LLVM can make a vector of a loop over them."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return b.load(b.gep(pointed(b, args[0], I32), [args[1]]), align=4)

    return types.int32(types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def load(typing: Any, address: Any, dtype: Any) -> Any:
    """The element of `dtype`, a literal name, at a byte address; 16-bit floats arrive as float32."""
    name = dtype.literal_value
    if name in HALVES:

        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            bits = b.load(pointed(b, args[0], I16), align=2)
            return HALVES[name][0](b, b.zext(bits, I32))

        return types.float32(types.int64, dtype), codegen
    kind = getattr(types, name)

    def plain(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        pointer = pointed(b, args[0], context.get_data_type(kind))
        return context.unpack_value(b, kind, pointer)

    return kind(types.int64, dtype), plain


@intrinsic(prefer_literal=True)
def store(typing: Any, address: Any, value: Any, dtype: Any) -> Any:
    """Writes a value to a byte address as `dtype`, a literal name; 16-bit floats are rounded here, once."""
    name = dtype.literal_value
    kind = types.float32 if name in HALVES else getattr(types, name)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if name in HALVES:
            b.store(HALVES[name][1](b, args[1]), pointed(b, args[0], I16), align=2)
        else:
            context.pack_value(b, kind, args[1], pointed(b, args[0], context.get_data_type(kind)))
        return context.get_dummy_value()

    return types.void(types.int64, kind, dtype), codegen


@intrinsic(prefer_literal=True)
def activate(typing: Any, value: Any, code: Any, lo: Any, hi: Any) -> Any:
    """The activation of one float32 or float64."""
    if value not in (types.float32, types.float64):
        return None

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m = Vectors(context, b, str(value), 1)
        slot = cgutils.alloca_once_value(b, args[0])
        m.activate([slot], *args[1:])
        return b.load(slot)

    return value(value, types.int64, types.float64, types.float64), codegen


# --- the floating-point environment --------------------------------------------------------------------------------

FLUSH = {"x86": 0x8040, "aarch64": 1 << 24}  # MXCSR: flush-to-zero and denormals-are-zero; FPCR: FZ


def _machine(b: ir.IRBuilder) -> str:
    triple = b.module.triple
    return "x86" if triple.startswith(("x86_64", "i386", "i686", "amd64")) else "aarch64" if triple.startswith(("aarch64", "arm64")) else ""


@intrinsic
def keep_subnormals(typing: Any) -> Any:
    """Clears this thread's flush-to-zero bits and returns the register as it was: a caller's setting reaches only some of the threads."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        machine = _machine(b)
        if machine == "x86":
            slot = cgutils.alloca_once(b, I32)
            called(b, "x86.sse.stmxcsr", ir.VoidType(), [slot])
            before = b.load(slot)
            b.store(b.and_(before, ir.Constant(I32, 0xFFFFFFFF ^ FLUSH["x86"])), slot)
            called(b, "x86.sse.ldmxcsr", ir.VoidType(), [slot])
            return b.zext(before, I64)
        if machine == "aarch64":
            before = called(b, "aarch64.get.fpcr", I64, [])
            called(b, "aarch64.set.fpcr", ir.VoidType(), [b.and_(before, integer(~FLUSH["aarch64"]))])
            return before
        return integer(0)

    return types.int64(), codegen


@intrinsic
def restore(typing: Any, before: Any) -> Any:
    """Puts back what `keep_subnormals` returned."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        machine = _machine(b)
        if machine == "x86":
            slot = cgutils.alloca_once_value(b, b.trunc(args[0], I32))
            called(b, "x86.sse.ldmxcsr", ir.VoidType(), [slot])
        elif machine == "aarch64":
            called(b, "aarch64.set.fpcr", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
