"""Calls that are made again, which go from their arrays' ids into the kernel in compiled code: `backends/cpu/entry.py`; and layers' own calls."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import sepconv
from sepconv import layers
from sepconv.backends.cpu import entry
from sepconv.backends.cpu.entry import PEEK, address

RNG = np.random.default_rng(20)
X = RNG.standard_normal((1, 6, 9, 11), np.float32)
W = RNG.standard_normal((6, 3, 3), np.float32)


def expected(x: np.ndarray, w: np.ndarray, **options: object) -> np.ndarray:
    with sepconv.use_backend("reference"):
        return sepconv.depthwise_conv2d(x, w, padding=1, **options)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.skipif(not PEEK, reason="the fields of an ndarray object are not where they are looked for here")
def test_an_address_is_what_numpy_says() -> None:
    for array in (X, X[:, :, 2:, ::-1], X.T, np.zeros(0)):
        assert address(array) == array.__array_interface__["data"][0]


@pytest.mark.parametrize("threads", [1, 2])
def test_other_arrays_of_the_same_kind(threads: int) -> None:
    with sepconv.num_threads(min(threads, sepconv.get_num_threads())):
        for _ in range(3):
            x, w, out = RNG.standard_normal(X.shape, np.float32), RNG.standard_normal(W.shape, np.float32), np.full_like(X, 9)
            assert close(sepconv.depthwise_conv2d(x, w, padding=1), expected(x, w))
            assert sepconv.depthwise_conv2d(x, w, padding=1, out=out) is out and close(out, expected(x, w))


def test_the_second_call_looks_as_closely_as_the_first() -> None:
    out = np.empty_like(X)
    for _ in range(3):
        sepconv.depthwise_conv2d(X, W, padding=1, out=out)
    frozen = np.full_like(X, 7)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        sepconv.depthwise_conv2d(X, W, padding=1, out=frozen)
    assert (frozen == 7).all()
    room = RNG.standard_normal(X.size + 11, np.float32)
    before, over = room.copy(), room[11:].reshape(X.shape)
    with pytest.raises(ValueError, match="out"):
        sepconv.depthwise_conv2d(room[:-11].reshape(X.shape), W, padding=1, out=over)
    assert (room == before).all()


def test_the_second_call_takes_arrays_that_are_not_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python looks at them: this processor may not mind where they lie, others do."""
    call, direct = entry.Entry.__call__, []
    monkeypatch.setattr(entry.Entry, "__call__", lambda self, arrays: direct.append(call(self, arrays)) or direct[-1])
    odd = np.frombuffer(b"-" + X.tobytes(), np.float32, X.size, 1).reshape(X.shape)
    for x in (X, X, X, odd, X, odd):
        assert close(sepconv.depthwise_conv2d(x, W, padding=1), expected(X, W))
    assert direct[-4:] == [True, False, True, False]


@pytest.mark.parametrize("layout", ("NCHW", "NHWC"))
def test_the_second_call_sees_an_infinite_weight(layout: str) -> None:
    """Channels last, taps over the border are left out: what infinity times zero gives there has to be put in."""
    x = np.ascontiguousarray(np.moveaxis(X, 1, -1)) if layout == "NHWC" else X
    infinite = W.copy()
    infinite[2, 0, 0] = np.inf
    out = np.empty_like(x)
    for w in (W, W, W, infinite, W, infinite):
        assert close(sepconv.depthwise_conv2d(x, w, padding=1, layout=layout, out=out), expected(x, w, layout=layout))


def test_a_residual_that_is_the_result_is_added_once() -> None:
    weight = RNG.standard_normal((6, 6), np.float32)
    layer = layers.PointwiseConv2d(weight)
    plain = layer(X)
    for _ in range(3):
        out = X.copy()
        assert layer(X.copy(), residual=out, out=out) is out and close(out, plain + X)


def test_a_layer_takes_what_it_has_not_seen() -> None:
    layer = layers.DepthwiseConv2d(W, padding=1, activation="relu")
    big = RNG.standard_normal((2, 6, 20, 20), np.float32)
    for x in (X, X[..., ::-1], big, X.astype(">f4"), X.astype(np.float64), X, X[0]):
        assert close(layer(x), expected(x, W, activation="relu"))
    with sepconv.use_backend("reference"):
        assert close(layer(X), expected(X, W, activation="relu"))
    with pytest.raises(TypeError, match="residual"):
        layer(X, residual=X)
    assert "depthwise" in str(sepconv.explain(layer, X))


