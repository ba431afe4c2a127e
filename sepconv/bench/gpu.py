"""`sepconv bench --device cuda`: the same layers on a GPU, in sepconv, PyTorch (cuDNN) and CuPy (cuBLAS), timed by CUDA's events.

Cases, rows, tables, JSON and picture are those of the CPU's run; gpu_libraries.py has the libraries, gpu_machine.py the GPU's clock and roofs. The
host has one thread: it only queues.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence

import numba

from ..backends.cuda import runtime
from ..problem import integer, one_of
from . import Device, _check, _present, cases, gpu_libraries, gpu_machine, libraries, measured
from .cases import Case
from .results import Report

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
    groups = cases.grouped(cases.select(op, net, layers)) if groups is None else groups
    chosen, absent = _present(gpu_libraries.choose(names, layout, dtype, batch))
    machine = {**gpu_machine.facts(), "python": platform.python_version(), "numba": numba.__version__, "libraries": libraries.versions(chosen)}
    options = dict(op=op, net=net, layers=layers, layout=layout, threads=1, seconds=seconds, epilogue=epilogue, dtype=dtype, batch=batch)
    report = Report(machine, options, {lib.name: lib.note for lib in chosen}, absent, [])
    device = Device("GPU", gpu_machine.measure, gpu_machine.timed, batch, dtype)
    return measured(report, groups, lambda case: cases.Arrays(case, epilogue), chosen, device, roofs, tell or (lambda text: None), progress)
