"""Vectors of every instruction set: what the tuned kernels become on machines with AVX-512, AVX2, SSE2 and NEON, read in their assembly, and that
those of an older x86 compute what they should on a newer one. A kernel that a public function comes to use joins by itself.
"""

from __future__ import annotations

import fnmatch
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import pytest

import sepconv
from sepconv.backends.cpu import assembly, cross, machine
from sepconv.backends.cpu.assembly import Code
from sepconv.backends.cpu.cross import Call, Compiled, Kernel
from sepconv.backends.cpu.product import TURNS
from sepconv.backends.cpu.stencil import INSIDE, MISSING

Jobs = dict[str, Future[Any]]

ROOT = pathlib.Path(sepconv.__file__).resolve().parents[1]
REGISTERS = {"avx512": "zmm", "avx2": "ymm", "sse2": "xmm", "neon": "v", "zen3": "ymm"}
LANES = {"avx512": 16, "avx2": 8, "sse2": 4, "neon": 4, "zen3": 8}  # of float32

# What is known not to be so, as "where machine sample", and why.
_MASKS = "masks, or the addresses of zeros, beside accumulators, weights and a line"
_BRANCHES = "no masked loads there: LLVM makes a branch a lane"
_WRITTEN_OUT = "taps written out: LLVM holds the weights of many at once"
KNOWN = {
    "at the border avx512 depthwise_conv *": _MASKS,
    "at the border avx512 separable_conv *": _MASKS,
    "at the border avx2 *": _MASKS,
    "at the border sse2 *": _BRANCHES,
    "at the border neon *": _BRANCHES,
    "inside avx512 depthwise_conv NCHW*": _WRITTEN_OUT,
    "inside avx512 separable_conv NCHW*": _WRITTEN_OUT,
    "inside * depthwise_conv NCHW k? s2": _WRITTEN_OUT,
    "inside * separable_conv NCHW s2": _WRITTEN_OUT,
    "inside avx2 depthwise_conv NHWC k3 s2": _WRITTEN_OUT,
    "inside avx2 separable_conv NHWC s2": _WRITTEN_OUT,
    "inside avx2 depthwise_conv NHWC 14x14": _WRITTEN_OUT,
    "inside sse2 *": "an addition to memory is no operand of a multiplication there, each product takes a register",
    "inside avx512 depthwise_conv NHWC k5 s1": _WRITTEN_OUT,  # 4 vectors for 400 multiply-adds; tiles without take longer
    "inside neon depthwise_conv NCHW 14x14": _BRANCHES,
    "inside neon depthwise_conv k13 NCHW": "13 weights beside 14 sums: 4 vectors for 182 multiply-adds, fewer than the weights' loads would be",
    "inside neon * NHWC*": "28 accumulators leave too few registers where no operand lies in memory; with a stride LLVM loads many pixels ahead",
    "* zen3 *": "LLVM unrolls the loop over taps or depth twice",
}


# --- the assembly --------------------------------------------------------------------------------------------------


def _call(op: str, layout: str, *, k: int = 3, stride: int = 1, dtype: str = "float32", channels: int = 64, size: int = 56) -> Call:
    """A layer of a usual size, so that the tile is the one for large maps."""
    c, x = channels, (1, channels, size, size) if layout == "NCHW" else (1, size, size, channels)
    weights = {"conv": [(c, c, k, k)], "depthwise_conv": [(c, k, k)], "pointwise_conv": [(c, c)], "separable_conv": [(c, k, k), (c, c)]}[op]
    options: dict[str, Any] = {"layout": layout}
    if op != "pointwise_conv":
        options |= {"padding": "same", "stride": stride}
    return Call(f"{op}2d", (x, *weights), dtype, options)


