"""The machine code of the CUDA backend's kernels: registers, spills, occupancy, wide loads; compiled, not run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cuda_children import CCS
from oracle import BFLOAT16

from sepconv.problem import resolve

# operation, channels, outputs, kernel, stride, dtype, channels last, activation; then the most registers, the least occupancy, bytes of the
# widest load of x, and FMAs of the tile itself
KERNELS = [
    ("depthwise", 32, 32, 3, 1, "float32", False, None, 96, 0.3, 16, 288),
    ("depthwise", 32, 32, 31, 1, "float32", False, None, 168, 0.18, 16, 992),
    ("depthwise", 32, 32, 3, 1, "float16", False, "silu", 96, 0.3, 16, 288),
    ("depthwise", 32, 32, 3, 1, "float32", True, None, 128, 0.25, 16, 144),
    ("depthwise", 64, 64, 7, 1, "float32", True, None, 168, 0.18, 8, 3136),
    ("pointwise", 288, 288, 1, 1, "float32", False, None, 128, 0.25, 16, 512),
    ("pointwise", 288, 288, 1, 1, "float32", True, "relu", 128, 0.25, 16, 512),
    ("separable", 32, 64, 3, 1, "float32", False, "relu", 128, 0.25, 16, 292),
    ("separable", 96, 64, 7, 1, "float16", False, None, 128, 0.25, 8, 256),
    ("separable", 32, 64, 3, 1, "float32", True, "relu", 96, 0.3, 16, 292),
    ("standard", 3, 32, 3, 2, "float32", False, "relu6", 192, 0.15, 4, 256),
    ("standard", 64, 64, 3, 1, "float32", False, None, 128, 0.25, 16, 256),
    ("standard", 3, 32, 3, 2, "float32", True, "relu6", 192, 0.15, 4, 256),
]
MORE_KERNELS = [  # for the sweep
    ("depthwise", 32, 32, 3, 2, "float32", False, "relu6", 72, 0.4, 16, 144),
    ("depthwise", 32, 32, 5, 1, "float32", False, None, 144, 0.18, 16, 800),
    ("depthwise", 32, 32, 7, 1, "float32", False, None, 96, 0.3, 16, 784),
    ("depthwise", 32, 32, 5, 1, "float32", True, None, 128, 0.25, 8, 400),
    ("depthwise", 64, 64, 7, 1, "float16", True, None, 144, 0.18, 4, 3136),
    ("depthwise", 64, 64, 5, 1, "bfloat16", True, None, 144, 0.18, 4, 1600),
    ("depthwise", 32, 32, 3, 1, "bfloat16", True, None, 128, 0.25, 8, 144),
    ("pointwise", 288, 288, 1, 1, "float16", False, None, 136, 0.18, 8, 512),
    ("separable", 128, 256, 3, 1, "float32", False, "relu", 128, 0.25, 16, 548),
    ("separable", 128, 256, 3, 1, "float32", True, None, 128, 0.25, 16, 584),
    ("separable", 32, 64, 3, 1, "bfloat16", True, None, 96, 0.3, 8, 292),
    ("standard", 64, 64, 3, 1, "float16", False, None, 128, 0.25, 8, 256),
    ("standard", 256, 256, 3, 1, "float32", False, "relu", 128, 0.25, 16, 256),
    ("standard", 256, 256, 3, 1, "bfloat16", True, "relu", 128, 0.25, 8, 256),
    ("standard", 64, 64, 3, 1, "float32", True, None, 128, 0.25, 16, 256),
]


def _cases(always: list[Any], more: list[Any]) -> list[Any]:
    name = lambda case: "-".join(map(str, case[:8]))
    return [*(pytest.param(case, id=name(case)) for case in always), *(pytest.param(case, id=name(case), marks=pytest.mark.sweep) for case in more)]


def read(machine_code: Any, case: Any, cc: tuple[int, int]) -> Any:
    """The report of one of KERNELS."""
    from sepconv.backends.cuda import plans

    kind, c, outputs, k, stride, name, last, activation = case[:8]
    dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
    options = {"padding": k // 2, "stride": stride}
    layout, x = ("NHWC", (8, 56, 56, c)) if last else ("NCHW", (8, c, 56, 56))
    depthwise = lambda filters, name: resolve("depthwise", 2, (x, dtype), ((filters, 1, k, k), dtype), layout=layout, activation=name, **options)
    pointwise = lambda x: resolve("pointwise", 2, (x, dtype), ((outputs, c), dtype), layout=layout, activation=activation)
    if kind == "separable":
        first = depthwise(c, "relu6")
        problems = (first, pointwise(first.out_shape))
    elif kind == "standard":
        problems = (resolve(kind, 2, (x, dtype), ((outputs, c, k, k), dtype), layout=layout, activation=activation, **options),)
    else:
        problems = (depthwise(outputs, activation) if kind == "depthwise" else pointwise(x),)
    plan = plans.imagined(problems, last, cc)
    assert plan.choice is not None and plan.tuned
    assert ("on tensor cores" in plan.choice.reason) == (dtype.itemsize == 2 and cc >= (8, 0) and (kind != "depthwise" or k > 3))
    return machine_code.report(plan, cc)


@pytest.mark.parametrize("case", _cases(KERNELS, MORE_KERNELS))
def test_machine_code(case, machine_code, sweep):
    """No spills, no stack, no double in single precision, registers and occupancy within a budget, loads as wide as claimed; on one generation,
    in sweeps on four."""
    from sepconv.backends.cuda import runtime

    (kind, _, _, taps, _, name, last, _), (registers, occupancy, widest, fmas) = case[:8], case[8:]
    for cc in CCS[:1] if "16" in name and (kind != "depthwise" or taps > 3) else CCS if sweep else CCS[2:3]:  # newer ones have tensor cores for it
        found = read(machine_code, case, cc)
        where = (
            f"sm_{cc[0]}{cc[1]}: {found.registers} registers, {found.spills} bytes spilled, {found.stack} of stack, occupancy {found.occupancy:.2f}"
        )
        assert found.spills == 0 and found.stack == 0 and found.counts["local"] == 0, where
        assert found.registers <= registers and found.occupancy >= occupancy, where
        assert max(found.loads) == widest and found.loads[widest] > 1, (where, found.loads)
        assert found.shared <= runtime.MOST_SHARED and not re.search(r"\b(atom|red)\.", found.ptx.replace("shared.", "")), (
            where
        )  # U9; U16: the same bits twice
        if kind == "depthwise" and last:  # weights are words of shared memory; where they lie, one load would meet 32 lines of the cache
            narrow = sum(n for size, n in found.loads.items() if size < widest)
            assert taps**2 <= found.counts["shared load"] <= 4 * taps**2 and narrow <= taps**2 + 4, found.loads
        assert fmas <= found.counts["fma"] and found.counts["double"] == 0 and ".f64" not in found.ptx, where


TENSOR = [  # as KERNELS; the least occupancy is of two blocks, and the last number is of multiply-adds of the tensor cores
    ("pointwise", 256, 256, 1, 1, "float16", True, None, 255, 0.12, 16, 64),
    ("separable", 32, 64, 3, 1, "bfloat16", False, None, 128, 0.15, 16, 16),
    ("standard", 64, 64, 3, 1, "float16", True, None, 255, 0.12, 16, 32),
    ("standard", 3, 32, 3, 2, "float16", False, None, 255, 0.12, 2, 8),
    ("depthwise", 64, 64, 7, 1, "float16", False, "silu", 128, 0.25, 8, 98),
    ("depthwise", 256, 256, 5, 1, "float16", True, "relu6", 255, 0.09, 16, 560),
]
MORE_TENSOR = [  # for the sweep
    ("pointwise", 256, 256, 1, 1, "bfloat16", False, "relu", 255, 0.12, 16, 64),
    ("separable", 128, 256, 3, 1, "float16", True, "relu", 128, 0.25, 16, 16),
    ("standard", 256, 256, 3, 1, "bfloat16", False, "relu6", 255, 0.12, 16, 32),
    ("depthwise", 256, 256, 7, 1, "bfloat16", True, None, 255, 0.09, 16, 784),
]


@pytest.mark.parametrize("case", _cases(TENSOR, MORE_TENSOR))
def test_tensor_cores(case, machine_code, sweep):
    """From sm_80 on: every multiply-add of the product is a tensor core's, fragments come four registers at a time, nothing is moved or spilled."""
    (*_, name, _, _), (registers, occupancy, widest, fmas) = case[:8], case[8:]
    for cc in CCS[1:] if sweep else CCS[1:2]:
        found = read(machine_code, case, cc)
        count = lambda pattern, sass=found.sass: len(re.findall(pattern, sass))
        where = f"sm_{cc[0]}{cc[1]}: {found.registers} registers, {found.spills} bytes spilled, occupancy {found.occupancy:.2f}"
        assert found.spills == 0 and found.stack == 0 and found.counts["local"] == 0, where
        assert found.registers <= registers and found.occupancy >= occupancy and found.shared <= 48 * 2**10, where
        assert count(r"HMMA\.(?:16816|1688)\.F32" + r"\.BF16" * (name == "bfloat16")) == fmas, where
        assert count(r"LDSM\.16\.MT?88\.4") * (4 if case[0] == "pointwise" else 1) <= fmas and max(found.loads) == widest, where
        assert found.counts["double"] == 0 and ".f64" not in found.ptx, where


