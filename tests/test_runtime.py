"""The CPU backend's machinery: import, Numba's switches, calls that are interrupted. What a process can do only once is done in a child."""

from __future__ import annotations

import gc
import pickle
import platform
import signal
import threading
import time

import numpy as np
import pytest
from processes import ONE_CALL, POSIX, THREADED, run, start, told

import sepconv

# --- import (R22) --------------------------------------------------------------------------------------------------


def test_import_loads_nothing():
    """numba comes with the first convolution, and the others never."""
    script = """
    import json, sys, time
    import numpy
    before, started = set(sys.modules), time.process_time()
    import sepconv
    spent, new = time.process_time() - started, set(sys.modules) - before
    heavy = [m for m in ("numba", "llvmlite", "scipy", "torch", "matplotlib", "onnx", "ml_dtypes", "pandas", "multiprocessing") if m in new]
    sepconv.set_num_threads(1), sepconv.get_num_threads()
    with sepconv.use_backend("reference"):
        sepconv.conv1d(numpy.ones((1, 5)), numpy.ones((1, 1, 3)))
    later = [m for m in ("numba", "scipy", "torch") if m in sys.modules]
    print(json.dumps(dict(spent=spent, heavy=heavy, later=later)))
    """
    found = [run(script, prelude="") for _ in range(4)]
    assert found[0]["heavy"] == [] and found[0]["later"] == []
    assert min(f["spent"] for f in found) < 0.05, [f["spent"] for f in found]


def test_a_call_loads_no_framework():
    """P8: the dispatcher looks at types, and imports nothing that the caller has not."""
    found = run("y = call(); tell(loaded=[m for m in ('scipy.ndimage', 'torch', 'onnx', 'ml_dtypes', 'matplotlib') if m in sys.modules])")
    assert found["loaded"] == []


