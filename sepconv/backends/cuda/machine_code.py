"""What a kernel becomes on a GPU that need not be here: PTX by Numba, then machine code by NVIDIA's ptxas, read by its disassembler.

`compiled` needs numba-cuda; `read` also the wheels nvidia-cuda-nvcc and nvidia-cuda-nvdisasm (or both programs on PATH).
Occupancy: "CUDA C++ Programming Guide", technical specifications per compute capability.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numba import cuda

from ..cpu.jit import uncollected
from . import runtime

# compute capability -> (warps, blocks, bytes of shared memory) that a multiprocessor holds; all have 65,536 registers
LIMITS = {
    (7, 5): (32, 16, 64 * 2**10), (8, 0): (64, 32, 164 * 2**10), (8, 6): (48, 16, 100 * 2**10), (8, 9): (48, 24, 100 * 2**10),
    (9, 0): (64, 32, 228 * 2**10), (10, 0): (64, 32, 228 * 2**10), (12, 0): (48, 32, 100 * 2**10),
}  # fmt: skip
TOOLS = 'pip install "sepconv[cuda-test]"'
SORTS = {  # of instructions, by pattern; the rest are others
    "fma": r"(?:FFMA2?|HFMA2|DFMA|HMMA)\b",
    "integer": r"(?:IMAD|IADD3?|LEA|SHF|LOP3|IADD|UIADD3|UIMAD|UMOV|MOV|PRMT|VIADD|IABS|ULEA|ULOP3)\b",
    "predicate": r"(?:ISETP|FSETP|PLOP3|P2R|R2P|SEL|FSEL|UISETP|FMNMX)\b",
    "global load": r"LDG?\b", "global store": r"STG?\b", "shared load": r"LDSM?\b",
    "shared store": r"STS\b", "local": r"(?:LDL|STL)\b", "double": r"D(?:FMA|ADD|MUL|SETP)\b", "barrier": r"BAR\b",
}  # fmt: skip
WIDTHS = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}  # bytes of an access, by its suffix


@dataclass(frozen=True)
class Report:
    """One kernel's machine code on one compute capability."""

    cc: tuple[int, int]
    registers: int
    spills: int  # bytes, stores and loads
    stack: int  # bytes
    shared: int  # bytes
    threads: int  # of a block
    counts: dict[str, int]  # instructions by sort, as written (a loop's count once)
    loads: dict[int, int]  # loads from global memory by their bytes
    stores: dict[int, int]
    instructions: int
    ptx: str
    sass: str

    @property
    def occupancy(self) -> float:
        """The share of a multiprocessor's warps that can be resident, from registers, shared memory and blocks."""
        warps, blocks, memory = LIMITS[self.cc]
        own = -(-self.threads // 32)
        by_registers = 65536 // (-(-self.registers * 32 // 256) * 256) // own
        by_memory = memory // (self.shared + 1024) if self.shared else blocks
        return min(by_registers, by_memory, blocks, warps // own) * own / warps


def tool(name: str) -> str | None:
    """The path of one of NVIDIA's programs: from the wheels, newest first, or from PATH."""
    for package in ("nvidia.cu13", "nvidia.cuda_nvcc", "nvidia.cuda_nvdisasm"):
        try:
            found = importlib.import_module(package)
        except ImportError:
            continue
        for folder in found.__path__:
            if os.access(Path(folder) / "bin" / name, os.X_OK):
                return str(Path(folder) / "bin" / name)
    return shutil.which(name)


def missing() -> str | None:
    """Why no machine code can be made here, or None."""
    if runtime.SIMULATED:
        return "NUMBA_ENABLE_CUDASIM is set, and the simulator compiles nothing"
    if runtime.implementation() != "NVIDIA":
        return f"numba-cuda is not installed: {runtime.INSTALL}"
    gone = [name for name in ("ptxas", "nvdisasm") if tool(name) is None]
    return f"{' and '.join(gone)} of NVIDIA's toolkit not found: {TOOLS}" if gone else None


def _require() -> None:
    reason = missing()
    if reason:
        raise RuntimeError(reason)


def ptx(kernel: Callable[..., None], words: int, cc: tuple[int, int]) -> str:
    """The PTX of a kernel that takes a tuple of `words` numbers."""
    return _ptx(kernel, runtime.signature(words), cc)


def _ptx(kernel: Callable[..., None], signature: Any, cc: tuple[int, int]) -> str:
    if hasattr(_numbas(), "_compile_pyfunc_with_fixup"):
        return _lowered(kernel, signature).get_asm_str(cc)
    return cuda.compile(kernel, signature, device=False, abi="numba", output="ptx", cc=cc)[0]


def _numbas() -> Any:
    return importlib.import_module("numba.cuda.compiler")


@functools.lru_cache(4)
def _lowered(kernel: Callable[..., None], signature: Any) -> Any:
    """A kernel's LLVM: Numba's half of `cuda.compile`, which takes the longer and is the same for all of LIMITS; the other is NVIDIA's."""
    with uncollected():
        return _numbas()._compile_pyfunc_with_fixup(kernel, signature, device=False, abi="numba", cc=min(LIMITS))[0]


def judge(kernel: Callable[..., None], signature: Any, threads: int, cc: tuple[int, int] = (9, 0)) -> Report:
    """The machine code of any kernel, a plain function, for a signature of Numba's and blocks of so many threads; RuntimeError says what is missing.

    >>> judge(kernel, numba.types.void(numba.float32[::1], numba.int64), 128).registers
    """
    _require()
    return _assembled(_ptx(kernel, signature, cc), threads, None, cc)


def report(plan: Any, cc: tuple[int, int]) -> Report:
    """The machine code of a plan's kernel on a compute capability; RuntimeError says what is not installed."""
    c = plan.choice
    return _read(c.kernel, c.factory, c.cells, len(plan.words), math.prod(c.block), c.registers, cc)


@functools.lru_cache(64)
def _read(
    make: Callable[..., Any], factory: Callable[..., Any], cells: tuple[Any, ...], words: int, threads: int, most: int | None, cc: tuple[int, int]
) -> Report:
    _require()
    return _assembled(ptx(_made(make, factory, *cells), words, cc), threads, most, cc)


@functools.lru_cache(4)
def _made(make: Callable[..., Any], *cells: Any) -> Any:
    return make(*cells)


def _assembled(source: str, threads: int, most: int | None, cc: tuple[int, int]) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        text.write_text(source)
        log = _run(tool("ptxas"), "-v", f"-arch=sm_{cc[0]}{cc[1]}", *([f"-maxrregcount={most}"] if most else []), text, "-o", binary).stderr
        sass = _run(tool("nvdisasm"), "-c", "-ndf", binary).stdout
    return _report(source, log, sass, threads, cc)


def _run(*command: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)


def _report(source: str, log: str, sass: str, threads: int, cc: tuple[int, int]) -> Report:
    number = lambda pattern: sum(int(n) for n in re.findall(pattern, log))
    registers = max(int(n) for n in re.findall(r"Used (\d+) registers", log))
    # An instruction stands after its address, /*0010*/, and perhaps a predicate, @!P0.
    lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", sass)
    code = [line for line in lines if not line.startswith("NOP")]
    counts = {name: sum(bool(re.match(pattern, line)) for line in code) for name, pattern in SORTS.items()}
    return Report(
        cc, registers, number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"), number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes smem"), threads, counts, _widths(code, "LD"), _widths(code, "ST"), len(code), source, sass,
    )  # fmt: skip


def _widths(code: list[str], name: str) -> dict[int, int]:
    """How many accesses of global memory there are, by their bytes."""
    found: dict[int, int] = {}
    for line in code:
        parts = line.split(".")
        if parts[0] in (name, name + "G"):
            size = next((WIDTHS[part] for part in parts if part in WIDTHS), 4)
            found[size] = found.get(size, 0) + 1
    return found
