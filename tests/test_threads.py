"""Threads: how many are used, that results do not depend on it, and calls from several at once."""

from __future__ import annotations

import gc
import os
import pathlib
import platform
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
from processes import ONE_CALL, THREADED, run

import sepconv
from sepconv import problem
from sepconv.backends.cpu import products
from sepconv.backends.cpu.frame import BAND, BANDS, GROUP
from sepconv.backends.cpu.machine import Machine
from sepconv.cache import Cache

# --- how many threads (R15, R18, R19) -----------------------------------------------------------------------------------


@THREADED
def test_setting_is_the_process():
    """R15: `set_num_threads` holds in threads that start later and in those that were there; Numba's own is not touched."""
    script = """
    import threading
    from concurrent.futures import ThreadPoolExecutor
    limit = sepconv.get_num_threads()
    early = ThreadPoolExecutor(1)
    seen = [early.submit(sepconv.get_num_threads).result()]
    call()
    import numba
    numbas = numba.get_num_threads()
    sepconv.set_num_threads(1)
    seen += [early.submit(sepconv.get_num_threads).result(), ThreadPoolExecutor(1).submit(sepconv.get_num_threads).result()]
    good = [right(call()), early.submit(lambda: right(call())).result()]
    sepconv.set_num_threads(limit)
    tell(limit=limit, seen=seen, good=good, numba=[numbas, numba.get_num_threads()])
    """
    found = run(script)
    assert found["seen"] == [found["limit"], 1, 1] and all(found["good"])
    assert found["numba"][0] == found["numba"][1]


@THREADED
def test_setting_of_a_task():
    """R15: `num_threads` is the task's own, ends with an exception too, nests, and wins over `set_num_threads`."""
    before = sepconv.get_num_threads()
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ZeroDivisionError), sepconv.num_threads(1):
            assert sepconv.get_num_threads() == 1
            assert pool.submit(sepconv.get_num_threads).result() == before
            with sepconv.num_threads(2):
                assert sepconv.get_num_threads() == 2
            sepconv.set_num_threads(before)
            assert sepconv.get_num_threads() == 1
            _ = 1 / 0
    assert sepconv.get_num_threads() == before


def test_defaults_of_the_surroundings():
    """R19: OMP_NUM_THREADS and the affinity count; NUMBA_NUM_THREADS is the most."""
    script = "tell(n=sepconv.get_num_threads(), right=right(call()))"
    assert run(script, env={"OMP_NUM_THREADS": "1"}) == {"n": 1, "right": True, "stderr": ""}
    assert run(script, env={"NUMBA_NUM_THREADS": "1"})["n"] == 1
    if hasattr(os, "sched_setaffinity"):
        core = min(os.sched_getaffinity(0))
        assert run(script, preexec_fn=lambda: os.sched_setaffinity(0, {core}))["n"] == 1


def test_quota_of_the_container(monkeypatch):
    """R19: a quota of 1.5 cores is two threads, "max" is none."""
    import io

    from sepconv import threads

    for text, quota in (("150000 100000\n", 2), ("max 100000\n", None), ("50000 100000", 1), ("", None)):
        monkeypatch.setattr(threads, "open", lambda *_, text=text: io.StringIO(text), raising=False)
        assert threads._quota() == quota


