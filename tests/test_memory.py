"""Arrays in memory of every kind: strides, byte orders, subclasses, sizes past 2**31."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import oracle
import pytest
from arrays import arrays_of, bits, rng, same_padding
from numpy.lib.stride_tricks import as_strided
from oracle import LAYOUTS, OPS, arrange, check, function, values

import sepconv

# --- strides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("last", (False, True))
def test_strides_of_single_axes(backend, op, last, sweep):
    """M1, M2: what stands as the stride of an axis of size 1 has no meaning; NumPy calls such arrays contiguous."""
    cases = ((6, (1, 7)), (1, (1, 1)), (6, (1, 1)), (1, (5, 7)))  # a kernel each, of which a fused one takes longest
    for channels, size in cases if sweep or op != "separable_conv" else cases[:1]:
        arrays = {name: a[:1] if name in ("x", "residual") else a for name, a in arrays_of(op, 1, channels=channels, size=size).items()}
        if last:
            arrays |= {name: np.ascontiguousarray(np.moveaxis(arrays[name], 1, -1)) for name in ("x", "residual") if name in arrays}
        options = {"layout": LAYOUTS[2][last], **same_padding(op)}
        want = oracle.expected(function(op, 2), **arrays, **options)
        for odd in (999, 7, 0, -4, 2**40):
            strange = {
                name: as_strided(a, a.shape, [odd + i if n == 1 else s for i, (n, s) in enumerate(zip(a.shape, a.strides))])
                for name, a in arrays.items()
            }
            out = np.empty(want.wide.shape, want.dtype)
            out = as_strided(out, out.shape, [odd if n == 1 else s for n, s in zip(out.shape, out.strides)])
            oracle.compare(function(op, 2)(**strange, **options, out=out), want)


@pytest.mark.parametrize("op", OPS)
def test_layout_is_in_the_strides(backend, op, sweep):
    """M2: both layouts over both memory orders, with and without axes of size 1: one answer."""
    sizes = ((6, 37), (1, 21), (1, 1))
    for batch, channels, size in itertools.product((1, 2), (1, 5), sizes if sweep or op != "separable_conv" else sizes[:2]):
        arrays = {name: a[:batch] if name in ("x", "residual") else a for name, a in arrays_of(op, batch, channels=channels, size=size).items()}
        want = check(function(op, 2), **arrays, **same_padding(op))
        for last, memory in itertools.product((False, True), repeat=2):
            given_ = dict(arrays)
            for name in {"x", "residual"} & set(arrays):
                a = np.moveaxis(np.ascontiguousarray(np.moveaxis(arrays[name], 1, -1)), -1, 1) if memory else arrays[name]
                given_[name] = np.moveaxis(a, 1, -1) if last else a
            got = check(function(op, 2), **given_, **same_padding(op), layout=LAYOUTS[2][last])
            np.testing.assert_allclose(np.moveaxis(got, -1, 1) if last else got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", (np.float32, np.int16), ids=str)
@pytest.mark.parametrize("how", [*oracle.ARRANGEMENTS, "all"])
def test_every_array_in_every_arrangement(backend, op, dtype, how):
    """M3, M4, M5: each array alone, weights as well as x, then all at once; what lies between the elements is NaN, and is not read."""
    arrays = arrays_of(op, 3, dtype=dtype)
    names = tuple(oracle.ARRANGEMENTS) if how == "all" else (how,)
    want = oracle.expected(function(op, 2), **arrays, **same_padding(op))
    for which in (*((name,) for name in arrays), tuple(arrays)):
        strange = arrays | {name: arrange(arrays[name], names) for name in which}
        oracle.compare(function(op, 2)(**strange, **same_padding(op)), want)


@pytest.mark.parametrize("op", OPS)
def test_broadcast_inputs(backend, op):
    """M6: stride 0 on each axis of each array, and on all of them."""
    arrays = arrays_of(op, 4)
    for name, a in arrays.items():
        for axes in (*((axis,) for axis in range(a.ndim)), tuple(range(a.ndim))):
            one = a[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(a.ndim))]
            check(function(op, 2), **arrays | {name: np.broadcast_to(one, a.shape)}, **same_padding(op))


@pytest.mark.parametrize("last, channels, width, step", ((False, 512, 230, 128), (True, 1024, 21, 14)), ids=("first", "last"))
def test_rows_that_overlap(last: bool, channels: int, width: int, step: int) -> None:
    """Rows of which each begins inside the one before, where products copy x: of one they do not take what they copied of the other."""
    base = rng(width).standard_normal((width + 2 * step, channels) if last else (channels, width + 2 * step + 1)).astype(np.float32)
    channel, pixel = base.strides[::-1] if last else base.strides
    sizes, strides = (3, width), (step * pixel, pixel)
    x = as_strided(base, (*sizes, channels) if last else (channels, *sizes), (*strides, channel) if last else (channel, *strides))
    weight = rng(channels).standard_normal((16 if last else 64, channels)).astype(np.float32)
    for threads in (1, sepconv.get_num_threads()):
        with sepconv.num_threads(threads):
            check(sepconv.pointwise_conv2d, x, weight, layout=LAYOUTS[2][last])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ("float16", "float32", "float64", "int16", "complex64"))
def test_byte_order(backend, op, dtype):
    """M8: the other byte order gives the native result and dtype, to the bit; in `out` it is written in out's order."""
    arrays = arrays_of(op, 5, dtype=dtype)
    want = check(function(op, 2), **arrays, **same_padding(op))
    swapped = {name: a.astype(a.dtype.newbyteorder()) for name, a in arrays.items()}
    assert not swapped["x"].dtype.isnative
    result = function(op, 2)(**swapped, **same_padding(op))
    assert result.dtype == want.dtype and result.dtype.isnative and bits(result) == bits(want)
    out = np.zeros(want.shape, want.dtype.newbyteorder())
    assert function(op, 2)(**swapped, **same_padding(op), out=out) is out
    assert not out.dtype.isnative and bits(out) == bits(want)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", (np.float32, np.float64, np.int32), ids=str)
