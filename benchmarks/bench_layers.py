"""Some layers of `sepconv.data` under pytest-benchmark, in every library of `sepconv.bench`: for comparing one commit with another.

    python -m pytest benchmarks                                       a table for each layer
    python -m pytest benchmarks --benchmark-autosave                  the same, and kept
    python -m pytest benchmarks --benchmark-compare                   beside the run kept last
    python -m pytest benchmarks -k "depthwise and sepconv"            less

`sepconv bench` measures all layers, with the libraries in turns.
"""

from __future__ import annotations

from typing import Any

import pytest
from checked import checked

from sepconv.bench import cases
from sepconv.bench.cases import Arrays, Case
from sepconv.bench.libraries import LIBRARIES, Library

LAYERS = {
    "depthwise": [
        "mobilenet_v1 s0.0.dw", "mobilenet_v1 s1.0.dw", "mobilenet_v1 s3.1.dw", "mobilenet_v1 s4.1.dw", "convnext_t dw7", "replknet_31b dw5_small",
        "replknet_tab1 R64_k13",
    ],
    "pointwise": [
        "mobilenet_v1 s0.0.project", "mobilenet_v1 s1.1.project", "mobilenet_v1 s3.1.project", "mobilenet_v1 s4.1.project",
        "mobilenet_v2 s1.1.expand", "convnext_t pw1",
    ],
    "separable": [
        "mobilenet_v1 s0.0.dw+s0.0.project", "mobilenet_v1 s1.0.dw+s1.0.project", "mobilenet_v1 s1.1.dw+s1.1.project",
        "mobilenet_v1 s3.1.dw+s3.1.project", "xception_299 mid.dw+mid.pw",
    ],
    "standard": ["mobilenet_v1 stem", "mobilenet_v3_large stem"],
}  # fmt: skip


def _case(op: str, title: str) -> Case:
    net, _, name = title.partition(" ")
    return next(case for case in cases.select([op], [net]) if case.name == name)


CASES = [_case(op, title) for op, titles in LAYERS.items() for title in titles]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op} {case.net} {case.name}")
def bench(benchmark: Any, case: Case, library: Library) -> None:
    checked(benchmark, case, Arrays(case), library)
