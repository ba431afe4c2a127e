"""Tiles of depthwise convolution that know when they are compiled which of their lines lie beyond the border: `backends/cpu/edges.py`."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import sepconv
from sepconv.backends.cpu import frame, plans
from sepconv.backends.cpu.runtime import machine

SIZES = [  # of the map, the kernel, stride, pads: one tile a line, equal ones, overlapping ones, more of a border on one side
    ((7, 7), 5, 1, 2), ((14, 14), 3, 1, 1), ((13, 15), 3, 2, 1), ((9, 33), 7, 1, ((1, 3), (0, 5))),
    *(pytest.param(*case, marks=pytest.mark.sweep) for case in (((17, 19), 5, 1, 2), ((14, 28), 5, 2, 2), ((8, 16), 3, 1, ((2, 0), (0, 2))))),
]  # fmt: skip


@pytest.mark.parametrize("layout", ("NCHW", "NHWC"))
@pytest.mark.parametrize("size, taps, stride, pads", SIZES)
def test_lines_beyond_the_border(size: tuple[int, int], taps: int, stride: int, pads: object, layout: str) -> None:
    """Of whole vectors of channels, and some more; also where infinite weights lie beyond the border, and those of x at it."""
    r = np.random.default_rng(taps)
    x, weight = r.standard_normal((1, 40, *size)).astype(np.float32), r.standard_normal((40, taps, taps)).astype(np.float32)
    x = x if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    options = dict(padding=pads, stride=stride, layout=layout)
    want = oracle.check(sepconv.depthwise_conv2d, x, weight, **options)
    with sepconv.num_threads(1):
        assert np.array_equal(sepconv.depthwise_conv2d(x, weight, **options), want)
    weight[7, 0, 0], weight[39, taps - 1, taps - 1] = np.inf, np.nan
    x.reshape(-1)[::311] = np.inf
    oracle.check(sepconv.depthwise_conv2d, x, weight, **options)


@pytest.mark.parametrize("size, taps, stride, dilation", (((173, 167), 3, 1, 1), ((173, 167), 5, 2, 1), ((173, 167), 3, 1, 4), ((81, 79), 3, 1, 1)))
def test_images_that_come_from_memory(size: tuple[int, int], taps: int, stride: int, dilation: int) -> None:
    """Channels first, tiles of a large image go along its rows; down its columns where few of its channels are all there is, to the same bits."""
    r = np.random.default_rng(taps)
    x, weight = r.standard_normal((1, 64, *size), np.float32), r.standard_normal((64, taps, taps), np.float32)
    options = dict(padding=taps // 2, stride=stride, dilation=dilation)
    made = sepconv.depthwise_conv2d(x, weight, **options)
    for begin in range(0, 64, 4):
        some = slice(begin, begin + 4)
        assert np.array_equal(made[:, some], sepconv.depthwise_conv2d(x[:, some], weight[some], **options))


@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("channels", (24, 32))
def test_results_past_the_caches(channels: int, threads: int) -> None:
    """Channels last, what no cache holds is stored past them if it is whole lines: the bits of both halves alone, wherever the result begins."""
    r = np.random.default_rng(channels)
    x, weight = r.standard_normal((1, 300, 299, channels), np.float32), r.standard_normal((channels, 3, 3), np.float32)
    halves = [(x[:, :151], (1, 0)), (x[:, 149:], (0, 1))]
    want = np.concatenate([sepconv.depthwise_conv2d(half, weight, padding=(pads, (1, 1)), layout="NHWC") for half, pads in halves], axis=1)
    for place in (0, 4):
        room = np.full(x.size + 48, np.nan, np.float32)
        start = -(room.ctypes.data // 4) % 16 + 16 + place
        out = room[start : start + x.size].reshape(x.shape)
        with sepconv.num_threads(threads):
            (problem,) = sepconv.explain(sepconv.depthwise_conv2d, x, weight, padding=1, layout="NHWC").problems
            past = plans.Plan((problem,), (x, weight, None, None), out, True, threads).record[frame.PAST]
            sepconv.depthwise_conv2d(x, weight, padding=1, layout="NHWC", out=out)
        assert past == (machine().isa == "AVX2" and channels == 32)
        assert np.array_equal(out, want)
        assert np.isnan(room[:start]).all() and np.isnan(room[start + x.size :]).all()


@pytest.mark.parametrize("size, dilation, bands", (((33, 33), 12, 1), ((33, 33), 40, 1), ((33, 33), 6, 6), ((65, 65), 24, 1)))
def test_few_rows_a_band(size: tuple[int, int], dilation: int, bands: int) -> None:
    """With few registers, rows so far apart that bands of them have one or two are not put in bands."""
    r = np.random.default_rng(dilation)
    x, weight = r.standard_normal((1, 24, *size), np.float32), r.standard_normal((24, 3, 3), np.float32)
    (problem,) = sepconv.explain(sepconv.depthwise_conv2d, x, weight, padding=dilation, dilation=dilation).problems
    plan = plans.Plan((problem,), (x, weight, None, None), np.empty_like(x), True, 1)
    assert machine().registers == 32 or plan.record[frame.BANDS] == bands
    oracle.check(sepconv.depthwise_conv2d, x, weight, padding=dilation, dilation=dilation)
