"""The blocks of products: a table, and which of them is done first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...problem import Problem
from ..cpu.intrinsics import HALVES
from .runtime import SIMULATED


class Block(NamedTuple):
    """A block of a product: threads down and across, sums a thread down and across, k of a slab; on tensor cores, warps and their sums."""

    down: int
    across: int
    tall: int
    long: int
    deep: int

    rows, cols = property(lambda self: self.down * self.tall), property(lambda self: self.across * self.long)


class Blocks(NamedTuple):
    """Those of one sort of arithmetic."""

    products: list[Block]
    fused: list[Block]  # what else fills registers leaves few for sums
    fused_last: list[Block]
    looked_up: list[Block]
    speed: dict[int, float]  # multiply-adds a lane and cycle, by the sums of a thread (a warp): the more, the fewer loads there are for each


SMALL = [Block(8, 16, 8, 4, 8), Block(8, 8, 4, 4, 16)]
ORDINARY = Blocks(
    [Block(16, 16, 8, 8, 8), Block(4, 32, 8, 8, 8), Block(32, 4, 8, 8, 8), *SMALL], [Block(32, 8, 8, 4, 16), *SMALL],
    [Block(8, 32, 8, 4, 16), *SMALL], [Block(32, 8, 4, 8, 8), Block(4, 64, 8, 4, 8), Block(64, 4, 4, 8, 8), *SMALL], {64: 1.0, 32: 0.8, 16: 0.6},
)  # fmt: skip
DOUBLE = Blocks(SMALL, ORDINARY.fused, ORDINARY.fused_last, SMALL, ORDINARY.speed)
FEW = [Block(2, 2, 32, 32, 32), Block(2, 1, 16, 32, 32)]
TENSOR = Blocks(
    [Block(2, 2, 64, 64, 32), Block(2, 2, 64, 32, 32), Block(2, 2, 32, 64, 32), *FEW], [Block(4, 2, 64, 32, 16), *FEW],
    [Block(2, 4, 32, 64, 16), *FEW],
    [Block(4, 1, 64, 64, 16), Block(1, 4, 64, 32, 32), Block(2, 2, 64, 64, 32), Block(2, 2, 64, 32, 32), Block(2, 2, 32, 64, 32),
     Block(4, 1, 32, 32, 32), Block(1, 4, 32, 32, 32), *FEW],
    {4096: 8.0, 2048: 7.0, 1024: 5.0, 512: 3.0},
)  # fmt: skip
if SIMULATED:
    ORDINARY = DOUBLE = Blocks(*[[Block(2, 2, 8, 8, 8)]] * 4, ORDINARY.speed)
    TENSOR = Blocks(*[[Block(1, 1, 16, 32, 16)]] * 4, TENSOR.speed)
TENSOR_CORES = 8, 0  # the compute capability from which they take both 16-bit floats and 16 of k
# Of a large GPU: blocks that keep its multiprocessors at work; multiply-adds, and bytes of memory, a cycle; cycles that a launch costs; and
# multiply-adds in the time of a byte from the second cache
BUSY, MULTIPLY_ADDS, BYTES, LAUNCH, SECOND = 160, 132 * 128, 1900, 5000, 6
LOOK_UP, LONE = 25, 5  # instructions for a word of the windows of x, or of weights, and for each of its elements that is loaded by itself


def looked_up(pixels: int, outputs: int, x_vec: int, w_vec: int) -> int:
    """Instructions that look up a k of a block's windows, and of its weights, unless they are rows of a matrix: `w_vec` is 0 then."""
    return pixels * LOOK_UP // x_vec + (outputs * (LOOK_UP // w_vec + LONE) if w_vec else 0)


def of(dtype: np.dtype, cc: tuple[int, int]) -> Blocks:
    return TENSOR if dtype.name in HALVES and cc >= TENSOR_CORES else DOUBLE if dtype.itemsize == 8 else ORDINARY


def best(
    found: Blocks, shapes: Sequence[Block], size: int, extents: tuple[int, int], batch: int, beside: Callable[[Block], int] = lambda block: 0
) -> Block:
    """The block that should be done first: by what all blocks do for a k, or one where there are few: products, bytes read, and what is `beside`."""
    blocks = lambda t: -(-extents[0] // t.rows) * -(-extents[1] // t.cols) * batch
    each = lambda t: t.rows * t.cols / found.speed[t.tall * t.long] + (t.rows + t.cols) * size * SECOND + beside(t)
    return min(shapes, key=lambda t: max(1, blocks(t) / BUSY) * each(t))


def fused(found: Blocks, p: Problem, s: Problem, pixels: int, last: bool) -> Block | None:
    """The block of a fused kernel, or None where the middle tensor is cheaper."""
    size, each = p.dtype.itemsize, 2 * math.prod(p.kernel) + 20  # bytes, and instructions that filter a pixel
    counts = (pixels, s.out_channels) if last else (s.out_channels, pixels)
    block = best(found, found.fused_last if last else found.fused, size, counts, p.batch, lambda t: (t.rows if last else t.cols) * each)
    again = -(-s.out_channels // (block.cols if last else block.rows)) - 1
    middle = p.batch * pixels * s.in_channels
    return None if again * middle * each / MULTIPLY_ADDS > 2 * middle * size / BYTES + LAUNCH else block
