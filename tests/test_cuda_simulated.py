"""The suite on the CUDA backend in Numba's simulator. Where there is a GPU, the other files run their tests of operations on it."""

from __future__ import annotations

import os
import re

import pytest
from cuda_children import TESTS, child, compiled


@compiled
@pytest.mark.parametrize(
    "file",
    ("test_ops.py", pytest.param("test_ndimage.py", marks=pytest.mark.sweep), "test_ndimage_properties.py", "test_numerics.py", "test_errors.py"),
)
def test_suite_in_the_simulator(file, sweep):
    """Every test of operations, on arrays that Numba's simulator takes for a GPU's; what is too large for it is skipped there, with a reason.
    Without --sweep, some that take long and have a like are left out."""
    if file not in ("test_ops.py", "test_ndimage.py") and not os.environ.get("SEPCONV_SIMULATE_ALL"):
        pytest.skip("takes some minutes in the simulator; set SEPCONV_SIMULATE_ALL=1")
    chosen = "cuda" if sweep else "cuda and not groups and not explicit and not causal and not without_batch"
    done = child("-m", "pytest", str(TESTS / file), "--backend", "cuda", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen, simulator=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > (
        50 if file in ("test_ops.py", "test_numerics.py", "test_errors.py") else 30 if file == "test_ndimage.py" else 1
    )
