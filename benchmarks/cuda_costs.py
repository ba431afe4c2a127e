"""The tables of docs/cuda.md: what kernels cost, read from their machine code.

python benchmarks/cuda_costs.py                 needs sepconv[cuda-test], and no GPU
python benchmarks/cuda_costs.py networks        the depthwise layers of NETWORKS: the least share of each, and all below WELL
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

from sepconv import data
from sepconv.backends.cuda import machine_code, plans
from sepconv.backends.cuda.predict import predict
from sepconv.problem import resolve

CASES = [  # operation, channels, outputs, taps, stride, dtype, layout; 56 x 56 but for the stem
    *(("depthwise", 128, 128, k, s, "float32", "NCHW") for k, s in ((3, 1), (3, 2), (5, 1), (7, 1), (31, 1))),
    *(("depthwise", 128, 128, k, 1, "float32", "NHWC") for k in (3, 5, 7)),
    *(("depthwise", 128, 128, k, 1, "float16", layout) for k in (3, 5, 7) for layout in ("NCHW", "NHWC")),
    *(("pointwise", 256, 256, 1, 1, dtype, layout) for dtype in ("float32", "float16") for layout in ("NCHW", "NHWC")),
    *(("separable", *c, 3, 1, dtype, layout) for c in ((32, 64), (128, 256)) for dtype in ("float32", "float16") for layout in ("NCHW", "NHWC")),
    *(
        ("standard", c, out, 3, s, dtype, layout)
        for c, out, s in ((3, 32, 2), (64, 64, 1), (256, 256, 1))
        for dtype in ("float32", "float16")
        for layout in ("NCHW", "NHWC")
    ),
]
BATCH = 32
NETWORKS, WELL = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "convnext_t"), 0.85


def table() -> str:
    """The predictions for CASES as Markdown."""
    lines = ["| kernel | bytes moved | FMAs | loads | instructions | registers | occupancy | predicted, of the roofline |", "|---|" + "--:|" * 7]
    for op, c, out, k, stride, name, layout in CASES:
        size, dtype = (224 if c == 3 else 56), np.dtype(name)
        x = (BATCH, c, size, size) if layout == "NCHW" else (BATCH, size, size, c)
        options: dict[str, Any] = {"layout": layout} | ({} if op == "pointwise" else {"padding": k // 2, "stride": stride})
        shape = {"pointwise": (out, c), "standard": (out, c, k, k)}.get(op, (c, 1, k, k))
        first = resolve("depthwise" if op == "separable" else op, 2, (x, dtype), (shape, dtype), **options)
        found: tuple[Any, ...] = (first,)
        if op == "separable":
            found = (first, resolve("pointwise", 2, (first.out_shape, dtype), ((out, c), dtype), layout=layout))
        plan = plans.imagined(found, layout == "NHWC")
        title = f"{op} {c}{'' if op == 'depthwise' else f' -> {out}'}" + f" k{k}" * (op != "pointwise") + f" s{stride}" * (stride > 1)
        if plan.choice is None:
            lines.append(f"| {title}, {name}, {layout} | | | | | | | not fused |")
            continue
        report = machine_code.report(plan, (9, 0))
        p = predict(plan, report)
        numbers = f"{p.bytes:.3g} | {p.multiply_adds:.4g} | {p.loads:.3g} | {p.instructions:.4g} | {report.registers} | {report.occupancy:.0%}"
        lines.append(f"| {title}, {name}, {layout} | {numbers} | {p.share:.0%}, {p.limit} |")
    return "\n".join(lines)


def networks() -> str:
    """Of the depthwise layers of NETWORKS, as Markdown: the least predicted share of the roofline by dtype and layout, then all below WELL."""
    kinds = list(itertools.product(("float32", "float16"), ("NCHW", "NHWC")))
    found, plan_of = [layer for name in NETWORKS for layer in data.layers(name) if layer.kind == "depthwise"], {}
    for layer, (name, layout) in itertools.product(found, kinds):
        c, size, (k, _), stride = layer.in_channels, layer.in_size, layer.kernel, layer.stride
        x, dtype = ((BATCH, c, *size) if layout == "NCHW" else (BATCH, *size, c)), np.dtype(name)
        p = resolve("depthwise", 2, (x, dtype), ((c, 1, k, k), dtype), layout=layout, padding=k // 2, stride=stride)
        plan_of[f"{c} x {size[0]} x {size[1]} k{k} s{stride}", name, layout] = plans.imagined((p,), layout == "NHWC")
    shares = {}
    for key, plan in sorted(plan_of.items(), key=lambda item: repr(item[1].choice.cells)):  # one kernel after the other: each is compiled once
        shares[key] = predict(plan, machine_code.report(plan, (9, 0)))
    lines = ["| least share | " + " | ".join(f"{name}, {layout}" for name, layout in kinds) + " |", "|---|" + "--:|" * len(kinds)]
    for net in NETWORKS:
        names = {f"{n.in_channels} x {n.in_size[0]} x {n.in_size[1]} k{n.kernel[0]} s{n.stride}" for n in found if n.net == net}
        least = [min(p.share for (text, *own), p in shares.items() if text in names and tuple(own) == kind) for kind in kinds]
        lines.append(f"| {net} | " + " | ".join(f"{share:.0%}" for share in least) + " |")
    low = sorted((p.share, *key, p.limit) for key, p in shares.items() if p.share < WELL)
    return "\n".join([*lines, "", *(f"- {text}, {name}, {layout}: {share:.0%}, {limit}" for share, text, name, layout, limit in low)])


if __name__ == "__main__":
    print(networks() if sys.argv[1:] == ["networks"] else table())
