"""What the tests of the CUDA backend share where there is no GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import oracle
import pytest
from processes import python

SIMULATOR = oracle.SIMULATOR
TESTS = Path(__file__).resolve().parent
compiled = pytest.mark.skipif(SIMULATOR, reason="the simulator compiles nothing")
CCS = ((7, 5), (8, 0), (9, 0), (10, 0))


def child(*command: str, simulator: bool = False) -> subprocess.CompletedProcess[str]:
    """A new Python; with the simulator, whose pieces are compiled for the CPU for small arrays: quickly."""
    return python(*command, timeout=1800, PYTEST_ADDOPTS="", **({"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_OPT": "1"} if simulator else {}))
