"""The depthwise tile of channels last, generated like those of `stencil.py`: rows x cols pixels of a word of channels.

A filter's taps lie next to each other in memory, so that neighbouring threads, which have neighbouring channels, would read addresses far apart: 32
accesses for one load. A block copies its filters into shared memory first, tap by tap, and its threads read words of channels there.
"""

from __future__ import annotations

from llvmlite import ir

from ..cpu.simd import I32, I64
from .lanes import on_device
from .stencil import HELD, PACKED, STAGED, UNROLLED, Array, Maker, Number, Tile, Word, tiled


def pitch_of(channels: int) -> int:
    """Elements from tap to tap in shared memory: words stay aligned, and threads that write neighbouring taps meet eight banks."""
    return channels + 4


def _anew(mk: Maker, at: ir.Value) -> ir.Value:
    """A place in shared memory, of which the compiler does not know where it comes from: else it computes it again for each use, or, where it has
    been read before, keeps what it has read in registers."""
    b, kind = mk.b, ir.PointerType(at.type.pointee, 3)
    if not on_device(mk.context):
        return at
    number = b.ptrtoint(at if at.type == kind else b.addrspacecast(at, kind), I32)
    return b.inttoptr(b.asm(ir.FunctionType(I32, [I32]), "mov.b32 $0, $1;", "=r,r", [number], side_effect=True), kind)


@tiled
def stage(mk: Maker, tile: Tile, taps: int, channels: int, threads: int, thread: Number, room: Array, w: Word, count: Number) -> None:
    """A thread's part of the copy of `channels` filters, `count` elements of which exist, into shared memory: w is their address."""
    b, n, step = mk.b, taps, threads
    start, pitch = mk.at(w, mk.wide(mk.times(thread, tile.size))), pitch_of(channels)
    channel = b.udiv(thread, mk.whole(n))
    tap = b.sub(thread, mk.times(channel, n))
    place = _anew(mk, b.gep(room, [b.add(mk.times(tap, pitch), channel)]))
    left = b.sub(count, thread)
    for done in range(0, n * channels, step):
        with b.if_then(b.icmp_signed(">", left, mk.whole(done))):
            (value,) = mk.word(mk.at(start, done * tile.size), 1)
            b.store(value, place)
        # `step` elements on: step % n taps and step // n channels, and where that is past the last tap, n taps less and one channel more.
        tap = b.add(tap, mk.whole(step % n))
        past, on = b.icmp_signed(">=", tap, mk.whole(n)), step % n * pitch + step // n
        tap = b.select(past, b.sub(tap, mk.whole(n)), tap)
        place = _anew(mk, b.gep(place, [b.select(past, mk.whole(on + 1 - n * pitch), mk.whole(on))]))


def _read(mk: Maker, base: ir.Value, offset: ir.Value) -> list[ir.Value]:
    """A word of shared memory; `base` is a multiple of it."""
    b, vec = mk.b, mk.tile.vec
    at = b.gep(base, [offset])
    if vec == 1:
        return [b.load(at)]
    kind = ir.VectorType(mk.m.element, vec)
    word = b.load(b.bitcast(at, ir.PointerType(kind, at.type.addrspace)), align=min(16, vec * mk.m.size))
    return [b.extract_element(word, mk.whole(n)) for n in range(vec)]


