"""Where the result goes: `out` in memory of every kind, and over the inputs."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
from arrays import arrays_of, rng, same_padding
from numpy.lib.stride_tricks import as_strided
from oracle import LAYOUTS, OPS, function, place, values

import sepconv


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