@THREADED
def test_other_pools_keep_their_threads():
    """R18: Numba and PyTorch share an OpenMP, and starting the one resets the other."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    script = """
    import torch
    torch.set_num_threads(1)
    torch.ones(100, 100) @ torch.ones(100, 100)
    good = right(call())
    after = torch.get_num_threads()
    torch.set_num_threads(2)
    sepconv.set_num_threads(1)
    good &= right(call())
    tell(good=good, threads=[after, torch.get_num_threads()])
    """
    assert run(script) == {"good": True, "threads": [1, 2], "stderr": ""}


@THREADED
def test_openmp_keeps_its_threads():
    """R18: the same without PyTorch, whose wheels may bring an OpenMP of their own: then nothing is shared, and nothing could be lost."""
    script = """
    import ctypes
    from numba.np.ufunc import omppool
    openmp = ctypes.CDLL(omppool.__file__)
    openmp.omp_set_num_threads(1)
    tell(good=right(call()), threads=openmp.omp_get_max_threads(), layer=facts()["threading_layer"])
    """
    found = run(script, env={"NUMBA_THREADING_LAYER": "omp"})
    if found["layer"] != "omp":
        pytest.skip("no OpenMP here")
    assert found == {"good": True, "threads": 1, "layer": "omp", "stderr": ""}


@THREADED
def test_openmp_before_numbas_choice():
    """Numba would take TBB wherever a library has loaded it, as OpenVINO does; its launch takes more than half of a small layer's time."""
    script = """
    from numba.np.ufunc import parallel
    try:
        from numba.np.ufunc import omppool
    except ImportError:
        omppool = None
    tell(good=right(call()), layer=facts()["threading_layer"], openmp=hasattr(omppool, "__file__"), asked=parallel._is_initialized)
    """
    found = run(script)
    if not found["openmp"] or sys.platform == "win32":
        pytest.skip("no OpenMP here that can be called directly")
    assert found["good"] and (found["layer"], found["asked"]) == ("omp", False)


# --- the same bits (N8, N9) ----------------------------------------------------------------------------------------------

MANY_CALLS = """
def some(dtype):
    r = np.random.default_rng(2)
    a = (4 * r.standard_normal((2, 24, 20, 29))).astype(dtype)
    d, p, s = ((4 * r.standard_normal(n)).astype(dtype) for n in ((24, 3, 3), (21, 24), (6, 24, 3, 3)))
    last = np.ascontiguousarray(np.moveaxis(a, 1, -1))
    yield sepconv.depthwise_conv2d(a, d, padding=1, activation="relu6")
    yield sepconv.conv2d(a, s, padding=1)
    if dtype is not np.float32:
        return  # the plain loops, which are one kernel for everything
    yield sepconv.depthwise_conv2d(last, d, padding=1, layout="NHWC")
    yield sepconv.depthwise_conv2d(a, d, padding=(40, 2), padding_mode="reflect", dilation=2)
    yield sepconv.pointwise_conv2d(a, p[:5])
    yield sepconv.pointwise_conv2d(last, p, layout="NHWC", activation="relu")
    yield sepconv.separable_conv2d(a, d, p, padding="same")
    yield sepconv.separable_conv2d(last, d, p, padding="same", layout="NHWC")
    yield sepconv.depthwise_conv1d(a[0, :, 0], d[:, 0], padding="causal")
def many():
    for dtype in (np.float32, np.int16, np.float16):
        yield from some(dtype)
"""


@THREADED
def test_bits_by_threads():
    """N8: one thread, two, each threading layer: every op, both layouts."""
    script = """
    one = []
    with sepconv.num_threads(1):
        one = [bits(y) for y in many()]
    two = [bits(y) for y in many()]
    f = facts()
    tell(different=[i for i, (a, b) in enumerate(zip(one, two)) if a != b], all=bits(np.frombuffer("".join(two).encode(), np.uint8)),
         threads=f["threads"], layer=f["threading_layer"])
    """
    found = [
        run(MANY_CALLS + script.replace("\n    ", "\n"), env={"NUMBA_NUM_THREADS": "2", **e}) for e in ({}, {"NUMBA_THREADING_LAYER": "workqueue"})
    ]
    assert [f["different"] for f in found] == [[], []] and [f["threads"] for f in found] == [2, 2]
    assert found[1]["layer"] == "workqueue" and len({f["all"] for f in found}) == 1


