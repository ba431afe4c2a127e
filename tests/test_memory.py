"""Arrays in memory of every kind, and memory that may not be touched: fences of unmapped pages, guard cells, overlaps, sizes past 2**31.

python tests/test_memory.py cpu 2000 100    random calls between fences, as the tests below run them in a child process
python tests/test_memory.py fault after     a read past the fence, on purpose
"""

from __future__ import annotations

import itertools
import signal
import sys
import time
from typing import Any

import cells
import fences
import numpy as np
import oracle
import pytest
from fences import Fenced, needs_mprotect
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from oracle import LAYOUTS, OPS, Call, Placed, arrange, check, function, place, values

import sepconv


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def bits(array: np.ndarray) -> bytes:
    """The elements in C order, in native byte order."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("=")).tobytes()


def arrays_of(op: str, *seed: int, channels: int = 6, size: tuple[int, ...] = (9, 19), dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Random arrays by argument name, every one that the operation takes: batch 2, kernel 3 on each axis, 5 outputs (or one filter a channel)."""
    r, taps = rng(*seed), (3,) * len(size)
    shapes = {"x": (2, channels, *size)} | {
        "conv": {"weight": (5, channels, *taps), "bias": (5,)},
        "depthwise_conv": {"weight": (channels, 1, *taps), "bias": (channels,)},
        "pointwise_conv": {"weight": (5, channels), "bias": (5,), "residual": (2, 5, *size)},
        "separable_conv": {
            "depthwise": (channels, *taps), "pointwise": (5, channels), "bias": (5,), "depthwise_bias": (channels,), "residual": (2, 5, *size),
        },
    }[op]  # fmt: skip
    return {name: values(r, shape, dtype, small=True) for name, shape in shapes.items()}


def same_padding(op: str) -> dict[str, Any]:
    """Options under which the result has x's size, as `arrays_of` makes the residual."""
    return {} if op == "pointwise_conv" else {"padding": "same"}


# --- fences -------------------------------------------------------------------------------------------------------


def run_fenced(call: Call) -> None:
    """The call with every array against a fence, before it and behind it; inputs cannot be written, nor what lies between out's cells."""
    want = call.exact()
    residual = call.arrays.get("residual")
    shared = residual is not None and residual.dtype == want.dtype and residual.flags.writeable  # then it may be out itself
    for at_end, is_out in itertools.product((True, False), (False, True) if shared else (False,)):
        inputs = {name: Fenced(array, at_end) for name, array in call.arrays.items()}
        target = np.zeros(want.wide.shape, want.dtype) if call.out is None else call.out.array
        out = inputs["residual"] if is_out else Fenced(target, at_end)
        for fenced in inputs.values():
            if fenced is not out:
                fenced.freeze()
        arrays = {name: fenced.array for name, fenced in inputs.items()}
        oracle.compare(Call(call.op, call.dims, arrays, call.options, Placed(out.array, out.bytes)).run(), want)


