"""Stand-ins for generated pieces in Numba's simulator: those of single elements, and of what a thread or a block has for itself. The same names and
arguments, in plain Python; "device memory" is the host's there, and an address is an address.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numba import cuda

from ... import activations
from .. import filters, formulas

CELLS = {
    "float32": ctypes.c_float, "float64": ctypes.c_double, "int8": ctypes.c_int8, "uint8": ctypes.c_uint8, "int16": ctypes.c_int16,
    "uint16": ctypes.c_uint16, "int32": ctypes.c_int32, "uint32": ctypes.c_uint32, "int64": ctypes.c_int64, "uint64": ctypes.c_uint64,
    "float16": ctypes.c_uint16, "bfloat16": ctypes.c_uint16,
}  # fmt: skip
PARTS = {"complex64": ctypes.c_float, "complex128": ctypes.c_double}
TYPES: dict[str, Any] = {name: getattr(np, name) for name in ("float32", "float64")}


def widen(bits: int, dtype: str) -> np.float32:
    """float32 from the bits of a 16-bit float."""
    return np.float32(np.uint16(bits).view(np.float16)) if dtype == "float16" else np.uint32(bits << 16).view(np.float32)


def narrow(value: Any, dtype: str) -> int:
    """The bits of the nearest 16-bit float, ties to even; NaN stays NaN."""
    if dtype == "float16":
        return int(np.float16(value).view(np.uint16))
    number = np.float32(value)
    bits = int(number.view(np.uint32))
    return bits >> 16 | 0x40 if np.isnan(number) else bits + 0x7FFF + (bits >> 16 & 1) >> 16


def load(address: int, dtype: str, align: int) -> Any:
    if dtype in PARTS:
        two = (PARTS[dtype] * 2).from_address(int(address))
        return complex(two[0], two[1])
    found = CELLS[dtype].from_address(int(address)).value
    return widen(found, dtype) if dtype in ("float16", "bfloat16") else getattr(np, dtype)(found)  # wraps where it is cast, as a register does


def store(address: int, value: Any, dtype: str, align: int) -> None:
    if dtype in PARTS:
        two = (PARTS[dtype] * 2).from_address(int(address))
        two[0], two[1] = float(value.real), float(value.imag)
    elif dtype in ("float16", "bfloat16"):
        CELLS[dtype].from_address(int(address)).value = narrow(value, dtype)
    else:
        CELLS[dtype].from_address(int(address)).value = float(value) if dtype in TYPES else int(value)


def rounded(value: Any, dtype: str) -> np.float32:
    """The value as the nearest 16-bit float, as float32."""
    return widen(narrow(value, dtype), dtype)


def times(a: Any, b: Any) -> Any:
    return a * b


def number(bits: int, dtype: str) -> Any:
    return np.int32(bits).view(np.float32) if dtype == "float32" else np.int64(bits).view(np.float64)


def settle(address: int, value: Any, dtype: str, align: int) -> None:
    made = filters.cast(np.float64(value).reshape(1), np.dtype(dtype)) if dtype != "float32" else np.array([value], np.float32)
    ctypes.memmove(int(address), made.tobytes(), made.itemsize)


class Scalars:
    """What `formulas` asks of a machine, on NumPy's scalars."""

    def __init__(self, kind: Any) -> None:
        self.kind, self.whole = kind, np.int32 if kind is np.float32 else np.int64
        self.mantissa, self.least, self.most = (23, -149, 127) if kind is np.float32 else (52, -1074, 1023)

    def constant(self, number: float) -> Any:
        return self.kind(number)

    def where(self, flag: Any, yes: Any, no: Any) -> Any:
        return yes if flag else no

    def bits(self, value: Any) -> Any:
        return value.view(self.whole)

    def power(self, exponent: Any) -> Any:
        return self.whole(exponent + self.whole(self.most) << self.whole(self.mantissa)).view(self.kind)


def activate(value: Any, code: int, lo: int, hi: int) -> Any:
    m = Scalars(type(value))
    if code == activations.CLIP:
        return formulas.clip(value, m.whole(lo).view(m.kind), m.whole(hi).view(m.kind), m)
    return formulas.CURVED[code](value, m) if code > activations.CLIP else value


def registers(dtype: str, count: int) -> np.ndarray:
    return np.zeros(count, dtype)


@cuda.jit(device=True)  # where the simulator puts the block's own module in the place of `cuda`
def shared(dtype: str, count: int) -> Any:
    return cuda.shared.array(count, getattr(np, dtype))
