"""Memory that may not be touched: random calls with every array against a fence of unmapped pages.

python tests/test_fences.py cpu 2000 100    random calls between fences, as the tests below run them in a child process
python tests/test_fences.py fault after     a read past the fence, on purpose
"""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator
from typing import Any

import cells
import fences
import numpy as np
import oracle
import pytest
from arrays import rng
from fences import Fenced, drawn, needs_mprotect
from hypothesis import strategies as st
from oracle import LAYOUTS, OPS, Call, Placed, values
from processes import python

import sepconv


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


def lone_calls() -> Iterator[Call]:
    """One pixel, whose weights are read where they lie, rows apart: input channels around vectors and lines of cache, outputs around tiles."""
    for dtype, outputs in (("float32", 5), ("float32", 12), ("float32", 75), ("float32", 150), ("float64", 75)):
        for channels in (2, 7, 16, 33, 75):
            shapes = {"x": (1, 1, 1, channels), "weight": (outputs, 2 * channels), "residual": (1, 1, 1, outputs)}
            arrays = {name: values(rng(channels, outputs), shape, np.dtype(dtype)) for name, shape in shapes.items()}
            arrays["weight"] = arrays["weight"][:, channels:]
            yield Call("pointwise_conv", 2, arrays, {"layout": "NHWC", "activation": "relu"})


MIXED = [(name, name) for name in ("float32", "float64", "float16", "bfloat16", "int8", "complex64")]


def random_fenced(backend: str, count: int, free: int) -> None:
    """In the child: `count` random calls of each sort on shared kernels, and `free` on any."""
    rounds = [(oracle.calls(pairs=MIXED), count), (cells.few(wide_calls(False)), count), (wide_calls(True), free)]
    done = itertools.count()
    with sepconv.use_backend(backend):
        for call in lone_calls() if count else ():
            print(call, flush=True)
            run_fenced(call)
            next(done)
        for calls, most in rounds:
            if most:
                drawn(calls, most, run_fenced, done)
            print(next(done), "calls between fences", sepconv.backends()["cpu"].get("cache_misses"), "kernels compiled", flush=True)


@needs_mprotect
@pytest.mark.parametrize("where", ("after", "before", "write after", "write input"))
def test_fences_hold(where):
    """The fences catch what they are there for: the child dies of a signal."""
    assert python(__file__, "fault", where).returncode in (-signal.SIGSEGV, -signal.SIGBUS)


def _between_fences(backend: str, count: int, free: int = 0) -> None:
    assert fences.survived(python(__file__, backend, str(count), str(free), timeout=3600)) >= count


@needs_mprotect
def test_between_fences(backend):
    """M16, design 7: no call reads or writes outside its arrays, or between out's cells, or into its inputs."""
    _between_fences(backend, 70)


@pytest.mark.sweep
@needs_mprotect
def test_between_fences_sweep(backend):
    _between_fences(backend, 400, 40)


if __name__ == "__main__":
    if sys.argv[1] == "fault":
        fences.fault(sys.argv[2])
    else:
        random_fenced(sys.argv[1], *map(int, sys.argv[2:]))