BOTH = ("NCHW", "NHWC")
SAMPLES = {f"{op} {layout}": _call(op, layout) for op in ("depthwise_conv", "pointwise_conv", "conv", "separable_conv") for layout in BOTH}
SAMPLES |= {f"{op} {layout} double": _call(op, layout, dtype="float64") for op in ("depthwise_conv", "pointwise_conv", "conv") for layout in BOTH}
SAMPLES |= {f"{op} {layout} s2": _call(op, layout, stride=2) for op in ("conv", "separable_conv") for layout in BOTH}
SAMPLES |= {f"{op} {layout} 14x14": _call(op, layout, size=14) for op in ("depthwise_conv", "pointwise_conv") for layout in BOTH}
SAMPLES["pointwise_conv NHWC 24"] = _call("pointwise_conv", "NHWC", channels=24)
for layout in BOTH:
    for k, s in ((3, 2), (5, 1), (5, 2), (7, 1), (7, 2)):
        SAMPLES[f"depthwise_conv {layout} k{k} s{s}"] = _call("depthwise_conv", layout, k=k, stride=s)
    SAMPLES[f"depthwise_conv k13 {layout}"] = _call("depthwise_conv", layout, k=13)
FAMILIES = ("depthwise_conv NCHW", "depthwise_conv NHWC", "pointwise_conv NCHW", "conv NHWC")
ALWAYS = {  # the others are for the sweep
    "avx512": (*FAMILIES, "separable_conv NCHW"),
    "avx2": (*FAMILIES[:2], "depthwise_conv k13 NHWC", "pointwise_conv NHWC", "separable_conv NHWC"),
    "sse2": FAMILIES[1:2],
    "neon": FAMILIES[1:3],
}


@pytest.fixture(scope="module")
def jobs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The children, two at a time: for each machine, what each sample would run there; for each instruction set to force here, the results."""
    sweep = request.config.getoption("--sweep")
    samples = {isa: SAMPLES if sweep else {name: SAMPLES[name] for name in ALWAYS.get(isa, ())} for isa in REGISTERS}
    compiled = lambda isa: dict(zip(samples[isa], cross.compiled(isa, samples[isa].values(), timeout=900)))
    chosen = {item.callspec.params.get("isa") for item in request.session.items if hasattr(item, "callspec")}  # by -k, for example
    machines = [isa for isa in REGISTERS if isa in chosen and samples[isa]]
    forced = {isa: cpu for isa, cpu in FORCED.items() if X86 and isa in chosen and (sweep or isa not in SWEPT)}
    with ThreadPoolExecutor(2) as pool:
        started = {isa: pool.submit(compiled, isa) for isa in machines}
        started["own"] = pool.submit(_run, "first()", tmp_path_factory.mktemp("own"))
        for isa, cpu in forced.items():
            started[isa] = pool.submit(_after, started["own"], tmp_path_factory.mktemp("forced") / isa, cpu, sweep)
        yield started


def _ids() -> list[Any]:
    """Every machine with every sample; what only the sweep looks at is marked."""
    pairs = [(isa, sample) for isa in REGISTERS for sample in SAMPLES]
    swept = lambda isa, sample: sample not in ALWAYS.get(isa, ())
    return [pytest.param(*pair, id=" ".join(pair), marks=[pytest.mark.sweep] if swept(*pair) else []) for pair in pairs]


def _tiled(compiled: Compiled) -> list[Kernel]:
    """The kernels that have tiles: a fused one, or one that copies, calls others, which are there too."""
    return [kernel for kernel in compiled.kernels if not kernel.name.startswith(("separable.", "copied."))]


def _taps(cells: dict[str, Any]) -> set[int]:
    """Of a row of pixels, channels last: the taps that exist. Where no tile is away from the border, those of each tile that there is."""
    kinds = {int(kind) for kind in cells["edges"].split()}
    pixels, stride, k = cells["rows"], cells["stride"], cells["k"]
    sides = [divmod(kind, MISSING) for kind in kinds if kind > INSIDE] if max(kinds) > INSIDE and INSIDE not in kinds else [(0, 0)]
    end = (pixels - 1) * stride + k
    return {sum(left <= p * stride + t < end - right for p in range(pixels) for t in range(k)) for left, right in sides}


def _multiply_adds(kernel: Kernel, isa: str) -> set[int]:
    """What one turn of a tile's inner loop has: over all outputs of the tile, and all taps along the lines, all that are written out, or the steps of
    the depth that are. Nothing for a kernel whose cells have other names."""
    cells, found = kernel.cells, set()
    turns = TURNS if REGISTERS[isa] == "ymm" and kernel.name.startswith(("pointwise.", "standard.gathered")) else 1
    if "rows" in cells:
        taps = _taps(cells) if "tall" in cells else {cells["rows"] * cells.get("k", 1)}
        found |= {n * cells["vectors"] * (cells.get("taps", 0) or 1) * (cells.get("tall", 0) or 1) * turns for n in taps}
    return found


def _expect(right: bool, where: str, isa: str, sample: str, kernel: Kernel, what: str) -> None:
    """Fails unless right; where that is known, it is an expected failure, with its reason."""
    if right:
        return
    cells = " ".join(f"{name} {cell}" for name, cell in kernel.cells.items())
    for pattern, reason in KNOWN.items():
        if fnmatch.fnmatchcase(f"{where} {isa} {sample}", pattern):
            pytest.xfail(f"{kernel.name}, {cells}: {where} {what}: {reason}")
    pytest.fail(f"{kernel.name}, {cells}: {where} {what}")


def _spills(code: list[Code]) -> str:
    found = [line for each in code for line in each.spills]
    return f"{len(found)} vectors go over the stack, such as {found[:3]}"


@pytest.mark.parametrize("isa, sample", _ids())
def test_inside(jobs: Jobs, isa: str, sample: str) -> None:
    """Away from the border: whole vectors in the machine's widest registers, as many multiply-adds as the tile has, nothing over the stack."""
    compiled = jobs[isa].result()[sample]
    assert compiled.machine.lanes("float32") == LANES[isa] and len(_tiled(compiled)) == 1 + ("separable" in sample)
    for kernel in _tiled(compiled):
        loops = assembly.hot_loops(kernel.assembly)
        inside, main = assembly.interior(loops), assembly.main_tiles(loops)
        assert main, f"{kernel.name} multiplies no vectors"
        assert {code.registers for code in main} == {REGISTERS[isa]}
        found, right = {code.fmas for code in main}, _multiply_adds(kernel, isa)
        _expect(right <= found, "inside", isa, sample, kernel, f"are {found} multiply-adds, and the tiles have {right}")
        _expect(not any(code.spills for code in inside), "inside", isa, sample, kernel, _spills(inside))


