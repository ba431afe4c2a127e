"""separate and factorize: first version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class SeparableKernel:
    rank: int


@dataclass(frozen=True, eq=False)
class FactorizedKernel:
    terms: int


def separate(kernel: object, rank: int | None = None) -> SeparableKernel:
    raise NotImplementedError


def factorize(weight: object, terms: int = 1) -> FactorizedKernel:
    raise NotImplementedError
