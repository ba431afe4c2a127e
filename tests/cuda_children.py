"""What the tests of the CUDA backend share where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import oracle
import pytest

SIMULATOR = oracle.SIMULATOR
TESTS = Path(__file__).resolve().parent
compiled = pytest.mark.skipif(SIMULATOR, reason="the simulator compiles nothing")
CCS = ((7, 5), (8, 0), (9, 0), (10, 0))


def child(*command: str, simulator: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, str(TESTS)])), "PYTEST_ADDOPTS": ""}
    environment |= {"NUMBA_ENABLE_CUDASIM": "1"} if simulator else {}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=1800, env=environment)