@pytest.mark.parametrize("isa, sample", [each for each in _ids() if each.id.startswith(("avx2 pointwise", "zen3 pointwise", "avx2 conv NHWC"))])
def test_addresses(jobs: Jobs, isa: str, sample: str) -> None:
    """Of products with 16 registers: no row's address is made of another's in the loop over the depth, which would take longer than its
    multiply-adds. What LLVM writes around an empty instruction of ours is none."""
    for kernel in _tiled(jobs[isa].result()[sample]):
        for loop in assembly.interior(assembly.hot_loops(kernel.assembly)):
            assert not any(line.startswith(("lea", "#")) for line in loop.instructions), loop


@pytest.mark.parametrize("isa, sample", _ids())
def test_at_the_border(jobs: Jobs, isa: str, sample: str) -> None:
    """Where loads are masked or addresses chosen: nothing over the stack either."""
    for kernel in _tiled(jobs[isa].result()[sample]):
        loops = assembly.hot_loops(kernel.assembly)
        inside = assembly.interior(loops)
        border = [loop for loop in loops if loop not in inside]
        _expect(not any(code.spills for code in border), "at the border", isa, sample, kernel, _spills(border))


# --- the results ---------------------------------------------------------------------------------------------------

FORCED = {"AVX2": "haswell", "SSE2": "x86-64"}  # by which CPU; without features they are those of its name
SWEPT = ("SSE2",)
X86 = platform.machine() in ("x86_64", "AMD64")
NARROWER = {"AVX-512": ("AVX2", "SSE2"), "AVX2": ("SSE2",)}