MACHINES = [Machine("AVX2", 32, 16, "haswell"), Machine("AVX-512", 64, 32, "znver4")]
F4 = np.dtype(np.float32)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.isa)
@pytest.mark.parametrize("inputs, outputs", [(480, 112), (480, 80), (384, 96), (240, 80)])
def test_products_are_shared_out_evenly(machine, inputs, outputs):
    """No thread of two has 3 % more outputs than its share, also where panels of output channels are an odd number, or the last is a narrow one."""
    p, pixels = problem.resolve("pointwise", 1, ((1, 196, inputs), F4), ((outputs, inputs), F4), layout="NWC"), 196
    choice = products.choose_pointwise(p, machine, machine.lanes("float32"), 2, True, (1, outputs, 1, 1, pixels), True)
    bands, band, inner, width = choice.cut[BANDS], choice.cut[BAND], choice.cut[GROUP], choice.cells[2] * choice.cells[4]
    shares = [0, 0]
    for job in range(choice.jobs):
        rest, group = divmod(job, inner or 1)
        group, at = (group, rest) if inner else divmod(rest, bands)
        shares[job * 2 // choice.jobs] += min(band, pixels - at * band) * min(width, outputs - group * width)
    assert sum(shares) == pixels * outputs and max(shares) < 1.03 * sum(shares) / 2


def test_bands_of_few_rows_are_cut_by_pixels():
    """Of seven rows a thread would have four; where tiles may have a row less, bands begin at any pixel."""
    options = dict(layout="NHWC", padding=1)
    first = problem.resolve("depthwise", 2, ((1, 7, 7, 960), F4), ((960, 3, 3), F4), **options)
    second = problem.resolve("pointwise", 2, ((1, 7, 7, 960), F4), ((320, 960), F4), layout="NHWC")
    assert [products.band_rows(first, second, 2, 16, 2, machine, 2) for machine in MACHINES] == [(6, 1), (13, 13)]
    assert products.band_rows(first, second, 2, 3, 2, MACHINES[0], 2) == (6, 0)  # no room for the row that two bands share


# ldmxcsr [rdi]; ret and stmxcsr [rdi]; ret: the calling thread's flush-to-zero bits, which no Python call sets.
MXCSR = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0x0F, 0xAE, 0x17, 0xC3, 0x0F, 0xAE, 0x1F, 0xC3]))
start = ctypes.addressof(ctypes.c_char.from_buffer(page))
word = ctypes.c_uint32(0)
load, save = (ctypes.CFUNCTYPE(None, ctypes.c_void_p)(start + at) for at in (0, 4))
def mxcsr(value=None):
    if value is not None:
        word.value = value
        load(ctypes.addressof(word))
    save(ctypes.addressof(word))
    return word.value
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or os.name != "posix", reason="the flush-to-zero bit is set by x86-64 code here")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=THREADED)])
def test_flush_to_zero_of_the_caller(workers):
    """N9, D12: subnormals are kept whatever the calling thread has set, in its part of the work and in the others'; and it is left set."""
    script = """
    plain = mxcsr() & ~0x3F  # without the sticky flags
    results = {}
    def small(dtype):
        tiny = np.finfo(dtype).smallest_subnormal
        return ((rng.integers(1, 1000, (1, 16, 64, 64)) * tiny).astype(dtype), np.ones((16, 3, 3), dtype), np.ones((16, 16), dtype))
    inputs = [small(np.float32)]
    def all_calls():
        for a, d, p in inputs:
            last = np.ascontiguousarray(np.moveaxis(a, 1, -1))
            yield sepconv.depthwise_conv2d(a, d)
            yield sepconv.depthwise_conv2d(last, d, padding=1, layout="NHWC")
            yield sepconv.pointwise_conv2d(a, p[:5])
            yield sepconv.pointwise_conv2d(last, p, layout="NHWC")
            yield sepconv.conv2d(a, np.ones((1, 16, 1, 2), a.dtype))
            yield sepconv.depthwise_conv2d(a[..., :19], d, padding=3, padding_mode="wrap")
    sepconv.set_num_threads(WORKERS)
    want = [bits(y) for y in all_calls()]
    mxcsr(plain | 0x8040)
    found = list(all_calls())
    left = mxcsr() & 0x8040
    flushed = float(np.float32(1e-40) * np.float32(1))  # the bit is really set
    mxcsr(plain)
    tell(different=[i for i, (a, b) in enumerate(zip(want, found)) if a != bits(b)], left=left, flushed=flushed, zeros=[not y.any() for y in found])
    """.replace("WORKERS", str(workers))
    found = run(textwrap.dedent(MXCSR) + textwrap.dedent(script))
    assert found["flushed"] == 0 and not any(found["zeros"])
    assert found["different"] == [] and found["left"] == 0x8040


