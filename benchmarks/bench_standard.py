"""Standard convolutions: the first layers of networks. SciPy is left out: it has no sum over channels."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import LIBRARIES, Arrays, Call, channels_last, measure, numpy_standard, torch_chain

import sepconv

# network and layer, channels in and out, height = width, kernel, stride
LAYERS = [
    ("MobileNet V1 stem", 3, 32, 224, 3, 2),
    ("MobileNet V3 stem", 3, 16, 224, 3, 2),
]


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "scipy"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
def bench(benchmark: Any, arrays: Arrays, layer: tuple[str, int, int, int, int, int], library: str) -> None:
    title, c_in, c_out, size, k, stride = layer
    x, weight = arrays.normal(1, c_in, size, size), arrays.normal(c_out, c_in, k, k)
    options = dict(stride=stride, padding=k // 2)
    last = channels_last(x)
    calls: dict[str, Call] = {
        "sepconv NCHW": lambda: sepconv.conv2d(x, weight, **options),
        "sepconv NHWC": lambda: sepconv.conv2d(last, weight, layout="NHWC", **options),
        "numpy": lambda: numpy_standard(x, weight, stride, k // 2),
    }
    call = calls.get(library) or torch_chain(library, x, (weight, options))
    expected = numpy_standard(x, weight, stride, k // 2)
    group = f"standard {title}: {c_in} -> {c_out}, {size} x {size}, {k}x{k}, stride {stride}"
    measure(benchmark, group, call, expected, last=library == "sepconv NHWC")
