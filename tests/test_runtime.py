"""The CPU backend's machinery: import, cache, threads, forks, signals. What a process can do only once is done in a child, from a short script."""

from __future__ import annotations

import gc
import json
import os
import pathlib
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import oracle
import pytest

import sepconv
from sepconv.cache import Cache
from sepconv.threads import LIMIT

ROOT = pathlib.Path(sepconv.__file__).resolve().parents[1]
THREADED = pytest.mark.skipif(LIMIT < 2, reason="this process may use one core only: nothing runs in parallel")
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
Child = subprocess.Popen
SILENT = ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS", "NUMBA_DISABLE_JIT")

# What every child starts with: arrays large enough for all threads, and what must come out.
PRELUDE = """
import hashlib, json, os, sys
import numpy as np
import sepconv
rng = np.random.default_rng(1)
x, w = rng.standard_normal((2, 16, 40, 40), np.float32), rng.standard_normal((16, 3, 3), np.float32)
def call():
    return sepconv.depthwise_conv2d(x, w, padding=1)
def bits(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
def reference():
    with sepconv.use_backend("reference"):
        return call()
def right(y, want=None):
    return bool(np.allclose(y, reference() if want is None else want, atol=1e-4))
def facts():
    return sepconv.backends()["cpu"]
def tell(**found):
    print(json.dumps(found), flush=True)
"""
ONE_CALL = "y = call(); f = facts(); tell(right=right(y), bits=bits(y), **{k: f[k] for k in f if k != 'arrays'})"


