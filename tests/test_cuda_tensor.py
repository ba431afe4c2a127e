"""The product on tensor cores where there is no GPU: its fragments as NVIDIA's manual has them, and the generated code of every block on the CPU."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracle
import pytest
from cuda_children import compiled
from oracle import BFLOAT16, values

import sepconv

LISTS = {"products": (1, 2), "fused": (0,), "fused_last": (1,), "looked_up": (0, 3)}  # and their blocks outside the sweep: both dtypes and layouts


def test_fragments():
    """A warp holds every element of a tile once, neighbours of k in the halves of a register: PTX ISA, mma.m16n8k16 with floating point type."""
    from sepconv.backends.cuda import tensor

    rows = {tensor.first_at(lane, i) for lane in range(32) for i in range(8)}
    assert rows == {(r, k) for r in range(16) for k in range(16)}
    assert {tensor.second_at(lane, i) for lane in range(32) for i in range(4)} == {(k, c) for k in range(16) for c in range(8)}
    assert [tensor.first_at(5, i) for i in range(8)] == [(1, 2), (1, 3), (9, 2), (9, 3), (1, 10), (1, 11), (9, 10), (9, 11)]
    assert [tensor.second_at(5, i) for i in range(4)] == [(2, 1), (3, 1), (10, 1), (11, 1)]


def test_orders_of_lines():
    """Both orders are permutations that undo themselves; eight lanes that write 16 bytes each, and eight lines of ldmatrix, meet all banks."""
    from sepconv.backends.cuda import matrix
    from sepconv.backends.cuda.matrix import DEEP, WIDE, Matrix

    def moved(n: int, mask: int, *fields: tuple[int, int, int]) -> int:
        return (n & mask) | sum((n >> start & bits) << to for start, bits, to in fields)

    spread, fold = (lambda n, bits=bits: moved(n, *bits) for bits in (matrix.SPREAD_BITS, matrix.FOLDED_BITS))
    for order in (spread, fold):
        assert sorted(map(order, range(64))) == list(range(64)) == [order(order(n)) for n in range(64)]
    assert [fold(8 * tile + 2 * quarter + odd) for quarter in (0, 1) for tile in range(4) for odd in (0, 1)] == list(range(16))
    for form in (DEEP, WIDE):
        m = Matrix("float16", 2, 2, 64, 64, 32, form, 8, form, 8, 8, 0, 0, tensor=1)
        banks = {line * m.pitch("A") * 2 // 16 % 8 for line in range(8)}
        assert len(banks) == 8 and m.base("B") * 2 % 16 == 0 and m.slab * 4 % 16 == 0
    m = Matrix("float16", 2, 2, 64, 64, 32, DEEP, 8, DEEP, 8, 8, 0, 0, tensor=1)
    for start in range(0, 128, 8):
        assert len({(spread(t // 4) * m.pitch("A") // 8 + t % 4) % 8 for t in range(start, start + 8)}) == 8


@compiled
@pytest.mark.parametrize("name", LISTS)
def test_every_block(name, sweep, monkeypatch):
    """Blocks of the table, all of them in sweeps, on more than one block's rows and columns and an odd rest of k: right, in both layouts, with all
    of the epilogue."""
    import cuda_grid
    from cuda_grid import Host

    from sepconv.backends.cuda import blocks, plans

    for number, block in enumerate(getattr(blocks.TENSOR, name)):
        if number not in LISTS[name] and not sweep:
            continue
        one = blocks.TENSOR._replace(**{each: [block] for each in LISTS})
        monkeypatch.setattr(blocks, "TENSOR", one)
        plans._plans.clear()
        r, dtype, last = np.random.default_rng(number), (np.dtype("float16"), BFLOAT16)[number % 2], name == "fused_last" or number % 4 > 1
        turned = lambda a, last=last: np.ascontiguousarray(np.moveaxis(a, 1, -1)) if last else a
        c, (h, w) = (24, 40)[number % 2], (9, 8) if name.startswith("fused") else (17, 8)
        outputs = (block.cols if last else block.rows) + 8
        given: dict[str, Any] = {"x": turned(values(r, (1, c, h, w), dtype)), "bias": values(r, (outputs,), dtype)}
        options: dict[str, Any] = {"layout": "NHWC" if last else "NCHW", "activation": "relu"}
        if name == "products":
            fn = sepconv.pointwise_conv2d
            given |= {"weight": values(r, (outputs, c), dtype), "residual": turned(values(r, (1, outputs, h, w), dtype))}
        elif name == "looked_up":
            fn, options = sepconv.conv2d, options | {"padding": (1, 0)}
            given |= {"weight": values(r, (outputs, c, 3, 1), dtype)}
        else:
            fn, options = sepconv.separable_conv2d, options | {"padding": 1}
            given |= {"depthwise": values(r, (c, 1, 3, 3), dtype), "pointwise": values(r, (outputs, c), dtype)}
        with cuda_grid.on_cpu():
            there = {key: Host(a) for key, a in given.items()}
            text = str(sepconv.explain(fn, **there, **options))
            assert "mma.m16n8k16" in text and f"{block.rows} x {block.cols}" in text or name.startswith("fused"), text
            result = fn(**there, **options).array
        oracle.compare(result, oracle.expected(fn, **given, **options))
    plans._plans.clear()


BANDS = [  # channels last, images, size, taps, padding, multiplier, columns of a warp
    (False, 2, (17, 56), 7, 3, 2, 56), (False, 2, (16, 72), 5, 2, 1, 40), (False, 1, (16, 20), 7, 3, 1, 24),
    (False, 1, (16, 23), 7, 3, 1, 24), (False, 2, (16, 30), 7, 3, 1, 64),
    (True, 2, (17, 56), 7, 3, 1, 56), (True, 1, (16, 23), (9, 5), (1, 2), 1, 24), (True, 1, (16, 14), 7, 3, 1, 16),
    (False, 3, (28, 28), 7, 3, 1, 64), (False, 5, (14, 14), 7, 3, 2, 64), (False, 4, (14, 14), 5, 2, 1, 64), (False, 15, (7, 7), 7, 3, 1, 32),
    (True, 3, (28, 28), 7, 3, 1, 32), (True, 5, (14, 14), 5, 2, 1, 32), (True, 3, (7, 7), 7, 3, 1, 16), (True, 7, (7, 7), 5, 2, 1, 32),
    (True, 3, (7, 15), (7, 9), (3, 7), 1, 48), (True, 2, (9, 9), 9, 1, 1, 8),
]  # fmt: skip


HALVES = (np.dtype("float16"), BFLOAT16)
ALWAYS = ((BANDS[0], HALVES[0]), (BANDS[5], HALVES[1]), (BANDS[9], HALVES[1]), (BANDS[14], HALVES[0]))  # the others are for the sweep


def _bands() -> list[Any]:
    pairs = itertools.product(BANDS, HALVES)
    return [pytest.param(*pair, marks=() if pair in ALWAYS else pytest.mark.sweep, id=f"{pair[0]} {pair[1]}") for pair in pairs]


@compiled
@pytest.mark.parametrize("case, dtype", _bands())
def test_bands_of_taps(case, dtype):
    """Depthwise on tensor cores, of each width and word, with maps side by side and one below the other: right, and where x or a tap is not finite
    no other result knows of it."""
    import cuda_grid
    from cuda_grid import Host

    last, images, (h, w), taps, padding, multiplier, cols = case
    r, kernel = np.random.default_rng(taps), (taps, taps) if isinstance(taps, int) else taps
    x, weight = values(r, (images, 24, h, w), dtype), values(r, (24 * multiplier, 1, *kernel), dtype)
    for finite in (True, False):
        if not finite:
            x[0, 3, h // 2, 1], x[-1, 23, h - 1, w - 1] = np.inf, np.nan
            weight[5, 0, 0, 0], weight[6, 0, -1, -1] = np.inf, np.nan
        given = {"x": np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x}
        given |= {"weight": weight, "bias": values(r, (24 * multiplier,), dtype)}
        options: dict[str, Any] = {"padding": padding, "layout": "NHWC" if last else "NCHW", "activation": "silu" if dtype == HALVES[0] else "relu"}
        with cuda_grid.on_cpu():
            there = {key: Host(a) for key, a in given.items()}
            assert f"16 x {cols} outputs a warp" in str(sepconv.explain(sepconv.depthwise_conv2d, **there, **options))
            result = sepconv.depthwise_conv2d(**there, **options).array
        oracle.compare(result, oracle.expected(sepconv.depthwise_conv2d, **given, **options))


@compiled
@pytest.mark.parametrize("cc, tile", (((7, 5), "no tensor cores"), ((8, 0), "on tensor cores"), ((12, 0), "on tensor cores")))
def test_which_tile_is_told(cc, tile, monkeypatch):
    """`explain` says which: tensor cores from sm_80 on, for 16-bit floats alone."""
    import cuda_grid
    from cuda_grid import Host

    from sepconv.backends.cuda import runtime

    with cuda_grid.on_cpu(), monkeypatch.context() as inside:
        inside.setattr(runtime, "capability", lambda ordinal: cc)
        for dtype in (np.dtype("float16"), BFLOAT16):
            x, w = Host(np.ones((1, 16, 8, 8), dtype)), Host(np.ones((32, 16), dtype))
            assert tile in str(sepconv.explain(sepconv.pointwise_conv2d, x, w))
        x, w = Host(np.ones((1, 16, 8, 8), np.float32)), Host(np.ones((32, 16), np.float32))
        assert "no tensor cores" in str(sepconv.explain(sepconv.pointwise_conv2d, x, w))
