"""Image filters and memory: nothing outside the arrays is read or written, whatever strides they have and wherever the output lies.

python tests/test_ndimage_memory.py 2000 500    random filters between fences, as the tests below run them in a child process
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fences
import filter_calls
import numpy as np
import pytest
from fences import Fenced, needs_mprotect
from filter_calls import FilterCall
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Placed
from processes import python

import sepconv
import sepconv.ndimage as ndi
import sepconv.signal as sig


def run_fenced(call: FilterCall) -> None:
    """The call with every array against a fence, before it and behind it; inputs cannot be written, nor what lies between the output's cells."""
    with np.errstate(all="ignore"):
        want = call.run()
        for at_end in (True, False):
            inputs = {name: Fenced(np.asarray(a), at_end) for name, a in {"x": call.x, **call.options}.items() if name in ("x", "weights")}
            for fenced in inputs.values():
                fenced.freeze()
            target = call.options.get("output")
            out = Fenced(target if isinstance(target, np.ndarray) else np.zeros_like(want), at_end)
            placed = Placed(out.array, out.bytes)
            result = call.run(**{name: fenced.array for name, fenced in inputs.items()}, output=out.array)
            assert result is out.array
            placed.assert_guards()
            filter_calls.bits(result, want)


def random_fenced(small: int, large: int, free: bool = False) -> None:
    """In the child: so many random calls of each sort."""
    done = itertools.count()
    with sepconv.use_backend("cpu"):
        for calls, most in ((filter_calls.small(), small), (filter_calls.large(free), large)):
            fences.drawn(calls, most, run_fenced, done)
    print(next(done), "calls between fences", flush=True)


@needs_mprotect
def test_between_fences() -> None:
    """The exact engine and the sweeps."""
    assert fences.survived(python(__file__, "150", "90")) >= 240


@needs_mprotect
@pytest.mark.sweep
def test_between_fences_sweep() -> None:
    assert fences.survived(python(__file__, "800", "250", "free", timeout=3600)) >= 1050


@needs_mprotect
def test_signals_between_fences() -> None:
    assert fences.survived(python(__file__, "signal")) >= 20


def signals_fenced() -> None:
    """In the child: the functions of sepconv.signal, whose inputs cannot be written."""
    rng, done = np.random.default_rng(0), 0
    for at_end, dtype in itertools.product((True, False), ("float32", "float64", "uint8", "complex64")):
        x, w, long = (_drawn(rng, shape, dtype) for shape in ((70, 67), (5, 4), (5000,)))
        inputs = [Fenced(a, at_end) for a in (x, w, long)]
        for fenced in inputs:
            fenced.freeze()
        for name, arrays, more in (
            ("convolve", (0, 1), {}), ("correlate", (1, 0), {"mode": "valid"}), ("convolve2d", (0, 1), {"boundary": "symm"}),
            ("correlate2d", (0, 1), {"boundary": "wrap", "mode": "same"}), ("oaconvolve", (0, 1), {}),
        ):  # fmt: skip
            got, want = (getattr(sig, name)(*(source[i] for i in arrays), **more) for source in ([f.array for f in inputs], (x, w, long)))
            np.testing.assert_array_equal(got, want)
            done += 1
        for source in ([f.array for f in inputs], (x, w, long)):
            made = sig.sepfir2d(source[0], [1.0, 2, 1], [1.0, 0, -1]), sig.lfilter([1.0, 0.5, 0.25], 1, source[2])
        np.testing.assert_array_equal(made[0], sig.sepfir2d(x, [1.0, 2, 1], [1.0, 0, -1]))
        done += 2
    print(done, "calls between fences", flush=True)


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return filter_calls.pixels(_Fixed(rng), shape, np.dtype(dtype))


class _Fixed:
    """What draws the seed of an image, outside of hypothesis."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, strategy: Any) -> Any:
        return 1.0 if "sampled" in repr(strategy) else int(self.rng.integers(2**32))


# --- overlaps -------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(call=st.one_of(filter_calls.small(), filter_calls.large()), data=st.data())
def test_the_output_lies_over_the_input(call: FilterCall, data: st.DataObject) -> None:
    """Shifted by some elements, turned round, or the input's own: the result is that of a copy (M14, S17)."""
    x = np.ascontiguousarray(call.x)
    made = call.run()
    shift, back = data.draw(st.integers(0, 12)) * made.itemsize, data.draw(st.booleans())
    memory = np.zeros(max(x.nbytes, made.nbytes) + 12 * 16, np.uint8)
    source = np.ndarray(x.shape, x.dtype, memory)
    out = np.ndarray(made.shape, made.dtype, memory, shift)
    source[...] = x
    source = source[(slice(None, None, -1),) * x.ndim] if back else source
    with np.errstate(all="ignore"):
        want = FilterCall(call.name, source.copy(), call.options).run()
        assert call.run(x=source, output=out) is out
    filter_calls.bits(out, want)


