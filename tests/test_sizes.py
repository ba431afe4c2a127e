"""Every operation on every backend at sizes that a simulator of a GPU cannot do: around vectors, as networks have them, in batches and tails."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracle
import pytest
from arrays import arrays_for, assert_bits, channels_last, rng
from oracle import LAYOUTS, OPS, Call, check, function, values

import sepconv


def _small_maps(channels: int, kernel: int, stride: int, widths: Any) -> None:
    r = rng(channels, kernel, stride)
    weight, bias = values(r, (channels, 1, kernel, kernel), np.float32), values(r, (channels,), np.float32)
    for width in widths:
        x = values(r, (1, channels, kernel + 2, width), np.float32)
        options = dict(stride=stride, padding=kernel // 2)
        if width + 2 * (kernel // 2) < kernel:
            with pytest.raises(ValueError, match="weight has kernel size"):
                sepconv.depthwise_conv2d(x, weight, bias, **options)
            continue
        want = oracle.expected(sepconv.depthwise_conv2d, x, weight, bias, **options)
        for last in (False, True):
            arranged = np.ascontiguousarray(channels_last(x)) if last else x
            got = sepconv.depthwise_conv2d(arranged, weight, bias, layout="NHWC" if last else None, **options)
            oracle.compare(np.moveaxis(got, -1, 1) if last else got, want)


SMALL = list(itertools.product((1, 2, 7, 8, 9), range(1, 8), (1, 2, 3)))


@pytest.mark.large
def test_small_maps(backend):
    """G16, thinned: every sort of width with one kernel and an odd number of channels, an even one at a vector: each tile is compiled. The others
    in sweeps."""
    for channels, kernel, stride in SMALL:
        if kernel == 3 and (stride == 1 or channels in (1, 9)):
            _small_maps(channels, kernel, stride, (16, 33) if stride > 1 else (16,) if channels % 2 == 0 else (1, 3, 8, 15, 16, 17, 33))


@pytest.mark.sweep
def test_small_maps_sweep(backend):
    """G16: every map from narrower than a vector to two vectors and one more; of most kernels those around the ends of vectors."""
    for channels, kernel, stride in SMALL:
        if kernel == 3 or (channels in (1, 9) and (stride == 1 or kernel in (2, 5))):  # a stride of 2 has tiles of its own for each kernel size
            _small_maps(channels, kernel, stride, range(1, 34) if kernel == 3 else (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33))


# (operation, channels, outputs, spatial size, kernel, options): big enough for several threads, bands and blocks, none a multiple of a tile.
LAYERS = [
    ("depthwise_conv", 19, 0, (57, 61), (3, 3), {"padding": 1}),
    ("depthwise_conv", 35, 0, (56, 56), (3, 3), {"padding": 1, "stride": 2}),
    ("depthwise_conv", 260, 0, (7, 7), (7, 7), {"padding": 3}),
    ("depthwise_conv", 11, 0, (33, 40), (3, 3), {"padding": 4, "dilation": (2, 3), "padding_mode": "reflect"}),
    ("depthwise_conv", 6, 0, (20_001,), (3,), {"padding": "causal"}),
    ("pointwise_conv", 37, 75, (57, 33), (1, 1), {}),
    ("pointwise_conv", 1030, 70, (6, 7), (1, 1), {}),
    ("pointwise_conv", 300, 530, (1, 1), (1, 1), {}),
    ("pointwise_conv", 3, 5, (200, 301), (1, 1), {}),
    ("separable_conv", 33, 65, (56, 55), (3, 3), {"padding": 1}),
    ("conv", 3, 60, (65, 67), (3, 3), {"padding": 1, "stride": 2}),
    ("conv", 20, 16, (30, 53), (3, 3), {"padding": 2, "dilation": 2}),
]
MORE = [  # whose kernels no other test has
    ("depthwise_conv", 1, 0, (301, 317), (3, 3), {"padding": 1}),
    ("depthwise_conv", 130, 0, (14, 14), (5, 5), {"padding": "same"}),
    ("depthwise_conv", 9, 0, (9, 30, 63), (3, 3, 3), {"padding": 1}),
    ("conv", 20, 15, (30, 33), (3, 3), {"padding": 1}),
    ("depthwise_conv", 24, 0, (40, 45), (31, 31), {"padding": 15}),
    ("depthwise_conv", 11, 0, (50, 70), (3, 5), {"padding": 4, "dilation": (2, 3), "padding_mode": "reflect"}),
    ("depthwise_conv", 6, 0, (20_001,), (9,), {"padding": "causal"}),
    ("separable_conv", 100, 200, (14, 14), (5, 5), {"padding": 2, "stride": 2}),
    ("conv", 20, 21, (30, 33), (3, 3), {"padding": 1}),
]


@pytest.mark.large
@pytest.mark.parametrize("dtype", (np.float32, pytest.param(np.float64, marks=pytest.mark.sweep)), ids=str)  # each dtype compiles anew
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize(
    "layer",
    [*LAYERS, *(pytest.param(layer, marks=pytest.mark.sweep) for layer in MORE)],
    ids=lambda layer: f"{layer[0]}-{layer[1]}-{'x'.join(map(str, layer[3]))}-{layer[4][0]}",
)
def test_layers(backend, layer, last, dtype):
    """Sizes as networks have them; one thread gives the bits of all (N8)."""
    op, channels, outputs, size, kernel, options = layer
    dims = len(size)
    arrays = arrays_for(op, rng(channels, outputs), (1, channels, *size), kernel, outputs, dtype)
    arrays |= {"weight": arrays["weight"][:channels]} if op == "depthwise_conv" else {}  # one filter a channel, as networks have them
    arrays["x"] = np.ascontiguousarray(channels_last(arrays["x"])) if last else arrays["x"]
    call = Call(op, dims, arrays, options | {"layout": LAYOUTS[dims][last], "activation": "hard_swish"})
    result = call.run()
    oracle.compare(result, call.exact())
    with sepconv.num_threads(1):
        assert_bits(call.run(), result)


# --- where a pixel lies changes nothing ---------------------------------------------------------------------------


@pytest.mark.large
@pytest.mark.parametrize("dtype", (np.float32, np.float64, np.float16, oracle.BFLOAT16), ids=str)
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("op", OPS)
def test_batch_bits(backend, op, last, dtype):
    """N10: an image alone and in a batch of 8 have the same bits."""
    arrays = arrays_for(op, rng(last), (8, 3, 6, 37), (3, 3), outputs=3, dtype=dtype)
    arrays["x"] = np.ascontiguousarray(channels_last(arrays["x"])) if last else arrays["x"]
    options = {"layout": LAYOUTS[2][last], "activation": "silu"} | ({} if op == "pointwise_conv" else {"padding": 1})
    batch = check(function(op, 2), **arrays, **options)
    for i in (0, 3, 7):
        assert_bits(batch[i : i + 1], function(op, 2)(**{**arrays, "x": arrays["x"][i : i + 1]}, **options))


@pytest.mark.large
@pytest.mark.parametrize("dtype", (np.float32, np.float64), ids=str)
@pytest.mark.parametrize("outputs", (5, 24, 150))
@pytest.mark.parametrize("channels", (1, 7, 100))
def test_lone_pixel_bits(backend, channels, outputs, dtype):
    """N10 of images of one pixel: alone, its weights are read where they lie; in a batch they are packed, and by a layer once."""
    r = rng(channels, outputs)
    x, weight, bias, residual = (values(r, shape, dtype) for shape in ((8, 1, 1, channels), (outputs, channels), (outputs,), (8, 1, 1, outputs)))
    activation = "hard_swish"
    options = dict(layout="NHWC", activation=activation)
    batch = check(sepconv.pointwise_conv2d, x, weight, bias, residual=residual, **options)
    layer = sepconv.layers.PointwiseConv2d(weight, bias, **options)
    for i in (0, 7):
        one, added = x[i : i + 1], residual[i : i + 1]
        assert_bits(sepconv.pointwise_conv2d(one, weight, bias, residual=added, **options), batch[i : i + 1])
        assert_bits(layer(one, residual=added), batch[i : i + 1])
        one, added = one.reshape(1, channels, 1, 1), added.reshape(1, outputs, 1, 1)
        first = sepconv.pointwise_conv2d(one, weight, bias, residual=added, activation=activation)
        assert_bits(first.reshape(batch[:1].shape), batch[i : i + 1])


def _tails() -> list[Any]:
    """Around the ends of one vector and of several, some in sweeps alone; fused kernels have a tile for nearly every width."""
    pairs = itertools.product(OPS, (9, 17, 18, 31, 33, 47, 64, 65))
    always = lambda op, width: width in {"separable_conv": (33,), "depthwise_conv": (17, 64)}.get(op, (9, 17, 33, 64))
    return [pytest.param(*pair, marks=() if always(*pair) else pytest.mark.sweep) for pair in pairs]


@pytest.mark.large
@pytest.mark.parametrize("op, width", _tails())
@pytest.mark.parametrize("last", (False, True))
def test_tail_bits(backend, op, width, last):
    """N10: the same window gives the same bits in the body of a row and in its tail: x repeats with period 1, so must the result."""
    arrays = arrays_for(op, rng(width), (1, 9, 10, 1), (3, 3), outputs=5)
    arrays["x"] = np.repeat(arrays["x"], width, axis=3)
    arrays["x"] = np.ascontiguousarray(channels_last(arrays["x"])) if last else arrays["x"]
    result = check(function(op, 2), **arrays, layout=LAYOUTS[2][last], activation="gelu")
    result = np.moveaxis(result, -1, 1) if last else result
    assert_bits(result, np.repeat(result[..., :1], result.shape[3], axis=3))


@pytest.mark.large
def test_pixels_in_panels(backend):
    """Pixels whose rows lie across cache lines are copied for many output channels: channels in any order, one for all, a single one; some of
    the columns; a residual that is the result, to which nothing may be added twice."""
    x, weight = values(rng(1), (2, 21, 7, 9), "float32"), values(rng(2), (109, 21), "float32")
    one = np.broadcast_to(x[:, :1], x.shape)
    for view in (x, x[:, ::-1], one, x[..., 2:], x[..., :7, :3], x[:1, :, :1, :5]):
        check(sepconv.pointwise_conv2d, view, weight, activation="relu")
    check(sepconv.pointwise_conv2d, x[:, :1], weight[:, :1])
    residual = values(rng(3), (2, 109, 7, 9), "float32")
    expected = sepconv.pointwise_conv2d(x, weight, residual=residual)
    assert_bits(sepconv.pointwise_conv2d(x, weight, residual=residual, out=residual), expected)
