"""The product of `product.py` on tensor cores, for 16-bit floats: slabs of 16-bit elements, `mma.m16n8k16` with float32 sums, the epilogue.

A slab lies as its factor does in memory, k by k or row by row, and `ldmatrix` takes either. A block is warps; a warp makes tall x long sums from
tiles of 16 x 16 of both factors. Which lane holds which element: NVIDIA, "PTX ISA", matrix fragments of mma.m16n8k16, floating point; ldmatrix.
On the CPU a thread does its lane's part alone: what another lane would hold is what that lane would have loaded, since no slab changes meanwhile.
"""

from __future__ import annotations

from contextlib import ExitStack

from llvmlite import ir
from numba.core import cgutils

from ..cpu.simd import I16, I32
from .lanes import narrow, on_device, widen
from .matrix import DEEP, WARP, Matrix, Places, spots
from .stencil import Maker

SIDE = 16  # of a tile of either factor, along k and along rows (columns)
COLUMNS = 8  # of the second factor's tile in one instruction


def first_at(lane: int, i: int) -> tuple[int, int]:
    """(row, k) of a lane's element a_i."""
    return lane // 4 + (0 if i < 2 or 4 <= i < 6 else 8), lane % 4 * 2 + i % 2 + (0 if i < 4 else 8)


def second_at(lane: int, i: int) -> tuple[int, int]:
    """(k, column) of a lane's element b_i."""
    return lane % 4 * 2 + i % 2 + (0 if i < 2 else 8), lane // 4


def tiles(m: Matrix) -> tuple[int, int, int]:
    """Of a warp: tiles down, instructions across, tiles of k in a slab."""
    return m.tall // SIDE, m.long // COLUMNS, m.deep // SIDE


def _place(mk: Maker, m: Matrix, side: str, warp: ir.Value, lane: ir.Value) -> ir.Value:
    """The element of a slab at which a lane's line of eight begins, of the warp's first tile. What ldmatrix gives in four registers has to be in the
    order in which mma takes them: of rows the matrices of 8 x 8 follow each other along rows first, of columns along k."""
    b, pitch = mk.b, m.pitch(side)
    own = mk.times(b.udiv(warp, mk.whole(m.across)), m.tall) if side == "A" else mk.times(b.urem(warp, mk.whole(m.across)), m.long)
    within, odd, high = b.and_(lane, mk.whole(7)), b.and_(b.lshr(lane, mk.whole(3)), mk.whole(1)), b.lshr(lane, mk.whole(4))
    half, pick = (odd, high) if side == "A" else (high, odd)  # of the tile's rows (columns); of its k
    if m.words(side)[1] == DEEP:
        line, place = b.add(b.add(own, within), mk.times(half, 8)), mk.times(pick, 8)
    else:
        line, place = b.add(within, mk.times(pick, 8)), b.add(own, mk.times(half, 8))
    return b.add(b.add(mk.times(line, pitch), place), mk.whole(m.base(side)))


def _steps(m: Matrix, side: str) -> tuple[int, int]:
    """Elements from tile to tile, and from one tile of k to the next."""
    pitch = m.pitch(side)
    return (SIDE * pitch, SIDE) if m.words(side)[1] == DEEP else (SIDE, SIDE * pitch)


