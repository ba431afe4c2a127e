"""The CUDA backend where there is no GPU: plans, and what a caller's array says of itself."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import oracle
import pytest
from cuda_children import child, compiled
from oracle import BFLOAT16, values

import sepconv
from sepconv.problem import resolve

# --- plans ---------------------------------------------------------------------------------------------------------


def test_division_by_multiplication():
    """The kernels' n // d for every 31-bit n: exact at the multiples of d, where it could fail first."""
    from sepconv.backends.cuda.tiles import magic

    for d in (*range(1, 400), 65535, 65536, 2**20 + 7, 2**30 - 1, 2**30, 2**31 - 1):
        m, s = magic(d)
        most = (2**31 - 1) // d
        for q in {0, 1, 2, most // 2, most - 1, most}:
            for n in {max(0, q * d - 1), q * d, q * d + 1, 2**31 - 1}:
                if n < 2**31:
                    assert (n * m) >> s == n // d and n * m < 2**63


@compiled
def test_grids_keep_their_limits():
    """U6, U8: very many planes, very large ones, more than 2**31 elements; the plan is made with nothing behind its addresses."""
    from sepconv.backends.cuda import plans, runtime

    f32 = np.dtype("float32")
    for shape, k in (
        ((70_000, 64, 8, 8), 3),
        ((1, 1, 70_000, 40_000), 3),
        ((2, 3, 3, 2_000_000), 3),
        ((1, 2_000_000, 2, 2), 3),
        ((8, 65_536, 64, 64), 5),
    ):
        for kind, weight in (("depthwise", (shape[1], 1, k, k)), ("pointwise", (7, shape[1]))):
            options = {"padding": k // 2} if kind == "depthwise" else {}
            plan = plans.imagined((resolve(kind, 2, (shape, f32), (weight, f32), **options),), False)
            runtime.check(plan.choice.grid, plan.choice.block)
    with pytest.raises(AssertionError):
        runtime.check((1, 65_536, 1), (32,))
    with pytest.raises(AssertionError):
        runtime.check((1, 1, 1), (32, 64))


# --- arrays --------------------------------------------------------------------------------------------------------


class Fake:
    """An array of nowhere."""

    def __init__(self, **changes: Any) -> None:
        self.__cuda_array_interface__ = dict(shape=(2, 3, 4), typestr="<f4", data=(4096, False), strides=None, version=3) | changes


def test_interface(monkeypatch):
    """U10, U11: strides None or a tuple, streams, versions 2 and 3, read-only, empty, masked, foreign byte order; the dtype is the array's own."""
    from sepconv.backends.cuda import runtime
    from sepconv.backends.cuda.arrays import view

    monkeypatch.setattr(runtime, "device_count", lambda: 1)
    plain = view("x", Fake())
    assert (plain.shape, plain.strides, plain.stream, plain.readonly, plain.dtype) == ((2, 3, 4), (48, 16, 4), None, False, np.float32)
    assert view("x", Fake(strides=(4, -8, 0), version=2)).strides == (4, -8, 0)
    assert [view("x", Fake(stream=s)).stream for s in (None, 1, 2, 140_000)] == [None, 1, 2, 140_000]
    assert view("x", Fake(data=(0, True), shape=(0, 3))).readonly
    with pytest.raises(ValueError, match="x has stream 0"):
        view("x", Fake(stream=0))
    with pytest.raises(TypeError, match="x is masked"):
        view("x", Fake(mask=Fake()))
    with pytest.raises(TypeError, match="foreign byte order"):
        view("x", Fake(typestr=">f4"))
    with pytest.raises(TypeError, match="__cuda_array_interface__"):
        view("x", np.ones(3))
    half = Fake(typestr="<f2")
    half.dtype = BFLOAT16
    assert view("x", half).dtype == BFLOAT16


@compiled
def test_streams_and_devices(monkeypatch):
    """U10, U13: x's stream waits for those of the other arrays, out's for x's, the host for none; arrays of two devices are a ValueError."""
    from dataclasses import replace

    from sepconv.backends.cuda import arrays, runtime

    monkeypatch.setattr(runtime, "device_count", lambda: 1)
    monkeypatch.setattr(runtime, "stream", lambda number: f"stream {number}")
    waits: list[Any] = []
    monkeypatch.setattr(runtime, "after", lambda later, earlier: waits.append((later, earlier)))
    x, weight, bias, out = (arrays.view("x", Fake(stream=s)) for s in (5, 7, None, 9))
    with arrays.queued([x, weight, bias], out) as stream:
        assert stream == "stream 5" and sorted(waits) == [("stream 5", "stream 7"), ("stream 5", "stream 9")]
    assert waits[2:] == [("stream 9", "stream 5")]
    waits.clear()
    with arrays.queued([x, x], replace(out, stream=5)):
        pass
    assert waits == []
    with pytest.raises(ValueError, match="weight is on device 1 and x on 0"):
        arrays.one_device([replace(x, device=0), replace(weight, name="weight", device=1)])


FORKED = """
import os, sys
from unittest import mock
from sepconv.backends.cuda import runtime
with mock.patch.object(runtime, "missing", lambda: None):
    if sys.argv[1] == "used":
        runtime.require()
    child = os.fork()
    if not child:
        try:
            runtime.require()
        except RuntimeError as error:
            print(error, flush=True)
            os._exit(3)
        os._exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked():
    """U14: a process whose parent had used CUDA before the fork gets a sentence, no crash; one whose parent had not may use it."""
    done = child("-W", "ignore", "-c", FORKED, "used")
    assert "spawn" in done.stdout and done.stdout.splitlines()[-1] == "3", done.stdout + done.stderr
    assert child("-W", "ignore", "-c", FORKED, "not").stdout.splitlines() == ["4"]


@compiled
def test_the_kernel_that_failed(monkeypatch):
    """U15: with SEPCONV_CUDA_SYNC=1 each launch is waited for, and its error names the kernel; without it nothing waits."""
    from sepconv.backends.cuda import runtime

    def fail() -> None:
        raise OSError("an illegal memory access")

    class Kernel:
        def __getitem__(self, at: Any) -> Any:
            return lambda words: None

    def depthwise(taps: int) -> Any:
        return None

    kernel = Kernel()
    monkeypatch.setattr(runtime.cuda, "synchronize", fail)
    monkeypatch.setattr(runtime.cuda, "jit", lambda **options: lambda body: kernel)
    monkeypatch.setattr(runtime, "_compiled", {})
    made = runtime.kernel(lambda factory, *cells: None, depthwise, 3)
    runtime.launch(made, (1, 1, 1), (32, 1, 1), 0, (1, 2))
    monkeypatch.setattr(runtime, "SYNCHRONOUS", True)
    with pytest.raises(RuntimeError, match=r"depthwise\(3\) failed in \(1, 1, 1\) blocks of .*illegal memory access"):
        runtime.launch(made, (1, 1, 1), (32, 1, 1), 0, (1, 2))
    assert child("-c", "from sepconv.backends.cuda import runtime; print(runtime.SYNCHRONOUS)").stdout.strip() == "False"


@compiled
def test_without_cuda():
    """U1: an array of a GPU's where nothing can run: what to install, or what is wrong; the CPU's work and `explain` are untouched."""
    from sepconv.backends.cuda import runtime

    reason = runtime.missing()
    if reason is None:
        pytest.skip("there is a GPU")
    assert "sepconv[cuda]" in reason or "no usable NVIDIA GPU" in reason
    facts = sepconv.backends()["cuda"]
    assert not facts["available"] and reason in facts["reason"]
    with pytest.raises(RuntimeError, match=re.escape(reason[:40])):
        sepconv.depthwise_conv2d(Fake(), Fake())
    code = "import sys, numpy, sepconv; sepconv.conv1d(numpy.ones((1, 2, 9)), numpy.ones((3, 2, 3))); print([m for m in sys.modules if 'cuda' in m])"
    done = child("-c", code + "\nassert not any(m.startswith(('sepconv.backends.cuda', 'numba_cuda')) for m in sys.modules)")
    assert done.returncode == 0, done.stderr


@compiled
def test_out_and_overlap():
    """`out` is returned as it is; one that is read-only, overlaps an input or itself is a ValueError before any work; residual may be out."""
    import cuda_grid
    from cuda_grid import Host

    r = np.random.default_rng(1)
    x, w = values(r, (1, 4, 6, 8), np.float32), values(r, (4, 4), np.float32)
    with cuda_grid.on_cpu():
        out = Host(values(r, (1, 4, 6, 8), np.float32))
        before = out.array.copy()
        assert sepconv.pointwise_conv2d(Host(x), Host(w), residual=out, out=out) is out
        oracle.compare(out.array, oracle.expected(sepconv.pointwise_conv2d, x, w, residual=before))
        for wrong, text in ((x, "out overlaps x"), (np.broadcast_to(x[:, :1], x.shape), "read-only"), (x[:, :, :, ::-1], "out overlaps x")):
            with pytest.raises(ValueError, match=text):
                sepconv.pointwise_conv2d(Host(x), Host(w), out=Host(wrong))
        folded = np.lib.stride_tricks.as_strided(before, (1, 4, 6, 8), (0, 0, 32, 4))
        with pytest.raises(ValueError, match="elements of it overlap"):
            sepconv.pointwise_conv2d(Host(x), Host(w), out=Host(folded))
        with pytest.raises(TypeError, match="weight is a numpy.ndarray"):
            sepconv.pointwise_conv2d(Host(x), w)


@compiled
def test_calls_are_remembered(monkeypatch):
    """A call like one before resolves nothing; another shape, stride, dtype, kind of array or a read-only out is another call."""
    import cuda_grid
    from cuda_grid import Host

    from sepconv import call
    from sepconv.backends.cuda import runtime

    class Other(Host):
        pass

    r = np.random.default_rng(2)
    x, w = values(r, (1, 4, 6, 8), np.float32), values(r, (4, 4), np.float32)
    seen: list[Any] = []
    resolve_all = call.resolve
    monkeypatch.setattr(call, "resolve", lambda *args, **options: seen.append(args) or resolve_all(*args, **options))
    with cuda_grid.on_cpu():
        for _ in range(3):
            other = values(r, x.shape, np.float32)
            oracle.compare(sepconv.pointwise_conv2d(Host(other), Host(w)).array, oracle.expected(sepconv.pointwise_conv2d, other, w))
            out = Host(np.empty_like(x))
            assert sepconv.pointwise_conv2d(Host(other), Host(w), out=out) is out
            with pytest.raises(ValueError, match="out overlaps x"):
                sepconv.pointwise_conv2d(Host(other), Host(w), out=Host(other))
        own = [args for args in seen if args[0] == "pointwise"]
        count = len(own)
        monkeypatch.setattr(runtime, "launch", lambda *call: None)
        for given in (x[..., :4], x[..., ::2], x.astype(np.float64), x[:, ::-1]):
            sepconv.pointwise_conv2d(Host(given), Host(w))
            assert len(seen) > count
            count = len(seen)
        sepconv.pointwise_conv2d(Other(x), Host(w))
        assert len(seen) > count
        locked = np.empty_like(x)
        locked.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            sepconv.pointwise_conv2d(Host(x), Host(w), out=Host(locked))


TORCH = """
import numpy, torch, sepconv
torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.complex64):
    x, w = torch.randn(2, 4, 5, 6, dtype=dtype), torch.randn(4, 1, 3, 3, dtype=dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = x.contiguous(memory_format=layout)
        y = sepconv.depthwise_conv2d(x, w, padding=1)
        want = torch.nn.functional.conv2d(x, w, padding=1, groups=4)
        assert type(y) is torch.Tensor and y.dtype == dtype and y.is_contiguous(memory_format=layout)
        assert torch.allclose(y, want, rtol=2e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-5, atol=5e-2 if y.element_size() == 2 else 1e-5)
lazy = torch.randn(1, 2, 9, dtype=torch.complex64).conj()
w = torch.randn(3, 2, 3, dtype=torch.complex64)
assert torch.allclose(sepconv.conv1d(lazy, w), torch.nn.functional.conv1d(lazy.resolve_conj(), w), atol=1e-5)
parameter = torch.nn.Parameter(torch.randn(3, 2, 3))
x = torch.randn(1, 2, 9)
with torch.no_grad():
    out = torch.empty(1, 3, 7)
    assert sepconv.conv1d(x, parameter, out=out) is out
for call, text in ((lambda: sepconv.conv1d(x, parameter), "requires a gradient"), (lambda: sepconv.conv1d(x, numpy.ones((3, 2, 3))), "torch.Tensor")):
    try:
        call()
    except TypeError as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)
print("right")
"""


@compiled
def test_torch_tensors():
    """U12: the tensor's own dtype, memory format, lazy conjugates, parameters; in the simulator, where the host's memory is the device's."""
    pytest.importorskip("torch", reason="tests of torch tensors need torch")
    done = child("-c", TORCH, simulator=True)
    assert done.stdout.strip() == "right", done.stdout + done.stderr
