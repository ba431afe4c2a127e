"""The register tile of depthwise convolution, channels last, of few taps: R x P pixels x V vectors of channels, every tap written out. An input
pixel is loaded once and feeds all outputs of the R rows that it belongs to, so that few loads go with each multiply-add: with 16 registers, where a
loop over the taps, as in `stencil.py`, took up to half as long again, and on large maps.

Sums are taken in the order that the tile of `stencil.py` takes them in, but where taps go by two or more apart (see `_row`). The border is met as
there: columns beyond it are read as zeros, rows left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import types
from numba.extending import intrinsic

from .simd import Vectors, integer, past_caches

# The run-time arguments of the tile; steps and pitches count bytes, positions pixels.
#   x x_h x_w       address of the first input pixel, which need not exist; from row to row and from pixel to pixel
#   top height left width    its position, and the sizes of the axes
#   w w_by          address of the first tap's weights, and from tap to tap
#   zeros bias y y_h y_w     addresses and pitches of the epilogue
#   past            whether the outputs, whole lines of the cache, are stored past the caches
ARGUMENTS = "x x_h x_w top height left width w w_by zeros bias y y_h y_w past".split()


def by_tap(columns: int, registers: int) -> bool:
    """Whether the taps of a row go by one after the other, while the pixels move on: with 16 registers, which the weights of many would fill."""
    return registers == 16 and columns > 3


class _Patch:
    """Generates one tile. `reach`: rows and columns of inputs; `margin`: how many of them may lie beyond each side; 0: none does."""

    def __init__(self, m: Vectors, literals: tuple[int, ...], margin: int, arguments: dict[str, Any]) -> None:
        self.m, self.b, self.margin = m, m.b, margin
        self.kernel, self.stride, self.tall, self.wide, self.vectors = literals[:2], *literals[2:]
        self.__dict__.update(arguments)
        self.by_tap = by_tap(self.kernel[1], m.registers)
        self.reach = tuple((n - 1) * self.stride + k for n, k in zip((self.tall, self.wide), self.kernel))

    def run(self) -> None:
        m = self.m
        acc = m.accumulators(self._vectors(m.pointer(self.bias)) * (self.tall * self.wide))
        self.there, self.weights = self._inside(1, self.left, self.width), {}
        self.lines = self._lines() if self.by_tap else []
        rows, line = self._inside(0, self.top, self.height), m.pointer(self.x)
        for i in range(self.reach[0]):
            with self._if(rows[i]):
                self._row(i, line, acc)
            line = m.at(line, self.x_h)
        m.activate(acc, *self.act)
        self._store(acc)

    def _inside(self, axis: int, first: Any, size: Any) -> list[Any]:
        """Whether each row or column of inputs exists; None where it is known to."""
        b, n = self.b, self.reach[axis]
        known = range(self.margin, n - self.margin)
        return [None if i in known else b.icmp_unsigned("<", b.add(first, integer(i)), size) for i in range(n)]

    @contextmanager
    def _if(self, flag: Any) -> Iterator[None]:
        if flag is None:
            yield
            return
        self.weights = {}  # what is loaded in a branch is there alone
        with self.b.if_then(flag):
            yield
        self.weights = {}

    def _row(self, i: int, line: Any, acc: list[Any]) -> None:
        """acc += the products of row i of the inputs: column by column or, if `by_tap`, tap by tap of the rows of weights that meet it, while
        the pixels move on by one. With a stride the pixels of every so many taps are the same ones."""
        m, b = self.m, self.b
        rows = [(r, i - r * self.stride) for r in range(self.tall) if 0 <= i - r * self.stride < self.kernel[0]]
        taps = sorted(range(self.kernel[1]), key=lambda tap: (tap % self.stride, tap)) if self.by_tap else range(self.kernel[1])
        uses = [(r, t, p, tap) for tap in taps for r, t in rows for p in range(self.wide)]
        if not self.by_tap:
            uses.sort(key=lambda use: (use[2] * self.stride + use[3], use[0], use[2]))
        inputs: dict[int, list[Any]] = {}
        last = None
        if self.by_tap:
            self.weights = {}  # a row of inputs loads its own, or the registers held them from one to the next
        for r, t, p, tap in uses:
            if self.by_tap and tap != last:
                m.settle(acc)
                last = tap
            j = p * self.stride + tap
            if j not in inputs:
                place, exists = m.at(line, b.mul(integer(j), self.x_w)) if j else line, self.there[j]
                inputs[j] = self._vectors(place if exists is None else b.select(exists, place, m.pointer(self.zeros)))
            weights = self._weights(t, tap)
            for u in range(self.vectors):
                m.fma(inputs[j][u], weights[u], acc[(r * self.wide + p) * self.vectors + u])

    def _weights(self, t: int, tap: int) -> list[Any]:
        m, b = self.m, self.b
        if (t, tap) not in self.weights:
            line, at = self.lines[t] if self.by_tap else m.pointer(self.w), tap if self.by_tap else t * self.kernel[1] + tap
            self.weights[t, tap] = self._vectors(m.at(line, b.mul(integer(at), self.w_by)) if at else line)
        return self.weights[t, tap]

    def _lines(self) -> list[Any]:
        """The addresses of the rows of weights, each made of the one before, or LLVM makes one a tap ahead and puts them on the stack."""
        lines = [self.w]
        for _ in range(self.kernel[0] - 1):
            lines.append(self.m.unforeseen(self.b.add(lines[-1], self.b.mul(integer(self.kernel[1]), self.w_by))))
        return [self.m.pointer(line) for line in lines]

    def _vectors(self, place: Any) -> list[Any]:
        return [self.m.load(self.m.at(place, u * self.m.lanes * self.m.size)) for u in range(self.vectors)]

    def _store(self, acc: list[Any]) -> None:
        b, bytes = self.b, self.m.lanes * self.m.size
        if self.m.many or bytes * self.vectors % 64:  # with 32 registers nobody asks for it: see `tiles.depthwise_last`
            self._each(acc, self.m.store)
            return
        with b.if_else(b.icmp_signed("!=", self.past, integer(0)), likely=False) as (past, here):
            with past:
                self._each(acc, lambda value, place: past_caches(b, value, b.bitcast(place, self.m.type.as_pointer()), bytes))
            with here:
                self._each(acc, self.m.store)

    def _each(self, acc: list[Any], store: Callable[[Any, Any], None]) -> None:
        m, b, line = self.m, self.b, self.m.pointer(self.y)
        for r in range(self.tall):
            for p in range(self.wide):
                place = m.at(line, b.mul(integer(p), self.y_w)) if p else line
                for u in range(self.vectors):
                    store(b.load(acc[(r * self.wide + p) * self.vectors + u]), m.at(place, u * m.lanes * m.size))
            line = m.at(line, self.y_h)


@intrinsic(prefer_literal=True)
def patch(typing: Any, dtype, lanes, k_h, k_w, stride, tall, wide, vectors, margin, inside,
          x, x_h, x_w, top, height, left, width, w, w_by, zeros, bias, y, y_h, y_w, past, act, lo, hi):  # fmt: skip
    """y[r, p] = epilogue(sum over i, j of w[i, j] * x[r * stride + i, p * stride + j]), of some vectors of channels.

    The first nine are literals; `inside`: no input lies beyond the border.
    """
    literals = (dtype, lanes, k_h, k_w, stride, tall, wide, vectors, margin)
    kind, lane_count, *shape, most = (t.literal_value for t in literals)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        m, values = Vectors(context, b, kind, lane_count), dict(zip(ARGUMENTS, args[len(literals) + 1 :]))
        values["act"] = args[-3:]
        if most == 0:
            _Patch(m, tuple(shape), 0, values).run()
            return context.get_dummy_value()
        with b.if_else(args[len(literals)]) as (whole, part):
            for block, margin in ((whole, 0), (part, most)):
                with block:
                    _Patch(m, tuple(shape), margin, values).run()
        return context.get_dummy_value()

    return types.void(*literals, types.boolean, *[types.int64] * (len(ARGUMENTS) + 1), types.float64, types.float64), codegen