def put(mk: Maker, m: Matrix, thread: ir.Value, held: ir.Value, room: ir.Value, buffer: ir.Value) -> None:
    """As `product.put`: whole words, as they are held."""
    b, slot = mk.b, 0
    begin = first = b.gep(b.bitcast(room, I16.as_pointer()), [mk.times(buffer, 2 * m.slab)])
    for side in "AB":
        for spot in spots(mk, m, side, thread):
            vec, pitch = spot.word.vec, m.pitch(side)
            parts = [b.bitcast(b.load(mk.slot(held, slot + n)), I32) for n in range(max(1, vec // 2))]
            slot += vec
            if spot.below == 0:
                begin = b.gep(first, [b.add(b.add(mk.times(spot.line, pitch), spot.place), mk.whole(m.base(side)))])
            with b.if_then(spot.exists):
                write(mk, b.gep(begin, [mk.whole(spot.below * pitch)]), parts, vec)


def write(mk: Maker, at: ir.Value, parts: list[ir.Value], vec: int) -> None:
    """A word of `vec` elements of 16 bits, given in pairs, into shared memory."""
    b, joined = mk.b, mk.joined(parts)
    if vec == 1:
        b.store(b.trunc(joined, I16), at)
    else:
        b.store(joined, b.bitcast(at, joined.type.as_pointer()), align=2 * vec)


def multiply(mk: Maker, m: Matrix, thread: ir.Value, acc: ir.Value, room: ir.Value, buffer: ir.Value) -> None:
    """As `product.multiply`."""
    (_on_device if on_device(mk.context) else _on_cpu)(mk, m, thread, acc, room, buffer)


def _on_device(mk: Maker, m: Matrix, thread: ir.Value, acc: ir.Value, room: ir.Value, buffer: ir.Value) -> None:
    b, (down, across, deep) = mk.b, tiles(m)
    lane, warp = b.and_(thread, mk.whole(WARP - 1)), b.lshr(thread, mk.whole(5))
    start = b.ptrtoint(b.addrspacecast(room, ir.PointerType(room.type.pointee, 3)), I32)
    start = b.add(start, mk.times(buffer, 4 * m.slab))
    at = {side: b.add(start, mk.times(_place(mk, m, side, warp, lane), 2)) for side in "AB"}

    def tile(side: str, n: int, k: int) -> list[ir.Value]:
        over, on = _steps(m, side)
        return ldmatrix(mk, at[side], 2 * (n * over + k * on), "" if m.words(side)[1] == DEEP else ".trans")

    for k in range(deep):
        rows = [tile("A", i, k) for i in range(down)]
        for pair in range(across // 2):
            cols = tile("B", pair, k)
            for i, given in enumerate(rows):
                for half in range(2):
                    mma(mk, acc, (i * across + 2 * pair + half) * 4, given, cols[2 * half : 2 * half + 2])


def ldmatrix(mk: Maker, at: ir.Value, displacement: int, turned: str) -> list[ir.Value]:
    """Four matrices of 8 x 8, a register each, of lines of shared memory that the lanes name."""
    b, four = mk.b, ir.LiteralStructType([I32] * 4)
    text = f"ldmatrix.sync.aligned.m8n8.x4{turned}.shared.b16 {{$0, $1, $2, $3}}, [$4+{displacement}];"
    made = b.asm(ir.FunctionType(four, [I32]), text, "=r,=r,=r,=r,r,~{memory}", [at], side_effect=True)
    return [b.extract_value(made, i) for i in range(4)]


def mma(mk: Maker, acc: ir.Value, at: int, first: list[ir.Value], second: list[ir.Value]) -> None:
    """Adds a product to four sums: of 16 of k, four registers by two, or of 8."""
    b, kind, n = mk.b, "f16" if mk.tile.dtype == "float16" else "bf16", len(second)
    sums, four = [b.load(mk.slot(acc, at + n)) for n in range(4)], ir.LiteralStructType([mk.m.element] * 4)
    braced = lambda start, count: "{" + ", ".join(f"${start + i}" for i in range(count)) + "}"
    registers = ", ".join((braced(0, 4), braced(4, 2 * n), braced(4 + 2 * n, n), braced(4 + 3 * n, 4)))
    text = f"mma.sync.aligned.m16n8k{8 * n}.row.col.f32.{kind}.{kind}.f32 {registers};"
    given = [*first, *second, *sums]
    places = ",".join(["=f"] * 4 + ["r"] * 3 * n + ["f"] * 4)
    made = b.asm(ir.FunctionType(four, [v.type for v in given]), text, places, given, side_effect=True)
    for n in range(4):
        b.store(b.extract_value(made, n), mk.slot(acc, at + n))


def _on_cpu(mk: Maker, m: Matrix, thread: ir.Value, acc: ir.Value, room: ir.Value, buffer: ir.Value) -> None:
    """A thread's own sums, with what every other lane of its warp would have loaded, by the same places as on the device; in loops."""
    b, (down, across, deep) = mk.b, tiles(m)
    lane, warp = b.and_(thread, mk.whole(WARP - 1)), b.lshr(thread, mk.whole(5))
    first = b.gep(b.bitcast(room, I16.as_pointer()), [mk.times(buffer, 2 * m.slab)])
    # Whose element it is, by (row, k) and by (k, column): lane * 8 (4) + number
    holders = [0] * (SIDE * SIDE), [0] * (SIDE * COLUMNS)
    for owner in range(WARP):
        for i in range(8):
            row, k = first_at(owner, i)
            holders[0][row * SIDE + k] = owner * 8 + i
        for i in range(4):
            k, col = second_at(owner, i)
            holders[1][k * COLUMNS + col] = owner * 4 + i
    whose_first, whose_second = (_table(mk, values) for values in holders)

    def element(side: str, owner: ir.Value, matrix: ir.Value, odd: ir.Value, n: ir.Value, k: ir.Value) -> ir.Value:
        """One half of the register that ldmatrix gives a lane of the matrix: of the line of lane 8 * matrix + row."""
        over, on = _steps(m, side)
        row, pair = b.lshr(owner, mk.whole(2)), b.add(mk.times(b.and_(owner, mk.whole(3)), 2), odd)
        row, place = (row, pair) if m.words(side)[1] == DEEP else (pair, row)
        line = _place(mk, m, side, warp, b.add(mk.times(matrix, 8), row))
        at = b.add(b.add(line, place), b.add(mk.times(n, over), mk.times(k, on)))
        return widen(mk.context, b, b.load(b.gep(first, [at])), m.dtype)

    with ExitStack() as stack:
        k, i, j, c, depth = (stack.enter_context(mk.loop(n)) for n in (deep, down, across, 4, SIDE))
        row, col = halves(mk, lane, c)
        whose = b.load(b.gep(whose_first, [b.add(mk.times(row, SIDE), depth)]))
        owner, part = b.lshr(whose, mk.whole(3)), b.and_(whose, mk.whole(7))
        left = element("A", owner, b.lshr(part, mk.whole(1)), b.and_(part, mk.whole(1)), i, k)
        whose = b.load(b.gep(whose_second, [b.add(mk.times(depth, COLUMNS), col)]))
        owner, part = b.lshr(whose, mk.whole(2)), b.and_(whose, mk.whole(3))
        matrix = b.add(b.lshr(part, mk.whole(1)), mk.times(b.and_(j, mk.whole(1)), 2))
        right = element("B", owner, matrix, b.and_(part, mk.whole(1)), b.lshr(j, mk.whole(1)), k)
        at = b.gep(acc, [b.add(mk.times(b.add(mk.times(i, across), j), 4), c)])
        b.store(b.fadd(b.load(at), b.fmul(left, right)), at)


def halves(mk: Maker, lane: ir.Value, c: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(row, column) of a lane's sum c_i: lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2."""
    b = mk.b
    row = b.add(b.lshr(lane, mk.whole(2)), mk.times(b.lshr(c, mk.whole(1)), 8))
    return row, b.add(mk.times(b.and_(lane, mk.whole(3)), 2), b.and_(c, mk.whole(1)))


def _table(mk: Maker, values: list[int]) -> ir.Value:
    kind = ir.ArrayType(I32, len(values))
    made = cgutils.add_global_variable(mk.b.module, kind, "_sepconv_lanes")
    made.linkage, made.global_constant, made.initializer = "internal", True, ir.Constant(kind, values)
    return mk.b.bitcast(made, I32.as_pointer())


def pair(mk: Maker, low: ir.Value, high: ir.Value) -> ir.Value:
    """Two numbers as 16-bit floats in one register."""
    b, dtype = mk.b, mk.tile.dtype
    if on_device(mk.context):  # one instruction, which GPUs without these tensor cores have not
        text = f"cvt.rn.{'f16x2' if dtype == 'float16' else 'bf16x2'}.f32 $0, $1, $2;"
        return b.asm(ir.FunctionType(I32, [mk.m.element] * 2), text, "=r,f,f", [high, low], side_effect=False)
    low, high = (b.zext(narrow(mk.context, b, v, dtype), I32) for v in (low, high))
    return b.or_(low, b.shl(high, mk.whole(16)))


def places(mk: Maker, m: Matrix, thread: ir.Value) -> Places:
    """As `product._places`: a lane has two rows of each tile, and of columns pairs, which where they are folded are four pairs of neighbours."""
    b, (down, across, _) = mk.b, tiles(m)
    lane, warp = b.and_(thread, mk.whole(WARP - 1)), b.lshr(thread, mk.whole(5))
    top, left = mk.times(b.udiv(warp, mk.whole(m.across)), m.tall), mk.times(b.urem(warp, mk.whole(m.across)), m.long)
    top, quarter = b.add(top, b.lshr(lane, mk.whole(2))), b.and_(lane, mk.whole(3))
    rows = [(b.add(top, mk.whole(8 * i)), i // 2 * across * 4 + i % 2 * 2) for i in range(2 * down)]
    pairs, words = 4 if m.b_form == DEEP else 1, []
    for j in range(0, across, pairs):
        col, sums = b.add(left, b.add(mk.times(quarter, 2 * pairs), mk.whole(j * COLUMNS))), [(j + n // 2) * 4 + n % 2 for n in range(2 * pairs)]
        words += [(b.add(col, mk.whole(n)), sums[n : n + m.out_vec]) for n in range(0, 2 * pairs, m.out_vec)]
    return rows, words


def store(mk: Maker, address: ir.Value, values: list[ir.Value]) -> None:
    """Neighbouring results, by one store; pairs are rounded together."""
    if len(values) == 1:
        mk.put(address, values)
    else:
        mk.put_parts(address, [pair(mk, low, high) for low, high in zip(values[::2], values[1::2])], mk.tile.size * len(values))
