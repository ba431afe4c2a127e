"""What goes wrong around kernels where there is no GPU to show it: two CUDAs in one environment, barriers, empty arrays, several hosts' threads."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from cuda_children import child, compiled

import sepconv
from sepconv.backends.cuda import machine_code, plans, runtime
from sepconv.problem import resolve

# --- two CUDAs -----------------------------------------------------------------------------------------------------


def libraries() -> dict[int, list[Path]]:
    """The compilers' libraries of NVIDIA's wheels here, by CUDA's major version: torch brings those of the one that it was built for."""
    found: dict[int, list[Path]] = {}
    for folder in map(Path, sys.path):
        for path in sorted(folder.glob("nvidia/*/lib/lib*.so.*")):
            name = re.fullmatch(r"lib(nvrtc|nvJitLink|cudart)\.so\.(\d+)", path.name)
            if name and path not in found.setdefault(int(name[2]), []):
                found[int(name[2])].append(path)
    return found


BESIDE = """
import ctypes, sys
first = [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in sys.argv[1:]]
major, minor = ctypes.c_int(), ctypes.c_int()
for library in first:
    if hasattr(library, "nvrtcVersion"):
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        print("other", major.value)
import numpy
from sepconv.backends.cuda import machine_code, plans
from sepconv.problem import resolve
f32 = numpy.dtype("float32")
p = resolve("depthwise", 2, ((1, 4, 9, 9), f32), ((4, 1, 3, 3), f32), padding=1)
found = machine_code.report(plans.imagined((p,), False), (9, 0))
print("ours", found.counts["fma"] > 0, found.spills)
"""


@pytest.mark.usefixtures("machine_code")
def test_two_majors_side_by_side():
    """U18: with the libraries of another CUDA loaded first, and for all to see, our kernels compile with our own."""
    every = libraries()
    others = [path for major, paths in every.items() if major != max(every) for path in paths]
    if not others:
        pytest.skip(
            f"the wheels here are of CUDA {', '.join(map(str, every)) or 'none'} alone; for those of another: pip install nvidia-cuda-nvrtc-cu12"
        )
    done = child("-W", "ignore", "-c", BESIDE, *map(str, others))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "other 12" in done.stdout and done.stdout.splitlines()[-1] == "ours True 0", done.stdout


@compiled
@pytest.mark.parametrize("present, chosen", ((("nvidia/cu13", "nvidia/cuda_nvcc"), "nvidia/cu13"), (("nvidia/cuda_nvcc",), "nvidia/cuda_nvcc")))
def test_newest_tools_of_two(present, chosen, tmp_path, monkeypatch):
    """U18: of ptxas from the wheels of two CUDAs the newer one is run; the older alone serves too."""
    for name in present:
        program = tmp_path / name / "bin" / "ptxas"
        program.parent.mkdir(parents=True)
        program.write_text("")
        program.chmod(0o755)
    load = importlib.import_module

    def only_these(name: str) -> Any:
        if not name.startswith("nvidia."):
            return load(name)
        if name.replace(".", "/") not in present:
            raise ImportError(name)
        return type("Package", (), {"__path__": [str(tmp_path / name.replace(".", "/"))]})

    monkeypatch.setattr(machine_code.importlib, "import_module", only_these)
    assert machine_code.tool("ptxas") == str(tmp_path / chosen / "bin" / "ptxas")


@compiled
def test_which_cuda_is_told(monkeypatch):
    """U2: NVIDIA's package or the target built into Numba; the latter runs nothing, and the error says what to install."""
    from numba import cuda

    assert runtime.implementation() == getattr(cuda, "implementation", "Built-in") in ("NVIDIA", "Built-in")
    monkeypatch.setattr(runtime.cuda, "implementation", "Built-in", raising=False)
    assert "sepconv[cuda]" in runtime.missing()
    monkeypatch.setattr(runtime.cuda, "implementation", "NVIDIA", raising=False)
    monkeypatch.setattr(runtime.cuda, "is_available", lambda: True)
    assert runtime.missing() is None
    monkeypatch.setattr(runtime, "require", lambda: None)
    monkeypatch.setattr(runtime, "device_count", lambda: 0)
    assert runtime.facts()["implementation"] == "NVIDIA"


@compiled
def test_broken_driver(monkeypatch):
    """U1: a driver that raises when it is asked is a fact with a reason, not an exception."""

    def broken() -> bool:
        raise OSError("libcuda.so.1: file too short")

    monkeypatch.setattr(runtime.cuda, "implementation", "NVIDIA", raising=False)
    monkeypatch.setattr(runtime.cuda, "is_available", broken)
    assert "OSError: libcuda.so.1: file too short" in runtime.missing()
    assert "libcuda.so.1" in sepconv.backends()["cuda"]["reason"]


# --- what a simulator lets pass ------------------------------------------------------------------------------------

KERNELS = """
import numpy, sys, simulator
from numba import cuda
simulator.in_turns()

@cuda.jit
def right(y):
    room, t = cuda.shared.array(8, numpy.float32), cuda.threadIdx.x
    room[t] = t
    cuda.syncthreads()
    y[t] = room[7 - t]
    cuda.syncthreads()
    room[t] = 10 + t
    cuda.syncthreads()
    y[t] += room[(t + 1) % 8]

@cuda.jit
def divergent(y):
    if cuda.threadIdx.x < 4:
        cuda.syncthreads()
    y[cuda.threadIdx.x] = 1

@cuda.jit
def wrong(y):
    room, t = cuda.shared.array(8, numpy.float32), cuda.threadIdx.x
    room[t] = t
    cuda.syncthreads()
    room[t] += 10
    y[t] = room[(t + 1) % 8]  # of a neighbour that may not have added yet

@cuda.jit
def raises(y):
    cuda.syncthreads()
    if cuda.threadIdx.x == 5:
        raise ValueError("thread 5")
    cuda.syncthreads()

y = numpy.zeros(8, numpy.float32)
globals()[sys.argv[1]][2, 8](y)
print(y.astype(int).tolist())
"""


