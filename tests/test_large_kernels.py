"""Depthwise kernels of many lines, and those larger than the map, of which x and the weight change places: `frame.turned`."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import sepconv
from sepconv import layers
from sepconv.backends.cpu import runtime

TURNED = "in each other's place"
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
    many = runtime.machine().registers == 32
    assert (TURNED in str(sepconv.explain(function, x, weight, bias, **options))) == many
    held, room = layer(weight, bias, **options), np.full((1, *want.shape[1:-1], 2 * channels), 9, dtype)
    for _ in range(3):
        assert np.array_equal(held(x), want)
        held(x, out=room[..., :channels])
        assert np.array_equal(room[..., :channels], want) and (room[..., channels:] == 9).all()
    with sepconv.num_threads(1):
        assert np.array_equal(held(x), want)


@pytest.mark.parametrize("value", (np.inf, np.nan))
@pytest.mark.parametrize("size, kernel, pads", SIZES[:2] + SIZES[3:4])
def test_numbers_that_are_not_finite(size: tuple[int, ...], kernel: tuple[int, ...], pads: int, value: float) -> None:
    """What lies beyond the border, of the map or of the kernel in its place, is multiplied by nothing, and the map's zeros by all weights."""
    function, layer, layout = _function(2)
    for places in ((0, 0), (size[0] // 2, 3), (size[0] - 1, size[1] - 1)):
        for which in range(2):
            x, weight, bias = _arrays(19, size, kernel)
            (x[0, ..., 5] if which == 0 else weight[5])[places] = value
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