def start(
    script: str, *, prelude: str = PRELUDE, flags: tuple[str, ...] = (), env: dict[str, str] | None = None, **more: Any
) -> subprocess.Popen[str]:
    """A child that runs a script with our package first on its path; variables that steer Numba are not inherited unless given."""
    surroundings = {k: v for k, v in os.environ.items() if k not in SILENT or k in ("SEPCONV_CACHE_DIR", "NUMBA_CACHE_DIR")}
    surroundings |= {"PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, *flags, "-c", prelude + textwrap.dedent(script)]
    return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def told(child: Child, timeout: float = 120) -> dict[str, Any]:
    """What the child told in its last line; it must have ended well."""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        pytest.fail(f"the child hangs:\n{out}\n{err}")
    assert child.returncode == 0, f"the child ended with {child.returncode}:\n{out}\n{err[-3000:]}"
    return json.loads(out.strip().splitlines()[-1]) | {"stderr": err}


def run(script: str, **options: Any) -> dict[str, Any]:
    return told(start(script, **options))


@pytest.fixture(scope="module")
def warm() -> Iterator[pathlib.Path]:
    """A cache folder that holds the kernels of ONE_CALL; readable by every user, as those of pytest are not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sepconv-test-"))
    folder.chmod(0o755)
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(folder)})
    assert found["right"] and found["cache_misses"] > 0
    assert found["cache_folder"].startswith(str(folder))
    yield folder
    shutil.rmtree(folder)


def cached(folder: pathlib.Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


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


# --- the cache on disk (R1 to R6, R23) ---------------------------------------------------------------------------------


def test_second_process_compiles_nothing(warm):
    """R3: no file is added either."""
    before = cached(warm)
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm)})
    assert found["right"] and found["cache_misses"] == 0 and found["cache_hits"] > 0
    assert found["compile_seconds"] < 0.5
    assert cached(warm) == before
    assert found["cache_bytes"] == sum((warm / f).stat().st_size for f in before)


def test_sepconv_folder_before_numbas(tmp_path, warm):
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm), "NUMBA_CACHE_DIR": str(tmp_path)})
    assert found["cache_folder"].startswith(str(warm)) and cached(tmp_path) == []


@pytest.mark.parametrize("count", [2])
def test_processes_fill_an_empty_cache(tmp_path, count):
    """R6: at once; then a third has nothing to compile."""
    env = {"SEPCONV_CACHE_DIR": str(tmp_path)}
    children = [start(ONE_CALL, env=env) for _ in range(count)]
    found = [told(child) for child in children]
    assert all(f["right"] for f in found) and len({f["bits"] for f in found}) == 1
    assert run(ONE_CALL, env=env)["cache_misses"] == 0


@pytest.mark.parametrize("damage", ["halved", "foreign", "index only"])
def test_damaged_cache(tmp_path, warm, damage):
    """R6: a file that cannot be read is as good as none, and is counted so; the next process finds a whole one."""
    shutil.copytree(warm, tmp_path / "c")
    files = [tmp_path / "c" / name for name in cached(tmp_path / "c")]
    for file in files:
        if damage == "index only":
            if file.suffix != ".nbi":
                file.unlink()
        else:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2] if damage == "halved" else b"\x80\x05not a kernel")
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "c")})
    assert found["right"]
    assert found["cache_misses"] > 0, "what was compiled is not counted as a miss"
    found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "c")})
    assert found["right"] and found["cache_misses"] == 0


def _without_override() -> None:
    """Takes from root the right to write what is read-only; others have none to take."""
    import ctypes

    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 1, 0, 0, 0):  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(sys.platform != "linux", reason="root's right to write anywhere is dropped by a call of Linux")
def test_read_only_cache(warm):
    """A folder of kernels that somebody else wrote, or that is mounted read-only, is read."""
    before, modes = cached(warm), [(f, f.stat().st_mode) for f in (warm, *warm.iterdir())]
    for folder, _ in modes:
        folder.chmod(0o555)
    try:
        found = run(ONE_CALL, env={"SEPCONV_CACHE_DIR": str(warm), "HOME": "/dev/null"}, preexec_fn=_without_override)
    finally:
        for folder, mode in modes:
            folder.chmod(mode)
    assert found["right"] and found["cache_misses"] == 0 and cached(warm) == before
    assert found["cache_folder"].startswith(str(warm))


@POSIX
@pytest.mark.parametrize("temporary", [True, False])
def test_no_folder_to_write(tmp_path, temporary):
    """R5: no home, no folder: the temporary one, or none at all, and a sentence that says so."""
    env = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/a", "SEPCONV_CACHE_DIR": "/dev/null/b", "TMPDIR": str(tmp_path)}
    script = ONE_CALL
    if not temporary:
        script = "import tempfile\ndef none():\n    raise FileNotFoundError(2, 'no temporary folder')\ntempfile.gettempdir = none\n" + script
    found = run(script, env=env)
    assert found["right"] and found["stderr"] == ""
    if temporary:
        assert found["cache_folder"].startswith(str(tmp_path))
    else:
        assert found["cache_folder"].startswith("none")


def test_cache_folder_vanishes(tmp_path):
    """R5: between the look at the folder and the first compilation."""
    script = "facts()\nimport shutil; shutil.rmtree(os.environ['SEPCONV_CACHE_DIR']); open(os.environ['SEPCONV_CACHE_DIR'], 'w').close()\n"
    assert run(script + ONE_CALL, env={"SEPCONV_CACHE_DIR": str(tmp_path / "gone")})["right"]


def test_script_from_stdin(warm):
    """R5: `python -` has no source file, at which Numba's own cache raises."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SEPCONV_CACHE_DIR": str(warm)}
    done = subprocess.run([sys.executable, "-"], input=PRELUDE + ONE_CALL, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["right"] and found["cache_misses"] == 0


def test_zipped_install(tmp_path):
    """R5, R1: no sources can be read there, so that no digest tells the versions apart: no kernel may be kept."""
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for file in (ROOT / "sepconv").rglob("*.py"):
            archive.write(file, file.relative_to(ROOT))
    env = {"PYTHONPATH": str(tmp_path / "site.zip"), "SEPCONV_CACHE_DIR": str(tmp_path / "c")}
    found = run(ONE_CALL.replace("tell(", "tell(file=sepconv.__file__, "), env=env, cwd=str(tmp_path))
    assert "site.zip" in found["file"]
    assert found["right"]
    assert found["cache_folder"].startswith("none"), "kernels of one version would be taken by the next"


def test_changed_source_is_a_miss(tmp_path):
    """R1, R2: Numba's key does not see a change in what a kernel calls. Here a constant of another file, which the result shows."""
    shutil.copytree(ROOT / "sepconv", tmp_path / "sepconv", ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PYTHONPATH": str(tmp_path), "SEPCONV_CACHE_DIR": str(tmp_path / "c"), "PYTHONDONTWRITEBYTECODE": "1"}
    script = """
    y = sepconv.depthwise_conv1d(np.full((1, 8), -1.0), np.ones((1, 1)), activation="leaky_relu")
    tell(y=y.tolist(), misses=facts()["cache_misses"], file=sepconv.__file__)
    """
    first = run(script, env=env, cwd=str(tmp_path))
    assert first["file"].startswith(str(tmp_path)) and first["y"] == [[-0.01] * 8] and first["misses"] > 0
    assert run(script, env=env, cwd=str(tmp_path))["misses"] == 0
    file = tmp_path / "sepconv" / "activations.py"
    text = file.read_text()
    assert "LEAKY_SLOPE = 0.01" in text
    file.write_text(text.replace("LEAKY_SLOPE = 0.01", "LEAKY_SLOPE = 0.25"))
    again = run(script, env=env, cwd=str(tmp_path))
    assert again["y"] == [[-0.25] * 8] and again["misses"] > 0


def test_what_compiles_nothing_new():
    """R23: a second shape, activation, bias, read-only or strided arrays, byte order. R4: two kernel sizes in turns never share code."""
    script = """
    x = rng.standard_normal((2, 16, 64, 64), np.float32)
    w5 = rng.standard_normal((16, 5, 5), np.float32)
    def count():
        f = facts()
        return f["cache_hits"] + f["cache_misses"]
    call(); before = count()
    good = []
    def both(f):
        y = f()
        with sepconv.use_backend("reference"):
            good.append(right(y, f()))
    frozen = x.copy(); frozen.flags.writeable = False
    both(lambda: sepconv.depthwise_conv2d(frozen, w, padding=1))
    both(lambda: sepconv.depthwise_conv2d(x, w, np.ones(16, np.float32), padding=1, activation="silu"))
    both(lambda: sepconv.depthwise_conv2d(x[:, :, :, 2:63], w, padding=1, activation="gelu"))
    both(lambda: sepconv.depthwise_conv2d(x.astype(">f4"), w.astype(">f4"), padding=1))
    both(lambda: sepconv.depthwise_conv2d(np.frombuffer(b"-" + x.tobytes(), np.float32, x.size, 1).reshape(x.shape), w, padding=1))
    same = count() - before
    for _ in range(3):
        both(lambda: sepconv.depthwise_conv2d(x, w)); both(lambda: sepconv.depthwise_conv2d(x, w5))
    tell(same=same, good=good)
    """
    found = run(script)
    assert found["same"] == 0 and all(found["good"])


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
    y = sepconv.depthwise_conv2d(x.astype(np.float64), w)
    with sepconv.use_backend("reference"):
        good.append(right(y, sepconv.depthwise_conv2d(x.astype(np.float64), w)))
    del os.environ["NUMBA_NUM_THREADS"]
    y = sepconv.conv2d(x[:, :2], w[None, :2])
    with sepconv.use_backend("reference"):
        good.append(right(y, sepconv.conv2d(x[:, :2], w[None, :2])))
    tell(good=good, left=os.environ.get("NUMBA_NUM_THREADS"))
    """
    found = run(script, env={"SEPCONV_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"})
    assert found == {"good": [True] * 3, "left": None, "stderr": ""}


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


# --- the same bits (N8, N9) ----------------------------------------------------------------------------------------------

MANY_CALLS = """
def some(dtype):
    r = np.random.default_rng(2)
    a = (4 * r.standard_normal((2, 24, 33, 35))).astype(dtype)
    d, p, s = ((4 * r.standard_normal(n)).astype(dtype) for n in ((24, 5, 3), (40, 24), (6, 24, 3, 3)))
    last = np.ascontiguousarray(np.moveaxis(a, 1, -1))
    yield sepconv.depthwise_conv2d(a, d, padding=2, activation="relu6")
    yield sepconv.conv2d(a, s, padding=1)
    if dtype is not np.float32:
        return  # the plain loops, which are one kernel for everything
    yield sepconv.depthwise_conv2d(last, d, padding=2, stride=2, layout="NHWC")
    yield sepconv.depthwise_conv2d(a, d, padding=(40, 2), padding_mode="reflect", dilation=2)
    yield sepconv.pointwise_conv2d(a, p)
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
            yield sepconv.depthwise_conv2d(last, d, layout="NHWC")
            yield sepconv.pointwise_conv2d(a, p)
            yield sepconv.pointwise_conv2d(last, p, layout="NHWC")
            yield sepconv.conv2d(a, np.ones((1, 16, 1, 2), a.dtype))
            yield sepconv.depthwise_conv2d(a[..., :9], d, padding=3, padding_mode="wrap")
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


# --- several processes and threads (R11 to R13, R24, M20, M21) ------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("layer", ["default", "workqueue", "omp"])
def test_fork_after_a_parallel_call(layer):
    """R11: the OpenMP of GNU kills a forked child at its first parallel call."""
    script = """
    want = call()
    pid = os.fork()
    if pid == 0:
        ok = np.array_equal(call(), want) and right(sepconv.depthwise_conv2d(x, w, padding=1, stride=1))
        os._exit(0 if ok and facts()["available"] else 3)
    status = os.waitpid(pid, 0)[1]
    tell(status=status, right=right(want) and np.array_equal(call(), want))
    """
    env = {} if layer == "default" else {"NUMBA_THREADING_LAYER": layer}
    assert run(script, env=env) == {"status": 0, "right": True, "stderr": ""}


@POSIX
def test_fork_while_another_thread_compiles(tmp_path):
    """R11: a lock that was held at the fork is not held in the child for ever."""
    script = """
    import threading, time
    want = reference()
    busy = threading.Thread(target=call); busy.start()
    time.sleep(0.7)  # in the midst of it
    pid = os.fork()
    if pid == 0:
        os._exit(0 if right(call(), want) else 3)
    deadline = time.time() + 25
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.time() < deadline:
        time.sleep(0.1)
    if done == (0, 0):
        os.kill(pid, 9)
    busy.join()
    tell(done=list(done)[1:] if done != (0, 0) else "hangs")
    """
    assert run(script, env={"SEPCONV_CACHE_DIR": str(tmp_path)})["done"] == [0]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(tmp_path, method):
    """R12: workers of each kind, after a parallel call of the parent."""
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    file = tmp_path / "script.py"
    file.write_text(PRELUDE + textwrap.dedent(f"""
    def work(i):
        return right(call())
    if __name__ == "__main__":
        import multiprocessing
        good = [right(call())]
        with multiprocessing.get_context("{method}").Pool(2) as pool:
            good += pool.map(work, range(4))
        tell(good=good)
    """))  # fmt: skip
    done = subprocess.run([sys.executable, str(file)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["good"] == [True] * 5


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
    """Calls of different shapes and ops, small enough for thousands of them."""
    rng, dtype, made = np.random.default_rng(3), np.float32, []
    for n in range(24):
        shape = (1 + n % 2, 3 + n % 5, 7 + n, 5 + 3 * n)
        x, d = oracle.values(rng, shape, dtype), oracle.values(rng, (shape[1], 3, 3), dtype)
        p, s = oracle.values(rng, (9, shape[1]), dtype), oracle.values(rng, (2, shape[1], 3, 3), dtype)
        made += [
            lambda x=x, d=d: sepconv.depthwise_conv2d(x, d, padding=1, activation="relu"),
            lambda x=x, p=p: sepconv.pointwise_conv2d(x, p),
            lambda x=x, d=d, p=p: sepconv.separable_conv2d(x, d, p, padding=1, padding_mode="wrap"),
            lambda x=x, s=s: sepconv.conv2d(x, s, stride=2),
        ]
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