@st.composite
def wide_calls(draw: Any, free: bool) -> Call:
    """Maps of several vectors, where the register tiles and their tails are. Every dtype, kernel size and stride is a kernel to compile: if not
    `free`, only those of the shared table are drawn."""
    op, dims = draw(st.sampled_from(OPS)), draw(st.sampled_from((1, 2, 2, 2, 3)))
    seed, last = draw(st.integers(0, 2**32 - 1)), draw(st.booleans())
    channels = draw(st.integers(1, 12 if op == "conv" else 70 if last else 20))
    size = (draw(st.integers(1, 4)), draw(st.integers(1, 18)), draw(st.integers(1, 40 if last else 110)))[3 - dims :]
    dtype = np.dtype(draw(st.sampled_from(("float32", "float32", "float64"))))
    kernel, stride = draw(st.sampled_from(list(itertools.product((1, 2, 3, 4, 5, 7), (1, 1, 2, 3))) if free else ((3, 1), (3, 1), (3, 2), (5, 1))))
    shapes = {
        "conv": {"weight": (draw(st.integers(1, 9)), channels, *(kernel,) * dims)},
        "depthwise_conv": {"weight": (channels, *(kernel,) * dims)},
        "pointwise_conv": {"weight": (draw(st.integers(1, 70)), channels)},
        "separable_conv": {"depthwise": (channels, *(kernel,) * dims), "pointwise": (draw(st.integers(1, 40)), channels)},
    }[op]
    r = rng(seed)
    arrays = {name: values(r, shape, dtype) for name, shape in {"x": (2, *size, channels) if last else (2, channels, *size), **shapes}.items()}
    options = {"layout": LAYOUTS[dims][last], "activation": draw(st.sampled_from((None, "relu", "gelu")))}
    if op != "pointwise_conv":
        options |= {"stride": stride, "padding": kernel // 2}
    elif draw(st.booleans()):
        outputs = shapes["weight"][0]
        arrays["residual"] = values(r, (2, *size, outputs) if last else (2, outputs, *size), dtype)
    return Call(op, dims, arrays, options)


MIXED = [(name, name) for name in ("float32", "float64", "float16", "bfloat16", "int8", "complex64")]


def random_fenced(backend: str, count: int, free: int) -> None:
    """In the child: `count` random calls of each sort on shared kernels, and `free` on any; the one that runs is on the last line of the output
    if it kills the process."""
    rounds = [(oracle.calls(pairs=MIXED), count), (cells.few(wide_calls(False)), count), (wide_calls(True), free)]
    done = itertools.count()

    def fenced(call: Call) -> None:
        print(call, flush=True)
        run_fenced(call)
        next(done)

    with sepconv.use_backend(backend):
        for calls, most in rounds:
            if most:
                run = settings(
                    max_examples=most, deadline=None, derandomize=True, database=None, phases=(Phase.generate, Phase.shrink),
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                run(given(call=calls)(lambda call: fenced(call)))()
            print(next(done), "calls between fences", sepconv.backends()["cpu"].get("cache_misses"), "kernels compiled", flush=True)


@needs_mprotect
@pytest.mark.parametrize("where", ("after", "before", "write after", "write input"))
def test_fences_hold(where):
    """The fences catch what they are there for: the child dies of a signal."""
    assert fences.child(__file__, "fault", where).returncode in (-signal.SIGSEGV, -signal.SIGBUS)


def _between_fences(backend: str, count: int, free: int = 0) -> None:
    assert fences.survived(fences.child(__file__, backend, str(count), str(free), timeout=3600)) >= count


@needs_mprotect
def test_between_fences(backend):
    """M16, design 7: no call reads or writes outside its arrays, or between out's cells, or into its inputs."""
    _between_fences(backend, 100)


@pytest.mark.sweep
@needs_mprotect
def test_between_fences_sweep(backend):
    _between_fences(backend, 400, 40)


# --- strides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("last", (False, True))
def test_strides_of_single_axes(backend, op, last):
    """M1, M2: what stands as the stride of an axis of size 1 has no meaning; NumPy calls such arrays contiguous."""
    cases = ((6, (1, 7)), (1, (1, 1))) if op == "separable_conv" else ((1, (5, 7)), (6, (1, 1)), (6, (1, 7)), (1, (1, 1)))  # a kernel each
    for channels, size in cases:
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
def test_layout_is_in_the_strides(backend, op):
    """M2: both layouts over both memory orders, with and without axes of size 1: one answer."""
    for batch, channels, size in itertools.product((1, 2), (1, 5), ((1, 1), (6, 37), (1, 21))):
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


# --- where the result goes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", (np.float32, oracle.BFLOAT16, np.uint8), ids=str)
@pytest.mark.parametrize("dims", (1, 2, 3))
def test_out(backend, op, dtype, dims):
    """M13: any strides; out is returned; the cells between keep their bytes."""
    arrays = arrays_of(op, dims, size=(3, 6, 21)[3 - dims :], dtype=dtype)
    want = oracle.expected(function(op, dims), **arrays, **same_padding(op))
    for names in itertools.combinations(("fortran", "rotated", "negative", "stepped", "margin", "unaligned", "swapped"), 2):
        out = place(np.zeros(want.wide.shape, want.dtype), names)
        assert function(op, dims)(**arrays, **same_padding(op), out=out.array) is out.array
        out.assert_guards()
        oracle.compare(out.array, want)


@pytest.mark.parametrize("op", OPS)
def test_out_that_folds(backend, op):
    """M6: an out whose elements share memory would be written twice."""
    arrays = arrays_of(op, 10)
    shape = function(op, 2)(**arrays, **same_padding(op)).shape
    memory = np.full(int(np.prod(shape)), 7, np.float32)
    steps = np.zeros(shape, np.float32).strides
    for folded in ((0, 0, 0, 0), (*steps[:2], 4, 4), (0, *steps[1:]), (*steps[:3], 2)):
        with pytest.raises(ValueError, match="out has strides"):
            function(op, 2)(**arrays, **same_padding(op), out=as_strided(memory, shape, folded))
    assert (memory == 7).all()


def overlapping(op: str, name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A call's arrays, and an `out` that shares some of the memory of the argument `name`, shifted by one image row."""
    arrays = arrays_of(op, 11, channels=5)
    a = arrays[name]
    shape = (2, 5, 9, 19)
    memory = np.zeros(int(np.prod(shape)) + a.size + 19, np.float32)
    start = 19 if a.size >= 19 else 0
    arrays[name] = memory[start : start + a.size].reshape(a.shape)
    arrays[name][...] = a
    return arrays, memory[: int(np.prod(shape))].reshape(shape)


@pytest.mark.parametrize("op, name", [(op, name) for op in OPS for name in arrays_of(op, 0)])
def test_out_over_an_input(backend, op, name):
    """M14: exact, or a ValueError that names out, and then nothing is written."""
    arrays, out = overlapping(op, name)
    before = {n: a.copy() for n, a in arrays.items()}
    want = oracle.expected(function(op, 2), **before, **same_padding(op))
    try:
        result = function(op, 2)(**arrays, **same_padding(op), out=out)
    except ValueError as error:
        assert "out" in str(error) and name in str(error)
        assert all((arrays[n] == before[n]).all() for n in arrays)
    else:
        oracle.compare(result, want)


@pytest.mark.parametrize("op", OPS)
def test_out_is_x(backend, op):
    """M14: x itself, x shifted by one: exact, or a ValueError naming out and x."""
    arrays = arrays_of(op, 12, channels=5, size=(8, 16))
    whole = np.zeros((2, 5, 8, 17), np.float32)
    for cut in (slice(0, 16), slice(1, 17)):
        whole[..., :16] = arrays["x"]
        given_ = {**arrays, "x": whole[..., :16]}
        want = oracle.expected(function(op, 2), **{n: a.copy() for n, a in given_.items()}, **same_padding(op))
        try:
            oracle.compare(function(op, 2)(**given_, **same_padding(op), out=whole[..., cut]), want)
        except ValueError as error:
            assert "out overlaps x" in str(error)


@pytest.mark.parametrize("op", ("pointwise_conv", "separable_conv"))
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("dtype", (np.float32, pytest.param(np.float64, marks=pytest.mark.sweep), np.int8, oracle.BFLOAT16), ids=str)
def test_residual_is_out(backend, op, last, dtype, sweep):
    """M14, D6: the residual may be out itself, and is added once, also where the last tile of a row overlaps the one before."""
    tuned = np.dtype(dtype).name in ("float32", "float64")  # every tile is a kernel to compile there
    few = (6, (9, 18)), (33, (9, 19))
    for channels, size in few if tuned and not sweep else itertools.product((1, 5, 17, 33), ((1, 1), (3, 7), (5, 17), (2, 50))):
        arrays = arrays_of(op, channels, channels=channels, size=size, dtype=dtype)
        arrays.pop("residual")
        last_weight = "weight" if op == "pointwise_conv" else "pointwise"
        arrays |= {name: np.concatenate([arrays[name]] * (3 if sweep or not tuned else 1)) for name in (last_weight, "bias")}
        shape = (2, *size, len(arrays["bias"])) if last else (2, len(arrays["bias"]), *size)
        arrays["x"] = np.ascontiguousarray(np.moveaxis(arrays["x"], 1, -1)) if last else arrays["x"]
        options = {**same_padding(op), "layout": LAYOUTS[2][last]}
        residual = values(rng(channels), shape, np.int32 if dtype == np.int8 else dtype, small=True)
        want = oracle.expected(function(op, 2), **arrays, **options, residual=residual.copy())
        assert function(op, 2)(**arrays, **options, residual=residual, out=residual) is residual
        oracle.compare(residual, want)


def test_residual_over_part_of_out(backend):
    """M14: a residual that shares only some cells of out."""
    arrays, out = overlapping("pointwise_conv", "residual")
    with pytest.raises(ValueError, match="out overlaps residual"):
        sepconv.pointwise_conv2d(**arrays, out=out)
    with pytest.raises(ValueError, match="out overlaps residual"):
        sepconv.pointwise_conv2d(**arrays, out=arrays["residual"][..., ::-1])


@pytest.mark.parametrize("op", OPS)
def test_interleaved_views_do_not_overlap(backend, op):
    """M15: x in the even cells and out in the odd ones, though numpy.may_share_memory says that they might."""
    arrays = arrays_of(op, 13, channels=5)
    shape = arrays["x"].shape
    for axis in range(4):
        both = np.zeros([n * (2 if i == axis else 1) for i, n in enumerate(shape)], np.float32)
        even, odd = (both[(slice(None),) * axis + (slice(i, None, 2),)] for i in (0, 1))
        even[...] = arrays["x"]
        assert np.may_share_memory(even, odd)
        want = oracle.expected(function(op, 2), **arrays, **same_padding(op))
        oracle.compare(function(op, 2)(**arrays | {"x": even}, **same_padding(op), out=odd), want)
        np.testing.assert_array_equal(even, arrays["x"])


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


if __name__ == "__main__":
    if sys.argv[1] == "fault":
        fences.fault(sys.argv[2])
    else:
        random_fenced(sys.argv[1], *map(int, sys.argv[2:]))
