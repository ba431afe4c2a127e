"""Vectors of one element type in LLVM, of which the tiles are generated.

Memory is addressed by int64 byte addresses, so that one kernel serves any strides, and read-only and writable arrays alike.
Loads and stores claim the alignment of an element, no more. A vector of one lane is a scalar: the same code then serves `direct.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ... import activations
from .. import formulas
from .runtime import machine

I1, I16, I32, I64 = (ir.IntType(n) for n in (1, 16, 32, 64))
BYTE = ir.IntType(8)
FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
BITS = {"float32": 32, "float64": 64}


def integer(n: int) -> ir.Constant:
    return ir.Constant(I64, n)


def pointed(b: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """An address as a pointer to a type. LLVM is told that any address may be one, also null with an offset, which else nobody may read or write.
    It makes that itself: Numba links and optimizes again what already was made machine code of, and a sum of two addresses then is a pointer, to
    either, and an offset. Where the one that was taken for the pointer turned out to be 0, the store was left out."""
    set.add(b.function.attributes, "null_pointer_is_valid")  # llvmlite knows no attribute of that name
    return b.inttoptr(address, kind.as_pointer())


@contextmanager
def rolled(b: ir.IRBuilder, count: ir.Value) -> Iterator[Any]:
    """`cgutils.for_range`, which LLVM is told to leave as it is: for Zen 3 it would unroll it twice, and spill."""
    with cgutils.for_range(b, count) as loop:
        yield loop
        end = b.block  # where for_range will put the jump back
    leaf = b.module.add_metadata([ir.MetaDataString(b.module, "llvm.loop.unroll.disable")])
    node = ir.MDValue(b.module, [leaf, leaf], name=str(len(b.module.metadata)))
    node.operands = (node, leaf)  # LLVM knows a loop's node by its naming itself first
    end.terminator.set_metadata("llvm.loop", node)


def called(b: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
    """A call of one of LLVM's own functions, by its full name."""
    kind = ir.FunctionType(result, [each.type for each in arguments])
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}"), arguments)


