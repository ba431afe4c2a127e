"""Depthwise-separable layers, both halves together. SciPy does the depthwise half, and NumPy's matrix product the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import LIBRARIES, Arrays, Call, channels_last, measure, numpy_depthwise, scipy_depthwise, torch_chain

import sepconv

# network and layer, channels in and out, height = width, kernel, stride
LAYERS = [
    ("MobileNet V1 s0.0", 32, 64, 112, 3, 1),
    ("MobileNet V1 s1.0", 64, 128, 112, 3, 2),
    ("MobileNet V1 s1.1", 128, 128, 56, 3, 1),
    ("MobileNet V1 s3.1", 512, 512, 14, 3, 1),
    ("Xception middle", 728, 728, 19, 3, 1),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
def bench(benchmark: Any, arrays: Arrays, layer: tuple[str, int, int, int, int, int], library: str) -> None:
    title, c_in, c_out, size, k, stride = layer
    x, depthwise, pointwise = arrays.normal(1, c_in, size, size), arrays.normal(c_in, k, k), arrays.normal(c_out, c_in)
    options = dict(stride=stride, padding=k // 2)
    last = channels_last(x)

    def mixed(middle: np.ndarray) -> np.ndarray:
        return (pointwise @ middle.reshape(c_in, -1)).reshape(1, c_out, *middle.shape[2:])

    calls: dict[str, Call] = {
        "sepconv NCHW": lambda: sepconv.separable_conv2d(x, depthwise, pointwise, **options),
        "sepconv NHWC": lambda: sepconv.separable_conv2d(last, depthwise, pointwise, layout="NHWC", **options),
        "numpy": lambda: mixed(numpy_depthwise(x, depthwise, stride, k // 2)),
        "scipy": lambda: mixed(scipy_depthwise(x, depthwise, stride, k // 2)),
    }
    steps = (depthwise[:, None], dict(groups=c_in, **options)), (pointwise[:, :, None, None], {})
    call = calls.get(library) or torch_chain(library, x, *steps)
    expected = mixed(numpy_depthwise(x, depthwise, stride, k // 2))
    group = f"separable {title}: {c_in} -> {c_out}, {size} x {size}, {k}x{k}, stride {stride}"
    measure(benchmark, group, call, expected, last=library == "sepconv NHWC")
