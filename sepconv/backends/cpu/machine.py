"""The machine that Numba compiles for: its vectors, its registers, and what its instruction set has."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from numba.core.registry import cpu_target


class Machine(NamedTuple):
    """The vectors of the target that Numba compiles for: bytes of one, how many there are, and the name of the instruction set."""

    isa: str
    bytes: int
    registers: int
    cpu: str

    @property
    def halved(self) -> bool:
        """Whether vectors of 64 bytes are worked on in halves, so that those of 32 are as fast."""
        return self.cpu == "znver4" and self.bytes == 64

    def lanes(self, dtype: str) -> int:
        return self.bytes // (4 if dtype == "float32" else 8)


@functools.cache
def machine() -> Machine:
    """Read off Numba's target and not the CPU: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES decide what may be used."""
    codegen = cpu_target.target_context.codegen()
    triple, cpu, features = codegen.magic_tuple()
    if triple.startswith(("aarch64", "arm64")):
        return Machine("NEON", 16, 32, cpu)
    has = {f[1:] for f in features.split(",") if f.startswith("+")} if features else _implied(codegen._tm, triple)
    if "avx512f" in has:
        return Machine("AVX-512", 64, 32, cpu)
    if {"avx2", "fma"} <= has:
        return Machine("AVX2", 32, 16, cpu)
    return Machine("SSE2", 16, 16, cpu)


@functools.cache
def has(*features: str) -> bool:
    """Whether the target is said to have all of these, by LLVM's names; False where it is given by the name of a CPU alone."""
    said = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return all(f"+{feature}" in said for feature in features)


_PROBE = """
define <16 x i32> @probe(<16 x float> %a, <16 x float> %b, <16 x i32> %c) {
  %d = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %b)
  %e = fptosi <16 x float> %d to <16 x i32>
  %f = add <16 x i32> %c, %e
  ret <16 x i32> %f
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


def _implied(target: Any, triple: str) -> set[str]:
    """The features that a CPU has by its name alone, as far as they matter here: LLVM lists them nowhere, but its code shows them."""
    module = llvm.parse_assembly(_PROBE)
    module.triple, module.data_layout = triple, str(target.target_data)
    text = target.emit_assembly(module)
    signs = {"avx512f": r"vpaddd\b.*%zmm", "avx2": r"vpaddd\b.*%ymm", "fma": r"vfmadd\d"}
    return {feature for feature, sign in signs.items() if re.search(sign, text)}
