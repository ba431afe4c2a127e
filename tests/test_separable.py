"""The fused separable kernel: that it runs where it should, and what it gives at the seams of its bands, its threads and its tiles."""

from __future__ import annotations

import inspect
from typing import Any

import numba
import numpy as np
import oracle
import pytest
from arrays import assert_bits
from oracle import check, values

import sepconv
from sepconv.backends import cpu
from sepconv.backends.cpu import depthwise, frame, plans, runtime, separable
from sepconv.problem import LAYOUTS
from sepconv.threads import LIMIT

L2 = 2**19  # bytes of the middle tensor from which there are several bands


def image(size: tuple[int, ...], channels: int, layout: str, batch: int = 1, dtype: Any = np.float32) -> np.ndarray:
    last = layout == LAYOUTS[len(size)][1]
    return values(np.random.default_rng(channels), (batch, *size, channels) if last else (batch, channels, *size), dtype)


def weights(channels: int, outputs: int, kernel: tuple[int, ...], multiplier: int = 1, dtype: Any = np.float32) -> tuple[np.ndarray, ...]:
    """(depthwise, pointwise, bias)"""
    rng = np.random.default_rng(outputs)
    shapes = (channels * multiplier, 1, *kernel), (outputs, channels * multiplier), (outputs,)
    return tuple(values(rng, shape, dtype) for shape in shapes)


def fused(fn: Any, x: np.ndarray, depthwise: np.ndarray, pointwise: np.ndarray, bias: np.ndarray | None = None, **options: Any) -> bool:
    """Whether one kernel computes both halves, by the kernels of each."""
    problems = sepconv.explain(fn, x, depthwise, pointwise, bias, **options).problems
    arrays = (x, depthwise, options.get("depthwise_bias"), pointwise, bias, options.get("residual"))
    found = cpu.kernels(problems, arrays, options.get("out"))
    return [kernel[0].__module__.rpartition(".")[2] for kernel in found] == ["depthwise", "pointwise", "separable"]


SMALL, TALL = (19, 21, (20, 29)), (35, 21, (93, 61))  # (channels, outputs, size): one band, several; most tests share their kernels
# (channels, outputs, size, kernel, multiplier, options): none a multiple of a tile
CASES = {
    "one band": (*SMALL, (3, 3), 1, {}),
    "bands": (*TALL, (3, 3), 1, {}),
    "multiplier": (*SMALL, (3, 3), 2, {}),
    "one dimension": (6, 5, (43,), (3,), 1, {}),
    "three dimensions": (6, 5, (4, 22, 23), (3, 3, 3), 1, {}),
}
RARER = {
    "stride 2, bands": (40, 21, (139, 131), (3, 3), 1, {"stride": 2}),
    "long": (19, 21, (301,), (3,), 1, {}),
    "bands of each of many planes": (9, 21, (5, 20, 23), (3, 3, 3), 1, {}),
    "five taps": (33, 18, (14, 14), (5, 5), 1, {}),
    "stride 2": (19, 21, (37, 30), (3, 3), 1, {"stride": 2}),
    "dilation across": (*SMALL, (3, 3), 1, {"dilation": (1, 2)}),
    "dilation": (*SMALL, (3, 3), 1, {"dilation": 2}),
    "no padding": (19, 21, (40, 41), (3, 3), 1, {"padding": "valid"}),
    "padding wider than the kernel": (7, 9, (12, 15), (3, 3), 1, {"padding": 4}),
    "one output": (19, 1, (20, 23), (3, 3), 1, {}),
    "narrow": (35, 40, (9, 3), (3, 3), 1, {}),
    "one pixel": (35, 40, (1, 1), (3, 3), 1, {}),
}


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.sweep) for name in RARER)])
def test_against_the_reference(name: str, last: bool) -> None:
    """With every option of the epilogue; the bits are the same with any number of threads, and of an image alone and in a batch."""
    channels, outputs, size, kernel, multiplier, options = (CASES | RARER)[name]
    layout, fn = LAYOUTS[len(size)][last], oracle.function("separable_conv", len(size))
    x, arrays = image(size, channels, layout, batch=2), weights(channels, outputs, kernel, multiplier)
    depthwise_bias = values(np.random.default_rng(1), (channels * multiplier,), np.float32)
    options = {"padding": "same", "layout": layout, **options}
    assert fused(fn, x, *arrays, **options)
    more = dict(depthwise_bias=depthwise_bias, depthwise_activation="relu6", activation="hard_swish")
    with sepconv.num_threads(1):
        whole = check(fn, x, *arrays, **options, **more)
        assert_bits(fn(x[1:], *arrays, **options, **more), whole[1:])
    for count in range(2, min(LIMIT, 4) + 1):
        with sepconv.num_threads(count):
            assert_bits(fn(x, *arrays, **options, **more), whole)
            assert_bits(fn(x[1:], *arrays, **options, **more), whole[1:])