# Small enough for one thread; sizes that leave a rest in every vector and tile.
SCRIPT = """
import json, sys
import numpy as np
import oracle, sepconv
def values(*shape, dtype=np.float32):
    return np.random.default_rng(shape[-1]).standard_normal(shape).astype(dtype)
def facts():
    return sepconv.backends()["cpu"]
def first():
    oracle.check(sepconv.depthwise_conv2d, values(1, 16, 13, 19), values(16, 3, 3), padding=1)
def rooms():
    for threads in (1, 2):
        with sepconv.num_threads(threads):
            yield np.empty((1, 29, 41, 64), np.float32)
def products(counts, wide):
    for pixels in counts:  # tiles of six rows, some with one less, or overlapping where that does not make up
        for channels in wide:  # panels of two vectors, or three
            m, r = values(channels, 21), values(1, 1, pixels, channels)
            oracle.check(sepconv.pointwise_conv2d, values(1, 1, pixels, 21), m, values(channels), layout="NHWC", residual=r)
            oracle.check(sepconv.pointwise_conv2d, values(1, 21, 1, pixels), m, values(channels), activation="relu")
def tiles(*cases):
    for k, stride, size, channels, pad in cases:
        x, w = values(1, size, size + 1, channels), values(channels, k, k)
        oracle.check(sepconv.depthwise_conv2d, x, w, values(channels), padding=pad, stride=stride, layout="NHWC", activation="relu6")
def held(k, height, width):
    x, w = values(1, 24, height, width), values(24, k, k)
    oracle.check(sepconv.depthwise_conv2d, x, w, padding="same")
    oracle.check(sepconv.depthwise_conv2d, np.moveaxis(x, 1, -1).copy(), w, padding="same", layout="NHWC")
def others():
    d, p, s = values(21, 3, 3), values(13, 21), values(7, 5, 3, 3)
    for layout, x, y in (("NCHW", values(1, 21, 13, 19), values(1, 5, 11, 18)), ("NHWC", values(1, 13, 19, 21), values(1, 11, 18, 5))):
        oracle.check(sepconv.depthwise_conv2d, x, d, padding=1, layout=layout, activation="relu6")
        oracle.check(sepconv.pointwise_conv2d, x, p, layout=layout)
        oracle.check(sepconv.conv2d, y, s, padding=1, layout=layout)
    products((16,), (24,))
    oracle.check(sepconv.separable_conv2d, values(1, 21, 13, 19), d, p, padding="same", activation="silu")
    oracle.check(sepconv.separable_conv2d, values(1, 13, 19, 21), values(21, 3, 3), values(13, 21), padding="same", layout="NHWC")
    tiles((3, 1, 14, 24, "same"))
    held(9, 20, 19)  # weights held in groups; the map is copied with its border
def more():
    products((4, 5, 9, 11, 16, 19, 49), (5, 16, 19, 24, 49))
    m = values(96, 96)
    some = [sepconv.pointwise_conv2d(values(1, 60, 47, 96), m, layout="NHWC") for _ in rooms()]  # bands of pixels
    assert (some[0].view(np.int32) == some[1].view(np.int32)).all()
    oracle.check(sepconv.pointwise_conv2d, values(1, 60, 47, 96), m, layout="NHWC")
    tiles((3, 2, 15, 17, 1), (5, 1, 7, 9, ((0, 4), (1, 0))), (7, 1, 9, 40, "same"), (5, 1, 5, 512, "same"))
    held(13, 9, 14)
    oracle.check(sepconv.depthwise_conv2d, values(1, 7, 7, 1024), values(1024, 3, 3), padding=1, layout="NHWC")
    x, w = values(1, 9, 11, 24), values(24, 3, 3)
    w[5, 0, 0] = np.inf
    oracle.check(sepconv.depthwise_conv2d, x, w, padding="same", layout="NHWC")
    some = [sepconv.depthwise_conv2d(values(1, 29, 41, 64), values(64, 3, 3), padding="same", layout="NHWC", out=out) for out in rooms()]
    assert (some[0].view(np.int32) == some[1].view(np.int32)).all()
    x, d, p = (values(*shape, dtype=np.float64) for shape in ((21, 17, 23), (21, 3, 3), (13, 21)))
    oracle.check(sepconv.depthwise_conv2d, x, d, padding=1, stride=2)
    oracle.check(sepconv.pointwise_conv2d, x, p)
"""


