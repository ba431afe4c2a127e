"""`sepconv bench --device cuda` where there is no GPU: all of it but the numbers, on toy layers in Numba's simulator."""

from __future__ import annotations

from cuda_children import child, compiled

TOY = """
import numpy, sys
from sepconv.bench import gpu, gpu_libraries, report as tables
from sepconv.bench.cases import Case
from sepconv.data import Layer
layer = lambda kind, inputs, outputs, k, stride: Layer("toy", kind, kind, inputs, outputs, (6, 8), (k, k), stride, (k // 2,) * 2, 1, 1, 1, "")
depthwise, pointwise, stem = layer("depthwise", 4, 4, 3, 1), layer("pointwise", 4, 6, 1, 1), layer("standard", 3, 4, 3, 2)
groups = [[Case("depthwise", (depthwise,))], [Case("separable", (depthwise, pointwise))], [Case("standard", (stem,)), Case("standard", (stem,))]]
for dtype, size in (("float32", 4), ("float16", 2))[: 1 + int(sys.argv[1])]:
    report = gpu.run(dtype=dtype, batch=2, seconds=0.01, epilogue="relu", groups=groups, names=["sepconv"])
    for row in report.rows:
        assert set(row.least_ms) == {"sepconv NCHW", "sepconv NHWC"} and not row.wrong, row
        assert row.bound_ms > 0 and min(row.calls.values()) > 0
    assert report.rows[0].bytes == size * (2 * 2 * 4 * 48 + 36) and report.rows[0].macs == 2 * 4 * 48 * 9
    text = tables.markdown(report)
    assert "Numba's simulator" in text and f"{dtype}, 2 images" in text and "copies, GB/s" in text
    assert type(report).from_json(report.to_json()).rows == report.rows
add = gpu_libraries._first_and_last
try:
    add(numpy.arange(24.0).reshape(2, 1, 3, 4), False, None)
except ArithmeticError as error:
    print(error)
names = [lib.name for lib in gpu_libraries.choose(None, "both", "float32", 1)]
print(len(names), [lib.name for lib in gpu_libraries.choose(["cupy", "tf32"], "both", "float32", 1)])
"""


@compiled
def test_toy_layers(sweep):
    """Every operation, and dtype in sweeps, is right, has a row with its bytes, a bound from measured roofs, a table and JSON."""
    done = child("-c", TOY, str(int(sweep)), simulator=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[-2:]
    assert "the first and the last image" in first
    assert second == "8 ['CuPy', 'CuPy NHWC', 'PyTorch TF32', 'PyTorch channels_last TF32']"


@compiled
def test_refused():
    """Options that do not go together, and no GPU: one line that says so, before any work."""
    import sepconv

    device = {"--dtype float16": "--dtype needs --device cuda", "--device cuda --threads 2": "--threads does not go with --device cuda",
              "--device cuda --dtype int8 --layers dw": "dtype is 'int8'"}  # fmt: skip
    if not sepconv.backends()["cuda"]["available"]:
        device["--device cuda"] = sepconv.backends()["cuda"]["reason"].removeprefix("RuntimeError: ")[:40]
    for arguments, text in device.items():
        done = child("-m", "sepconv", "bench", *arguments.split())
        assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr, done.stderr
