"""Depthwise layers of well-known networks."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import LIBRARIES, Arrays, Call, channels_last, measure, numpy_depthwise, scipy_depthwise, torch_chain

import sepconv

# network and layer, channels, height = width, kernel, stride
LAYERS = [
    ("MobileNet V1 s0.0", 32, 112, 3, 1),
    ("MobileNet V1 s1.0", 64, 112, 3, 2),
    ("MobileNet V1 s3.1", 512, 14, 3, 1),
    ("MobileNet V1 s4.1", 1024, 7, 3, 1),
    ("ConvNeXt-T dw7", 96, 56, 7, 1),
    ("RepLKNet-31B small", 128, 56, 5, 1),
    ("RepLKNet 13x13", 384, 64, 13, 1),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
def bench(benchmark: Any, arrays: Arrays, layer: tuple[str, int, int, int, int], library: str) -> None:
    title, channels, size, k, stride = layer
    x, weight = arrays.normal(1, channels, size, size), arrays.normal(channels, k, k)
    options = dict(stride=stride, padding=k // 2)
    last = channels_last(x)
    calls: dict[str, Call] = {
        "sepconv NCHW": lambda: sepconv.depthwise_conv2d(x, weight, **options),
        "sepconv NHWC": lambda: sepconv.depthwise_conv2d(last, weight, layout="NHWC", **options),
        "numpy": lambda: numpy_depthwise(x, weight, stride, k // 2),
        "scipy": lambda: scipy_depthwise(x, weight, stride, k // 2),
    }
    call = calls.get(library) or torch_chain(library, x, (weight[:, None], dict(groups=channels, **options)))
    group = f"depthwise {title}: {channels} x {size} x {size}, {k}x{k}, stride {stride}"
    measure(benchmark, group, call, numpy_depthwise(x, weight, stride, k // 2), last=library == "sepconv NHWC")
