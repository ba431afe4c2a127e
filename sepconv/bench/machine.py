"""What the numbers were measured on: the processor, and its roofs, measured in the same run: fused multiply-adds and copies a second."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..backends.cpu import frame, runtime, team
from ..backends.cpu.frame import OUT, XN, N, X
from ..backends.cpu.simd import Vectors

FLOAT = 4
STREAMS = 8  # vectors of one step of the copy
SIZES = tuple(2**k for k in range(14, 29))  # bytes read and written by one copy, by all threads together: 16 KiB to 256 MiB
SECONDS = 0.02  # of one measurement
# What holds sepconv, oneDNN (in PyTorch and OpenVINO), PyTorch's and NumPy's own kernels, and OpenBLAS to an older instruction set.
HOLDING = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE")


class Roofs(NamedTuple):
    """What the machine can do at most, with so many threads."""

    gflops: float  # fused multiply-adds on registers, two operations each
    bandwidth: dict[int, float]  # GB/s read plus written, by the bytes that a copy touches

    def copy(self, footprint: int) -> float:
        """GB/s at which arrays of so many bytes can be copied where they lie: in a cache, or in memory."""
        sizes = np.log([*self.bandwidth])
        return float(np.interp(math.log(max(1, footprint)), sizes, [*self.bandwidth.values()]))

    def seconds(self, flops: int, footprint: int) -> float:
        """The least time of an operation: its arithmetic at the peak, or its arrays at the speed of a copy, whichever takes longer."""
        return max(flops / self.gflops, footprint / self.copy(footprint)) / 1e9


def cpu_model() -> str:
    """The name the maker gave it, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:  # only Linux has the file
        pass
    return platform.processor() or platform.machine() or "unknown"


def facts(threads: int) -> dict[str, Any]:
    """The machine in words."""
    known = runtime.machine()
    return {
        "cpu": cpu_model(), "llvm_cpu": known.cpu, "isa": known.isa, "vector_bits": 8 * known.bytes, "cores": os.cpu_count(), "threads": threads,
        "variables": {name: os.environ[name] for name in HOLDING if name in os.environ},
        "platform": platform.platform(), "python": platform.python_version(), "numba": numba.__version__, "numpy": np.__version__,
    }  # fmt: skip


# --- kernels -------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def _multiply_add(typing: Any, address: Any, count: Any, lanes: Any, accumulators: Any) -> Any:
    """`count` times acc += x * x in each of the accumulators, more than the latency needs; their sum is written behind x, so that it must be made."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m = Vectors(context, b, "float32", lanes.literal_value)
        x = m.load(args[0])
        slots = [cgutils.alloca_once_value(b, x) for _ in range(accumulators.literal_value)]
        with cgutils.for_range(b, args[1]):
            for slot in slots:
                m.fma(x, x, slot)
        total = b.load(slots[0])
        for slot in slots[1:]:
            total = b.fadd(total, b.load(slot))
        m.store(total, m.at(args[0], lanes.literal_value * FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes, accumulators), codegen


@intrinsic(prefer_literal=True)
def _move(typing: Any, to: Any, at: Any, lanes: Any) -> Any:
    """STREAMS vectors from one address to another."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        m = Vectors(context, b, "float32", lanes.literal_value)
        values = [m.load(m.at(args[1], i * lanes.literal_value * FLOAT)) for i in range(STREAMS)]
        for i, value in enumerate(values):
            m.store(value, m.at(args[0], i * lanes.literal_value * FLOAT))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, lanes), codegen


def _compute(lanes: int, accumulators: int) -> Callable[..., None]:
    def compute(record, chunk):  # type: ignore[no-untyped-def]
        _multiply_add(record[X] + chunk * record[XN], record[N], lanes, accumulators)

    return compute


def _copy(lanes: int) -> Callable[..., None]:
    step = STREAMS * lanes * FLOAT

    def copy(record, chunk):  # type: ignore[no-untyped-def]
        size = record[XN]
        for _ in range(record[N]):
            for i in range(chunk * size, chunk * size + size, step):
                _move(record[OUT] + i, record[X] + i, lanes)

    return copy


# --- measurements --------------------------------------------------------------------------------------------------


def measure(threads: int) -> Roofs:
    """The roofs with so many threads, which are those that sepconv uses; about a second, and one more to compile."""
    return Roofs(_peak(threads), {size: _bandwidth(threads, size) for size in SIZES})


def _rate(run: Callable[[int], None], work: float) -> float:
    """Work a second: repeats grow until a run takes long enough, and the best of some runs counts."""
    repeats = 1
    run(1)
    while True:
        start = time.perf_counter()
        run(repeats)
        seconds = time.perf_counter() - start
        if seconds > SECONDS / 4:
            break
        repeats = max(2 * repeats, int(repeats * SECONDS / 8 / max(seconds, 1e-6)))
    best = seconds
    for _ in range(5):
        start = time.perf_counter()
        run(repeats)
        best = min(best, time.perf_counter() - start)
    return work * repeats / best


def _repeated(kernel: Callable[..., None], threads: int, by: int = 1, **fields: int) -> Callable[[int], None]:
    """Runs a kernel on so many threads; the repeats come in the place of the batch."""
    record = np.zeros(frame.LENGTH, np.int64)
    for name, value in fields.items():
        record[getattr(frame, name)] = value

    def run(repeats: int) -> None:
        record[N] = repeats * by
        team.run(kernel, record, threads)

    return run


def _peak(threads: int) -> float:
    known, pitch = runtime.machine(), 4096
    lanes, accumulators = known.bytes // FLOAT, known.registers * 3 // 4
    room = np.zeros(threads * pitch // FLOAT, np.float32)
    run = _repeated(runtime.kernel(_compute, lanes, accumulators), threads, 1000, X=room.ctypes.data, XN=pitch)
    return _rate(run, 2 * lanes * accumulators * threads * 1000) / 1e9


def _bandwidth(threads: int, footprint: int) -> float:
    lanes = runtime.machine().bytes // FLOAT
    step = STREAMS * lanes * FLOAT
    size = max(1, footprint // (2 * threads * step)) * step  # bytes that one thread reads, and writes
    room = np.ones(2 * threads * size // FLOAT + 64, np.float32)
    start = room.ctypes.data + -room.ctypes.data % 256
    run = _repeated(runtime.kernel(_copy, lanes), threads, X=start, OUT=start + threads * size, XN=size)
    return _rate(run, 2 * threads * size) / 1e9