def test_one_lowering_for_all(machine_code):
    """Numba's half of the compilation is done once for four generations: what NVIDIA's makes of it is what `cuda.compile` gives for each."""
    from numba import cuda, float32, int64, void

    from sepconv.backends.cuda import lanes

    def root(y, bits):
        y[cuda.grid(1)] = lanes.number(bits, "float32") ** np.float32(0.5)

    signature = void(float32[::1], int64)
    for cc in CCS:
        own = cuda.compile(root, signature, device=False, abi="numba", output="ptx", cc=cc)[0]
        found = machine_code._ptx(root, signature, cc)
        body = lambda text: re.sub(r"_Z\w+", "", text)  # without names, which tell one compilation from the next
        assert f".target sm_{cc[0]}{cc[1]}" in found and body(found) == body(own)


def test_predictions(machine_code):
    """Instructions in loops count as often as gives the multiply-adds that a tile is known to take; limits and bytes of known cases."""
    from sepconv.backends.cuda import plans, predict

    f32 = np.dtype("float32")
    for kind, weight, k in (("depthwise", (64, 1, 3, 3), 3), ("pointwise", (256, 64), 1)):
        options = {"padding": 1} if k == 3 else {}
        p = resolve(kind, 2, ((8, 64, 64, 64), f32), (weight, f32), **options)
        plan = plans.imagined((p,), False)
        found = predict.predict(plan, machine_code.report(plan, (9, 0)))
        outputs = 8 * weight[0] * 64 * 64
        assert found.bytes == pytest.approx(4 * (8 * 64 * 64 * 64 + np.prod(weight) + outputs) / outputs)
        assert found.multiply_adds == (9 if kind == "depthwise" else 64) and found.instructions > found.multiply_adds
        assert found.limit == ("memory" if kind == "depthwise" else "issue") and 0.5 < found.share <= 1
        assert "an H100" in str(found)
    direct = plans.imagined((resolve("depthwise", 2, ((1, 4, 9, 9), f32), ((4, 1, 3, 3), f32), padding=1, padding_mode="wrap"),), False)
    with pytest.raises(ValueError, match="direct"):
        predict.predict(direct, machine_code.report(direct, (9, 0)))