@compiled
def test_threads_in_turns():
    """U5: a barrier that not all threads reach is an error, a missing one shows, and an error in one thread ends the others."""
    assert child("-c", KERNELS, "right", simulator=True).stdout.strip() == str([18, 18, 18, 18, 18, 18, 18, 10])
    assert "4 of 8 threads" in child("-c", KERNELS, "divergent", simulator=True).stderr
    ordered = [11, 12, 13, 14, 15, 16, 17, 10]
    assert child("-c", KERNELS, "wrong", simulator=True).stdout.strip() not in ("", str(ordered))
    assert "thread 5" in child("-c", KERNELS, "raises", simulator=True).stderr.splitlines()[-1]


WORDS = """
import sys, numpy
from sepconv.backends.cuda import stencil
tile = stencil.Tile("float32", (3, 3), (1, 1), (1, 1), (1, 1), 2, 4, 2, 2, 0, stencil.PACKED)
x, taps, sums = numpy.ones((8, 8), numpy.float32), numpy.ones(9, numpy.float32), numpy.zeros(tile.outputs, numpy.float32)
stencil.first(tile.text, sums, x.ctypes.data + int(sys.argv[1]), 32, 4, 4, 0, 0, taps.ctypes.data, 12, 4)
print(sums.astype(int).tolist())
"""


@compiled
def test_words_are_aligned():
    """A GPU refuses a word that is not at a multiple of its size; processors read it, so that the code for them has to look."""
    assert child("-c", WORDS, "0", simulator=True).stdout.strip() == "[4, 6, 6, 4, 6, 9, 9, 6]"
    done = child("-c", WORDS, "4", simulator=True)
    assert done.returncode != 0 and not done.stdout and "Traceback" not in done.stderr  # the process is gone


@compiled
def test_empty_launches_nothing(monkeypatch):
    """U7: an empty batch is an empty result and no launch."""
    import cuda_grid
    from cuda_grid import Host

    launched: list[Any] = []
    ones = lambda *shape: Host(np.ones(shape, np.float32))
    with cuda_grid.on_cpu(), monkeypatch.context() as inside:  # undone before what `on_cpu` has put there is
        inside.setattr(runtime, "launch", lambda *call: launched.append(call))
        for batch in (0, 2):
            x = ones(batch, 4, 5, 5)
            results = [sepconv.pointwise_conv2d(x, ones(3, 4)), sepconv.depthwise_conv2d(x, ones(4, 1, 3, 3)), sepconv.conv2d(x, ones(3, 4, 3, 3))]
            results.append(sepconv.separable_conv2d(x, ones(4, 1, 3, 3), ones(3, 4)))
            sizes = ((3, 5, 5), (4, 3, 3), (3, 3, 3), (3, 3, 3))
            assert [r.array.shape for r in results] == [(batch, *size) for size in sizes]
            assert bool(launched) == (batch > 0)


@compiled
@pytest.mark.parametrize("k", (7, 9, 31, 33, 35, 37, 63))
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_shared_memory_for_any_kernel(k, dtype):
    """U9: filters go through shared memory while they fit what needs no opting in; larger ones have a plan without."""
    from sepconv.backends.cuda import depthwise

    kind = np.dtype(dtype)
    for c in (4, 32, 256):
        p = resolve("depthwise", 2, ((2, 56, 56, c), kind), ((c, 1, k, k), kind), layout="NHWC", padding=k // 2)
        choice = plans.imagined((p,), True).choice
        assert choice.factory is depthwise.channels_last and choice.grid[2] <= runtime.MOST_YZ
        assert depthwise.room_of(choice.factory, choice.cells) * kind.itemsize <= runtime.MOST_SHARED
        assert c == 4 or k == 9 or (depthwise.room_of(choice.factory, choice.cells) > 0) == (k == 7)


@compiled
def test_threads_of_the_host(monkeypatch):
    """U14: several threads that make the first call of a kernel at once compile it once, and all get that one."""
    made: list[Any] = []
    monkeypatch.setattr(runtime, "_compiled", {})
    monkeypatch.setattr(runtime.cuda, "jit", lambda **options: lambda body: made.append(body) or object())
    gate, found = threading.Barrier(8), []

    def body(taps: int) -> Any:
        return None

    def make(factory: Any, *cells: Any) -> Any:
        return factory

    def call() -> None:
        gate.wait()
        found.append(runtime.kernel(make, body, 3))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len({id(f) for f in found}) == 1 and len(found) == 8


@compiled
def test_offsets_in_64_bits():
    """U4, U8: on the device, too, what goes from plane to plane is counted in 64 bits: by the code itself, run on the CPU at addresses far apart."""
    import cuda_grid
    from cuda_grid import Host

    step, w = 2**31 + 64, np.ones((4, 1, 3, 3), np.float32)  # bytes from image to image: more than 32 bits hold
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * step)
        room = np.memmap(file, np.float32, "r+")
        for layout, shape in (("NCHW", (2, 4, 5, 8)), ("NHWC", (2, 5, 8, 4))):
            x = np.lib.stride_tricks.as_strided(room[:4], shape, (step, *np.empty(shape[1:], np.float32).strides))
            x[...] = np.arange(x.size).reshape(shape) % 7
            with cuda_grid.on_cpu():
                result = sepconv.depthwise_conv2d(Host(x), Host(w), padding=1, layout=layout).array
            oracle.compare(result, oracle.expected(sepconv.depthwise_conv2d, x.copy(), w, padding=1, layout=layout))