def test_views_beside_each_other() -> None:
    """The input in the even cells, the output in the odd ones; the input keeps its values (M15)."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "uint8", "float64"):
        both = np.zeros((70, 140), dtype)
        both[:, ::2] = rng.integers(0, 200, (70, 70))
        x = both[:, ::2].copy()
        for call in (lambda x, out: ndi.gaussian_filter(x, 2.0, output=out), lambda x, out: ndi.correlate(x, np.ones((3, 3)), output=out)):
            call(both[:, ::2], both[:, 1::2])
            np.testing.assert_array_equal(both[:, ::2], x)
            np.testing.assert_array_equal(both[:, 1::2], call(x, None))


def test_what_is_refused_is_refused_before_any_work() -> None:
    """An output that folds, one that cannot be written: it keeps what it has (M6, M16)."""
    x = np.ones((70, 70), np.float32)
    memory = np.full(140, 7, np.float32)
    frozen = np.full((70, 70), 7, np.float32)
    frozen.flags.writeable = False
    for out in (np.lib.stride_tricks.as_strided(memory, (70, 70), (0, 4)), frozen):
        for call in (ndi.sobel, lambda x, output: ndi.gaussian_filter(x, 1.0, output=output), lambda x, output: ndi.correlate(x, np.eye(3), output)):
            with pytest.raises(ValueError, match="read-only|elements have to be apart"):
                call(x, output=out)
    assert (memory == 7).all() and (frozen == 7).all()


def test_inputs_of_stride_zero() -> None:
    """A broadcast row, plane or number is an image as any (M6)."""
    row = np.random.default_rng(1).random(80).astype(np.float32)
    for view in (np.broadcast_to(row, (60, 80)), np.broadcast_to(row[:, None], (80, 60)), np.broadcast_to(np.float32(3), (70, 70))):
        for fn in (ndi.sobel, lambda x: ndi.gaussian_filter(x, 2.0), lambda x: ndi.uniform_filter(x, 9), lambda x: ndi.correlate(x, np.eye(3))):
            np.testing.assert_array_equal(fn(view), fn(view.copy()))


@pytest.mark.parametrize("dtype", ("float32", "float64", "uint8"))
def test_offsets_past_int32(dtype: str) -> None:
    """M17: rows and planes a gigabyte apart; only the pages that are touched exist."""
    rng, far = np.random.default_rng(2), np.zeros(3 * 2**30, np.uint8)
    item = np.dtype(dtype).itemsize
    for shape, strides in (((3, 2000), (2**30 - 2**14, item)), ((3, 40, 60), (2**30 - 2**16, 60 * item, item))):
        x = (rng.random(shape) * 200).astype(dtype)
        spread, out = (np.ndarray(shape, dtype, far, start, strides) for start in (0, 2**20))
        spread[...] = x
        for fn in (lambda x, out: ndi.gaussian_filter(x, 1.0, output=out), lambda x, out: ndi.correlate(x, np.ones((3,) * x.ndim) / 9, out)):
            assert fn(spread, out) is out
            np.testing.assert_array_equal(out, fn(x, None))


def test_many_threads_and_their_own_exactness() -> None:
    """M20: different filters at once; exact() holds in the thread that asked for it."""
    x = np.random.default_rng(3).standard_normal((70, 80)).astype(np.float32)
    calls = [lambda: ndi.gaussian_filter(x, 2.0), lambda: ndi.uniform_filter(x, 9), lambda: ndi.sobel(x), lambda: ndi.correlate(x, np.eye(3)),
             lambda: ndi.gaussian_filter(x.astype(np.uint8), 3.0), lambda: sig.sepfir2d(x, [1.0, 2, 1], [1.0, 0, -1])]  # fmt: skip
    want = [call() for call in calls]
    with ndi.exact():
        precise = [call() for call in calls]
    assert not np.array_equal(want[0], precise[0])

    def work(number: int) -> bool:
        call, exactly = number % len(calls), number % 5 == 0
        with ndi.exact() if exactly else contextlib.nullcontext():
            return np.array_equal(calls[call](), (precise if exactly else want)[call])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(600)))


if __name__ == "__main__":
    if sys.argv[1] == "signal":
        signals_fenced()
    else:
        random_fenced(*map(int, sys.argv[1:3]), "free" in sys.argv)