SHARES = [  # taps, dtype, channels last, channels, size, share
    *((k, "float32", False, 128, 56, share) for k, share in ((3, 0.95), (5, 0.95), (7, 0.9), (31, 0.7))),
    *((k, name, True, 128, 56, 0.95) for k, name in ((3, "float32"), (7, "float32"), (7, "float16"), (5, "float16"))),
    (7, "float16", False, 128, 56, 0.95), (3, "float16", True, 72, 56, 0.95), (3, "float16", True, 960, 7, 0.85),
    (7, "float32", False, 384, 14, 0.85), (7, "float32", False, 768, 7, 0.85), (7, "float32", True, 96, 56, 0.95),
    *((7, "float16", last, c, size, 0.85) for last in (False, True) for c, size in ((192, 28), (384, 14))),
    (7, "float16", True, 768, 7, 0.85), (5, "float16", True, 960, 7, 0.95), (5, "float16", False, 120, 14, 0.95),
]  # fmt: skip
ALWAYS = (SHARES[2], SHARES[6], SHARES[13])  # the others are for the sweep


@pytest.mark.parametrize("k, name, last, c, size, share", [pytest.param(*row, marks=() if row in ALWAYS else pytest.mark.sweep) for row in SHARES])
def test_predicted_shares(k, name, last, c, size, share, machine_code):
    """Depthwise layers of MobileNet's and ConvNeXt's sizes are held by memory, RepLKNet's by multiply-adds, and not by what surrounds them."""
    from sepconv.backends.cuda import plans, predict

    dtype, x = np.dtype(name), (32, size, size, c) if last else (32, c, size, size)
    p = resolve("depthwise", 2, (x, dtype), ((c, 1, k, k), dtype), padding=k // 2, layout="NHWC" if last else "NCHW")
    plan = plans.imagined((p,), last)
    report = machine_code.report(plan, (9, 0))
    found = predict.predict(plan, report)
    assert found.share >= share and report.spills == 0, str(found)


def test_direct_kernels_compile(machine_code):
    """The net has one kernel for each dtype; those that are not here are summed like one that is. float32's and float16's hold no double."""
    from sepconv.backends.cuda import plans

    for dtype in (BFLOAT16, *map(np.dtype, ("float16", "float32", "float64", "complex64", "int8", "int64"))):
        p = resolve("standard", 2, ((1, 4, 9, 9), dtype), ((6, 2, 3, 3), dtype), groups=2, padding=1, padding_mode="reflect")
        choice = plans.imagined((p,), False).choice
        source = machine_code.ptx(choice.kernel(choice.factory, *choice.cells), len(choice.fields), (9, 0))
        assert dtype.name in ("float64", "complex128") or ".f64" not in source, dtype
