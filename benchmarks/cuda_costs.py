"""The table of docs/cuda.md: what kernels cost, read from their machine code.

python benchmarks/cuda_costs.py        needs sepconv[cuda-test], and no GPU
"""

from __future__ import annotations

from typing import Any

import numpy as np

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


if __name__ == "__main__":
    print(table())
