"""Every operation on every backend against the oracle: random calls, and the geometry that random calls reach too rarely."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import oracle
import pytest
from arrays import arrays_for, assert_bits, channels_last, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LAYOUTS, OPS, Call, check, function, values

import sepconv
from sepconv.backends.borders import CODES, source

DIMS = (1, 2, 3)
REPEATING = ("edge", "reflect", "symmetric", "wrap")
FLOAT = [("float32", "float32"), ("float64", "float64")]


# --- random calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_random_calls(backend, op, data):
    """Every option, dtype and arrangement in memory at once."""
    data.draw(oracle.calls(ops=(op,))).check()


@given(call=oracle.calls(pairs=FLOAT))
def test_random_float_calls(backend, call):
    """The tuned dtypes get more of the budget."""
    call.check()


@pytest.mark.large
@settings(max_examples=20)
@given(call=oracle.calls(pairs=FLOAT, scale=5))
def test_random_large_calls(backend, call):
    """Enough channels and pixels for whole tiles, several jobs and several threads."""
    call.check()


@given(call=oracle.calls(memory=False))
def test_random_calls_on_plain_memory(backend, call):
    """Memory as it comes from NumPy, which the fast paths take; then a second time, from the plan that the first call left."""
    first = call.run()
    oracle.compare(first, call.exact())
    assert_bits(first, call.run())


@pytest.mark.sweep
@pytest.mark.parametrize("scale, examples", ((1, 400), (5, 80)))
def test_random_calls_sweep(backend, scale, examples):
    """The same on any kernel: nearly every call compiles one."""

    @settings(max_examples=examples)
    @given(call=oracle.calls(scale=scale, free=True))
    def run(call):
        call.check()

    run()


# --- sizes --------------------------------------------------------------------------------------------------------


def _some(op: str, kernel: int, dims: int) -> Any:
    """Each is a kernel to compile, of which a fused one takes longest."""
    few = kernel == 3 and (dims == 2 or op != "separable_conv") or (dims == 2 and op == "pointwise_conv")
    return pytest.param(op, kernel, dims, marks=() if few else pytest.mark.sweep)


@pytest.mark.parametrize("op, kernel, dims", [*itertools.starmap(_some, itertools.product(OPS, (1, 3, 7), DIMS))])
def test_one_pixel_maps(backend, op, kernel, dims):
    """G16: a 1x1 map, padded; every channel count that is around a vector's."""
    for channels in (1, 4, 8, 17):
        r = rng(channels, kernel, dims)
        k = 1 if op == "pointwise_conv" else kernel
        arrays = arrays_for(op, r, (2, channels, *(1,) * dims), (k,) * dims, outputs=5)
        check(function(op, dims), **arrays, **({} if k == 1 else {"padding": k // 2}))


@pytest.mark.parametrize(
    "op, dims", [pytest.param(op, dims, marks=pytest.mark.sweep if op == "separable_conv" and dims != 2 else ()) for op in OPS for dims in DIMS]
)
@pytest.mark.parametrize("last", (False, True))
def test_without_batch_axis(backend, op, dims, last):
    """G14: in every layout and, of images, in every border mode, equal to a batch of one."""
    size = {1: (6,), 2: (5, 6), 3: (2, 3, 6)}[dims] if oracle.SIMULATOR else {1: (21,), 2: (9, 19), 3: (3, 6, 21)}[dims]
    arrays = arrays_for(op, rng(dims), (1, 2 if oracle.SIMULATOR else 6, *size), (3,) * dims, outputs=5)
    x = arrays.pop("x")
    x = channels_last(x) if last else x
    for mode in oracle.MODES if dims == 2 and op != "pointwise_conv" else ("constant",):
        options: dict[str, Any] = {"layout": LAYOUTS[dims][last]}
        options |= {} if op == "pointwise_conv" else {"padding": 1, "padding_mode": mode}
        alone = check(function(op, dims), x[0], **arrays, **options)
        assert_bits(alone, function(op, dims)(x, **arrays, **options)[0])


def test_two_axes_are_channels_and_width(backend):
    """G14: (8, 16) into conv1d is (C, W), not (N, W)."""
    assert check(sepconv.conv1d, np.ones((8, 16)), np.ones((3, 8, 3))).shape == (3, 14)


# --- empty axes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", (np.float32, np.int8, oracle.BFLOAT16), ids=str)
def test_empty_batch(backend, op, dims, dtype):
    """G9, G10: an empty result of the right shape, in both layouts; a kernel that is too large is still an error."""
    arrays = arrays_for(op, rng(1), (0, 4, *(6,) * dims), (3,) * dims, outputs=3, dtype=dtype)
    options = {} if op == "pointwise_conv" else {"stride": 2, "padding": 1}
    result = check(function(op, dims), **arrays, **options)
    assert result.size == 0 and result.shape[0] == 0 and result.shape[2:] == ((6,) * dims if op == "pointwise_conv" else (3,) * dims)
    arrays["x"] = channels_last(arrays["x"])
    assert check(function(op, dims), **arrays, **options, layout=LAYOUTS[dims][1]).shape[-1] == result.shape[1]
    if op != "pointwise_conv":
        with pytest.raises(ValueError, match="kernel size"):
            function(op, dims)(np.zeros((0, 4, *(1,) * dims), dtype), *list(arrays.values())[1:])


@pytest.mark.parametrize("dims", DIMS)
def test_no_input_channels(backend, dims):
    """D9: the sum is empty, the result is the bias; PyTorch returns no channels here."""
    bias = np.arange(2, dtype=np.float32)
    for op, weight in (("conv", np.zeros((2, 0, *(3,) * dims), np.float32)), ("pointwise_conv", np.zeros((2, 0), np.float32))):
        result = check(function(op, dims), np.zeros((3, 0, *(5,) * dims), np.float32), weight, bias)
        assert (result == bias.reshape(-1, *(1,) * dims)).all() and result.size


@pytest.mark.parametrize("dims", DIMS)
def test_empty_space(backend, dims):
    """D9: zeros around nothing give zeros and the bias; other border modes have nothing to repeat; "same" of nothing is nothing. The tuned
    kernels once, in 2-D."""
    dtype = np.float32 if dims == 2 else np.int32
    x, weight, bias = np.zeros((2, 3, *(0,) * dims), dtype), np.ones((3, *(2,) * dims), dtype), np.arange(3, dtype=dtype)
    fn = function("depthwise_conv", dims)
    result = check(fn, x, weight, bias, padding=1)
    assert result.shape == (2, 3, *(1,) * dims) and (result == bias.reshape(-1, *(1,) * dims)).all()
    for mode in REPEATING:
        with pytest.raises(ValueError, match="padding_mode"):
            fn(x, weight, bias, padding=1, padding_mode=mode)
    assert check(fn, x, weight, bias, padding="same").shape == x.shape
    cut = np.ones((2, 3, *(50,) * dims), dtype)[:, :, :0]  # NumPy gives its own empty arrays strides of 0, and a slice those it had
    assert fn(cut, weight, bias, padding="same", out=np.ones((2, 3, *(50,) * dims), dtype)[:, :, :0]).shape == cut.shape
    check(fn, cut, weight, bias, padding=1)
    for short, filters in ((fn, weight), (function("pointwise_conv", dims), np.ones((4, 3), dtype))):
        with pytest.raises(ValueError, match="kernel size"):
            short(x, filters)


# --- padding ------------------------------------------------------------------------------------------------------


def line(x: Any, w: Any, **options: Any) -> list[float]:
    """conv1d of one channel, as a list."""
    arrays = np.array(x, np.float64)[None, None], np.array(w, np.float64)[None, None]
    return check(sepconv.conv1d, *arrays, **options)[0, 0].tolist()


def test_same(backend):
    """G1-G5 by hand: the smaller half before, never a negative pad, dilation and stride together."""
    assert line([1, 2, 3, 4, 5], [1, 10], padding="same") == [21, 32, 43, 54, 5]
    assert line([1, 2, 3, 4, 5], [1, 10], padding="same_lower") == [10, 21, 32, 43, 54]
    for name in ("same", "same_lower"):
        assert line(range(10), [1, 100], padding=name, stride=5) == [100, 605]
    assert line([1, 2, 3, 4, 5], [1, 10, 100], padding="same", stride=2, dilation=2) == [310, 531, 53]
    six = [1, 2, 3, 4, 5, 6]
    assert line(six, [1, 10, 100], padding="same", stride=2) == line(six, [1, 10, 100], padding=(0, 1), stride=2) == [321, 543, 65]
    assert line(six, [1, 10, 100], padding=1, stride=2) == [210, 432, 654]


@pytest.mark.parametrize("n", (5, 6, 7, 8))
@pytest.mark.parametrize("stride", (1, 2, 3))
def test_same_is_explicit_padding(backend, n, stride):
    """G2: the pads of D1, different on each axis; in integers, which have one kernel for every size."""
    for kernel, dilation in itertools.product((1, 2, 3, 4, 5), (1, 2)):
        total = max(0, (-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n)
        before = (total // 2, total - total // 2)
        x, w = values(rng(n), (1, 2, n, 9), np.int32), values(rng(kernel), (2, kernel, 3), np.int32)
        for name, pads in (("same", before), ("same_lower", before[::-1])):
            same = check(sepconv.depthwise_conv2d, x, w, padding=name, stride=(stride, 1), dilation=(dilation, 1))
            assert same.shape[2] == -(-n // stride)
            assert_bits(same, sepconv.depthwise_conv2d(x, w, padding=(pads, (1, 1)), stride=(stride, 1), dilation=(dilation, 1)))


@pytest.mark.parametrize(
    "op, dims, dtype",
    [
        *itertools.product(("conv", "depthwise_conv"), (2, 3), (np.int32, np.float32)),
        ("separable_conv", 3, np.int32), pytest.param("separable_conv", 3, np.float32, marks=pytest.mark.sweep),
    ],
)  # fmt: skip
def test_every_axis_its_own(backend, op, dims, dtype, sweep):
    """G6, G7: kernel, stride, dilation and all the pads different on every axis and side; and a single pad at the very end: in sweeps with all
    tuned kernels too."""
    kernel, stride, dilation = ((a, b, c)[:dims] for a, b, c in ((2, 3, 4), (1, 2, 3), (3, 1, 2)))
    size = (9, 11) if dims == 2 else (5, 7, 9) if oracle.SIMULATOR else (9, 15, 20)
    arrays = arrays_for(op, rng(dims), (2, 3, *size), kernel, outputs=4, dtype=dtype)
    for padding in (((0, 1), (2, 3), (5, 4))[:dims], ((0, 0), (0, 0), (0, 1))[3 - dims :])[: 1 if dtype is np.float32 and not sweep else 2]:
        check(function(op, dims), **arrays, stride=stride, dilation=dilation, padding=padding)


def test_kernel_and_padded_size(backend):
    """G8: equal gives one output, one less is an error that names both; the floor is a floor."""
    assert line([1, 2, 3], [1, 1, 1], dilation=2, padding=1) == [2]
    with pytest.raises(ValueError, match=r"reach of 5.* 3 there, 4 with padding"):
        line([1, 2, 3], [1, 1, 1], dilation=2, padding=(1, 0))
    with pytest.raises(ValueError):
        line([1, 2], [1, 1, 1], stride=2)
    assert line([1, 2, 3], [2], dilation=100) == [2, 4, 6]


def padded(x: np.ndarray, pads: Any, mode: str) -> np.ndarray:
    """x copied with its borders; NumPy's own repeats were wrong in old releases, the formula is not (G19)."""
    for axis, (before, after) in enumerate(pads, 2):
        at = [source(p, x.shape[axis], CODES[mode]) for p in range(-before, x.shape[axis] + after)]
        x = np.take(x, at, axis)
    return x


@pytest.mark.parametrize("mode", REPEATING)
def test_borders_against_padded_copy(backend, mode):
    """G18, G20: pads up to five sizes, one side only, both sides, on every short length: of integers, and of floats for one length of the
    result, which is one kernel."""
    for n, dtype in itertools.product(range(1, 9), (np.int32,) if oracle.SIMULATOR else (np.int32, np.float64)):
        x, w = values(rng(n), (2, 2, n), dtype, small=True), values(rng(1), (2, 1, 3), dtype, small=True)
        some = ((4, 0), (0, 3), (n, n), (5 * n, 0), (0, 5 * n), (5 * n, 4 * n + 1))
        for pads in some if dtype is np.int32 else [(before, 23 - n - before) for before in range(24 - n)]:
            if n + sum(pads) < 3:
                continue
            result = check(sepconv.depthwise_conv1d, x, w, padding=pads, padding_mode=mode)
            np.testing.assert_allclose(result, sepconv.depthwise_conv1d(padded(x, [pads], mode), w), rtol=1e-12, atol=1e-12)


FEW = {  # (kernel, stride, dilation)
    1: (((2,), (1,), (3,)), ((3,), (2,), (1,))),
    2: (((2, 3), (1, 2), (1, 2)), ((3, 2), (2, 1), (2, 1))),
    3: (((2, 3, 2), (2, 1, 1), (1, 1, 3)), ((3, 2, 3), (1, 2, 2), (2, 2, 1))),
}


@given(data=st.data())
def test_borders_with_everything(backend, data, sweep):
    """G21: mode x stride x dilation x even kernels x unequal pads equals "valid" on the padded copy. But in sweeps, floats have few kernel
    sizes and results of one size, which are few kernels to compile; integers have any."""
    dims = data.draw(st.sampled_from(DIMS))
    each = lambda least, most: tuple(data.draw(st.integers(least, most)) for _ in range(dims))
    dtype = data.draw(st.sampled_from((np.float32, np.int32)))
    before, after, dilation, (kernel, stride) = each(0, 8), each(0, 8), each(1, 3), (each(1, 4), each(1, 3))
    if dtype is np.int32 or sweep:
        size = tuple(max(1, n, d * (k - 1) + 1 - a - b) for n, d, k, a, b in zip(each(1, 9), dilation, kernel, before, after))
    else:
        kernel, stride, dilation = data.draw(st.sampled_from(FEW[dims]))
        whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip((2, 4, 5)[-dims:], stride, dilation, kernel)]
        before = tuple(min(b, n - 1) for b, n in zip(before, whole))
        after = tuple(min(a, n - 1 - b) for a, b, n in zip(after, before, whole))
        size = tuple(n - b - a for n, b, a in zip(whole, before, after))
    pads, mode = list(zip(before, after)), data.draw(st.sampled_from(REPEATING))
    op = data.draw(st.sampled_from(("conv", "depthwise_conv", "separable_conv") if dtype is np.int32 or sweep else ("conv", "depthwise_conv")))
    arrays = arrays_for(op, rng(sum(size)), (1, 3, *size), kernel, outputs=2, dtype=dtype)
    want = oracle.expected(function(op, dims), **{**arrays, "x": padded(arrays["x"], pads, mode)}, stride=stride, dilation=dilation)
    oracle.compare(function(op, dims)(**arrays, stride=stride, dilation=dilation, padding=pads, padding_mode=mode), want)


@pytest.mark.parametrize("stride, dilation", ((1, 1), (2, 1), (1, 3), (3, 2)))
@pytest.mark.parametrize("op", ("conv", "depthwise_conv", pytest.param("separable_conv", marks=pytest.mark.sweep)))
def test_causal(backend, op, stride, dilation):
    """G22: length ceil(n / stride); what comes later changes no bit of what came before."""
    arrays = arrays_for(op, rng(stride, dilation), (2, 5, 23), (4,), outputs=3)
    options = dict(padding="causal", stride=stride, dilation=dilation)
    result = check(function(op, 1), **arrays, **options)
    assert result.shape[2] == -(-23 // stride)
    for t in (0, 7, 15, 21):
        changed = arrays["x"].copy()
        changed[..., t + 1 :] = rng(t).standard_normal(changed[..., t + 1 :].shape)
        after = function(op, 1)(**{**arrays, "x": changed}, **options)
        assert_bits(after[..., : t // stride + 1], result[..., : t // stride + 1])


# --- channels ------------------------------------------------------------------------------------------------------


def test_multiplier_by_hand(backend):
    """G13: output channel c * m + q reads input channel c."""
    x, w = np.array([1.0, 2.0]).reshape(1, 2, 1), np.array([1.0, 10, 100, 1000]).reshape(4, 1, 1)
    assert check(sepconv.depthwise_conv1d, x, w).ravel().tolist() == [1, 10, 200, 2000]


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("last", (False, True))
def test_multiplier_is_groups(backend, dims, last):
    """G12, G13: 5 channels, 3 filters each, so that no transposed order passes; equal to groups = C, and to one call a channel. The tuned kernels
    in 2-D."""
    r, dtype = rng(dims), np.float32 if dims == 2 else np.int32
    batch, size = (1, 4) if oracle.SIMULATOR else (2, 7)
    x, w = values(r, (batch, 5, *(size,) * dims), dtype), values(r, (15, 1, *(3,) * dims), dtype)
    x = channels_last(x) if last else x
    layout = LAYOUTS[dims][last]
    result = check(function("depthwise_conv", dims), x, w, padding=1, layout=layout)
    check(function("conv", dims), x, w, padding=1, groups=5, layout=layout)
    axis = -1 if last else 1
    singles = [function("conv", dims)(np.take(x, [c // 3], axis), w[c : c + 1], padding=1, layout=layout) for c in range(15)]
    np.testing.assert_allclose(result, np.concatenate(singles, axis), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", (2, 3, 6))
def test_groups(backend, groups):
    """G12: the ways between standard and depthwise; each group alone gives its part."""
    x, w = values(rng(1), (2, 12, 9, 8), np.float32), values(rng(2), (18, 12 // groups, 3, 3), np.float32)
    result = check(sepconv.conv2d, x, w, groups=groups, padding=1)
    parts = [sepconv.conv2d(a, b, padding=1) for a, b in zip(np.split(x, groups, 1), np.split(w, groups, 0))]
    np.testing.assert_allclose(result, np.concatenate(parts, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("shape", ((1, 8, 16, 24), (2, 8, 14, 14), (3, 8, 7, 7)), ids=str)
@pytest.mark.parametrize("dtype", (np.dtype("float16"), oracle.BFLOAT16), ids=str)
def test_large_kernels_of_halves(backend, dtype, shape, last):
    """N1: 49 taps in 16 bits, which a GPU sums on tensor cores: what is not finite is known to the results that see it alone."""
    x, w = values(rng(1), shape, dtype), values(rng(2), (8, 1, 7, 7), dtype)
    x[0, 3, 3, 3], x[-1, 6, -1, -1] = np.inf, np.nan
    x = channels_last(x) if last else x
    result = check(sepconv.depthwise_conv2d, x, w, padding=3, layout=LAYOUTS[2][last])
    assert np.isfinite(result.astype(np.float32)).sum() == result.size - 49 - 16


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("op", ("conv", "depthwise_conv", "separable_conv"))
def test_not_flipped(backend, op, dims):
    """G23: a unit in the middle gives the kernel back to front; the first tap meets the pixel before."""
    size = (5,) * dims if oracle.SIMULATOR else {1: (21,), 2: (9, 19), 3: (3, 6, 21)}[dims]
    x, one = np.zeros((2, 6, *size), np.float32), tuple(n // 2 for n in size)
    x[(1, 0, *one)] = 1
    w = np.arange(1, 3**dims + 1, dtype=np.float32).reshape((1, 1) + (3,) * dims)
    each = np.broadcast_to(w, (5 if op == "conv" else 6, 6 if op == "conv" else 1, *(3,) * dims))
    arrays = {"depthwise": each, "pointwise": np.ones((5, 6), np.float32)} if op == "separable_conv" else {"weight": each}
    result = check(function(op, dims), x, **arrays, padding=1)
    around = tuple(slice(n - 1, n + 2) for n in one)
    np.testing.assert_array_equal(result[(1, 0, *around)], np.flip(w[0, 0]))
    assert result[1, 0].sum() == w.sum()


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("last", (False, True))
def test_identities(backend, dims, last):
    """G24: depthwise is a standard convolution with filters zero outside one channel; pointwise is a matrix; separable is one after the other."""
    r = rng(dims, last)
    space, taps, dtype = {1: (21,), 2: (6, 37), 3: (3, 6, 21)}[dims], (3,) * dims, np.float64 if dims == 2 else np.float32
    channels, outputs = (3, 3) if dims == 2 else (6, 5)
    x, w, p = values(r, (2, channels, *space), dtype), values(r, (channels, *taps), dtype), values(r, (outputs, channels), dtype)
    options = {"layout": LAYOUTS[dims][last]}
    matrix = np.einsum("oc,nc...->no...", p, x)
    x, matrix = (channels_last(x), channels_last(matrix)) if last else (x, matrix)
    run = lambda op, *arrays, **more: check(function(op, dims), *arrays, **options, **more)
    rounding = 1e-12 if dims == 2 else 1e-5
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding)

    apart = np.zeros((channels, channels, *taps), dtype)
    apart[range(channels), range(channels)] = w
    middle = run("depthwise_conv", x, w, padding=1)
    close(middle, run("conv", x, apart, padding=1))
    close(run("pointwise_conv", x, p), matrix)
    close(run("conv", x, p.reshape(outputs, channels, *(1,) * dims)), matrix)
    close(run("separable_conv", x, w, p, padding=1), run("pointwise_conv", middle, p))


# --- what a call does not see --------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("op", ("conv", "depthwise_conv", pytest.param("separable_conv", marks=pytest.mark.sweep)))
@pytest.mark.parametrize("kernel, stride", ((1, 2), (2, 5), *(pytest.param(*pair, marks=pytest.mark.sweep) for pair in ((1, 3), (2, 3), (3, 4)))))
def test_skipped_pixels(backend, op, kernel, stride, last):
    """G15: what lies between the windows has no say, not even a NaN."""
    arrays = arrays_for(op, rng(kernel, stride), (2, 4, 17, 19), (kernel, kernel), outputs=3)
    seen = np.zeros((17, 19), bool)
    for y, x in itertools.product(range(0, 17 - kernel + 1, stride), range(0, 19 - kernel + 1, stride)):
        seen[y : y + kernel, x : x + kernel] = True
    arrays["x"][..., ~seen] = np.nan
    arrays["x"] = channels_last(arrays["x"]) if last else arrays["x"]
    assert np.isfinite(check(function(op, 2), **arrays, stride=stride, layout=LAYOUTS[2][last])).all()


def test_public_names():
    """`sepconv.backends` is the function, whatever subpackages share its name."""
    assert "reference" in sepconv.backends()


def test_the_oracle_sees_errors():
    """A result that is off by a little more than rounding, a lost NaN and a touched guard cell are all found."""
    call = Call("depthwise_conv", 1, {"x": values(rng(1), (1, 2, 9), np.float32), "weight": values(rng(2), (2, 3), np.float32)}, {})
    want, result = call.exact(), np.array(call.exact().wide, np.float32)
    assert oracle.compare(result, want) <= 1
    for wrong in (result * np.float32(1 + 1e-5), np.where(result == result[0, 0, 0], np.float32(np.nan), result), result + np.float32(np.inf)):
        with pytest.raises(AssertionError):
            oracle.compare(wrong, want)
    out = oracle.place(result, ("stepped", "margin"))
    out.array[...] = 7
    out.assert_guards()
    out.buffer[3] ^= 1
    with pytest.raises(AssertionError, match="between the elements"):
        out.assert_guards()