def _run(script: str, folder: pathlib.Path, cpu: str = "") -> dict[str, Any]:
    """What `backends` tells of the CPU backend after a script in a child, whose Numba compiles for that CPU, or for this one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    env |= {"PYTHONPATH": os.pathsep.join((str(ROOT), str(pathlib.Path(__file__).parent))), "SEPCONV_CACHE_DIR": str(folder)}
    if cpu:
        env |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-c", SCRIPT + script + "\nprint(json.dumps(facts()))"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _kept(told: dict[str, Any]) -> pathlib.Path:
    return pathlib.Path(told["cache_folder"]).parent


def _after(own: Future[Any], folder: pathlib.Path, cpu: str, sweep: bool) -> dict[str, Any]:
    """The script with that CPU and a cache in which this machine's own kernel lies."""
    shutil.copytree(_kept(own.result()), folder)
    script = "first(); one = facts(); assert one['cache_hits'] == 0 < one['cache_misses'], one; others()"
    return _run(script + "; more()" * sweep, folder, cpu)


def _forced(jobs: Jobs, isa: str) -> dict[str, Any]:
    """What a child with that instruction set told; skips where this machine has no wider one."""
    own = jobs["own"].result()["isa"]
    if isa not in NARROWER.get(own, ()):
        pytest.skip(f"this machine has {own}, which is not wider than {isa}")
    return jobs[isa].result()


@pytest.mark.parametrize("isa", [pytest.param(isa, marks=[pytest.mark.sweep] if isa in SWEPT else []) for isa in FORCED])
def test_forced(jobs: Jobs, isa: str) -> None:
    """R7, R8: on a machine with wider vectors, those of an older one: the oracle's results, in every op and both layouts, in sweeps of every sort of
    tile, and no kernel of the wider machine's cache is taken."""
    told = _forced(jobs, isa)
    assert (told["isa"], told["lanes"]) == (isa, {"AVX2": 8, "SSE2": 4}[isa])
    assert told["cache_misses"] > 5 and told["cache_hits"] == 0


def test_nothing_is_remembered_of_this_machine() -> None:
    """What compiles for another machine asks what that one has, also where this one was asked before."""
    script = """
from sepconv.backends.cpu import cross, runtime
own = runtime.machine().isa, runtime.has("avx512f"), runtime.has("avx2")
cross._pretend("sse2")
assert (runtime.machine().isa, runtime.has("avx512f"), runtime.has("avx2")) == ("SSE2", False, False), own
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WIDE, NARROW = {"avx512f", "fma"}, {"avx2", "fma"}
NAMES = {"x86-64-v4": WIDE, "znver4": WIDE, "skylake-avx512": WIDE, "haswell": NARROW, "znver3": NARROW, "x86-64": set(), "sandybridge": set()}


@pytest.mark.parametrize("cpu", NAMES)
def test_features_of_a_name(cpu: str) -> None:
    """R8: NUMBA_CPU_NAME without features: LLVM knows what that CPU has, and so do we."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = cross.TARGETS["avx2"].triple
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features="")
    assert machine._implied(target, triple) == NAMES[cpu]


def test_features_without_avx512() -> None:
    """R8: the same CPU, with that taken from the list of its features."""
    features = machine.cpu_target.target_context.codegen().magic_tuple()[2]
    if "+avx512f" not in features:
        pytest.skip("this machine has no AVX-512 to take away")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CPU_FEATURES": features.replace("+avx512", "-avx512")}
    script = "from sepconv.backends.cpu import runtime; print(runtime.machine().isa)"
    assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout == "AVX2\n"


@pytest.mark.sweep
@pytest.mark.parametrize("isa", ["SSE2"])
def test_kernel_of_another_machine_under_this_ones_name(jobs: Jobs, isa: str) -> None:
    """R7: even a file whose name is right is looked into: its key holds the CPU and the features."""
    narrow, own = _kept(_forced(jobs, isa)), _kept(jobs["own"].result())
    swapped = 0
    for theirs in own.rglob("*.nb?"):
        kernel, ending = theirs.name.rsplit("-", 1)[0], theirs.name.split(".", 1)[1]
        for ours in narrow.rglob(f"{kernel}-*.{ending}"):
            shutil.copy(theirs, ours)
            swapped += 1
    told = _run("first()", narrow, FORCED[isa])
    assert swapped and told["cache_hits"] == 0 < told["cache_misses"]
    assert _run("first()", narrow, FORCED[isa])["cache_misses"] == 0
