"""`sepconv bench --device cuda`: the same layers on a GPU, in sepconv, PyTorch (cuDNN) and CuPy (cuBLAS), timed by CUDA's events.

Cases, rows, tables, JSON and picture are those of the CPU's run; gpu_libraries.py has the libraries, gpu_machine.py the GPU's clock and roofs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numba
import numpy as np

from ..backends.cuda import runtime
from ..problem import integer, one_of
from . import _bar, _check, _prepare, _present, cases, gpu_libraries, gpu_machine, libraries
from .cases import Arrays, Case
from .results import Report, Row

DTYPES = ("float32", "float16")


def run(
    op: Sequence[str] | None = None,
    net: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    *,
    dtype: str = "float32",
    batch: int = 32,
    layout: str = "both",
    names: Sequence[str] | None = None,
    seconds: float = 1.0,
    epilogue: str = "none",
    roofs: bool = True,
    tell: Callable[[str], None] | None = None,
    progress: bool = False,
    groups: list[list[Case]] | None = None,
) -> Report:
    """Measure layers on the current GPU. Results are checked first, in float64 on the CPU, on the first and the last image of a batch.

    Parameters
    ----------
    op, net, layers, layout, seconds, epilogue, roofs, tell, progress : as of `sepconv.bench.run`.
    dtype : "float32" or "float16", of all arrays; with float32 PyTorch is measured with TF32, too, which rounds factors to 11 bits.
    batch : images per call.
    names : of libraries, or parts; None: all that are installed.
    groups : cases instead of the networks' layers, those that are the same work together.

    Returns
    -------
    Report; `Report.machine["gpu"]` names the GPU.

    Raises
    ------
    RuntimeError : no GPU; ValueError, TypeError : an argument, named.

    >>> report = sepconv.bench.gpu.run(["depthwise"], ["mobilenet_v1"], batch=64)
    """
    _check(layout, seconds, epilogue)
    one_of("dtype", dtype, DTYPES)
    batch = integer("batch", batch, 1, "a positive int")
    runtime.require()
    threads = 1  # of the host; it only queues
    groups = cases.grouped(cases.select(op, net, layers)) if groups is None else groups
    chosen, absent = _present(gpu_libraries.choose(names, layout, dtype, batch))
    tell = tell or (lambda text: None)
    machine = {**gpu_machine.facts(), "python": platform.python_version(), "numba": numba.__version__, "libraries": libraries.versions(chosen)}
    options = dict(op=op, net=net, layers=layers, layout=layout, threads=threads, seconds=seconds, epilogue=epilogue, dtype=dtype, batch=batch)
    report = Report(machine, options, {lib.name: lib.note for lib in chosen}, absent, [])
    found = None
    if roofs:
        tell("measuring the GPU's roofs")
        found = gpu_machine.measure()
        report.machine |= {"gflops": found.gflops, "copy_gbytes": {str(size): rate for size, rate in found.bandwidth.items()}}
    with ExitStack() as stack:
        for session in dict.fromkeys(lib.session for lib in chosen):
            stack.enter_context(session(threads))
        for group in _bar(groups, progress):
            report.rows.append(_row(group, chosen, seconds, epilogue, batch, np.dtype(dtype), found))
    return report


def _row(group: list[Case], chosen: Sequence[Any], seconds: float, epilogue: str, batch: int, dtype: np.dtype, roofs: Any) -> Row:
    case, cost = group[0], group[0].cost
    weights = 4 * cost.params
    moved = (batch * (cost.bytes - weights) + weights) * dtype.itemsize // 4
    row = Row(
        case.op, case.net, case.name, f"{batch} x {case.shape}", repr((case.key, batch, dtype.name)), case.stride,
        [f"{each.net} {each.name}" for each in group], batch * cost.macs, moved, 2 * batch * cost.macs / moved,
    )  # type: ignore[arg-type]  # fmt: skip
    if roofs is not None:
        row.bound_ms = 1e3 * roofs.seconds(2 * row.macs, moved)
    prepared = _prepare(case, Arrays(case, epilogue), chosen, 1, row)
    for name, times in gpu_machine.timed({name: each.call for name, each in prepared.items()}, seconds).items():
        row.least_ms[name], row.median_ms[name], row.calls[name] = 1e3 * times.least, 1e3 * times.median, times.calls
    return row


def lines(report: Report) -> list[str]:
    """Where and how it was measured, a fact a line."""
    m, o = report.machine, report.options
    versions = ", ".join(f"{name} {version}" for name, version in {"python": m["python"], "numba": m["numba"], **m["libraries"]}.items())
    told = [f"{m['gpu']}, compute capability {m['cc']}, driver {m['driver']}; {m['platform']}", versions]
    if "gflops" in m:
        copies = ", ".join(f"{int(size) >> 20} MiB {value:.0f}" for size, value in m["copy_gbytes"].items())
        told.append(f"measured in this run: {m['gflops']:.0f} GFLOP/s of fused multiply-adds in float32; copies, GB/s read and written: {copies}")
    told.append(f"{o['dtype']}, {o['batch']} images, epilogue: {o['epilogue']}; {o['seconds']:g} s a convolution, libraries in turns, CUDA's events")
    return told