@pytest.mark.sweep
@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_float64(layout: str) -> None:
    x, arrays = image((60, 61), 35, layout, dtype=np.float64), weights(35, 21, (3, 3), dtype=np.float64)
    assert fused(sepconv.separable_conv2d, x, *arrays, layout=layout, padding=1)
    check(sepconv.separable_conv2d, x, *arrays, layout=layout, padding=1)


@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_bands_are_told(layout: str) -> None:
    x, arrays = image((93, 61), 35, layout), weights(35, 21, (3, 3))
    assert 35 * 93 * 61 * 4 > L2
    text = str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, layout=layout, padding=1))
    assert "bands of" in text and "separable.channels_" + ("last" if layout == "NHWC" else "first") in text


@pytest.mark.skipif(LIMIT < 2, reason="one thread shares nothing out")
@pytest.mark.parametrize("batch, size", [(1, (5, 7)), pytest.param(3, (9, 5), marks=pytest.mark.sweep)])
def test_few_rows_are_shared_out_by_pixels(batch: int, size: tuple[int, int]) -> None:
    """A row that two threads share is made by both; rows that lie apart are shared out whole."""
    x, arrays = image(size, 96, "NHWC", batch), weights(96, 48, (3, 3))
    residual, apart = image(size, 48, "NHWC", batch), np.empty((batch, size[0], size[1] + 1, 48), np.float32)[:, :, 1:]
    options: dict[str, Any] = dict(layout="NHWC", padding=1, residual=residual, activation="relu")
    with sepconv.num_threads(1):
        want = check(sepconv.separable_conv2d, x, *arrays, **options)
    with sepconv.num_threads(2):
        rows = size[0] / 2
        assert f"2 bands of {rows} rows" in str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options))
        assert_bits(sepconv.separable_conv2d(x, *arrays, **options), want)
        assert f"2 bands of {int(rows)} rows" in str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options, out=apart))
        assert_bits(sepconv.separable_conv2d(x, *arrays, **options, out=apart), want)
        out = image(size, 48, "NHWC", batch)
        assert_bits(sepconv.separable_conv2d(x, *arrays, **{**options, "residual": out}, out=out), want)


@pytest.mark.skipif(LIMIT < 2, reason="one thread shares nothing out")
@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_heavy_weights_are_shared_out_by_channels(layout: str) -> None:
    """Each thread then makes the depthwise half for itself."""
    x, arrays, options = image((7, 9), 528, layout), weights(528, 528, (3, 3)), dict(layout=layout, padding=1, activation="relu")
    with sepconv.num_threads(1):
        want = check(sepconv.separable_conv2d, x, *arrays, **options)
    with sepconv.num_threads(2):
        text = str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options))
        assert "1 bands of 7 rows" in text and "2 threads, 2 jobs" in text
        assert_bits(sepconv.separable_conv2d(x, *arrays, **options), want)


@pytest.mark.parametrize("batch", [1, 2])
def test_bands_are_of_whole_tiles(batch: int) -> None:
    """Where bands of whole rows would leave much of their tiles over; what lies in scratch, with a border of its own, is cut by rows."""
    x, arrays = image((19, 5), 2048, "NHWC", batch), weights(2048, 48, (3, 3))
    options: dict[str, Any] = dict(layout="NHWC", padding=1, residual=image((19, 5), 48, "NHWC", batch), activation="relu")
    whole = "9.5" if runtime.machine().registers == 32 else "9"  # elsewhere such rows are filled into scratch
    with sepconv.num_threads(1):
        assert f"2 bands of {whole} rows" in str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options))
        want = check(sepconv.separable_conv2d, x, *arrays, **options)
        out = options["residual"].copy()
        assert_bits(sepconv.separable_conv2d(x, *arrays, **{**options, "residual": out}, out=out), want)
        options["padding_mode"] = "wrap"
        assert "2 bands of 9 rows" in str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options))
        check(sepconv.separable_conv2d, x, *arrays, **options)


