"""The generated code of the CUDA backend, run on the CPU between fences.

python tests/test_cuda_code.py 40        so many layers, their generated kernels on the CPU, as the test below runs them in a child process
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import oracle
import pytest
from cuda_children import child, compiled
from oracle import BFLOAT16, function, values

DEPTHWISE = [  # kernel, stride, dilation, padding, spatial size: every way through the generators, words of 1 to 8 elements
    ((3, 3), 1, 1, 1, (9, 16)), ((3, 3), 2, 1, 1, (9, 18)), ((5, 4), (1, 2), (2, 1), ((2, 1), (0, 3)), (12, 13)), ((9, 3), 1, 1, 4, (12, 20)),
    ((1, 1), 1, 1, 0, (3, 5)), ((7, 7), 1, 1, 3, (7, 7)), ((3, 2, 3), 1, 1, 1, (3, 4, 8)), ((5,), 3, 1, 9, (40,)),
]  # fmt: skip
POINTWISE = [(20, 8, (3, 8)), (8, 9, (4, 4)), (9, 150, (1, 1)), (30, 12, (20, 20)), (1, 1, (5, 3))]  # channels, outputs, spatial size
STANDARD = [  # channels, outputs, kernel, stride, dilation, padding, groups, spatial size
    (3, 9, (3, 3), 2, 1, 1, 1, (11, 14)), (8, 20, (3, 2), (1, 2), (2, 1), ((2, 1), (0, 3)), 1, (9, 12)), (8, 8, (3, 3), 1, 1, 1, 2, (6, 8)),
    (4, 5, (2, 3, 3), 1, 1, 1, 1, (3, 4, 8)), (6, 4, (5,), 3, 1, 9, 1, (40,)), (12, 130, (1, 1), 2, 1, 0, 1, (7, 9)),
]  # fmt: skip
NARROW = [  # channels last, images, channels, side of the map, taps, stride, dtype: tiles that are whole maps, lanes that are no power of two
    (False, 2, 5, 7, 7, 1, "float32"), (False, 2, 5, 7, 5, 1, "float32"), (False, 2, 5, 14, 7, 1, "float32"), (False, 2, 4, 7, 5, 1, "float16"),
    (False, 15, 4, 7, 7, 1, "float16"), (False, 4, 4, 14, 5, 1, "bfloat16"), (True, 2, 72, 7, 3, 1, "float16"), (True, 2, 88, 14, 3, 1, "float32"),
    (True, 2, 44, 13, 5, 2, "float16"), (True, 5, 16, 7, 7, 1, "float16"), (True, 3, 16, 28, 5, 1, "bfloat16"),
]  # fmt: skip
DTYPES = (np.dtype("float32"), np.dtype("float16"), BFLOAT16, np.dtype("float64"))
ACTIVATIONS = (None, "relu6", "silu", "gelu", ("clip", -0.5, 0.25))


def layers() -> list[tuple[str, dict[str, np.ndarray], dict[str, Any]]]:
    """(operation, arrays, options) of calls that have tuned kernels."""
    found: list[tuple[str, dict[str, np.ndarray], dict[str, Any]]] = []
    names = itertools.cycle(ACTIVATIONS)
    for number, (dtype, last) in enumerate(itertools.product(DTYPES, (False, True))):
        for kernel, stride, dilation, padding, size in DEPTHWISE:
            r, dims, c = np.random.default_rng(number), len(size), 8 if number % 3 else 5
            m = 1 if last else 2
            arrays = {"x": values(r, (2, c, *size), dtype), "weight": values(r, (c * m, 1, *kernel), dtype), "bias": values(r, (c * m,), dtype)}
            options = {"stride": stride, "dilation": dilation, "padding": padding, "activation": next(names)}
            found.append(("depthwise_conv", arrays, options | {"layout": oracle.LAYOUTS[dims][last]}))
        for c, outputs, size in POINTWISE:
            r = np.random.default_rng(number)
            arrays = {"x": values(r, (2, c, *size), dtype), "weight": values(r, (outputs, c), dtype), "bias": values(r, (outputs,), dtype)}
            arrays |= {"residual": values(r, (2, outputs, *size), dtype)} if number % 2 == 0 else {}
            found.append(("pointwise_conv", arrays, {"activation": next(names), "layout": oracle.LAYOUTS[2][last]}))
            if c > 1:
                m = 1 if last else 2
                arrays = {"x": arrays["x"], "depthwise": values(r, (m * c, 1, 3, 3), dtype), "pointwise": values(r, (outputs, m * c), dtype)}
                arrays |= {"bias": values(r, (outputs,), dtype), "depthwise_bias": values(r, (m * c,), dtype)}
                options = {"padding": 1, "depthwise_activation": next(names), "activation": next(names), "layout": oracle.LAYOUTS[2][last]}
                found.append(("separable_conv", arrays, options))
        for c, outputs, kernel, stride, dilation, padding, groups, size in STANDARD:
            r, dims = np.random.default_rng(number), len(size)
            weight = values(r, (outputs, c // groups, *kernel), dtype)
            arrays = {"x": values(r, (2, c, *size), dtype), "weight": weight, "bias": values(r, (outputs,), dtype)}
            if number % 3 == 2:  # the weights of a tap next to each other
                arrays["weight"] = np.moveaxis(np.ascontiguousarray(np.moveaxis(weight, 1, -1)), -1, 1)
            options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, "activation": next(names)}
            found.append(("conv", arrays, options | {"layout": oracle.LAYOUTS[dims][last]}))
    return in_order(found)


def narrow() -> list[tuple[str, dict[str, np.ndarray], dict[str, Any]]]:
    """The same of NARROW, with a tap and a pixel that are not finite: padded zeros are multiplied too."""
    found: list[tuple[str, dict[str, np.ndarray], dict[str, Any]]] = []
    for number, (last, images, c, side, k, stride, name) in enumerate(NARROW):
        r, dtype = np.random.default_rng(number), BFLOAT16 if name == "bfloat16" else np.dtype(name)
        arrays = {"x": values(r, (images, c, side, side), dtype), "weight": values(r, (c, 1, k, k), dtype), "bias": values(r, (c,), dtype)}
        arrays["x"][0, 1, 1, 2] = arrays["weight"][2, 0, 0, 0] = np.inf
        options = {"stride": stride, "padding": k // 2, "layout": oracle.LAYOUTS[2][last]}
        found.append(("depthwise_conv", arrays, options))
    return in_order(found)


def in_order(found: list[tuple[str, dict[str, np.ndarray], dict[str, Any]]]) -> list[tuple[str, dict[str, np.ndarray], dict[str, Any]]]:
    for _, arrays, options in found:
        if options["layout"].endswith("C"):
            arrays |= {n: np.ascontiguousarray(np.moveaxis(a, 1, -1)) for n, a in arrays.items() if n in ("x", "residual")}
    return found


def run_layers(count: int | None) -> None:
    """In the child: `count` of the layers, evenly spread, or the narrow ones, with every array against a fence on either side."""
    import cuda_grid
    from fences import Fenced

    every = narrow() if count is None else layers()
    chosen = [every[i * len(every) // count] for i in range(count)] if count is not None and count < len(every) else every
    done = 0
    with cuda_grid.on_cpu():
        for op, arrays, options in chosen:
            fn = function(op, len(options["layout"]) - 2)
            print(op, {n: (a.shape, a.dtype) for n, a in arrays.items()}, options, flush=True)
            want = oracle.expected(fn, **arrays, **options)
            for at_end in (True, False):
                inputs = {name: Fenced(array, at_end) for name, array in arrays.items()}
                out = Fenced(np.zeros(want.wide.shape, want.dtype), at_end)
                for fenced in inputs.values():
                    fenced.freeze()
                hosts = {name: cuda_grid.Host(fenced.array) for name, fenced in inputs.items()}
                fn(**hosts, **options, out=cuda_grid.Host(out.array))
                oracle.compare(out.array, want)
            done += 1
    print(done, "layers right", flush=True)


@compiled
@pytest.mark.parametrize("which", ("all sorts", pytest.param("narrow", marks=pytest.mark.sweep)))
def test_generated_code_on_the_cpu(which, request):
    """The very code that a GPU would run, driven by loops over the grid: right, and no read or write outside the arrays."""
    count = len(NARROW) if which == "narrow" else len(layers()) // 3 if request.config.getoption("--sweep") else 10
    done = child(__file__, which if which == "narrow" else str(count))
    assert done.returncode == 0, f"exit code {done.returncode} at\n{done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"
    assert done.stdout.splitlines()[-1] == f"{count} layers right"


if __name__ == "__main__":
    run_layers(None if sys.argv[1] == "narrow" else int(sys.argv[1]))
