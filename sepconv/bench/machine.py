"""What the numbers were measured on: the processor, and its roofs, measured in the same run: fused multiply-adds and copies a second."""

from __future__ import annotations

import functools
import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..backends.cpu.runtime import machine as vectors_of
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
    known = vectors_of()
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


@functools.cache
def _kernels(parallel: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    known = vectors_of()
    lanes, accumulators = known.bytes // FLOAT, known.registers * 3 // 4
    step = STREAMS * known.bytes

    @njit(parallel=parallel, nogil=True)
    def compute(base, pitch, chunks, count):  # type: ignore[no-untyped-def]
        for chunk in prange(chunks):
            _multiply_add(base + chunk * pitch, count, lanes, accumulators)

    @njit(parallel=parallel, nogil=True)
    def copy(to, at, chunks, size, repeats):  # type: ignore[no-untyped-def]
        for chunk in prange(chunks):
            for _ in range(repeats):
                for i in range(chunk * size, chunk * size + size, step):
                    _move(to + i, at + i, lanes)

    return compute, copy


# --- measurements --------------------------------------------------------------------------------------------------


def measure(threads: int) -> Roofs:
    """The roofs with so many threads; about a second, and one more to compile."""
    before = numba.get_num_threads() if threads > 1 else None
    try:
        if threads > 1:
            numba.set_num_threads(threads)
        compute, copy = _kernels(threads > 1)
        return Roofs(_peak(compute, threads), {size: _bandwidth(copy, threads, size) for size in SIZES})
    finally:
        if before is not None:
            numba.set_num_threads(before)


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


def _peak(compute: Callable[..., None], threads: int) -> float:
    known, pitch = vectors_of(), 4096
    room = np.zeros(threads * pitch // FLOAT, np.float32)
    operations = 2 * (known.bytes // FLOAT) * (known.registers * 3 // 4) * threads
    return _rate(lambda repeats: compute(room.ctypes.data, pitch, threads, repeats * 1000), operations * 1000) / 1e9


def _bandwidth(copy: Callable[..., None], threads: int, footprint: int) -> float:
    step = STREAMS * vectors_of().bytes
    size = max(1, footprint // (2 * threads * step)) * step  # bytes that one thread reads, and writes
    room = np.ones(2 * threads * size // FLOAT + 64, np.float32)
    start = room.ctypes.data + -room.ctypes.data % 256
    return _rate(lambda repeats: copy(start + threads * size, start, threads, size, repeats), 2 * threads * size) / 1e9