def test_unaligned(backend, op, dtype):
    """M9: data at an odd address, and strides that are no multiple of the item: a field of a packed record, for inputs and for out."""
    arrays = arrays_of(op, 6, dtype=dtype)
    want = check(function(op, 2), **arrays, **same_padding(op))
    record = np.dtype([("tag", "i1"), ("value", dtype)])

    def packed(a: np.ndarray) -> np.ndarray:
        whole = np.full(a.shape, -1, record)
        whole["value"] = a
        return whole["value"]

    for make in (packed, lambda a: arrange(a, ("unaligned",))):
        strange = {name: make(a) for name, a in arrays.items()}
        assert not strange["x"].flags.aligned
        out = make(np.zeros_like(want))
        assert function(op, 2)(**strange, **same_padding(op), out=out) is out
        assert bits(out) == bits(function(op, 2)(**strange, **same_padding(op))) == bits(want)


# --- arrays that are more, or less, than an ndarray ----------------------------------------------------------------


def compiled() -> tuple[Any, Any]:
    """What counts kernels that were compiled or loaded; None for a backend that compiles nothing."""
    facts = sepconv.backends()["cpu"]
    return facts.get("cache_hits"), facts.get("cache_misses")


@pytest.mark.parametrize("op", OPS)
def test_read_only(backend, op):
    """M7: read-only inputs give the same bits and compile nothing new; a read-only out is an error before any work."""
    arrays = arrays_of(op, 7)
    want, before = check(function(op, 2), **arrays, **same_padding(op)), compiled()
    for a in arrays.values():
        a.flags.writeable = False
    assert bits(function(op, 2)(**arrays, **same_padding(op))) == bits(want)
    assert compiled() == before
    out = np.full_like(want, 7)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        function(op, 2)(**arrays, **same_padding(op), out=out)
    assert (out == 7).all()


class Plain(np.ndarray):
    """A subclass that adds no meaning."""