def taps_last(mk: Maker, tile: Tile, acc: Array, x: Word, pitch: Number, step: Number, height: Number, width: Number, top: Number, left: Number,
              w: Word, wc: Number, wh: Number, ww: Number, room: Array) -> None:  # fmt: skip
    """Adds the taps of a word of channels: x is its address in the image, `pitch` and `step` the bytes from row to row and pixel to pixel.

    w's channels and taps lie wc, wh, ww bytes apart. A tile with STAGED weights reads `room`: elements from wc on, wh and ww apart.
    """
    b, (kh, kw), vec = mk.b, tile.kernel, tile.vec
    top_row, left_col = mk.times(top, tile.stride[0]), mk.times(left, tile.stride[1])
    origin = mk.at(x, mk.wide(b.mul(top_row, pitch)), mk.wide(b.mul(left_col, step)))
    down, right, wide_wc, wide_wh, wide_ww = (mk.wide(v) for v in (pitch, step, wc, wh, ww))

    def weights(i: int | ir.Value, j: int | ir.Value, room: ir.Value = room) -> list[ir.Value]:
        if tile.weights == PACKED and isinstance(i, int):
            return [mk.word(mk.at(w, ((n * kh + i) * kw + j) * tile.size), 1)[0] for n in range(vec)]
        if tile.weights == STAGED:
            return _read(mk, b.gep(room, [wc]), b.add(*(mk.times(by, n) if isinstance(n, int) else b.mul(by, n) for by, n in ((wh, i), (ww, j)))))
        far = [mk.times(by, n) if isinstance(n, int) else b.mul(by, mk.wide(n)) for by, n in ((wide_wh, i), (wide_ww, j))]
        return [mk.word(mk.at(w, *far, mk.times(wide_wc, n)), 1)[0] for n in range(vec)]

    def pixel(row: ir.Value, col: ir.Value, start: ir.Value) -> list[ir.Value]:
        return mk.word_if(b.and_(mk.below(b.add(top_row, row), height), mk.below(b.add(left_col, col), width)), lambda: start, vec)

    def feed(r: int, q: int, values: list[ir.Value], taps: list[ir.Value]) -> None:
        for n in range(vec):
            mk.add(acc, (r * tile.cols + q) * vec + n, values[n], taps[n])

    if max(kh, kw) <= UNROLLED:
        columns: dict[int, list[tuple[int, int]]] = {}
        for q in range(tile.cols):
            for j in range(kw):
                columns.setdefault(tile.col(q, j), []).append((q, j))
        held = [[weights(i, j) for j in range(kw)] for i in range(kh)] if kh * kw * vec <= HELD else None
        # One address and two bounds that move along: as sums of every row and column they would fill the registers.
        first, before = b.sub(mk.whole(0), left_col), min(columns)
        start, row = mk.at(origin, mk.times(down, tile.row(0, 0)), mk.times(right, before)), tile.row(0, 0)
        for u, users in tile.lines().items():
            start, row = mk.fixed(mk.at(start, mk.times(down, u - row))), u
            end = b.select(mk.below(b.add(top_row, mk.whole(u)), height), b.sub(width, left_col), mk.whole(before))
            values, address, col = {}, start, before
            for v in sorted(columns):
                address, col = mk.fixed(mk.at(address, mk.times(right, v - col))), v
                seen = b.icmp_signed("<", mk.whole(v), end)
                if v < 0:  # others are right of the array's first column
                    seen = b.and_(seen, b.icmp_signed(">=", mk.whole(v), first))
                values[v] = mk.word_if(seen, lambda at=address: at, vec)
            own = _anew(mk, room) if tile.weights == STAGED and tile.rows > 2 else room
            for r, i in users:
                for j in range(kw):
                    taps = held[i][j] if held else weights(i, j, own)
                    for q in range(tile.cols):
                        feed(r, q, values[tile.col(q, j)], taps)
        return
    with mk.loop(kh) as i, mk.loop(kw) as j:
        taps = weights(i, j)
        for r in range(tile.rows):
            row = b.add(mk.times(i, tile.dilation[0]), mk.whole(tile.row(r, 0)))
            for q in range(tile.cols):
                col = b.add(mk.times(j, tile.dilation[1]), mk.whole(tile.col(q, 0)))
                feed(r, q, pixel(row, col, mk.at(origin, b.mul(mk.wide(row), down), b.mul(mk.wide(col), right))), taps)


last = tiled(taps_last)


@tiled
def finish_last(mk: Maker, tile: Tile, acc: Array, bias: Word, by: Number, y: Word, pitch: Number, step: Number, height: Number, width: Number,
                top: Number, left: Number, lo: Word, hi: Word) -> None:  # fmt: skip
    """Epilogue and stores of a word of channels; their biases lie `by` bytes apart."""
    b, vec = mk.b, tile.vec
    some = b.icmp_unsigned("!=", bias, ir.Constant(I64, 0))
    added = [mk.word_if(some, lambda n=n: mk.at(bias, mk.times(mk.wide(by), n)), 1)[0] for n in range(vec)]
    origin, down, right = mk.at(y, mk.wide(b.mul(top, pitch)), mk.wide(b.mul(left, step))), mk.wide(pitch), mk.wide(step)
    for r in range(tile.rows):
        origin = mk.fixed(mk.at(origin, down)) if r else origin
        end, at = b.select(mk.below(b.add(top, mk.whole(r)), height), b.sub(width, left), mk.whole(0)), origin
        for q in range(tile.cols):
            at = mk.fixed(mk.at(at, right)) if q else at
            values = [b.fadd(b.load(mk.slot(acc, (r * tile.cols + q) * vec + n)), added[n]) for n in range(vec)]
            values = mk.activated(values, lo, hi)
            with b.if_then(b.icmp_signed("<", mk.whole(q), end)):
                mk.put(at, values)