# --- Numba's switches (R8, R9, R14, R17) --------------------------------------------------------------------------------


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the generic CPU of this architecture is the usual one")
def test_generic_cpu():
    """R8: the width of the vectors comes from Numba's target."""
    found = run(ONE_CALL, env={"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    assert found["right"] and (found["isa"], found["lanes"]) == ("SSE2", 4)


def test_jit_disabled():
    """R9: the right result from plain NumPy, or one sentence that names the variable."""
    script = """
    try:
        y = call()
    except Exception as error:
        tell(right=None, text=f"{type(error).__name__}: {error}")
    else:
        tell(right=right(y), text="")
    """
    found = run(script, env={"NUMBA_DISABLE_JIT": "1"})
    assert found["right"] or "NUMBA_DISABLE_JIT" in found["text"], found["text"]


@THREADED
def test_no_tbb():
    """R14: Numba raises at the first parallel compilation; here the call is serial, and `backends()` says why. (With a TBB: it is used.)"""
    found = run(ONE_CALL, env={"NUMBA_THREADING_LAYER": "tbb"})
    assert found["right"] and found["threading_layer"] in ("none", "tbb")
    assert found["threading_layer"] == "tbb" or "threading layer" in found["threading_reason"]


@THREADED
def test_environment_changed_after_launch(tmp_path):
    """R17: Numba then refuses to compile anything at all, ours included."""
    script = """
    good = [right(call())]
    os.environ["NUMBA_NUM_THREADS"] = "1"
    y = sepconv.conv2d(x.astype(np.float64), v)
    with sepconv.use_backend("reference"):
        good.append(right(y, sepconv.conv2d(x.astype(np.float64), v)))
    del os.environ["NUMBA_NUM_THREADS"]
    y = sepconv.conv2d(x[:, :2], w[None, :2])
    with sepconv.use_backend("reference"):
        good.append(right(y, sepconv.conv2d(x[:, :2], w[None, :2])))
    tell(good=good, left=os.environ.get("NUMBA_NUM_THREADS"))
    """
    found = run(script, env={"SEPCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"})
    assert found == {"good": [True] * 3, "left": None, "stderr": ""}


# --- running calls (P6, R21) ----------------------------------------------------------------------------------------------


def test_no_warnings(tmp_path):
    """P6: cold, with all warnings errors; numbers that overflow and NaN included."""
    script = """
    many = [call(), sepconv.conv2d(x, np.full((1, 16, 3, 3), 1e38, np.float32)), sepconv.depthwise_conv2d(x * np.nan, w, activation="gelu")]
    many += [sepconv.depthwise_conv2d(x.astype(np.int8), (w * 9).astype(np.int8)), sepconv.pointwise_conv2d(x.astype(np.float16), np.ones((3, 16)))]
    with sepconv.use_backend("reference"):
        sepconv.conv2d(x, np.full((1, 16, 3, 3), 1e38, np.float32)), sepconv.depthwise_conv2d(x * np.nan, w, activation="silu")
    tell(right=right(call()))
    """
    found = run(script, flags=("-W", "error"), env={"SEPCONV_CACHE_DIR": str(tmp_path)})
    assert found == {"right": True, "stderr": ""}


LONG = {
    "direct": "sepconv.conv2d(np.broadcast_to(np.float64(1), (1, 512, 56, 56)), np.broadcast_to(np.float64(1), (1024, 512, 5, 5)))",
    "tuned": "sepconv.depthwise_conv2d(np.broadcast_to(np.float32(1), (1, 16, 1200, 1200)), np.ones((16, 201, 201), np.float32))",
}


@POSIX
@pytest.mark.parametrize("kernel, workers", [("direct", 1), pytest.param("tuned", 2, marks=THREADED)])
def test_interrupt(kernel, workers):
    """R21: Ctrl-C in a call of many seconds arrives soon, and the next call works."""
    script = f"""
    import signal, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background inherits deafness to it
    sepconv.set_num_threads({workers})
    want = call()
    print("started", flush=True)
    began = time.perf_counter()
    try:
        {LONG[kernel]}
        tell(interrupted=False, took=time.perf_counter() - began)
    except KeyboardInterrupt:
        tell(interrupted=True, good=np.array_equal(call(), want))
    """
    child = start(script)
    try:
        assert child.stdout is not None and child.stdout.readline() == "started\n"
        time.sleep(1.5)
        sent = time.perf_counter()
        child.send_signal(signal.SIGINT)
        found = told(child, 60)
    finally:
        child.kill()
    assert found.get("interrupted"), f"the call ended before the signal, or ignored it: {found}"
    assert found["good"] and time.perf_counter() - sent < 3.5


def test_other_threads_run_meanwhile():
    """The interpreter is free while a kernel computes: another thread goes on in the midst of one call."""
    x, w = np.ones((1, 128, 58, 58), np.int64), np.ones((128, 128, 3, 3), np.int64)
    with sepconv.num_threads(1):
        sepconv.conv2d(x[:, :2, :4, :4], w[:, :2])  # compiled before the clock starts
        stop, ticks = threading.Event(), []

        def tick() -> None:
            while not stop.is_set():
                time.sleep(0.002)
                ticks.append(time.perf_counter())

        other = threading.Thread(target=tick)
        other.start()
        began = time.perf_counter()
        sepconv.conv2d(x, w)
        ended = time.perf_counter()
        stop.set()
        other.join()
    assert sum(began < t < ended for t in ticks) > (ended - began) / 0.05, f"{len(ticks)} ticks in {ended - began:.3f} s"


@pytest.mark.parametrize("enabled", (True, False))
def test_collector_is_as_it_was(enabled):
    """While a kernel is compiled Python looks for no cycles; afterwards, also where that failed, as the program has it."""
    from sepconv.backends.cpu import jit

    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(KeyError), jit.uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


# --- Problems as keys (P5) ------------------------------------------------------------------------------------------------


def test_problem_hash_and_pickle():
    """P5: pickled and back it is equal, and its hash is the same in processes whose strings hash differently."""
    script = """
    import pickle
    problem = sepconv.explain(sepconv.depthwise_conv2d, x, w, padding="same", activation="relu6", padding_mode="wrap").problems[0]
    tell(hash=hash(problem), bytes=pickle.dumps(problem).hex())
    """
    found = [run(script, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2")]
    assert found[0]["hash"] == found[1]["hash"]
    one, two = (pickle.loads(bytes.fromhex(f["bytes"])) for f in found)
    assert one == two and hash(one) == hash(two) == found[0]["hash"]
