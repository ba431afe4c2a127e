"""What a call allocates besides its result: scratch of no more than a core's second cache for each thread, and packed weights, once a thread.

Measured from outside, by the most memory that a process held during a call; glibc is told to give every larger piece back at once. What is
allocated and never touched is not held: it is seen by what a process may not ask for.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import pytest
from processes import start, told

SECOND_CACHE = 2**20  # bytes
RESETS = pathlib.Path("/proc/self/clear_refs")

PRELUDE = """
import json, resource, sys
import numpy as np
import sepconv

def held(what):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

def drawn(*shape):
    return np.ones(shape, np.float32)

def fits(call, out, allowed):
    \"\"\"Whether the process can make the call if it may ask for no more than so many bytes.\"\"\"
    for _ in range(3):  # Python may happen to need room for objects of its own
        resource.setrlimit(resource.RLIMIT_AS, (held("VmSize") + allowed, resource.RLIM_INFINITY))
        try:
            call(out=out)
            return True
        except MemoryError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return False

def most(call, out, scratch, packed):
    \"\"\"Bytes that the process held at most during a call, beyond those before it; bytes that it may hold; whether it can do with them.\"\"\"
    for _ in range(3):
        call(out=out)  # compiles, and makes all that is kept
    found = []
    for _ in range(3):
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
        before = held("VmRSS")
        call(out=out)
        found.append(held("VmHWM") - before)
    allowed = sepconv.get_num_threads() * (scratch + packed) + 2**18
    return min(found), allowed, fits(call, out, allowed)
"""

# Operation, shape of x and of the result, weights, options. x and the result are much larger than what may be allocated.
FIRST, LAST, SAME = (1, 64, 512, 512), (1, 512, 512, 64), "padding='same'"
CASES = {
    "depthwise NCHW": ("depthwise_conv2d", FIRST, [(64, 3, 3)], SAME),
    "depthwise NCHW reflect": ("depthwise_conv2d", FIRST, [(64, 3, 3)], f"{SAME}, padding_mode='reflect'"),
    "depthwise NHWC": ("depthwise_conv2d", LAST, [(64, 3, 3)], f"{SAME}, layout='NHWC'"),
    "depthwise NHWC wrap": ("depthwise_conv2d", LAST, [(64, 3, 3)], f"{SAME}, padding_mode='wrap', layout='NHWC'"),
    "pointwise NCHW": ("pointwise_conv2d", (1, 512, 128, 128), [(512, 512)], ""),
    "pointwise NCHW deep": ("pointwise_conv2d", (1, 6000, 7, 7), [(6000, 6000)], ""),
    "pointwise NHWC": ("pointwise_conv2d", (1, 128, 128, 512), [(512, 512)], "layout='NHWC'"),
    "pointwise NHWC far apart": ("pointwise_conv2d", (1, 64, 64, 1024), [(1024, 1024)], "layout='NHWC'"),
    "separable NCHW": ("separable_conv2d", (1, 256, 128, 256), [(256, 3, 3), (256, 256)], SAME),
    "separable NHWC": ("separable_conv2d", (1, 128, 256, 256), [(256, 3, 3), (256, 256)], f"{SAME}, layout='NHWC'"),
    "standard NCHW": ("conv2d", (1, 64, 256, 256), [(64, 64, 3, 3)], SAME),
    "standard NHWC": ("conv2d", (1, 256, 256, 64), [(64, 64, 3, 3)], f"{SAME}, layout='NHWC'"),
}
PACKED = {"pointwise NHWC far apart": 1024 * 1024 * 4, "separable NHWC": 256 * 256 * 4}  # bytes of weights that each thread packs whole


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Bytes of each case, measured in one child."""
    lines = ["sepconv.set_num_threads(min(2, sepconv.get_num_threads()))", "found = {}"]
    for name, (function, shape, weights, options) in CASES.items():
        lines += [f"x, w = drawn(*{shape}), [drawn(*shape) for shape in {weights}]"]
        call, bytes = f"lambda out: sepconv.{function}(x, *w, out=out, {options})", f"{SECOND_CACHE}, {PACKED.get(name, 0)}"
        lines += [f"found[{name!r}] = most({call}, drawn(*{shape}), {bytes})"]
    script = "\n".join([*lines, "print(json.dumps(found), flush=True)"])
    return told(start(script, prelude=PRELUDE, env={"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}), timeout=300)


@pytest.mark.skipif(
    sys.platform != "linux" or not RESETS.exists(), reason="no /proc/self/clear_refs: the most that was held cannot be asked for here"
)
@pytest.mark.parametrize("name", CASES)
def test_scratch_fits_the_second_cache(measured: dict[str, Any], name: str) -> None:
    held, allowed, fits = measured[name]
    assert held <= allowed and fits