# --- several threads (R13, R24, M20, M21) ------------------------------------------------------------


@THREADED
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_two_threads_at_once(layer):
    """R13: the workqueue layer ends the process when two threads enter it."""
    script = """
    from concurrent.futures import ThreadPoolExecutor
    want = call()
    def work(_):
        return all(np.array_equal(call(), want) for _ in range(300))
    with ThreadPoolExecutor(4) as pool:
        good = list(pool.map(work, range(4)))
    f = facts()
    tell(good=good + [right(want)], layer=f["threading_layer"], threads=f["threads"])
    """
    found = run(script, env={"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"})
    assert all(found["good"]) and found["layer"] == layer


def test_first_call_in_two_threads(tmp_path):
    """R24: one compilation, no deadlock with the import lock or the compiler's; and the next process has the same number to load."""
    script = """
    import threading
    barrier, results = threading.Barrier(3), []
    def work():
        barrier.wait(); results.append(call())
    threads = [threading.Thread(target=work) for _ in range(3)]
    [t.start() for t in threads]; [t.join() for t in threads]
    tell(good=[right(y) for y in results], misses=facts()["cache_misses"], hits=facts()["cache_hits"])
    """
    env = {"SEPCONV_CACHE_DIR": str(tmp_path)}
    found = run(script, env=env)
    assert found["good"] == [True] * 3 and found["hits"] == 0
    assert found["misses"] == run(ONE_CALL, env=env)["cache_hits"]


def _shapes() -> list[Callable[[], np.ndarray]]:
    """Calls of different shapes and ops, small enough for thousands of them, on few kernels."""
    rng, dtype, made = np.random.default_rng(3), np.float32, []
    for n in range(24):
        shape = (1 + n % 2, 3 + n % 5, 11 + n % 4, 20 + n)
        x, d = oracle.values(rng, shape, dtype), oracle.values(rng, (shape[1], 3, 3), dtype)
        p, s = oracle.values(rng, (5, shape[1]), dtype), oracle.values(rng, (2, shape[1], 3, 3), dtype)
        made += [
            lambda x=x, d=d: sepconv.depthwise_conv2d(x, d, padding=1, activation="relu"),
            lambda x=x, p=p: sepconv.pointwise_conv2d(x, p),
            lambda x=x, s=s: sepconv.conv2d(x, s, stride=2),
        ]
        if n % 6 == 0:  # half the sizes would be a kernel each to compile
            made.append(lambda x=x, d=d, p=p: sepconv.separable_conv2d(x, d, p, padding=1, padding_mode="wrap"))
    return made


def test_many_threads_many_shapes():
    """M20: 8 Python threads, 1,000 calls: every result is what one thread alone gets, and that is the oracle's."""
    calls = _shapes()
    with sepconv.num_threads(1):
        want = [call() for call in calls]
    with sepconv.use_backend("reference"):
        for call, y in zip(calls, want):
            np.testing.assert_allclose(y, call(), rtol=1e-3, atol=1e-4)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(len(calls), size=125):
            if not np.array_equal(calls[i](), want[i]):
                wrong.append(int(i))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert wrong == []


def _resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_shapes_bounded_caches():
    """M21: 10,000 shapes, wider and wider: every cache stays within its size, and the process does not grow with what is remembered."""
    w, row, middle = np.ones((1, 3), np.float32), np.ones((1, 60_100), np.float32), None
    for n in range(100, 60_100, 6):
        sepconv.depthwise_conv1d(row[:, :n], w)
        if n > 30_000 and middle is None and os.path.exists("/proc/self/statm"):
            middle = _resident()
    caches = [o for o in gc.get_objects() if type(o) is Cache]
    assert caches and all(len(c) <= c.size <= 10_000 for c in caches), [(len(c), c.size) for c in caches]
    if middle is not None:
        assert _resident() - middle < 60e6