class Own(np.ndarray):
    """A subclass with its own arithmetic."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        raise AssertionError("a meaning that would be lost")


@pytest.mark.parametrize("op", OPS)
def test_subclasses(backend, op, tmp_path):
    """M10: memory maps (read-only too) and plain subclasses are arrays, and the result is an ndarray; as `out` they come back as they are."""
    arrays = arrays_of(op, 8)
    want = check(function(op, 2), **arrays, **same_padding(op))
    maps = {}
    for name, a in arrays.items():
        np.memmap(tmp_path / name, a.dtype, "w+", shape=a.shape)[...] = a
        maps[name] = np.memmap(tmp_path / name, a.dtype, "r", shape=a.shape)
    for given_ in (maps, {name: a.view(Plain) for name, a in arrays.items()}):
        result = function(op, 2)(**given_, **same_padding(op))
        assert type(result) is np.ndarray and bits(result) == bits(want)
    out = np.zeros_like(want).view(Plain)
    assert function(op, 2)(**arrays, **same_padding(op), out=out) is out and bits(out) == bits(want)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("op", OPS)
def test_arrays_that_mean_more(backend, op):
    """M10, M11: masked arrays, matrices and subclasses with their own arithmetic are TypeErrors for every argument, with the kernel warm."""
    arrays = arrays_of(op, 9)
    want = check(function(op, 2), **arrays, **same_padding(op))  # now the kernel is compiled, and would ignore a mask
    for name in (*arrays, "out"):
        a = arrays.get(name, want)
        masked = np.ma.masked_array(a.copy(), mask=np.arange(a.size).reshape(a.shape) % 2)
        matrix = np.asmatrix(np.ones((2, 2), np.float32))
        for strange in (masked, matrix, a.copy().view(Own)):
            with pytest.raises(TypeError, match=f"{name} is a "):
                function(op, 2)(**{**arrays, **same_padding(op), name: strange})


# --- size ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def kernels():
    """Every backend that computes on NumPy arrays in place; the reference makes copies, and would need the memory these tests pretend to have."""
    with sepconv.use_backend("cpu"):
        yield "cpu"


@pytest.mark.parametrize("op", ("conv2d", "depthwise_conv2d"))
def test_more_elements_than_int32(kernels, op):
    """M17: 2.8e9 elements in one row of memory, stride 1000; every output equals the small case's."""
    row = values(rng(1), (40_000,), np.float32)
    x, weight = np.broadcast_to(row, (1, 1, 70_000, 40_000)), values(rng(2), (1, 1, 3, 3), np.float32)
    result = getattr(sepconv, op)(x, weight, stride=1000)
    few = np.broadcast_to(row, (1, 1, 3, 40_000))
    assert result.shape == (1, 1, 70, 40)
    want = oracle.expected(getattr(sepconv, op), few, weight, stride=1000)
    want.wide, want.error = (np.broadcast_to(a, result.shape) for a in (want.wide, want.error))
    oracle.compare(result, want)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", range(4))
def test_offsets_past_int32(kernels, op, axis):
    """M17: strides of a gigabyte on each axis, of x and of out; only the pages that are touched exist."""
    arrays = {name: a[:, :3, :3, :3] if name in ("x", "residual") else a for name, a in arrays_of(op, 14, channels=3).items()}
    arrays.pop("residual", None)
    weights = {name: a[:3] if name in ("weight", "pointwise", "bias") else a for name, a in arrays.items()}
    x = weights["x"]
    far = np.zeros(3 * 2**30, np.uint8)

    def spread(start: int, shape: tuple[int, ...]) -> np.ndarray:
        steps = [int(np.prod([n for a, n in enumerate(shape) if a > i and a != axis])) * 4 for i in range(4)]
        steps[axis] = 2**30 + 64
        return np.ndarray(shape, np.float32, far, start, steps)

    x_far, out = spread(0, x.shape), spread(2**20, (2, 3, 3, 3))
    x_far[...] = x
    want = oracle.expected(function(op, 2), **weights, **same_padding(op))
    oracle.compare(function(op, 2)(**{**weights, "x": x_far}, **same_padding(op), out=out), want)


def test_result_too_large(backend):
    """M18: MemoryError at once, sizes never wrap."""
    x, huge = np.ones((1, 1, 4), np.float32), np.broadcast_to(np.float32(1), (1, 1, 2**25, 2**25))
    before = time.perf_counter()
    for call in (
        lambda: sepconv.pointwise_conv2d(huge, np.ones((4, 1), np.float32)),
        lambda: sepconv.conv2d(huge, np.ones((4, 1, 3, 3), np.float32)),
        lambda: sepconv.conv1d(x, np.ones((1, 1, 3), np.float32), padding=2**61),
        lambda: sepconv.conv1d(np.broadcast_to(np.int8(1), (2**30, 1, 2**30)), np.ones((3, 1, 1), np.int8)),
        lambda: sepconv.depthwise_conv2d(x[:, :, :, None], np.ones((1, 3, 1), np.float32), padding=((2**40, 0), (2**20, 2**20))),
    ):
        with pytest.raises(MemoryError):
            call()
    assert time.perf_counter() - before < 5


def test_padding_too_large(backend):
    """M18: a result that 64 bits can address, and no machine has."""
    with pytest.raises(MemoryError):
        sepconv.conv1d(np.ones((1, 1, 4), np.float32), np.ones((1, 1, 3), np.float32), padding=2**52)
