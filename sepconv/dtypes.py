"""Which dtypes there are, what they accumulate in, and what they return: one table for every backend.

float16, bfloat16      stored in 16 bits, accumulated in float32, rounded once at the end
float32 .. complex128  accumulated and returned as they are
int8 .. uint16         accumulated and returned as int32
int32 .. uint64        accumulated and returned as they are, wrapping as NumPy does
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Kind(NamedTuple):
    """How one dtype is computed with; names are NumPy's."""

    accumulate: str
    result: str
    wide: str  # what the oracle computes in

    @property
    def real(self) -> bool:
        """Real floating point, the kinds that every activation is defined for."""
        return self.wide == "float64"

    @property
    def integer(self) -> bool:
        return self.wide in ("int64", "uint64")


KINDS: dict[str, Kind] = {
    "float16": Kind("float32", "float16", "float64"),
    "bfloat16": Kind("float32", "bfloat16", "float64"),
    "float32": Kind("float32", "float32", "float64"),
    "float64": Kind("float64", "float64", "float64"),
    "complex64": Kind("complex64", "complex64", "complex128"),
    "complex128": Kind("complex128", "complex128", "complex128"),
    "int8": Kind("int32", "int32", "int64"),
    "uint8": Kind("int32", "int32", "int64"),
    "int16": Kind("int32", "int32", "int64"),
    "uint16": Kind("int32", "int32", "int64"),
    "int32": Kind("int32", "int32", "int64"),
    "int64": Kind("int64", "int64", "int64"),
    "uint32": Kind("uint32", "uint32", "uint64"),
    "uint64": Kind("uint64", "uint64", "uint64"),
}
ALLOWED = ", ".join(KINDS)


def check(name: str, dtype: np.dtype) -> np.dtype:
    """The dtype in native byte order, or a TypeError that names the argument and what is allowed."""
    if dtype.name not in KINDS or dtype.kind == "O" or dtype.names is not None:
        raise TypeError(f"{name} has dtype {dtype}; allowed are {ALLOWED}")
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def common(arrays: dict[str, np.dtype]) -> np.dtype:
    """`numpy.result_type` of the named dtypes, if that is one of ours; where NumPy raises (bfloat16 with float16), so do we."""
    given = ", ".join(f"{name} {dtype}" for name, dtype in arrays.items())
    try:
        dtype = np.result_type(*arrays.values())
    except TypeError as error:
        raise TypeError(f"no common dtype for {given}: {error}") from None
    if dtype.name not in KINDS:
        raise TypeError(f"the common dtype of {given} is {dtype}; allowed are {ALLOWED}")
    return dtype


def result(dtype: np.dtype) -> np.dtype:
    """The dtype that a convolution of `dtype` returns."""
    name = KINDS[dtype.name].result
    return dtype if name == dtype.name else np.dtype(name)
