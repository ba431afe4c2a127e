"""Some filters of photographs under pytest-benchmark, in every library of `sepconv.bench` and in plain NumPy: for comparing one commit with another.

    python -m pytest benchmarks/bench_images.py                       a table for each filter
    python -m pytest benchmarks -k "gaussian and uint8" --benchmark-compare

`sepconv bench --op gaussian box sobel dense outer` measures all of them, with the libraries in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checked import checked

from sepconv.bench.graphs import Prepared, Unsupported
from sepconv.bench.image_libraries import LIBRARIES
from sepconv.bench.images import Arrays, Case
from sepconv.bench.libraries import Library

pytest.importorskip("skimage", reason="the photographs need sepconv[bench]")

FILTERS = [("gaussian", 3), ("gaussian", 15), ("gaussian", 61), ("box", 3), ("box", 31), ("sobel", 3), ("dense", 5), ("outer", 15)]
CASES = [
    Case(op, "1080p", channels, dtype, taps)
    for op, taps in FILTERS
    for dtype, channels in (("float32", 1), ("uint8", 1), ("uint8", 3))
    if not (op == "sobel" and channels > 1 or op == "outer" and dtype == "uint8")
]


def _numpy(case: Case, arrays: Arrays, threads: int) -> Prepared:
    """Two passes, each a sum of shifted slices of a padded image in float32: what one writes without a library."""
    if case.dense or case.op == "outer":
        raise Unsupported("only gaussian, box and sobel")
    half, (height, width) = case.taps // 2, case.size
    across = np.array([-1.0, 0, 1], np.float32) if case.op == "sobel" else arrays.line.astype(np.float32)
    down = arrays.line.astype(np.float32)

    def call() -> np.ndarray:
        wide = np.pad(arrays.x.reshape(height, width, -1).astype(np.float32), ((half, half), (half, half), (0, 0)), "symmetric")
        between = sum(weight * wide[i : i + height] for i, weight in enumerate(down))
        made = sum(weight * between[:, j : j + width] for j, weight in enumerate(across))
        return made.astype(case.result).reshape(case.array_shape)

    return Prepared(call, arrays.patches)


@pytest.mark.parametrize("library", (*LIBRARIES, Library("NumPy", "numpy", "image", _numpy)), ids=lambda library: library.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op} {case.net} {case.name}")
def bench(benchmark: Any, case: Case, library: Library) -> None:
    checked(benchmark, case, Arrays(case), library)