@numba.njit
def _rows_of(q, place):
    return separable.pixels_of(q, place)[3]


@pytest.mark.parametrize("size, threads", [((13, 2), 5), ((22, 2), 8)])
def test_bands_of_whole_tiles_have_rows_enough(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], threads: int) -> None:
    """On AVX2, where a tile of the product has more pixels than a row of the map, and the depthwise half's patches have two rows."""
    monkeypatch.setattr(runtime, "machine", lambda: runtime.Machine("AVX2", 32, 16, "haswell"))
    x, (depthwise, pointwise, bias) = image(size, 256, "NHWC"), weights(256, 64, (3, 3))
    problems = oracle.problems(sepconv.separable_conv2d, x, depthwise, pointwise, bias, padding=1, layout="NHWC")
    plan = plans.Plan(tuple(problems), (x, depthwise, None, pointwise, bias, None), image(size, 64, "NHWC"), True, threads)
    factory, cells = plan.choice.halves[0]
    tall = dict(zip(inspect.signature(factory).parameters, cells))["tall"]
    assert min(_rows_of(plan.record, band) for band in range(threads)) >= tall == 2


def test_rows_of_33_pixels_are_three_tiles() -> None:
    """Of 11 rows, on AVX-512, where those of 12 would compute three pixels twice; which only fused layers have."""
    x, arrays = image((3, 11), 19, "NHWC"), weights(19, 21, (3, 3))
    options: dict[str, Any] = dict(layout="NHWC", padding=1)
    if runtime.machine().bytes == 64:
        with sepconv.num_threads(1):
            assert "a product of 11 rows" in str(sepconv.explain(sepconv.separable_conv2d, x, *arrays, **options))
    check(sepconv.separable_conv2d, x, *arrays, **options)


def test_long_rows_of_many_channels_are_not_fused_channels_first() -> None:
    """The second cache holds one row: all weights would be read for its few pixels."""
    arrays, options = weights(2048, 48, (3, 3)), dict(padding=1)
    assert fused(sepconv.separable_conv2d, image((2, 32), 2048, "NCHW"), *arrays, **options)
    x = image((2, 33), 2048, "NCHW")
    assert not fused(sepconv.separable_conv2d, x, *arrays, **options)
    check(sepconv.separable_conv2d, x, *arrays, **options)


# --- where the result lies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[2])
@pytest.mark.parametrize("sizes", [SMALL, TALL], ids=["one band", "bands"])
def test_residual_is_out(sizes: Any, layout: str) -> None:
    """Tiles that overlap would add the residual twice."""
    channels, outputs, size = sizes
    x, arrays = image(size, channels, layout), weights(channels, outputs, (3, 3))
    options = dict(layout=layout, padding=1, activation="relu")
    residual = image(size, outputs, layout)
    want = check(sepconv.separable_conv2d, x, *arrays, residual=residual, **options)
    out = residual.copy()
    assert fused(sepconv.separable_conv2d, x, *arrays, residual=out, out=out, **options)
    assert sepconv.separable_conv2d(x, *arrays, residual=out, out=out, **options) is out
    assert_bits(out, want)


@pytest.mark.parametrize("layout", LAYOUTS[2])
@pytest.mark.parametrize("names", [("margin",), ("rotated",), ("stepped", "rotated")], ids="-".join)
def test_out_is_a_view(names: tuple[str, ...], layout: str) -> None:
    """Every row of the result apart from the next, or every element: nothing between them is written."""
    x, arrays = image((20, 29), 19, layout), weights(19, 21, (3, 3))
    want = oracle.expected(sepconv.separable_conv2d, x, *arrays, layout=layout, padding=1)
    place = oracle.place(np.zeros(want.wide.shape, np.float32), names)
    assert sepconv.separable_conv2d(x, *arrays, layout=layout, padding=1, out=place.array) is place.array
    oracle.compare(place.array.copy(), want)
    place.assert_guards()