def spread(b: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector of so many times the same element."""
    kind, places = ir.VectorType(scalar.type, lanes), ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), places)


def past_caches(b: ir.IRBuilder, value: ir.Value, pointer: ir.Value, size: int) -> None:
    """Stores a vector of so many bytes, to a multiple of them, so that its cache line is not read first. See `intrinsics.drain`."""
    stored = b.store(value, pointer, align=size)
    stored.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(I32, 1)]))


class Value:
    """A vector in a register, with the arithmetic that `formulas` uses."""

    def __init__(self, m: Vectors, raw: ir.Value) -> None:
        self.m, self.raw = m, raw

    def _two(self, name: str, other: Value) -> Value:
        return Value(self.m, getattr(self.m.b, ("f" if self.m.floating(self.raw) else "") + name)(self.raw, other.raw))

    def __add__(self, other: Value) -> Value:
        return self._two("add", other)

    def __sub__(self, other: Value) -> Value:
        return self._two("sub", other)

    def __mul__(self, other: Value) -> Value:
        return self._two("mul", other)

    def __truediv__(self, other: Value) -> Value:
        return self._two("div", other)

    def __rshift__(self, count: int) -> Value:
        return Value(self.m, self.m.b.ashr(self.raw, ir.Constant(self.raw.type, [count] * self.m.lanes if self.m.lanes > 1 else count)))

    def __lt__(self, other: Value) -> Value:
        return Value(self.m, self.m.b.fcmp_ordered("<", self.raw, other.raw))

    def __gt__(self, other: Value) -> Value:
        return Value(self.m, self.m.b.fcmp_ordered(">", self.raw, other.raw))


class Vectors:
    """Vector code for one builder: loads, stores, splats, masks, fused multiply-add and the epilogue, on `lanes` elements of `dtype`."""

    def __init__(self, context: Any, builder: ir.IRBuilder, dtype: str, lanes: int) -> None:
        self.context, self.b, self.dtype, self.lanes = context, builder, dtype, lanes
        self.element, self.size = FLOATS[dtype], BITS[dtype] // 8
        self.name = (f"v{lanes}" if lanes > 1 else "") + f"f{BITS[dtype]}"  # as LLVM's functions are called
        self.type, self.whole, self.flags = (self._wide(t) for t in (self.element, ir.IntType(BITS[dtype]), I1))
        self.zero = ir.Constant(self.type, None) if lanes > 1 else ir.Constant(self.type, 0.0)

    def _wide(self, element: ir.Type) -> ir.Type:
        return ir.VectorType(element, self.lanes) if self.lanes > 1 else element

    def floating(self, raw: ir.Value) -> bool:
        return raw.type == self.type

    # addresses: int64 sums and products, or pointers, of which LLVM keeps constant offsets apart, as the displacement of a load

    def pointer(self, address: ir.Value) -> ir.Value:
        return pointed(self.b, address, BYTE)

    def at(self, base: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        add = self.b.add if base.type == I64 else lambda pointer, offset: self.b.gep(pointer, [offset])
        for offset in offsets:
            if not isinstance(offset, int):
                base = add(base, offset)
            elif offset:
                base = add(base, integer(offset))
        return base

    def times(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        return self.b.mul(a, b if not isinstance(b, int) else integer(b))

    def multiples(self, by: ir.Value, count: int) -> list[ir.Value]:
        """0 to count - 1 times an offset. With 16 registers LLVM is told nothing of odd ones: it would make each address of the one before, and
        a turn's first of the last one's, which takes longer than the multiply-adds."""
        found = [integer(0)]
        for n in range(1, count):
            even = n & -n  # the power of two in it
            if self.many or n == even:
                found.append(self.b.mul(integer(n), by))
            elif even > 1:
                found.append(self.b.mul(integer(even), found[n // even]))
            else:
                found.append(self.unforeseen(self.b.mul(integer(n), by)))
        return found

    def _pointer(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        return pointed(self.b, address, kind) if address.type == I64 else self.b.bitcast(address, kind.as_pointer())

    # memory

    def load(self, address: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """A vector; lanes outside the mask are zero and their memory is not touched, mapped or not."""
        pointer = self._pointer(address, self.type)
        if mask is None:
            return self.b.load(pointer, align=self.size)
        return called(self.b, f"masked.load.{self.name}.p0", self.type, [pointer, ir.Constant(I32, self.size), mask, self.zero])

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None = None) -> None:
        pointer = self._pointer(address, self.type)
        if mask is None:
            self.b.store(value, pointer, align=self.size)
            return
        called(self.b, f"masked.store.{self.name}.p0", ir.VoidType(), [value, pointer, ir.Constant(I32, self.size), mask])

    def prefetch(self, address: ir.Value, cache: int = 1) -> None:
        """Asks for a cache line, which need not be mapped, to be read into the first or second cache soon."""
        how = (ir.Constant(I32, n) for n in (0, 4 - cache, 1))  # to be read; how near; data
        called(self.b, "prefetch.p0", ir.VoidType(), [self._pointer(address, ir.IntType(8)), *how])

    def splat(self, address: ir.Value) -> ir.Value:
        return self.spread(self.b.load(self._pointer(address, self.element), align=self.size))

    def spread(self, scalar: ir.Value) -> ir.Value:
        return scalar if self.lanes == 1 else spread(self.b, scalar, self.lanes)

    def evens(self, low: ir.Value, high: ir.Value, first: int = 0, second: int | None = None) -> ir.Value:
        """Every second lane of two neighbouring vectors, from `first` and `second` on: what a stride of 2 reads."""
        second = first if second is None else second
        return self._shuffled(low, high, [*range(first, self.lanes, 2), *range(self.lanes + second, 2 * self.lanes, 2)])

    def last_and(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """The last lane of a vector, then those of another but its last."""
        return self._shuffled(low, high, list(range(self.lanes - 1, 2 * self.lanes - 1)))

    def evens_of_halves(self, low: ir.Value, high: ir.Value, first: int, second: int) -> ir.Value:
        """The same, half a vector of each by turns: one instruction on AVX2, where lanes cross the middle by a second one. See `in_order`."""
        half, order = self.lanes // 2, []
        for start in (0, half):
            order += [*range(start + first, start + half, 2), *range(self.lanes + start + second, self.lanes + start + half, 2)]
        return self._shuffled(low, high, order)

    def in_order(self, value: ir.Value) -> ir.Value:
        """The lanes of a vector that `evens_of_halves` made, as `evens` has them."""
        quarter = self.lanes // 4
        return self._shuffled(value, value, [part * quarter + lane for part in (0, 2, 1, 3) for lane in range(quarter)])

    def transposed(self, rows: list[ir.Value]) -> list[ir.Value]:
        """The columns of as many vectors as they have lanes: log2(lanes) rounds of shuffles, which swap squares on both sides of the diagonal."""
        rows, step = list(rows), 1
        while step < self.lanes:
            low = [j if not j & step else j - step + self.lanes for j in range(self.lanes)]
            high = [j + step if not j & step else j + self.lanes for j in range(self.lanes)]
            for i in range(self.lanes):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i], rows[i + step] = self._shuffled(*pair, low), self._shuffled(*pair, high)
            step *= 2
        return rows

    def _shuffled(self, low: ir.Value, high: ir.Value, order: list[int]) -> ir.Value:
        return self.b.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, self.lanes), order))

    def window(self, first: ir.Value, size: ir.Value) -> tuple[ir.Value, ir.Value]:
        """What `inside` needs to know of positions first, first + 1, ... on an axis [0, size): where the first lane is and what the axis
        spans, both counted from `first` if that is beyond 0, so that 32 bits hold them, with a far end cut off."""
        b, far = self.b, integer(2**30)
        ahead = b.select(b.icmp_signed(">", first, integer(0)), first, integer(0))
        start, span = b.sub(first, ahead), b.sub(size, ahead)
        span = b.select(b.icmp_signed("<", span, integer(0)), integer(0), span)
        span = b.select(b.icmp_signed(">", span, far), far, span)
        return start, b.trunc(span, I32)

    def inside(self, at: ir.Value, vector: int, span: ir.Value) -> ir.Value:
        """Mask of the lanes of the vector-th vector whose position, `at` for the first lane of the first, exists."""
        lane = ir.Constant(ir.VectorType(I32, self.lanes), list(range(vector * self.lanes, (vector + 1) * self.lanes)))
        return self.b.icmp_unsigned("<", self.b.add(lane, self.spread(self.b.trunc(at, I32))), self.spread(span))

    @property
    def registers(self) -> int:
        """How many vector registers the machine has."""
        return machine().registers

    @property
    def many(self) -> bool:
        return self.registers == 32

    def fence(self) -> None:
        """Nothing, over which LLVM moves no load: what it would load early takes registers for longer."""
        self.b.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)

    def settle(self, slots: list[ir.Value]) -> None:
        """Nothing, over which LLVM moves neither loads nor what is added to these accumulators: sums put off hold their vectors in registers."""
        self.fence()
        kind = "=w,0" if machine().isa == "NEON" else "=v,0" if machine().bytes == 64 else "=x,0"
        for slot in slots:
            self.b.store(self.b.asm(ir.FunctionType(self.type, [self.type]), "", kind, [self.b.load(slot)], True), slot)

    # arithmetic

    def accumulators(self, values: list[ir.Value]) -> list[ir.Value]:
        """Stack slots that begin with these values; LLVM turns them into registers."""
        return [cgutils.alloca_once_value(self.b, value) for value in values]

    def fma(self, x: ir.Value, y: ir.Value, acc: ir.Value) -> None:
        """acc += x * y, fused where the machine can; acc is a stack slot, which LLVM turns into a register."""
        self.b.store(called(self.b, f"fmuladd.{self.name}", self.type, [x, y, self.b.load(acc)]), acc)

    # what `formulas` asks of a machine

    mantissa = property(lambda self: 23 if self.dtype == "float32" else 52)
    least = property(lambda self: -149 if self.dtype == "float32" else -1074)
    most = property(lambda self: 127 if self.dtype == "float32" else 1023)

    def constant(self, number: float) -> Value:
        return Value(self, ir.Constant(self.type, [number] * self.lanes if self.lanes > 1 else number))

    def where(self, flag: Value, yes: Value, no: Value) -> Value:
        return Value(self, self.b.select(flag.raw, yes.raw, no.raw))

    def bits(self, value: Value) -> Value:
        return Value(self, self.b.bitcast(value.raw, self.whole))

    def power(self, exponent: Value) -> Value:
        """2**exponent of a whole number in the normal range."""
        whole = lambda n: ir.Constant(self.whole, [n] * self.lanes if self.lanes > 1 else n)
        biased = self.b.shl(self.b.add(exponent.raw, whole(self.most)), whole(self.mantissa))
        return Value(self, self.b.bitcast(biased, self.type))

    # the epilogue

    def unforeseen(self, value: ir.Value) -> ir.Value:
        """The same integer, by an empty instruction that LLVM does not look through: what is made of it is made here, and holds no vector
        register before. (The bounds of an activation did, over the loops of a tile, which then had two accumulators on the stack.)"""
        return self.b.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], True)

    def activate(self, slots: list[ir.Value], code: ir.Value, lo: ir.Value, hi: ir.Value) -> None:
        """The activation, in place, of accumulators: bounds in registers, anything curved by a call, its code made once a module."""
        with self.b.if_then(self.b.icmp_signed("==", code, integer(activations.CLIP))):
            late = lambda v: self.b.bitcast(self.unforeseen(self.b.bitcast(v, I64)), ir.DoubleType())
            bound = [late(v) if self.lanes > 1 else v for v in (lo, hi)]
            bound = [Value(self, self.spread(self.b.fptrunc(v, self.element) if self.dtype == "float32" else v)) for v in bound]
            for slot in slots:
                self.b.store(formulas.clip(Value(self, self.b.load(slot)), *bound, self).raw, slot)
        with self.b.if_then(self.b.icmp_signed(">", code, integer(activations.CLIP)), likely=False):
            curved = self.curved()
            for slot in slots:
                self.b.store(self.b.call(curved, [self.b.load(slot), code]), slot)

    def curved(self) -> ir.Function:
        """A function of the module: the curved activation that `code` names, of one vector."""
        name = f"sepconv.activate.{self.dtype}.{self.lanes}"
        found = self.b.module.globals.get(name)
        if found is not None:
            return found
        function = ir.Function(self.b.module, ir.FunctionType(self.type, [self.type, I64]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block())
        inner = Vectors(self.context, builder, self.dtype, self.lanes)
        value, code = function.args
        default = function.append_basic_block()
        cases = builder.switch(code, default)
        for number, formula in formulas.CURVED.items():
            block = function.append_basic_block()
            cases.add_case(integer(number), block)
            builder.position_at_end(block)
            builder.ret(formula(Value(inner, value), inner).raw)
        builder.position_at_end(default)
        builder.ret(value)
        return function
