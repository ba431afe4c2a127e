"""Rows staged in scratch: what lies in it is the array with its border, whatever the block of columns; and it stays small."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from oracle import LAYOUTS, check

import sepconv
from sepconv.backends.cpu import choice, depthwise, plans, rows, standard, team
from sepconv.problem import resolve

MOST = 4 * choice.L2  # bytes of scratch that a thread may take
# (operation, channels, outputs or multiplier, size, kernel, options): rows longer than a block, of every way into scratch
LONG: dict[str, tuple[str, int, int, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "border": ("depthwise_conv", 3, 1, (200_001,), (5,), {"padding": 7, "padding_mode": "reflect"}),
    "many channels": ("depthwise_conv", 40, 1, (9_001,), (5,), {"padding": 2, "padding_mode": "wrap"}),
    "stride": ("depthwise_conv", 2, 1, (50_003,), (31,), {"stride": 3, "padding": 4}),
    "dilation": ("depthwise_conv", 20, 1, (20_003,), (5,), {"dilation": 7, "padding": 9, "padding_mode": "edge"}),
    "wide dilation": ("depthwise_conv", 16, 1, (8_501,), (3,), {"dilation": 600, "padding": 600, "padding_mode": "edge"}),
    "multiplier": ("depthwise_conv", 5, 3, (3, 9_001), (3, 3), {"padding": 1}),
    "few channels": ("conv", 1, 4, (30_001,), (64,), {"padding": 5, "padding_mode": "edge"}),
    "standard": ("conv", 6, 5, (9_001,), (9,), {"padding": 4, "padding_mode": "symmetric", "stride": 2}),
    "plane": ("conv", 3, 16, (5, 4_001), (5, 5), {"padding": 2, "padding_mode": "wrap"}),
}


def arrays_of(name: str, last: bool) -> tuple[str, tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    op, channels, number, size, kernel, options = LONG[name]
    r = np.random.default_rng(len(name))
    x = r.standard_normal((1, *size, channels) if last else (1, channels, *size)).astype(np.float32)
    shape = (number, channels, *kernel) if op == "conv" else (channels * number, 1, *kernel)
    weight = r.standard_normal(shape).astype(np.float32)
    return f"{op}{len(size)}d", (x, weight), {**options, "layout": LAYOUTS[len(size)][last]}


def plan_of(name: str, last: bool, workers: int) -> Any:
    op, dims = LONG[name][0], len(LONG[name][3])
    _, (x, weight), options = arrays_of(name, last)
    kind = "standard" if op == "conv" else "depthwise"
    problem = resolve(kind, dims, (x.shape, x.dtype), (weight.shape, weight.dtype), **options)
    return plans.Plan((problem,), (x, weight, None, None), np.empty(problem.out_shape, np.float32), True, workers)


def scratch(plan: Any) -> int:
    """Bytes of scratch of one thread that follow the input's size."""
    q, s = plan.record.reshape(-1, plans.LENGTH)
    if plan.choice.factory in (standard.gathered_first, standard.gathered_last):
        return int(s[plans.frame.C_IN] * 4 * -(-q[plans.frame.OH] // q[plans.frame.BANDS]) * s[plans.frame.OW])
    return _room_first(q, s) if "first" in plan.choice.factory.__name__ else _room_last(s)


@numba.njit
def _room_first(q, s):
    return rows.room_first(q, s)


@numba.njit
def _room_last(s):
    return rows.room_last(s)


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("name", LONG)
def test_long_rows(name: str, last: bool) -> None:
    """Cut in blocks of columns, the result is the oracle's, and its bits are the same with any number of threads."""
    function, arrays, options = arrays_of(name, last)
    with sepconv.num_threads(1):
        got = getattr(sepconv, function)(*arrays, **options, activation="relu6")
    with sepconv.use_backend("reference"):
        want = getattr(sepconv, function)(*arrays, **options, activation="relu6")
    terms = math.prod(arrays[1].shape[1:])
    np.testing.assert_allclose(got, want, rtol=0, atol=8 * terms * np.finfo(np.float32).eps * 6)
    with sepconv.num_threads(2):
        assert getattr(sepconv, function)(*arrays, **options, activation="relu6").tobytes() == got.tobytes()


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("name", LONG)
def test_scratch_stays_in_the_caches(name: str, last: bool) -> None:
    """Whatever the length of a row: scratch is not the whole input."""
    plan = plan_of(name, last, team.workers())
    if plan.choice.stage is not None:
        assert 0 < scratch(plan) <= MOST


def test_every_way_is_cut() -> None:
    """The cases above reach what they are for: each is staged in one layout at least, and each kind of kernel cuts some of its rows."""
    found = [(name, plan_of(name, last, 1)) for name in LONG for last in (False, True)]
    staged = [(name, plan, *plan.record.reshape(-1, plans.LENGTH)) for name, plan in found if plan.choice.stage is not None]
    assert {name for name, *_ in staged} == set(LONG)
    cut = {plan.choice.factory for _, plan, q, s in staged if s[plans.frame.OW] < q[plans.frame.OW]}
    assert cut == {depthwise.channels_first, depthwise.channels_last, standard.gathered_first, standard.gathered_last}


@pytest.mark.parametrize("dtype, channels, size, kernel, options", (
    ("float32", 100, (10, 9), (3, 3), {"padding": 1}),
    ("float64", 5, (7, 8), (3, 3), {"padding": 1}),
    ("float32", 70, (12, 11), (5, 4), {"padding": (3, 2), "dilation": (2, 1)}),
    ("float32", 40, (14, 13), (3, 3), {"padding": 1, "stride": 2}),
))  # fmt: skip
def test_pixels_4_kib_apart(dtype: str, channels: int, size: tuple[int, int], kernel: tuple[int, int], options: dict[str, Any]) -> None:
    """Blocks of channels are copied, and nothing else; the bits are those of an array that is not."""
    r = np.random.default_rng(channels)
    memory = np.full((2, *size, 4096 // np.dtype(dtype).itemsize), np.nan, dtype)
    x, w = memory[..., 5 : 5 + channels], r.standard_normal((channels, *kernel)).astype(dtype)
    x[...] = r.standard_normal(x.shape)
    problem = resolve("depthwise", 2, (x.shape, x.dtype), (w.shape, w.dtype), layout="NHWC", **options)
    for workers in (1, 2):
        plan = plans.Plan((problem,), (x, w, None, None), np.empty(problem.out_shape, dtype), True, workers)
        assert plan.record[plans.frame.COPIED] == 1
        with sepconv.num_threads(workers):
            got = check(sepconv.depthwise_conv2d, x, w, layout="NHWC", **options)
            dense = sepconv.depthwise_conv2d(x.copy(), w, layout="NHWC", **options)
        assert got.tobytes() == dense.tobytes()