def test_from_many_threads() -> None:
    layer, wrong = layers.DepthwiseConv2d(W, padding=1), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            x = rng.standard_normal(X.shape, np.float32)
            if not close(layer(x), expected(x, W)):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize(
    "channels, size, outputs", [(1024, (28, 10), 40), (2048, (9, 15), 33), (1280, (1, 1), 300), (64, (1, 1), 130), (7, (1, 1), 128)]
)
@pytest.mark.parametrize("held", [False, True])
def test_products_of_pixels_far_apart_and_of_one(channels: int, size: tuple[int, int], outputs: int, held: bool) -> None:
    x, weight = RNG.standard_normal((1, *size, channels), np.float32), RNG.standard_normal((outputs, channels), np.float32)
    bias, rest = RNG.standard_normal(outputs, np.float32), RNG.standard_normal((1, *size, outputs), np.float32)
    options = dict(layout="NHWC", activation="relu")
    found = (
        layers.PointwiseConv2d(weight, bias, **options)(x, residual=rest) if held
        else sepconv.pointwise_conv2d(x, weight, bias, residual=rest, **options)
    )  # fmt: skip
    out = rest.copy()  # which a tile or a block that is computed twice would be added to twice
    assert sepconv.pointwise_conv2d(x, weight, bias, residual=out, out=out, **options) is out
    exact = np.maximum(x.astype(np.float64) @ weight.T.astype(np.float64) + bias + rest, 0)
    assert max(np.abs(found - exact).max(), np.abs(out - exact).max()) <= 1e-5 * channels**0.5 * 4


@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("outputs", (3, 8, 16, 20, 24, 40, 56, 100, 112, 1000))
def test_held_weights_in_panels(outputs: int, threads: int) -> None:
    """From its second call on a layer gives the kernel its weight in panels, the last ones narrower; all calls give the same bits."""
    r = np.random.default_rng(outputs)
    x, filters, mix = (r.standard_normal(shape, dtype=np.float32) for shape in ((1, 20, 29, 24), (24, 3, 3), (outputs, 24)))
    rest, bias = r.standard_normal((1, 20, 29, outputs), dtype=np.float32), r.standard_normal(outputs, dtype=np.float32)
    pixel, options = x[:1, :1, :1], {"padding": "same", "layout": "NHWC"}
    with sepconv.num_threads(min(threads, sepconv.get_num_threads())):
        for layer, want in (
            (layers.SeparableConv2d(filters, mix, bias, **options), sepconv.separable_conv2d(x, filters, mix, bias, **options)),
            (layers.PointwiseConv2d(mix, bias, layout="NHWC"), sepconv.pointwise_conv2d(x, mix, bias, layout="NHWC")),
        ):
            for _ in range(4):
                assert np.array_equal(layer(x), want)
            for _ in range(3):
                assert close(layer(x, residual=rest), want + rest)
            for _ in range(3):  # in no panels: nothing may be computed twice
                out = rest.copy()
                assert close(layer(x, residual=out, out=out), want + rest)
        for _ in range(3):
            assert np.array_equal(layer(pixel), sepconv.pointwise_conv2d(pixel, mix, bias, layout="NHWC"))


def test_a_layer_compares_each_array_with_the_call_before() -> None:
    """Everything that tells two arrays apart but their values, right after a call that was repeated; and what is no array at all."""
    layer = layers.DepthwiseConv2d(W, padding=1)
    others = [X[:, :, :, :10], X[:, :, ::-1], X[0], X.astype(np.float64), X.astype(">f4"), np.asfortranarray(X), np.stack([X[0], X[0]])]
    for other in others:
        for _ in range(4):
            assert close(layer(X), expected(X, W))
        found = layer(other)
        assert close(found, expected(other, W)) and found.shape == other.shape
        assert found.dtype == (np.float64 if other.dtype == np.float64 else np.float32)
    for wrong in (np.ma.MaskedArray(X), X.tolist(), None, 3.0):
        for _ in range(4):
            layer(X)
        with pytest.raises(TypeError, match="x is"):
            layer(wrong)
    for wrong in (np.zeros_like(X, np.float64), np.zeros(X.shape[1:], np.float32), np.ma.zeros(X.shape, np.float32)):
        out = np.zeros_like(X)
        for _ in range(4):
            layer(X, out=out)
        with pytest.raises((ValueError, TypeError), match="out"):
            layer(X, out=wrong)
        assert (wrong == 0).all()