@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_rows_apart_are_fused_too(layout: str) -> None:
    x, arrays = image((20, 29), 19, layout), weights(19, 21, (3, 3))
    wide = image((20, 62), 21, layout)
    out, residual = (wide[:, :, :29], wide[:, :, 31:60]) if layout == "NHWC" else (wide[..., :29], wide[..., 31:60])
    options = dict(layout=layout, padding=1)
    assert fused(sepconv.separable_conv2d, x, *arrays, residual=residual, out=out, **options)
    want = oracle.expected(sepconv.separable_conv2d, x, *arrays, residual=residual, **options)
    oracle.compare(sepconv.separable_conv2d(x, *arrays, residual=residual, out=out, **options).copy(), want)


# --- NaN and Inf ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[2])
@pytest.mark.parametrize("sizes", [SMALL, TALL], ids=["one band", "bands"])
def test_infinite_weights_over_the_border(sizes: Any, layout: str) -> None:
    """0 * inf is NaN, in the zeros around the image as well; the product carries it to all channels of the pixel."""
    channels, outputs, size = sizes
    x, (depthwise, pointwise, bias) = image(size, channels, layout), weights(channels, outputs, (3, 3))
    depthwise[4, 0, 0, 1] = np.inf  # over the row above the image
    result = check(sepconv.separable_conv2d, x, depthwise, pointwise, bias, layout=layout, padding=1)
    first = result[0, 0] if layout == "NHWC" else result[0, :, 0]
    assert np.isnan(first).all()


@pytest.mark.parametrize("layout", LAYOUTS[2])
def test_nan_of_a_pixel_stays_in_its_windows(layout: str) -> None:
    x, arrays = image((20, 29), 19, layout), weights(19, 21, (3, 3))
    x[(0, 15, 16, 3) if layout == "NHWC" else (0, 3, 15, 16)] = np.nan
    result = check(sepconv.separable_conv2d, x, *arrays, layout=layout, padding=1)
    assert np.isnan(result).sum() == 9 * 21


@pytest.mark.parametrize("channels, size, outputs, ahead", [(64, 147, 128, 1), (64, 147, 16, 0), (128, 56, 128, 0), (2048, 33, 256, 0)])
def test_what_is_asked_for_ahead(channels: int, size: int, outputs: int, ahead: int) -> None:
    """Rows of images which, with their result, the caches do not hold; none by bands of a row, whose weights are all that stays."""
    x, out = np.empty((1, size, size, channels), np.float32), np.empty((1, size, size, outputs), np.float32)
    arrays = x, np.empty((channels, 1, 3, 3), np.float32), None, np.empty((outputs, channels), np.float32), None, None
    problems = sepconv.explain(sepconv.separable_conv2d, x, arrays[1], arrays[3], padding=1, layout="NHWC").problems
    assert plans.Plan(problems, arrays, out, True, 1).record[frame.AHEAD] == ahead


@pytest.mark.parametrize("stride, dilation, rows", [(1, 1, 3), (2, 1, 3), (1, 3, 3), (1, 3, 1)])
def test_rows_are_asked_for_that_come_next(stride: int, dilation: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tiles along a row of outputs, all pixels that the row after it is the first to read, and no others."""
    x, weight, asked = np.empty((1, 30, 36, 16), np.float32), np.empty((16, 3, 3), np.float32), set[int]()
    options = dict(stride=stride, dilation=dilation, padding=dilation, layout="NHWC")
    (problem,) = sepconv.explain(sepconv.depthwise_conv2d, x, weight, **options).problems
    q = frame.fill(problem, frame.measure(problem, x, weight, None, None))
    q[frame.AHEAD], q[frame.STEP] = 1, dilation if rows > 1 else 1
    for name in ("placed", "existing"):
        monkeypatch.setattr(depthwise, name, getattr(depthwise, name).py_func)
    monkeypatch.setattr(depthwise, "prefetch", asked.add)
    monkeypatch.setattr(depthwise, "tile", lambda *_: None)
    monkeypatch.setattr(depthwise, "as_float", float)
    row, last = 7, 7 * stride + dilation  # that this row reads
    depthwise.pixels.py_func("float32", 4, 16, 3, stride, rows, 1, 1, 0, "", q.tolist(), 0, 0, 16, 0, row, 0, 64, 0, 64)
    pixels = {divmod(address // (16 * 4), 36) for address in asked}
    assert pixels == {(last + 1 + line, col) for line in range(stride) for col in range(36)}
