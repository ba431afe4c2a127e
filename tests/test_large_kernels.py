"""Depthwise kernels of many lines, and those larger than the map, of which x and the weight change places: `large.py`."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import sepconv
from sepconv import layers
from sepconv.backends.cpu import large, plans, runtime

TURNED, COPIED = "in each other's place", "each pixel beside the next"
MACHINE = runtime.machine()
SIZES = [  # of the map, the kernel, and pads
    ((12, 12), (23, 23), 11), ((12, 12), (15, 15), 7), ((12, 12), (15, 15), 12), ((9, 12), (10, 15), ((4, 6), (3, 12))),
    ((12,), (16,), (5, 9)), ((7, 7), (13, 13), 6),
]  # fmt: skip


def _arrays(channels: int, size: tuple[int, ...], kernel: tuple[int, ...], dtype: type = np.float32) -> tuple[np.ndarray, ...]:
    """x and a weight with their channels innermost in memory, and a bias."""
    r = np.random.default_rng(channels + sum(kernel))
    x, weight = r.standard_normal((1, *size, channels)).astype(dtype), r.standard_normal((*kernel, channels)).astype(dtype)
    return x, np.moveaxis(weight, -1, 0), r.standard_normal(channels).astype(dtype)


def _function(dims: int):  # type: ignore[no-untyped-def]
    return getattr(sepconv, f"depthwise_conv{dims}d"), getattr(layers, f"DepthwiseConv{dims}d"), {1: "NWC", 2: "NHWC"}[dims]


@pytest.mark.parametrize(
    "channels, dtype", ((21, np.float32), (70, np.float32), pytest.param(21, np.float64, marks=pytest.mark.sweep)), ids=("21", "70", "21 double")
)
@pytest.mark.parametrize("size, kernel, pads", SIZES)
def test_kernels_larger_than_the_map(size: tuple[int, ...], kernel: tuple[int, ...], pads: object, channels: int, dtype: type) -> None:
    function, layer, layout = _function(len(size))
    x, weight, bias = _arrays(channels, size, kernel, dtype)
    options = dict(padding=pads, layout=layout, activation="leaky_relu")
    want = oracle.check(function, x, weight, bias, **options)
    many = MACHINE.registers == 32 or MACHINE.isa == "AVX2"
    assert (TURNED in str(sepconv.explain(function, x, weight, bias, **options))) == many
    held, room = layer(weight, bias, **options), np.full((1, *want.shape[1:-1], 2 * channels), 9, dtype)
    for _ in range(3):
        assert np.array_equal(held(x), want)
        held(x, out=room[..., :channels])
        assert np.array_equal(room[..., :channels], want) and (room[..., channels:] == 9).all()
    with sepconv.num_threads(1):
        assert np.array_equal(held(x), want)


@pytest.mark.parametrize("value", (np.inf, np.nan))
@pytest.mark.parametrize("layout", ("NHWC", "NCHW"))
@pytest.mark.parametrize("size, kernel, pads", SIZES[:2] + SIZES[3:4] + [((7, 7), (13, 13), 3)])
def test_numbers_that_are_not_finite(size: tuple[int, ...], kernel: tuple[int, ...], pads: int, layout: str, value: float) -> None:
    """What lies beyond the border, of the map or of the kernel in its place, is multiplied by nothing, and the map's zeros by all weights."""
    function, layer, _ = _function(2)
    for places in ((0, 0), (size[0] // 2, 3), (size[0] - 1, size[1] - 1)):
        for which in range(2):
            x, weight, bias = _arrays(31, size, kernel)
            (x[0, ..., 5] if which == 0 else weight[5])[places] = value
            x = x if layout == "NHWC" else np.ascontiguousarray(np.moveaxis(x, -1, 1))
            want, held = oracle.expected(function, x, weight, bias, padding=pads, layout=layout), layer(weight, bias, padding=pads, layout=layout)
            for _ in range(3):
                oracle.compare(held(x), want)
            oracle.compare(function(x, weight, bias, padding=pads, layout=layout), want)


@pytest.mark.parametrize("layout", ("NCHW", "NHWC"))
@pytest.mark.parametrize("taps", (9, pytest.param(17, marks=pytest.mark.sweep), 24))
def test_kernels_of_many_lines(taps: int, layout: str) -> None:
    """On both sides of what the registers hold, at all borders and inside."""
    x, weight, bias = _arrays(21, (36, 37), (taps, taps))
    x = x if layout == "NHWC" else np.ascontiguousarray(np.moveaxis(x, -1, 1))
    for pads in (taps // 2, 1, ((taps - 1, 0), (0, taps + 2))):
        oracle.check(sepconv.depthwise_conv2d, x, weight, bias, padding=pads, layout=layout)


CASES = [  # channels, of the map, the kernel, and pads: with bands of rows, with x and the weight in each other's place, blocks of twice the channels
    (31, (25, 27), (9, 12), ((4, 4), (5, 6))), (16, (17, 16), (13, 10), ((0, 12), (11, 0))),
    (31, (16, 16), (17, 20), 9), (63, (13, 9), (15, 11), (7, 5)),
    pytest.param(31, (30, 40), (21, 5), (10, 2), marks=pytest.mark.sweep),
]  # fmt: skip


@pytest.mark.skipif(MACHINE.isa not in ("AVX2", "AVX-512"), reason="there no kernel copies")
@pytest.mark.parametrize("layout, dtype", (("NCHW", np.float32), ("NHWC", np.float32), pytest.param("NCHW", np.float64, marks=pytest.mark.sweep)))
@pytest.mark.parametrize("channels, size, kernel, pads", CASES)
def test_blocks_of_channels_are_copied(
    monkeypatch: pytest.MonkeyPatch, channels: int, size: tuple[int, ...], kernel: tuple[int, ...], pads: object, layout: str, dtype: type
) -> None:
    """Of arrays that are parts of others, with weights of either order; in as many bands as threads or scratch make; nothing between is written."""
    monkeypatch.setattr(large, "_worth", lambda *args: True)
    monkeypatch.setattr(large, "L2", 2**15)
    function, layer, last = sepconv.depthwise_conv2d, layers.DepthwiseConv2d, layout == "NHWC"
    x, weight, bias = _arrays(2 * channels, size, kernel, dtype)
    x = np.concatenate([x, x[:, ::-1]]) if last else np.ascontiguousarray(np.moveaxis(np.concatenate([x, x[:, ::-1]]), -1, 1))
    part, other = (slice(None), slice(channels), slice(channels, None)), (..., slice(channels))
    x, weight, bias = x[other if last else part[:2]], weight[:channels], bias[channels:]
    options = dict(padding=pads, layout=layout, activation="relu6")
    want = oracle.check(function, x, weight, bias, **options)
    assert COPIED in str(sepconv.explain(function, x, weight, bias, **options))
    shape = (2, *want.shape[1:-1], 2 * channels) if last else (2, 2 * channels, *want.shape[2:])
    room, held = np.full(shape, 9, dtype), layer(np.ascontiguousarray(weight), bias, **options)
    for threads in (1, 2, 3):
        with sepconv.num_threads(min(threads, sepconv.get_num_threads())):
            for _ in range(3):
                room[...] = 9
                held(x, out=room[other if last else part[:2]])
                assert np.array_equal(room[other if last else part[:2]], want)
                assert (room[(..., part[2]) if last else (part[0], part[2])] == 9).all()


@pytest.mark.parametrize("size", ((20, 11), (9, 40)))
def test_threads_do_not_choose_the_kernel(size: tuple[int, int]) -> None:
    """Nor the order of sums with it: for narrow maps, and for those of fewer rows than threads."""
    x, weight, _ = _arrays(48, size, (13, 13))
    x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    problems = tuple(oracle.problems(sepconv.depthwise_conv2d, x, weight, padding=6))
    made = [plans.Plan(problems, (x, weight, None, None), np.empty_like(x), True, workers).choice for workers in (1, 2, 3, 16)]
    assert len({choice.factory for choice in made}) == 1


def test_fewer_channels_than_a_block() -> None:
    """Nothing beyond the last channel is read or written: channels one fewer than a vector has lanes, in the middle of others."""
    channels = MACHINE.lanes("float32") - 1
    x, weight, bias = _arrays(channels + 2, (20, 20), (13, 13), np.float32)
    x, inside = np.ascontiguousarray(np.moveaxis(x, -1, 1)), slice(1, channels + 1)
    weight[[0, -1]], x[:, [0, -1]], out = np.nan, np.nan, np.full_like(x, 9)
    sepconv.depthwise_conv2d(x[:, inside], weight[inside], bias[inside], padding=6, out=out[:, inside])
    assert np.array_equal(out[:, inside], oracle.check(sepconv.depthwise_conv2d, x[:, inside], weight[inside], bias[inside], padding=6))
    assert (out[:, [0, -1]] == 9).all()
