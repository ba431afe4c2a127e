"""Pointwise (1x1) layers of well-known networks. SciPy has none; NumPy's is a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import LIBRARIES, Arrays, Call, channels_last, measure, torch_chain

import sepconv

# network and layer, channels in and out, height = width
LAYERS = [
    ("MobileNet V1 s0.0", 32, 64, 112),
    ("MobileNet V1 s1.1", 128, 128, 56),
    ("MobileNet V1 s3.1", 512, 512, 14),
    ("MobileNet V1 s4.1", 1024, 1024, 7),
    ("MobileNet V2 s1.1 expand", 24, 144, 56),
    ("ConvNeXt-T pw1", 192, 768, 28),
]


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "scipy"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer[0])
def bench(benchmark: Any, arrays: Arrays, layer: tuple[str, int, int, int], library: str) -> None:
    title, c_in, c_out, size = layer
    x, weight = arrays.normal(1, c_in, size, size), arrays.normal(c_out, c_in)
    last = channels_last(x)
    product = lambda: (weight @ x.reshape(c_in, -1)).reshape(1, c_out, size, size)  # noqa: E731
    calls: dict[str, Call] = {
        "sepconv NCHW": lambda: sepconv.pointwise_conv2d(x, weight),
        "sepconv NHWC": lambda: sepconv.pointwise_conv2d(last, weight, layout="NHWC"),
        "numpy": product,
    }
    call = calls.get(library) or torch_chain(library, x, (weight[:, :, None, None], {}))
    expected = np.asarray(product())
    measure(benchmark, f"pointwise {title}: {c_in} -> {c_out}, {size} x {size}", call, expected, last=library == "sepconv NHWC")
